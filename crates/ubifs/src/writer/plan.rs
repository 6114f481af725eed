//! What is decided before a byte is written: every node is checked against the format's limits, and inodes get their
//! numbers, in the order of the walk, each followed by its xattrs, which are inodes too.

use flashwright_tree::{Device, Metadata, NodeKind, Tree, WalkEntry};

use crate::error::WriteError;
use crate::format::{
    FIRST_INO, InoNode, MAX_FILE_SIZE, MAX_INO_DATA, MAX_NAME, MAX_SYMLINK, MAX_XATTR_NAMES, ROOT_INO,
};
use crate::options::Options;

/// Namespaces of xattrs that the kernel's UBIFS has.
const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Numbers of all inodes.
pub(super) struct Plan {
    /// Inode number by `NodeId::index`; 0 for a node without a name.
    pub(super) numbers: Vec<u32>,
    /// Names by `NodeId::index`.
    pub(super) names: Vec<u32>,
    /// Inodes of the tree, xattrs not counted.
    pub(super) inodes: u32,
    /// Highest inode number.
    pub(super) highest: u32,
    /// Regular files, and their bytes; hard links once.
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Plan {
    pub(super) fn new(tree: &Tree, options: &Options) -> Result<Plan, WriteError> {
        let mut plan = Plan {
            numbers: vec![0; tree.arena_len()],
            names: vec![0; tree.arena_len()],
            inodes: 0,
            highest: FIRST_INO - 1,
            files: 0,
            bytes: 0,
        };
        for entry in tree.walk() {
            check_name(&entry.path)?;
            plan.names[entry.id.index()] += 1;
            if entry.first {
                check_node(&entry, options)?;
                plan.number(&entry)?;
            }
        }
        Ok(plan)
    }

    fn number(&mut self, entry: &WalkEntry) -> Result<(), WriteError> {
        let root = entry.path.is_empty();
        let number = if root { ROOT_INO } else { self.take(1)? };
        self.take(entry.node.metadata.xattrs.len())?;
        self.numbers[entry.id.index()] = number;
        self.inodes += 1;
        if let Some(content) = entry.node.content() {
            self.files += 1;
            self.bytes += content.len();
        }
        Ok(())
    }

    /// Sets aside `count` numbers; returns the last.
    fn take(&mut self, count: usize) -> Result<u32, WriteError> {
        let highest = u32::try_from(count).ok().and_then(|count| self.highest.checked_add(count));
        self.highest = highest.ok_or(WriteError::TooManyInodes)?;
        Ok(self.highest)
    }
}

fn refuse<T>(path: &[u8], what: String, remedy: &'static str) -> Result<T, WriteError> {
    Err(WriteError::Node { path: path.to_vec(), what, remedy })
}

fn check_name(path: &[u8]) -> Result<(), WriteError> {
    let len = path.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len);
    if len > MAX_NAME {
        return refuse(path, format!("the name has {len} bytes, UBIFS holds {MAX_NAME}"), "shorten the name");
    }
    Ok(())
}

fn check_node(entry: &WalkEntry, options: &Options) -> Result<(), WriteError> {
    let path = &entry.path;
    check_metadata(path, &entry.node.metadata, options)?;
    match &entry.node.kind {
        NodeKind::Symlink(target) => check_target(path, target),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => check_device(path, *device),
        NodeKind::File(content) if content.len() > MAX_FILE_SIZE => {
            let what = format!("{} bytes, in UBIFS a file has at most {MAX_FILE_SIZE}", content.len());
            refuse(path, what, "cut the file into parts, or leave it out")
        }
        _ => Ok(()),
    }
}

fn check_metadata(path: &[u8], metadata: &Metadata, options: &Options) -> Result<(), WriteError> {
    for (what, id) in [("owner", metadata.uid), ("group", metadata.gid)] {
        if id == u32::MAX {
            let what = format!("{what} {id}, which Linux takes for none");
            return refuse(path, what, "give it another owner, or give all files to root");
        }
    }
    let nanoseconds = metadata.mtime.nanoseconds;
    if nanoseconds > 999_999_999 {
        let what = format!("modification time with {nanoseconds} nanoseconds, a second has 1000000000");
        return refuse(path, what, "correct the time");
    }
    check_xattrs(path, metadata, options)
}

fn check_target(path: &[u8], target: &[u8]) -> Result<(), WriteError> {
    let len = target.len();
    if len == 0 || len > MAX_SYMLINK {
        let what = format!("the symlink's target has {len} bytes, UBIFS holds 1 to {MAX_SYMLINK}");
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

fn check_xattrs(path: &[u8], metadata: &Metadata, options: &Options) -> Result<(), WriteError> {
    let xattrs = &metadata.xattrs;
    // Linux removes the xattrs of a file in one step, for which half a LEB is set aside.
    let most = (options.geometry.leb_size / 2 / InoNode::LEN) as usize;
    if xattrs.len() > most {
        let what = format!("{} xattrs, with these LEBs UBIFS holds {most} per node", xattrs.len());
        return refuse(path, what, "leave some out");
    }
    let names: u64 = xattrs.keys().map(|name| name.len() as u64 + 1).sum();
    if names > MAX_XATTR_NAMES {
        let what = format!("the names of its xattrs take {names} bytes, Linux lists {MAX_XATTR_NAMES}");
        return refuse(path, what, "leave some out");
    }
    xattrs.iter().try_for_each(|(name, value)| check_xattr(path, name, value))
}

fn check_xattr(path: &[u8], name: &[u8], value: &[u8]) -> Result<(), WriteError> {
    let shown = String::from_utf8_lossy(name);
    let Some(rest) = NAMESPACES.iter().find_map(|prefix| name.strip_prefix(*prefix)) else {
        let what = format!("xattr {shown:?}: UBIFS holds user., trusted. and security. only, no POSIX ACLs");
        return refuse(path, what, "leave this xattr out");
    };
    if rest.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
        let what = format!(
            "xattr {shown:?}: a name has {MAX_NAME} bytes at most, something after its prefix, no NUL"
        );
        return refuse(path, what, "correct or leave out this xattr");
    }
    if value.len() > MAX_INO_DATA {
        let what = format!("xattr {shown:?} has {} bytes, UBIFS holds {MAX_INO_DATA}", value.len());
        return refuse(path, what, "shorten or leave out this xattr");
    }
    Ok(())
}
