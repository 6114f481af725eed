//! What is on the device: every PEB, by its headers, and by its content where it may stay.

use flashwright_media::{EccStats, FlashError, FlashKind, UbiGeometry};
use flashwright_ubi::format::{
    EcHdr, FASTMAP_DATA_VOLUME, FASTMAP_VOLUME, HEADER_LEN, HeaderFault, LAYOUT_VOLUME, MAX_ERASE_COUNT,
    VidHdr, VolumeType,
};

use super::image::{DataSum, ImageIndex, vid_of};
use crate::bytes::is_blank;
use crate::device::{Comparison, Device, unit};
use crate::error::Error;
use crate::event::Phase;
use crate::source::Source;

/// Sequence numbers from here on are damage: the kernel counts up from 0, and does not get there.
const MAX_SQNUM: u64 = u64::MAX >> 1;
/// Image sequence numbers that are told apart; a device with more is one of parts of many images.
const MAX_SEQS: usize = 250;
/// No number: of an erase count, or of a LEB.
pub(super) const NONE: u32 = u32::MAX;

/// What a PEB of the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Marked bad.
    Bad,
    /// A LEB of a fastmap.
    Fastmap,
    /// A copy of the volume table.
    Layout,
    /// A LEB that is not in the image, or not like this.
    Stale,
    /// A LEB as the image has it; from a pipe: one that it may have.
    Match,
    /// The same, and the device calls its bytes in danger.
    Worn,
    /// The right EC header, and nothing else.
    Free,
    /// Anything else: erased, not UBI, half erased, half written.
    Unclear,
}

/// To which image a PEB belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seq {
    /// The kernel does not ask: no EC header that it could read.
    NoHeader,
    /// An EC header that does not fit any image for this device.
    Foreign,
    /// Index of its image sequence number.
    Of(u8),
}

/// A PEB of the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct PebState {
    /// How often it was erased; [`NONE`] when there is no header that tells.
    pub(super) count: u32,
    /// Index of the LEB of the image that it holds, like it or not; [`NONE`] for none.
    pub(super) leb: u32,
    pub(super) seq: Seq,
    pub(super) what: What,
}

/// A PEB that holds a LEB, as its VID header has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) volume: u32,
    pub(super) lnum: u32,
    pub(super) peb: u32,
}

/// A PEB of a volume of UBI's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Internal {
    pub(super) sqnum: u64,
    pub(super) lnum: u32,
    pub(super) peb: u32,
}

/// A device, looked at.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) pebs: Vec<PebState>,
    /// Image sequence numbers, see [`Seq::Of`].
    pub(super) seqs: Vec<u32>,
    /// Copies of the volume table, the oldest first.
    pub(super) layout: Vec<Internal>,
    /// LEBs of fastmaps, the oldest first.
    pub(super) fastmap: Vec<Internal>,
    /// With an image from a pipe: all LEBs of volumes, sorted.
    pub(super) claims: Vec<Claim>,
    /// Greatest sequence number.
    pub(super) max_sqnum: u64,
    /// The LEB of a volume that was written last: PEB.
    pub(super) newest: Option<(u64, u32)>,
    /// PEBs that are write-protected.
    pub(super) locked: u32,
}

/// Both headers of a PEB.
pub(super) struct Headers {
    pub(super) ec: Result<EcHdr, HeaderFault>,
    pub(super) vid: Result<VidHdr, HeaderFault>,
    /// What was read with them is erased, and the error correction had nothing to put right there.
    alone: bool,
}

/// Where an image's content comes from while the device is compared with it.
pub(super) struct Wanted<'a> {
    pub(super) index: &'a ImageIndex,
    pub(super) source: &'a mut dyn Source,
    /// A PEB.
    pub(super) buffer: &'a mut [u8],
    /// See [`Options::trust_crc`](super::Options::trust_crc).
    pub(super) trust: bool,
}

pub(super) fn headers(
    device: &mut Device<'_>,
    geometry: &UbiGeometry,
    peb: u32,
) -> Result<Headers, FlashError> {
    let start = device.geometry().offset_of(peb);
    // An offset in a PEB, which fits wherever there is flash of that size.
    let place = geometry.vid_hdr_offset() as usize;
    let (stats, bytes) = device.peek(start, place + HEADER_LEN)?;
    let header = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk);
    let alone = stats == Some(EccStats::default()) && bytes.get(HEADER_LEN..).is_some_and(is_blank);
    let ec = header(0).map_or(Err(HeaderFault::Erased), EcHdr::parse);
    if let Some(bytes) = header(place) {
        return Ok(Headers { ec, vid: VidHdr::parse(bytes), alone });
    }
    // So far apart that both are not read at once.
    let mut bytes = [0; HEADER_LEN];
    let stats = device.read(start + place as u64, &mut bytes)?;
    Ok(Headers { ec, vid: VidHdr::parse(&bytes), alone: alone && stats == Some(EccStats::default()) })
}

