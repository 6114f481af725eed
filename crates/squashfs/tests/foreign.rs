//! Images of other kinds, through backhand.

#![cfg(feature = "foreign")]

mod fixtures;
mod v3;

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backhand::compression::Compressor;
use backhand::kind::{AVM_BE_V4_0, BE_V4_0, Kind};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use flashwright_squashfs::reader::{ErrorClass, ReadError, foreign};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Timestamp, Tree, compare};

use fixtures::bytes;

fn read(image: Vec<u8>) -> Result<Tree, ReadError> {
    let len = image.len() as u64;
    foreign::read(Arc::new(image), len)
}

fn data() -> Vec<u8> {
    b"big end first ".repeat(40_000)
}

/// An image of another kind, by backhand.
fn image(kind: Kind) -> Vec<u8> {
    let mut writer = FilesystemWriter::default();
    writer.set_kind(kind);
    writer.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
    let header = NodeHeader::new(0o755, 1000, 100, 1_700_000_000);
    writer.set_root_mode(0o755);
    writer.push_dir("etc", header).unwrap();
    writer.push_file(Cursor::new(data()), "etc/large", header).unwrap();
    writer.push_file(Cursor::new(b"tail"), "etc/small", header).unwrap();
    writer.push_symlink("small", "etc/link", header).unwrap();
    writer.push_char_device(0x0501, "console", header).unwrap();
    let mut image = Cursor::new(Vec::new());
    writer.write(&mut image).unwrap();
    image.into_inner()
}

fn expected() -> Tree {
    let mut metadata = Metadata::new(0o755);
    (metadata.uid, metadata.gid) = (1000, 100);
    metadata.mtime = Timestamp::from_seconds(1_700_000_000);
    let node = |kind| Node::new(metadata.clone(), kind);
    let mut tree = Tree::new();
    let etc = tree.insert(Tree::ROOT, b"etc", node(NodeKind::Directory)).unwrap();
    tree.insert(etc, b"large", node(NodeKind::File(Content::from_bytes(data())))).unwrap();
    tree.insert(etc, b"small", node(NodeKind::File(Content::from_bytes(*b"tail")))).unwrap();
    tree.insert(etc, b"link", node(NodeKind::Symlink(b"small".to_vec()))).unwrap();
    let console = NodeKind::CharDevice(Device { major: 5, minor: 1 });
    tree.insert(Tree::ROOT, b"console", node(console)).unwrap();
    tree
}

