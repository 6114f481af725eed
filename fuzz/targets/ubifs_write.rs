//! Any tree, written with any options, reads as the same tree, from an image that the checker finds nothing wrong with.

#![no_main]

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;

use flashwright_tree::compare;
use flashwright_tree::generate::ArbitraryTree;
use flashwright_ubifs::format::KeyHash;
use flashwright_ubifs::reader::Image;
use flashwright_ubifs::{Compression, Effort, Geometry, Options, write};
use libfuzzer_sys::fuzz_target;

fn options([compression, geometry, fanout, switches]: [u8; 4]) -> Options {
    let switch = |bit: u8| switches >> bit & 1 == 1;
    let geometries = [(15_360, 512), (15_872, 8), (126_976, 2048), (253_952, 4096)];
    let (leb_size, min_io_size) = geometries[usize::from(geometry) % geometries.len()];
    let lebs = if switch(0) { 2000 } else { 60_000 };
    let mut options = Options::new(Geometry { leb_size, min_io_size }, lebs);
    options.compression = Compression::NAMES[usize::from(compression) % Compression::NAMES.len()].0;
    options.effort = Effort::Fast;
    options.fanout = 3 + u32::from(fanout) % 30;
    options.space_fixup = switch(1);
    options.key_hash = if switch(2) { KeyHash::Test } else { KeyHash::R5 };
    options.orphan_lebs = if switch(3) { 1 } else { 3 };
    options
}

fuzz_target!(|input: ([u8; 4], ArbitraryTree)| {
    let (choices, ArbitraryTree(tree)) = input;
    let mut image = Cursor::new(Vec::new());
    let one = NonZeroUsize::MIN;
    // Trees may hold what UBIFS does not: an error, and nothing else.
    if write(&tree, &options(choices), one, &mut image, &mut |_| ()).is_err() {
        return;
    }
    let image = image.into_inner();
    let len = image.len() as u64;
    let image = Image::open(Arc::new(image), len).expect("an image just written");
    let differences = compare(&tree, &image.tree().expect("tables just written")).expect("data just written");
    assert!(differences.is_empty(), "{differences:#?}");
    let report = image.check().expect("memory");
    assert!(report.is_clean(), "{:#?}", report.findings);
});