/// An erase count that can be.
pub(super) fn count_of(ec: &EcHdr) -> u32 {
    if ec.erase_count > MAX_ERASE_COUNT { NONE } else { u32::try_from(ec.erase_count).unwrap_or(NONE) }
}

/// Whether the kernel takes one header for the other, the place and the order of writing aside.
pub(super) fn same_leb(ours: &VidHdr, theirs: &VidHdr) -> bool {
    let is_static = VolumeType::from_flash(ours.volume_type) == Some(VolumeType::Static);
    let fields = |header: &VidHdr| {
        let VidHdr { volume_type, compat, used_ebs, data_pad, .. } = *header;
        // A dynamic LEB that the kernel has moved has sizes; they mean nothing once it is alone.
        let data = if is_static { (header.data_size, header.data_crc) } else { (0, 0) };
        (volume_type, compat, used_ebs, data_pad, data)
    };
    fields(ours) == fields(theirs)
}

impl Survey {
    /// Looks at all PEBs. Without `wanted`, the image is a pipe.
    ///
    /// # Errors
    /// When the device fails, or the image cannot be read.
    pub(super) fn read(
        device: &mut Device<'_>,
        geometry: &UbiGeometry,
        mut wanted: Option<Wanted<'_>>,
    ) -> Result<Self, Box<Error>> {
        let total = device.geometry().eraseblock_count;
        let mut survey = Survey {
            pebs: Vec::with_capacity(total as usize),
            seqs: Vec::new(),
            layout: Vec::new(),
            fastmap: Vec::new(),
            claims: Vec::new(),
            max_sqnum: 0,
            newest: None,
            locked: 0,
        };
        for peb in 0..total {
            let state = survey.look(device, geometry, peb, &mut wanted)?;
            survey.pebs.push(state);
            survey.locked += u32::from(device.is_locked(peb)?);
            device.progress(Phase::Survey, peb + 1, total);
        }
        survey.layout.sort_unstable();
        survey.fastmap.sort_unstable();
        survey.claims.sort_unstable();
        Ok(survey)
    }

    fn look(
        &mut self,
        device: &mut Device<'_>,
        geometry: &UbiGeometry,
        peb: u32,
        wanted: &mut Option<Wanted<'_>>,
    ) -> Result<PebState, Box<Error>> {
        let mut state = PebState { count: NONE, leb: NONE, seq: Seq::NoHeader, what: What::Unclear };
        if device.is_bad(peb)? {
            return Ok(PebState { what: What::Bad, ..state });
        }
        let headers = headers(device, geometry, peb)?;
        if let Ok(ec) = &headers.ec {
            state.count = count_of(ec);
            state.seq = self.seq(ec, geometry);
        }
        // A header that cannot be right is as none; so is one that counts higher than the kernel does.
        let belongs = matches!(state.seq, Seq::Of(_)) && state.count != NONE;
        state.what = match headers.vid {
            // The kernel does not look at the VID header then.
            _ if headers.ec == Err(HeaderFault::Erased) => What::Unclear,
            Ok(vid) if vid.fault(geometry.leb_size()).is_none() => {
                self.leb(device, geometry, (peb, belongs), &vid, &mut state.leb, wanted)?
            }
            Err(HeaderFault::Erased) if belongs && headers.alone && is_free(device, peb)? => What::Free,
            _ => What::Unclear,
        };
        Ok(state)
    }

    fn seq(&mut self, ec: &EcHdr, geometry: &UbiGeometry) -> Seq {
        if (ec.vid_hdr_offset, ec.data_offset) != (geometry.vid_hdr_offset(), geometry.data_offset()) {
            return Seq::Foreign;
        }
        let known = self.seqs.iter().position(|&seq| seq == ec.image_seq);
        let index = match known {
            Some(index) => index,
            None if self.seqs.len() < MAX_SEQS => {
                self.seqs.push(ec.image_seq);
                self.seqs.len() - 1
            }
            None => return Seq::Foreign,
        };
        u8::try_from(index).map_or(Seq::Foreign, Seq::Of)
    }

    /// A PEB with a sound VID header.
    fn leb(
        &mut self,
        device: &mut Device<'_>,
        geometry: &UbiGeometry,
        (peb, belongs): (u32, bool),
        vid: &VidHdr,
        leb: &mut u32,
        wanted: &mut Option<Wanted<'_>>,
    ) -> Result<What, Box<Error>> {
        let VidHdr { volume_id: volume, lnum, sqnum, .. } = *vid;
        if sqnum > MAX_SQNUM {
            return Ok(What::Stale);
        }
        self.max_sqnum = self.max_sqnum.max(sqnum);
        match volume {
            LAYOUT_VOLUME => self.layout.push(Internal { sqnum, lnum, peb }),
            FASTMAP_VOLUME | FASTMAP_DATA_VOLUME => self.fastmap.push(Internal { sqnum, lnum, peb }),
            _ => {}
        }
        match volume {
            LAYOUT_VOLUME => return Ok(What::Layout),
            FASTMAP_VOLUME | FASTMAP_DATA_VOLUME => return Ok(What::Fastmap),
            _ => self.newest = self.newest.max(Some((sqnum, peb))),
        }
        let Some(wanted) = wanted else {
            if belongs {
                self.claims.push(Claim { volume, lnum, peb });
            }
            return Ok(if belongs { What::Match } else { What::Stale });
        };
        let Some(found) = wanted.index.find((volume, lnum)) else { return Ok(What::Stale) };
        *leb = found;
        if !belongs {
            return Ok(What::Stale);
        }
        wanted.compare(device, geometry, peb, vid, found)
    }

