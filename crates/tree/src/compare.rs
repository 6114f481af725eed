//! What differs between two trees: the last word of every round-trip test and of image comparison.

use std::collections::HashMap;
use std::fmt;

use crate::name::display_path;
use crate::{Content, ContentError, Node, NodeId, NodeKind, Tree, WalkEntry};

/// One difference between two trees, at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path in the image, no leading `/`.
    pub path: Vec<u8>,
    /// What differs, with both values.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", display_path(&self.path), self.what)
    }
}

/// Every difference between two trees in names, kinds, metadata, hard links, targets, devices and data. Data is
/// compared as bytes, so a hole equals zeros. Differences come in path order; none means that both trees make
/// the same image.
///
/// # Errors
/// [`ContentError`] when data of either tree cannot be read.
pub fn compare(left: &Tree, right: &Tree) -> Result<Vec<Difference>, ContentError> {
    let mut differences = Vec::new();
    let mut links: HashMap<NodeId, NodeId> = HashMap::new();
    let (mut a, mut b) = (sorted(left).into_iter().peekable(), sorted(right).into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return Ok(differences),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let mut note = |path: &[u8], what: String| differences.push(Difference { path: path.to_vec(), what });
        if order.is_lt() {
            a.next().into_iter().for_each(|e| note(&e.path, "only in the first".into()));
        } else if order.is_gt() {
            b.next().into_iter().for_each(|e| note(&e.path, "only in the second".into()));
        } else if let (Some(a), Some(b)) = (a.next(), b.next()) {
            if links.get(&a.id).is_some_and(|&id| id != b.id) || (a.first != b.first) {
                note(&a.path, "hard links differ".into());
            }
            links.insert(a.id, b.id);
            node_differences(&a.node, &b.node, a.first)?.into_iter().for_each(|what| note(&a.path, what));
        }
    }
}

fn sorted(tree: &Tree) -> Vec<WalkEntry> {
    let mut entries: Vec<_> = tree.walk().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

fn node_differences(a: &Node, b: &Node, with_data: bool) -> Result<Vec<String>, ContentError> {
    if a.kind() != b.kind() {
        return Ok(vec![format!("{} against {}", a.kind().name(), b.kind().name())]);
    }
    let mut all = Vec::new();
    let (m, n) = (&a.metadata, &b.metadata);
    if m.permissions != n.permissions {
        all.push(format!("mode {:04o} against {:04o}", m.permissions, n.permissions));
    }
    if (m.uid, m.gid) != (n.uid, n.gid) {
        all.push(format!("owner {}:{} against {}:{}", m.uid, m.gid, n.uid, n.gid));
    }
    if m.mtime != n.mtime {
        all.push(format!("mtime {:?} against {:?}", m.mtime, n.mtime));
    }
    if m.xattrs != n.xattrs {
        all.push(format!("xattrs {:?} against {:?}", m.xattrs, n.xattrs));
    }
    all.extend(kind_difference(&a.kind, &b.kind, with_data)?);
    Ok(all)
}

fn kind_difference(a: &NodeKind, b: &NodeKind, with_data: bool) -> Result<Option<String>, ContentError> {
    Ok(match (a, b) {
        (NodeKind::Symlink(a), NodeKind::Symlink(b)) if a != b => {
            Some(format!("target {:?} against {:?}", String::from_utf8_lossy(a), String::from_utf8_lossy(b)))
        }
        (NodeKind::CharDevice(a), NodeKind::CharDevice(b))
        | (NodeKind::BlockDevice(a), NodeKind::BlockDevice(b))
            if a != b =>
        {
            Some(format!("device {}:{} against {}:{}", a.major, a.minor, b.major, b.minor))
        }
        (NodeKind::File(a), NodeKind::File(b)) if with_data => data_difference(a, b)?,
        _ => None,
    })
}

fn data_difference(a: &Content, b: &Content) -> Result<Option<String>, ContentError> {
    const STEP: usize = 1 << 20;
    if a.len() != b.len() {
        return Ok(Some(format!("{} bytes against {}", a.len(), b.len())));
    }
    let (mut left, mut right) = (a.reader(), b.reader());
    let (mut x, mut y) = (vec![0; STEP], vec![0; STEP]);
    let mut offset = 0;
    while offset < a.len() {
        let len = usize::try_from(a.len() - offset).unwrap_or(STEP).min(STEP);
        if !(a.is_hole(offset, len as u64) && b.is_hole(offset, len as u64)) {
            left.read_exact_at(offset, &mut x[..len])?;
            right.read_exact_at(offset, &mut y[..len])?;
            if let Some(at) = (0..len).find(|&i| x[i] != y[i]) {
                let position = offset + at as u64;
                return Ok(Some(format!(
                    "data differs from byte {position:#x}: {:#04x} against {:#04x}",
                    x[at], y[at]
                )));
            }
        }
        offset += len as u64;
    }
    left.finish()?;
    right.finish()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Metadata, Source};

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let file = tree.insert(Tree::ROOT, b"f", Node::file(0o644, Content::from_bytes(vec![0; 9]))).unwrap();
        tree.link(Tree::ROOT, b"g", file).unwrap();
        tree.insert(Tree::ROOT, b"l", Node::symlink(*b"f")).unwrap();
        let device = NodeKind::CharDevice(Device { major: 5, minor: 1 });
        tree.insert(Tree::ROOT, b"c", Node::new(Metadata::new(0o600), device)).unwrap();
        tree
    }

    fn changed(change: impl FnOnce(&mut Tree)) -> Vec<String> {
        let mut tree = sample();
        change(&mut tree);
        compare(&sample(), &tree).unwrap().iter().map(ToString::to_string).collect()
    }

    fn at(tree: &mut Tree, path: &[u8]) -> NodeId {
        tree.resolve(path).unwrap()
    }

    #[test]
    fn equal_trees_have_no_difference_and_holes_equal_zeros() {
        assert_eq!(changed(|_| ()), [""; 0]);
        let holes = changed(|tree| {
            let id = at(tree, b"f");
            tree.node_mut(id).kind = NodeKind::File(Content::empty().with(Source::Hole, 0, 9));
        });
        assert_eq!(holes, [""; 0]);
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let mode = changed(|tree| {
            let id = at(tree, b"c");
            tree.node_mut(id).metadata.permissions = 0o4600;
        });
        assert_eq!(mode, ["/c: mode 0600 against 4600"]);
        let data = changed(|tree| {
            let id = at(tree, b"f");
            tree.node_mut(id).kind = NodeKind::File(Content::from_bytes(*b"\0\0\0\0\0\0\0\x01\0"));
        });
        assert_eq!(data, ["/f: data differs from byte 0x7: 0x00 against 0x01"]);
        let broken_link = changed(|tree| {
            tree.unlink(Tree::ROOT, b"g");
            tree.insert(Tree::ROOT, b"g", Node::file(0o644, Content::from_bytes(vec![0; 9]))).unwrap();
        });
        assert_eq!(broken_link, ["/g: hard links differ"]);
        let names = changed(|tree| {
            tree.unlink(Tree::ROOT, b"l");
            tree.insert(Tree::ROOT, b"m", Node::symlink(*b"f")).unwrap();
        });
        assert_eq!(names, ["/l: only in the first", "/m: only in the second"]);
    }
}
