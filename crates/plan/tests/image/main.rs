//! Images of our own writers and of others' programs: whole they have no fault, and a bit anywhere in them has one, told
//! where it is.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "positions in images made here")]

mod jffs2;
mod others;
mod ubifs;

use std::num::NonZeroUsize;

use flashwright_plan::image::{Findings, HEAD_LEN, Image, check, identify};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Timestamp, Tree};

fn look(bytes: &[u8]) -> (Image, Findings) {
    let mut source = bytes;
    let image = identify(&bytes[..bytes.len().min(HEAD_LEN)]);
    (image, check(&image, &mut source).unwrap())
}

#[track_caller]
fn assert_whole(bytes: &[u8], name: &str, what: &str) {
    let (image, found) = look(bytes);
    assert_eq!((image.name(), found), (name, Findings::default()), "{what}");
}

/// The reasons, once all of them are seen to be of the right word.
fn faults(bytes: &[u8]) -> Vec<String> {
    let (_, found) = look(bytes);
    assert!(found.refusals.iter().all(|refusal| refusal.word == "checksum" && refusal.overridable));
    found.refusals.into_iter().map(|refusal| refusal.reason).collect()
}

fn threads() -> NonZeroUsize {
    NonZeroUsize::new(1).unwrap()
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The upper 8 bits.
        (state >> 56) as u8
    };
    (0..len).map(step).collect()
}

/// A file of each length, a symlink, a device, an empty directory; xattrs when asked for.
fn tree(lens: &[usize], xattrs: bool) -> Tree {
    let mut tree = Tree::new();
    let mut insert = |name: String, mut node: Node| {
        node.metadata.mtime = Timestamp::from_seconds(1_000_000_000);
        if xattrs {
            node.metadata.xattrs = [(b"user.name".to_vec(), name.clone().into_bytes())].into();
        }
        tree.insert(Tree::ROOT, name.as_bytes(), node).unwrap();
    };
    for (seed, &len) in (1..).zip(lens) {
        insert(format!("noise {len}"), Node::file(0o644, Content::from_bytes(noise(len, seed))));
        insert(format!("zeros {len}"), Node::file(0o600, Content::from_bytes(vec![0; len])));
    }
    insert("directory".to_owned(), Node::directory(0o755));
    let device = NodeKind::CharDevice(Device { major: 5, minor: 1 });
    if !xattrs {
        insert("symlink".to_owned(), Node::symlink(*b"noise 1"));
        insert("console".to_owned(), Node::new(Metadata::new(0o600), device));
    }
    tree
}
