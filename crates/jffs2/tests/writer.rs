//! What the writer makes: every byte of it explained by a reader of its own, what is lost at the ends of eraseblocks,
//! what is refused, the same bytes always, and no fault that `jffs2dump` would find.

mod common;
mod walk;

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use common::{everything, image, image_by, noise, text};
use flashwright_jffs2::{
    Compressors, Effort, Flash, Options, Padding, Summary, WriteError, write, write_end_marks,
};
use flashwright_media::Endian;
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Source, Timestamp, Tree};
use sha2::{Digest, Sha256};
use walk::{Found, assert_found, walk};

const ENDIANS: [Endian; 2] = [Endian::Little, Endian::Big];
/// What the kernel takes for nothing lost.
const SLACK: u32 = 196;

fn options(eraseblock: u32, endian: Endian, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(eraseblock, endian);
    change(&mut options);
    options
}

fn flash(options: &mut Options, flash: Flash, page_size: u32) {
    (options.flash, options.page_size) = (flash, page_size);
}

fn compressors(options: &mut Options, names: &[&str]) {
    options.compressors = Compressors::from_names(names.iter().copied()).unwrap();
}

/// One of each kind of image.
fn variants(endian: Endian) -> Vec<(&'static str, Options)> {
    let of = |eraseblock, change: fn(&mut Options)| options(eraseblock, endian, change);
    vec![
        ("nor", of(64 << 10, |_| ())),
        ("nor 128K", of(128 << 10, |_| ())),
        ("no summary", of(64 << 10, |o| o.summary = false)),
        ("smallest", of(8 << 10, |_| ())),
        ("smallest, no summary", of(8 << 10, |o| o.summary = false)),
        ("large", of(256 << 10, |_| ())),
        ("fast", of(64 << 10, |o| o.effort = Effort::Fast)),
        ("max", of(64 << 10, |o| o.effort = Effort::Max)),
        ("lzo", of(64 << 10, |o| compressors(o, &["lzo"]))),
        ("rtime", of(64 << 10, |o| compressors(o, &["rtime"]))),
        ("all", of(64 << 10, |o| compressors(o, &["zlib", "lzo", "rtime"]))),
        ("none", of(64 << 10, |o| compressors(o, &[]))),
        ("nodes of 8K", of(64 << 10, |o| o.node_size = 8 << 10)),
        ("nodes of 64K", of(128 << 10, |o| o.node_size = 64 << 10)),
        ("write-buffered nor", of(64 << 10, |o| o.page_size = 32)),
        ("cleanmarker of 20", of(64 << 10, |o| o.cleanmarker_size = Some(20))),
        ("no cleanmarker", of(64 << 10, |o| o.cleanmarker_size = Some(0))),
        ("nand", of(128 << 10, |o| flash(o, Flash::Nand, 2048))),
        ("ubi", of(126_976, |o| flash(o, Flash::Ubi, 2048))),
        ("dataflash", of(8448, |o| flash(o, Flash::DataFlash, 1056))),
        ("padded", of(64 << 10, |o| o.padding = Padding::Eraseblock)),
        ("padded to 4 MiB", of(64 << 10, |o| o.padding = Padding::Size(4 << 20))),
        ("end mark", of(64 << 10, |o| o.end_mark = true)),
        ("padded with end mark", of(64 << 10, |o| (o.end_mark, o.padding) = (true, Padding::Size(4 << 20)))),
    ]
}

#[test]
fn every_byte_is_explained_and_all_of_the_tree_is_there() {
    let tree = everything(true);
    for endian in ENDIANS {
        for (name, options) in variants(endian) {
            let (bytes, summary) = image(&tree, &options);
            let found = walk(&bytes, &options);
            assert_found(name, &found, &tree, endian);
            assert_summary(name, &summary, &found, &options);
        }
    }
}

