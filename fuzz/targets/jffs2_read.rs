//! Any bytes as a JFFS2 image: facts, check, tree, salvage, and the first pages of every extent.

#![no_main]

use std::sync::Arc;

use flashwright_jffs2::reader::{Image, ReadOptions};
use flashwright_tree::Tree;
use libfuzzer_sys::fuzz_target;

fn read_some(tree: &Tree) {
    let mut buffer = [0; 8192];
    for content in tree.walk().filter_map(|entry| entry.node.content()).take(100) {
        for extent in content.extents().iter().take(20) {
            let len = extent.len.min(8192) as usize;
            let mut reader = content.reader();
            let _ = reader.read_exact_at(extent.start, &mut buffer[..len]);
            let _ = reader.read_exact_at(extent.start + extent.len - len as u64, &mut buffer[..len]);
        }
    }
}

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
