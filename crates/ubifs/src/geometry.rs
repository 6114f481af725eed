//! Sizes and positions of the areas of a volume, and how the kernel counts space in it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use crate::format::lpt::{self, Lprops, LptInput, LptLayout};
use crate::format::{
    LOG_LNUM, LSAVE_CNT, MAX_NODE_LEN, MIN_BUD_LEBS, MIN_LOG_LEBS, MIN_MAIN_LEBS, MIN_WRITE_LEN, RefNode,
};

/// Largest journal that is chosen unasked, bytes.
const DEFAULT_MAX_JOURNAL: u64 = 8 << 20;

/// The watermarks of a LEB, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Below it free and dirty bytes of a LEB are of no use. Kernel: `dead_wm`.
    pub dead: u32,
    /// Below it they may be of no use for a large node. Kernel: `dark_wm`.
    pub dark: u32,
}

impl Watermarks {
    /// Those of a volume with that smallest write.
    #[must_use]
    pub const fn new(min_io_size: u32) -> Self {
        Watermarks { dead: round_up(MIN_WRITE_LEN, min_io_size), dark: round_up(MAX_NODE_LEN, min_io_size) }
    }

    /// Bytes that count as dark of a LEB that has `space` bytes free and dirty together.
    #[must_use]
    pub const fn dark_of(self, space: u32) -> u32 {
        match space.checked_sub(self.dark) {
            None => space,
            Some(more) if more < MIN_WRITE_LEN => space.saturating_sub(MIN_WRITE_LEN),
            Some(_) => self.dark,
        }
    }
}

/// `value` rounded up to a multiple of `unit`, which is not 0.
#[must_use]
pub const fn round_up(value: u32, unit: u32) -> u32 {
    match value.checked_next_multiple_of(unit) {
        Some(rounded) => rounded,
        None => u32::MAX,
    }
}

/// Sums over all LEBs of the main area, as the master node has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceTotals {
    /// Free bytes.
    pub free: u64,
    /// Dirty bytes.
    pub dirty: u64,
    /// Used bytes of LEBs without index.
    pub used: u64,
    /// Dead bytes.
    pub dead: u64,
    /// Dark bytes.
    pub dark: u64,
    /// Wholly free LEBs.
    pub empty_lebs: u32,
    /// LEBs with index nodes.
    pub idx_lebs: u32,
}

impl SpaceTotals {
    /// Adds one LEB of `leb_size` bytes.
    pub const fn add(&mut self, lprops: Lprops, leb_size: u32, watermarks: Watermarks) {
        self.free = self.free.saturating_add(lprops.free as u64);
        self.dirty = self.dirty.saturating_add(lprops.dirty as u64);
        if lprops.free == leb_size {
            self.empty_lebs = self.empty_lebs.saturating_add(1);
        }
        if lprops.index {
            self.idx_lebs = self.idx_lebs.saturating_add(1);
            return;
        }
        let space = lprops.free.saturating_add(lprops.dirty);
        self.used = self.used.saturating_add(leb_size.saturating_sub(space) as u64);
        if space < watermarks.dead {
            self.dead = self.dead.saturating_add(space as u64);
        } else {
            self.dark = self.dark.saturating_add(watermarks.dark_of(space) as u64);
        }
    }
}

/// Where the areas of a volume are that may grow to `max_leb_cnt` LEBs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Areas {
    /// LEBs of the log, from LEB 3 on.
    pub log_lebs: u32,
    /// First LEB of the LPT.
    pub lpt_first: u32,
    /// LEBs of the LPT.
    pub lpt_lebs: u32,
    /// Whether the LPT is of the big model.
    pub big_lpt: bool,
    /// First LEB for orphans.
    pub orph_first: u32,
    /// LEBs for orphans.
    pub orph_lebs: u32,
    /// First LEB of the main area.
    pub main_first: u32,
    /// Bytes of the journal.
    pub max_bud_bytes: u64,
}

/// What areas follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AreaInput {
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// Bytes of the smallest write.
    pub min_io_size: u32,
    /// LEBs that the file system may ever have.
    pub max_leb_cnt: u32,
    /// LEBs for orphans.
    pub orph_lebs: u32,
    /// Bytes of the journal; `None`: an eighth of the volume, at most 8 MiB.
    pub journal: Option<u64>,
}

/// Why there are no areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The journal is smaller than that many bytes.
    JournalTooSmall(u64),
    /// The journal exceeds that many bytes, what the main area has.
    JournalTooLarge(u64),
    /// All areas but the main one take this many LEBs; with the smallest main area so many are needed.
    TooFewLebs(u32),
}