fn assert_summary(name: &str, summary: &Summary, found: &Found, options: &Options) {
    assert_eq!(summary.inodes as usize, found.inodes.len(), "{name}");
    assert_eq!(summary.nodes, found.nodes, "{name}");
    assert_eq!(summary.eraseblocks, found.used as u64, "{name}");
    assert_eq!(summary.open_bytes, found.open, "{name}");
    assert_eq!(summary.lost_bytes, found.lost.iter().map(|&lost| u64::from(lost)).sum::<u64>(), "{name}");
    assert_eq!(summary.most_lost, found.lost.iter().copied().max().unwrap_or_default(), "{name}");
    assert!(summary.xattrs, "{name}");
    assert!(found.used > 1, "{name}");
    assert_eq!(found.summaries, if options.summary { found.used - 1 } else { 0 }, "{name}");
    let whole = summary.bytes_out / u64::from(options.eraseblock);
    let marks = u64::from(options.end_mark && options.padding != Padding::None);
    let expected_free =
        if options.padding == Padding::None { 0 } else { whole - summary.eraseblocks - marks };
    assert_eq!(found.free as u64, expected_free, "{name}");
    let counted = [&summary.stored.none, &summary.stored.zero, &summary.stored.rtime];
    let counted = counted.into_iter().chain([&summary.stored.zlib, &summary.stored.lzo]).sum::<u64>();
    let of = |ino: &u32| found.inodes[ino].values().filter(|inode| inode.mode & 0o170_000 == 0o100_000);
    let nodes =
        found.inodes.keys().flat_map(of).filter(|inode| !matches!(&inode.data, Ok(data) if data.is_empty()));
    assert_eq!(counted, nodes.count() as u64, "{name}");
    // Half of the data is nodes that nothing makes smaller: of three such there is no choice.
    let little_choice = options.eraseblock < 3 * options.node_size;
    assert!(summary.most_lost <= SLACK || little_choice, "{name}: {} bytes lost", summary.most_lost);
}

#[test]
fn next_to_nothing_is_lost_also_where_there_is_little_to_choose_from() {
    let file = |bytes: Vec<u8>| Node::file(0o644, Content::from_bytes(bytes));
    let tree_of = |files: Vec<Vec<u8>>| {
        let mut tree = Tree::new();
        for (number, bytes) in files.into_iter().enumerate() {
            tree.insert(Tree::ROOT, format!("{number}").as_bytes(), file(bytes)).unwrap();
        }
        tree
    };
    let trees = [
        ("one text", tree_of(vec![text(6_000_000, 1)])),
        ("texts", tree_of((0..60).map(|seed| text(50_000, seed)).collect())),
        ("small files", tree_of((0..3000).map(|seed| text(900 + seed as usize % 700, seed)).collect())),
        (
            "mixed",
            tree_of((0..200).map(|s| if s % 2 == 0 { text(20_000, s) } else { noise(9000, s) }).collect()),
        ),
    ];
    for (name, tree) in &trees {
        for summary in [true, false] {
            for eraseblock in [64 << 10, 128 << 10, 256 << 10] {
                let options = options(eraseblock, Endian::Big, |options| options.summary = summary);
                let (bytes, summary) = image(tree, &options);
                let found = walk(&bytes, &options);
                assert_found(name, &found, tree, Endian::Big);
                assert!(summary.most_lost <= SLACK, "{name} {eraseblock}: {:?}", found.lost);
            }
        }
    }
}

#[test]
fn holes_are_one_node_and_need_no_data() {
    let mut tree = Tree::new();
    let content = Content::empty()
        .with(Source::Hole, 0, 3 << 30)
        .with(Source::Bytes(text(5000, 1).into()), 0, 5000)
        .with(Source::Bytes(vec![0; 100_000].into()), 0, 100_000)
        .with(Source::Hole, 0, 7);
    tree.insert(Tree::ROOT, b"holes", Node::file(0o644, content)).unwrap();
    for node_size in [4096, 32 << 10] {
        let options = options(64 << 10, Endian::Little, |options| options.node_size = node_size);
        let (bytes, summary) = image(&tree, &options);
        let found = walk(&bytes, &options);
        let holes =
            found.inodes[&2].values().filter_map(|node| Some((node.offset, *node.data.as_ref().err()?)));
        let (first, second) = (3 << 30, (3 << 30) + 5000u32.next_multiple_of(node_size));
        assert_eq!(holes.collect::<Vec<_>>(), [(0, first), (second, first + 105_007 - second)]);
        assert_eq!((summary.stored.zero, summary.bytes_in), (2, (3 << 30) + 105_007));
        assert_eq!(summary.hole_bytes, u64::from(first) + u64::from(first + 105_007 - second));
        assert_eq!(found.inodes[&2].last_key_value().unwrap().1.size, first + 105_007);
    }
}

