//! Why an image cannot be written.

use std::io;

use flashwright_codec::CodecError;
use flashwright_tree::{ContentError, display_path};

use crate::options::OptionError;

/// An image that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An option that UBIFS cannot follow.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A node that UBIFS cannot hold.
    #[error("{}: {what}; {remedy}", display_path(path))]
    Node {
        /// Path in the image.
        path: Vec<u8>,
        /// What is wrong, with the value and the limit.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// More inodes than there are numbers.
    #[error("more than 4294967295 inodes, xattrs included; make two images")]
    TooManyInodes,
    /// The tree takes more LEBs than the file system may have.
    #[error(
        "the image needs {needed} LEBs ({needed_bytes} bytes), the volume has at most {max_leb_cnt} ({max_bytes} bytes); \
         raise max-lebs if the flash has more, else leave files out or compress harder"
    )]
    TooLarge {
        /// LEBs that are needed.
        needed: u64,
        /// The same in bytes.
        needed_bytes: u64,
        /// LEBs that the file system may have.
        max_leb_cnt: u32,
        /// The same in bytes.
        max_bytes: u64,
    },
    /// File data that cannot be read.
    #[error("{}: {error}", display_path(path))]
    Content {
        /// Path in the image.
        path: Vec<u8>,
        /// What happened.
        #[source]
        error: ContentError,
    },
    /// The output cannot be written.
    #[error("cannot write the image: {0}")]
    Output(#[from] io::Error),
    /// A compressor failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
