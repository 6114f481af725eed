//! UBIFS: nodes, each with a CRC over itself, LEB by LEB; and the LPT, whose nodes are bits behind a CRC of 16 bits.
//!
//! ```text
//! LEB 0 superblock | 1, 2 master | 3 … log | LPT | orphans | main area: what the file system is about, and its index
//! ```
//!
//! Whether the nodes make a file system is not looked at: that is for `flashwright check`, which has decompressors.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};

use super::{Faults, Input};

/// Superblock node of UBIFS: 4096 bytes, little-endian. Kernel: `ubifs_sb_node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ubifs {
    /// Bytes of the node.
    pub node_len: u32,
    /// CRC of the node from byte 8 on.
    pub crc: u32,
    /// Whether its LPT is of the big model.
    pub big_lpt: bool,
    /// Bytes that it writes at least; 8 for anything below.
    pub min_io_size: u32,
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// LEBs as it is.
    pub leb_count: u32,
    /// LEBs that it may grow to.
    pub max_leb_count: u32,
    /// LEBs of its log.
    pub log_lebs: u32,
    /// LEBs of its LPT.
    pub lpt_lebs: u32,
    /// LEB numbers in the save table of its LPT.
    pub lsave_count: u32,
}

/// Kernel: `UBIFS_NODE_MAGIC`.
const MAGIC: u32 = 0x0610_1831;
/// Types of nodes. Kernel: `UBIFS_*_NODE`.
const PADDING: u8 = 5;
const SUPERBLOCK: u8 = 6;
const MASTER: u8 = 7;
/// Bytes of the superblock node, of a master node, of what all nodes start with.
const SUPERBLOCK_LEN: u32 = 4096;
const MASTER_LEN: u64 = 512;
const HEADER: u32 = 24;
/// A padding node: the bytes that it covers are counted after the header.
const PADDING_LEN: usize = 28;
/// Nodes start at multiples of this.
const ALIGNMENT: u32 = 8;
/// Fills what is too small for a padding node. Kernel: `UBIFS_PADDING_BYTE`.
const FILLER: [u8; 8] = [0xce; 8];
/// From here on bytes are in the CRC.
const COVERED: u64 = 8;
/// Fewest bytes of a LEB. Kernel: `UBIFS_MIN_LEB_SZ`.
const MIN_LEB: u32 = 15 * 1024;
/// First LEB of the log. Kernel: `UBIFS_LOG_LNUM`.
const LOG: u32 = 3;
/// Flag of the superblock. Kernel: `UBIFS_FLG_BIGLPT`.
const BIG_LPT: u32 = 2;
/// Bits of CRC and type that each node of the LPT starts with; branches that it has.
const LPT_HEADER_BITS: u32 = 16 + 4;
const LPT_FANOUT: u32 = 4;
/// Bytes that hold CRC and type.
const LPT_HEADER: usize = 3;

/// What nodes start with. Kernel: `ubifs_ch`.
struct Node {
    crc: u32,
    len: u32,
    kind: u8,
    /// Bytes of padding that follow.
    padding: u32,
}

impl Node {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes, Endian::Little);
        if fields.take::<u32>()? != MAGIC {
            return None;
        }
        let crc = fields.take()?;
        // Sequence number.
        fields.bytes(8)?;
        let (len, kind) = (fields.take()?, fields.take()?);
        // Group; padding.
        fields.bytes(3)?;
        let padding = if kind == PADDING { fields.take()? } else { 0 };
        Some(Node { crc, len, kind, padding })
    }
}