#[test]
fn an_empty_tree_is_its_root() {
    for endian in ENDIANS {
        let options = options(64 << 10, endian, |_| ());
        let (bytes, summary) = image(&Tree::new(), &options);
        assert_eq!(bytes.len(), 12 + 68);
        assert_eq!((summary.inodes, summary.nodes, summary.eraseblocks), (1, 1, 1));
        assert_found("empty", &walk(&bytes, &options), &Tree::new(), endian);
    }
}

#[test]
fn fractions_of_seconds_are_counted() {
    let mut tree = Tree::new();
    for (name, nanoseconds) in [(b"a", 0), (b"b", 1), (b"c", 999_999_999)] {
        let mut node = Node::directory(0o755);
        node.metadata.mtime = Timestamp { seconds: 5, nanoseconds };
        tree.insert(Tree::ROOT, name, node).unwrap();
    }
    let options = options(64 << 10, Endian::Big, |_| ());
    let (bytes, summary) = image(&tree, &options);
    assert_eq!((summary.dropped_fractions, summary.xattrs), (2, false));
    assert!(walk(&bytes, &options).inodes.values().skip(1).all(|nodes| nodes[&1].times == [5; 3]));
}

/// One node, and what must be said about it.
#[test]
fn what_jffs2_cannot_hold_is_refused_by_path_before_anything_is_written() {
    let with = |change: &dyn Fn(&mut Node)| {
        let mut node = Node::file(0o644, Content::from_bytes(*b"x"));
        change(&mut node);
        let mut tree = Tree::new();
        let dir = tree.insert(Tree::ROOT, b"dir", Node::directory(0o755)).unwrap();
        tree.insert(dir, b"bad", node).unwrap();
        tree
    };
    let kind = |kind: NodeKind| with(&move |node| *node = Node::new(Metadata::new(0o644), kind.clone()));
    let xattr = |name: &str, len: usize| {
        let name = name.as_bytes().to_vec();
        with(&move |node| drop(node.metadata.xattrs.insert(name.clone(), vec![1; len])))
    };
    let time = |seconds| with(&move |node| node.metadata.mtime = Timestamp::from_seconds(seconds));
    let hole = |len| NodeKind::File(Content::empty().with(Source::Hole, 0, len));
    let cases = [
        (with(&|node| node.metadata.uid = 65_536), "owner 65536, JFFS2 holds 0 to 65535"),
        (with(&|node| node.metadata.gid = u32::MAX), "group 4294967295"),
        (time(-1), "modification time -1 s"),
        (time(1 << 32), "modification time 4294967296 s"),
        (kind(hole(1 << 32)), "4294967296 bytes, in JFFS2 a file has at most 4294967295"),
        (kind(NodeKind::Symlink(vec![b'x'; 255])), "target has 255 bytes, JFFS2 holds 1 to 254"),
        (kind(NodeKind::Symlink(Vec::new())), "target has 0 bytes"),
        (kind(NodeKind::Symlink(b"a\0b".to_vec())), "NUL"),
        (kind(NodeKind::CharDevice(Device { major: 4096, minor: 0 })), "device 4096:0"),
        (kind(NodeKind::BlockDevice(Device { major: 1, minor: 1 << 20 })), "device 1:1048576"),
        (xattr("system.nfs4_acl", 4), "user., trusted., security. and POSIX ACLs only"),
        (xattr("system.posix_acl_access", 4), "no POSIX ACL"),
        (xattr("user.", 4), "1 to 255 bytes after its prefix"),
        (xattr(&format!("user.{}", "n".repeat(256)), 4), "1 to 255 bytes after its prefix"),
        (xattr("user.x", 65_536), "65536 bytes"),
    ];
    for (tree, message) in &cases {
        assert_refused(tree, &options(256 << 10, Endian::Big, |_| ()), message);
    }
    let too_long = xattr("user.x", 8170);
    assert_refused(&too_long, &options(8 << 10, Endian::Big, |_| ()), "with this eraseblock JFFS2 holds 80");
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, &[b'n'; 255], Node::directory(0o755)).unwrap();
    let error = try_write(&tree, &options(64 << 10, Endian::Big, |_| ())).unwrap_err().to_string();
    assert!(error.contains("the name has 255 bytes, JFFS2 holds 254"), "{error}");
}

