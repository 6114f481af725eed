//! What can go wrong when an archive is written or read.

use std::io;

use flashwright_tree::{ContentError, PathDisplay, display_path};

/// An archive that cannot be written as asked, or that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node that newc, or Linux when it unpacks the archive, cannot hold. Found before anything is written.
    #[error("{}: {what}, but an initramfs holds {limit}; {remedy}", show(path))]
    Limit {
        /// Path in the image, no leading `/`.
        path: Vec<u8>,
        /// What the node has.
        what: String,
        /// What the format can hold.
        limit: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The padding asked for is not a power of two from 1 to 2^30.
    #[error(
        "the archive cannot be padded to a multiple of {0} bytes; give a power of two from 4 to 1073741824"
    )]
    BadPadding(u32),
    /// A level that the compression does not have.
    #[error("{name} has no level {level}: {}", show_levels(levels.as_ref()))]
    BadLevel {
        /// Name of the compression.
        name: &'static str,
        /// The level given.
        level: u8,
        /// Those it has; `None` when it has none.
        levels: Option<std::ops::RangeInclusive<u8>>,
    },
    /// File data could not be read.
    #[error("{}: {error}", show(path))]
    Content {
        /// Path in the image, no leading `/`.
        path: Vec<u8>,
        /// What happened.
        #[source]
        error: ContentError,
    },
    /// The output refused bytes.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
    /// The archive could not be read.
    #[error("byte {offset:#x}: cannot read the archive: {error}")]
    Read {
        /// Position in the archive.
        offset: u64,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// A path with `..` in it.
    #[error(
        "byte {offset:#x}: {}: '..' leads out of the tree; make the archive again without it",
        show(path)
    )]
    Escape {
        /// Position of the header in the archive.
        offset: u64,
        /// The name as the archive has it.
        path: Vec<u8>,
    },
    /// The archive is not what newc says.
    #[error("byte {offset:#x}: {problem}")]
    Corrupt {
        /// Position of the faulty header, name or data in the archive.
        offset: u64,
        /// What was expected, what was found, and what to do where that is known.
        problem: String,
    },
}

impl Error {
    pub(crate) fn corrupt(offset: u64, problem: impl Into<String>) -> Self {
        Error::Corrupt { offset, problem: problem.into() }
    }
}

fn show_levels(levels: Option<&std::ops::RangeInclusive<u8>>) -> String {
    levels.map_or_else(
        || "it has none".into(),
        |levels| format!("give one from {} to {}", levels.start(), levels.end()),
    )
}

fn show(path: &[u8]) -> PathDisplay<'_> {
    display_path(path)
}
