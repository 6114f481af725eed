//! How much memory a tree takes: counted, so that it does not grow unnoticed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flashwright_tree::{Content, HostFile, Identity, Node, NodeId, Timestamp, Tree};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole program: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const DIRECTORIES: usize = 100;
const NAMES: usize = 1000;

/// The most memory, bytes, that is in use while `make` runs, and what stays in use.
fn measured(make: impl FnOnce() -> Tree) -> (Tree, usize, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let tree = make();
    let stays = ALLOCATOR.current_usage() - before;
    (tree, ALLOCATOR.peak_usage() - before, stays)
}

/// A tree as a scan of the host makes it: directories of a thousand nodes each.
fn filled(mut tree: Tree, suffix: &str, node: impl Fn(&str, u64) -> Node) -> Tree {
    for directory in 0..DIRECTORIES {
        let path = format!("{directory:04}");
        let id = tree.insert(Tree::ROOT, path.as_bytes(), Node::directory(0o755)).unwrap();
        fill(&mut tree, id, directory, suffix, &node);
        tree.compact(id).unwrap();
    }
    tree.compact(Tree::ROOT).unwrap();
    tree
}

fn fill(tree: &mut Tree, id: NodeId, directory: usize, suffix: &str, node: impl Fn(&str, u64) -> Node) {
    for number in 0..NAMES {
        let name = format!("node{:07}{suffix}", directory * NAMES + number);
        let node = node(&format!("/srv/build/staging/rootfs/{directory:04}/{name}"), number as u64);
        tree.insert(id, name.as_bytes(), node).unwrap();
    }
}

fn host_file(path: &str, number: u64) -> Node {
    let mtime = (1_800_000_000, 123_456_789);
    let identity = Identity { device: 65_024, inode: 7_000_000 + number, len: 1 + number, mtime };
    let file = Arc::new(HostFile::at(PathBuf::from(path), identity));
    let mut node = Node::file(0o644, Content::from_host(file));
    (node.metadata.uid, node.metadata.gid) = (1000, 1000);
    node.metadata.mtime = Timestamp { seconds: mtime.0, nanoseconds: 123_456_789 };
    node
}

#[test]
fn a_node_takes_some_dozen_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let timed = |mut node: Node| {
        node.metadata.mtime = Timestamp { seconds: 1_800_000_000, nanoseconds: 1 };
        node
    };
    type Make = dyn Fn(&str, u64) -> Node;
    let cases: [(&str, &Make, usize); 4] = [
        ("files", &host_file, 50),
        ("directories", &move |_, _| timed(Node::directory(0o755)), 38),
        ("links", &|_, _| Node::symlink(*b"../lib/libc.so.6"), 44),
        (
            "with xattrs",
            &|_, _| {
                let mut node = Node::directory(0o755);
                node.metadata.xattrs.insert(b"security.selinux".to_vec(), b"system_u:object_r:t".to_vec());
                node
            },
            36,
        ),
    ];
    for (what, node, most) in cases {
        let (tree, peak, stays) = measured(|| filled(Tree::new(), "", node));
        let nodes = tree.arena_len();
        assert!(stays < nodes * most, "{what}: {} bytes a node", stays / nodes);
        assert!(peak < stays + (1 << 18), "{what}: {peak} bytes at the peak, {stays} stay");
    }
}

#[test]
fn a_large_tree_has_a_file_for_what_is_too_much() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let suffix = "-".repeat(1200);
    let (tree, peak, _) = measured(|| filled(Tree::spilling(folder.path()), &suffix, host_file));
    assert!(peak < 80 << 20, "{peak} bytes at the peak");
    let (mut files, mut names) = (0, 0);
    for entry in tree.walk().filter(|entry| !entry.node.is_directory()) {
        let content = entry.node.content().unwrap();
        let extents = content.extents();
        let flashwright_tree::Source::Host(file) = &extents[0].source else { unreachable!("a host file") };
        assert_eq!(file.path(), Path::new("/srv/build/staging/rootfs").join(path_of(&entry.path)));
        assert_eq!(entry.node.metadata.mtime.nanoseconds, 123_456_789);
        files += 1;
        names += entry.path.len() - 5;
    }
    assert_eq!((files, names), (DIRECTORIES * NAMES, DIRECTORIES * NAMES * (11 + suffix.len())));
    assert!(names > 100 << 20, "more than stays in memory");
    let last = format!("0099/node0099999{suffix}");
    assert_eq!(
        tree.lookup(tree.resolve(b"0099").unwrap(), &last.as_bytes()[5..]),
        tree.resolve(last.as_bytes())
    );
    assert!(tree.resolve(last.as_bytes()).is_some());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
}

fn path_of(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}