fn try_write(tree: &Tree, options: &Options) -> Result<Vec<u8>, WriteError> {
    let mut image = Vec::new();
    write(tree, options, NonZeroUsize::MIN, &mut image, &mut |_| ()).map(|_| image)
}

fn assert_refused(tree: &Tree, options: &Options, message: &str) {
    let mut image = Vec::new();
    let error = write(tree, options, NonZeroUsize::MIN, &mut image, &mut |_| ()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, WriteError::Node { .. }), "{text}");
    assert!(text.starts_with("/dir/bad: ") && text.contains(message) && text.contains("; "), "{text}");
    assert!(image.is_empty(), "{text}");
}

/// Right at the limits everything is still held.
#[test]
fn the_limits_themselves_are_held() {
    let mut tree = Tree::new();
    let mut node = Node::symlink(vec![b't'; 254]);
    node.metadata = Metadata { uid: 65_535, gid: 65_535, ..Metadata::new(0o777) };
    node.metadata.mtime = Timestamp::from_seconds(u32::MAX.into());
    tree.insert(Tree::ROOT, &[b'n'; 254], node).unwrap();
    let hole = Content::empty().with(Source::Hole, 0, u32::MAX.into());
    tree.insert(Tree::ROOT, b"file", Node::file(0o644, hole)).unwrap();
    let mut node = Node::directory(0o755);
    let longest = [b"user.".to_vec(), vec![b'n'; 255]].concat();
    node.metadata.xattrs = [(longest, vec![1; 7800]), (b"user.value".to_vec(), vec![2; 8040])].into();
    tree.insert(Tree::ROOT, b"xattrs", node).unwrap();
    let options = options(8 << 10, Endian::Little, |_| ());
    let bytes = try_write(&tree, &options).unwrap();
    let found = walk(&bytes, &options);
    assert_eq!(found.dirents[&(1, vec![b'n'; 254])].1, 10);
    assert_eq!(found.xattrs.len(), 2);
    let ino = found.dirents[&(1, b"file".to_vec())].0;
    assert_eq!(found.inodes[&ino][&1].size, u32::MAX);
    assert_eq!(*found.inodes[&ino][&1].data.as_ref().unwrap_err(), u32::MAX);
}

#[test]
fn geometries_that_cannot_be_are_refused() {
    for eraseblock in [0, 4096, 8191, 9000, 100_000, 32 << 20] {
        let error = try_write(&Tree::new(), &options(eraseblock, Endian::Big, |_| ())).unwrap_err();
        assert!(matches!(error, WriteError::Option(_)), "{error}");
        assert!(error.to_string().contains("from 8192 (8K) to 16777216 (16M)"), "{error}");
    }
    let tight = options(64 << 10, Endian::Big, |options| options.padding = Padding::Size(8 << 16));
    let error = try_write(&everything(false), &tight).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { size: 0x8_0000, needed } if needed > 0x8_0000), "{error}");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let tree = everything(true);
    for (name, options) in variants(Endian::Big) {
        let (one, summary) = image_by(&tree, &options, 1);
        for threads in [2, 7] {
            let (other, same) = image_by(&tree, &options, threads);
            assert!(one == other, "{name} by {threads} threads");
            assert_eq!(summary, same, "{name} by {threads} threads");
        }
    }
}

#[test]
fn end_marks_begin_eraseblocks() {
    let mut out = vec![1; 100_000];
    let len = write_end_marks(&mut out, 100_000, &[0x1_0000, 0x2_0000]).unwrap();
    assert_eq!((out.len(), len), (0x4_0004, 0x4_0004));
    for position in [0x2_0000, 0x4_0000] {
        assert_eq!(out[position..position + 4], [0xde, 0xad, 0xc0, 0xde]);
    }
    assert!(out[100_000..0x2_0000].iter().chain(&out[0x2_0004..0x4_0000]).all(|&byte| byte == 0xff));
}

