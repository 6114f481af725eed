//! Any bytes as a UBIFS image, the CRCs of its nodes put right so that the fuzzer gets past them: facts, check, tree, and the first pages of every extent.

#![no_main]

use std::sync::Arc;

use flashwright_fuzz::read_some;
use flashwright_ubifs::format::NODE_MAGIC;
use flashwright_ubifs::format::node::node_crc;
use flashwright_ubifs::reader::{Image, Limits};
use libfuzzer_sys::fuzz_target;

/// At every multiple of 8 where a node seems to be.
fn put_crcs_right(bytes: &mut [u8]) {
    for start in (0..bytes.len()).step_by(8) {
        let Some(header) = bytes.get(start..start + 24) else { return };
        if header[..4] != NODE_MAGIC.to_le_bytes() {
            continue;
        }
        let len = u32::from_le_bytes([header[16], header[17], header[18], header[19]]) as usize;
        if let Some(node) = bytes.get_mut(start..start.saturating_add(len)).filter(|_| len >= 24) {
            let crc = node_crc(node).to_le_bytes();
            node[4..8].copy_from_slice(&crc);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut limits = Limits::default();
    // As small as lets all seeds through: a fuzzer's runs are many.
    limits.memory = Some(8 << 20);
    let mut bytes = data.to_vec();
    put_crcs_right(&mut bytes);
    let Ok(image) = Image::open_with(Arc::new(bytes), data.len() as u64, limits) else {
        return;
    };
    let _ = image.info();
    let clean = image.check().is_ok_and(|report| report.is_clean());
    match image.tree() {
        Ok(tree) => read_some(&tree),
        Err(error) => assert!(!clean, "the check is clean, but: {error}"),
    }
});
