//! Superblock and master: what everything else is found by.

use std::sync::Arc;

use flashwright_tree::ReadAt;
use zerocopy::FromBytes;

use super::input::{Input, fixed, scan};
use super::{Place, ReadError};
use crate::format::lpt::{LptInput, LptLayout};
use crate::format::node::node_crc;
use crate::format::{
    ComprType, IdxNode, KeyHash, LOG_LNUM, MAX_FORMAT_VERSION, MAX_LEB_SIZE, MIN_FANOUT, MIN_LEB_SIZE,
    MIN_LOG_LEBS, MIN_LPT_LEBS, MIN_MAIN_LEBS, MIN_MIN_IO_SIZE, MIN_ORPH_LEBS, MST_LNUM, MstNode, NODE_MAGIC,
    NodeType, SbNode, mst_flags, sb_flags,
};

/// Bytes by which an image is recognised.
pub const HEAD_LEN: usize = 24;
/// Largest smallest write that a volume may have, bytes: twice the largest page of NAND.
const MAX_MIN_IO_SIZE: u32 = 32 << 10;
/// Most LEBs of a volume: what keeps every sum below in 32 bits.
const MAX_LEB_CNT: u32 = 1 << 30;

/// Whether the first bytes are those of a UBIFS image.
#[must_use]
pub fn detect(head: &[u8]) -> bool {
    head.first_chunk() == Some(&NODE_MAGIC.to_le_bytes()) && head.get(20) == Some(&NodeType::Sb.number())
}

/// What the superblock says, in range.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) sb: SbNode,
    pub(super) key_hash: KeyHash,
    pub(super) default_compr: ComprType,
    pub(super) lpt: LptInput,
    pub(super) lpt_first: u32,
    pub(super) orph_first: u32,
    pub(super) main_first: u32,
    pub(super) leb_cnt: u32,
}

impl Facts {
    pub(super) fn read(source: &Arc<dyn ReadAt>, len: u64) -> Result<Self, ReadError> {
        let place = Place { lnum: 0, offs: 0 };
        let mut bytes = vec![0; SbNode::LEN as usize];
        let known = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
        let head = bytes.get_mut(..known).unwrap_or_default();
        source.read_exact_at(0, head).map_err(|error| ReadError::io("superblock", error))?;
        if !detect(head) {
            let found: Vec<_> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            return Err(ReadError::not_ubifs(format!("a file that starts with {}", found.join(" "))));
        }
        if known < bytes.len() {
            let found = format!("an image of {len} bytes");
            return Err(ReadError::corrupt("superblock", format!("{} bytes", SbNode::LEN), found).at(place));
        }
        let sb = *fixed::<SbNode>(&bytes, "superblock")?;
        let (expected, found) = (node_crc(&bytes), sb.ch.crc.get());
        if sb.ch.len.get() != SbNode::LEN || expected != found {
            let (expected, found) = (format!("CRC {expected:#010x}"), format!("{found:#010x}"));
            return Err(ReadError::corrupt("superblock", expected, found).at(place));
        }
        Self::check(sb).map_err(|error| error.at(place))
    }

    fn check(sb: SbNode) -> Result<Self, ReadError> {
        supported(&sb)?;
        let (leb_size, min_io) = (sb.leb_size.get(), sb.min_io_size.get());
        in_range("LEB size", leb_size, MIN_LEB_SIZE, MAX_LEB_SIZE)?;
        in_range("smallest write", min_io, MIN_MIN_IO_SIZE, MAX_MIN_IO_SIZE.min(leb_size / 2))?;
        if !min_io.is_power_of_two() || !leb_size.is_multiple_of(min_io) {
            let expected = format!("LEBs of a multiple of the smallest write, {min_io} bytes");
            return Err(ReadError::corrupt("superblock", expected, leb_size));
        }
        let max_leb_cnt = sb.max_leb_cnt.get();
        in_range("largest number of LEBs", max_leb_cnt, MIN_MAIN_LEBS, MAX_LEB_CNT)?;
        in_range("number of LEBs", sb.leb_cnt.get(), MIN_MAIN_LEBS, max_leb_cnt)?;
        in_range("LEBs of the log", sb.log_lebs.get(), MIN_LOG_LEBS, max_leb_cnt)?;
        in_range("LEBs of the LPT", sb.lpt_lebs.get(), MIN_LPT_LEBS, max_leb_cnt)?;
        in_range("LEBs for orphans", sb.orph_lebs.get(), MIN_ORPH_LEBS, max_leb_cnt)?;
        in_range("LEBs in the save table", sb.lsave_cnt.get(), 0, max_leb_cnt.max(crate::format::LSAVE_CNT))?;
        let most = leb_size.saturating_sub(IdxNode::LEN) / crate::format::Branch::LEN;
        in_range("fanout", sb.fanout.get(), MIN_FANOUT, most)?;
        let lpt = LptInput::from_superblock(&sb).filter(|lpt| lpt.main_lebs >= 3);
        let lpt = lpt.ok_or_else(|| {
            ReadError::corrupt("superblock", "areas that leave LEBs for data", sb.leb_cnt.get())
        })?;
        let key_hash = KeyHash::from_number(sb.key_hash)
            .ok_or_else(|| ReadError::corrupt("key hash", "0 or 1", sb.key_hash))?;
        let default_compr = ComprType::from_number(sb.default_compr.get())
            .ok_or_else(|| ReadError::corrupt("compression", "0 to 3", sb.default_compr))?;
        let lpt_first = LOG_LNUM.saturating_add(sb.log_lebs.get());
        let orph_first = lpt_first.saturating_add(sb.lpt_lebs.get());
        Ok(Facts {
            key_hash,
            default_compr,
            lpt,
            lpt_first,
            orph_first,
            main_first: orph_first.saturating_add(sb.orph_lebs.get()),
            leb_cnt: sb.leb_cnt.get(),
            sb,
        })
    }

