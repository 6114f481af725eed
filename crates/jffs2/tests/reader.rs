//! Any tree, written and read, is the same tree; and what is told about an image is what it was made with.

mod common;

use std::sync::Arc;

use common::{everything, image};
use flashwright_jffs2::reader::{ErrorClass, Image, ReadOptions};
use flashwright_jffs2::{Compressors, Effort, Flash, Options, Padding};
use flashwright_media::Endian;
use flashwright_tree::generate::{Parameters, tree};
use flashwright_tree::{Content, Node, Timestamp, Tree, compare};
use proptest::prelude::*;

fn open(bytes: Vec<u8>) -> Image {
    open_with(bytes, &ReadOptions::default())
}

fn open_with(bytes: Vec<u8>, options: &ReadOptions) -> Image {
    let len = bytes.len() as u64;
    Image::open(Arc::new(bytes), len, options).unwrap()
}

fn assert_same(expected: &Tree, image: &Image, what: &str) {
    let report = image.check().unwrap();
    assert!(report.findings.is_clean(), "{what}: {:#?}", report.findings);
    let differences = compare(expected, &image.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
    let (salvaged, findings) = image.salvage().unwrap();
    assert!(findings.is_clean(), "{what}: {findings:#?}");
    assert!(compare(expected, &salvaged).unwrap().is_empty(), "{what}");
}

fn changed(eraseblock: u32, endian: Endian, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(eraseblock, endian);
    change(&mut options);
    options
}

fn nand(options: &mut Options) {
    (options.flash, options.page_size) = (Flash::Nand, 2048);
}

#[test]
fn everything_reads_back_and_the_geometry_is_found() {
    for endian in [Endian::Little, Endian::Big] {
        let cases = [
            ("nor", changed(64 << 10, endian, |_| ())),
            ("small eraseblocks", changed(8 << 10, endian, |_| ())),
            ("large eraseblocks", changed(512 << 10, endian, |_| ())),
            ("nor without summary", changed(64 << 10, endian, |o| o.summary = false)),
            ("nor with pages", changed(128 << 10, endian, |o| o.page_size = 1024)),
            ("padded", changed(64 << 10, endian, |o| o.padding = Padding::Size(16 << 20))),
            ("nand", changed(128 << 10, endian, nand)),
            (
                "nand without summary",
                changed(128 << 10, endian, |o| {
                    nand(o);
                    o.summary = false;
                }),
            ),
            ("ubi volume", changed(126_976, endian, |o| (o.flash, o.page_size) = (Flash::Ubi, 2048))),
            ("lzo", changed(64 << 10, endian, |o| o.compressors = Compressors::from_names(["lzo"]).unwrap())),
            (
                "rtime",
                changed(64 << 10, endian, |o| o.compressors = Compressors::from_names(["rtime"]).unwrap()),
            ),
            ("plain", changed(64 << 10, endian, |o| o.compressors = Compressors::NONE)),
            ("nodes of 64K", changed(256 << 10, endian, |o| o.node_size = 64 << 10)),
            ("end mark", changed(64 << 10, endian, |o| o.end_mark = true)),
        ];
        for (name, options) in cases {
            let tree = everything(true);
            let read = open(image(&tree, &options).0);
            assert_same(&tree, &read, name);
            assert_eq!(read.endian(), endian, "{name}");
            let geometry = *read.geometry();
            assert_eq!((geometry.eraseblock, geometry.origin), (Some(options.eraseblock), 0), "{name}");
            let cleanmarker = options.cleanmarker_len();
            assert_eq!(geometry.cleanmarker_len, (cleanmarker > 0).then_some(cleanmarker), "{name}");
            let info = read.info();
            assert_eq!(info.node_size, options.node_size.max(4096), "{name}");
            assert_eq!(info.summaries > 0, options.summary, "{name}");
            assert_eq!(info.end_mark.is_some(), options.end_mark, "{name}");
        }
    }
}

#[test]
fn a_file_system_is_found_at_any_byte() {
    let tree = everything(true);
    for (options, eraseblock) in [
        (changed(64 << 10, Endian::Big, |_| ()), Some(64 << 10)),
        (changed(128 << 10, Endian::Little, nand), Some(128 << 10)),
    ] {
        let (bytes, _) = image(&tree, &options);
        for start in [1usize, 28, 64, 0x2_0000, 0x5_1234] {
            let mut dump: Vec<u8> = (0..start).map(|i| [7, 1, 250, 33][i % 4]).collect();
            dump.extend_from_slice(&bytes);
            let read = open(dump);
            assert_same(&tree, &read, &format!("at {start}"));
            assert_eq!(read.info().start, start as u64);
            assert_eq!(read.geometry().eraseblock, eraseblock);
            assert_eq!(read.geometry().origin, start as u64 % u64::from(options.eraseblock));
        }
        let mut erased_first = vec![0xff; options.eraseblock as usize];
        erased_first.extend_from_slice(&bytes);
        let read = open(erased_first);
        assert_same(&tree, &read, "after an erased eraseblock");
        assert_eq!(read.geometry().origin, 0);
    }
    let error = Image::open(Arc::new(vec![7u8; 1000]), 1000, &ReadOptions::default()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotJffs2);
}

#[test]
fn what_is_known_beforehand_counts() {
    let tree = everything(false);
    let (bytes, _) = image(&tree, &changed(64 << 10, Endian::Big, |_| ()));
    let mut options = ReadOptions::default();
    options.endian = Some(Endian::Little);
    let error = Image::open(Arc::new(bytes.clone()), bytes.len() as u64, &options).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotJffs2);
    options.endian = Some(Endian::Big);
    options.eraseblock = Some(32 << 10);
    options.page_size = Some(512);
    let read = open_with(bytes, &options);
    assert_eq!((read.geometry().eraseblock, read.geometry().page_size), (Some(32 << 10), Some(512)));
    // The nodes that lie across the borders between 32 KiB are named.
    let error = read.tree().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged);
    assert!(error.to_string().contains("one eraseblock of 32768 bytes"), "{error}");
}

