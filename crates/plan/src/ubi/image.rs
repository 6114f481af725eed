//! A UBI image, PEB by PEB: which LEBs it has, and whether it is whole.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::cmp::Reverse;

use flashwright_media::{Endian, Fields, FlashGeometry, UBI_HEADER_LEN, UbiGeometry, crc32_from_ones};
use flashwright_ubi::format::{
    EC_MAGIC, EcHdr, FASTMAP_DATA_VOLUME, FASTMAP_VOLUME, HEADER_LEN, HeaderFault, INTERNAL_VOLUMES,
    LAYOUT_LEBS, LAYOUT_VOLUME, VidHdr, VolumeType, compat,
};

use sha2::Digest;

use super::table::Table;
use super::word;
use crate::bytes::{fingerprint, is_blank};
use crate::error::{Error, Refusal};
use crate::source::Source;

/// Volumes of a device. Kernel: `UBI_MAX_VOLUMES`.
const MAX_STATICS: usize = 128;
/// Faults of an image that are told one by one.
const MAX_FAULTS: usize = 8;

/// A LEB of the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageLeb {
    pub(super) volume: u32,
    pub(super) lnum: u32,
    /// PEB of the image that holds it.
    pub(super) peb: u32,
    /// Of all its bytes, so that an image that changes is seen; `None` where `sum` tells as much.
    fingerprint: Option<u32>,
    /// As its VID header may have it, where that was asked for.
    pub(super) sum: DataSum,
    sqnum: u64,
}

/// Size and CRC of the data of a LEB, as in VID headers; nothing for one that is blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DataSum {
    /// Bytes up to the end of the last page that is not blank.
    pub(super) size: u32,
    pub(super) crc: u32,
}

impl DataSum {
    pub(super) fn of(data: &[u8], geometry: &UbiGeometry) -> Self {
        let page = usize::try_from(geometry.min_io_size()).unwrap_or(1);
        let blank = data.rchunks(page).take_while(|page| is_blank(page)).map(<[u8]>::len).sum();
        let used = data.get(..data.len().saturating_sub(blank)).unwrap_or_default();
        if used.is_empty() {
            return DataSum::default();
        }
        // At most a PEB.
        DataSum { size: u32::try_from(used.len()).unwrap_or(u32::MAX), crc: crc32_from_ones(used) }
    }

    /// That of a VID header, where it has one.
    pub(super) fn in_header(header: &VidHdr) -> Option<Self> {
        let is_static = VolumeType::from_flash(header.volume_type) == Some(VolumeType::Static);
        let has = is_static || header.copy_flag != 0;
        has.then_some(DataSum { size: header.data_size, crc: header.data_crc })
    }
}

impl ImageLeb {
    pub(super) const fn place(&self) -> (u32, u32) {
        (self.volume, self.lnum)
    }

    /// Whether those are its data still.
    pub(super) fn has(&self, data: &[u8], geometry: &UbiGeometry) -> bool {
        match self.fingerprint {
            Some(known) => fingerprint(data) == known,
            None => DataSum::of(data, geometry) == self.sum,
        }
    }
}

/// What a PEB of an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// No LEB, or one that the kernel makes anew: a fastmap.
    Nothing,
    /// A copy of the volume table.
    Layout,
    /// A LEB of a volume.
    Leb(VidHdr),
}

/// A UBI image.
#[derive(Debug, Clone)]
pub(super) struct ImageIndex {
    /// By volume and LEB, each once.
    pub(super) lebs: Vec<ImageLeb>,
    pub(super) table: Table,
}

impl ImageIndex {
    pub(super) fn find(&self, place: (u32, u32)) -> Option<u32> {
        let found = self.lebs.binary_search_by_key(&place, ImageLeb::place).ok()?;
        u32::try_from(found).ok()
    }
}

/// The geometry that an image asks for, on flash that has those sizes; refusals when that cannot be.
pub(super) fn geometry_of(
    first: &EcHdr,
    flash: &FlashGeometry,
    refusals: &mut Vec<Refusal>,
) -> Option<UbiGeometry> {
    let EcHdr { vid_hdr_offset, data_offset, .. } = *first;
    let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = *flash;
    let geometry = UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), Some(vid_hdr_offset));
    let fits = |geometry: &UbiGeometry| geometry.data_offset() == data_offset && headers_apart(geometry);
    if let Some(geometry) = geometry.ok().filter(fits) {
        return Some(geometry);
    }
    let expected = match UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), None) {
        Ok(geometry) => format!("{} and {}", geometry.vid_hdr_offset(), geometry.data_offset()),
        Err(error) => format!("none: {error}"),
    };
    let reason = format!(
        "the image has VID header and data at {vid_hdr_offset} and {data_offset} bytes of a PEB, for this flash (pages of \
         {page_size} bytes, sub-pages of {sub_page_size}) they must be at {expected}: make the image for this flash"
    );
    refusals.push(Refusal::new(word::GEOMETRY, reason));
    None
}

