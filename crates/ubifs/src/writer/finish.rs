//! What comes before the main area: superblock, master, log, LPT, orphans.

use std::io::{Seek, Write};

use zerocopy::{FromZeros, IntoBytes};

use super::index::Index;
use super::leb::MainArea;
use super::lpt;
use crate::error::WriteError;
use crate::format::lpt::Lprops;
use crate::format::node::{pad, seal};
use crate::format::{
    CommonHeader, CsNode, FORMAT_VERSION, JHEAD_CNT, LOG_LNUM, LSAVE_CNT, MIN_MAIN_LEBS, MST_LNUM, MstNode,
    NodeType, SB_LNUM, SbNode, TIME_GRANULARITY, mst_flags, sb_flags,
};
use crate::geometry::{Areas, SpaceTotals, Watermarks, round_up};
use crate::options::Options;

/// What is known when the main area is written.
pub(super) struct Written {
    pub(super) index: Index,
    pub(super) index_head: (u32, u32),
    pub(super) gc_lnum: u32,
    pub(super) highest_inum: u32,
    /// Hash of all nodes of the tree.
    pub(super) content: blake3::Hash,
}

/// What the file system is like in the end.
pub(super) struct Finished {
    pub(super) leb_cnt: u32,
    pub(super) uuid: [u8; 16],
    pub(super) totals: SpaceTotals,
}

/// Writes everything before the main area, and the free LEBs after what the main area has.
pub(super) fn write<W: Write + Seek>(
    options: &Options,
    areas: &Areas,
    written: &Written,
    main: &mut MainArea<'_, W>,
) -> Result<Finished, WriteError> {
    while main.lprops().len() < MIN_MAIN_LEBS as usize {
        main.take_empty();
    }
    let lprops = main.lprops().to_vec();
    let leb_cnt = leb_cnt(options, areas, &lprops)?;
    for (lnum, leb) in (areas.main_first..).zip(&lprops) {
        if leb.free == options.geometry.leb_size {
            main.write_leb(lnum, Vec::new())?;
        }
    }
    let totals = totals(options, &lprops);
    let uuid = options.uuid.unwrap_or_else(|| uuid(options, written));

    let sizes = (options.geometry.leb_size, options.min_io_size());
    let layout = areas.lpt_layout(&options.area_input(), leb_cnt);
    let lpt = lpt::lay_out(&layout, areas, sizes, &lprops);

    let sqnum = main.next_sqnum();
    let sb = unit(superblock(options, areas, leb_cnt, uuid).as_bytes(), sqnum, options);
    main.write_leb(SB_LNUM, sb)?;
    let mut cs = CsNode::new_zeroed();
    cs.ch = CommonHeader::new(NodeType::Cs);
    let sqnum = main.next_sqnum();
    main.write_leb(LOG_LNUM, unit(cs.as_bytes(), sqnum, options))?;
    for lnum in (LOG_LNUM + 1..areas.lpt_first).chain(areas.orph_first..areas.main_first) {
        main.write_leb(lnum, Vec::new())?;
    }
    let mst = master(written, areas, &lpt, totals, leb_cnt);
    lpt.write(areas, main)?;
    // The kernel goes on from the master's sequence number, so it comes last.
    for lnum in [MST_LNUM, MST_LNUM + 1] {
        let sqnum = main.next_sqnum();
        main.write_leb(lnum, unit(mst.as_bytes(), sqnum, options))?;
    }
    main.flush()?;
    Ok(Finished { leb_cnt, uuid, totals })
}

fn leb_cnt(options: &Options, areas: &Areas, lprops: &[Lprops]) -> Result<u32, WriteError> {
    let needed = u64::from(areas.main_first) + lprops.len() as u64;
    let leb = u64::from(options.geometry.leb_size);
    match u32::try_from(needed) {
        Ok(leb_cnt) if leb_cnt <= options.max_leb_cnt => Ok(leb_cnt),
        _ => Err(WriteError::TooLarge {
            needed,
            needed_bytes: needed * leb,
            max_leb_cnt: options.max_leb_cnt,
            max_bytes: u64::from(options.max_leb_cnt) * leb,
        }),
    }
}