    /// Takes the number of LEBs that the master has, when the file system has grown and only one of both knows.
    pub(super) fn grow(&mut self, master: &Master) {
        self.leb_cnt = self.leb_cnt.max(master.node.leb_cnt.get()).min(self.sb.max_leb_cnt.get());
        self.lpt.main_lebs = self.leb_cnt.saturating_sub(self.main_first);
    }

    /// The LEB is one of the main area.
    pub(super) fn is_main(&self, lnum: u32) -> bool {
        (self.main_first..self.leb_cnt).contains(&lnum)
    }

    pub(super) fn lpt_layout(&self) -> LptLayout {
        LptLayout::new(&self.lpt)
    }
}

fn supported(sb: &SbNode) -> Result<(), ReadError> {
    let version = sb.fmt_version.get();
    if version > MAX_FORMAT_VERSION && sb.ro_compat_version.get() > 0 {
        let what = format!("format {version}, this program knows up to {MAX_FORMAT_VERSION}");
        return Err(ReadError::unsupported(what, "read it with a newer program"));
    }
    let flags = sb.flags.get();
    if flags & !sb_flags::KNOWN != 0 {
        return Err(ReadError::corrupt("superblock flags", "known bits", format!("{flags:#x}")));
    }
    if flags & sb_flags::AUTHENTICATION != 0 {
        return Err(ReadError::unsupported(
            "an authenticated file system",
            "mount it on a device that has its key",
        ));
    }
    if flags & sb_flags::ENCRYPTION != 0 {
        return Err(ReadError::unsupported(
            "an encrypted file system",
            "mount it on a device that has its key",
        ));
    }
    if sb.key_fmt != 0 {
        return Err(ReadError::corrupt("key format", 0, sb.key_fmt));
    }
    Ok(())
}

fn in_range(what: &'static str, value: u32, least: u32, most: u32) -> Result<(), ReadError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ReadError::corrupt(what, format!("{least} to {most}"), value))
}

/// The master node that counts, and how its copies are.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) node: MstNode,
    pub(super) place: Place,
    /// What is wrong with the copies, though one of them is good.
    pub(super) doubts: Vec<ReadError>,
    /// Whether that is what a cut of power leaves, so that Linux takes the good one; else it refuses to mount.
    pub(super) recoverable: bool,
}

/// The copies in one LEB.
struct Copies {
    /// The last whole one.
    last: Option<(MstNode, Place)>,
    /// What follows it, when that is neither padding nor free space.
    stop: Option<ReadError>,
}

/// Whether a cut of power can leave these copies, of which each takes `step` bytes of its LEB. Kernel:
/// `ubifs_recover_master_node`.
fn is_recoverable(copies: &[Copies; 2], step: u32, leb_size: u32) -> bool {
    let [first, second] = copies;
    let torn = first.stop.is_some();
    let is_full = |offs: u32| offs.saturating_add(step.saturating_mul(2)) > leb_size;
    match (&first.last, &second.last) {
        (Some((a, at)), _) if a.flags.get() & mst_flags::RECOVERY != 0 && at.offs == 0 && !torn => true,
        (Some((a, at)), Some((b, other))) if at.offs == other.offs => same(a, b),
        // The first LEB was written, the second was not yet.
        (Some((_, at)), Some((_, other))) => {
            !torn && (other.offs.checked_add(step) == Some(at.offs) || at.offs == 0 && is_full(other.offs))
        }
        // A LEB that is full is erased before it is written again.
        (Some((_, at)), None) => at.offs == 0 && !torn,
        (None, Some((_, other))) => is_full(other.offs),
        (None, None) => false,
    }
}

