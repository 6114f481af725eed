//! Writes an image: the volume table twice, then the LEBs of each volume, one PEB each.
//!
//! ```text
//! PEB 0, 1: volume table    PEB 2 …: LEB 0, 1, … of the first volume    … of the second    …
//! ```
//!
//! Content is read while the image is written, a piece at a time, so memory does not depend on sizes. Nothing is random: the
//! image sequence number is derived from all that is in the image.

mod error;
mod fill;
mod pipe;
mod plan;

use std::io::{Seek, SeekFrom, Write};

pub use error::WriteError;
pub use plan::{Plan, PlannedVolume, plan};

use crate::fit::Fit;
use crate::format::LAYOUT_LEBS;
use fill::Filler;

/// How far the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the image that are done.
    pub bytes_done: u64,
    /// Bytes of the image.
    pub bytes_total: u64,
}

/// What an image is, or will be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// PEBs that are in the image.
    pub peb_count: u32,
    /// Bytes of the image.
    pub bytes_out: u64,
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// Number that tells this image from others; `None` as long as it is not written.
    pub image_seq: Option<u32>,
    /// In the order in which they were given.
    pub volumes: Vec<PlannedVolume>,
    /// How they fit, when a device was given.
    pub fit: Option<Fit>,
}

impl Plan {
    /// What the image will be.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            peb_count: self.peb_count(),
            bytes_out: self.image_len(),
            leb_size: self.options.geometry.leb_size(),
            image_seq: self.options.image_seq,
            volumes: self.volumes.clone(),
            fit: self.fit,
        }
    }

    fn peb_count(&self) -> u32 {
        // `plan` has checked the sum of what is reserved, and no volume uses more.
        LAYOUT_LEBS + self.volumes.iter().map(|volume| volume.used_lebs).sum::<u32>()
    }

    fn image_len(&self) -> u64 {
        u64::from(self.peb_count()) * u64::from(self.options.geometry.peb_size())
    }

    /// Writes the image to something that cannot go back. Without a given image sequence number all content is read twice:
    /// once to derive it, once to write it.
    ///
    /// # Errors
    /// [`WriteError::Read`], [`WriteError::Write`]; [`WriteError::Changed`] when content was not the same twice.
    pub fn write_to(
        &self,
        output: &mut dyn Write,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, WriteError> {
        let filler = Filler::new(self);
        let derived = match self.options.image_seq {
            Some(given) => given,
            None => filler.derive_image_seq()?,
        };
        let read = pipe::run(&filler, derived, output, progress)?;
        if self.options.image_seq.is_none() && read != derived {
            return Err(WriteError::Changed);
        }
        output.flush().map_err(WriteError::Write)?;
        Ok(Summary { image_seq: Some(derived), ..self.summary() })
    }

    /// Writes the image to a file, from where it stands: the same bytes as [`Plan::write_to`], but all content is read only
    /// once. What the file has after the image stays.
    ///
    /// # Errors
    /// [`WriteError::Read`], [`WriteError::Write`].
    pub fn write_to_file<F: Write + Seek>(
        &self,
        file: &mut F,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, WriteError> {
        let start = file.stream_position().map_err(WriteError::Write)?;
        let filler = Filler::new(self);
        let derived = pipe::run(&filler, self.options.image_seq.unwrap_or(0), file, progress)?;
        let image_seq = self.options.image_seq.unwrap_or(derived);
        if self.options.image_seq.is_none() {
            // Only now is the number known: it goes into each header.
            let header = filler.ec_hdr(image_seq).to_bytes();
            for peb in 0..u64::from(self.peb_count()) {
                let at = start + peb * u64::from(self.options.geometry.peb_size());
                file.seek(SeekFrom::Start(at))
                    .and_then(|_| file.write_all(&header))
                    .map_err(WriteError::Write)?;
            }
            file.seek(SeekFrom::Start(start + self.image_len())).map_err(WriteError::Write)?;
        }
        file.flush().map_err(WriteError::Write)?;
        Ok(Summary { image_seq: Some(image_seq), ..self.summary() })
    }
}
