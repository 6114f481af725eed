//! What is refused, and what goes wrong on the way.

use std::fmt;

use flashwright_media::{FlashError, UbiError};

use crate::report::Sha256;
use crate::source::SourceError;

/// Something that cannot end well, found before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word for what it is: `size`, `offset`, … Where it can be overridden, what `--force` takes.
    pub word: &'static str,
    /// Whether it can be overridden.
    pub overridable: bool,
    /// What, where, expected, found, and what to do.
    pub reason: String,
}

impl Refusal {
    /// One that nothing overrides.
    pub(crate) fn new(word: &'static str, reason: String) -> Self {
        Refusal { word, overridable: false, reason }
    }

    /// One that its word overrides.
    pub(crate) fn forcible(word: &'static str, reason: String) -> Self {
        Refusal { word, overridable: true, reason }
    }

    /// The first of them that none of those words overrides.
    #[must_use]
    pub fn first<'a>(refusals: &'a [Self], forced: &[&str]) -> Option<&'a Self> {
        refusals.iter().find(|refusal| !refusal.overridable || !forced.contains(&refusal.word))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.overridable { write!(f, " (--force {})", self.word) } else { Ok(()) }
    }
}

/// What keeps a run from being finished. Offsets are in bytes from the start of the device unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed.
    #[error(transparent)]
    Flash(FlashError),
    /// The UBI device failed.
    #[error(transparent)]
    Ubi(UbiError),
    /// A volume does not hold what it was given.
    #[error("volume {id} does not hold what it was given: it differs in the {len} bytes from {offset:#x} on")]
    VolumeMismatch {
        /// Its id.
        id: u32,
        /// Bytes from the start of its data.
        offset: u64,
        /// How many bytes, of which some differ.
        len: u64,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// Stopped, as asked, before anything was changed.
    #[error("stopped before anything was changed")]
    Stopped,
    /// The plan has refusals, and nothing overrides them.
    #[error("{0}")]
    Refused(Refusal),
    /// What is read now is not what was looked at first.
    #[error(
        "the image changed: its {len} bytes at {offset:#x} are not those that were looked at first; run again when nobody \
         writes it"
    )]
    Changed {
        /// Bytes from the start of the image.
        offset: u64,
        /// How many bytes, of which some differ.
        len: u64,
    },
    /// The image is not the one that was asked for. A device that was being written has an invalid first eraseblock.
    #[error(
        "the image has SHA-256 {found}, expected {expected}: it was damaged on its way, or is another one"
    )]
    Digest {
        /// What was asked for.
        expected: Sha256,
        /// What the image has.
        found: Sha256,
    },
    /// Flash without bad eraseblocks did not take what it was given, twice.
    #[error(
        "eraseblock {eraseblock} does not hold what it is given: at {offset:#010x} expected {expected:#04x}, found \
         {found:#04x}; the flash is worn out there"
    )]
    Mismatch {
        /// Which one.
        eraseblock: u32,
        /// Where it differs first.
        offset: u64,
        /// The byte that was programmed.
        expected: u8,
        /// The byte that is read.
        found: u8,
    },
    /// Eraseblocks went bad, and those left are too few for the image.
    #[error(
        "{needed} eraseblocks are needed and {left} good ones are left, {went_bad} having gone bad now: the image does not \
         fit any more"
    )]
    NoRoom {
        /// Eraseblocks that the image needs.
        needed: u32,
        /// Good ones left.
        left: u32,
        /// How many went bad during this run.
        went_bad: u32,
    },
    /// More eraseblocks went bad than flash wears out at once.
    #[error(
        "{went_bad} eraseblocks went bad in this run: that is no wear but something else (the controller, its driver, a \
         write protection); nothing more is marked"
    )]
    TooManyBad {
        /// How many.
        went_bad: u32,
    },
    /// An eraseblock went bad, all that follow have to move, and the image came from a pipe that cannot be read again.
    #[error(
        "eraseblock {eraseblock} at {offset:#010x} went bad and was marked so: the whole image has to move, and a pipe cannot \
         be read again; run again"
    )]
    Again {
        /// Which one.
        eraseblock: u32,
        /// Where it is.
        offset: u64,
    },
}

/// Errors are handed up in a box: one word instead of twenty.
macro_rules! boxed {
    ($($variant:ident($from:ty)),*) => {$(
        impl From<$from> for Box<Error> {
            fn from(error: $from) -> Self {
                Box::new(Error::$variant(error))
            }
        }
    )*};
}

boxed!(Flash(FlashError), Ubi(UbiError), Source(SourceError), Refused(Refusal));

impl Error {
    /// Whether an image is the one that was asked for, as far as either is known.
    pub(crate) fn check_digest(expected: Option<Sha256>, found: Option<Sha256>) -> Result<(), Box<Self>> {
        match (expected, found) {
            (Some(expected), Some(found)) if expected != found => {
                Err(Error::Digest { expected, found }.into())
            }
            _ => Ok(()),
        }
    }
}
