//! Trees written, read back and compared; limits; archives that others would write.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use flashwright_cpio::{
    Contents, Error, Options, Summary, XattrPolicy, plan, read, read_bytes, read_parts, write,
};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Source, Timestamp, Tree, compare};
use proptest::prelude::*;

fn archive(tree: &Tree) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let summary = write(tree, &Options::default(), &mut bytes).unwrap();
    assert_eq!(summary.archive_len, bytes.len() as u64);
    (bytes, summary)
}

fn assert_round_trip(tree: &Tree) {
    let differences = compare(tree, &read_bytes(archive(tree).0).unwrap()).unwrap();
    assert_eq!(differences, []);
}

fn device(block: bool, major: u32, minor: u32) -> Node {
    let device = Device { major, minor };
    let kind = if block { NodeKind::BlockDevice(device) } else { NodeKind::CharDevice(device) };
    Node::new(Metadata::new(0o600), kind)
}

/// Every kind of node, every bit of mode, hard links of four kinds, odd names.
fn everything() -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata.permissions = 0o1777;
    let dev = tree.insert(Tree::ROOT, b"dev", Node::directory(0o755)).unwrap();
    let console = tree.insert(dev, b"console", device(false, 5, 1)).unwrap();
    tree.link(dev, b"console2", console).unwrap();
    tree.insert(dev, b"last", device(true, Device::MAX_MAJOR, Device::MAX_MINOR)).unwrap();
    let fifo = tree.insert(dev, b"fifo", Node::new(Metadata::new(0o622), NodeKind::Fifo)).unwrap();
    tree.link(dev, b"fifo2", fifo).unwrap();
    tree.insert(dev, b"socket", Node::new(Metadata::new(0o777), NodeKind::Socket)).unwrap();
    let mut file = Node::file(0o7755, Content::from_bytes(*b"hello").with(Source::Hole, 0, 300_000));
    (file.metadata.uid, file.metadata.gid) = (u32::MAX - 1, 65_536);
    file.metadata.mtime = Timestamp::from_seconds(u32::MAX.into());
    let file = tree.insert(Tree::ROOT, b"a", file).unwrap();
    tree.link(dev, b"z", file).unwrap();
    tree.insert(Tree::ROOT, b"empty", Node::file(0, Content::empty())).unwrap();
    let link = tree.insert(Tree::ROOT, b"link", Node::symlink(*b"../\xff target")).unwrap();
    tree.link(Tree::ROOT, b"link2", link).unwrap();
    tree.insert(Tree::ROOT, b"TRAILER!!!", Node::file(0o644, Content::from_bytes(*b"not the end"))).unwrap();
    tree.insert(Tree::ROOT, b"new\nline \xff\\", Node::directory(0o2000)).unwrap();
    tree.insert(Tree::ROOT, &[b'n'; 255], Node::symlink(vec![b't'; 4095])).unwrap();
    tree
}

#[test]
fn everything_reads_back() {
    let tree = everything();
    assert_round_trip(&tree);
    let (bytes, summary) = archive(&tree);
    let (entries, nodes) = (tree.walk().count(), tree.walk().filter(|entry| entry.first).count());
    assert_eq!((summary.entries, summary.nodes), (entries as u64, nodes as u64));
    assert_eq!(summary.data_len, 5 + 300_000 + 11);
    assert_eq!(bytes.len() % 512, 0);
    assert!(bytes.len() < 310_000, "a hard-linked file's data must be there once");
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let mut other = Tree::new();
    let mut tree = Tree::new();
    for name in [b"x", b"y", b"z"] {
        tree.insert(Tree::ROOT, name, Node::file(0o644, Content::from_bytes(*name))).unwrap();
    }
    for name in [b"z", b"x", b"y"] {
        other.insert(Tree::ROOT, name, Node::file(0o644, Content::from_bytes(*name))).unwrap();
    }
    assert_eq!(archive(&tree), archive(&other));
    let expected = "070701\
        00000001000041ED000000000000000000000002000000000000000000000000000000000000000000000000\
        0000000200000000.\0";
    assert!(archive(&tree).0.starts_with(expected.as_bytes()));
}

#[test]
fn an_archive_in_a_file_reads_as_one_in_memory() {
    let tree = everything();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&archive(&tree).0).unwrap();
    let len = file.metadata().unwrap().len();
    let file: Arc<File> = Arc::new(file);
    assert_eq!(compare(&tree, &read(file, len).unwrap()).unwrap(), []);
}

