//! Trees with all that SquashFS can hold, up to its limits, for tests that let others read our images.

#![allow(dead_code, unused_imports, reason = "every test file uses some of it")]

mod code;
mod data;

use std::sync::Arc;

use flashwright_squashfs::format::MAX_IDS;
use flashwright_tree::{
    Content, Device, Metadata, Node, NodeId, NodeKind, ReadAt, Source, Timestamp, Tree, Xattrs,
};

pub(crate) use code::{code, machine_code};
pub(crate) use data::{noise, text};

/// Time of every node that is not about time.
const TIME: i64 = 1_234_567_890;
/// Largest value of an xattr that Linux gives out, bytes. Kernel: `XATTR_SIZE_MAX`.
const XATTR_SIZE_MAX: usize = 65_536;
/// `cap_net_raw` permitted and effective, as `setcap` stores it: version 2, little-endian.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree that is put together path by path.
#[derive(Debug)]
pub(crate) struct Grove(pub(crate) Tree);

impl Grove {
    pub(crate) fn new() -> Self {
        let mut tree = Tree::new();
        tree.node_mut(Tree::ROOT).metadata = metadata(0o755);
        Grove(tree)
    }

    /// Puts a node at a path; directories above it are made.
    pub(crate) fn put(&mut self, path: impl AsRef<[u8]>, mut node: Node) -> NodeId {
        if node.metadata.mtime == Timestamp::default() {
            node.metadata.mtime = Timestamp::from_seconds(TIME);
        }
        let (parent, name) = self.place(path.as_ref());
        self.0.insert(parent, &name, node).unwrap()
    }

    /// As [`Grove::put`], with no time given to a node of time 0.
    fn put_as_it_is(&mut self, path: impl AsRef<[u8]>, node: Node) -> NodeId {
        let (parent, name) = self.place(path.as_ref());
        self.0.insert(parent, &name, node).unwrap()
    }

    pub(crate) fn link(&mut self, path: impl AsRef<[u8]>, target: NodeId) {
        let (parent, name) = self.place(path.as_ref());
        self.0.link(parent, &name, target).unwrap();
    }

    fn place(&mut self, path: &[u8]) -> (NodeId, Vec<u8>) {
        let mut names: Vec<_> = path.split(|&byte| byte == b'/').collect();
        let name = names.pop().unwrap().to_vec();
        let mut parent = Tree::ROOT;
        for name in names {
            parent = match self.0.lookup(parent, name) {
                Some(id) => id,
                None => self.0.insert(parent, name, Node::new(metadata(0o755), NodeKind::Directory)).unwrap(),
            };
        }
        (parent, name)
    }
}

pub(crate) fn metadata(permissions: u16) -> Metadata {
    Metadata { mtime: Timestamp::from_seconds(TIME), ..Metadata::new(permissions) }
}

pub(crate) fn file(bytes: impl Into<Arc<[u8]>>) -> Node {
    Node::file(0o644, Content::from_bytes(bytes))
}

fn device(kind: fn(Device) -> NodeKind, major: u32, minor: u32) -> Node {
    Node::new(metadata(0o660), kind(Device { major, minor }))
}

fn with_xattrs<const N: usize>(mut node: Node, xattrs: [(&str, Vec<u8>); N]) -> Node {
    node.metadata.xattrs = Xattrs::from_iter(xattrs.map(|(name, value)| (name.as_bytes().to_vec(), value)));
    node
}

/// Every node type, mode, owner, time, name, link, xattr and shape of file that SquashFS and Linux take, with data cut
/// at blocks of `block` bytes.
pub(crate) fn everything(block: usize) -> Tree {
    let mut grove = Grove::new();
    kinds(&mut grove);
    modes(&mut grove);
    owners_and_times(&mut grove);
    names(&mut grove);
    links(&mut grove);
    sizes(&mut grove, block);
    duplicates(&mut grove, block);
    holes(&mut grove, block);
    xattrs(&mut grove);
    directories(&mut grove);
    let root = grove.0.node_mut(Tree::ROOT);
    root.metadata = Metadata { permissions: 0o1751, uid: 7, gid: 8, ..metadata(0) };
    root.metadata.xattrs = Xattrs::from([(b"trusted.root".to_vec(), b"of all".to_vec())]);
    grove.0
}