impl Ubifs {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let Node { crc, len: node_len, .. } = Node::of(head).filter(|node| node.kind == SUPERBLOCK)?;
        // Header; padding, hash and format of keys.
        let mut fields = Fields::new(head.get(28..)?, Endian::Little);
        let flags = fields.take::<u32>()?;
        let [min_io_size, leb_size, leb_count, max_leb_count] =
            [fields.take()?, fields.take()?, fields.take()?, fields.take()?];
        // Bytes of the journal.
        fields.bytes(8)?;
        let (log_lebs, lpt_lebs) = (fields.take()?, fields.take()?);
        // LEBs for orphans, journal heads, branches.
        fields.bytes(12)?;
        Some(Ubifs {
            node_len,
            crc,
            big_lpt: flags & BIG_LPT != 0,
            min_io_size,
            leb_size,
            leb_count,
            max_leb_count,
            log_lebs,
            lpt_lebs,
            lsave_count: fields.take()?,
        })
    }

    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) {
        let Self { node_len, leb_size, leb_count, .. } = *self;
        if node_len != SUPERBLOCK_LEN || leb_size < MIN_LEB {
            let found = format!("a node of {node_len} bytes, LEBs of {leb_size}");
            faults.damaged(format!("superblock of the UBIFS: {found}: it is damaged"));
            return;
        }
        if !faults.has_all("the superblock of the UBIFS", node_len.into(), input.len()) {
            return;
        }
        let crc = !input.crc(COVERED, node_len.into());
        if !faults.crc(format_args!("superblock of the UBIFS"), 0, self.crc, crc) {
            return;
        }
        // An image ends with the last LEB that has anything in it; all it says it has may be fewer.
        let len = input.len();
        let within = len.checked_rem(leb_size.into()).unwrap_or(0);
        if within != 0 && len < self.start(leb_count) {
            let next = len.saturating_sub(within).saturating_add(leb_size.into());
            faults.has_all("the UBIFS up to its last LEB", next, len);
        }
        faults.has_all("the UBIFS with its master nodes", self.start(2).saturating_add(MASTER_LEN), len);
        let lpt = LOG.saturating_add(self.log_lebs);
        let lens = self.lpt_lens();
        for leb in (0..leb_count).take_while(|leb| self.start(leb.saturating_add(1)) <= len) {
            let is_lpt = leb.checked_sub(lpt).is_some_and(|leb| leb < self.lpt_lebs);
            let stray = if is_lpt { self.lpt_leb(leb, &lens, input) } else { self.leb(leb, input, faults) };
            if let Some(at) = stray {
                faults.damaged(format!("LEB {leb} of the UBIFS at {at:#010x}: neither a node nor erased"));
            }
        }
    }

    /// Bytes from the start of the image to a LEB.
    fn start(&self, leb: u32) -> u64 {
        u64::from(self.leb_size).saturating_mul(leb.into())
    }

    /// All nodes of a LEB; returns the byte of it where something else is, unless a fault before explains it.
    fn leb(&self, leb: u32, input: &mut Input<'_>, faults: &mut Faults) -> Option<u32> {
        let start = self.start(leb);
        let (mut at, mut sound) = (0u32, true);
        let mut missing = (1..LOG).contains(&leb);
        let stray = loop {
            let left = self.leb_size.saturating_sub(at);
            if left < ALIGNMENT {
                break None;
            }
            let from = start.saturating_add(at.into());
            let bytes = input.at(from, PADDING_LEN.min(left as usize));
            if bytes.starts_with(&FILLER) {
                at = at.saturating_add(ALIGNMENT);
                continue;
            }
            let node = Node::of(bytes).filter(|node| (HEADER..=left).contains(&node.len));
            let Some(node) = node else {
                let end = from.saturating_add(left.into());
                break (sound && !input.is_erased(from, end)).then_some(at);
            };
            missing &= node.kind != MASTER;
            let end = from.saturating_add(node.len.into());
            let crc = !input.crc(from.saturating_add(COVERED), end);
            let what = format_args!("node of type {} of the UBIFS in LEB {leb}", node.kind);
            sound &= faults.crc(what, at.into(), node.crc, crc);
            let len = node.len.saturating_add(node.padding).saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1);
            at = at.saturating_add(len);
        };
        if missing && stray.is_none() {
            faults.damaged(format!("LEB {leb} of the UBIFS: no master node in it"));
        }
        stray
    }

    /// Bytes of the nodes of the LPT: pnode, nnode, table of its LEBs, save table. They follow from the superblock.
    fn lpt_lens(&self) -> [u32; 4] {
        let bits = |value: u32| u32::BITS.saturating_sub(value.leading_zeros());
        let len = |number: u32, each: u32, count: u32| {
            let bits = each.saturating_mul(count).saturating_add(number).saturating_add(LPT_HEADER_BITS);
            bits.saturating_add(7) / 8
        };
        let leb = bits(self.leb_size);
        let number = bits(self.max_leb_count.div_ceil(LPT_FANOUT).saturating_sub(1));
        let number = if self.big_lpt { number } else { 0 };
        let place = bits(self.lpt_lebs).saturating_add(bits(self.leb_size.saturating_sub(1)));
        // Free and dirty space are in units of 8 bytes in a pnode, with one bit more for what is of the index.
        let space = leb.saturating_sub(3).saturating_mul(2).saturating_add(1);
        [
            len(number, space, LPT_FANOUT),
            len(number, place, LPT_FANOUT),
            len(0, leb.saturating_mul(2), self.lpt_lebs),
            len(0, bits(self.max_leb_count.saturating_sub(1)), self.lsave_count),
        ]
    }

    /// As [`leb`](Self::leb), of a LEB of the LPT: its nodes have no length, and a wrong one looks like none.
    fn lpt_leb(&self, leb: u32, lens: &[u32; 4], input: &mut Input<'_>) -> Option<u32> {
        let start = self.start(leb);
        let mut at = 0u32;
        while at < self.leb_size {
            let from = start.saturating_add(at.into());
            let left = self.leb_size.saturating_sub(at);
            if let Some(len) = lpt_node(lens, from, left, input) {
                at = at.saturating_add(len);
                continue;
            }
            // What is written at once is filled up; after it the next node comes, or the end.
            let beyond = at.checked_rem(self.min_io_size).unwrap_or(0);
            let len = if beyond == 0 { left } else { self.min_io_size.saturating_sub(beyond).min(left) };
            if !input.is_erased(from, from.saturating_add(len.into())) {
                return Some(at);
            }
            at = at.saturating_add(len);
        }
        None
    }
}

/// Bytes of the node of the LPT at `from`; `None` when there is none whose CRC is right within `left` bytes.
fn lpt_node(lens: &[u32; 4], from: u64, left: u32, input: &mut Input<'_>) -> Option<u32> {
    let &[low, high, kind, ..] = input.at(from, LPT_HEADER.min(left as usize)) else { return None };
    let len = lens.get(usize::from(kind & 15)).copied().filter(|&len| len <= left)?;
    let mut crc = u16::MAX;
    let end = from.saturating_add(len.into());
    input.pieces(from.saturating_add(2), end, &mut |bytes| crc = crc16(crc, bytes));
    (crc == u16::from_le_bytes([low, high])).then_some(len)
}

/// Kernel: `crc16`.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 })
    })
}
