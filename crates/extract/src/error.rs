//! Why a tree cannot be extracted.

use std::io;
use std::path::PathBuf;

use flashwright_tree::{ContentError, TreeError, display_path};

/// A tree that cannot be extracted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The target is there and not empty.
    #[error("{} is not empty; name a new directory, or say that it may have entries", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// The target has no name to put an image.toml beside it (`/`, `..`), or none that is UTF-8.
    #[error("{} cannot be the target: {why}", path.display())]
    BadTarget {
        /// The target.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The target or the image.toml cannot be created.
    #[error("cannot {what} {}: {error}", path.display())]
    Host {
        /// What was to be done.
        what: &'static str,
        /// Path on the host.
        path: PathBuf,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The host refuses one node.
    #[error("{}: cannot {what}: {error}{}", display_path(path), remedy(error))]
    Node {
        /// Path in the tree.
        path: Vec<u8>,
        /// What was to be done.
        what: &'static str,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// A name that no host can have, or that would lead out of the target. [`flashwright_tree::Tree`] has none.
    #[error("{}: {error}", display_path(path))]
    Name {
        /// Path in the tree.
        path: Vec<u8>,
        /// The rule it breaks.
        #[source]
        error: TreeError,
    },
    /// File data cannot be read.
    #[error("{}: {error}", display_path(path))]
    Content {
        /// Path in the tree.
        path: Vec<u8>,
        /// What happened.
        #[source]
        error: ContentError,
    },
    /// A directory was moved away while it was written to.
    #[error(
        "{}: the directory was moved while it was written; extract again where nobody else writes",
        display_path(path)
    )]
    Moved {
        /// Path in the tree.
        path: Vec<u8>,
    },
}

/// What helps against an error of the host.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidFilename => "; this host cannot have that name: extract on another file system",
        io::ErrorKind::AlreadyExists => {
            "; the name is taken, or the host takes two names of the tree for one: extract into a new directory on a case-sensitive file system"
        }
        io::ErrorKind::StorageFull => "; make room or extract elsewhere",
        io::ErrorKind::FileTooLarge => "; the host's file system has no files of that size",
        io::ErrorKind::NotFound => "; is /proc mounted?",
        _ => "",
    }
}

impl ExtractError {
    pub(crate) fn node(path: &[u8], what: &'static str, error: impl Into<io::Error>) -> Self {
        ExtractError::Node { path: path.to_vec(), what, error: error.into() }
    }
}