fn refused(node: Node, name: &[u8]) -> String {
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, name, node).unwrap();
    let mut output = Vec::new();
    let error = write(&tree, &Options::default(), &mut output).unwrap_err();
    assert!(output.is_empty(), "nothing may be written before an error of the tree");
    assert!(matches!(error, Error::Limit { .. }));
    error.to_string()
}

fn file_with(change: impl FnOnce(&mut Metadata)) -> Node {
    let mut node = Node::file(0o644, Content::empty());
    change(&mut node.metadata);
    node
}

#[test]
fn limits_name_path_limit_and_remedy() {
    let huge = Content::empty().with(Source::Hole, 0, 1 << 32);
    let cases = [
        (
            Node::file(0, huge),
            "/f: it has 4294967296 bytes, but an initramfs holds files of at most 4294967295 bytes (4 GiB - 1); split it, or use another format",
        ),
        (
            device(true, 4096, 0),
            "/f: its device number is 4096:0, but an initramfs holds device numbers up to 4095:1048575; use a number that Linux has",
        ),
        (device(false, 0, 1 << 20), "/f: its device number is 0:1048576,"),
        (
            Node::symlink(vec![b'x'; 4096]),
            "/f: its target has 4096 bytes, 0 of them NUL, but an initramfs holds targets of 1 to 4095 bytes without NUL",
        ),
        (Node::symlink(*b""), "/f: its target has 0 bytes"),
        (Node::symlink(*b"a\0b"), "/f: its target has 3 bytes, 1 of them NUL"),
        (file_with(|m| m.uid = u32::MAX), "/f: its owner is 4294967295,"),
        (file_with(|m| m.gid = u32::MAX), "/f: its group is 4294967295,"),
        (
            file_with(|m| m.mtime.seconds = -1),
            "/f: its modification time is -1 s after 1970, but an initramfs holds times from 1970 to 2106",
        ),
        (file_with(|m| m.mtime.seconds = 1 << 32), "/f: its modification time is 4294967296 s"),
        (
            file_with(|m| drop(m.xattrs.insert(b"user.a".into(), b"".into()))),
            "/f: it has xattrs (user.a), but an initramfs holds no xattrs; remove them, or ask to drop them",
        ),
    ];
    for (node, message) in cases {
        let error = refused(node, b"f");
        assert!(error.starts_with(message), "{error}");
    }
    assert!(refused(file_with(|_| ()), &[b'n'; 256]).contains("its name has 256 bytes"));
}

#[test]
fn a_path_may_have_4095_bytes() {
    let mut tree = Tree::new();
    let mut directory = Tree::ROOT;
    for _ in 0..16 {
        directory = tree.insert(directory, &[b'd'; 254], Node::directory(0o755)).unwrap();
    }
    tree.insert(directory, &[b'f'; 15], Node::file(0, Content::empty())).unwrap();
    assert_round_trip(&tree);
    tree.insert(directory, &[b'f'; 16], Node::file(0, Content::empty())).unwrap();
    let error = write(&tree, &Options::default(), &mut io::sink()).unwrap_err().to_string();
    assert!(error.contains("its path has 4096 bytes"), "{error}");
}

#[test]
fn what_an_initramfs_has_no_room_for_is_counted() {
    let mut tree = Tree::new();
    let node = file_with(|m| {
        m.mtime = Timestamp { seconds: 9, nanoseconds: 1 };
        m.xattrs.insert(b"user.a".into(), b"1".into());
    });
    tree.insert(Tree::ROOT, b"f", node).unwrap();
    let mut options = Options::default();
    options.xattrs = XattrPolicy::Drop;
    let summary = plan(&tree, &options).unwrap().summary();
    assert_eq!((summary.truncated_times, summary.dropped_xattrs), (1, 1));
}

#[test]
fn padding_is_a_power_of_two() {
    let tree = Tree::new();
    let mut options = Options::default();
    for bad in [0, 1, 2, 3, 6, 511, 1 << 31] {
        options.pad_to = bad;
        assert!(matches!(plan(&tree, &options), Err(Error::BadPadding(_))), "{bad}");
    }
    for (pad_to, len) in [(4, 236), (512, 512), (4096, 4096)] {
        options.pad_to = pad_to;
        assert_eq!(plan(&tree, &options).unwrap().summary().archive_len, len);
    }
}

