//! The cells of one eraseblock, and the error correction over them.

use std::ops::Range;

use flashwright_media::EccStats;

use crate::random::Random;

/// The error correction of NAND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ecc {
    /// Wrong bits in one page that can be put right; default 4.
    pub strength: u32,
    /// Wrong bits in one page from which on a read is called worn; default 3.
    pub threshold: u32,
}

impl Default for Ecc {
    fn default() -> Self {
        Ecc { strength: 4, threshold: 3 }
    }
}

/// An eraseblock.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    /// What was meant to be stored; on NOR what is.
    pub(crate) bytes: Vec<u8>,
    /// Bits that read differently from `bytes`, always.
    pub(crate) flipped: Vec<u8>,
    /// Bits that read as 0 or 1, differently each time.
    pub(crate) unstable: Vec<u8>,
    /// Whether no bit is flipped or unstable: reading is copying then.
    pub(crate) clean: bool,
    /// For each sub-page of NAND whether it was programmed since the last erase.
    pub(crate) programmed: Vec<bool>,
    /// Whether the last erase was interrupted or failed.
    pub(crate) half_erased: bool,
    pub(crate) bad: bool,
    pub(crate) locked: bool,
    pub(crate) erases: u64,
    pub(crate) cut_erases: u64,
    pub(crate) programs: u64,
}

/// What a page reads as.
pub(crate) struct PageRead {
    pub(crate) ecc: EccStats,
    pub(crate) correctable: bool,
}

impl Cells {
    pub(crate) fn new(len: usize, sub_pages: usize) -> Self {
        Cells {
            bytes: vec![0xff; len],
            flipped: vec![0; len],
            unstable: vec![0; len],
            clean: true,
            programmed: vec![false; sub_pages],
            half_erased: false,
            bad: false,
            locked: false,
            erases: 0,
            cut_erases: 0,
            programs: 0,
        }
    }

    /// All bits 1, and nothing wrong with them.
    pub(crate) fn wipe(&mut self) {
        self.bytes.fill(0xff);
        self.flipped.fill(0);
        self.unstable.fill(0);
        self.clean = true;
        self.programmed.fill(false);
        self.half_erased = false;
    }

    /// What a read gives at `index` this time, error correction apart.
    fn raw(&self, index: usize, random: &mut Random) -> u8 {
        let unstable = self.unstable[index];
        let noise = if unstable == 0 { 0 } else { random.byte() & unstable };
        // A bit that is flipped and unstable is unstable.
        (self.bytes[index] ^ (self.flipped[index] & !unstable)) ^ noise
    }

    /// Reads `part` without error correction.
    pub(crate) fn read_raw(&self, part: Range<usize>, into: &mut [u8], random: &mut Random) {
        if self.clean {
            return into.copy_from_slice(&self.bytes[part]);
        }
        for (byte, index) in into.iter_mut().zip(part) {
            *byte = self.raw(index, random);
        }
    }

    /// Reads `part`, which is in `page`, with error correction over the page, of which `noise` more bits are wrong now.
    pub(crate) fn read_page(
        &self,
        page: Range<usize>,
        part: Range<usize>,
        into: &mut [u8],
        ecc: Ecc,
        noise: u32,
        random: &mut Random,
    ) -> PageRead {
        let mut raw = vec![0; page.len()];
        self.read_raw(page.clone(), &mut raw, random);
        let stored = &self.bytes[page.clone()];
        let wrong = |(raw, stored): (&u8, &u8)| (raw ^ stored).count_ones();
        let wrong = noise + if self.clean { 0 } else { raw.iter().zip(stored).map(wrong).sum() };
        if wrong > ecc.strength {
            into.copy_from_slice(&raw[part.start - page.start..part.end - page.start]);
            return PageRead { ecc: EccStats::default(), correctable: false };
        }
        into.copy_from_slice(&self.bytes[part]);
        let ecc = EccStats { corrected: wrong, worn: wrong > 0 && wrong >= ecc.threshold };
        PageRead { ecc, correctable: true }
    }

    /// Most wrong bits that a read of `range` can meet.
    pub(crate) fn worst(&self, range: Range<usize>) -> u32 {
        if self.clean {
            return 0;
        }
        let both = self.flipped[range.clone()].iter().zip(&self.unstable[range]);
        both.map(|(flipped, unstable)| (flipped | unstable).count_ones()).sum()
    }
}
