//! Why an image cannot be written.

use std::io;

use flashwright_codec::CodecError;
use flashwright_tree::{ContentError, TreeError, display_path};

use crate::options::OptionError;

/// An image that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An option that JFFS2 cannot follow.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A node that JFFS2 cannot hold.
    #[error("{}: {what}; {remedy}", display_path(path))]
    Node {
        /// Path in the image.
        path: Vec<u8>,
        /// What is wrong, with the value and the limit.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A tree that JFFS2 cannot hold as a whole.
    #[error("{what}; {remedy}")]
    Tree {
        /// What is wrong, with the value and the limit.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A large tree found no room for what is kept of each node.
    #[error(transparent)]
    Spill(#[from] TreeError),
    /// The image is longer than the size it was to be padded to.
    #[error(
        "the image needs at least {needed} bytes, the size asked for is {size} bytes; leave files out, compress \
         harder, or give it more room"
    )]
    TooLarge {
        /// Bytes that the image needs at least.
        needed: u64,
        /// Bytes that it may have.
        size: u64,
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