/// SHA-256 of images. One that changes means that everybody's images change: it needs an entry in CHANGELOG.md, under
/// "Changes to image bytes", that says why. A newer version of a compressor is such a reason.
const DIGESTS: &str = "\
little, nor: 07f15e4d65a9f60968f2eb158556c95b9fce0bd28988dc84ebf0995312f6a33c
little, nor 128K: 8e01ee5889a3f18faecf1978877ae7bf6ca9645a5b821a090e2bfa990c74592c
little, no summary: db8795439cdad0695c1c4f48b106f2bd921ea2c9de0f818c3a2ea5d723683688
little, smallest: e1a11f2bf6c068c6fdcb360de0e234186d3e37d14609c5e8f41e94eb8c8bd9e2
little, smallest, no summary: 620f521479564057fdc58e7a258c124c3b3ebced1fc15b70eab333b22df10a2b
little, large: 1c7650057b40a42a988c6881289ee95761226310c244ad972dfe61535f9a63c3
little, fast: 2eb2d6354886e794264f2f43dcf302972c30745855cbda264a06c4defe86cbe4
little, max: 2a97caaefb8aed3309fe90737f66da523fffbc75d51989bc3e4759a855aaa8f0
little, lzo: c107c7cf0bfd021daec39254c95996b6994a826059100c73b4123fe0ad4d9d79
little, rtime: b397f5c5b0f68db18fd7812e76163cf844c46aa97c3daab48472a1d6b36fe928
little, all: 514ae65ea1556bea90962a075030a8993ba32d60d35f1b706ec1770ba8ab05b9
little, none: 38fa767ab40ad3bb5e350488431a8143d7cf8a4fd6c8118f685035a6a530272a
little, nodes of 8K: 1fea797b0ed9bc12a9cbfe859b596aec5a8ef3948e560bdf0313bf304b692a32
little, nodes of 64K: d7f52615dbd450f702c8dde69cfb5a77a03712eaea8625fbd67ba3f7c85ca031
little, write-buffered nor: 6a97351f4eac4253978fa93894673317c14e889a38229365816d2984c4092390
little, cleanmarker of 20: 725a133bdc8bc779fbe66e5c10a7c8dd0496c81332becd19f23aedd459b2cd87
little, no cleanmarker: 43404bd5cf03d9bbcd84f5a2fae977a7a04b74708c0e2bd9f884b346ca20181a
little, nand: 470c5ca0a050a7bca389120281041ef8afb78f6bd67bb20285648c428e73181b
little, ubi: 71173f6d5e556fd24a4ae377355793d01e1f444685e38ee220da30883e7037da
little, dataflash: 7b38302ef5460972d5e1a7a1264486f731a9911edb22df25c2899c9fc6547ab9
little, padded: d6bfdd490db3c9b3901eb708ccc4a3791a3d7616426e097e47aa2729ffab3170
little, padded to 4 MiB: 8fa6b6495ddb9eade44cde350c64db85b02bb4b37ed6345046cd3d8b90c5d49a
little, end mark: df48da74d1c454a3bf0867d6ac816468908fcf8c8ef525b833c4369c43aee68a
little, padded with end mark: aad8158b1ee3fda8d01359f486883d7b769522f77b0e6f611ed100c84ca993fe
big, nor: 026364dc2f81e2cc242c8690babd00f3d72fa19cb588c402832764f9f5501a13
big, nor 128K: 4b38c0365b6aae7fc0322c7893d7b5cdf43103b2c49d53d587f4cffeebf0c56f
big, no summary: d2466d88c6fb80a2561d956a4434b2624a2c00a4f40150dd35f18508cc74979d
big, smallest: 1d67d516cd1c46a7bc757f366ac4aa8b47db1b7af065c204e4f7415d1c7d2884
big, smallest, no summary: 5262d0b5e8f5b3be74a7836cc43e9b94fecdab9a21db451c4182ac402e188d50
big, large: 9d8c78ccc07042a88e0bc572258e9d01777fdc826f63464fc94ea85fe12511b4
big, fast: b14dda0493cfdd33b5c0f7eeb092a68043a9dc78eeeb066989cdad5c4781984a
big, max: 5df74da6d1222b5d5b4efe1a50f61b7f74f8f94ddd7791a5eafd768477d9235f
big, lzo: 90c2f6f12696663decdb52f66cb7a8e81bf64cee5a59be3b957a26f829a7f6de
big, rtime: e6cc9ef3f1f5093c1a061cc241f0472ec98a520852137ef7aa1045a9a3813da6
big, all: c63e71cd205d4ac6716cfcc17e9b834887450fc680e41fb31c066b25000bef20
big, none: 1544b54ad883ee2bf9a67755c89f55086ecf1121fb43575245e1b94ed3552808
big, nodes of 8K: 36b1b039bc713ea121f2c5cd67ecdd7135d06e4229e91d0002ea4a2b76b43b04
big, nodes of 64K: ecccb217eca25f60ec48a99becb75ea07944b8dc9c10dcadee8fa8e9e05f287f
big, write-buffered nor: 4ada2e5a393f8ddf81f72b2815cf671d3238172426eb587747a0912696a08bb5
big, cleanmarker of 20: 800a2ede12ff0a8d20e50abbb0f917c426744c376c4f9bdacf9a9ca9819cefe0
big, no cleanmarker: f762e53b9a93350d1fae5258bcb2bed78f8ec7c5a7350b65434c959d8cc331ba
big, nand: ae5c9a97ce73055a03780b0aa35b3c9ab5cb4a4f5d12d102e080a7d28db80448
big, ubi: 2b2f312115a407fd1acbb6a083d4004fe08858f9eb01f9dbd9de33c990c38fd0
big, dataflash: e2268da29af49831b98678619753a6e5899646f2e2cf809b7d33cf0bf4654da5
big, padded: cd3c3478f67b12f9136d459ed8d253016123e5692aaaef99b59471cd4039f286
big, padded to 4 MiB: 08fcdcda2e312222ad417c8ba8102a21bb087547e8dce077b8e2ae97b32d306e
big, end mark: 34f6f582e9f65be02f0b2dc6fbc0f0876a2c774a0c4fe497384fba0170410b46
big, padded with end mark: 3928a7886ac95f9d0b0e85de6a980de6b8214e336e9bf4ec5b9dc5434c67e401
";