#[test]
fn the_output_and_the_source_may_fail() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(write(&Tree::new(), &Options::default(), &mut Full), Err(Error::Write(_))));

    let empty = Arc::new(tempfile::tempfile().unwrap());
    let mut tree = Tree::new();
    let content = Content::empty().with(Source::Reader(empty), 0, 1);
    tree.insert(Tree::ROOT, b"f", Node::file(0, content)).unwrap();
    let error = write(&tree, &Options::default(), &mut io::sink()).unwrap_err().to_string();
    assert!(error.starts_with("/f: cannot read file data"), "{error}");
}

/// An archive as another program could write it: (mode, ino, nlink, name, data).
fn foreign(entries: &[(u32, u32, u32, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, ino, nlink, name, data) in entries.iter().chain([&(0, 0, 1, "TRAILER!!!", "")]) {
        let (data_len, name_len) = (data.len(), name.len() + 1);
        let head = format!(
            "070701{ino:08x}{mode:08x}{:016x}{nlink:08x}{:08x}{data_len:08x}{:032x}{name_len:08x}",
            0, 7, 0
        );
        bytes.extend(head.bytes().chain([b'0'; 8]).chain(name.bytes()).chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

const FILE: u32 = 0o100_644;
const DIR: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

fn text(tree: &Tree, path: &str) -> String {
    let node = tree.node(tree.resolve(path.as_bytes()).unwrap());
    String::from_utf8(node.content().unwrap().to_vec().unwrap()).unwrap()
}

#[test]
fn archives_one_after_the_other_are_one_tree() {
    let mut bytes = foreign(&[(DIR, 1, 2, "/d", ""), (FILE, 2, 2, "./d/x", "old"), (FILE, 2, 2, "d/y", "")]);
    bytes.resize(bytes.len() + 100_000, 0);
    // The same inode number in another archive is another file.
    bytes.extend(foreign(&[(FILE, 2, 2, "d/x", "new"), (FILE, 2, 2, "d/z", ""), (DIR, 1, 2, "d", "")]));
    bytes.resize(bytes.len() + 3, 0);
    let tree = read_bytes(bytes).unwrap();
    assert_eq!(
        (text(&tree, "d/x"), text(&tree, "d/y"), text(&tree, "d/z")),
        ("new".into(), "old".into(), "new".into())
    );
    assert_eq!(tree.resolve(b"d/x"), tree.resolve(b"d/z"));
}

#[test]
fn hard_links_are_told_by_inode_number_and_count() {
    // Data with the first name, data with the last, and two files of one name each.
    let tree = read_bytes(foreign(&[
        (FILE, 1, 2, "a", "first"),
        (FILE, 1, 2, "b", ""),
        (FILE, 2, 2, "c", ""),
        (FILE, 2, 2, "d", "last"),
        (FILE, 3, 1, "e", "1"),
        (FILE, 3, 1, "f", "2"),
        (LINK, 4, 2, "g", "a"),
        (LINK, 4, 2, "h", "b"),
    ]))
    .unwrap();
    assert_eq!((text(&tree, "a"), text(&tree, "c")), ("first".into(), "last".into()));
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| tree.resolve(name.as_bytes()).unwrap());
    assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
    assert_ne!(ids[4], ids[5]);
    assert_ne!(ids[6], ids[7]);
}

/// The archive as the program cpio reads it.
fn parts(bytes: Vec<u8>) -> Result<Contents, Error> {
    let len = bytes.len() as u64;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    read_parts(Arc::new(File::open(file.path()).unwrap()), len, Source::Bytes(bytes.into()))
}

#[test]
fn directories_may_come_late_or_never_for_those_who_ask() {
    let entries = [
        (FILE, 1, 1, "a/b/x", "1"),
        (FILE, 2, 1, "a/c/y", "2"),
        (DIR | 0o30, 3, 2, "a/c", ""),
        (DIR, 4, 2, ".", ""),
    ];
    let Contents { tree, made_up, .. } = parts(foreign(&entries)).unwrap();
    assert_eq!((text(&tree, "a/b/x"), text(&tree, "a/c/y")), ("1".into(), "2".into()));
    let made: BTreeSet<_> =
        ["a", "a/b"].iter().map(|path| tree.resolve(path.as_bytes()).unwrap().index()).collect();
    assert_eq!(made_up.iter().map(|id| id.index()).collect::<BTreeSet<_>>(), made);
    let late = tree.node(tree.resolve(b"a/c").unwrap());
    assert_eq!(u32::from(late.metadata.permissions), (DIR | 0o30) & 0o7777);

    let error = parts(foreign(&[(FILE, 1, 1, "a", ""), (FILE, 1, 1, "a/b/c", "")])).unwrap_err().to_string();
    assert!(error.starts_with("byte 0x70: /a/b/c: "), "{error}");
    // Each of these takes 2000 directories for 4 KiB of archive.
    let paths: Vec<String> = (0..40).map(|n| format!("{n}/{}x", "d/".repeat(2000))).collect();
    let deep: Vec<_> = paths.iter().map(|path| (FILE, 1, 1, path.as_str(), "")).collect();
    let error = parts(foreign(&deep)).unwrap_err().to_string();
    assert!(error.contains("more than 65536 directories without an entry"), "{error}");
}

fn problem(bytes: Vec<u8>) -> String {
    read_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn bad_entries_are_named() {
    let cases: [(&[_], &str); 12] = [
        (&[(FILE, 1, 1, "../x", "")], "byte 0x0: /../x: '..' leads out of the tree"),
        (&[(FILE, 1, 1, "d/x", "")], "byte 0x0: /d/x: no entry for its directory comes before it"),
        (
            &[(FILE, 1, 1, "d", ""), (FILE, 1, 1, "d/x", "")],
            "byte 0x70: /d/x: what should be its directory is something else",
        ),
        (&[(LINK, 1, 1, "d", "/"), (FILE, 1, 1, "d/x", "")], "byte 0x74: /d/x: what should be its directory"),
        (
            &[(DIR, 1, 1, "d", ""), (DIR, 1, 1, "d/e", ""), (FILE, 1, 1, "d", "")],
            "byte 0xe4: /d: it would replace a directory that is not empty",
        ),
        (&[(FILE, 1, 1, ".", "")], "byte 0x0: /: the root can only be a directory"),
        (&[(FILE, 1, 1, "", "")], "byte 0x0: /: the root can only be a directory"),
        (&[(0o644, 1, 1, "x", "")], "byte 0x0: /x: mode 0o644 is that of no file type"),
        (&[(0o1_100_644, 1, 1, "x", "")], "byte 0x0: /x: mode 0o1100644"),
        (&[(LINK, 1, 1, "x", "")], "byte 0x0: /x: expected a target of 1 to 4095 bytes, found 0"),
        (&[(LINK, 1, 1, "x", "a\0b")], "byte 0x0: /x: a symlink's target"),
        (&[(FILE, 1, 1, "a\0b", "")], "byte 0x6e: expected a name with a NUL byte at its end"),
    ];
    for (entries, message) in cases {
        let problem = problem(foreign(entries));
        assert!(problem.starts_with(message), "{problem}");
    }
    let long = problem(foreign(&[(FILE, 1, 1, &"x".repeat(256), "")]));
    assert!(long.contains("names of at most 255 bytes"), "{long}");
}

#[test]
fn what_is_no_archive_is_told_what_it_looks_like() {
    let cases: [(&[u8], &str); 6] = [
        (
            b"",
            "byte 0x0: expected the magic 070701 or 070702, found bytes \"\"; the archive ends without its TRAILER",
        ),
        (
            b"070707",
            "byte 0x0: expected the magic 070701 or 070702, found bytes \"303730373037\", the old portable",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0",
            "byte 0x0: expected the magic 070701 or 070702, found bytes \"1f8b08000000\", gzip",
        ),
        (
            b"\x28\xb5\x2f\xfd\0\0\0",
            "byte 0x0: expected the magic 070701 or 070702, found bytes \"28b52ffd0000\", zstd",
        ),
        (b"070701", "byte 0x0: the archive is cut short: a header needs 110 bytes, 6 are left"),
        (
            b"PK",
            "byte 0x0: expected the magic 070701 or 070702, found bytes \"504b\"; this is no newc archive",
        ),
    ];
    for (bytes, message) in cases {
        let problem = problem(bytes.to_vec());
        assert!(problem.starts_with(message), "{problem}");
    }
    let mut misplaced = foreign(&[]);
    misplaced.extend(b"\0".iter().chain(&foreign(&[])));
    assert!(problem(misplaced).contains("Linux calls junk"));
}

#[test]
fn checksums_are_verified() {
    let mut bytes = foreign(&[(FILE, 1, 1, "x", "ab")]);
    bytes[5] = b'2';
    let sum = format!("{:08x}", u32::from(b'a') + u32::from(b'b'));
    bytes[102..110].copy_from_slice(sum.as_bytes());
    let trailer = bytes.len() - 124;
    bytes[trailer + 5] = b'2';
    assert_eq!(text(&read_bytes(bytes.clone()).unwrap(), "x"), "ab");
    bytes[112] ^= 1;
    assert!(problem(bytes).starts_with("byte 0x70: data checksum 0x000000c2, expected 0x000000c3"));
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, b"file", Node::file(0o644, Content::from_bytes(*b"some data"))).unwrap();
    tree.insert(Tree::ROOT, b"link", Node::symlink(*b"file")).unwrap();
    let mut options = Options::default();
    options.pad_to = 4;
    let mut bytes = Vec::new();
    write(&tree, &options, &mut bytes).unwrap();
    // The trailer's 3 bytes of padding may be missing.
    for len in 0..bytes.len() - 3 {
        let cut = read_bytes(&bytes[..len]);
        assert!(matches!(cut, Err(Error::Corrupt { .. })), "{len} of {} bytes", bytes.len());
    }
}

#[derive(Debug, Clone)]
struct Step {
    parent: prop::sample::Index,
    name: Vec<u8>,
    mode: u16,
    owner: (u32, u32),
    mtime: u32,
    kind: u8,
    data: Vec<u8>,
    link: prop::sample::Index,
}

prop_compose! {
    fn step()(
        parent in any::<prop::sample::Index>(),
        name in prop::collection::vec(prop::sample::select(b"ab.\xff\n ".to_vec()), 1..6),
        mode in 0u16..0o10000,
        owner in (0..u32::MAX, 0..u32::MAX),
        mtime in any::<u32>(),
        kind in 0u8..9,
        data in prop::collection::vec(any::<u8>(), 1..40),
        link in any::<prop::sample::Index>(),
    ) -> Step {
        Step { parent, name, mode, owner, mtime, kind, data, link }
    }
}

fn step_kind(step: &Step) -> NodeKind {
    let device = Device { major: step.owner.0 & Device::MAX_MAJOR, minor: step.owner.1 & Device::MAX_MINOR };
    match step.kind {
        0 | 1 => NodeKind::Directory,
        2 => NodeKind::Symlink(step.data.iter().map(|&byte| byte.max(1)).collect()),
        3 => NodeKind::CharDevice(device),
        4 => NodeKind::BlockDevice(device),
        5 => NodeKind::Fifo,
        6 => NodeKind::Socket,
        _ => NodeKind::File(Content::from_bytes(step.data.clone()).with(
            Source::Hole,
            0,
            u64::from(step.mtime % 99),
        )),
    }
}

fn tree_of(steps: &[Step]) -> Tree {
    let mut tree = Tree::new();
    let (mut directories, mut others) = (vec![Tree::ROOT], Vec::new());
    for step in steps {
        let parent = *step.parent.get(&directories);
        if step.kind == 8 && !others.is_empty() {
            let _ = tree.link(parent, &step.name, *step.link.get(&others));
            continue;
        }
        let mut metadata = Metadata::new(step.mode);
        (metadata.uid, metadata.gid) = step.owner;
        metadata.mtime = Timestamp::from_seconds(step.mtime.into());
        let node = Node::new(metadata, step_kind(step));
        let is_directory = node.is_directory();
        // A name that is taken or cannot be is left out.
        let Ok(id) = tree.insert(parent, &step.name, node) else { continue };
        if is_directory { &mut directories } else { &mut others }.push(id);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_reads_back(steps in prop::collection::vec(step(), 0..40)) {
        assert_round_trip(&tree_of(&steps));
    }

    #[test]
    fn any_damage_is_an_error_or_a_tree(steps in prop::collection::vec(step(), 0..8), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (mut bytes, _) = archive(&tree_of(&steps));
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(tree) = read_bytes(bytes) {
            for entry in tree.walk() {
                if let Some(content) = entry.node.content() {
                    content.to_vec().unwrap();
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_bytes(bytes);
    }
}
