//! Reads images and dumps of flash. Nothing that is in them is trusted: what is wrong is a [`Finding`] with its PEB, or an
//! error, and memory depends on the number of PEBs alone.
//!
//! ```text
//! open: geometry (where sound headers are) → scan (both headers of each PEB) → volume table
//! then: volumes, extract (one LEB after the other), check (every byte), erase counts, fastmap
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod check;
mod counts;
mod data;
mod error;
mod fastmap;
mod finding;
mod geometry;
mod scan;
mod table;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use counts::{Bar, EraseCounts};
pub use error::{ErrorClass, ReadError};
pub use fastmap::Fastmap;
pub use finding::{Finding, Report, Severity};
pub use geometry::{Found, Oob};
pub use volume::VolumeInfo;

use crate::input::ReadAt;
use scan::{Ec, Entry, PebInfo};
use table::Table;

/// True when these first bytes of a file are the start of an image.
#[must_use]
pub fn is_ubi(head: &[u8]) -> bool {
    head.starts_with(&crate::format::EC_MAGIC.to_be_bytes())
}

/// An image, or a dump of flash that UBI is on.
#[derive(Debug, Clone)]
pub struct Image {
    input: Arc<dyn ReadAt>,
    geometry: Found,
    pebs: Vec<PebInfo>,
    entries: Vec<Entry>,
    table: Table,
    volumes: Vec<VolumeInfo>,
}

impl Image {
    /// Reads the headers of all PEBs and the volume table of a file of `len` bytes. Sizes are found by where headers are; a
    /// PEB size in bytes that is given, spare bytes included, is taken as it is.
    ///
    /// # Errors
    /// [`ReadError`], when there is no UBI in it or the file cannot be read. Damage is none, see [`Image::check`].
    pub fn open(input: Arc<dyn ReadAt>, len: u64, peb_size: Option<u32>) -> Result<Self, ReadError> {
        let geometry = geometry::find(&input, len, peb_size)?;
        let pebs = scan::scan(input.as_ref(), &geometry)?;
        let entries = scan::entries(&pebs);
        let (table, volumes) = (Table::default(), Vec::new());
        let mut image = Image { input, geometry, pebs, entries, table, volumes };
        image.table = Table::read(&image)?;
        image.volumes = volume::volumes(&image)?;
        Ok(image)
    }

    /// Its sizes.
    #[must_use]
    pub const fn geometry(&self) -> &Found {
        &self.geometry
    }

    /// Its volumes, by id; without a volume table those that have a LEB.
    #[must_use]
    pub fn volumes(&self) -> &[VolumeInfo] {
        &self.volumes
    }

    /// Erase counts of all PEBs.
    #[must_use]
    pub fn erase_counts(&self) -> EraseCounts {
        EraseCounts::of(&self.pebs)
    }

    /// Image sequence numbers, and how many PEBs have each.
    #[must_use]
    pub fn image_seqs(&self) -> BTreeMap<u32, u32> {
        let mut seqs = BTreeMap::new();
        for info in &self.pebs {
            if let Ec::Known { image_seq, .. } = info.ec {
                let count: &mut u32 = seqs.entry(image_seq).or_default();
                *count = count.saturating_add(1);
            }
        }
        seqs
    }

    /// PEBs that hold no LEB.
    #[must_use]
    pub fn free_pebs(&self) -> usize {
        self.pebs.iter().filter(|info| matches!(info.vid, scan::Vid::Erased)).count()
    }

    /// All PEBs that claim to hold that LEB, the newest first.
    fn claims(&self, volume: u32, lnum: u32) -> &[Entry] {
        let place = (volume, lnum);
        let start = self.entries.partition_point(|entry| entry.place() < place);
        let rest = self.entries.get(start..).unwrap_or_default();
        let len = rest.partition_point(|entry| entry.place() == place);
        rest.get(..len).unwrap_or_default()
    }

    /// The PEB that holds a LEB: the newest, unless that is a copy that was not finished.
    fn resolve(&self, volume: u32, lnum: u32) -> Result<Option<Entry>, ReadError> {
        let claims = self.claims(volume, lnum);
        let Some((oldest, newer)) = claims.split_last() else { return Ok(None) };
        for entry in newer {
            if entry.header.copy_flag == 0 || self.data_crc(entry)? == entry.header.data_crc {
                return Ok(Some(*entry));
            }
        }
        Ok(Some(*oldest))
    }
}
