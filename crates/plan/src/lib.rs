//! Gets images onto flash: looks at the device and at the image first, decides and explains what has to be erased and
//! programmed, then does it over [`Flash`](flashwright_media::Flash).
//!
//! Every writer has the same three steps:
//!
//! 1. *Survey*: image and device are read; nothing is changed.
//! 2. *Plan*: what happens to each eraseblock, the totals, and the [`Refusal`]s: what cannot end well is refused before the
//!    first erase, with the reason and the word that overrides it, if one does.
//! 3. *Execute*: what the plan says, with [`Event`]s on the way, and a [`Report`] that is right after an error too.
//!
//! After an interruption, by a power cut or by a request to stop, the same command goes on from there: a new survey finds what
//! is already right.
//!
//! - [`mod@image`]: what an image is, whether it is whole, and whether it belongs there.
//! - [`raw`]: an image onto NOR, NAND or RAM as it is, verifying and erasing.
//! - [`ubi`]: a UBI image onto flash, every erase count kept.
//! - [`volume`]: new content for a volume of an attached UBI device.
//!
//! Nothing here looks at a clock, prints, or opens a device: those come in as [`Flash`](flashwright_media::Flash), [`Source`]
//! and a callback.

mod bytes;
mod device;
mod error;
mod event;
pub mod image;
pub mod raw;
mod report;
mod source;
pub mod ubi;
pub mod volume;

pub use error::{Error, Refusal};
pub use event::{Event, OnEvent, Phase};
pub use report::{Costs, Ending, Report, Sha256};
pub use source::{FileSource, PipeSource, Source, SourceError, SourceFailure, SourceFault};
