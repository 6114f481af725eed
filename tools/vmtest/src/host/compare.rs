//! What a walk must find when the kernel sees the tree that was asked for.

use std::collections::{BTreeMap, HashMap, HashSet};

use flashwright_tree::{Content, ContentError, Kind, Node, NodeKind, Tree, WalkEntry, display_path};
use sha2::{Digest, Sha256};

use crate::protocol::{Bytes, NodeReport};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// The bits of `st_mode` that hold the type.
const TYPE_BITS: u16 = 0o170_000;

/// What a file system keeps of a tree, and what is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// Fractions of a second are kept.
    pub nanoseconds: bool,
    /// A symlink under several names is one node.
    pub linked_symlinks: bool,
    /// Xattrs are kept.
    pub xattrs: bool,
    /// A directory has as many links as `ls -l` shows elsewhere: 2, and 1 for each subdirectory.
    pub directory_links: bool,
    /// The root directory shows one link more than that, as JFFS2's does.
    pub extra_root_link: bool,
    /// Directories' times are compared.
    pub directory_times: bool,
    /// Files above this many bytes have no SHA-256; the same as in the step that walks.
    pub hash_up_to: u64,
}

impl Rules {
    /// Everything is kept, to the nanosecond.
    #[must_use]
    pub const fn exact() -> Self {
        Rules {
            nanoseconds: true,
            linked_symlinks: true,
            xattrs: true,
            directory_links: true,
            extra_root_link: false,
            directory_times: true,
            hash_up_to: u64::MAX,
        }
    }

    /// SquashFS: whole seconds.
    #[must_use]
    pub const fn squashfs() -> Self {
        Rules { nanoseconds: false, ..Rules::exact() }
    }

    /// JFFS2: whole seconds.
    #[must_use]
    pub const fn jffs2() -> Self {
        Rules { nanoseconds: false, extra_root_link: true, ..Rules::exact() }
    }

    /// UBIFS.
    #[must_use]
    pub const fn ubifs() -> Self {
        Rules::exact()
    }

    /// An initramfs, unpacked by the kernel: no xattrs, whole seconds, symlinks never linked.
    #[must_use]
    pub const fn initramfs() -> Self {
        Rules { nanoseconds: false, linked_symlinks: false, xattrs: false, ..Rules::exact() }
    }
}

/// What a walk finds when all of `tree` is there. Inode numbers only tell which names are one node; sizes of directories
/// are 0.
///
/// # Errors
/// [`ContentError`] when a file's data cannot be read.
pub fn expected(tree: &Tree, rules: &Rules) -> Result<Vec<NodeReport>, ContentError> {
    let names = tree.name_counts();
    let mut digests = HashMap::new();
    let mut reports = Vec::new();
    for entry in tree.walk() {
        let sha256 = match entry.node.content() {
            Some(content) if content.len() <= rules.hash_up_to && entry.first => {
                let digest = sha256(content)?;
                digests.insert(entry.id, digest.clone());
                Some(digest)
            }
            _ => digests.get(&entry.id).cloned(),
        };
        let mut report = describe(tree, &entry, rules);
        report.sha256 = sha256;
        report.ino = entry.id.index() as u64;
        report.nlink = link_count(tree, &entry, names[entry.id.index()], rules);
        if is_split(&entry.node, rules) {
            // Past all node ids, and of no other name.
            report.ino = (tree.arena_len() + reports.len()) as u64;
        }
        reports.push(report);
    }
    Ok(reports)
}

fn describe(tree: &Tree, entry: &WalkEntry, rules: &Rules) -> NodeReport {
    let (node, metadata) = (&entry.node, &entry.node.metadata);
    let xattrs = metadata.xattrs.iter().map(|(name, value)| (Bytes(name.clone()), Bytes(value.clone())));
    NodeReport {
        path: Bytes(entry.path.clone()),
        mode: node.mode(),
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: node.device().map_or((0, 0), |device| (device.major, device.minor)),
        size: size(node),
        mtime: (metadata.mtime.seconds, if rules.nanoseconds { metadata.mtime.nanoseconds } else { 0 }),
        target: if let NodeKind::Symlink(target) = &node.kind { Some(Bytes(target.clone())) } else { None },
        xattrs: if rules.xattrs { xattrs.collect() } else { BTreeMap::new() },
        entries: node.is_directory().then(|| tree.entries(entry.id).len() as u64),
        ..NodeReport::default()
    }
}