/// Whether both headers can be programmed one after the other: not where they share what is programmed once.
pub(super) fn headers_apart(geometry: &UbiGeometry) -> bool {
    let unit = geometry.sub_page_size();
    let first = UBI_HEADER_LEN.checked_next_multiple_of(unit);
    let start =
        geometry.vid_hdr_offset().saturating_sub(geometry.vid_hdr_offset().checked_rem(unit).unwrap_or(0));
    first.is_some_and(|first| start >= first)
}

/// What is wrong with an image whose first header is sound; a few faults, then no more.
pub(super) struct Checker<'a> {
    geometry: &'a UbiGeometry,
    image_seq: u32,
    refusals: &'a mut Vec<Refusal>,
    faults: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(geometry: &'a UbiGeometry, image_seq: u32, refusals: &'a mut Vec<Refusal>) -> Self {
        Checker { geometry, image_seq, refusals, faults: 0 }
    }

    fn damaged(&mut self, peb: u32, what: &str) {
        self.faults = self.faults.saturating_add(1);
        if self.faults <= MAX_FAULTS {
            let offset = u64::from(peb).saturating_mul(self.geometry.peb_size().into());
            let reason = format!(
                "PEB {peb} of the image at {offset:#010x}: {what}: it is damaged, make or copy it again"
            );
            self.refusals.push(Refusal::new(crate::image::word::CHECKSUM, reason));
        }
    }

    /// What a PEB holds, its headers and its data checked; `None` when it is not sound.
    pub(super) fn peb(&mut self, peb: u32, bytes: &[u8]) -> Option<Held> {
        match self.held(bytes) {
            Ok(held) => Some(held),
            Err(what) => {
                self.damaged(peb, &what);
                None
            }
        }
    }

    fn held(&self, bytes: &[u8]) -> Result<Held, String> {
        let at = |offset: u32| {
            let start = usize::try_from(offset).ok()?;
            bytes.get(start..)?.first_chunk::<HEADER_LEN>()
        };
        let geometry = self.geometry;
        let ec = EcHdr::parse(at(0).ok_or("cut off")?);
        let vid = at(geometry.vid_hdr_offset()).ok_or("cut off")?;
        match ec {
            Ok(ec) => self.ec_fault(&ec).map_or(Ok(()), Err)?,
            Err(HeaderFault::Erased) if is_blank(bytes) => return Ok(Held::Nothing),
            Err(fault) => return Err(format!("EC header: {fault}")),
        }
        let header = match VidHdr::parse(vid) {
            Ok(header) => header,
            Err(HeaderFault::Erased) => return Ok(Held::Nothing),
            Err(fault) => return Err(format!("VID header: {fault}")),
        };
        if let Some(what) = header.fault(geometry.leb_size()) {
            return Err(format!("VID header: {what}"));
        }
        match header.volume_id {
            LAYOUT_VOLUME if header.lnum < LAYOUT_LEBS => return Ok(Held::Layout),
            FASTMAP_VOLUME | FASTMAP_DATA_VOLUME => return Ok(Held::Nothing),
            id if id >= INTERNAL_VOLUMES && header.compat == compat::DELETE => return Ok(Held::Nothing),
            id if id >= INTERNAL_VOLUMES => {
                return Err(format!("internal volume {id:#x}, LEB {}", header.lnum));
            }
            _ => {}
        }
        if VolumeType::from_flash(header.volume_type) == Some(VolumeType::Static)
            && let Some(what) = data_fault(&header, bytes, geometry)
        {
            return Err(what);
        }
        Ok(Held::Leb(header))
    }

    fn ec_fault(&self, ec: &EcHdr) -> Option<String> {
        let (vid, data) = (self.geometry.vid_hdr_offset(), self.geometry.data_offset());
        if (ec.vid_hdr_offset, ec.data_offset) != (vid, data) {
            let (found_vid, found_data) = (ec.vid_hdr_offset, ec.data_offset);
            return Some(format!(
                "EC header: VID header and data at {found_vid} and {found_data} bytes, those of PEB 0 at {vid} and {data}"
            ));
        }
        let differs = ec.image_seq != self.image_seq && ec.image_seq != 0 && self.image_seq != 0;
        differs.then(|| {
            let (found, first) = (ec.image_seq, self.image_seq);
            format!(
                "image sequence number {found:#010x}, that of PEB 0 is {first:#010x}: parts of two images"
            )
        })
    }

    /// A LEB against the volume table.
    pub(super) fn place(&mut self, peb: u32, header: &VidHdr, table: &Table) -> bool {
        let (volume, lnum) = (header.volume_id, header.lnum);
        let what = match table.volume(volume) {
            None => Some("there is no such volume in the table"),
            Some(volume) => volume.fault(header),
        };
        if let Some(what) = what {
            self.damaged(peb, &format!("LEB {lnum} of volume {volume}: {what}"));
        }
        what.is_none()
    }
}