fn totals(options: &Options, lprops: &[Lprops]) -> SpaceTotals {
    let mut totals = SpaceTotals::default();
    let watermarks = Watermarks::new(options.min_io_size());
    lprops.iter().for_each(|&leb| totals.add(leb, options.geometry.leb_size, watermarks));
    totals
}

/// A node and padding up to the next write.
fn unit(node: &[u8], sqnum: u64, options: &Options) -> Vec<u8> {
    let mut bytes = node.to_vec();
    seal(&mut bytes, sqnum);
    // At most 4096 bytes.
    let end = round_up(u32::try_from(node.len()).unwrap_or(u32::MAX), options.min_io_size());
    bytes.resize(end as usize, 0);
    pad(&mut bytes[node.len()..]);
    bytes
}

/// A UUID of version 8 (RFC 9562), which leaves the bits to us: equal for equal content and options.
fn uuid(options: &Options, written: &Written) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("flashwright ubifs uuid 1");
    hasher.update(written.content.as_bytes());
    let numbers =
        [options.geometry.leb_size, options.min_io_size(), options.max_leb_cnt, written.highest_inum];
    numbers.iter().for_each(|number| {
        hasher.update(&number.to_le_bytes());
    });
    let mut uuid = [0; 16];
    hasher.finalize_xof().fill(&mut uuid);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn superblock(options: &Options, areas: &Areas, leb_cnt: u32, uuid: [u8; 16]) -> SbNode {
    let mut flags = 0;
    if areas.big_lpt {
        flags |= sb_flags::BIG_LPT;
    }
    if options.space_fixup {
        flags |= sb_flags::SPACE_FIXUP;
    }
    SbNode {
        ch: CommonHeader::new(NodeType::Sb),
        key_hash: options.key_hash.number(),
        flags: flags.into(),
        min_io_size: options.min_io_size().into(),
        leb_size: options.geometry.leb_size.into(),
        leb_cnt: leb_cnt.into(),
        max_leb_cnt: options.max_leb_cnt.into(),
        max_bud_bytes: areas.max_bud_bytes.into(),
        log_lebs: areas.log_lebs.into(),
        lpt_lebs: areas.lpt_lebs.into(),
        orph_lebs: areas.orph_lebs.into(),
        jhead_cnt: JHEAD_CNT.into(),
        fanout: options.fanout.into(),
        lsave_cnt: LSAVE_CNT.into(),
        fmt_version: FORMAT_VERSION.into(),
        default_compr: options.compression.compr_type().number().into(),
        rp_size: options.reserved.into(),
        time_gran: TIME_GRANULARITY.into(),
        uuid,
        ..SbNode::new_zeroed()
    }
}

fn master(written: &Written, areas: &Areas, lpt: &lpt::Lpt, totals: SpaceTotals, leb_cnt: u32) -> MstNode {
    let lsave = lpt.lsave.map_or((0, 0), |place| (place.lnum, place.offs));
    MstNode {
        ch: CommonHeader::new(NodeType::Mst),
        highest_inum: u64::from(written.highest_inum).into(),
        flags: mst_flags::NO_ORPHANS.into(),
        log_lnum: LOG_LNUM.into(),
        root_lnum: written.index.root.lnum.into(),
        root_offs: written.index.root.offs.into(),
        root_len: written.index.root.len.into(),
        gc_lnum: written.gc_lnum.into(),
        ihead_lnum: written.index_head.0.into(),
        ihead_offs: written.index_head.1.into(),
        index_size: written.index.size.into(),
        total_free: totals.free.into(),
        total_dirty: totals.dirty.into(),
        total_used: totals.used.into(),
        total_dead: totals.dead.into(),
        total_dark: totals.dark.into(),
        lpt_lnum: lpt.root.lnum.into(),
        lpt_offs: lpt.root.offs.into(),
        nhead_lnum: lpt.head.lnum.into(),
        nhead_offs: lpt.head.offs.into(),
        ltab_lnum: lpt.ltab.lnum.into(),
        ltab_offs: lpt.ltab.offs.into(),
        lsave_lnum: lsave.0.into(),
        lsave_offs: lsave.1.into(),
        lscan_lnum: areas.main_first.into(),
        empty_lebs: totals.empty_lebs.into(),
        idx_lebs: totals.idx_lebs.into(),
        leb_cnt: leb_cnt.into(),
        ..MstNode::new_zeroed()
    }
}
