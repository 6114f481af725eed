//! UBIFS, the journalling writable file system of UBI volumes on NAND and NOR flash. Always little-endian.

mod error;
pub mod format;
pub mod geometry;
mod options;
pub mod reader;

mod writer;

pub use error::WriteError;
pub use options::{Compression, Effort, FAVOR_PERCENT, Geometry, MAX_FANOUT, OptionError, Options};
pub use writer::{Progress, Stored, Summary, write};