/// What is wrong with the data by the CRC in its VID header.
fn data_fault(header: &VidHdr, bytes: &[u8], geometry: &UbiGeometry) -> Option<String> {
    let covered = |offset: u32, len: u32| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..)?.get(..usize::try_from(len).ok()?)
    };
    let computed = crc32_from_ones(covered(geometry.data_offset(), header.data_size)?);
    let stored = header.data_crc;
    (stored != computed).then(|| {
        let (volume, lnum) = (header.volume_id, header.lnum);
        format!("data of volume {volume} LEB {lnum}: CRC {computed:#010x}, expected {stored:#010x}")
    })
}

/// Data of a PEB, from where it starts to its end.
pub(super) fn leb_of<'a>(bytes: &'a [u8], geometry: &UbiGeometry) -> &'a [u8] {
    usize::try_from(geometry.data_offset()).ok().and_then(|start| bytes.get(start..)).unwrap_or_default()
}

/// The VID header of a PEB, as far as it is one.
pub(super) fn vid_of(bytes: &[u8], geometry: &UbiGeometry) -> Option<VidHdr> {
    let start = usize::try_from(geometry.vid_hdr_offset()).ok()?;
    VidHdr::parse(bytes.get(start..)?.first_chunk::<HEADER_LEN>()?).ok()
}

/// Why an image that starts with `head` is none for PEBs of that size, when its first PEB has no sound header.
pub(super) fn not_ubi(head: &[u8]) -> Refusal {
    let found = Fields::new(head, Endian::Big).take::<u32>();
    let what = match head.first_chunk::<HEADER_LEN>().map(EcHdr::parse) {
        Some(Err(fault)) if found == Some(EC_MAGIC) => format!("its first EC header is damaged: {fault}"),
        _ => "it does not begin with an EC header".to_owned(),
    };
    Refusal::new(crate::image::word::KIND, format!("no UBI image: {what}"))
}

