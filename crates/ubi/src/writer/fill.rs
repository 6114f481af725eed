//! The bytes of a PEB, and the number that is derived from all of them.

use crc32fast::Hasher;
use flashwright_media::crc32_from_ones;

use super::plan::{Plan, PlannedVolume};
use super::{LAYOUT_LEBS, WriteError};
use crate::format::{EcHdr, HEADER_LEN, LAYOUT_VOLUME, VidHdr, VolumeType, VtblRecord, compat};

/// Makes the PEBs of a plan.
pub(super) struct Filler<'a> {
    plan: &'a Plan,
    vtbl: Vec<u8>,
}

/// What a PEB of the image holds.
#[derive(Debug, Clone, Copy)]
enum Holds<'a> {
    Layout,
    Volume(&'a PlannedVolume),
}

/// Takes in everything that makes an image this one and no other.
pub(super) struct Digest(Hasher);

impl Digest {
    /// The image sequence number: any but 0, which would fit every image.
    pub(super) fn image_seq(self) -> u32 {
        self.0.finalize().max(1)
    }

    fn add(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.0.update(&number.to_be_bytes()));
    }
}

impl<'a> Filler<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let mut records = vec![VtblRecord::empty(); plan.options.geometry.vtbl_slots() as usize];
        for volume in &plan.volumes {
            // Ids are below the number of slots.
            if let Some(record) = records.get_mut(volume.id as usize) {
                *record = volume.record();
            }
        }
        Filler { plan, vtbl: records.iter().flat_map(VtblRecord::to_bytes).collect() }
    }

    pub(super) fn ec_hdr(&self, image_seq: u32) -> EcHdr {
        let options = &self.plan.options;
        EcHdr {
            erase_count: options.erase_count,
            vid_hdr_offset: options.geometry.vid_hdr_offset(),
            data_offset: options.geometry.data_offset(),
            image_seq,
        }
    }

    pub(super) fn peb_size(&self) -> usize {
        self.plan.options.geometry.peb_size() as usize
    }

    pub(super) fn image_len(&self) -> u64 {
        self.plan.image_len()
    }

    /// A digest that has taken in what does not depend on content. Sizes and erase counter are of the image too: PEBs of two
    /// images that differ in them must not be taken for one.
    pub(super) fn digest(&self) -> Digest {
        let mut digest = Digest(Hasher::new());
        let geometry = &self.plan.options.geometry;
        digest.add(&[geometry.peb_size(), geometry.vid_hdr_offset(), geometry.data_offset()]);
        digest.0.update(&self.plan.options.erase_count.to_be_bytes());
        // Without the CRC that ends each record: a message and its own CRC together leave no trace in a CRC.
        let records = self.vtbl.chunks(VtblRecord::LEN);
        records.for_each(|record| digest.0.update(&record[..VtblRecord::LEN - 4]));
        digest
    }

    /// Reads all content for its digest alone.
    pub(super) fn derive_image_seq(&self) -> Result<u32, WriteError> {
        let mut digest = self.digest();
        let mut peb = vec![0; self.peb_size()];
        for (holds, lnum) in self.pebs() {
            self.fill(holds, lnum, &mut peb, &mut digest)?;
        }
        Ok(digest.image_seq())
    }

    fn pebs(&self) -> impl Iterator<Item = (Holds<'a>, u32)> + use<'a> {
        let layout = (0..LAYOUT_LEBS).map(|lnum| (Holds::Layout, lnum));
        let of =
            |volume: &'a PlannedVolume| (0..volume.used_lebs).map(move |lnum| (Holds::Volume(volume), lnum));
        layout.chain(self.plan.volumes.iter().flat_map(of))
    }

    /// Starts at the first PEB.
    pub(super) fn start(&self, image_seq: u32) -> Pebs<'a, '_> {
        Pebs {
            filler: self,
            header: self.ec_hdr(image_seq).to_bytes(),
            left: Box::new(self.pebs()),
            digest: self.digest(),
        }
    }

    /// Data and VID header of a LEB into a PEB's buffer; all else of it as it was, or 0xFF where data ends.
    fn fill(
        &self,
        holds: Holds<'_>,
        lnum: u32,
        peb: &mut [u8],
        digest: &mut Digest,
    ) -> Result<(), WriteError> {
        let geometry = &self.plan.options.geometry;
        let (headers, data) = peb.split_at_mut(geometry.data_offset() as usize);
        let header = match holds {
            Holds::Layout => {
                data[..self.vtbl.len()].copy_from_slice(&self.vtbl);
                data[self.vtbl.len()..].fill(0xff);
                layout_vid_hdr(lnum)
            }
            Holds::Volume(volume) => {
                let len = volume.data_len(lnum) as usize;
                read(volume, lnum, &mut data[..len])?;
                data[len..].fill(0xff);
                let crc = crc32_from_ones(&data[..len]);
                digest.add(&[volume.id, lnum, volume.data_len(lnum), crc]);
                vid_hdr(volume, lnum, crc)
            }
        };
        let at = geometry.vid_hdr_offset() as usize;
        headers[at..at + HEADER_LEN].copy_from_slice(&header.to_bytes());
        Ok(())
    }
}

fn read(volume: &PlannedVolume, lnum: u32, bytes: &mut [u8]) -> Result<(), WriteError> {
    let Some(content) = &volume.content else { return Ok(()) };
    let offset = u64::from(lnum) * u64::from(volume.usable_leb_size);
    let failed = |error| WriteError::Read { volume: volume.name.clone(), offset, error };
    content.source.read_exact_at(offset, bytes).map_err(failed)
}

fn layout_vid_hdr(lnum: u32) -> VidHdr {
    VidHdr {
        volume_type: VolumeType::Dynamic.to_flash(),
        compat: compat::REJECT,
        volume_id: LAYOUT_VOLUME,
        lnum,
        ..VidHdr::default()
    }
}

fn vid_hdr(volume: &PlannedVolume, lnum: u32, data_crc: u32) -> VidHdr {
    let header = VidHdr {
        volume_type: volume.volume_type.to_flash(),
        volume_id: volume.id,
        lnum,
        data_pad: volume.data_pad,
        ..VidHdr::default()
    };
    match volume.volume_type {
        VolumeType::Dynamic => header,
        VolumeType::Static => {
            VidHdr { data_size: volume.data_len(lnum), used_ebs: volume.used_lebs, data_crc, ..header }
        }
    }
}

/// The PEBs of an image, one after the other.
pub(super) struct Pebs<'a, 'f> {
    filler: &'f Filler<'a>,
    header: Vec<u8>,
    left: Box<dyn Iterator<Item = (Holds<'a>, u32)> + Send + 'f>,
    digest: Digest,
}

impl Pebs<'_, '_> {
    /// Fills `buffer`, whole PEBs, with the next ones; returns the bytes used, 0 at the end.
    pub(super) fn next_into(&mut self, buffer: &mut [u8]) -> Result<usize, WriteError> {
        let (filler, mut used) = (self.filler, 0);
        for peb in buffer.chunks_mut(filler.peb_size()) {
            let Some((holds, lnum)) = self.left.next() else { break };
            peb[..filler.plan.options.geometry.data_offset() as usize].fill(0xff);
            filler.fill(holds, lnum, peb, &mut self.digest)?;
            peb[..HEADER_LEN].copy_from_slice(&self.header);
            used += peb.len();
        }
        Ok(used)
    }

    /// The image sequence number that follows from all that was read.
    pub(super) fn image_seq(self) -> u32 {
        self.digest.image_seq()
    }
}
