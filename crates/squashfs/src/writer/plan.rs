//! What is decided before a byte is written: every node is checked against the format's limits, and inodes get
//! their numbers.
//!
//! Inodes are written directory by directory, deepest first, so that all inodes of one directory are neighbours and
//! its listing needs few headers; a directory's own inode stands among its siblings. The root's comes last.

use std::collections::BTreeSet;

use flashwright_tree::{Device, Node, NodeId, NodeKind, Tree, join_path};

use crate::error::WriteError;
use crate::format::{MAX_IDS, MAX_NAME, MAX_SYMLINK, XattrPrefix};

/// Data blocks a file may have: 8 TiB at 128 KiB. Their size words are held in memory and stored in the inode.
const MAX_BLOCKS: u64 = 1 << 26;

/// Order and numbers of all inodes.
pub(super) struct Plan {
    /// Directories; each before everything below it.
    pub(super) directories: Vec<NodeId>,
    /// Inode number by [`NodeId::index`]; 0 for a node without a name.
    pub(super) numbers: Vec<u32>,
    /// Number of inodes.
    pub(super) inodes: u32,
    /// Link count by [`NodeId::index`].
    pub(super) links: Vec<u32>,
    /// All uids and gids, sorted.
    pub(super) ids: Vec<u32>,
    /// The directory that holds each directory, by [`NodeId::index`].
    pub(super) parents: Vec<NodeId>,
}

impl Plan {
    pub(super) fn new(tree: &Tree, block_size: u32) -> Result<Plan, WriteError> {
        let mut plan = Plan {
            directories: Vec::new(),
            numbers: vec![0; tree.arena_len()],
            inodes: 0,
            links: vec![0; tree.arena_len()],
            ids: Vec::new(),
            parents: vec![Tree::ROOT; tree.arena_len()],
        };
        plan.survey(tree, block_size)?;
        plan.number(tree)?;
        Ok(plan)
    }

    fn survey(&mut self, tree: &Tree, block_size: u32) -> Result<(), WriteError> {
        let mut ids = BTreeSet::new();
        for entry in tree.walk() {
            let (node, index) = (&entry.node, entry.id.index());
            check_name_length(&entry.path)?;
            self.links[index] += 1;
            if !entry.first {
                continue;
            }
            check_node(&entry.path, node, block_size)?;
            ids.extend([node.metadata.uid, node.metadata.gid]);
            if node.is_directory() {
                self.directories.push(entry.id);
                self.parents[index] = entry.parent;
                self.links[index] = directory_links(tree, entry.id);
            }
        }
        if ids.len() > MAX_IDS {
            let what = format!("{} different owners and groups, SquashFS holds {MAX_IDS}", ids.len());
            return Err(WriteError::Tree { what, remedy: "map owners, or give all files to root" });
        }
        self.ids = ids.into_iter().collect();
        Ok(())
    }

    fn number(&mut self, tree: &Tree) -> Result<(), WriteError> {
        let directories = std::mem::take(&mut self.directories);
        for &directory in directories.iter().rev() {
            for (_, child) in tree.entries(directory) {
                self.assign(child)?;
            }
        }
        self.directories = directories;
        self.assign(Tree::ROOT)
    }

    fn assign(&mut self, id: NodeId) -> Result<(), WriteError> {
        let number = &mut self.numbers[id.index()];
        if *number == 0 {
            // The root's parent gets the number after the last, so one must be left.
            let next = self.inodes.checked_add(1).filter(|next| *next < u32::MAX - 1);
            self.inodes = next.ok_or_else(|| WriteError::Tree {
                what: "more than 4294967293 inodes".into(),
                remedy: "make two images",
            })?;
            *number = self.inodes;
        }
        Ok(())
    }

    /// Position of an owner in the id table.
    pub(super) fn id_index(&self, id: u32) -> u16 {
        let index = self.ids.binary_search(&id).ok().and_then(|index| u16::try_from(index).ok());
        index.unwrap_or_else(|| unreachable!("every owner was collected, and there are at most 65535"))
    }
}

