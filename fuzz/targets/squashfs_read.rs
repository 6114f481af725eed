//! Any bytes as a SquashFS image: facts, check, tree, and the first pages of every extent.

#![no_main]

use std::io;
use std::sync::Arc;

use flashwright_squashfs::reader::{Image, Limits};
use flashwright_tree::{ReadAt, Tree};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Memory(Vec<u8>);

impl ReadAt for Memory {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let part = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

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
    let mut limits = Limits::default();
    // As small as lets all seeds through: a fuzzer's runs are many.
    limits.memory = Some(8 << 20);
    let Ok(image) = Image::open_with(Arc::new(Memory(data.to_vec())), data.len() as u64, limits) else {
        return;
    };
    let _ = image.info();
    let clean = image.check().is_ok_and(|report| report.findings.is_clean());
    match image.tree() {
        Ok(tree) => read_some(&tree),
        Err(error) => assert!(!clean, "the check is clean, but: {error}"),
    }
});