/// Two trees of which the second was written over the first: the kernel's way to change a file system.
#[test]
fn the_log_is_read_as_a_log() {
    let mut tree = Tree::new();
    let file = |bytes: &[u8]| Node::file(0o644, Content::from_bytes(bytes));
    tree.insert(Tree::ROOT, b"kept", file(b"kept")).unwrap();
    let options = changed(64 << 10, Endian::Little, |o| o.padding = Padding::Eraseblock);
    let (mut bytes, _) = image(&tree, &options);
    // The same image again: every node is there twice, and the file system is as it was.
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert_same(&tree, &open(twice), "twice");
    // A node that the kernel has marked as obsolete is none.
    let name = bytes.windows(4).position(|window| window == b"kept").unwrap();
    let header = name - 40;
    assert_eq!(bytes[header..header + 4], [0x85, 0x19, 0x01, 0xe0]);
    bytes[header + 3] &= !0x20;
    let read = open(bytes);
    assert_eq!(read.tree().unwrap().walk().count(), 1);
    assert_eq!(read.info().obsolete_nodes, 1);
    // It is still there to be found: nobody removed its name.
    let (salvaged, findings) = read.salvage().unwrap();
    let lost = salvaged.resolve(b"lost+found/#2").unwrap();
    assert_eq!(salvaged.node(lost).content().unwrap().to_vec().unwrap(), b"kept");
    assert_eq!(findings.list.len(), 1);
}

#[test]
fn a_damaged_node_is_named_and_the_rest_is_salvaged() {
    let tree = everything(true);
    let options = changed(64 << 10, Endian::Big, |_| ());
    let (sound, _) = image(&tree, &options);
    let name = b"a file with number 077";
    let at = sound.windows(name.len()).position(|window| window == name).unwrap();
    let mut bytes = sound.clone();
    bytes[at] ^= 0x20;
    let read = open(bytes);
    let error = read.tree().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged);
    let start = format!("at {:#x}: name CRC of the directory entry: expected 0x", at - 40);
    assert!(error.to_string().contains(&start), "{error}");
    let (salvaged, findings) = read.salvage().unwrap();
    assert!(!findings.is_clean());
    let differences = compare(&tree, &salvaged).unwrap();
    let paths: Vec<_> = differences.iter().map(|difference| difference.path.as_slice()).collect();
    // The file has lost its name, which is also the time of its directory when that is newer.
    assert!(paths.contains(&b"many/a file with number 077".as_slice()), "{differences:#?}");
    assert!(paths.iter().any(|path| path.starts_with(b"lost+found/#")), "{differences:#?}");
    assert_eq!(differences.len(), 3, "{differences:#?}");
}

/// Trees as JFFS2 can hold them.
fn trees() -> impl Strategy<Value = Tree> {
    let mut parameters = Parameters::default();
    (parameters.max_name, parameters.max_target, parameters.max_id) = (254, 254, 65_535);
    parameters.max_xattr_value = 1000;
    tree(parameters)
}

fn options() -> impl Strategy<Value = Options> {
    let endian = prop::sample::select(vec![Endian::Little, Endian::Big]);
    let flash = prop::sample::select(vec![
        (Flash::Nor, 1),
        (Flash::Nor, 512),
        (Flash::Nand, 2048),
        (Flash::Ubi, 512),
    ]);
    let compressors = any::<[bool; 3]>().prop_map(|[zlib, lzo, rtime]| Compressors { zlib, lzo, rtime });
    (endian, flash, compressors, 13u32..=18, 12u32..=16, any::<[bool; 3]>()).prop_map(
        |(endian, (flash, page_size), compressors, log, node, [summary, padded, end_mark])| {
            let mut options = Options::new(1 << log, endian);
            (options.flash, options.page_size, options.compressors) = (flash, page_size, compressors);
            options.effort = Effort::Fast;
            options.node_size = 1 << node.min(log - 1);
            options.summary = summary;
            options.end_mark = end_mark;
            options.padding = if padded { Padding::Eraseblock } else { Padding::None };
            options
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_reads_back(tree in trees(), options in options()) {
        let (bytes, _) = image(&tree, &options);
        let read = open(bytes);
        assert_same(&tree, &read, &format!("{options:?}"));
        prop_assert_eq!(read.endian(), options.endian);
        if let Some(eraseblock) = read.geometry().eraseblock.filter(|_| read.info().summaries > 0) {
            prop_assert_eq!(eraseblock, options.eraseblock);
        }
    }
}

#[test]
fn a_directory_has_the_time_of_its_newest_entry() {
    let mut tree = Tree::new();
    let directory = tree.insert(Tree::ROOT, b"d", Node::directory(0o755)).unwrap();
    let mut file = Node::file(0o644, Content::empty());
    file.metadata.mtime = Timestamp::from_seconds(2000);
    tree.node_mut(directory).metadata.mtime = Timestamp::from_seconds(1000);
    tree.insert(directory, b"f", file).unwrap();
    let read = open(image(&tree, &changed(64 << 10, Endian::Little, |_| ())).0);
    assert_same(&tree, &read, "times");
}
