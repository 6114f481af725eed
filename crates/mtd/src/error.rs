//! What the kernel refuses.

use std::io;
use std::path::{Path, PathBuf};

/// Something that the kernel did not do. One word in size, as every result has it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Details>);

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
struct Details {
    /// What was tried, as a verb.
    action: &'static str,
    /// Device or file of sysfs.
    path: PathBuf,
    /// What the kernel said.
    #[source]
    error: io::Error,
}

impl Error {
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |error| Error(Box::new(Details { action, path: path.to_owned(), error }))
    }

    /// What the kernel said.
    #[must_use]
    pub fn cause(&self) -> &io::Error {
        &self.0.error
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.cause().kind(), error.to_string())
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