fn directory_links(tree: &Tree, directory: NodeId) -> u32 {
    let subdirectories = tree.entries(directory).filter(|(_, child)| tree.is_directory(*child)).count();
    u32::try_from(subdirectories).unwrap_or(u32::MAX).saturating_add(2)
}

fn refuse<T>(path: &[u8], what: String, remedy: &'static str) -> Result<T, WriteError> {
    Err(WriteError::Node { path: path.to_vec(), what, remedy })
}

fn check_name_length(path: &[u8]) -> Result<(), WriteError> {
    let len = path.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len);
    if len > MAX_NAME {
        return refuse(
            path,
            format!("the name has {len} bytes, SquashFS holds {MAX_NAME}"),
            "shorten the name",
        );
    }
    Ok(())
}

fn check_node(path: &[u8], node: &Node, block_size: u32) -> Result<(), WriteError> {
    let seconds = node.metadata.mtime.seconds;
    if u32::try_from(seconds).is_err() {
        let what = format!("modification time {seconds} s, SquashFS holds 0 to 4294967295 (1970 to 2106)");
        return refuse(path, what, "set or clamp the times");
    }
    check_xattrs(path, node)?;
    match &node.kind {
        NodeKind::Symlink(target) => check_target(path, target),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => check_device(path, *device),
        NodeKind::File(content) if content.len().div_ceil(u64::from(block_size)) > MAX_BLOCKS => {
            let limit = MAX_BLOCKS * u64::from(block_size);
            let what = format!("{} bytes, with this block size a file may have {limit}", content.len());
            refuse(path, what, "use a larger block size, or leave the file out")
        }
        _ => Ok(()),
    }
}

fn check_target(path: &[u8], target: &[u8]) -> Result<(), WriteError> {
    let len = target.len();
    if len == 0 || len > MAX_SYMLINK {
        let what = format!("the symlink's target has {len} bytes, SquashFS holds 1 to {MAX_SYMLINK}");
        return refuse(path, what, "correct the target");
    }
    if target.contains(&0) {
        return refuse(path, "the symlink's target contains a NUL byte".into(), "correct the target");
    }
    Ok(())
}

fn check_device(path: &[u8], device: Device) -> Result<(), WriteError> {
    if device.encode().is_none() {
        let what = format!(
            "device {}:{}, Linux holds major numbers to {} and minor numbers to {}",
            device.major,
            device.minor,
            Device::MAX_MAJOR,
            Device::MAX_MINOR
        );
        return refuse(path, what, "correct the device number");
    }
    Ok(())
}

fn check_xattrs(path: &[u8], node: &Node) -> Result<(), WriteError> {
    for (name, value) in &node.metadata.xattrs {
        let shown = String::from_utf8_lossy(name);
        let Some((_, rest)) = XattrPrefix::split(name) else {
            let what = format!("xattr {shown:?}: SquashFS holds user., trusted. and security. only");
            return refuse(path, what, "leave this xattr out");
        };
        if rest.is_empty() || rest.len() > 255 || rest.contains(&0) {
            let what =
                format!("xattr {shown:?}: a name has 1 to 255 bytes after its prefix, none of them NUL");
            return refuse(path, what, "correct or leave out this xattr");
        }
        if value.len() > 65_536 {
            let what = format!("xattr {shown:?} has {} bytes, Linux reads at most 65536", value.len());
            return refuse(path, what, "shorten or leave out this xattr");
        }
    }
    Ok(())
}

/// A path of a node, for messages.
pub(super) fn path_of(tree: &Tree, id: NodeId) -> Vec<u8> {
    let found = tree.walk().find(|entry| entry.id == id).map(|entry| entry.path);
    found.unwrap_or_else(|| join_path(b"?", format!("{id:?}").as_bytes()))
}
