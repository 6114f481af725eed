//! What a text (image.toml, pseudo file, Liminix tree, list of paths) asks for, before the host is looked at.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use flashwright_tree::{Device, Kind, Timestamp, Xattrs};

/// One thing asked for, at one path of the image.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Path in the image: names joined by `/`, none of them `.` or `..`; the root is the empty path.
    pub path: Vec<u8>,
    /// Where the text says so, in bytes from its start.
    pub span: Range<usize>,
    /// What is asked for.
    pub action: Action,
    /// Metadata that the text states.
    pub meta: Meta,
}

/// What a [`Declaration`] asks for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action {
    /// A directory, or metadata for one that exists.
    Directory,
    /// A regular file.
    File(Data),
    /// A symbolic link to that target.
    Symlink(Vec<u8>),
    /// A character or block device.
    Device(Kind, Device),
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A further name of what is at that path of the image.
    HardLink(Vec<u8>),
    /// What the host has at that path, with its own metadata; a directory with all that is in it.
    Host {
        /// Path on the host.
        path: PathBuf,
        /// Whether a symlink is followed, or carried in itself.
        follow: bool,
        /// Whether a directory is allowed.
        directories: bool,
    },
    /// Metadata for what exists.
    Modify,
    /// Metadata for what may exist.
    ModifyIfThere,
    /// Metadata for what exists and, when it is a directory, for all that is in it.
    ModifyBelow,
    /// What a host directory has, as far as it matches; the metadata that is stated wins over the host's.
    Glob(Box<Glob>),
}

/// Which entries of a host directory come in, and how.
#[derive(Debug, Clone, Default)]
pub struct Glob {
    /// Directory of the host.
    pub host: PathBuf,
    /// Kinds that come in; empty: all.
    pub kinds: Vec<Kind>,
    /// Leave out what is mounted inside.
    pub one_file_system: bool,
    /// Take the times of the host; else they are as with everything that states none.
    pub keep_time: bool,
    /// Take what is directly in the directory alone.
    pub flat: bool,
    /// Shell pattern for the name.
    pub name: Option<Vec<u8>>,
    /// Shell pattern for the path in the image, without leading `/`; `*` matches no `/`.
    pub path: Option<Vec<u8>>,
}

/// Where the data of a declared file is.
#[derive(Debug, Clone)]
pub enum Data {
    /// In the declaration.
    Bytes(Arc<[u8]>),
    /// In a host file.
    Host(PathBuf),
    /// In the data section of the same text.
    Section {
        /// First byte, from the start of the data section.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// Whether the file had holes: then runs of zeros become holes again.
        sparse: bool,
    },
    /// In the output of a shell command.
    Command(Vec<u8>),
}

/// Metadata, as far as it is stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, 0 to 0o7777.
    pub permissions: Option<u16>,
    /// Take the permission bits of the host file that brings the data.
    pub host_permissions: bool,
    /// Numeric owner.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
    /// Time of last modification.
    pub mtime: Option<Timestamp>,
    /// Extended attributes to set; others stay.
    pub xattrs: Xattrs,
}
