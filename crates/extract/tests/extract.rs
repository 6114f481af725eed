//! Trees extracted and read back, by the reader of image.toml and by looking at what the host has.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flashwright_extract::{ExtractError, Options, Summary, extract};
use flashwright_manifest::load_image;
use flashwright_tree::generate::{Parameters, tree};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, ReadAt, Source, Timestamp, Tree, compare};
use proptest::prelude::*;
use tempfile::TempDir;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn options(privileged: bool) -> Options {
    let mut options = Options::default();
    options.privileged = privileged;
    options
}

fn run(tree: &Tree, target: &Path, privileged: bool) -> Result<Summary, ExtractError> {
    extract(tree, target, &options(privileged), &mut |_| ())
}

/// The tree that the extraction and its image.toml make.
fn read_back(target: &Path, summary: &Summary) -> Tree {
    let toml = summary.manifest.clone().unwrap_or_else(|| {
        let path = target.with_extension("all.toml");
        fs::write(&path, format!("[[source]]\ndir = {:?}\n", target.file_name().unwrap())).unwrap();
        path
    });
    let image = load_image(&toml, &flashwright_manifest::Options::default()).unwrap();
    image.tree
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("root");
    (directory, target)
}

fn add(tree: &mut Tree, path: &str, permissions: u16, kind: NodeKind) -> flashwright_tree::NodeId {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = tree.resolve(parent.as_bytes()).unwrap();
    let mut metadata = Metadata::new(permissions);
    metadata.mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    tree.insert(parent, name.as_bytes(), Node::new(metadata, kind)).unwrap()
}

fn sample() -> Tree {
    let mut tree = Tree::new();
    add(&mut tree, "bin", 0o755, NodeKind::Directory);
    add(&mut tree, "closed", 0o000, NodeKind::Directory);
    add(&mut tree, "closed/file", 0o000, NodeKind::File(Content::from_bytes(*b"secret")));
    let sh = add(&mut tree, "bin/sh", 0o4755, NodeKind::File(Content::from_bytes(*b"#!")));
    tree.node_mut(sh).metadata.uid = 12;
    let closed = tree.resolve(b"closed").unwrap();
    tree.link(closed, b"shell", sh).unwrap();
    let sparse = Content::from_bytes(*b"start").with(Source::Hole, 0, 1 << 20).with(
        Source::Bytes(Arc::from(&b"end"[..])),
        0,
        3,
    );
    add(&mut tree, "sparse", 0o644, NodeKind::File(sparse));
    add(&mut tree, "link", 0o777, NodeKind::Symlink(b"/etc/passwd".to_vec()));
    let null = Device { major: 1, minor: 3 };
    let device = add(&mut tree, "null", 0o666, NodeKind::CharDevice(null));
    tree.link(closed, b"new\nline \xff", device).unwrap();
    add(&mut tree, "pipe", 0o600, NodeKind::Fifo);
    add(&mut tree, "sock", 0o700, NodeKind::Socket);
    tree.node_mut(Tree::ROOT).metadata.xattrs.insert(b"user.a".to_vec(), b"v".to_vec());
    tree
}

