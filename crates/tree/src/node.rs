//! One node of the tree: its kind and the metadata every kind has.

use crate::{Content, Xattrs};

/// Seconds and nanoseconds since 1970-01-01 00:00 UTC. Formats that hold less (SquashFS: whole unsigned 32-bit
/// seconds) say so when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds`.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A time without a fraction of a second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp { seconds, nanoseconds: 0 }
    }
}

/// What every node has, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Permission bits, 0 to 0o7777: setuid 0o4000, setgid 0o2000, sticky 0o1000, rwxrwxrwx.
    pub permissions: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification, the only time that all formats keep.
    pub mtime: Timestamp,
    /// Extended attributes; most nodes have none.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Metadata of `root:root`, time 0, no xattrs. Bits of `permissions` above 0o7777 are dropped.
    #[must_use]
    pub const fn new(permissions: u16) -> Self {
        Metadata {
            permissions: permissions & 0o7777,
            uid: 0,
            gid: 0,
            mtime: Timestamp::from_seconds(0),
            xattrs: Xattrs::new(),
        }
    }
}

/// Device number. Linux itself has 12 bits of major and 20 bits of minor; formats may have less and check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Driver number, 0 to 4095 on Linux.
    pub major: u32,
    /// Number of the device within its driver, 0 to 1,048,575 on Linux.
    pub minor: u32,
}

impl Device {
    /// Largest major number that Linux can hold.
    pub const MAX_MAJOR: u32 = 0xfff;
    /// Largest minor number that Linux can hold.
    pub const MAX_MINOR: u32 = 0xf_ffff;

    /// The kernel's 32-bit encoding, as in SquashFS and JFFS2: minor bits 0-7, major, minor bits 8-19.
    /// Kernel: `new_encode_dev`. `None` when a number is out of range.
    #[must_use]
    pub const fn encode(self) -> Option<u32> {
        if self.major > Self::MAX_MAJOR || self.minor > Self::MAX_MINOR {
            return None;
        }
        Some((self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12))
    }

    /// The reverse of [`Device::encode`].
    #[must_use]
    pub const fn decode(encoded: u32) -> Self {
        Device {
            major: (encoded >> 8) & Self::MAX_MAJOR,
            minor: (encoded & 0xff) | ((encoded >> 12) & 0xf_ff00),
        }
    }
}

/// What a node is, with what only that kind has.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// A directory. Its entries are the tree's: [`Tree::entries`](crate::Tree::entries).
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, as bytes, 1 byte or more, no NUL.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

/// [`NodeKind`] without its payload, for messages, tables and comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are those of NodeKind")]
pub enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Directory,
        Kind::File,
        Kind::Symlink,
        Kind::CharDevice,
        Kind::BlockDevice,
        Kind::Fifo,
        Kind::Socket,
    ];

    /// The file type bits of `st_mode` (0o170000 masked), which are the same on every Linux.
    #[must_use]
    pub const fn mode_bits(self) -> u16 {
        match self {
            Kind::Fifo => 0o010_000,
            Kind::CharDevice => 0o020_000,
            Kind::Directory => 0o040_000,
            Kind::BlockDevice => 0o060_000,
            Kind::File => 0o100_000,
            Kind::Symlink => 0o120_000,
            Kind::Socket => 0o140_000,
        }
    }

    /// The letter `ls -l` and `find -type` use, with `-` for a regular file.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Kind::Directory => 'd',
            Kind::File => '-',
            Kind::Symlink => 'l',
            Kind::CharDevice => 'c',
            Kind::BlockDevice => 'b',
            Kind::Fifo => 'p',
            Kind::Socket => 's',
        }
    }

    /// The word for messages: "directory", "file", …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::File => "file",
            Kind::Symlink => "symlink",
            Kind::CharDevice => "character device",
            Kind::BlockDevice => "block device",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
        }
    }
}

/// One node: metadata and kind. Its names are in the directories that hold it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Mode, owner, time, xattrs.
    pub metadata: Metadata,
    /// What it is.
    pub kind: NodeKind,
}

impl Node {
    /// A node of that kind and metadata.
    #[must_use]
    pub const fn new(metadata: Metadata, kind: NodeKind) -> Self {
        Node { metadata, kind }
    }

    /// An empty directory, `root:root`, time 0.
    #[must_use]
    pub const fn directory(permissions: u16) -> Self {
        Node::new(Metadata::new(permissions), NodeKind::Directory)
    }

    /// A regular file, `root:root`, time 0.
    #[must_use]
    pub const fn file(permissions: u16, content: Content) -> Self {
        Node::new(Metadata::new(permissions), NodeKind::File(content))
    }

    /// A symbolic link, mode 0777 as Linux shows it.
    #[must_use]
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Node::new(Metadata::new(0o777), NodeKind::Symlink(target.into()))
    }

    /// The kind without its payload.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            NodeKind::Directory => Kind::Directory,
            NodeKind::File(_) => Kind::File,
            NodeKind::Symlink(_) => Kind::Symlink,
            NodeKind::CharDevice(_) => Kind::CharDevice,
            NodeKind::BlockDevice(_) => Kind::BlockDevice,
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::Socket,
        }
    }

    /// True for a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory)
    }

    /// The data, when this is a regular file.
    #[must_use]
    pub const fn content(&self) -> Option<&Content> {
        if let NodeKind::File(content) = &self.kind { Some(content) } else { None }
    }

    /// As [`Node::content`], of a node that is of no more use.
    #[must_use]
    pub fn into_content(self) -> Option<Content> {
        if let NodeKind::File(content) = self.kind { Some(content) } else { None }
    }

    /// The device number, when this is a character or block device.
    #[must_use]
    pub const fn device(&self) -> Option<Device> {
        match self.kind {
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => Some(device),
            _ => None,
        }
    }

    /// File type and permission bits together, as in `st_mode`.
    #[must_use]
    pub const fn mode(&self) -> u16 {
        self.kind().mode_bits() | self.metadata.permissions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_follow_the_kernels_encoding() {
        let cases = [
            ((5, 1), 0x0501),
            ((259, 65536), 0x1001_0300),
            ((4095, 0xf_ffff), 0xffff_ffff),
            ((0, 256), 0x10_0000),
        ];
        for ((major, minor), encoded) in cases {
            let device = Device { major, minor };
            assert_eq!(device.encode(), Some(encoded), "{major}:{minor}");
            assert_eq!(Device::decode(encoded), device);
        }
        assert_eq!(Device { major: 4096, minor: 0 }.encode(), None);
        assert_eq!(Device { major: 0, minor: 0x10_0000 }.encode(), None);
    }
}
