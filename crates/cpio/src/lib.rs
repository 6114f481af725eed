//! initramfs archives: a [`Tree`](flashwright_tree::Tree) to cpio "newc", and back.
//!
//! ```text
//! ┌───────────────┬──────────────────┬──────────────────┬───┬─────────────────┬──────────────┐
//! │ header, 110 B │ name, NUL, pad 4 │ data, pad 4      │ … │ "TRAILER!!!"    │ zeros to 512 │
//! └───────────────┴──────────────────┴──────────────────┴───┴─────────────────┴──────────────┘
//! ```
//!
//! This is the format that Linux unpacks into its root file system at boot. It has no xattrs, no sub-second times
//! and no holes: xattrs are refused unless [`Options::xattrs`] says otherwise, fractions of a second are dropped and
//! counted in [`Summary::truncated_times`], holes are written as zeros.
//!
//! Linux takes the whole archive as one gzip, xz, zstd, lz4 or lzo stream: [`Options::compression`]. The reader takes
//! archives that are not compressed.

mod compress;
mod error;
mod format;
mod reader;
mod writer;

pub use compress::Compression;
pub use error::Error;
pub use reader::{Contents, read, read_bytes, read_parts};
pub use writer::{Options, Plan, Summary, XattrPolicy, plan, write};
