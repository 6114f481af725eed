//! The same tree and options make the same bytes: on any number of threads, in whatever order the tree was put
//! together, and from one release to the next.

mod trees;

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Cursor;
use std::num::NonZeroUsize;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::{Bcj, Effort, Method, Options, write};
use flashwright_tree::{NodeId, Tree, WalkEntry};
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
    let directories: HashMap<NodeId, &WalkEntry> =
        entries.iter().filter(|entry| entry.node.is_directory()).map(|entry| (entry.id, entry)).collect();
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

fn add(copy: &mut Tree, ids: &mut HashMap<NodeId, NodeId>, entry: &WalkEntry) {
    let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap();
    let parent = ids[&entry.parent];
    if let Some(&id) = ids.get(&entry.id) {
        if copy.lookup(parent, name) != Some(id) {
            copy.link(parent, name, id).unwrap();
        }
        return;
    }
    ids.insert(entry.id, copy.insert(parent, name, entry.node.clone()).unwrap());
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
gzip Fast 303755a9f4d48b4d98c769c8ac11c04a0b78c5ad6d05b1f6f9bdd12f53d0f91d
gzip Default 7cdbb48000e251f67297c3eb5863544057c6de514b962614ccbf97fb9ece3b64
gzip Max f23701e34efe29a21ef5cc05e40a2d16417fe492efb38ad07c660f7370d55a4b
xz Fast f5a8c72ac67e74fb8b01d7f574899c069a081c2578c9263a2e4defde150ca013
xz Default 36f59ae8c9f4b493435a7a1055c321d726b8f0a806e91938ae1f4f622d039865
xz Max ad87116f352907832815cbeb660a2d39939fe925f9833d8f54ec315bb2600cd1
zstd Fast 29e9070797af20bcf9bcfc23202a4a2b42ae2fbec33e2ae109c0c56336e9dbcc
zstd Default 403b106fb88956c0bd0d1688ee61003cabdc51629cc57219a161ff62f0683541
zstd Max 1e5e6f8bb46aacf89c59fed3084b1785f42ce498c9f77dd4cfbd9f92532060ad
lz4 Fast 081983e548abe752b183f80f5d1d87bd08408427389c34c64864b8ca6cd3aa8b
lz4 Default 081983e548abe752b183f80f5d1d87bd08408427389c34c64864b8ca6cd3aa8b
lz4 Max 81a547e8208f6fc2609d2d08076c46c5da76a949efb602176a48cde9b0bc3342
lzo Fast 1a55182f2210e46705d322c7960e1846303695e3710eaf243b708113a9b285fc
lzo Default 1a55182f2210e46705d322c7960e1846303695e3710eaf243b708113a9b285fc
lzo Max 2324f77fa8d25219bf2cf7f2df60ed452fd11df1f9f80ab70b647a672891fa30
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
