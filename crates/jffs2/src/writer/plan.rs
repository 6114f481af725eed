//! What is decided before a byte is written: every node is checked against the format's limits, and inodes get their
//! numbers, in the order of the walk, the root first.

use flashwright_tree::{Column, Device, Node, NodeKind, Tree};

use crate::acl;
use crate::error::WriteError;
use crate::format::{
    ALIGNMENT, ENTRY_TYPE_LEN, MAX_NAME, RawXattr, Record, Summary, SummaryXattr, XattrPrefix, node_len,
    padded,
};
use crate::options::Options;

/// Numbers of all inodes.
pub(super) struct Plan {
    /// Inode number by `NodeId::index`; 0 for a node without a name.
    pub(super) numbers: Column,
    /// Number of inodes.
    pub(super) inodes: u32,
    /// Regular files, and their bytes; hard links once.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Nodes whose modification time has a fraction of a second, which is lost.
    pub(super) fractions: u64,
    /// Whether some node has xattrs.
    pub(super) xattrs: bool,
}

impl Plan {
    pub(super) fn new(tree: &Tree, options: &Options) -> Result<Plan, WriteError> {
        let mut plan =
            Plan { numbers: tree.column(), inodes: 0, files: 0, bytes: 0, fractions: 0, xattrs: false };
        for entry in tree.walk() {
            check_name(&entry.path)?;
            if entry.first {
                check_node(&entry.path, &entry.node, options)?;
                plan.number(entry.id.index())?;
                plan.count(&entry.node);
            }
        }
        Ok(plan)
    }

    fn number(&mut self, index: usize) -> Result<(), WriteError> {
        self.inodes = self.inodes.checked_add(1).ok_or_else(|| WriteError::Tree {
            what: "more than 4294967295 inodes".into(),
            remedy: "make two images",
        })?;
        Ok(self.numbers.set(index, self.inodes)?)
    }

    fn count(&mut self, node: &Node) {
        if let Some(content) = node.content() {
            self.files += 1;
            self.bytes += content.len();
        }
        self.fractions += u64::from(node.metadata.mtime.nanoseconds != 0);
        self.xattrs |= !node.metadata.xattrs.is_empty();
    }
}

fn refuse<T>(path: &[u8], what: String, remedy: &'static str) -> Result<T, WriteError> {
    Err(WriteError::Node { path: path.to_vec(), what, remedy })
}

fn check_name(path: &[u8]) -> Result<(), WriteError> {
    let len = path.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len);
    if len > MAX_NAME {
        return refuse(path, format!("the name has {len} bytes, JFFS2 holds {MAX_NAME}"), "shorten the name");
    }
    Ok(())
}

fn check_node(path: &[u8], node: &Node, options: &Options) -> Result<(), WriteError> {
    let metadata = &node.metadata;
    for (what, id) in [("owner", metadata.uid), ("group", metadata.gid)] {
        if u16::try_from(id).is_err() {
            let what = format!("{what} {id}, JFFS2 holds 0 to 65535");
            return refuse(path, what, "give it another owner, or give all files to root");
        }
    }
    let seconds = metadata.mtime.seconds;
    if u32::try_from(seconds).is_err() {
        let what = format!("modification time {seconds} s, JFFS2 holds 0 to 4294967295 (1970 to 2106)");
        return refuse(path, what, "set or clamp the times");
    }
    check_xattrs(path, node, options)?;
    match &node.kind {
        NodeKind::Symlink(target) => check_target(path, target),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => check_device(path, *device),
        NodeKind::File(content) if u32::try_from(content.len()).is_err() => {
            let what = format!("{} bytes, in JFFS2 a file has at most 4294967295", content.len());
            refuse(path, what, "cut the file into parts, or leave it out")
        }
        _ => Ok(()),
    }
}

fn check_target(path: &[u8], target: &[u8]) -> Result<(), WriteError> {
    let len = target.len();
    if len == 0 || len > MAX_NAME {
        let what = format!("the symlink's target has {len} bytes, JFFS2 holds 1 to {MAX_NAME}");
        return refuse(path, what, "correct or shorten the target");
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

fn check_xattrs(path: &[u8], node: &Node, options: &Options) -> Result<(), WriteError> {
    for (name, value) in &node.metadata.xattrs {
        let shown = String::from_utf8_lossy(name);
        let Some((prefix, rest)) = XattrPrefix::split(name) else {
            let what = format!("xattr {shown:?}: JFFS2 holds user., trusted., security. and POSIX ACLs only");
            return refuse(path, what, "leave this xattr out");
        };
        if prefix.is_acl() {
            if acl::to_flash(value, options.endian).is_none() {
                let what = format!("xattr {shown:?}: its value is no POSIX ACL as Linux shows it");
                return refuse(path, what, "correct or leave out this xattr");
            }
        } else if rest.is_empty() || rest.len() > 255 || rest.contains(&0) {
            let what =
                format!("xattr {shown:?}: a name has 1 to 255 bytes after its prefix, none of them NUL");
            return refuse(path, what, "correct or leave out this xattr");
        }
        check_xattr_len(path, &shown, rest, value, options)?;
    }
    Ok(())
}

/// An xattr is one node, which must fit into an eraseblock.
fn check_xattr_len(
    path: &[u8],
    shown: &str,
    rest: &[u8],
    value: &[u8],
    options: &Options,
) -> Result<(), WriteError> {
    let room = options.eraseblock - padded(options.cleanmarker_len()) - Summary::FIXED_LEN;
    let longest = (room - ENTRY_TYPE_LEN - SummaryXattr::LEN) & !(ALIGNMENT - 1);
    // A name has at most 255 bytes, and a NUL.
    let name = u32::try_from(rest.len() + 1).unwrap_or(u32::MAX);
    let largest = (longest - node_len::<RawXattr>(name)).min(u16::MAX.into());
    if u32::try_from(value.len()).is_ok_and(|len| len <= largest) {
        return Ok(());
    }
    let what =
        format!("xattr {shown:?} has {} bytes, with this eraseblock JFFS2 holds {largest}", value.len());
    refuse(path, what, "shorten or leave out this xattr")
}
