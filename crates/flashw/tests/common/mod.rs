//! What the tests share: trees, images of them, and what `flashw --json` prints.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::num::NonZeroUsize;

use flashwright_tree::{Content, Node, Timestamp, Tree};
use serde_json::Value;

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ u64::from(seed);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A few files, one of them `len` bytes long.
pub fn tree(len: usize) -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata.mtime = Timestamp::from_seconds(1_000_000_000);
    for (number, len) in (0u32..).zip([0usize, 10, 4096, len]) {
        let mut node = Node::file(0o640, Content::from_bytes(noise(len, number)));
        node.metadata.mtime = Timestamp::from_seconds(1_000_000_000 + i64::from(number));
        tree.insert(Tree::ROOT, format!("file{number}").as_bytes(), node).unwrap();
    }
    tree
}

/// That tree as SquashFS.
pub fn squashfs(tree: &Tree) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let options = flashwright_squashfs::Options::default();
    flashwright_squashfs::write(tree, &options, NonZeroUsize::MIN, &mut file, &mut |_| ()).unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

/// The events of that name.
pub fn events(stdout: &[u8], name: &str) -> Vec<Value> {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let events: Vec<_> = events.collect();
    assert!(events.iter().all(|event| event["version"] == 1), "{text}");
    events.into_iter().filter(|event| event["event"] == name).collect()
}
