//! Why an image cannot be written.

use std::io;

use flashwright_codec::CodecError;
use flashwright_tree::{ContentError, display_path};

use crate::options::OptionError;

/// An image that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An option that SquashFS cannot follow.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A node that SquashFS cannot hold.
    #[error("{}: {what}; {remedy}", display_path(path))]
    Node {
        /// Path in the image.
        path: Vec<u8>,
        /// What is wrong, with the value and the limit.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A tree that SquashFS cannot hold as a whole.
    #[error("{what}; {remedy}")]
    Tree {
        /// What is wrong, with the value and the limit.
        what: String,
        /// What to do about it.
        remedy: &'static str,
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
    /// Two pieces of data with one hash are not equal: a file has changed between two readings.
    #[error(
        "{}: its data changed while it was read; build again when nothing writes to it",
        display_path(path)
    )]
    Changed {
        /// Path in the image.
        path: Vec<u8>,
    },
    /// The output cannot be written.
    #[error("cannot write the image: {0}")]
    Output(#[from] io::Error),
    /// A compressor failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