#[test]
fn images_are_the_same_from_release_to_release() {
    let tree = everything(true);
    let mut now = String::new();
    for endian in ENDIANS {
        for (name, options) in variants(endian) {
            let digest = Sha256::digest(image(&tree, &options).0);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(now, "{endian}, {name}: {digest}").unwrap();
        }
    }
    assert_eq!(now, DIGESTS, "now:\n{now}");
}

/// What `jffs2dump -c` says about the image, line by line.
fn dumped(program: &Path, folder: &Path, options: &Options, image: &[u8]) -> String {
    let path = folder.join("image");
    fs::write(&path, image).unwrap();
    let order = if options.endian == Endian::Big { "-b" } else { "-l" };
    let output = Command::new(program).args(["-c", order]).arg(&path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An end mark is no node: the one thing that `jffs2dump` finds fault with, where it stands.
#[test]
fn jffs2dump_finds_no_fault() {
    let Some(program) = vmtest::peer("jffs2dump") else { return };
    let folder = tempfile::tempdir().unwrap();
    let kinds = ["Inode  ", "Dirent  ", "Xattr  ", "Xref  "];
    for (xattrs, endian) in [(false, Endian::Little), (true, Endian::Little), (true, Endian::Big)] {
        let tree = everything(xattrs);
        for (name, options) in variants(endian) {
            let (bytes, summary) = image(&tree, &options);
            let said = dumped(&program, folder.path(), &options, &bytes);
            let fault = |line: &&str| {
                let line = line.to_lowercase();
                ["wrong", "crc error", "invalid", "unknown"].iter().any(|fault| line.contains(fault))
            };
            let faults: Vec<&str> = said.lines().filter(fault).collect();
            let marks: Vec<String> = options
                .end_mark
                .then(|| {
                    let mark = if endian == Endian::Big { "0xdead" } else { "0xadde" };
                    let at = bytes.windows(4).rposition(|bytes| bytes == [0xde, 0xad, 0xc0, 0xde]).unwrap();
                    format!("Wrong bitmask  at  {at:#010x}, {mark}")
                })
                .into_iter()
                .collect();
            assert_eq!(faults, marks, "{name}");
            let nodes = said
                .lines()
                .map(str::trim_start)
                .filter(|line| line.contains(" node at ") && kinds.iter().any(|kind| line.starts_with(kind)));
            let nodes: Vec<_> = nodes.collect();
            assert_eq!(nodes.len() as u64, summary.nodes, "{name}: {said}");
            assert_eq!(nodes.iter().any(|line| line.starts_with("Xattr ")), xattrs, "{name}");
        }
    }
}
