//! What several targets do.

use flashwright_tree::Tree;

/// Reads both ends of the first extents of the first files of a tree: an error is none here, a panic is.
pub fn read_some(tree: &Tree) {
    let mut buffer = [0; 8192];
    for content in tree.walk().filter_map(|entry| entry.node.into_content()).take(100) {
        for extent in content.extents().iter().take(20) {
            let len = extent.len.min(8192) as usize;
            let mut reader = content.reader();
            let _ = reader.read_exact_at(extent.start, &mut buffer[..len]);
            let _ = reader.read_exact_at(extent.start + extent.len - len as u64, &mut buffer[..len]);
        }
    }
}