fn kinds(grove: &mut Grove) {
    grove.put("kinds/file", file(*b"hello\n"));
    grove.put("kinds/symlink", Node::symlink(*b"file"));
    grove.put("kinds/fifo", Node::new(metadata(0o600), NodeKind::Fifo));
    grove.put("kinds/socket", Node::new(metadata(0o777), NodeKind::Socket));
    let numbers = [(0, 0), (1, 3), (8, 255), (8, 256), (255, 255), (256, 256), (4095, 0), (4095, 1_048_575)];
    for (major, minor) in numbers {
        grove.put(format!("kinds/char-{major}-{minor}"), device(NodeKind::CharDevice, major, minor));
        grove.put(format!("kinds/block-{major}-{minor}"), device(NodeKind::BlockDevice, major, minor));
    }
}

fn modes(grove: &mut Grove) {
    for bits in [0o0000, 0o0400, 0o4755, 0o2755, 0o1644, 0o6711, 0o7777] {
        grove.put(format!("modes/file-{bits:04o}"), Node::file(bits, Content::empty()));
    }
    for bits in [0o0000, 0o0700, 0o1777, 0o2775, 0o7777] {
        grove.put(format!("modes/dir-{bits:04o}/inside"), Node::file(0o600, Content::empty()));
        let id = grove.0.resolve(format!("modes/dir-{bits:04o}").as_bytes()).unwrap();
        grove.0.node_mut(id).metadata.permissions = bits;
    }
}

fn owners_and_times(grove: &mut Grove) {
    // 4294967295 stands for "no owner" in Linux, which shows another number for it.
    let owners = [(0, 1), (1000, 100), (65_534, 65_535), (65_536, 70_000), (4_294_967_294, 4_294_967_294)];
    for (uid, gid) in owners {
        let owned = Metadata { uid, gid, ..metadata(0o640) };
        grove.put(format!("owners/{uid}-{gid}"), Node::new(owned, NodeKind::File(Content::empty())));
    }
    for seconds in [0, 1, 2_147_483_647, 2_147_483_648, 4_294_967_295] {
        for (name, kind) in [("fifo", NodeKind::Fifo), ("dir", NodeKind::Directory)] {
            let timed = Metadata { mtime: Timestamp::from_seconds(seconds), ..metadata(0o700) };
            grove.put_as_it_is(format!("times/{name}-{seconds}"), Node::new(timed, kind));
        }
    }
}

fn names(grove: &mut Grove) {
    let long = "n".repeat(255);
    let names: [&[u8]; 18] = [
        long.as_bytes(),
        b"a",
        b"new\nline",
        b"\n",
        b"tab\tand\rreturn",
        b"\x01\x1b[31mred",
        b"\xff\xfe invalid",
        b"cut off \xc3",
        "ünïcödé 名前".as_bytes(),
        b"-rf",
        b" ",
        b"*",
        b"back\\slash",
        b"\"quoted\"",
        b"it's",
        b"...",
        b".hidden",
        b"%s $HOME `x` #;",
    ];
    for name in names {
        grove.put([b"names/", name].concat(), file(name));
        grove.put([b"names/below/", name, b"/", name].concat(), file(name));
    }
}

fn links(grove: &mut Grove) {
    let targets: [(&str, Vec<u8>); 6] = [
        ("shortest", b"x".to_vec()),
        ("longest", b"0123456789abcde/".repeat(256)[..4095].to_vec()),
        ("absolute", b"/etc/../nothing".to_vec()),
        ("outside", b"../../../..".to_vec()),
        ("itself", b"itself".to_vec()),
        ("bytes", b"new\nline \xff\\".to_vec()),
    ];
    for (name, target) in targets {
        grove.put(format!("links/symlink-{name}"), Node::symlink(target));
    }
    let shared = grove.put("links/hard/first", file(text(5000, 1)));
    for path in ["links/hard/second", "links/other/directory/third", "a-name-that-comes-first"] {
        grove.link(path, shared);
    }
    for name in ["fifo", "char-8-256", "symlink", "socket"] {
        let id = grove.0.resolve(format!("kinds/{name}").as_bytes()).unwrap();
        grove.link(format!("links/hard/{name}"), id);
    }
}

