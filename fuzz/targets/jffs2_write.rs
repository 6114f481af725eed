//! Any tree, written with any options, reads as the same tree, from an image that the checker finds nothing wrong with.

#![no_main]

use std::num::NonZeroUsize;
use std::sync::Arc;

use flashwright_jffs2::reader::{Image, ReadOptions};
use flashwright_jffs2::{Compressors, Effort, Flash, Options, Padding, write};
use flashwright_media::Endian;
use flashwright_tree::compare;
use flashwright_tree::generate::{Parameters, arbitrary_tree};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fn options(u: &mut Unstructured<'_>) -> Result<Options> {
    let endian = *u.choose(&[Endian::Little, Endian::Big])?;
    let log = u.int_in_range(13..=18)?;
    let mut options = Options::new(1 << log, endian);
    (options.flash, options.page_size) =
        *u.choose(&[(Flash::Nor, 1), (Flash::Nor, 512), (Flash::Nand, 2048), (Flash::Ubi, 512)])?;
    options.compressors = Compressors { zlib: u.arbitrary()?, lzo: u.arbitrary()?, rtime: u.arbitrary()? };
    options.effort = Effort::Fast;
    options.node_size = 1 << u.int_in_range(12..=16.min(log - 1))?;
    options.summary = u.arbitrary()?;
    options.end_mark = u.arbitrary()?;
    options.padding = if u.arbitrary()? { Padding::Eraseblock } else { Padding::None };
    Ok(options)
}

fn parameters() -> Parameters {
    let mut parameters = Parameters::default();
    (parameters.max_name, parameters.max_target, parameters.max_id) = (254, 254, 65_535);
    parameters.max_xattr_value = 1000;
    parameters
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let (Ok(options), Ok(tree)) = (options(&mut u), arbitrary_tree(&mut u, &parameters())) else { return };
    let mut image = Vec::new();
    write(&tree, &options, NonZeroUsize::MIN, &mut image, &mut |_| ()).expect("a tree within the limits");
    let len = image.len() as u64;
    let image = Image::open(Arc::new(image), len, &ReadOptions::default()).expect("an image just written");
    let differences = compare(&tree, &image.tree().expect("nodes just written")).expect("data just written");
    assert!(differences.is_empty(), "{differences:#?}");
    let report = image.check().expect("memory");
    assert!(report.findings.is_clean(), "{:#?}", report.findings);
});
