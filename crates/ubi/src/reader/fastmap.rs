//! The fastmap: what the kernel wrote down of all PEBs, so as not to read every header when it attaches. It must say what
//! the headers say, but for the PEBs in its pools, which may have been written since.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::HashSet;

use crc32fast::Hasher;
use flashwright_media::{Endian, Fields};

use super::finding::Finding;
use super::scan::{Ec, Entry, PebInfo, Vid};
use super::{Image, ReadError};
use crate::format::{
    FASTMAP_DATA_VOLUME, FASTMAP_MAX_LEBS, FASTMAP_MAX_POOL, FASTMAP_MAX_START, FASTMAP_VOLUME, FastmapEc,
    FastmapHdr, FastmapPool, FastmapSb, FastmapVolHdr, LAYOUT_VOLUME, MAX_VOLUMES, VidHdr, fastmap_magic,
};

/// Bytes of a fastmap that are kept: enough for a million PEBs.
const MAX_LEN: u64 = 1 << 25;
/// LEB of a table that is in no PEB. Kernel: `UBI_LEB_UNMAPPED`.
const UNMAPPED: u32 = u32::MAX;
const ADVICE: &str = "the kernel reads all headers instead, or, when it trusts the fastmap, wrong data";

/// What a fastmap says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fastmap {
    /// PEB with its superblock.
    pub anchor: u32,
    /// Greatest sequence number when it was written.
    pub sqnum: u64,
    /// PEBs that hold it.
    pub pebs: Vec<u32>,
    /// PEBs that were free, the pools not counted.
    pub free: u32,
    /// PEBs that held a LEB.
    pub used: u32,
    /// PEBs that were to be read and written again.
    pub scrub: u32,
    /// PEBs that were to be erased.
    pub erase: u32,
    /// PEBs that were bad.
    pub bad: u32,
    /// PEBs in its two pools: these may have changed since.
    pub pool: Vec<u32>,
    /// Entries of all its lists: PEB and erase count.
    counts: Vec<FastmapEc>,
    /// Id, and the PEB of each LEB.
    volumes: Vec<(u32, Vec<u32>)>,
}

impl Fastmap {
    /// Ids of the volumes in it, that of the volume table included.
    #[must_use]
    pub fn volume_ids(&self) -> Vec<u32> {
        self.volumes.iter().map(|(id, _)| *id).collect()
    }
}

impl Image {
    /// The newest fastmap: `None` when there is none, and what is wrong with it when it cannot be used.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn fastmap(&self) -> Result<Option<Result<Fastmap, Finding>>, ReadError> {
        let anchors = self.claims(FASTMAP_VOLUME, 0).iter().filter(|entry| entry.peb < FASTMAP_MAX_START);
        // All of one LEB, the newest first.
        let Some(anchor) = anchors.into_iter().next().copied() else { return Ok(None) };
        let bytes = match self.load(&anchor)? {
            Ok(bytes) => bytes,
            Err(finding) => return Ok(Some(Err(finding))),
        };
        let offset = self.geometry.position(anchor.peb, self.geometry.data_offset);
        let wrong = |what: &str| {
            Finding::warning("fastmap", "one that makes sense", what, ADVICE).at(anchor.peb, offset)
        };
        Ok(Some(parse(&bytes, anchor.peb).map_err(wrong)))
    }

    /// All of a fastmap whose CRC is right, up to a limit.
    fn load(&self, anchor: &Entry) -> Result<Result<Vec<u8>, Finding>, ReadError> {
        let offset = self.geometry.position(anchor.peb, self.geometry.data_offset);
        let wrong = |expected: String, found: String| {
            Ok(Err(Finding::warning("fastmap", expected, found, ADVICE).at(anchor.peb, offset)))
        };
        let mut head = [0; FastmapSb::LEN];
        self.geometry.read(self.input.as_ref(), anchor.peb, self.geometry.data_offset, &mut head)?;
        let Some(sb) = FastmapSb::take(&mut Fields::new(&head, Endian::Big)) else {
            return wrong("a superblock".into(), "too few bytes".into());
        };
        if (sb.magic, sb.version) != (fastmap_magic::SB, 1) {
            let found = format!("magic {:#010x}, version {}", sb.magic, sb.version);
            return wrong(format!("magic {:#010x}, version 1", fastmap_magic::SB), found);
        }
        let used = usize::try_from(sb.used_blocks).unwrap_or(usize::MAX);
        if !(1..=FASTMAP_MAX_LEBS).contains(&used) {
            return wrong("1 to 32 LEBs".into(), sb.used_blocks.to_string());
        }
        let mut bytes = Vec::new();
        let mut hasher = Hasher::new();
        for (lnum, &peb) in (0u32..).zip(sb.block_loc.iter().take(used)) {
            let expected = if lnum == 0 { (FASTMAP_VOLUME, 0) } else { (FASTMAP_DATA_VOLUME, lnum) };
            let index = usize::try_from(peb).unwrap_or(usize::MAX);
            match self.pebs.get(index) {
                Some(PebInfo { vid: Vid::Known(header), .. }) if place(header) == expected => {}
                _ => return wrong(format!("its LEB {lnum} in PEB {peb}"), "something else".into()),
            }
            let mut first = lnum == 0;
            self.read_data(peb, self.geometry.leb_size(), &mut |piece| {
                let mut piece = piece.to_vec();
                if first
                    && let Some(crc) =
                        piece.get_mut(FastmapSb::DATA_CRC_OFFSET..).and_then(|p| p.get_mut(..4))
                {
                    // As the kernel computed it.
                    crc.fill(0);
                }
                first = false;
                hasher.update(&piece);
                if (bytes.len() as u64) < MAX_LEN {
                    bytes.extend_from_slice(&piece);
                }
                Ok(())
            })?;
        }
        let computed = !hasher.finalize();
        if computed != sb.data_crc {
            return wrong(format!("CRC {:#010x}", sb.data_crc), format!("{computed:#010x}"));
        }
        Ok(Ok(bytes))
    }

    /// Where a fastmap and the headers disagree.
    pub(super) fn fastmap_faults(&self, fastmap: &Fastmap) -> Vec<Finding> {
        let pool: HashSet<u32> = fastmap.pool.iter().copied().collect();
        let mut faults = Vec::new();
        let mut wrong = |peb: u32, what: &str, expected: String, found: String| {
            let finding = Finding::warning(format!("fastmap: {what}"), expected, found, ADVICE);
            faults.push(finding.at(peb, self.geometry.position(peb, 0)));
        };
        let info = |peb: u32| self.pebs.get(usize::try_from(peb).unwrap_or(usize::MAX));
        for entry in &fastmap.counts {
            match info(entry.peb) {
                None => wrong(entry.peb, "PEB", format!("below {}", self.pebs.len()), entry.peb.to_string()),
                Some(PebInfo { ec: Ec::Known { erase_count, .. }, .. })
                    if *erase_count < entry.erase_count && !pool.contains(&entry.peb) =>
                {
                    wrong(
                        entry.peb,
                        "erase count",
                        format!("at most {erase_count}"),
                        entry.erase_count.to_string(),
                    );
                }
                Some(_) => {}
            }
        }
        let mut listed = HashSet::new();
        for (id, pebs) in &fastmap.volumes {
            for (lnum, &peb) in (0u32..).zip(pebs) {
                if peb == UNMAPPED {
                    continue;
                }
                listed.insert(peb);
                let expected = Some((*id, lnum));
                let found = match info(peb) {
                    Some(PebInfo { vid: Vid::Known(header), .. }) => Some(place(header)),
                    _ => None,
                };
                if found != expected && !pool.contains(&peb) {
                    wrong(peb, "what it holds", show(found), show(expected));
                }
            }
        }
        let own =
            |entry: &&Entry| entry.header.volume_id < FASTMAP_VOLUME && entry.header.sqnum <= fastmap.sqnum;
        for entry in self.entries.iter().filter(own) {
            let newest = self.claims(entry.header.volume_id, entry.header.lnum).first() == Some(entry);
            if newest && !listed.contains(&entry.peb) && !pool.contains(&entry.peb) {
                wrong(entry.peb, "LEB that is not in it", show(Some(entry.place())), "none".into());
            }
        }
        faults
    }
}

