//! The LPT: pnodes, then nnodes row by row up to the root, save table, table of its own LEBs.

use std::io::{Seek, Write};

use super::leb::MainArea;
use crate::error::WriteError;
use crate::format::LSAVE_CNT;
use crate::format::lpt::{FANOUT, Lprops, LptLayout, LptPlace};
use crate::geometry::{Areas, round_up};

/// The LPT as it was laid out.
pub(super) struct Lpt {
    pub(super) root: LptPlace,
    /// Where it goes on.
    pub(super) head: LptPlace,
    pub(super) ltab: LptPlace,
    /// `None` in the small model.
    pub(super) lsave: Option<LptPlace>,
    lebs: Vec<Vec<u8>>,
}

/// Nodes one after another, none across the end of a LEB.
struct Layer {
    leb_size: u32,
    first: u32,
    lebs: Vec<Vec<u8>>,
}

impl Layer {
    /// Where a node of `len` bytes goes, which is then taken.
    fn reserve(&mut self, len: u32) -> LptPlace {
        let used = self.lebs.last().map_or(u32::MAX, |leb| narrow(leb.len()));
        if used.saturating_add(len) > self.leb_size {
            self.lebs.push(Vec::new());
        }
        let lnum = self.first + narrow(self.lebs.len()) - 1;
        let offs = self.lebs.last().map_or(0, |leb| narrow(leb.len()));
        self.lebs.iter_mut().last().into_iter().for_each(|leb| leb.resize((offs + len) as usize, 0));
        LptPlace { lnum, offs }
    }

    fn fill(&mut self, place: LptPlace, bytes: &[u8]) {
        let leb = &mut self.lebs[(place.lnum - self.first) as usize];
        leb[place.offs as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn put(&mut self, bytes: &[u8]) -> LptPlace {
        let place = self.reserve(narrow(bytes.len()));
        self.fill(place, bytes);
        place
    }
}

/// Lays out the LPT of `lprops`, the LEBs of the main area.
pub(super) fn lay_out(
    layout: &LptLayout,
    areas: &Areas,
    (leb_size, min_io_size): (u32, u32),
    lprops: &[Lprops],
) -> Lpt {
    let mut layer = Layer { leb_size, first: areas.lpt_first, lebs: Vec::new() };
    let free = Lprops { free: leb_size, dirty: 0, index: false };
    let mut row: Vec<LptPlace> = Vec::new();
    for (number, lebs) in (0u32..).zip(lprops.chunks(FANOUT)) {
        // What the last one has beyond the main area is free, for when the file system grows.
        let four = std::array::from_fn(|i| lebs.get(i).copied().unwrap_or(free));
        row.push(layer.put(&layout.pnode(number, &four)));
    }
    for depth in (0..layout.height).rev() {
        let mut above = Vec::with_capacity(row.len() / FANOUT + 1);
        for (index, children) in (0u32..).zip(row.chunks(FANOUT)) {
            let four = std::array::from_fn(|i| children.get(i).copied());
            let number = LptLayout::nnode_number(depth, index);
            above.push(layer.put(&layout.nnode(number, &four, areas.lpt_first, areas.lpt_lebs)));
        }
        row = above;
    }
    let root = row[0];
    let lsave = areas.big_lpt.then(|| {
        let main = narrow(lprops.len());
        let lnums = (0..LSAVE_CNT).map(|i| areas.main_first + if i < main { i } else { 0 });
        layer.put(&layout.lsave(lnums))
    });
    let ltab = layer.reserve(layout.ltab_len);
    let used: Vec<u32> = layer.lebs.iter().map(|leb| narrow(leb.len())).collect();
    let space: Vec<(u32, u32)> = (0..areas.lpt_lebs as usize)
        .map(|i| {
            let used = used.get(i).copied().unwrap_or(0);
            let end = round_up(used, min_io_size);
            (leb_size - end, end - used)
        })
        .collect();
    layer.fill(ltab, &layout.ltab(&space));
    let last = layer.lebs.len() - 1;
    let head = LptPlace { lnum: areas.lpt_first + narrow(last), offs: round_up(used[last], min_io_size) };
    Lpt { root, head, ltab, lsave, lebs: layer.lebs }
}

impl Lpt {
    /// Writes the LEBs of the LPT, the free ones too.
    pub(super) fn write<W: Write + Seek>(
        self,
        areas: &Areas,
        main: &mut MainArea<'_, W>,
    ) -> Result<(), WriteError> {
        let mut lebs = self.lebs.into_iter();
        for lnum in areas.lpt_first..areas.orph_first {
            // Unlike elsewhere, what pads the last write is free space too.
            main.write_leb(lnum, lebs.next().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Counts and lengths within the LPT's LEBs, of which there are fewer than 2^32.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