impl Clone for ReadError {
    fn clone(&self) -> Self {
        let (what, expected, found) = self.parts();
        let copy = ReadError::corrupt(what, expected, found);
        let copy = self.place().into_iter().fold(copy, ReadError::at);
        self.inode().into_iter().fold(copy, ReadError::in_inode)
    }
}

impl Master {
    /// The newest one: each of the two LEBs is filled from its start, the first of them first.
    pub(super) fn read(facts: &Facts, input: &Input) -> Result<Self, ReadError> {
        let copies = [copies_in(input, MST_LNUM)?, copies_in(input, MST_LNUM.saturating_add(1))?];
        let step = MstNode::LEN.next_multiple_of(facts.sb.min_io_size.get().max(1));
        let recoverable = is_recoverable(&copies, step, facts.sb.leb_size.get());
        let (mut found, mut doubts) = (Vec::new(), Vec::new());
        for Copies { last, stop } in copies {
            found.extend(last);
            doubts.extend(stop);
        }
        // Both copies are written one after another, so the higher number is newer; of equal ones the first.
        let Some(&(node, place)) =
            found.iter().max_by_key(|(node, place)| (node.ch.sqnum.get(), u32::MAX ^ place.lnum))
        else {
            let error = ReadError::corrupt("master node", "a whole one in LEB 1 or 2", "none");
            return Err(doubts.into_iter().next().unwrap_or(error));
        };
        if let [(a, _), (b, place)] = found.as_slice()
            && !same(a, b)
        {
            doubts.push(
                ReadError::corrupt("master node", "the same in LEB 1 and 2", "different ones").at(*place),
            );
        }
        // Copies that come and go as a whole are those of a file system that has seen many commits.
        let recoverable = recoverable && (found.len() == 2 || node.cmt_no.get() > 0);
        if !recoverable && doubts.is_empty() {
            let expected = "at the same place in LEB 1 and 2, or one write apart";
            doubts.push(ReadError::corrupt("master node", expected, place.offs).at(place));
        }
        let master = Master { node, place, doubts, recoverable };
        master.check(facts).map_err(|error| error.at(place))?;
        Ok(master)
    }

    fn check(&self, facts: &Facts) -> Result<(), ReadError> {
        let node = &self.node;
        let leb_size = facts.sb.leb_size.get();
        let main = |what, lnum: u32| {
            let last = facts.leb_cnt.max(node.leb_cnt.get()).saturating_sub(1);
            in_range(what, lnum, facts.main_first, last)
        };
        let lpt = |what, lnum: u32| in_range(what, lnum, facts.lpt_first, facts.orph_first.saturating_sub(1));
        in_range("first LEB of the log", node.log_lnum.get(), LOG_LNUM, facts.lpt_first.saturating_sub(1))?;
        main("LEB of the index's root", node.root_lnum.get())?;
        in_range("bytes of the index's root", node.root_len.get(), IdxNode::LEN, leb_size)?;
        lpt("LEB of the LPT's root", node.lpt_lnum.get())?;
        lpt("LEB of the LPT's table", node.ltab_lnum.get())?;
        lpt("LEB where the LPT goes on", node.nhead_lnum.get())?;
        main("LEB where the index goes on", node.ihead_lnum.get())?;
        in_range("LEBs that the master counts", node.leb_cnt.get(), MIN_MAIN_LEBS, facts.sb.max_leb_cnt.get())
    }

    /// Whether the file system was mounted when this was written, so that the journal may end anywhere.
    pub(super) fn is_dirty(&self) -> bool {
        self.node.flags.get() & mst_flags::DIRTY != 0
    }
}

/// Equal but for what each copy has of its own.
fn same(a: &MstNode, b: &MstNode) -> bool {
    let plain = |node: &MstNode| {
        let mut node = *node;
        node.ch.sqnum = 0.into();
        node.ch.crc = 0.into();
        node
    };
    plain(a) == plain(b)
}

/// The master nodes of a LEB.
fn copies_in(input: &Input, lnum: u32) -> Result<Copies, ReadError> {
    let bytes = match input.leb(lnum, "master node") {
        Ok(bytes) => bytes,
        Err(error) if error.is_in_image() => return Ok(Copies { last: None, stop: Some(error) }),
        Err(error) => return Err(error),
    };
    let mut scan = scan(&bytes, lnum, 0);
    let last = scan.nodes.iter().rfind(|node| node.node_type == NodeType::Mst && node.len == MstNode::LEN);
    let last = last.and_then(|last| {
        let (node, _) = MstNode::read_from_prefix(bytes.get(last.offs as usize..)?).ok()?;
        Some((node, Place { lnum, offs: last.offs }))
    });
    let none = || ReadError::corrupt("master node", "one", "none").at(Place { lnum, offs: 0 });
    let stop = scan.stop.take().or_else(|| last.is_none().then(none));
    Ok(Copies { last, stop })
}
