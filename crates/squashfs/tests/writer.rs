//! What the writer stores once, what it refuses, and that it never reads a file into an image half old, half new.

mod fixtures;

use std::fs;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use flashwright_squashfs::{Effort, Fragments, Method, OptionError, Options, Summary, WriteError, write};
use flashwright_tree::{
    Content, Device, HostFile, Metadata, Node, NodeKind, Source, Timestamp, Tree, compare,
};

const BLOCK: usize = 4096;

fn options() -> Options {
    let mut options = Options::default();
    options.method = Method::Gzip { level: None };
    options.block_size = 4096;
    options
}

fn try_write(tree: &Tree, options: &Options) -> Result<(Summary, Vec<u8>), WriteError> {
    let mut image = Cursor::new(Vec::new());
    let summary = write(tree, options, NonZeroUsize::new(2).unwrap(), &mut image, &mut |_| ())?;
    Ok((summary, image.into_inner()))
}

/// Writes, reads back, compares and checks.
fn written(tree: &Tree, options: &Options) -> Summary {
    let (summary, bytes) = try_write(tree, options).unwrap();
    let image = fixtures::open_bytes(bytes).unwrap();
    assert_eq!(compare(tree, &image.tree().unwrap()).unwrap(), []);
    let report = image.check().unwrap();
    assert!(report.findings.is_clean(), "{:#?}", report.findings);
    summary
}

/// Data that does not compress and is different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

fn tree_of(files: &[(&str, Vec<u8>)]) -> Tree {
    let mut tree = Tree::new();
    for (name, data) in files {
        let node = Node::file(0o644, Content::from_bytes(data.clone()));
        tree.insert(Tree::ROOT, name.as_bytes(), node).unwrap();
    }
    tree
}

#[test]
fn equal_files_runs_of_blocks_and_tails_are_stored_once() {
    let long = noise(1, 5 * BLOCK + 100);
    let (whole, run, tail) = (long.clone(), long[BLOCK..4 * BLOCK].to_vec(), long[5 * BLOCK..].to_vec());
    let summary = written(&tree_of(&[("a", long), ("b", whole), ("c", run), ("d", tail)]), &options());
    assert_eq!((summary.blocks, summary.fragments), (6, 1));
    assert_eq!(summary.duplicate_files, 3);
    assert_eq!(summary.duplicate_bytes, (5 * BLOCK + 100 + 3 * BLOCK + 100) as u64);
}

#[test]
fn a_file_that_only_begins_like_another_gets_blocks_of_its_own() {
    let long = noise(1, 40 * BLOCK);
    let mut other = long.clone();
    other[39 * BLOCK] ^= 1;
    let summary = written(&tree_of(&[("a", long.clone()), ("b", other.clone())]), &options());
    assert_eq!((summary.blocks, summary.duplicate_files, summary.duplicate_bytes), (80, 0, 0));
    // The second half of "a" and the first half of "b" follow each other in the image: a run for "c".
    let across = [&long[20 * BLOCK..], &other[..20 * BLOCK]].concat();
    let summary = written(&tree_of(&[("a", long), ("b", other), ("c", across)]), &options());
    assert_eq!((summary.blocks, summary.duplicate_files), (80, 1));
}

#[test]
fn duplicates_are_kept_where_nobody_looks_for_them() {
    let data = noise(3, 2 * BLOCK + 7);
    let mut options = options();
    options.duplicates = false;
    let summary = written(&tree_of(&[("a", data.clone()), ("b", data)]), &options);
    assert_eq!((summary.blocks, summary.duplicate_files), (5, 0));
}

