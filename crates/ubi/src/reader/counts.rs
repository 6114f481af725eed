//! How often PEBs were erased.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::scan::{Ec, PebInfo};

/// Most bars of a histogram.
const BARS: u64 = 16;

/// A bar of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Smallest erase count.
    pub from: u32,
    /// Largest.
    pub to: u32,
    /// PEBs with such a count.
    pub pebs: u32,
}

/// Erase counts of all PEBs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EraseCounts {
    /// PEBs whose count is known.
    pub known: u32,
    /// PEBs whose count is not: erased without writing it, or damaged.
    pub unknown: u32,
    /// Smallest.
    pub min: u32,
    /// Mean, rounded to the nearest.
    pub mean: u32,
    /// Largest.
    pub max: u32,
    /// From the smallest to the largest, in at most 16 steps of one width; none when no count is known.
    pub histogram: Vec<Bar>,
}

impl EraseCounts {
    pub(super) fn of(pebs: &[PebInfo]) -> Self {
        let count = |info: &PebInfo| match info.ec {
            Ec::Known { erase_count, .. } => Some(erase_count),
            _ => None,
        };
        let counts: Vec<u32> = pebs.iter().filter_map(count).collect();
        let known = u32::try_from(counts.len()).unwrap_or(u32::MAX);
        Self::from_counts(&counts, u32::try_from(pebs.len()).unwrap_or(u32::MAX).saturating_sub(known))
    }

    /// Of PEBs with those counts, and of so many whose count is not known.
    #[must_use]
    pub fn from_counts(counts: &[u32], unknown: u32) -> Self {
        let known = u32::try_from(counts.len()).unwrap_or(u32::MAX);
        let (Some(&min), Some(&max)) = (counts.iter().min(), counts.iter().max()) else {
            return EraseCounts { unknown, ..EraseCounts::default() };
        };
        let half = u64::from(known).checked_div(2).unwrap_or(0);
        let sum = counts.iter().fold(half, |sum, &count| sum.saturating_add(count.into()));
        let mean = sum.checked_div(known.into()).and_then(|mean| u32::try_from(mean).ok()).unwrap_or(0);
        EraseCounts { known, unknown, min, mean, max, histogram: histogram(counts, min, max) }
    }
}

fn histogram(counts: &[u32], min: u32, max: u32) -> Vec<Bar> {
    let range = u64::from(max).saturating_sub(min.into()).saturating_add(1);
    let width = u32::try_from(range.div_ceil(BARS)).unwrap_or(u32::MAX).max(1);
    let mut bars = Vec::new();
    let mut from = min;
    loop {
        let to = from.saturating_add(width).saturating_sub(1).min(max);
        let within = counts.iter().filter(|&&count| (from..=to).contains(&count)).count();
        bars.push(Bar { from, to, pebs: u32::try_from(within).unwrap_or(u32::MAX) });
        if to == max {
            return bars;
        }
        from = to.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::scan::Vid;

    #[test]
    fn counts_are_summed_up() {
        let peb = |ec| PebInfo { ec, vid: Vid::Erased };
        let known = |erase_count| peb(Ec::Known { erase_count, image_seq: 0 });
        let pebs = [known(3), known(4), known(4), peb(Ec::Erased), known(100)];
        let counts = EraseCounts::of(&pebs);
        assert_eq!((counts.known, counts.unknown, counts.min, counts.mean, counts.max), (4, 1, 3, 28, 100));
        assert_eq!(counts.histogram.len(), 14);
        assert_eq!(counts.histogram[0], Bar { from: 3, to: 9, pebs: 3 });
        assert_eq!(counts.histogram[13], Bar { from: 94, to: 100, pebs: 1 });
        assert_eq!(EraseCounts::of(&[known(7)]).histogram, [Bar { from: 7, to: 7, pebs: 1 }]);
        assert_eq!(EraseCounts::of(&[]), EraseCounts::default());
        let wide = EraseCounts::of(&[known(0), known(0x7fff_ffff)]);
        assert_eq!((wide.histogram.len(), wide.mean), (16, 0x4000_0000));
    }
}
