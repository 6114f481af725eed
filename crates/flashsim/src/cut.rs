//! What an operation leaves that was interrupted.

use std::ops::Range;

use flashwright_media::FlashKind;

use crate::cells::{Cells, Ecc};
use crate::random::Random;

/// What an interrupted operation leaves behind. Each stands for something that real flash was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Interruption {
    /// One of the others, by chance.
    #[default]
    Any,
    /// Nothing: the power went before the first pulse.
    NotBegun,
    /// All of it: the power went after the last pulse, before anybody was told.
    Complete,
    /// Some bits are as before, some as they were to be, some read differently each time. A page that is programmed is right
    /// up to some byte; NAND cannot correct it.
    Half,
    /// It looks complete, but some bits read differently each time: on NAND few enough to be corrected; on NOR an
    /// eraseblock that mostly reads as 0xFF.
    AlmostComplete,
    /// It looks as if it had not begun, but some bits changed, and some read differently each time; on NAND few enough to be
    /// corrected.
    BarelyBegun,
}

impl Interruption {
    /// Those that leave something, in some order.
    pub const ALL: [Self; 5] = [
        Interruption::NotBegun,
        Interruption::Complete,
        Interruption::Half,
        Interruption::AlmostComplete,
        Interruption::BarelyBegun,
    ];

    pub(crate) fn choose(self, random: &mut Random) -> Self {
        match self {
            Interruption::Any => Interruption::ALL[random.below(Interruption::ALL.len())],
            chosen => chosen,
        }
    }
}

/// Bits on NOR that hang between 0 and 1 where an operation almost ended or hardly began: so many that they do not all
/// read right by chance, as a test could not tell that from a mistake.
const FEW: usize = 40;
/// Bytes on NOR that are under way when a program is interrupted.
const UNDER_WAY: usize = 32;

/// Everything that changes cells in the middle of an operation.
pub(crate) struct Cut<'a> {
    pub(crate) kind: FlashKind,
    pub(crate) ecc: Ecc,
    pub(crate) page: usize,
    pub(crate) random: &'a mut Random,
}

impl Cut<'_> {
    /// Erases `cells` as far as that.
    pub(crate) fn erase(&mut self, cells: &mut Cells, how: Interruption) {
        if how == Interruption::NotBegun {
            return;
        }
        cells.erases += 1;
        cells.cut_erases += 1;
        match how {
            Interruption::Complete => cells.wipe(),
            Interruption::AlmostComplete => {
                cells.wipe();
                self.shake_all(cells);
            }
            Interruption::BarelyBegun => self.shake_all(cells),
            _ => self.half_erase(cells),
        }
        // Programming on top of this is never right, however it reads.
        cells.half_erased = how != Interruption::Complete;
    }

    /// Everything hangs a little: on NAND, which is read by the page, each page.
    fn shake_all(&mut self, cells: &mut Cells) {
        let len = cells.bytes.len();
        let step = if self.kind == FlashKind::Nand { self.page } else { len };
        for start in (0..len).step_by(step) {
            self.shake(cells, start..start + step, |_, _| true);
        }
    }

    /// Some bits of `range` become unstable, of those that `wanted` takes (byte's index, bit): on NAND as many as can be
    /// corrected, all others being right; on NOR [`FEW`].
    fn shake(&mut self, cells: &mut Cells, range: Range<usize>, wanted: impl Fn(usize, u8) -> bool) {
        let bits = |index: usize| (0..8).map(move |bit| (index, 1u8 << bit));
        let mut candidates: Vec<_> =
            range.clone().flat_map(bits).filter(|&(index, bit)| wanted(index, bit)).collect();
        let left = self.ecc.strength.saturating_sub(cells.worst(range));
        let count = match self.kind {
            // A u32 fits a usize here: this is for hosts.
            FlashKind::Nand => self.random.below(left as usize + 1),
            _ => FEW,
        };
        for _ in 0..count.min(candidates.len()) {
            let (index, bit) = candidates.swap_remove(self.random.below(candidates.len()));
            cells.unstable[index] |= bit;
            cells.clean = false;
        }
    }

    /// Of the bits that are 0, a third is 1 now, a third hangs.
    fn half_erase(&mut self, cells: &mut Cells) {
        for index in 0..cells.bytes.len() {
            let zeros = !cells.bytes[index];
            let (one, two) = (self.random.byte(), self.random.byte());
            self.change(cells, index, zeros & one, zeros & !one & two);
        }
    }

    /// Bits become the other way round, or hang. On NAND `bytes` stays what the error correction works towards.
    fn change(&mut self, cells: &mut Cells, index: usize, turned: u8, unstable: u8) {
        cells.unstable[index] |= unstable;
        cells.clean = false;
        match self.kind {
            FlashKind::Nand => cells.flipped[index] ^= turned,
            _ => cells.bytes[index] ^= turned,
        }
    }

    /// Programs `bytes`, one page or a part of one, at `start` as far as that. They are the new content, all bits that
    /// had been 0 before being 0 in it.
    pub(crate) fn program(&mut self, cells: &mut Cells, start: usize, bytes: &[u8], how: Interruption) {
        let range = start..start + bytes.len();
        match how {
            Interruption::NotBegun => {}
            Interruption::Complete => cells.bytes[range].copy_from_slice(bytes),
            Interruption::AlmostComplete => {
                let before = cells.bytes[range.clone()].to_vec();
                cells.bytes[range.clone()].copy_from_slice(bytes);
                let new = cells.bytes.clone();
                self.shake(cells, range, |index, bit| before[index - start] & bit & !new[index] != 0);
            }
            Interruption::BarelyBegun => {
                let before = cells.bytes.clone();
                self.shake(cells, range, |index, bit| before[index] & bit & !bytes[index - start] != 0);
            }
            _ => self.half_program(cells, start, bytes),
        }
    }

    fn half_program(&mut self, cells: &mut Cells, start: usize, bytes: &[u8]) {
        // Enough is left that it does not read right by chance. On NAND all of the page is under way.
        let is_nand = self.kind == FlashKind::Nand;
        let most = if is_nand { bytes.len() / 2 } else { bytes.len().saturating_sub(UNDER_WAY) };
        let right = self.random.below(most + 1);
        let half = if is_nand { bytes.len() } else { right + UNDER_WAY };
        for (at, &new) in bytes.iter().enumerate() {
            let index = start + at;
            let falling = cells.bytes[index] & !new;
            let (one, two) = (self.random.byte(), self.random.byte());
            match self.kind {
                FlashKind::Nand => {
                    cells.bytes[index] = new;
                    if at >= right {
                        self.change(cells, index, falling & one, falling & !one & two);
                    }
                }
                _ if at < right => cells.bytes[index] = new,
                _ if at < half => self.change(cells, index, falling & one, falling & !one & two),
                _ => {}
            }
        }
    }
}
