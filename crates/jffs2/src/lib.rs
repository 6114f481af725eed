//! JFFS2, the log-structured writable file system of small NOR and NAND flash, of either byte order.

pub mod acl;
mod error;
mod fit;
pub mod format;
mod options;
pub mod reader;
mod writer;

pub use error::WriteError;
pub use fit::{Fit, Verdict, fit};
pub use options::{Compressors, Effort, Flash, MAX_ERASEBLOCK, MAX_NODE_SIZE, OptionError, Options, Padding};
pub use writer::{Progress, Stored, Summary, write, write_end_marks};
