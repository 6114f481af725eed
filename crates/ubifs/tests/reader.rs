//! What is written comes back, whatever the options; the check has nothing to say of it, and something of every byte that
//! is changed.

mod common;

use std::sync::Arc;

use common::{everything, image, image_by};
use flashwright_tree::{Content, ContentError, Node, Tree, compare};
use flashwright_ubifs::format::KeyHash;
use flashwright_ubifs::reader::{ErrorClass, Image, Report};
use flashwright_ubifs::{Compression, Geometry, Options, WriteError};

const USUAL: Geometry = Geometry { leb_size: 126_976, min_io_size: 2048 };

fn open(bytes: &[u8]) -> Result<Image, flashwright_ubifs::reader::ReadError> {
    Image::open(Arc::new(bytes.to_vec()), bytes.len() as u64)
}

fn check(bytes: &[u8]) -> Report {
    open(bytes).unwrap().check().unwrap()
}

fn assert_round_trip(name: &str, tree: &Tree, options: &Options) {
    let (bytes, summary) = image(tree, options);
    let read = open(&bytes).unwrap();
    let differences = compare(tree, &read.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{name}: {differences:?}");
    let report = read.check().unwrap();
    assert!(report.is_clean(), "{name}: {:#?}", report.findings);
    assert_eq!(report.blocks, {
        let stored = summary.stored;
        stored.none + stored.lzo + stored.zlib + stored.zstd
    });
}

#[test]
fn everything_comes_back() {
    let tree = everything(true);
    let geometries = [
        (15_872, 8, 4000),
        (15_872, 8, 60_000),
        (126_976, 2048, 2048),
        (129_024, 2048, 300),
        (253_952, 4096, 100),
        (1_040_384, 4096, 40),
        (2_097_152, 16_384, 64),
    ];
    for (leb_size, min_io_size, lebs) in geometries {
        let options = Options::new(Geometry { leb_size, min_io_size }, lebs);
        assert_round_trip(&format!("{leb_size} {lebs}"), &tree, &options);
    }
    for (compression, name) in Compression::NAMES {
        let mut options = Options::new(USUAL, 1000);
        options.compression = compression;
        assert_round_trip(name, &tree, &options);
    }
    for fanout in [3, 4, 17, 256] {
        let mut options = Options::new(USUAL, 1000);
        (options.fanout, options.key_hash) = (fanout, KeyHash::Test);
        (options.space_fixup, options.orphan_lebs, options.reserved) = (true, 4, 1 << 20);
        assert_round_trip(&format!("fanout {fanout}"), &tree, &options);
    }
}

#[test]
fn the_smallest_image_is_a_root() {
    for lebs in [17, 18, 26, 100] {
        assert_round_trip("root", &Tree::new(), &Options::new(USUAL, lebs));
    }
    let (_, summary) = image(&Tree::new(), &Options::new(USUAL, 17));
    assert_eq!((summary.leb_cnt, summary.nodes, summary.inodes), (17, 1, 1));
}

#[test]
fn the_bytes_depend_on_tree_and_options_alone() {
    let tree = everything(true);
    let options = Options::new(USUAL, 1000);
    let (one, summary) = image_by(&tree, &options, 1);
    for threads in [2, 5] {
        assert!(image_by(&tree, &options, threads).0 == one);
    }
    let mut given = options.clone();
    given.uuid = Some([7; 16]);
    assert_eq!(image(&tree, &given).1.uuid, [7; 16]);
    let mut other = everything(true);
    let file = other.resolve(b"data/text1").unwrap();
    other.node_mut(file).metadata.uid += 1;
    assert_ne!(image(&other, &options).1.uuid, summary.uuid);
    assert_eq!(summary.uuid[6] >> 4, 8);
}

#[test]
fn a_volume_too_small_for_the_tree_is_refused_with_numbers() {
    let mut tree = Tree::new();
    let noise = common::noise(3_000_000, 3);
    tree.insert(Tree::ROOT, b"f", Node::file(0o644, Content::from_bytes(noise))).unwrap();
    let mut output = std::io::Cursor::new(Vec::new());
    let threads = std::num::NonZeroUsize::new(2).unwrap();
    let error = flashwright_ubifs::write(&tree, &Options::new(USUAL, 20), threads, &mut output, &mut |_| ());
    let Err(WriteError::TooLarge { needed, max_leb_cnt, .. }) = error else { panic!("{error:?}") };
    assert_eq!(max_leb_cnt, 20);
    let lebs = u32::try_from(needed).unwrap();
    let (_, summary) = image(&tree, &Options::new(USUAL, lebs + 5));
    assert!(summary.leb_cnt.abs_diff(lebs) <= 3, "{} {lebs}", summary.leb_cnt);
}

#[test]
fn what_ubifs_cannot_hold_is_refused_by_path() {
    type Change = fn(&mut Tree, flashwright_tree::NodeId);
    let cases: [(Change, &str); 7] = [
        (
            |t, id| t.node_mut(id).metadata.xattrs = [(b"system.posix_acl_access".to_vec(), vec![2])].into(),
            "no POSIX ACLs",
        ),
        (|t, id| t.node_mut(id).metadata.xattrs = [(b"user.".to_vec(), vec![2])].into(), "after its prefix"),
        (
            |t, id| t.node_mut(id).metadata.xattrs = [(b"user.x".to_vec(), vec![2; 4097])].into(),
            "UBIFS holds 4096",
        ),
        (
            |t, id| {
                let pairs = (0..400).map(|i| (format!("user.{i}").into_bytes(), vec![1]));
                t.node_mut(id).metadata.xattrs = pairs.collect();
            },
            "400 xattrs, with these LEBs UBIFS holds 396",
        ),
        (|t, id| t.node_mut(id).kind = flashwright_tree::NodeKind::Symlink(vec![b'x'; 4096]), "1 to 4095"),
        (
            |t, id| {
                let hole = Content::empty().with(flashwright_tree::Source::Hole, 0, (1 << 41) + 1);
                t.node_mut(id).kind = flashwright_tree::NodeKind::File(hole);
            },
            "at most 2199023255552",
        ),
        (
            |t, _| {
                t.insert(Tree::ROOT, &[b'n'; 256], Node::file(0o644, Content::empty())).unwrap();
            },
            "UBIFS holds 255",
        ),
    ];
    for (change, message) in cases {
        let mut tree = Tree::new();
        let id = tree.insert(Tree::ROOT, b"file", Node::file(0o644, Content::empty())).unwrap();
        change(&mut tree, id);
        let mut output = std::io::Cursor::new(Vec::new());
        let threads = std::num::NonZeroUsize::MIN;
        let error =
            flashwright_ubifs::write(&tree, &Options::new(USUAL, 100), threads, &mut output, &mut |_| ());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(output.into_inner().is_empty());
    }
}

/// Everything that reads an image: nothing of it panics.
fn read_all(bytes: &[u8]) -> Result<bool, ErrorClass> {
    let image = open(bytes).map_err(|error| error.class())?;
    let _ = image.info();
    let sound = image.check().map_err(|error| error.class())?.is_clean();
    let tree = image.tree().map_err(|error| error.class())?;
    for entry in tree.walk() {
        if let Some(content) = entry.node.into_content().filter(|content| content.len() < 4 << 20) {
            match content.to_vec() {
                Err(ContentError::Source(_)) => return Err(ErrorClass::Corrupt),
                other => drop(other.unwrap()),
            }
        }
    }
    Ok(sound)
}

fn small() -> Tree {
    let mut tree = Tree::new();
    let dir = tree.insert(Tree::ROOT, b"dir", Node::directory(0o755)).unwrap();
    for (name, len) in [("a", 10), ("b", 5000), ("c", 20_000)] {
        let node = Node::file(0o644, Content::from_bytes(common::text(len, 3)));
        let id = tree.insert(dir, name.as_bytes(), node).unwrap();
        tree.node_mut(id).metadata.xattrs = [(b"user.x".to_vec(), b"value".to_vec())].into();
    }
    tree.insert(Tree::ROOT, b"link", Node::symlink(*b"dir/a")).unwrap();
    tree
}

#[test]
fn every_flipped_bit_is_found() {
    let options = Options::new(Geometry { leb_size: 15_872, min_io_size: 8 }, 40);
    let (bytes, _) = image(&small(), &options);
    assert_eq!(read_all(&bytes), Ok(true));
    let leb = options.geometry.leb_size as usize;
    let mut silent = Vec::new();
    let interesting = (0..bytes.len()).filter(|&at| bytes[at] != 0xff && (bytes[at] != 0 || at % 7 == 0));
    for at in interesting.collect::<Vec<_>>() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        if read_all(&broken) == Ok(true) {
            silent.push((at / leb, at % leb));
        }
    }
    // Bytes between nodes have no meaning.
    silent.retain(|&(lnum, at)| bytes[lnum * leb + at] != 0xce);
    assert!(silent.is_empty(), "{silent:x?}");
}