#[test]
fn big_endian_images_are_read() {
    for kind in [BE_V4_0, AVM_BE_V4_0] {
        let tree = read(image(Kind::from_const(kind).unwrap())).unwrap();
        let differences = compare(&expected(), &tree).unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

#[test]
fn a_vendors_magic_does_not_matter() {
    let mut image = image(Kind::from_const(BE_V4_0).unwrap());
    image[..4].copy_from_slice(b"qshs");
    assert!(compare(&expected(), &read(image).unwrap()).unwrap().is_empty());
}

#[test]
fn standard_images_go_to_the_reader_of_this_crate() {
    let tree = read(bytes("gzip")).unwrap();
    assert_eq!(tree.resolve(b"hello"), tree.resolve(b"bin/hello-link"), "backhand would lose the hard link");
}

#[test]
fn what_nothing_reads_is_named() {
    let mut old = bytes("gzip");
    old[28] = 2;
    let error = read(old).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unsupported);
    assert!(error.to_string().contains("(version 2.0): nothing here reads this"), "{error}");
    let mut damaged = image(Kind::from_const(BE_V4_0).unwrap());
    let len = damaged.len();
    damaged[len / 4..].fill(0x55);
    let error = read(damaged).unwrap_err().to_string();
    assert!(error.contains("as big-endian SquashFS: ") && error.contains("as SquashFS of AVM: "), "{error}");
    assert_eq!(read(b"nothing".to_vec()).unwrap_err().class(), ErrorClass::NotSquashfs);
}

const V3_FIXTURES: [(&str, bool); 2] = [("v3-le", false), ("v3-be", true)];

/// Everything that a version 3 image can hold.
fn tree_of_v3() -> Tree {
    let mut tree = expected();
    let etc = tree.resolve(b"etc").unwrap();
    // One block that does not get smaller, and one that does.
    let mut noise: Vec<u8> =
        (0..5000_u32).map(|i| i.wrapping_mul(i).wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    noise.extend(b"more ".repeat(800));
    let owned = |kind, uid, gid| {
        let mut node = Node::new(Metadata::new(0o640), kind);
        (node.metadata.uid, node.metadata.gid) = (uid, gid);
        node.metadata.mtime = Timestamp::from_seconds(1_234_567_890);
        node
    };
    tree.insert(etc, b"noise", owned(NodeKind::File(Content::from_bytes(noise)), 0, 70_000)).unwrap();
    tree.insert(etc, b"nothing", owned(NodeKind::File(Content::empty()), 5, 0)).unwrap();
    tree.insert(etc, b"fifo", owned(NodeKind::Fifo, 0, 0)).unwrap();
    tree.insert(etc, b"socket", owned(NodeKind::Socket, 0, 0)).unwrap();
    tree.insert(Tree::ROOT, b"mtd", owned(NodeKind::BlockDevice(Device { major: 31, minor: 2 }), 0, 6))
        .unwrap();
    tree.insert(Tree::ROOT, b"empty", owned(NodeKind::Directory, 0, 0)).unwrap();
    tree.node_mut(Tree::ROOT).metadata.permissions = 0o751;
    tree
}

/// The images of `testdata`, which other crates' tests read too.
#[test]
fn the_version_3_fixtures_are_what_is_written_here() {
    for (name, big_endian) in V3_FIXTURES {
        assert!(bytes(name) == v3::image(&tree_of_v3(), big_endian), "{name}: run the ignored test below");
    }
}

#[test]
#[ignore = "writes testdata/squashfs"]
fn write_the_version_3_fixtures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/squashfs");
    for (name, big_endian) in V3_FIXTURES {
        std::fs::write(folder.join(format!("{name}.sqfs")), v3::image(&tree_of_v3(), big_endian)).unwrap();
    }
}

#[test]
fn version_3_is_read_but_for_the_owners() {
    let tree = tree_of_v3();
    let mut without_owners = Tree::clone(&tree);
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let metadata = &mut without_owners.node_mut(id).metadata;
        (metadata.uid, metadata.gid) = (0, 0);
    }
    for big_endian in [false, true] {
        let image = v3::image(&tree, big_endian);
        let len = image.len() as u64;
        let read = foreign::open(Arc::new(image), len).unwrap().unwrap();
        assert!(compare(&without_owners, &read.tree).unwrap().is_empty(), "{big_endian}");
        assert_eq!((read.foreign.version, read.foreign.big_endian), ((3, 0), big_endian));
        assert!(read.missing.iter().any(|missing| missing.starts_with("owners")), "{:?}", read.missing);
    }
}

/// What `unsquashfs` lists, a line each: mode, owner, size or device, name and target, without the time.
fn listed(unsquashfs: &Path, image: &Path) -> Vec<String> {
    let output = Command::new(unsquashfs).args(["-lln", "-d", ""]).arg(image).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let is_time = |word: &&str| word.len() > 4 && (word.contains(':') || word.starts_with("20"));
    let words =
        |line: &str| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| line.contains(" /")).map(words).collect()
}

#[test]
fn unsquashfs_reads_the_version_3_that_the_tests_write() {
    let Some(unsquashfs) = vmtest::find_program("unsquashfs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let expected = [
        "crwxr-xr-x 1000/100 5, 1 /console",
        "drw-r----- 0/0 3 /empty",
        "drwxr-xr-x 1000/100 83 /etc",
        "prw-r----- 0/0 0 /etc/fifo",
        "-rwxr-xr-x 1000/100 560000 /etc/large",
        "lrwxr-xr-x 1000/100 5 /etc/link -> small",
        "-rw-r----- 0/70000 9000 /etc/noise",
        "-rw-r----- 5/0 0 /etc/nothing",
        "-rwxr-xr-x 1000/100 4 /etc/small",
        "srw-r----- 0/0 0 /etc/socket",
        "brw-r----- 0/6 31, 2 /mtd",
    ];
    for (name, big_endian) in V3_FIXTURES {
        let (path, out) = (folder.path().join("image"), folder.path().join(name));
        std::fs::write(&path, v3::image(&tree_of_v3(), big_endian)).unwrap();
        assert_eq!(listed(&unsquashfs, &path), expected, "{name}");
        let files = ["etc/large", "etc/noise", "etc/nothing", "etc/small"];
        let output = Command::new(&unsquashfs).arg("-d").arg(&out).arg(&path).args(files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = tree_of_v3();
        for file in files {
            let node = tree.node(tree.resolve(file.as_bytes()).unwrap());
            let found = std::fs::read(out.join(file)).unwrap();
            assert!(found == node.content().unwrap().to_vec().unwrap(), "{name}: {file}");
        }
    }
}