/// Length and PEB size of an image, against the flash; the number of its PEBs.
pub(super) fn count_pebs(
    source: &mut dyn Source,
    flash: &FlashGeometry,
    refusals: &mut Vec<Refusal>,
) -> Result<u32, Box<Error>> {
    let (len, peb_size) = (source.len(), flash.eraseblock_size);
    let found = if source.is_pipe() { None } else { peb_size_of(source)? };
    if let Some(found) = found.filter(|&found| found != peb_size) {
        let reason =
            format!("the image has PEBs of {found} bytes, this flash has {peb_size}: make it for this flash");
        refusals.push(Refusal::new(word::GEOMETRY, reason));
        return Ok(0);
    }
    let over = len.checked_rem(peb_size.into()).unwrap_or(0);
    if over != 0 {
        let reason =
            format!("the image has {len} bytes, {over} more than whole PEBs of {peb_size}: it is cut off");
        refusals.push(Refusal::new(crate::image::word::TRUNCATED, reason));
    }
    let count = len.checked_div(peb_size.into()).unwrap_or(0);
    // More PEBs than any flash has do not fit, whatever the number.
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Where the second EC header is: the size of a PEB; `None` when there is no second one where it could be.
fn peb_size_of(source: &mut dyn Source) -> Result<Option<u32>, Box<Error>> {
    let mut bytes = [0; HEADER_LEN];
    let last = source.len().saturating_sub(HEADER_LEN as u64);
    for size in (9..=26).map(|log| 1u32 << log).take_while(|&size| u64::from(size) <= last) {
        source.read_at(size.into(), &mut bytes)?;
        if EcHdr::parse(&bytes).is_ok() {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

impl ImageIndex {
    /// Reads the whole image, one PEB at a time into `buffer`; `None` with refusals when it is not sound. `sums` for
    /// [`ImageLeb::sum`].
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn read(
        source: &mut dyn Source,
        peb_count: u32,
        checker: &mut Checker<'_>,
        buffer: &mut [u8],
        hash: &mut Option<sha2::Sha256>,
        sums: bool,
    ) -> Result<Option<Self>, Box<Error>> {
        let geometry = *checker.geometry;
        let mut tables = Vec::new();
        let mut lebs = Vec::new();
        let mut statics = Vec::new();
        for peb in 0..peb_count {
            source.read_at(u64::from(peb).saturating_mul(geometry.peb_size().into()), buffer)?;
            hash.iter_mut().for_each(|hash| hash.update(&*buffer));
            match checker.peb(peb, buffer) {
                None | Some(Held::Nothing) => {}
                Some(Held::Layout) => tables.push((peb, Table::parse(leb_of(buffer, &geometry), &geometry))),
                Some(Held::Leb(header)) => {
                    let unfinished =
                        header.copy_flag != 0 && data_fault(&header, buffer, &geometry).is_some();
                    let data = leb_of(buffer, &geometry);
                    let (fingerprint, sum) = match (sums, header.used_ebs) {
                        (false, _) => (Some(fingerprint(data)), DataSum::default()),
                        (true, 0) => (None, DataSum::of(data, &geometry)),
                        (true, _) => {
                            let sum = DataSum { size: header.data_size, crc: header.data_crc };
                            (Some(fingerprint(data)), sum)
                        }
                    };
                    let (volume, lnum, sqnum) = (header.volume_id, header.lnum, header.sqnum);
                    lebs.push((unfinished, ImageLeb { volume, lnum, peb, fingerprint, sum, sqnum }));
                    if header.used_ebs > 0 {
                        note_static(&mut statics, volume, header.used_ebs);
                    }
                }
            }
        }
        let Some(table) = checker.table(tables) else { return Ok(None) };
        let lebs = checker.resolve(lebs);
        checker.places(source, &lebs, &table)?;
        checker.statics(&statics, &lebs);
        Ok((checker.faults == 0).then_some(ImageIndex { lebs, table }))
    }
}

/// The most LEBs that a LEB of a static volume says it has.
fn note_static(statics: &mut Vec<(u32, u32)>, volume: u32, used: u32) {
    if let Some((_, most)) = statics.iter_mut().find(|(id, _)| *id == volume) {
        *most = used.max(*most);
    } else if statics.len() < MAX_STATICS {
        // More volumes than there can be are refused for that.
        statics.push((volume, used));
    }
}

impl Checker<'_> {
    /// The table of the image: its first sound copy.
    fn table(&mut self, tables: Vec<(u32, Result<Table, String>)>) -> Option<Table> {
        let mut first = None;
        let mut fault = None;
        for (peb, table) in tables {
            match table {
                Ok(table) => first = first.or(Some(table)),
                Err(what) => fault = Some((peb, what)),
            }
        }
        if first.is_none() {
            match fault {
                Some((peb, what)) => self.damaged(peb, &format!("volume table: {what}")),
                None => self.damaged(0, "no PEB holds the volume table"),
            }
        }
        first
    }

    /// Each LEB once, sorted: of copies the newest that was finished.
    fn resolve(&mut self, mut lebs: Vec<(bool, ImageLeb)>) -> Vec<ImageLeb> {
        lebs.sort_unstable_by_key(|(unfinished, leb)| {
            (leb.place(), *unfinished, Reverse(leb.sqnum), leb.peb)
        });
        for pair in lebs.windows(2) {
            if let [(_, first), (_, second)] = pair
                && (first.place(), first.sqnum) == (second.place(), second.sqnum)
            {
                let other = first.peb;
                self.damaged(
                    second.peb,
                    &format!("PEB {other} holds the same LEB with the same sequence number"),
                );
            }
        }
        lebs.dedup_by_key(|(_, leb)| leb.place());
        lebs.into_iter().map(|(_, leb)| leb).collect()
    }

    /// All LEBs against the table: their VID headers are read again.
    fn places(
        &mut self,
        source: &mut dyn Source,
        lebs: &[ImageLeb],
        table: &Table,
    ) -> Result<(), Box<Error>> {
        let geometry = *self.geometry;
        for leb in lebs {
            let start = u64::from(leb.peb).saturating_mul(geometry.peb_size().into());
            let mut bytes = [0; HEADER_LEN];
            source.read_at(start.saturating_add(geometry.vid_hdr_offset().into()), &mut bytes)?;
            match VidHdr::parse(&bytes) {
                Ok(header) => drop(self.place(leb.peb, &header, table)),
                Err(fault) => self.damaged(leb.peb, &format!("VID header: {fault}")),
            }
        }
        Ok(())
    }

    /// Static volumes must have all LEBs that they say they have.
    fn statics(&mut self, statics: &[(u32, u32)], lebs: &[ImageLeb]) {
        for &(volume, used) in statics {
            let own = lebs.iter().filter(|leb| leb.volume == volume);
            let count = own.clone().count();
            if usize::try_from(used) != Ok(count) {
                let peb = own.map(|leb| leb.peb).max().unwrap_or(0);
                self.damaged(peb, &format!("static volume {volume}: {count} LEBs, it has {used}"));
            }
        }
    }
}
