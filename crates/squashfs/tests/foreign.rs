//! Images of other kinds, through backhand.

#![cfg(feature = "foreign")]

mod fixtures;

use std::io::Cursor;
use std::sync::Arc;

use backhand::compression::Compressor;
use backhand::kind::{AVM_BE_V4_0, BE_V4_0, Kind};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use flashwright_squashfs::reader::{ErrorClass, ReadError, foreign};
use flashwright_tree::{Content, Device, Directory, Metadata, Node, NodeKind, Timestamp, Tree, compare};

use fixtures::{Memory, bytes};

fn read(image: Vec<u8>) -> Result<Tree, ReadError> {
    let len = image.len() as u64;
    foreign::read(Arc::new(Memory(image)), len)
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
    let etc = tree.insert(Tree::ROOT, b"etc", node(NodeKind::Directory(Directory::new()))).unwrap();
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
