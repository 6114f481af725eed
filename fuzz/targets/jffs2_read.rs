//! Any bytes as a JFFS2 image: facts, check, tree, salvage, and the first pages of every extent.

#![no_main]

use std::sync::Arc;

use flashwright_fuzz::read_some;
use flashwright_jffs2::reader::{Image, ReadOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(image) = Image::open(Arc::new(data.to_vec()), data.len() as u64, &ReadOptions::default()) else {
        return;
    };
    let _ = image.info();
    let clean = image.check().is_ok_and(|report| report.findings.is_clean());
    match image.tree() {
        Ok(tree) => read_some(&tree),
        Err(error) => assert!(!clean, "the check is clean, but: {error}"),
    }
    if let Ok((tree, _)) = image.salvage() {
        read_some(&tree);
    }
});
