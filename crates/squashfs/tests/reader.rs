//! Images by mksquashfs read as the trees they were made from. The recipe is `testdata/squashfs/make.sh`.

mod fixtures;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::reader::{CompressorOptions, ErrorClass, ReadError};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Source, Timestamp, Tree, Xattrs, compare};

use fixtures::{bytes, open, open_bytes};

const IMAGES: [(&str, Compression); 8] = [
    ("gzip", Compression::Gzip),
    ("xz", Compression::Xz),
    ("zstd", Compression::Zstd),
    ("lz4", Compression::Lz4),
    ("lzo", Compression::Lzo),
    ("lzma", Compression::Lzma),
    ("plain", Compression::Gzip),
    ("noxattr", Compression::Zstd),
];

fn node(permissions: u16, kind: NodeKind) -> Node {
    let mut metadata = Metadata::new(permissions);
    metadata.mtime = Timestamp::from_seconds(1_700_000_000);
    Node::new(metadata, kind)
}

fn directory(permissions: u16) -> Node {
    node(permissions, NodeKind::Directory)
}

fn file(bytes: &[u8]) -> Node {
    node(0o644, NodeKind::File(Content::from_bytes(bytes)))
}

/// The tree of `make.sh`.
fn expected() -> Tree {
    let mut tree = Tree::new();
    *tree.node_mut(Tree::ROOT) = directory(0o755);
    let mut add = |path: &str, node| {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree.resolve(parent.as_bytes()).unwrap();
        tree.insert(parent, name.as_bytes(), node).unwrap()
    };
    add("empty", directory(0o1777));
    add("bin", directory(0o2755));
    for path in ["big", "deep", "deep/a", "deep/a/b", "deep/a/b/c"] {
        add(path, directory(0o755));
    }
    let hello = add("hello", node(0o4755, NodeKind::File(Content::from_bytes(*b"hello\n"))));
    add("bin/sym", node(0o777, NodeKind::Symlink(b"../hello".to_vec())));
    add("console", node(0o600, NodeKind::CharDevice(Device { major: 5, minor: 1 })));
    add("mmc", node(0o660, NodeKind::BlockDevice(Device { major: 259, minor: 65537 })));
    add("pipe", node(0o622, NodeKind::Fifo));
    add("sock", node(0o755, NodeKind::Socket));
    for (path, data) in files() {
        add(&path, file(&data));
    }
    tree.insert(Tree::ROOT, b"bad\xff\xfeutf8", file(b"b")).unwrap();
    let bin = tree.resolve(b"bin").unwrap();
    tree.link(bin, b"hello-link", hello).unwrap();
    tree
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut sparse = vec![0; 700_000];
    sparse[..5].copy_from_slice(b"start");
    sparse[300_000..300_006].copy_from_slice(b"middle");
    let noise = (0..9000u64).map(|i| ((i * i * 2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let mut files = vec![
        ("text".to_owned(), b"flash images are written once and read for years\n".repeat(500)),
        ("sparse".to_owned(), sparse),
        ("hole".to_owned(), vec![0; 1 << 20]),
        ("noise".to_owned(), noise),
        ("copy1".to_owned(), b"same bytes ".repeat(1500)),
        ("copy2".to_owned(), b"same bytes ".repeat(1500)),
        ("zero".to_owned(), Vec::new()),
        ("new\nline".to_owned(), b"n".to_vec()),
        ("n".repeat(255), b"l".to_vec()),
    ];
    for i in 0..300 {
        let data = if i % 50 == 0 { i.to_string() } else { String::new() };
        files.push((format!("big/entry-{i:03}-with-a-long-name-so-that-it-takes-room"), data.into()));
    }
    files
}

fn at<'a>(tree: &'a mut Tree, path: &str) -> &'a mut Metadata {
    let id = tree.resolve(path.as_bytes()).unwrap();
    &mut tree.node_mut(id).metadata
}

/// Owners and xattrs of `make.sh`, which one image leaves out.
fn with_owners_and_xattrs(mut tree: Tree) -> Tree {
    for (path, owner) in [("text", (1000, 100)), ("copy1", (70_000, 70_001))] {
        let metadata = at(&mut tree, path);
        (metadata.uid, metadata.gid) = owner;
    }
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let large = vec![b'v'; 3000];
    let xattrs: [(&str, &str, &[u8]); 10] = [
        ("hello", "user.mime", b"text/plain"),
        ("text", "user.mime", b"text/plain"),
        ("bin", "trusted.t", b"\0\xff\x01"),
        ("noise", "security.capability", capability),
        ("copy1", "user.large", &large),
        ("copy2", "user.large", &large),
        ("copy2", "user.more", b""),
        ("pipe", "trusted.p", b"x"),
        ("console", "trusted.c", b""),
        ("bin/sym", "trusted.l", b"link"),
    ];
    for (path, name, value) in xattrs {
        at(&mut tree, path).xattrs.insert(name.into(), value.into());
    }
    tree
}

#[test]
fn every_image_reads_as_the_tree_it_was_made_from() {
    for (name, compression) in IMAGES {
        let image = open(name);
        assert_eq!(image.compression(), compression, "{name}");
        let wanted = if name == "noxattr" { expected() } else { with_owners_and_xattrs(expected()) };
        let differences = compare(&wanted, &image.tree().unwrap()).unwrap();
        assert!(differences.is_empty(), "{name}: {differences:#?}");
    }
}

#[test]
fn every_image_is_sound() {
    for (name, _) in IMAGES {
        let report = open(name).check().unwrap();
        let lines: Vec<_> = report.findings.list.iter().map(ToString::to_string).collect();
        if name == "lzma" {
            assert!(lines.len() == 1 && lines[0].contains("found lzma"), "{lines:#?}");
        } else {
            assert!(report.findings.is_clean() && report.findings.is_usable(), "{name}: {lines:#?}");
        }
        assert_eq!((report.inodes, report.names), (324, 324), "{name}");
    }
}

#[test]
fn blocks_that_are_not_stored_are_holes() {
    let tree = open("gzip").tree().unwrap();
    let content = |path: &[u8]| tree.content(tree.resolve(path).unwrap()).unwrap();
    let hole = content(b"hole");
    assert!(matches!(&*hole.extents(), [only] if matches!(only.source, Source::Hole)));
    assert_eq!(hole.len(), 1 << 20);
    let sparse = content(b"sparse");
    let kinds: Vec<_> = sparse.extents().iter().map(|e| matches!(e.source, Source::Hole)).collect();
    assert_eq!(kinds, [false, true, false, true], "data, hole, data, hole");
}

#[test]
fn parts_of_files_read_the_same_as_the_whole() {
    let tree = open("xz").tree().unwrap();
    let content = tree.content(tree.resolve(b"text").unwrap()).unwrap();
    let whole = content.to_vec().unwrap();
    for (start, len) in [(0, 1), (4095, 2), (4000, 9000), (24_499, 1), (20_480, 4020), (8192, 4096)] {
        let mut part = vec![0; len];
        content.reader().read_exact_at(start as u64, &mut part).unwrap();
        assert_eq!(part, whole[start..start + len], "{start} {len}");
    }
    assert!(content.reader().read_exact_at(24_499, &mut [0; 2]).is_err());
}

#[test]
fn hard_links_are_one_node_and_inodes_share_xattrs() {
    let tree = open("zstd").tree().unwrap();
    assert_eq!(tree.resolve(b"hello"), tree.resolve(b"bin/hello-link"));
    let xattrs = |path: &[u8]| tree.node(tree.resolve(path).unwrap()).metadata.xattrs.clone();
    assert_eq!(xattrs(b"hello"), Xattrs::from([(b"user.mime".to_vec(), b"text/plain".to_vec())]));
    assert_eq!(xattrs(b"copy2").len(), 2);
}

#[test]
fn facts_are_those_of_the_superblock() {
    let info = open("gzip").info().unwrap();
    assert_eq!(info.superblock.inodes.get(), 324);
    assert_eq!(info.superblock.mkfs_time.get(), 1_700_000_001);
    assert_eq!(info.superblock.block_size.get(), 16_384);
    assert_eq!(info.options, None);
    assert_eq!(info.len, 16_384);
    assert_eq!(info.padding.len, 16_384 - info.superblock.bytes_used.get());
    assert_eq!(info.padding.byte, Some(0));
    let names: Vec<_> = info.tables.iter().map(|table| table.name).collect();
    let order = ["inode table", "directory table", "fragment table", "export table", "id table", "xattrs"];
    assert_eq!(names, [&order[..], &["xattr id table"]].concat());
    let export = info.tables.iter().find(|table| table.name == "export table").unwrap();
    assert_eq!((export.len, export.blocks), (324 * 8, 1));
}

#[test]
fn compressor_options_are_read() {
    let options = |name| open(name).options().unwrap();
    assert!(matches!(options("lz4"), Some(CompressorOptions::Lz4(o)) if o.flags.get() == 1));
    assert!(matches!(options("xz"), Some(CompressorOptions::Xz(o)) if o.filters.get() != 0));
    assert!(matches!(options("zstd"), Some(CompressorOptions::Zstd(o)) if o.level.get() == 19));
    assert_eq!(options("plain"), None);
    assert_eq!(open("plain").info().unwrap().padding.len, 0);
}

fn error(change: impl FnOnce(&mut Vec<u8>)) -> ReadError {
    let mut bytes = bytes("gzip");
    change(&mut bytes);
    open_bytes(bytes).unwrap_err()
}

#[test]
fn what_is_no_image_is_named() {
    let empty = error(Vec::clear);
    assert_eq!(empty.class(), ErrorClass::NotSquashfs);
    assert!(empty.to_string().contains("an empty file"), "{empty}");
    let short = error(|bytes| bytes.truncate(5000));
    assert_eq!((short.class(), short.offset()), (ErrorClass::Corrupt, Some(0x28)));
    assert!(short.to_string().starts_with("at 0x28: superblock: expected an image of "), "{short}");
    let old = error(|bytes| bytes[28] = 3);
    assert_eq!(old.class(), ErrorClass::Unsupported);
    let line = "other than 4.0 (version 3.0): try the foreign reader";
    assert!(old.to_string().contains(line), "{old}");
    assert_eq!(error(|bytes| bytes[20] = 7).class(), ErrorClass::Corrupt);
    assert_eq!(error(|bytes| bytes[12] = 1).class(), ErrorClass::Corrupt);
}
