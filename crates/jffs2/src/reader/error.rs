//! Why an image cannot be read.

use std::io;

use flashwright_tree::Finding;

/// An image that cannot be read; shown as one line without the image's own name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadError(Box<Problem>);

/// What sort of thing went wrong, for callers that act on it (exit codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The source could not be read.
    Io,
    /// No JFFS2 image at all.
    NotJffs2,
    /// Nodes are damaged, or contradict one another.
    Damaged,
    /// The image wants more memory than [`Limits`](super::Limits) allow.
    Limit,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("at {offset:#x}: cannot read: {error}")]
    Io { offset: u64, error: io::Error },
    #[error("expected a JFFS2 image, found no JFFS2 node in {len} bytes: check that this is the right file")]
    NotJffs2 { len: u64 },
    #[error("{first}{}", others(*.more))]
    Damaged { first: Finding, more: u64 },
    #[error("{what} would take more than {limit} bytes of memory: raise the limit if the image is trusted")]
    Limit { what: &'static str, limit: u64 },
}

fn others(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} more)") }
}

impl ReadError {
    fn new(problem: Problem) -> Self {
        ReadError(Box::new(problem))
    }

    pub(super) fn io(offset: u64, error: io::Error) -> Self {
        Self::new(Problem::Io { offset, error })
    }

    pub(super) fn not_jffs2(len: u64) -> Self {
        Self::new(Problem::NotJffs2 { len })
    }

    /// The first of `count` findings.
    pub(super) fn damaged(first: Finding, count: u64) -> Self {
        Self::new(Problem::Damaged { first, more: count.saturating_sub(1) })
    }

    pub(super) fn limit(what: &'static str, limit: u64) -> Self {
        Self::new(Problem::Limit { what, limit })
    }

    /// What sort of thing went wrong.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match *self.0 {
            Problem::Io { .. } => ErrorClass::Io,
            Problem::NotJffs2 { .. } => ErrorClass::NotJffs2,
            Problem::Damaged { .. } => ErrorClass::Damaged,
            Problem::Limit { .. } => ErrorClass::Limit,
        }
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &*error.0 {
            Problem::Io { error, .. } => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
