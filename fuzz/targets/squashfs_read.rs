//! Any bytes as a SquashFS image: facts, check, tree, and the first pages of every extent.

#![no_main]

use std::sync::Arc;

use flashwright_fuzz::read_some;
use flashwright_squashfs::reader::{Image, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut limits = Limits::default();
    // As small as lets all seeds through: a fuzzer's runs are many.
    limits.memory = Some(8 << 20);
    let Ok(image) = Image::open_with(Arc::new(data.to_vec()), data.len() as u64, limits) else {
        return;
    };
    let _ = image.info();
    let clean = image.check().is_ok_and(|report| report.findings.is_clean());
    match image.tree() {
        Ok(tree) => read_some(&tree),
        Err(error) => assert!(!clean, "the check is clean, but: {error}"),
    }
});