#[test]
fn an_image_that_ends_early_is_told() {
    let (bytes, _) = image(&small(), &Options::new(USUAL, 40));
    for lebs in 0..bytes.len() / 126_976 {
        for more in [0, 1000] {
            let result = read_all(&bytes[..lebs * 126_976 + more]);
            assert!(result != Ok(true), "{lebs} {more}: {result:?}");
        }
    }
    assert_eq!(read_all(&bytes[..0]), Err(ErrorClass::NotUbifs));
    assert_eq!(read_all(&[0xff; 10_000]), Err(ErrorClass::NotUbifs));
    // LEBs of the volume that the file system does not use yet.
    let mut longer = bytes.clone();
    longer.resize(bytes.len() + 3 * 126_976, 0xff);
    assert_eq!(read_all(&longer), Ok(true));
}

/// Linux wants both in an image that was never mounted.
#[test]
fn one_good_master_is_enough_to_read() {
    let (mut bytes, _) = image(&small(), &Options::new(USUAL, 40));
    bytes[2 * 126_976 + 100] ^= 1;
    assert!(!check(&bytes).is_usable());
    bytes[2 * 126_976 + 100] ^= 1;
    bytes[126_976 + 100] ^= 1;
    let report = check(&bytes);
    assert!(!report.is_usable(), "{:#?}", report.findings);
    assert!(compare(&small(), &open(&bytes).unwrap().tree().unwrap()).unwrap().is_empty());
    bytes[2 * 126_976 + 100] ^= 1;
    let error = open(&bytes).unwrap_err();
    assert!(error.to_string().starts_with("LEB 1:0x0: node: expected CRC"), "{error}");
}
