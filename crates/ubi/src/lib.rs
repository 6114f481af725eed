//! UBI images: many volumes in one flash partition, their eraseblocks worn evenly by the kernel.
//!
//! [`writer::plan`] lays volumes out, [`writer::Plan::write_to`] writes the image. [`reader::Image`] reads images and dumps of
//! flash, whole or damaged: [`reader::Image::volumes`], [`reader::Image::check`]. What is in a volume is bytes here, whatever
//! it is. The format itself is in [`mod@format`].

pub mod contents;
mod fit;
pub mod format;
pub mod ini;
mod input;
mod options;
pub mod reader;
pub mod writer;

pub use fit::{Device, Fit};
pub use input::ReadAt;
pub use options::{Content, Options, Volume};
pub use writer::{Plan, PlannedVolume, Progress, Summary, WriteError, plan};
