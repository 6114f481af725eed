//! How worn a device is: nothing is changed.

use flashwright_media::{Flash, FlashGeometry, UbiGeometry};
use flashwright_ubi::format::{EcHdr, HEADER_LEN, HeaderFault};
use flashwright_ubi::reader::EraseCounts;

use super::survey::{NONE, count_of};
use crate::device::Device;
use crate::error::Error;
use crate::event::{OnEvent, Phase};
use crate::report::Report;

/// What the EC headers of a device say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Erase counts; bad PEBs are not in them.
    pub counts: EraseCounts,
    /// PEBs that are marked bad.
    pub bad: u32,
    /// PEBs that are erased, without a header.
    pub erased: u32,
    /// PEBs that start with something else: no UBI, or damage.
    pub unreadable: u32,
    /// Bits that the error correction put right, of everything that was read.
    pub corrected_bits: u64,
    /// PEBs of which the device calls some bytes in danger.
    pub worn: Vec<u32>,
    /// PEBs with bytes that the error correction gave up.
    pub uncorrectable: Vec<u32>,
    /// Image sequence numbers, and how many PEBs have each; the first few.
    pub image_seqs: Vec<(u32, u32)>,
    /// Sizes, as the first header that makes sense has them.
    pub geometry: Option<UbiGeometry>,
}

/// Image sequence numbers that are listed; a sound device has one.
const MAX_SEQS: usize = 16;

/// Reads the EC headers of all PEBs; with `whole`, every byte, for what the error correction has to say.
///
/// # Errors
/// When the device cannot be read.
pub fn health(flash: &mut dyn Flash, whole: bool, on_event: OnEvent<'_>) -> Result<Health, Box<Error>> {
    let mut report = Report::default();
    let mut device = Device::new(flash, &mut report, on_event);
    let total = device.geometry().eraseblock_count;
    let mut health = Health::default();
    let mut counts = Vec::new();
    let mut unknown = 0;
    for peb in 0..total {
        if device.is_bad(peb)? {
            health.bad += 1;
        } else {
            match health.look(&mut device, peb, whole)? {
                NONE => unknown += 1,
                count => counts.push(count),
            }
        }
        device.progress(Phase::Survey, peb + 1, total);
        if device.stopping() {
            break;
        }
    }
    health.counts = EraseCounts::from_counts(&counts, unknown);
    health.corrected_bits = report.corrected_bits;
    Ok(health)
}

impl Health {
    fn look(&mut self, device: &mut Device<'_>, peb: u32, whole: bool) -> Result<u32, Box<Error>> {
        let sizes = *device.geometry();
        let mut bytes = [0; HEADER_LEN];
        let offset = sizes.offset_of(peb);
        let worn = device.report.worn_reads;
        let mut readable = device.read(offset, &mut bytes)?.is_some();
        if whole {
            readable &= device.read_through(offset, sizes.eraseblock_size.into())?;
        }
        if device.report.worn_reads > worn {
            self.worn.push(peb);
        }
        if !readable {
            self.uncorrectable.push(peb);
        }
        match EcHdr::parse(&bytes) {
            Ok(header) => {
                self.note(&header, &sizes);
                return Ok(count_of(&header));
            }
            Err(HeaderFault::Erased) => self.erased += 1,
            Err(_) => self.unreadable += 1,
        }
        Ok(NONE)
    }

    fn note(&mut self, header: &EcHdr, sizes: &FlashGeometry) {
        let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = *sizes;
        if self.geometry.is_none() {
            let offset = Some(header.vid_hdr_offset);
            self.geometry = UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), offset).ok();
        }
        let known = self.image_seqs.iter().position(|(seq, _)| *seq == header.image_seq);
        match known {
            Some(index) => self.image_seqs[index].1 += 1,
            None if self.image_seqs.len() < MAX_SEQS => self.image_seqs.push((header.image_seq, 1)),
            None => {}
        }
    }
}