fn sizes(grove: &mut Grove, block: usize) {
    let lens = [0, 1, 2, block - 1, block, block + 1, 2 * block, 3 * block + 777];
    for (seed, len) in (10..).zip(lens) {
        grove.put(format!("sizes/text-{len}"), file(text(len, seed)));
        grove.put(format!("sizes/noise-{len}"), file(noise(len, seed)));
    }
}

fn duplicates(grove: &mut Grove, block: usize) {
    let whole = [text(block, 30), noise(block, 31), text(1234, 32)].concat();
    grove.put("duplicates/a", file(whole.clone()));
    grove.put("duplicates/b", file(whole.clone()));
    grove.put("duplicates/c-start", file(&whole[..2 * block]));
    grove.put("duplicates/d-end", file(&whole[block..]));
    grove.put("duplicates/e-tail", file(&whole[2 * block..]));
    grove.put("duplicates/f-longer", file([whole.clone(), noise(100, 33)].concat()));
    grove.put("duplicates/g-twice", file([&whole[..block], &whole[..block]].concat()));
    let breaks_off = [&whole[..block], &noise(block, 34)].concat();
    grove.put("duplicates/h-breaks-off", file(breaks_off));
}

fn holes(grove: &mut Grove, block: usize) {
    let data = |len| Source::Bytes(noise(len, 40).into());
    let len = block as u64;
    let cases = [
        ("begin", Content::empty().with(Source::Hole, 0, 3 * len).with(data(100), 0, 100)),
        (
            "middle",
            Content::empty().with(data(block), 0, len).with(Source::Hole, 0, 2 * len).with(
                data(block),
                0,
                len,
            ),
        ),
        ("end", Content::empty().with(data(100), 0, 100).with(Source::Hole, 0, 4 * len)),
        ("all", Content::empty().with(Source::Hole, 0, 5 * len + 17)),
        ("one-block", Content::empty().with(Source::Hole, 0, len)),
        ("short", Content::empty().with(Source::Hole, 0, 1)),
        ("uneven", Content::empty().with(data(7), 0, 7).with(Source::Hole, 0, 2 * len).with(data(9), 0, 9)),
        ("zeros-in-memory", Content::from_bytes(vec![0; 2 * block + 5])),
        ("data-hole-tail", Content::empty().with(Source::Hole, 0, len).with(data(block + 50), 0, len + 50)),
    ];
    for (name, content) in cases {
        grove.put(format!("holes/{name}"), Node::file(0o644, content));
    }
}

/// A file of 5 GiB with data at its start, past 4 GiB, and at its end.
pub(crate) fn five_gigabytes() -> Node {
    let source: Arc<dyn ReadAt> = Arc::new(data::Noise(50));
    let data = |content: Content, len| content.with(Source::Reader(source.clone()), 0, len);
    let hole = |content: Content, up_to: u64| {
        let len = up_to - content.len();
        content.with(Source::Hole, 0, len)
    };
    let content = data(Content::empty(), 5000);
    let content = data(hole(content, (4 << 30) + 12_345), 300_000);
    Node::file(0o644, data(hole(content, (5 << 30) - 77), 77))
}

