//! Any tree, written and read, is the same tree, and the checker has nothing to say about the image.

mod fixtures;

use std::io::Cursor;
use std::num::NonZeroUsize;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::{Effort, Fragments, Method, Options, Padding, Store, write};
use flashwright_tree::generate::{Parameters, tree};
use flashwright_tree::{Content, Node, Source, Tree, compare};
use proptest::prelude::*;

fn written(tree: &Tree, options: &Options) -> Vec<u8> {
    let mut image = Cursor::new(Vec::new());
    let threads = NonZeroUsize::new(2).unwrap();
    write(tree, options, threads, &mut image, &mut |_| ()).unwrap();
    image.into_inner()
}

fn check_round_trip(tree: &Tree, options: &Options) {
    let image = fixtures::open_bytes(written(tree, options)).unwrap();
    let differences = compare(tree, &image.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{options:?}: {differences:#?}");
    let report = image.check().unwrap();
    assert!(report.findings.is_clean(), "{options:?}: {:#?}", report.findings);
}

fn options() -> impl Strategy<Value = Options> {
    let method = prop::sample::select(Compression::ALL.to_vec());
    let fragments = prop::sample::select(vec![Fragments::Never, Fragments::SmallFiles, Fragments::Tails]);
    let store = any::<[bool; 5]>().prop_map(|[inodes, data, fragments, xattrs, ids]| Store {
        inodes,
        data,
        fragments,
        xattrs,
        ids,
    });
    let store = prop_oneof![3 => Just(Store::default()), 1 => store];
    let padding = (0u32..14, prop::sample::select(vec![0, 0xff]));
    (method, fragments, store, padding, 12u32..=20, any::<(bool, bool)>()).prop_map(
        |(method, fragments, store, (align, byte), log, (duplicates, export_table))| {
            let mut options = Options::default();
            // LZMA is not among them.
            options.method = Method::of(method).unwrap();
            options.effort = Effort::Fast;
            options.fragments = fragments;
            options.store = store;
            options.padding = Padding { alignment: 1 << align, byte };
            options.block_size = 1 << log;
            options.duplicates = duplicates;
            options.export_table = export_table;
            options
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_trees_of_everything(tree in tree(Parameters::default()), options in options()) {
        check_round_trip(&tree, &options);
    }

    #[test]
    fn names_and_metadata(tree in tree(many_small()), options in options()) {
        check_round_trip(&tree, &options);
    }
}

/// Many nodes without much data: directory headers, indexes, metadata blocks.
fn many_small() -> Parameters {
    let mut parameters = Parameters::default();
    parameters.max_nodes = 1500;
    parameters.max_depth = 2;
    parameters.max_data = 10;
    parameters.max_hole = 0;
    parameters
}

#[test]
fn an_empty_tree() {
    for compression in Compression::ALL {
        let mut options = Options::default();
        options.method = Method::of(compression).unwrap();
        check_round_trip(&Tree::new(), &options);
    }
}

#[test]
fn large_directories_and_sparse_files() {
    let mut tree = Tree::new();
    for i in 0..100_000u32 {
        let content = Content::from_bytes(if i % 1000 == 0 { i.to_le_bytes().to_vec() } else { Vec::new() });
        tree.insert(Tree::ROOT, format!("{i:x} some name").as_bytes(), Node::file(0o644, content)).unwrap();
    }
    let hole = Content::from_bytes(*b"start").with(Source::Hole, 0, 5 << 30);
    tree.insert(Tree::ROOT, b"sparse", Node::file(0o644, hole)).unwrap();
    let mut options = Options::default();
    options.method = Method::Lz4 { hc: None };
    check_round_trip(&tree, &options);
}