const fn place(header: &VidHdr) -> (u32, u32) {
    (header.volume_id, header.lnum)
}

fn show(place: Option<(u32, u32)>) -> String {
    match place {
        Some((LAYOUT_VOLUME, lnum)) => format!("volume table LEB {lnum}"),
        Some((volume, lnum)) => format!("volume {volume} LEB {lnum}"),
        None => "nothing".into(),
    }
}

/// All parts, one after the other.
fn parse(bytes: &[u8], anchor: u32) -> Result<Fastmap, &'static str> {
    const SHORT: &str = "too few bytes";
    let mut fields = Fields::new(bytes, Endian::Big);
    let sb = FastmapSb::take(&mut fields).ok_or(SHORT)?;
    let header = FastmapHdr::take(&mut fields).ok_or(SHORT)?;
    if header.magic != fastmap_magic::HDR {
        return Err("a header with another magic");
    }
    let mut pool = Vec::new();
    for _ in 0..2 {
        let part = FastmapPool::take(&mut fields).ok_or(SHORT)?;
        let size = usize::from(part.size);
        if part.magic != fastmap_magic::POOL || size > FASTMAP_MAX_POOL {
            return Err("a pool with another magic, or too large");
        }
        pool.extend(part.pebs.into_iter().take(size));
    }
    let lists = [header.free_pebs, header.used_pebs, header.scrub_pebs, header.erase_pebs];
    let mut counts = Vec::new();
    for _ in 0..lists.iter().map(|&count| u64::from(count)).sum::<u64>() {
        counts.push(FastmapEc::take(&mut fields).ok_or(SHORT)?);
    }
    if header.volumes > MAX_VOLUMES.saturating_add(1) {
        return Err("more volumes than a device has");
    }
    let volumes = (0..header.volumes)
        .map(|_| volume(&mut fields).ok_or("a volume that is cut off, or with another magic"));
    let used = usize::try_from(sb.used_blocks).unwrap_or(0);
    Ok(Fastmap {
        anchor,
        sqnum: sb.sqnum,
        pebs: sb.block_loc.into_iter().take(used).collect(),
        free: header.free_pebs,
        used: header.used_pebs,
        scrub: header.scrub_pebs,
        erase: header.erase_pebs,
        bad: header.bad_pebs,
        pool,
        counts,
        volumes: volumes.collect::<Result<_, _>>()?,
    })
}

/// A volume and where its LEBs are. Memory grows with what is there, not with what is said to be.
fn volume(fields: &mut Fields<'_>) -> Option<(u32, Vec<u32>)> {
    let header = FastmapVolHdr::take(fields).filter(|header| header.magic == fastmap_magic::VOLUME_HDR)?;
    fields.take::<u32>().filter(|&magic| magic == fastmap_magic::EBA)?;
    let count: u32 = fields.take()?;
    let pebs = (0..count).map(|_| fields.take()).collect::<Option<Vec<u32>>>()?;
    Some((header.volume_id, pebs))
}