#[test]
fn holes_cost_nothing_wherever_they_are() {
    let mut tree = Tree::new();
    let data = |seed| Source::Bytes(noise(seed, BLOCK).into());
    let len = BLOCK as u64;
    let middle = Content::empty().with(data(1), 0, len).with(Source::Hole, 0, 64 * len).with(data(2), 0, len);
    let end = Content::empty().with(data(3), 0, len).with(Source::Hole, 0, 3 * len + 5);
    let huge = Content::empty().with(Source::Hole, 0, 5 << 30);
    for (name, content) in [("middle", middle), ("end", end), ("huge", huge)] {
        tree.insert(Tree::ROOT, name.as_bytes(), Node::file(0o644, content)).unwrap();
    }
    tree.insert(Tree::ROOT, b"zeros", Node::file(0o644, Content::from_bytes(vec![0; 3 * BLOCK + 1])))
        .unwrap();
    let mut options = options();
    options.block_size = 4096;
    let (summary, bytes) = try_write(&tree, &options).unwrap();
    assert_eq!((summary.blocks, summary.fragments), (3, 0));
    assert_eq!(summary.hole_bytes, 64 * len + 3 * len + 5 + (5 << 30) + 3 * len + 1);
    assert!(summary.bytes_out < 64 << 10, "{summary:?}");
    assert_eq!(compare(&tree, &fixtures::open_bytes(bytes).unwrap().tree().unwrap()).unwrap(), []);
}

#[test]
fn a_small_image_has_one_fragment_block_for_all_kinds_of_data() {
    let elf = [b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec(), noise(1, 101)].concat();
    let files = [("a.txt", b"text\n".repeat(9)), ("b.bin", noise(2, 99)), ("c", elf.clone()), ("d", elf)];
    for effort in [Effort::Fast, Effort::Default, Effort::Max] {
        let mut options = options();
        options.effort = effort;
        let summary = written(&tree_of(&files), &options);
        assert_eq!((summary.blocks, summary.fragments, summary.duplicate_files), (1, 1, 1));
    }
}

#[test]
fn fragments_hold_what_they_are_asked_to() {
    let files = [("long", noise(1, BLOCK + 100)), ("short", noise(2, 100))];
    for (fragments, expected) in
        [(Fragments::Never, (3, 0)), (Fragments::SmallFiles, (3, 1)), (Fragments::Tails, (2, 1))]
    {
        let mut options = options();
        options.fragments = fragments;
        let summary = written(&tree_of(&files), &options);
        assert_eq!((summary.blocks, summary.fragments), expected, "{fragments:?}");
    }
}

#[test]
fn what_squashfs_cannot_hold_is_refused_by_path_before_anything_is_written() {
    let with = |change: &dyn Fn(&mut Node)| {
        let mut node = Node::file(0o644, Content::from_bytes(*b"x"));
        change(&mut node);
        let mut tree = Tree::new();
        let dir = tree.insert(Tree::ROOT, b"dir", Node::directory(0o755)).unwrap();
        tree.insert(dir, b"bad", node).unwrap();
        tree
    };
    let kind = |kind: NodeKind| with(&move |node| *node = Node::new(Metadata::new(0o644), kind.clone()));
    let xattr = |name: &[u8], len: usize| {
        let name = name.to_vec();
        with(&move |node| drop(node.metadata.xattrs.insert(name.clone(), vec![1; len])))
    };
    let time = |seconds| with(&move |node| node.metadata.mtime = Timestamp::from_seconds(seconds));
    let cases = [
        (xattr(b"system.posix_acl_access", 4), "user., trusted. and security. only"),
        (xattr(b"user.", 4), "1 to 255 bytes after its prefix"),
        (xattr(b"user.x", 65_537), "65537 bytes, Linux reads at most 65536"),
        (kind(NodeKind::CharDevice(Device { major: 4096, minor: 0 })), "device 4096:0"),
        (kind(NodeKind::BlockDevice(Device { major: 1, minor: 1 << 20 })), "device 1:1048576"),
        (kind(NodeKind::Symlink(vec![b'x'; 65_536])), "target has 65536 bytes"),
        (kind(NodeKind::Symlink(Vec::new())), "target has 0 bytes"),
        (
            kind(NodeKind::File(Content::empty().with(Source::Hole, 0, 1 << 60))),
            "a file may have 274877906944",
        ),
        (time(-1), "modification time -1 s"),
        (time(1 << 32), "modification time 4294967296 s"),
    ];
    for (tree, message) in cases {
        let mut image = Cursor::new(Vec::new());
        let error = write(&tree, &options(), NonZeroUsize::MIN, &mut image, &mut |_| ()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, WriteError::Node { .. }), "{text}");
        assert!(text.starts_with("/dir/bad: ") && text.contains(message) && text.contains("; "), "{text}");
        assert!(image.into_inner().is_empty(), "{text}");
    }
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, &[b'n'; 257], Node::directory(0o755)).unwrap();
    let error = try_write(&tree, &options()).unwrap_err().to_string();
    assert!(error.contains("the name has 257 bytes, SquashFS holds 256"), "{error}");
}

