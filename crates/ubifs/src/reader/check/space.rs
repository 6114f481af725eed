//! How full the LEBs are: what the LPT says, what the index takes, and what is there.

use std::collections::BTreeSet;

use super::nodes::leaves;
use super::{Finding, Report, charge};
use crate::format::aligned;
use crate::format::lpt::Lprops;
use crate::geometry::{SpaceTotals, Watermarks};
use crate::reader::index::Index;
use crate::reader::input::scan;
use crate::reader::journal::Journal;
use crate::reader::limits::Budget;
use crate::reader::{Image, Place, ReadError, lpt};

/// Memory of one LEB of the main area while it is checked, bytes.
const LEB_COST: u64 = 64;

/// Bytes that the last commit uses of each LEB of the main area.
pub(super) struct Usage {
    first: u32,
    /// Bytes of nodes of the tree and of the index.
    lebs: Vec<(u64, u64)>,
}

impl Usage {
    pub(super) fn new(image: &Image, budget: &mut Budget) -> Result<Self, ReadError> {
        let first = image.facts.main_first;
        let count = image.facts.leb_cnt.saturating_sub(first);
        charge(budget, count.into(), LEB_COST, "LEBs")?;
        Ok(Usage { first, lebs: vec![(0, 0); count as usize] })
    }

    pub(super) fn add(&mut self, place: Place, len: u32, is_index: bool) {
        let index = place.lnum.checked_sub(self.first);
        if let Some((tree, index)) = index.and_then(|index| self.lebs.get_mut(index as usize)) {
            let used = if is_index { index } else { tree };
            *used = used.saturating_add(aligned(len).into());
        }
    }
}

impl Image {
    pub(super) fn space(
        &self,
        usage: &Usage,
        index_size: u64,
        (journal, index): (&Journal, &Index),
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let lpt = match lpt::read(&self.facts, &self.master, &self.input) {
            Ok(lpt) => lpt,
            Err(error) => return report.note(error),
        };
        // Buds go on after the commit. What the journal has replaced in a LEB may be gone: garbage collection erases it
        // without another commit.
        let buds: BTreeSet<u32> = journal.buds.iter().map(|bud| bud.lnum).collect();
        let live: BTreeSet<u32> = leaves(index).map(|(_, leaf)| leaf.place.lnum).collect();
        for ((lnum, leb), used) in (usage.first..).zip(&lpt.lprops).zip(&usage.lebs) {
            let replaced = journal.nodes > 0 && used.1 == 0 && !live.contains(&lnum);
            self.leb(lnum, *leb, *used, replaced || buds.contains(&lnum), report)?;
        }
        self.totals(&lpt.lprops, index_size, report);
        self.lpt_space(&lpt, report);
        Ok(())
    }

    fn leb(
        &self,
        lnum: u32,
        leb: Lprops,
        (tree, index): (u64, u64),
        has_changed: bool,
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let place = Place { lnum, offs: 0 };
        let leb_size = self.facts.sb.leb_size.get();
        let space = leb.free.saturating_add(leb.dirty);
        let used = u64::from(leb_size.saturating_sub(space));
        let in_use = tree.saturating_add(index);
        if used != in_use {
            let expected = format!("{in_use} bytes in use, as the index has it");
            let found = format!("{used} ({} free, {} dirty)", leb.free, leb.dirty);
            report.add(Finding::error("LEB properties", expected, found).at(place));
        }
        if index > 0 && (tree > 0 || !leb.index) {
            let found = format!("{tree} bytes of the tree, flag {}", u8::from(leb.index));
            report
                .add(Finding::error("LEB of the index", "nothing else in it, and its flag", found).at(place));
        }
        // What nothing refers to may be anything, or erased.
        if in_use == 0 && space == leb_size || has_changed {
            return Ok(());
        }
        let bytes = match self.input.leb(lnum, "LEB") {
            Ok(bytes) => bytes,
            Err(error) => return report.note(error),
        };
        let scan = scan(&bytes, lnum, 0);
        let expected = leb_size.saturating_sub(leb.free);
        // A commit that was not finished has written more than the LPT knows.
        let unfinished = self.master.is_dirty() && scan.end >= expected;
        if let Some(stop) = &scan.stop {
            if unfinished && scan.is_cut(&bytes, self.facts.sb.min_io_size.get()) {
                report.add(Finding::left(stop));
                return Ok(());
            }
            return report.note(stop.clone());
        }
        let end = scan.end.next_multiple_of(self.facts.sb.min_io_size.get().max(1));
        if end != expected && !unfinished {
            let expected = format!("nodes up to {expected:#x}");
            report.add(Finding::error("LEB properties", expected, format!("{end:#x}")).at(place));
        }
        Ok(())
    }

    fn totals(&self, lprops: &[Lprops], index_size: u64, report: &mut Report) {
        let mut totals = SpaceTotals::default();
        let watermarks = Watermarks::new(self.facts.sb.min_io_size.get());
        let (leb_size, node) = (self.facts.sb.leb_size.get(), &self.master.node);
        // The master counts the LEBs that the file system had when it was written.
        let counted = node.leb_cnt.get().saturating_sub(self.facts.main_first) as usize;
        lprops.iter().take(counted).for_each(|&leb| totals.add(leb, leb_size, watermarks));
        let pairs = [
            ("free bytes", totals.free, node.total_free.get()),
            ("dirty bytes", totals.dirty, node.total_dirty.get()),
            ("used bytes", totals.used, node.total_used.get()),
            ("dead bytes", totals.dead, node.total_dead.get()),
            ("dark bytes", totals.dark, node.total_dark.get()),
            ("empty LEBs", totals.empty_lebs.into(), node.empty_lebs.get().into()),
            ("LEBs of the index", totals.idx_lebs.into(), node.idx_lebs.get().into()),
            ("bytes of the index", index_size, node.index_size.get()),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                report.add(
                    Finding::error(format!("master node: {what}"), expected, found).at(self.master.place),
                );
            }
        }
    }

    fn lpt_space(&self, lpt: &lpt::Lpt, report: &mut Report) {
        let leb_size = u64::from(self.facts.sb.leb_size.get());
        for ((lnum, &(free, dirty)), &used) in (self.facts.lpt_first..).zip(&lpt.table).zip(&lpt.used) {
            let sum = u64::from(free).saturating_add(dirty.into()).saturating_add(used);
            if sum != leb_size {
                let expected = format!("{used} bytes in use, {leb_size} in all");
                let found = format!("{free} free, {dirty} dirty");
                report.add(Finding::error("LPT table", expected, found).at(Place { lnum, offs: 0 }));
            }
        }
    }
}