impl Areas {
    /// The areas of a volume.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn new(input: &AreaInput) -> Result<Self, NoRoom> {
        let leb = u64::from(input.leb_size);
        let lebs =
            input.max_leb_cnt.saturating_sub(LOG_LNUM).saturating_sub(input.orph_lebs).saturating_sub(4);
        let least = leb.saturating_mul(MIN_BUD_LEBS.into());
        let chosen =
            u64::from(lebs / 8).saturating_mul(leb).min(DEFAULT_MAX_JOURNAL).max(least.saturating_add(leb));
        let max_bud_bytes = input.journal.unwrap_or(chosen);
        if max_bud_bytes < least {
            return Err(NoRoom::JournalTooSmall(least));
        }
        let most = u64::from(lebs).saturating_mul(leb);
        if input.journal.is_some_and(|journal| journal > most) {
            return Err(NoRoom::JournalTooLarge(most));
        }
        let log_lebs = log_lebs(input, max_bud_bytes);
        let rest = LOG_LNUM.saturating_add(log_lebs).saturating_add(input.orph_lebs);
        let too_few =
            |lpt_lebs: u32| NoRoom::TooFewLebs(rest.saturating_add(lpt_lebs).saturating_add(MIN_MAIN_LEBS));
        let together = input.max_leb_cnt.checked_sub(rest).ok_or_else(|| too_few(2))?;
        let lpt = LptInput {
            leb_size: input.leb_size,
            min_io_size: input.min_io_size,
            main_lebs: 0,
            max_main_lebs: 0,
            max_leb_cnt: input.max_leb_cnt,
            lpt_lebs: 0,
            lsave_cnt: LSAVE_CNT,
            big: false,
        };
        let lpt = lpt::choose(&lpt, together).ok_or_else(|| too_few(2))?;
        if lpt.main_lebs < MIN_MAIN_LEBS {
            return Err(too_few(lpt.lpt_lebs));
        }
        let main = u64::from(lpt.main_lebs).saturating_mul(leb);
        if max_bud_bytes > main {
            return Err(NoRoom::JournalTooLarge(main));
        }
        let lpt_first = LOG_LNUM.saturating_add(log_lebs);
        let orph_first = lpt_first.saturating_add(lpt.lpt_lebs);
        Ok(Areas {
            log_lebs,
            lpt_first,
            lpt_lebs: lpt.lpt_lebs,
            big_lpt: lpt.big,
            orph_first,
            orph_lebs: input.orph_lebs,
            main_first: orph_first.saturating_add(input.orph_lebs),
            max_bud_bytes,
        })
    }

    /// Layout of the LPT when the file system has `leb_cnt` LEBs.
    #[must_use]
    pub fn lpt_layout(&self, input: &AreaInput, leb_cnt: u32) -> LptLayout {
        LptLayout::new(&LptInput {
            leb_size: input.leb_size,
            min_io_size: input.min_io_size,
            main_lebs: leb_cnt.saturating_sub(self.main_first),
            max_main_lebs: input.max_leb_cnt.saturating_sub(self.main_first),
            max_leb_cnt: input.max_leb_cnt,
            lpt_lebs: self.lpt_lebs,
            lsave_cnt: LSAVE_CNT,
            big: self.big_lpt,
        })
    }
}

/// Volumes of at most that many LEBs do without more than the smallest log.
const SMALL_VOLUME: u32 = 25;

/// The log holds a reference for each LEB of the journal, one more LEB is for the commit, and two are for writing while
/// a commit goes on.
fn log_lebs(input: &AreaInput, max_bud_bytes: u64) -> u32 {
    let buds = max_bud_bytes.div_ceil(u64::from(input.leb_size).max(1));
    let refs = buds.saturating_mul(round_up(RefNode::LEN, input.min_io_size).into());
    let least = refs.div_ceil(u64::from(input.leb_size).max(1)).saturating_add(1);
    let spare = if input.max_leb_cnt > SMALL_VOLUME { 2 } else { 0 };
    u32::try_from(least).unwrap_or(u32::MAX).max(MIN_LOG_LEBS).saturating_add(spare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(leb_size: u32, min_io_size: u32, max_leb_cnt: u32) -> Result<Areas, NoRoom> {
        Areas::new(&AreaInput { leb_size, min_io_size, max_leb_cnt, orph_lebs: 1, journal: None })
    }

    #[test]
    fn areas_of_usual_volumes() {
        let usual = areas(126_976, 2048, 2048).unwrap();
        assert_eq!((usual.log_lebs, usual.lpt_first, usual.lpt_lebs, usual.main_first), (5, 8, 2, 11));
        assert_eq!((usual.big_lpt, usual.max_bud_bytes), (false, 8 << 20));
        assert!(areas(15_872, 8, 8000).unwrap().big_lpt);
        for (leb_size, min_io_size) in [(15_872, 8), (126_976, 2048), (129_024, 2048), (253_952, 4096)] {
            assert_eq!(areas(leb_size, min_io_size, 17).map(|areas| areas.main_first), Ok(8));
            assert_eq!(areas(leb_size, min_io_size, 16), Err(NoRoom::TooFewLebs(17)));
        }
    }

    #[test]
    fn journals_have_bounds() {
        let input = AreaInput {
            leb_size: 126_976,
            min_io_size: 2048,
            max_leb_cnt: 100,
            orph_lebs: 1,
            journal: Some(3 * 126_976),
        };
        assert_eq!(Areas::new(&input).unwrap().max_bud_bytes, 3 * 126_976);
        let small = AreaInput { journal: Some(100), ..input };
        assert_eq!(Areas::new(&small), Err(NoRoom::JournalTooSmall(3 * 126_976)));
        let large = AreaInput { journal: Some(1 << 30), ..input };
        assert!(matches!(Areas::new(&large), Err(NoRoom::JournalTooLarge(_))));
    }

    #[test]
    fn space_is_counted_as_the_kernel_does() {
        let marks = Watermarks::new(2048);
        assert_eq!(marks, Watermarks { dead: 2048, dark: 6144 });
        let cases = [(0, 0), (6143, 6143), (6144, 6088), (6199, 6143), (6200, 6144), (126_976, 6144)];
        for (space, dark) in cases {
            assert_eq!(marks.dark_of(space), dark, "{space}");
        }
        let mut totals = SpaceTotals::default();
        let leb = |free, dirty, index| Lprops { free, dirty, index };
        for lprops in [leb(0, 100, false), leb(126_976, 0, false), leb(2048, 8, true), leb(2048, 8, false)] {
            totals.add(lprops, 126_976, marks);
        }
        let expected = SpaceTotals {
            free: 126_976 + 4096,
            dirty: 116,
            used: 126_876 + 124_920,
            dead: 100,
            dark: 6144 + 2056,
            empty_lebs: 1,
            idx_lebs: 1,
        };
        assert_eq!(totals, expected);
    }
}