#[test]
fn owners_are_counted() {
    let tree_with = |owners: u32| {
        let mut tree = Tree::new();
        for owner in 1..=owners {
            let mut node = Node::new(Metadata::new(0o644), NodeKind::Fifo);
            (node.metadata.uid, node.metadata.gid) = (owner, owner);
            tree.insert(Tree::ROOT, owner.to_string().as_bytes(), node).unwrap();
        }
        tree
    };
    assert_eq!(written(&tree_with(65_534), &options()).inodes, 65_535);
    let error = try_write(&tree_with(65_535), &options()).unwrap_err().to_string();
    assert!(error.contains("65536 different owners and groups, SquashFS holds 65535"), "{error}");
}

#[test]
fn options_are_checked_first() {
    let mut options = options();
    options.block_size = 5000;
    let error = try_write(&Tree::new(), &options).unwrap_err();
    assert!(matches!(error, WriteError::Option(OptionError::BlockSize(5000))), "{error}");
}

#[test]
fn a_file_that_changes_is_an_error_with_its_path_in_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, noise(1, 3 * BLOCK)).unwrap();
    let file = Arc::new(HostFile::new(&path, &fs::metadata(&path).unwrap()));
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, b"etc", Node::file(0o644, Content::from_host(file))).unwrap();
    assert!(try_write(&tree, &options()).is_ok());
    fs::write(&path, noise(2, 3 * BLOCK + 1)).unwrap();
    for effort in [Effort::Default, Effort::Max] {
        let mut options = options();
        options.effort = effort;
        let error = try_write(&tree, &options).unwrap_err();
        assert!(matches!(error, WriteError::Content { .. }), "{error}");
        assert!(error.to_string().starts_with("/etc: ") && error.to_string().contains("changed"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(try_write(&tree, &options()), Err(WriteError::Content { .. })));
}

/// A disk that is full after some bytes.
struct Full(Cursor<Vec<u8>>, usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.get_ref().len() + bytes.len() > self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Full {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_full_disk_ends_the_writing_with_its_reason() {
    let tree = tree_of(&[("a", noise(1, 900 * BLOCK))]);
    for room in [0, 100, 2 << 20] {
        let mut disk = Full(Cursor::new(Vec::new()), room);
        let error = write(&tree, &options(), NonZeroUsize::MIN, &mut disk, &mut |_| ()).unwrap_err();
        let WriteError::Output(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn progress_reaches_the_end_and_never_goes_back() {
    let tree = tree_of(&[("a", noise(1, 300 * BLOCK)), ("b", noise(2, 10)), ("c", Vec::new())]);
    let mut seen = Vec::new();
    let mut image = Cursor::new(Vec::new());
    write(&tree, &options(), NonZeroUsize::MIN, &mut image, &mut |progress| seen.push(progress)).unwrap();
    assert!(seen.is_sorted_by_key(|progress| (progress.bytes_done, progress.files_done)));
    let last = seen.last().unwrap();
    assert_eq!((last.bytes_done, last.bytes_total), ((300 * BLOCK + 10) as u64, (300 * BLOCK + 10) as u64));
    assert_eq!((last.files_done, last.files_total), (3, 3));
}
