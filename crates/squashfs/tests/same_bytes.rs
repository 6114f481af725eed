//! The same tree and options make the same bytes: on any number of threads, in whatever order the tree was put
//! together, and from one release to the next.

mod trees;

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Cursor;
use std::num::NonZeroUsize;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::{Bcj, Effort, Method, Options, write};
use flashwright_tree::{Node, NodeId, NodeKind, Tree, WalkEntry};
use sha2::{Digest, Sha256};

const COMPRESSIONS: [Compression; 5] =
    [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4, Compression::Lzo];
const EFFORTS: [Effort; 3] = [Effort::Fast, Effort::Default, Effort::Max];

fn options(compression: Compression, effort: Effort) -> Options {
    let mut options = Options::default();
    // LZMA, which Linux does not read, is the only one without a method.
    options.method = Method::of(compression).unwrap();
    options.effort = effort;
    options.block_size = 16 << 10;
    options
}

fn digest(tree: &Tree, options: &Options, threads: usize) -> String {
    let mut image = Cursor::new(Vec::new());
    write(tree, options, NonZeroUsize::new(threads).unwrap(), &mut image, &mut |_| ()).unwrap();
    Sha256::digest(image.into_inner()).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Everything, and code for the branch filters.
fn fixture() -> Tree {
    let mut grove = trees::Grove(trees::fixture());
    grove.put("code/arm", trees::file(trees::machine_code(Bcj::ArmThumb)));
    grove.put("code/x86", trees::file(trees::machine_code(Bcj::X86)));
    grove.0
}

/// The same tree, with its nodes put in from the last to the first.
fn backwards(tree: &Tree) -> Tree {
    let entries: Vec<_> = tree.walk().collect();
    let directories: HashMap<NodeId, &WalkEntry<'_>> = entries
        .iter()
        .filter(|entry| entry.node.entries().is_some())
        .map(|entry| (entry.id, entry))
        .collect();
    let mut copy = Tree::new();
    copy.node_mut(Tree::ROOT).metadata = tree.root().metadata.clone();
    let mut ids = HashMap::from([(Tree::ROOT, Tree::ROOT)]);
    for entry in entries.iter().skip(1).rev() {
        let mut missing = vec![entry];
        while !ids.contains_key(&missing[missing.len() - 1].parent) {
            missing.push(directories[&missing[missing.len() - 1].parent]);
        }
        missing.into_iter().rev().for_each(|entry| add(&mut copy, &mut ids, entry));
    }
    copy
}

fn add(copy: &mut Tree, ids: &mut HashMap<NodeId, NodeId>, entry: &WalkEntry<'_>) {
    let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap();
    let parent = ids[&entry.parent];
    if let Some(&id) = ids.get(&entry.id) {
        if copy.lookup(parent, name) != Some(id) {
            copy.link(parent, name, id).unwrap();
        }
        return;
    }
    let mut node: Node = entry.node.clone();
    if let NodeKind::Directory(entries) = &mut node.kind {
        entries.clear();
    }
    ids.insert(entry.id, copy.insert(parent, name, node).unwrap());
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let tree = fixture();
    for compression in COMPRESSIONS {
        for effort in EFFORTS {
            let options = options(compression, effort);
            let one = digest(&tree, &options, 1);
            for threads in [2, 7] {
                assert_eq!(digest(&tree, &options, threads), one, "{compression:?} {effort:?} -j{threads}");
            }
        }
    }
}

#[test]
fn the_order_in_which_the_tree_was_made_does_not_matter() {
    let tree = fixture();
    let other = backwards(&tree);
    assert!(flashwright_tree::compare(&tree, &other).unwrap().is_empty());
    for compression in COMPRESSIONS {
        let options = options(compression, Effort::Default);
        assert_eq!(digest(&tree, &options, 2), digest(&other, &options, 2), "{compression:?}");
    }
    let max = options(Compression::Xz, Effort::Max);
    assert_eq!(digest(&tree, &max, 2), digest(&other, &max, 2));
}

/// SHA-256 of images. One that changes means that everybody's images change: it needs an entry in CHANGELOG.md, under
/// "Changes to image bytes", that says why. A newer version of a compressor is such a reason.
const DIGESTS: &str = "\
gzip Fast dc41c31413fafc72ec8fa86d52d891f8684b70f639ab21fb905ee453f76cc0ee
gzip Default 61d6317a33076a695c3e4554c0a50dad800a0ae2cf580412d2b02967998e6dc7
gzip Max 57cf41bbca7d2b1e79b8b9a1bde75985a1017d221e31a81ec7b561aa7c6f9ca2
xz Fast e30f205f9458a28f818e44ee897eb5f7909c4addd824f0dad211bb52964218e6
xz Default da3561189cbd080cc1fe3a3a8858d4b1ddbf11405e2263e4ac1478d72e4b12e7
xz Max 30c016a159dca219cb02d89100a208eca9873a2506149840487236597a914a30
zstd Fast ace29d61b180df3e406dd5dd203e1581845d3dad1b300d3f85a0bac0c1e2230f
zstd Default 9e5927bbb990a2ff1b18933b2b6c2c3cb83a57bc3382ae73dd1a3927547b7d1f
zstd Max 7ef2cb92fd1f33a1768529bb4d1b497785aa9af2f997876bc6d2dc2fa6bf186b
lz4 Fast bece6981236a0caccd6c81875fec915b8499a8be088466826d24ce95b1fe5cf0
lz4 Default bece6981236a0caccd6c81875fec915b8499a8be088466826d24ce95b1fe5cf0
lz4 Max f720c0978fbc0db3304450865f0820d5ccc60002fb5d481ae2d456b3de934c55
lzo Fast cdc0d4f3d660c5f1fa0b8aee22531bc8c079d1def979bd819d8bcd24866c50c3
lzo Default cdc0d4f3d660c5f1fa0b8aee22531bc8c079d1def979bd819d8bcd24866c50c3
lzo Max babb2cfdb3620a29e274a695b64b826fc8034d7bbcae70b8e320dd4b802a927b
empty 1dc9fbe250d310de0e826d6cb707df748b99253bc7fdfc2f45cb366bdc8736b4
";

#[test]
fn images_are_the_same_from_release_to_release() {
    let tree = fixture();
    let mut now = String::new();
    for compression in COMPRESSIONS {
        for effort in EFFORTS {
            let digest = digest(&tree, &options(compression, effort), 2);
            writeln!(now, "{} {effort:?} {digest}", compression.name()).unwrap();
        }
    }
    let empty = digest(&Tree::new(), &Options::default(), 1);
    writeln!(now, "empty {empty}").unwrap();
    assert_eq!(now, DIGESTS, "now:\n{now}");
}