    /// Counts that are known.
    pub(super) fn counts(&self) -> Vec<u32> {
        let known = self.pebs.iter().filter(|state| state.what != What::Bad && state.count != NONE);
        known.map(|state| state.count).collect()
    }
}

impl Wanted<'_> {
    fn compare(
        &mut self,
        device: &mut Device<'_>,
        geometry: &UbiGeometry,
        peb: u32,
        vid: &VidHdr,
        leb: u32,
    ) -> Result<What, Box<Error>> {
        let held = device.geometry().offset_of(self.index.lebs[leb as usize].peb);
        let trusted = self.trust && DataSum::in_header(vid) == Some(self.index.lebs[leb as usize].sum);
        // Places in a PEB, and the index of a LEB: as many as fit into memory.
        let data = geometry.data_offset() as usize;
        // The first page of a LEB that has changed mostly tells; the others are not read then.
        let first = data + if trusted { 0 } else { unit(device.geometry()) };
        let first = first.min(self.buffer.len());
        let head = self.buffer.get_mut(..first).unwrap_or_default();
        self.source.read_at(held, head)?;
        if !vid_of(head, geometry).is_some_and(|ours| same_leb(&ours, vid)) {
            return Ok(What::Stale);
        }
        if trusted {
            return self.compare_tail(device, geometry, peb, held, vid);
        }
        let (head, rest) = self.buffer.split_at_mut(first);
        let head = compare_leb(device, geometry, peb, 0, head.get(data..).unwrap_or_default())?;
        if head == What::Stale {
            return Ok(head);
        }
        self.source.read_at(held + first as u64, rest)?;
        let rest = compare_leb(device, geometry, peb, first - data, rest)?;
        Ok(if rest == What::Match { head } else { rest })
    }

    /// The last page with data, and all behind it: what is cut off while it is written lacks that page, and what was added
    /// to a LEB after its CRC had been made is behind it.
    fn compare_tail(
        &mut self,
        device: &mut Device<'_>,
        geometry: &UbiGeometry,
        peb: u32,
        held: u64,
        vid: &VidHdr,
    ) -> Result<What, Box<Error>> {
        let page = unit(device.geometry());
        // Places in a PEB, which are below 2^26: they fit wherever there is flash of that size.
        let start = (vid.data_size as usize).saturating_sub(1) / page * page;
        let data = geometry.data_offset() as usize + start;
        let tail = self.buffer.get_mut(data..).unwrap_or_default();
        self.source.read_at(held + data as u64, tail)?;
        Ok(compare_leb(device, geometry, peb, start, tail)?)
    }
}

/// Whether a PEB has those data from byte `start` of its LEB on.
pub(super) fn compare_leb(
    device: &mut Device<'_>,
    geometry: &UbiGeometry,
    peb: u32,
    start: usize,
    data: &[u8],
) -> Result<What, FlashError> {
    // Bytes of a PEB, of which there are fewer than 2^32.
    let offset = device.geometry().offset_of(peb) + u64::from(geometry.data_offset()) + start as u64;
    // What is right so far mostly is to its end.
    let found = if start == 0 { device.compare(offset, data)? } else { device.read_back(offset, data)? };
    Ok(match found {
        Comparison::Equal { worn: false } => What::Match,
        Comparison::Equal { worn: true } => What::Worn,
        Comparison::Differs { .. } | Comparison::Unreadable(_) => What::Stale,
    })
}

/// Whether the last page of a PEB is erased, too, and was read without a wrong bit; where no error correction hides that a bit has
/// turned round, all pages. The pages between are not read on NAND: whoever writes to a PEB begins at its first page, and a PEB
/// whose erase was cut off is known otherwise (see `distrust_free`). What gets a LEB is read back in any case.
fn is_free(device: &mut Device<'_>, peb: u32) -> Result<bool, FlashError> {
    let corrected = device.report.corrected_bits;
    let all = u64::from(device.geometry().eraseblock_size);
    let without_header = all - HEADER_LEN as u64;
    let len = match device.geometry().kind {
        FlashKind::Nand => without_header.min(unit(device.geometry()) as u64),
        _ => without_header,
    };
    let start = device.geometry().offset_of(peb) + all - len;
    let blank = matches!(device.compare_range(start, len, 0xff)?, Comparison::Equal { .. });
    Ok(blank && device.report.corrected_bits == corrected)
}
