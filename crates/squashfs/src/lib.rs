//! SquashFS 4.0, the read-only compressed file system of Linux: a writer, and a reader that takes hostile images.

mod error;
pub mod format;
mod options;
pub mod reader;
mod writer;

pub use error::WriteError;
pub use options::{
    BCJ_NAMES, Bcj, BcjPolicy, Effort, Fragments, MAX_ALIGNMENT, Method, OptionError, Options, Padding, Store,
};
pub use writer::{Progress, Summary, needed_by, write};