fn xattrs(grove: &mut Grove) {
    let shared = || vec![b's'; 1500];
    let capable = with_xattrs(file(*b"#!"), [("security.capability", CAPABILITY.to_vec())]);
    grove.put("xattrs/capability", capable);
    let every = with_xattrs(
        file(*b"x"),
        [
            ("user.mime_type", b"text/plain".to_vec()),
            ("user.empty", Vec::new()),
            ("user.binary", (0..=255).collect()),
            ("trusted.label", b"y".to_vec()),
            ("security.label", b"system_u:object_r:bin_t:s0\0".to_vec()),
        ],
    );
    grove.put("xattrs/every-namespace", every);
    grove.put("xattrs/largest", with_xattrs(file(*b"x"), [("user.large", noise(XATTR_SIZE_MAX, 60))]));
    let longest = format!("user.{}", "n".repeat(250));
    grove.put("xattrs/longest-name", with_xattrs(file(*b"x"), [(&longest, b"v".to_vec())]));
    for name in ["one", "two", "three"] {
        let node = with_xattrs(file(*b"x"), [("user.shared", shared()), ("trusted.shared", shared())]);
        grove.put(format!("xattrs/shared-{name}"), node);
    }
    let mut many = file(*b"x");
    for number in 0..200u32 {
        let value = vec![b'v'; (number * 7 % 100) as usize];
        many.metadata.xattrs.insert(format!("user.number{number:03}").into_bytes(), value);
    }
    grove.put("xattrs/many", many);
    // Linux has no `user` on these.
    let special = |node| with_xattrs(node, [("trusted.t", b"1".to_vec()), ("security.s", b"2".to_vec())]);
    grove.put("xattrs/symlink", special(Node::symlink(*b"many")));
    grove.put("xattrs/fifo", special(Node::new(metadata(0o600), NodeKind::Fifo)));
    grove.put("xattrs/socket", special(Node::new(metadata(0o600), NodeKind::Socket)));
    grove.put("xattrs/device", special(device(NodeKind::BlockDevice, 259, 65_537)));
    let directory = Node::new(metadata(0o755), NodeKind::Directory);
    grove.put("xattrs/directory", with_xattrs(directory, [("user.of-a-directory", b"yes".to_vec())]));
    grove.put("xattrs/directory/inside", file(*b"x"));
}

fn directories(grove: &mut Grove) {
    grove.put("directories/empty", Node::new(metadata(0o755), NodeKind::Directory));
    let deep = vec!["d"; 200].join("/");
    grove.put(format!("directories/deep/{deep}/bottom"), file(*b"deep"));
    // More than the 256 entries of one header.
    for number in 0..600 {
        grove.put(format!("directories/some/entry-{number}"), Node::new(metadata(0o600), NodeKind::Fifo));
    }
}

/// Directories of 10,000 short names and of long ones, some of which stand for the same nodes.
pub(crate) fn large_directories() -> Tree {
    let mut grove = Grove::new();
    let shared = grove.put("first", file(*b"shared"));
    for number in 0..10_000u32 {
        let path = format!("many/{number:05}-{}", "x".repeat((number % 40) as usize));
        if number % 1000 == 17 {
            grove.link(path, shared);
        } else {
            grove.put(path, file(number.to_le_bytes()));
        }
    }
    for number in 0..1000u32 {
        grove.put(format!("long/{}{number:04}", "y".repeat(251)), Node::symlink(*b"z"));
    }
    grove.0
}

/// As many different owners and groups as an image can have.
pub(crate) fn most_owners() -> Tree {
    let mut grove = Grove::new();
    // The root has owner and group 0.
    let others: Vec<u32> = (1..).step_by(65_521).take(MAX_IDS - 1).collect();
    for (number, pair) in others.chunks(2).enumerate() {
        let owned = Metadata { uid: pair[0], gid: pair[pair.len() - 1], ..metadata(0o600) };
        grove.put(format!("{:03}/{number}", number / 256), Node::new(owned, NodeKind::Fifo));
    }
    grove.0
}

/// A small tree of everything that the fastest of machines reads at once: for digests and dry runs.
pub(crate) fn fixture() -> Tree {
    let mut grove = Grove::new();
    kinds(&mut grove);
    modes(&mut grove);
    owners_and_times(&mut grove);
    names(&mut grove);
    links(&mut grove);
    holes(&mut grove, 4096);
    duplicates(&mut grove, 4096);
    xattrs(&mut grove);
    grove.0
}
