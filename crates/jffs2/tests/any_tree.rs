//! Any tree, written with any options: every byte of the image is explained, and all of the tree is there.

mod common;
mod walk;

use common::{image, image_by};
use flashwright_jffs2::{Compressors, Effort, Flash, Options, Padding};
use flashwright_media::Endian;
use flashwright_tree::Tree;
use flashwright_tree::generate::{Parameters, tree};
use proptest::prelude::*;
use walk::{assert_found, walk};

/// What JFFS2 can hold.
fn parameters() -> Parameters {
    let mut parameters = Parameters::default();
    parameters.max_name = 254;
    parameters.max_target = 254;
    parameters.max_id = 65_535;
    parameters
}

/// Many nodes without much data: names and inodes fill eraseblocks alone.
fn many_small() -> Parameters {
    let mut parameters = parameters();
    parameters.max_nodes = 1000;
    parameters.max_data = 300;
    parameters.max_hole = 0;
    parameters
}

fn geometry() -> impl Strategy<Value = (Flash, u32, u32)> {
    prop_oneof![
        4 => (13u32..=18).prop_map(|log| (Flash::Nor, 1 << log, 1)),
        1 => (13u32..=18, 0u32..=9).prop_map(|(log, page)| (Flash::Nor, 1 << log, 1 << page)),
        2 => (14u32..=18, 9u32..=12).prop_map(|(log, page)| (Flash::Nand, 1 << log, 1 << page)),
        1 => Just((Flash::Ubi, 126_976, 2048)),
        1 => Just((Flash::DataFlash, 8448, 1056)),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let endian = prop::sample::select(vec![Endian::Big, Endian::Little]);
    let effort = prop::sample::select(vec![Effort::Fast, Effort::Default, Effort::Max]);
    let compressors =
        any::<(bool, bool, bool)>().prop_map(|(zlib, lzo, rtime)| Compressors { zlib, lzo, rtime });
    let padding = prop::sample::select(vec![Padding::None, Padding::Eraseblock]);
    let rest = (any::<(bool, bool)>(), 12u32..=16, padding);
    (endian, effort, compressors, geometry(), rest).prop_map(
        |(endian, effort, compressors, (flash, eraseblock, page), ((summary, end_mark), node, padding))| {
            let mut options = Options::new(eraseblock, endian);
            (options.flash, options.page_size, options.compressors) = (flash, page, compressors);
            (options.effort, options.summary, options.padding) = (effort, summary, padding);
            options.end_mark = end_mark;
            let largest = 1 << (eraseblock / 2).ilog2();
            options.node_size = (1u32 << node).min(largest);
            options
        },
    )
}

fn check(tree: &Tree, options: &Options) {
    let (bytes, summary) = image(tree, options);
    let found = walk(&bytes, options);
    assert_found("any", &found, tree, options.endian);
    assert_eq!(summary.nodes, found.nodes);
    assert!(image_by(tree, options, 1).0 == bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_trees_of_everything(tree in tree(parameters()), options in options()) {
        check(&tree, &options);
    }

    #[test]
    fn names_and_metadata(tree in tree(many_small()), options in options()) {
        check(&tree, &options);
    }
}
