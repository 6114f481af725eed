//! What keeps an image from being written.

use std::io;

use crate::fit::Fit;

/// What keeps an image from being written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A volume that cannot be as asked for.
    #[error("volume {volume}: {what}")]
    Volume {
        /// Its name.
        volume: String,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Volumes or options that do not go together.
    #[error("{what}")]
    Image {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The device is too small.
    #[error("the volumes do not fit: {fit}; {} too many", fit.needed().saturating_sub(fit.good()))]
    DoesNotFit {
        /// The sums.
        fit: Fit,
    },
    /// The content of a volume cannot be read.
    #[error("volume {volume}: cannot read its content at byte {offset:#x}: {error}")]
    Read {
        /// Its name.
        volume: String,
        /// Bytes from the start of the content.
        offset: u64,
        /// What was met.
        #[source]
        error: io::Error,
    },
    /// The content of a volume was not the same when it was read again.
    #[error("the content of a volume changed while the image was written")]
    Changed,
    /// The output takes no more.
    #[error("cannot write the image: {0}")]
    Write(#[source] io::Error),
}
