//! What the kernel refuses.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Something that the kernel did not do. One word in size, as every result has it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Details>);

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {}", path.display(), Words(self))]
struct Details {
    /// What was tried, as a verb.
    action: &'static str,
    /// Device or file of sysfs.
    path: PathBuf,
    /// What the kernel said.
    #[source]
    error: io::Error,
    /// What is wrong with what it said; empty when it said it itself.
    words: String,
}

/// Why something was not done.
struct Words<'a>(&'a Details);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.words.is_empty() { self.0.error.fmt(f) } else { f.write_str(&self.0.words) }
    }
}

impl Error {
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |error| Error(Box::new(Details { action, path: path.to_owned(), error, words: String::new() }))
    }

    /// Something that the kernel would not do, or that it says and that cannot be.
    #[cold]
    #[inline(never)]
    pub(crate) fn invalid(action: &'static str, path: &Path, words: String) -> Error {
        let error = io::ErrorKind::InvalidInput.into();
        Error(Box::new(Details { action, path: path.to_owned(), error, words }))
    }

    /// What the kernel said.
    #[must_use]
    pub fn cause(&self) -> &io::Error {
        &self.0.error
    }
}

/// What the kernel said: whoever hands that on names what was tried himself.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.0.error
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
