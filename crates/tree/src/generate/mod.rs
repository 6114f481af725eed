//! Trees for tests: all node kinds, hard links, holes, duplicates, xattrs, and names that break careless programs.
//!
//! For everybody who writes or reads file systems, archives or images and wants to know that any tree survives. Two
//! cargo features, of which either is enough:
//!
//! | feature | gives |
//! |---|---|
//! | `proptest` | `tree`, a strategy that shrinks to small trees |
//! | `arbitrary` | `ArbitraryTree` for fuzz targets, and `arbitrary_tree` with [`Parameters`] |
//!
//! With the default [`Parameters`] every tree fits into SquashFS as Linux reads it. Raise or lower them for other
//! formats, or raise them above a format's limits to test that its writer refuses.
#![cfg_attr(
    feature = "proptest",
    doc = r#"
```
use flashwright_tree::generate::{self, Parameters};
use flashwright_tree::{Tree, compare};
use proptest::prelude::*;

/// Stands for: write an image of the tree, and read it back.
fn written_and_read(tree: &Tree) -> Tree {
    tree.clone()
}

let mut parameters = Parameters::default();
parameters.max_nodes = 20;
proptest!(|(tree in generate::tree(parameters))| {
    let differences = compare(&tree, &written_and_read(&tree)).unwrap();
    prop_assert!(differences.is_empty(), "{differences:#?}");
});
```
"#
)]
#![cfg_attr(
    feature = "arbitrary",
    doc = r#"
A fuzz target needs one line for it:

```no_run
# macro_rules! fuzz_target { (|$tree:ident: $type:ty| $body:block) => { fn target($tree: $type) $body } }
use flashwright_tree::generate::ArbitraryTree;

fuzz_target!(|tree: ArbitraryTree| {
    let names = tree.0.walk().count();
    assert!(names >= 1);
});
```
"#
)]

#[cfg(feature = "arbitrary")]
mod from_arbitrary;
#[cfg(feature = "proptest")]
mod from_proptest;
mod spec;

#[cfg(feature = "arbitrary")]
pub use from_arbitrary::{ArbitraryTree, arbitrary_tree};
#[cfg(feature = "proptest")]
pub use from_proptest::tree;

/// What the trees may be like. The default fits SquashFS, and is small enough for some hundred trees a second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameters {
    /// Nodes besides the root, at most. Default 40.
    pub max_nodes: usize,
    /// Directories on the way to the deepest node, at most; 0 puts everything into the root. Default 8.
    pub max_depth: usize,
    /// Longest name, bytes, at least 1. Default 255, as Linux has it.
    pub max_name: usize,
    /// Longest symlink target, bytes, at least 1. Default 4095, as Linux has it.
    pub max_target: usize,
    /// Largest run of data in a file, bytes. A file has a few runs, data or hole. Default 140,000: more than the
    /// usual block of 128 KiB.
    pub max_data: u32,
    /// Largest hole in a file, bytes; 0 for no holes. Default 400,000.
    pub max_hole: u32,
    /// Whether nodes other than directories may have several names. Default true.
    pub hard_links: bool,
    /// Xattrs of one node, at most. Default 3.
    pub max_xattrs: usize,
    /// Longest value of an xattr, bytes. Default 3000.
    pub max_xattr_value: usize,
    /// Namespaces that xattr names start with, the dot included. None: no xattrs. Default user, trusted, security.
    pub xattr_prefixes: Vec<&'static str>,
    /// Largest owner and group. Default 4,294,967,295. However large, there are few different ones.
    pub max_id: u32,
    /// Earliest and latest time, seconds since 1970. Default 0 to 4,294,967,295.
    pub seconds: (i64, i64),
    /// Whether times have fractions of seconds. Default false.
    pub nanoseconds: bool,
    /// Largest major device number. Default 4095, as Linux has it.
    pub max_major: u32,
    /// Largest minor device number. Default 1,048,575, as Linux has it.
    pub max_minor: u32,
    /// Whether there are devices, fifos and sockets. Default true.
    pub special_nodes: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            max_nodes: 40,
            max_depth: 8,
            max_name: 255,
            max_target: 4095,
            max_data: 140_000,
            max_hole: 400_000,
            hard_links: true,
            max_xattrs: 3,
            max_xattr_value: 3000,
            xattr_prefixes: vec!["user.", "trusted.", "security."],
            max_id: u32::MAX,
            seconds: (0, u32::MAX as i64),
            nanoseconds: false,
            max_major: crate::Device::MAX_MAJOR,
            max_minor: crate::Device::MAX_MINOR,
            special_nodes: true,
        }
    }
}
