//! What keeps an image from being read.

use std::io;

use super::finding::Finding;

/// What keeps an image, or a volume in it, from being read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read at {offset:#x}: {error}")]
    Io {
        /// Bytes from the start of the file.
        offset: u64,
        /// What was met.
        #[source]
        error: io::Error,
    },
    /// What was read cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// Not one sound EC header.
    #[error(
        "no UBI: none of the {len} bytes start a sound erase counter header (UBI#); is it an image of a file system, to be put \
         into a volume?"
    )]
    NotUbi {
        /// Bytes of the file.
        len: u64,
    },
    /// One EC header tells nothing of the PEB's size.
    #[error("the only sound erase counter header is at {offset:#x}, and tells no PEB size: give it")]
    PebSize {
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// The headers say of themselves what cannot be.
    #[error(
        "the erase counter header at {offset:#x} has VID header offset {vid_hdr_offset} and data offset {data_offset}, which \
         do not fit a PEB of {peb_size} bytes"
    )]
    Geometry {
        /// Bytes from the start of the file.
        offset: u64,
        /// As it stands there.
        vid_hdr_offset: u32,
        /// As it stands there.
        data_offset: u32,
        /// Distance of the headers, or what was given.
        peb_size: u64,
    },
    /// More PEBs than any device has.
    #[error("{count} PEBs of {peb_size} bytes: no device has more than 1048576; give the PEB size")]
    TooManyPebs {
        /// How many it would be.
        count: u64,
        /// Bytes of each.
        peb_size: u64,
    },
    /// There is no such volume.
    #[error("no volume {0}")]
    NoVolume(String),
    /// Data is missing or damaged.
    #[error("{0}")]
    Damaged(Box<Finding>),
}

/// Kinds of [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Reading or writing failed.
    Io,
    /// The image is no UBI, or damaged.
    Corrupt,
    /// Something else has to be asked for.
    Usage,
}

impl ReadError {
    /// What kind it is.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            ReadError::Io { .. } | ReadError::Output(_) => ErrorClass::Io,
            ReadError::PebSize { .. } | ReadError::NoVolume(_) => ErrorClass::Usage,
            _ => ErrorClass::Corrupt,
        }
    }
}
