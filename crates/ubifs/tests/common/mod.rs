//! A tree that has everything UBIFS can hold.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, of which not every one uses all of it")]

use std::io::Cursor;
use std::num::NonZeroUsize;

use flashwright_tree::{Content, Device, Metadata, Node, NodeId, NodeKind, Source, Timestamp, Tree, Xattrs};
use flashwright_ubifs::{Options, Summary, write};

/// Bytes that no compressor makes smaller.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(step).collect()
}

/// Bytes that compress to a third or so, differently from page to page.
pub fn text(len: usize, seed: u32) -> Vec<u8> {
    let words = ["flash", "erase", "block", "node", "summary", "0x1985", "\n", "dirent ", "inode=", "; "];
    let choice = noise(len, seed);
    let mut out = Vec::with_capacity(len + 8);
    for (index, byte) in choice.iter().enumerate() {
        if out.len() >= len {
            break;
        }
        out.extend_from_slice(words[usize::from(byte % 10)].as_bytes());
        if (index / 3000) % 3 == 1 {
            out.push(*byte);
        }
    }
    out.truncate(len);
    out
}

fn insert(tree: &mut Tree, path: &str, mut node: Node, number: u32) -> NodeId {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let seconds = 1_000_000_000 + i64::from(number) * 1001;
    node.metadata.mtime = Timestamp { seconds, nanoseconds: number * 1_234_567 % 1_000_000_000 };
    (node.metadata.uid, node.metadata.gid) = (number * 97_777, 4_000_000_000 - number);
    let parent = tree.resolve(parent.as_bytes()).unwrap();
    tree.insert(parent, name.as_bytes(), node).unwrap()
}

fn special(permissions: u16, kind: NodeKind) -> Node {
    Node::new(Metadata::new(permissions), kind)
}

/// About 1.9 MB of everything: all kinds of nodes, hard links, holes, long names, large device numbers, names with
/// equal hashes; xattrs when asked for.
pub fn everything(xattrs: bool) -> Tree {
    let mut tree = Tree::new();
    let root = tree.node_mut(Tree::ROOT);
    root.metadata = Metadata { uid: 11, gid: 12, ..Metadata::new(0o1750) };
    root.metadata.mtime = Timestamp::from_seconds(999_999_999);
    let dir = || Node::directory(0o755);
    for (number, path) in
        (1..).zip(["data", "data/deep", "data/deep/er", "empty", "links", "special", "many"])
    {
        insert(&mut tree, path, dir(), number);
    }
    let file = |bytes: Vec<u8>| Node::file(0o644, Content::from_bytes(bytes));
    for (number, len) in (10..).zip([0usize, 1, 3, 127, 4095, 4096, 4097, 8192, 12_289, 70_000, 200_000]) {
        insert(&mut tree, &format!("data/text{len}"), file(text(len, number)), number);
        insert(&mut tree, &format!("data/deep/noise{len}"), file(noise(len, number)), number);
    }
    insert(&mut tree, "data/deep/er/large", file(text(900_000, 5)), 40);
    insert(&mut tree, "data/zeros", file(vec![0; 20_000]), 41);
    let holes = Content::empty()
        .with(Source::Hole, 0, 3_000_000)
        .with(Source::Bytes(text(10_000, 3).into()), 0, 10_000)
        .with(Source::Hole, 0, 5000)
        .with(Source::Bytes(noise(4096, 9).into()), 0, 4096)
        .with(Source::Hole, 0, 100_001);
    insert(&mut tree, "data/holes", Node::file(0o600, holes), 42);
    let only = Content::empty().with(Source::Hole, 0, 1_234_567);
    insert(&mut tree, "data/onlyhole", Node::file(0o4711, only), 43);
    for number in 0..150 {
        let node = file(text(number as usize * 13, number));
        insert(&mut tree, &format!("many/a file with number {number:03}"), node, 50 + number);
    }
    insert(&mut tree, &format!("many/{}", "n".repeat(255)), dir(), 44);
    insert(&mut tree, "links/short", Node::symlink(*b"x"), 45);
    insert(&mut tree, "links/long", Node::symlink(vec![b'/'; 4095]), 46);
    let linked = insert(&mut tree, "links/first", file(text(9000, 8)), 47);
    let links = tree.resolve(b"links").unwrap();
    tree.link(links, b"second", linked).unwrap();
    tree.link(Tree::ROOT, b"third", linked).unwrap();
    let pipe = insert(&mut tree, "special/pipe", special(0o622, NodeKind::Fifo), 48);
    tree.link(links, b"pipe", pipe).unwrap();
    insert(&mut tree, "special/socket", special(0o777, NodeKind::Socket), 49);
    for (number, (major, minor)) in (210..).zip([(1, 3), (255, 255), (4, 256), (259, 0), (4095, 0xf_ffff)]) {
        let device = Device { major, minor };
        let (char, block) = (NodeKind::CharDevice(device), NodeKind::BlockDevice(device));
        insert(&mut tree, &format!("special/c{major}.{minor}"), special(0o600, char), number);
        insert(&mut tree, &format!("special/b{major}.{minor}"), special(0o660, block), number);
    }
    // "test" hashes the first 4 bytes; R5 gives a pair of bytes and (first + 1, second - 11) the same hash.
    for (number, name) in
        (220..).zip(["same1", "same2", "same3", "xa\u{7f}", "xbt", "xci", "w\u{7f}y", "xty"])
    {
        insert(&mut tree, &format!("empty/{name}"), file(name.as_bytes().to_vec()), number);
    }
    if xattrs {
        add_xattrs(&mut tree);
    }
    tree
}

fn add_xattrs(tree: &mut Tree) {
    let mut set = |path: &str, xattrs: Xattrs| {
        let id = tree.resolve(path.as_bytes()).unwrap();
        tree.node_mut(id).metadata.xattrs = xattrs;
    };
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    set("", [pair("user.root", b"yes"), pair("trusted.t", &[0, 255])].into());
    set("data/text1", [pair("user.same", b"value"), pair("security.s", &noise(3000, 1))].into());
    set("data/text3", [pair("user.same", b"value"), pair("user.empty", b"")].into());
    set("data/text127", [pair(&format!("user.{}", "l".repeat(250)), b"long")].into());
    set("data/deep", [pair("user.dir", &noise(4096, 2)), pair("user.dis", b"2")].into());
    set("links/short", [pair("security.link", b"on a symlink")].into());
    set("special/pipe", [pair("trusted.pipe", b"on a pipe")].into());
}

/// The image of a tree.
pub fn image(tree: &Tree, options: &Options) -> (Vec<u8>, Summary) {
    image_by(tree, options, 2)
}

/// The image of a tree, made by that many threads.
pub fn image_by(tree: &Tree, options: &Options, threads: usize) -> (Vec<u8>, Summary) {
    let mut image = Cursor::new(Vec::new());
    let threads = NonZeroUsize::new(threads).unwrap();
    let summary = write(tree, options, threads, &mut image, &mut |_| ()).unwrap();
    let image = image.into_inner();
    assert_eq!(image.len() as u64, summary.bytes_out);
    (image, summary)
}
