//! Any tree, written with any options, reads as the same tree, from an image that the checker finds nothing wrong with.

#![no_main]

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::reader::Image;
use flashwright_squashfs::{Effort, Fragments, Method, Options, Store, write};
use flashwright_tree::compare;
use flashwright_tree::generate::ArbitraryTree;
use libfuzzer_sys::fuzz_target;

fn options([compression, log, fragments, switches]: [u8; 4]) -> Options {
    let switch = |bit: u8| switches >> bit & 1 == 1;
    let mut options = Options::default();
    let compression = Compression::ALL[usize::from(compression) % Compression::ALL.len()];
    options.method = Method::of(compression).expect("Linux reads all of them");
    options.effort = Effort::Fast;
    options.block_size = 1 << (12 + u32::from(log) % 9);
    options.fragments =
        [Fragments::Never, Fragments::SmallFiles, Fragments::Tails][usize::from(fragments) % 3];
    options.store =
        Store { inodes: switch(0), data: switch(1), fragments: switch(2), xattrs: switch(3), ids: switch(4) };
    options.duplicates = !switch(5);
    options.export_table = !switch(6);
    options
}

fuzz_target!(|input: ([u8; 4], ArbitraryTree)| {
    let (choices, ArbitraryTree(tree)) = input;
    let mut image = Cursor::new(Vec::new());
    let one = NonZeroUsize::MIN;
    write(&tree, &options(choices), one, &mut image, &mut |_| ()).expect("a tree within the limits");
    let image = image.into_inner();
    let len = image.len() as u64;
    let image = Image::open(Arc::new(image), len).expect("an image just written");
    let differences = compare(&tree, &image.tree().expect("tables just written")).expect("data just written");
    assert!(differences.is_empty(), "{differences:#?}");
    let report = image.check().expect("memory");
    assert!(report.findings.is_clean(), "{:#?}", report.findings);
});