fn size(node: &Node) -> u64 {
    match &node.kind {
        NodeKind::File(content) => content.len(),
        NodeKind::Symlink(target) => target.len() as u64,
        _ => 0,
    }
}

fn is_split(node: &Node, rules: &Rules) -> bool {
    !rules.linked_symlinks && node.kind() == Kind::Symlink
}

fn link_count(tree: &Tree, entry: &WalkEntry, names: u32, rules: &Rules) -> u32 {
    if !entry.node.is_directory() {
        return if is_split(&entry.node, rules) { 1 } else { names };
    }
    let below = tree.entries(entry.id).filter(|(_, id)| tree.is_directory(*id)).count();
    let extra = u32::from(rules.extra_root_link && entry.path.is_empty());
    2 + extra + u32::try_from(below).unwrap_or(u32::MAX - 3)
}

fn sha256(content: &Content) -> Result<String, ContentError> {
    let mut digest = Sha256::new();
    let mut reader = content.reader();
    let mut buffer = vec![0; usize::try_from(content.len()).unwrap_or(CHUNK).min(CHUNK)];
    let mut offset = 0;
    while offset < content.len() {
        let len = usize::try_from(content.len() - offset).unwrap_or(CHUNK).min(CHUNK);
        reader.read_exact_at(offset, &mut buffer[..len])?;
        digest.update(&buffer[..len]);
        offset += len as u64;
    }
    reader.finish()?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every difference between what a walk should have found and what it found, by path; faults that the guest met
/// included.
#[must_use]
pub fn differences(expected: &[NodeReport], found: &[NodeReport], rules: &Rules) -> Vec<String> {
    let mut all = Vec::new();
    let mut by_path: HashMap<&Bytes, &NodeReport> = HashMap::new();
    for node in found {
        if by_path.insert(&node.path, node).is_some() {
            all.push(format!("{}: found twice", display_path(&node.path.0)));
        }
    }
    let mut inos = Inos::default();
    for want in expected {
        let path = display_path(&want.path.0);
        let Some(have) = by_path.remove(&want.path) else {
            all.push(format!("{path}: missing"));
            continue;
        };
        let of_node = node_differences(want, have, rules).into_iter().chain(inos.check(want, have));
        all.extend(of_node.map(|what| format!("{path}: {what}")));
    }
    let mut extra: Vec<_> = by_path.into_keys().collect();
    extra.sort();
    all.extend(extra.into_iter().map(|path| format!("{}: not expected", display_path(&path.0))));
    all
}

/// Which inode number stands for which expected one.
#[derive(Default)]
struct Inos {
    found_of: HashMap<u64, u64>,
    used: HashSet<u64>,
}

impl Inos {
    fn check(&mut self, want: &NodeReport, have: &NodeReport) -> Option<String> {
        if let Some(&before) = self.found_of.get(&want.ino) {
            let message =
                || format!("inode number {} found, another name of the node has {before}", have.ino);
            return (before != have.ino).then(message);
        }
        self.found_of.insert(want.ino, have.ino);
        let is_new = self.used.insert(have.ino);
        (!is_new).then(|| format!("inode number {} found, which another node has", have.ino))
    }
}

fn node_differences(want: &NodeReport, have: &NodeReport, rules: &Rules) -> Vec<String> {
    let mut all = have.faults.clone();
    let mut check = |what: &str, want: String, have: String| {
        if want != have {
            all.push(format!("{what} {have} found, {want} expected"));
        }
    };
    let directory = want.mode & TYPE_BITS == Kind::Directory.mode_bits();
    check("mode", format!("{:#o}", want.mode), format!("{:#o}", have.mode));
    check("owner", format!("{}:{}", want.uid, want.gid), format!("{}:{}", have.uid, have.gid));
    check("device", format!("{}:{}", want.rdev.0, want.rdev.1), format!("{}:{}", have.rdev.0, have.rdev.1));
    if !directory || rules.directory_links {
        check("link count", want.nlink.to_string(), have.nlink.to_string());
    }
    if !directory {
        check("size", want.size.to_string(), have.size.to_string());
    }
    if !directory || rules.directory_times {
        let time = |node: &NodeReport| format!("{}.{:09}", node.mtime.0, node.mtime.1);
        check("mtime", time(want), time(have));
    }
    check("target", format!("{:?}", want.target), format!("{:?}", have.target));
    check("xattrs", format!("{:?}", want.xattrs), format!("{:?}", have.xattrs));
    check("SHA-256", format!("{:?}", want.sha256), format!("{:?}", have.sha256));
    check("entry count", format!("{:?}", want.entries), format!("{:?}", have.entries));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let file = tree.insert(Tree::ROOT, b"a", Node::file(0o644, Content::from_bytes(*b"abc"))).unwrap();
        tree.link(Tree::ROOT, b"b", file).unwrap();
        tree.insert(Tree::ROOT, b"c", Node::symlink(*b"a")).unwrap();
        tree
    }

    fn after(change: impl FnOnce(&mut Vec<NodeReport>)) -> Vec<String> {
        let rules = Rules::exact();
        let expected = expected(&tree(), &rules).unwrap();
        let mut found = expected.clone();
        found.iter_mut().for_each(|node| node.ino += 1000);
        change(&mut found);
        differences(&expected, &found, &rules)
    }

    #[test]
    fn the_same_nodes_under_other_inode_numbers_are_no_difference() {
        assert_eq!(after(|_| ()), [""; 0]);
    }

    #[test]
    fn what_is_known_of_a_file() {
        let nodes = expected(&tree(), &Rules::exact()).unwrap();
        assert_eq!((nodes[1].nlink, nodes[1].size, nodes[1].mode), (2, 3, 0o100_644));
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(nodes[2].sha256.as_deref(), Some(digest));
        assert_eq!((nodes[0].nlink, nodes[0].entries), (2, Some(3)));
    }

    #[test]
    fn every_difference_is_named() {
        assert_eq!(after(|nodes| drop(nodes.pop())), ["/c: missing"]);
        assert_eq!(after(|nodes| nodes.push(nodes[1].clone())), ["/a: found twice"]);
        assert_eq!(after(|nodes| nodes[3].path = Bytes(b"d".into())), ["/c: missing", "/d: not expected"]);
        assert_eq!(after(|nodes| nodes[1].mode = 0o100_600), ["/a: mode 0o100600 found, 0o100644 expected"]);
        let linked = after(|nodes| nodes[2].ino = 7);
        assert_eq!(linked, ["/b: inode number 7 found, another name of the node has 1001"]);
        let shared = after(|nodes| nodes[3].ino = 1001);
        assert_eq!(shared, ["/c: inode number 1001 found, which another node has"]);
        assert_eq!(after(|nodes| nodes[0].faults.push("x".into())), ["/: x"]);
        assert_eq!(
            after(|nodes| nodes[3].mtime.1 = 1),
            ["/c: mtime 0.000000001 found, 0.000000000 expected"]
        );
    }

    #[test]
    fn symlinks_of_an_initramfs_are_never_linked() {
        let mut tree = tree();
        let link = tree.resolve(b"c").unwrap();
        tree.link(Tree::ROOT, b"d", link).unwrap();
        let nodes = expected(&tree, &Rules::initramfs()).unwrap();
        assert_eq!((nodes[3].nlink, nodes[4].nlink), (1, 1));
        assert_ne!(nodes[3].ino, nodes[4].ino);
    }
}
