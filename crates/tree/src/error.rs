//! What can go wrong when a tree is built or its content is read.

use std::io;
use std::path::PathBuf;

use crate::name::display_path;

/// A tree that cannot be built as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A name that no directory entry can have.
    #[error("bad name {:?}: {rule}", String::from_utf8_lossy(name))]
    BadName {
        /// The name as given.
        name: Vec<u8>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The directory has an entry of that name.
    #[error("{} exists already", display_path(name))]
    Exists {
        /// The name, without its directory.
        name: Vec<u8>,
    },
    /// An entry was to be put into something that is not a directory.
    #[error("{} is not a directory", display_path(path))]
    NotADirectory {
        /// Path in the image.
        path: Vec<u8>,
    },
    /// A hard link to a directory, which no file system here allows.
    #[error("a hard link to a directory")]
    LinkToDirectory,
    /// More than 2,147,483,648 nodes, or more than 16 GiB of names and the like.
    #[error("more nodes than one tree can hold; make two images")]
    TooManyNodes,
    /// A large tree found no room on the disk.
    #[error("cannot write a temporary file in {}: {error}; make room, or name another folder", directory.display())]
    Spill {
        /// The folder for temporary files.
        directory: PathBuf,
        /// What the host said.
        #[source]
        error: io::Error,
    },
}

/// File data that cannot be read, or that is no longer what it was when the tree was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The host refused.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Path on the host.
        path: PathBuf,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The host file was replaced, grew, shrank or was written to since the tree was made.
    #[error("{} changed while it was read: {what}; build again when nothing writes to it", path.display())]
    Changed {
        /// Path on the host.
        path: PathBuf,
        /// What differs, with both values.
        what: String,
    },
    /// A source other than a host file failed.
    #[error("cannot read file data: {0}")]
    Source(#[source] io::Error),
}