#[test]
fn without_root_the_rest_is_in_the_manifest() {
    let (_keep, target) = directory();
    let summary = run(&sample(), &target, false).unwrap();
    let toml = summary.manifest.clone().unwrap();
    assert_eq!(toml, target.with_extension("toml"));
    assert_eq!((summary.names, summary.bytes), (11, 16));
    assert!(!target.join("null").exists());
    let mode = |path: &str| fs::symlink_metadata(target.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("bin/sh"), 0o755, "no setuid for the wrong owner");
    assert_eq!((mode("closed"), mode("closed/file")), (0o700, 0o400));
    let differences = compare(&sample(), &read_back(&target, &summary)).unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn as_root_all_is_on_the_host() {
    if !is_root() {
        return;
    }
    let (_keep, target) = directory();
    let summary = run(&sample(), &target, true).unwrap();
    let stat = |path: &str| fs::symlink_metadata(target.join(path)).unwrap();
    assert_eq!((stat("bin/sh").uid(), stat("bin/sh").mode() & 0o7777), (12, 0o4755));
    assert_eq!(stat("closed").mode() & 0o7777, 0);
    assert_eq!(stat("bin/sh").ino(), stat("closed/shell").ino());
    assert!(stat("pipe").file_type().is_fifo() && stat("sock").file_type().is_socket());
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!((stat("link").mtime(), stat("link").mtime_nsec()), (1_700_000_000, 5));
    let differences = compare(&sample(), &read_back(&target, &summary)).unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn holes_stay_holes() {
    let (_keep, target) = directory();
    let mut tree = Tree::new();
    let hole = Content::empty().with(Source::Hole, 0, 5 << 30);
    add(&mut tree, "hole", 0o644, NodeKind::File(hole));
    let summary = run(&tree, &target, false).unwrap();
    let stat = fs::metadata(target.join("hole")).unwrap();
    assert_eq!((stat.len(), summary.bytes), (5 << 30, 0));
    assert!(stat.blocks() < 100, "{} blocks", stat.blocks());
}

#[test]
fn no_symlink_leads_out() {
    let (keep, target) = directory();
    let outside = keep.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut tree = Tree::new();
    add(&mut tree, "a", 0o777, NodeKind::Symlink(b"../outside".to_vec()));
    add(&mut tree, "b", 0o777, NodeKind::Directory);
    add(&mut tree, "b/file", 0o644, NodeKind::File(Content::from_bytes(*b"x")));
    // What somebody else may do in between: the extraction must not go through it.
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("b")).unwrap();
    let mut into = options(false);
    into.into_existing = true;
    let error = extract(&tree, &target, &into, &mut |_| ()).unwrap_err();
    assert!(error.to_string().starts_with("/b: cannot create the directory: "), "{error}");
    assert!(error.to_string().contains("the name is taken"), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_target_with_entries_is_refused() {
    let (_keep, target) = directory();
    fs::create_dir(&target).unwrap();
    assert!(run(&Tree::new(), &target, false).is_ok(), "empty");
    let error = run(&Tree::new(), &target, false).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("root.toml"), "{error}");
    fs::remove_file(target.with_extension("toml")).unwrap();
    fs::write(target.join("mine"), "x").unwrap();
    let error = run(&sample(), &target, false).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    assert!(matches!(run(&sample(), Path::new("/"), false), Err(ExtractError::BadTarget { .. })));
    assert!(matches!(run(&sample(), Path::new(".."), false), Err(ExtractError::BadTarget { .. })));
}

#[test]
fn names_that_the_host_cannot_have_are_named() {
    let (_keep, target) = directory();
    let mut tree = Tree::new();
    add(&mut tree, &"n".repeat(256), 0o644, NodeKind::Fifo);
    let error = run(&tree, &target, false).unwrap_err().to_string();
    assert!(error.starts_with("/nnn") && error.contains("this host cannot have that name"), "{error}");
}

#[derive(Debug)]
struct Broken;

impl ReadAt for Broken {
    fn read_exact_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("block at 0x1000 is damaged"))
    }
}

#[test]
fn data_that_cannot_be_read_is_named() {
    let (_keep, target) = directory();
    let mut tree = Tree::new();
    let content = Content::empty().with(Source::Reader(Arc::new(Broken)), 0, 9);
    add(&mut tree, "f", 0o644, NodeKind::File(content));
    let error = run(&tree, &target, false).unwrap_err().to_string();
    assert_eq!(error, "/f: cannot read file data: block at 0x1000 is damaged");
}

#[test]
fn depth_and_directories_far_apart_are_no_matter() {
    let (_keep, target) = directory();
    let mut tree = Tree::new();
    let mut at = Tree::ROOT;
    let file = tree.insert(at, b"a", Node::file(0o644, Content::from_bytes(*b"x"))).unwrap();
    for depth in 0..1500 {
        at = tree.insert(at, b"d", Node::directory(0o755)).unwrap();
        if depth % 300 == 299 {
            tree.link(at, b"far", file).unwrap();
            tree.insert(at, b"z", Node::directory(0o500)).unwrap();
        }
    }
    let summary = run(&tree, &target, false).unwrap();
    assert_eq!(summary.names, 1511);
    assert_eq!(fs::metadata(target.join("a")).unwrap().nlink(), 6);
    // Deeper than a path may be long, so that only a walk through open directories removes it.
    let status = std::process::Command::new("rm").arg("-rf").arg(&target).status().unwrap();
    assert!(status.success());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back_without_root(tree in tree(small())) {
        let (_keep, target) = directory();
        let summary = run(&tree, &target, false).unwrap();
        let differences = compare(&tree, &read_back(&target, &summary)).unwrap();
        prop_assert!(differences.is_empty(), "{differences:#?}");
    }

    #[test]
    fn any_tree_comes_back_as_root(tree in tree(small())) {
        if is_root() {
            let (_keep, target) = directory();
            let summary = run(&tree, &target, true).unwrap();
            let differences = compare(&tree, &read_back(&target, &summary)).unwrap();
            prop_assert!(differences.is_empty(), "{differences:#?}");
        }
    }
}

fn small() -> Parameters {
    let mut parameters = Parameters::default();
    parameters.max_data = 5000;
    parameters.max_nodes = 25;
    parameters.nanoseconds = true;
    parameters
}
