//! Any tree, written and read, is the same tree, and the checker has nothing to say about the image; trees of many files,
//! of large files, and of names with equal hashes.

mod common;

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;

use flashwright_tree::generate::{Parameters, tree};
use flashwright_tree::{Content, Node, Source, Tree, compare};
use flashwright_ubifs::format::KeyHash;
use flashwright_ubifs::reader::Image;
use flashwright_ubifs::{Compression, Effort, Geometry, Options, WriteError, write};
use proptest::prelude::*;

/// Writes to a file, reads from it. `false` when the tree has something that UBIFS does not hold.
fn round_trip(tree: &Tree, options: &Options) -> bool {
    let mut file = tempfile::tempfile().unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let summary = match write(tree, options, threads, &mut file, &mut |_| ()) {
        Ok(summary) => summary,
        Err(WriteError::Node { .. }) => return false,
        Err(error) => panic!("{options:?}: {error}"),
    };
    let len = file.metadata().unwrap().len();
    assert_eq!(len, summary.bytes_out);
    let file: Arc<File> = Arc::new(file);
    let image = Image::open(file, len).unwrap();
    let differences = compare(tree, &image.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{options:?}: {differences:#?}");
    let report = image.check().unwrap();
    assert!(report.is_clean(), "{options:?}: {:#?}", report.findings);
    assert!(image.info().unwrap().clean);
    true
}

fn options() -> impl Strategy<Value = Options> {
    let geometries = vec![(15_360, 512), (15_872, 8), (126_976, 2048), (129_024, 2048), (253_952, 4096)];
    let compressions = Compression::NAMES.map(|(compression, _)| compression).to_vec();
    let shape = (prop::sample::select(geometries), prop::sample::select(vec![3000u32, 50_000]));
    let rest = (prop::sample::select(compressions), 3u32..20, 1u32..4, any::<(bool, bool)>());
    (shape, rest).prop_map(
        |(((leb_size, min_io_size), lebs), (compression, fanout, orphan_lebs, (fixup, test)))| {
            let mut options = Options::new(Geometry { leb_size, min_io_size }, lebs);
            options.compression = compression;
            options.effort = Effort::Fast;
            (options.fanout, options.orphan_lebs, options.space_fixup) = (fanout, orphan_lebs, fixup);
            options.key_hash = if test { KeyHash::Test } else { KeyHash::R5 };
            options
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(tree in tree(Parameters::default()), options in options()) {
        prop_assume!(round_trip(&tree, &options));
    }
}

fn nand() -> Options {
    let mut options = Options::new(Geometry { leb_size: 126_976, min_io_size: 2048 }, 100_000);
    options.compression = Compression::Zstd;
    options.effort = Effort::Fast;
    options
}

fn many(count: u32) -> Tree {
    let mut tree = Tree::new();
    let mut directory = Tree::ROOT;
    for number in 0..count {
        if number % 50_000 == 0 {
            let name = format!("dir{}", number / 50_000);
            directory = tree.insert(Tree::ROOT, name.as_bytes(), Node::directory(0o755)).unwrap();
        }
        let data = format!("content of file {number}");
        let node = Node::file(0o644, Content::from_bytes(data.into_bytes()));
        tree.insert(directory, format!("f{number}").as_bytes(), node).unwrap();
    }
    tree
}

#[test]
fn few_and_many_files() {
    for count in [1, 17, 5000, 200_000] {
        assert!(round_trip(&many(count), &nand()), "{count}");
    }
}

#[test]
fn names_with_equal_hashes_stay_in_order() {
    let mut options = nand();
    (options.key_hash, options.fanout) = (KeyHash::Test, 3);
    let mut tree = Tree::new();
    for number in 0..3000 {
        let node = Node::file(0o644, Content::from_bytes(format!("{number}").into_bytes()));
        tree.insert(Tree::ROOT, format!("same{number}").as_bytes(), node).unwrap();
    }
    assert!(round_trip(&tree, &options));
}

#[test]
fn small_and_large_files() {
    let mut tree = Tree::new();
    for power in 10..24 {
        for (name, len) in [("less", (1 << power) - 1), ("exact", 1 << power), ("more", (1 << power) + 1)] {
            let node = Node::file(0o644, Content::from_bytes(common::text(len, power)));
            tree.insert(Tree::ROOT, format!("{name}{power}").as_bytes(), node).unwrap();
        }
    }
    let part: Arc<[u8]> = common::text(8192, 3).into();
    let mut large = Content::empty().with(Source::Bytes(Arc::clone(&part)), 0, 5000);
    for gap in [4096u64, 3, 1 << 31, 123_456_789, 1 << 31] {
        large = large.with(Source::Hole, 0, gap).with(Source::Bytes(Arc::clone(&part)), 0, 8192);
    }
    assert!(large.len() > 4 << 30);
    tree.insert(Tree::ROOT, b"large", Node::file(0o644, large)).unwrap();
    assert!(round_trip(&tree, &nand()));
}
