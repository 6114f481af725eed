//! What can go wrong with a machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A machine that could not be started, or that did not do its job to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or program could not be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// File or program.
        path: PathBuf,
        /// What the host said.
        #[source]
        error: io::Error,
    },
    /// The kernel has no such module, and it is not built in either.
    #[error("the kernel in {} has no module {name}", folder.display())]
    NoModule {
        /// Name asked for.
        name: String,
        /// Folder of the kernel's modules.
        folder: PathBuf,
    },
    /// The initramfs could not be made.
    #[error("cannot make the initramfs: {0}")]
    Initramfs(#[from] flashwright_cpio::Error),
    /// Two files for the guest have one path, or a path is none.
    #[error("cannot add {path} to the initramfs: {error}")]
    GuestFile {
        /// Path in the guest.
        path: String,
        /// What is wrong with it.
        #[source]
        error: flashwright_tree::TreeError,
    },
    /// The guest did not power off in time.
    #[error("the guest was still running after {limit:?}; the end of its console:\n{console}")]
    Timeout {
        /// Time it had.
        limit: Duration,
        /// Last lines of the console.
        console: String,
    },
    /// The guest stopped before the job was done.
    #[error("the guest stopped after {steps} steps ({status}); the end of its console:\n{console}")]
    Incomplete {
        /// Steps done.
        steps: usize,
        /// How qemu ended, and what it said.
        status: String,
        /// Last lines of the console.
        console: String,
    },
    /// A line of the report is not what host and guest agreed upon: the guest program is of another version.
    #[error("line {number} of the report: {error}; build the guest again with `cargo xtask tools`")]
    Report {
        /// Line, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        error: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |error| Error::Io { path, error }
    }
}
