//! The device and what can be done to it from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use flashwright_media::{FlashGeometry, FlashKind};

use crate::cells::{Cells, Ecc};
use crate::cut::Interruption;
use crate::random::Random;

/// Bytes of NOR that are programmed as one operation where its pages are smaller: its write buffer.
const WRITE_BUFFER: u32 = 256;

/// NOR with eraseblocks of that many bytes, programmed by the byte.
#[must_use]
pub const fn nor(eraseblock_size: u32, eraseblock_count: u32) -> FlashGeometry {
    FlashGeometry { kind: FlashKind::Nor, eraseblock_size, eraseblock_count, page_size: 1, sub_page_size: 1 }
}

/// NAND with eraseblocks and pages of that many bytes, and no sub-pages.
#[must_use]
pub const fn nand(eraseblock_size: u32, eraseblock_count: u32, page_size: u32) -> FlashGeometry {
    FlashGeometry {
        kind: FlashKind::Nand,
        eraseblock_size,
        eraseblock_count,
        page_size,
        sub_page_size: page_size,
    }
}

/// Memory behind the same interface.
#[must_use]
pub const fn ram(eraseblock_size: u32, eraseblock_count: u32) -> FlashGeometry {
    FlashGeometry { kind: FlashKind::Ram, eraseblock_size, eraseblock_count, page_size: 1, sub_page_size: 1 }
}

/// Something that a caller must never do. Offsets are in bytes from the start of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A sub-page of NAND was programmed again without an erase. Its content is garbage now.
    ProgrammedTwice {
        /// Where it starts.
        offset: u64,
    },
    /// A page of NAND was programmed after one behind it in the same eraseblock.
    OutOfOrder {
        /// Where it starts.
        offset: u64,
    },
    /// A bit was to become 1 without an erase. It stays 0.
    SetsBit {
        /// The byte.
        offset: u64,
    },
    /// Something was programmed onto an erase that had been interrupted or had failed: it reads well today.
    ProgrammedHalfErased {
        /// Where it starts.
        offset: u64,
    },
    /// A program that is no whole number of sub-pages, or ends in another eraseblock. Nothing happened.
    Misaligned {
        /// Where it starts.
        offset: u64,
        /// Its bytes.
        len: usize,
    },
    /// A place that does not exist. Nothing happened.
    OutOfRange {
        /// Where.
        offset: u64,
    },
    /// An eraseblock that is marked bad was erased or programmed: the mark would be lost. Nothing happened.
    TouchedBad {
        /// Where it starts.
        offset: u64,
    },
}

/// How an eraseblock is worn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// From that erase on, counted from 1 for its first one ever, it does not take any.
    Erase(u64),
    /// From that programmed page on, counted from 1 for the first one ever, it does not take any.
    Program(u64),
    /// The same, but it says that it took them: reading shows that it did not.
    ProgramSilently(u64),
    /// It does not take that one erase, and is well again afterwards.
    EraseOnce(u64),
    /// It does not take that one page, and is well again after an erase.
    ProgramOnce(u64),
}

/// What operations take, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Erasing an eraseblock.
    pub erase_ns: u64,
    /// Programming a page; on NOR a write buffer of 256 bytes.
    pub program_ns: u64,
    /// Reading a page, or a part of one; on NOR 256 bytes.
    pub read_ns: u64,
}

/// A simulated device. See the [crate's documentation](crate).
#[derive(Clone)]
pub struct Simulation {
    pub(crate) geometry: FlashGeometry,
    pub(crate) eraseblocks: Vec<Arc<Cells>>,
    pub(crate) random: Random,
    pub(crate) ecc: Ecc,
    pub(crate) noise: u32,
    pub(crate) faults: BTreeMap<u32, Fault>,
    pub(crate) lock_area: Option<u32>,
    pub(crate) tells_locks: bool,
    pub(crate) one_lock: bool,
    pub(crate) timing: Timing,
    pub(crate) elapsed: u64,
    pub(crate) operations: u64,
    pub(crate) cut: Option<(u64, Interruption)>,
    pub(crate) powered: bool,
    pub(crate) violations: Vec<Violation>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("geometry", &self.geometry)
            .field("operations", &self.operations)
            .field("powered", &self.powered)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// A device fresh from the factory: all bits 1, no bad eraseblocks, no erases.
    ///
    /// # Panics
    /// When a size is 0, or is no multiple of the next smaller one.
    #[must_use]
    pub fn new(geometry: FlashGeometry, seed: u64) -> Self {
        let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = geometry;
        assert!(sub_page_size > 0 && page_size > 0 && eraseblock_size > 0, "{geometry:?}");
        assert!(page_size.is_multiple_of(sub_page_size), "{geometry:?}");
        assert!(eraseblock_size.is_multiple_of(page_size), "{geometry:?}");
        // For hosts: a u32 fits a usize.
        let sub_pages = if geometry.kind == FlashKind::Nand { eraseblock_size / sub_page_size } else { 0 };
        let fresh = Arc::new(Cells::new(eraseblock_size as usize, sub_pages as usize));
        Simulation {
            geometry,
            eraseblocks: vec![fresh; geometry.eraseblock_count as usize],
            random: Random::new(seed),
            ecc: Ecc::default(),
            noise: 0,
            faults: BTreeMap::new(),
            lock_area: None,
            tells_locks: true,
            one_lock: false,
            timing: Timing::default(),
            elapsed: 0,
            operations: 0,
            cut: None,
            powered: true,
            violations: Vec::new(),
        }
    }

    /// Bytes that are one operation when they are programmed.
    pub(crate) fn unit(&self) -> usize {
        let FlashGeometry { kind, page_size, eraseblock_size, .. } = self.geometry;
        let buffer = if kind == FlashKind::Nand { page_size } else { page_size.max(WRITE_BUFFER) };
        buffer.min(eraseblock_size) as usize
    }

    pub(crate) fn cells(&self, eraseblock: u32) -> &Cells {
        &self.eraseblocks[eraseblock as usize]
    }

    pub(crate) fn cells_mut(&mut self, eraseblock: u32) -> &mut Cells {
        Arc::make_mut(&mut self.eraseblocks[eraseblock as usize])
    }

    /// What the caller did wrong until now; a test asserts that this is empty.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Erases of an eraseblock that were begun, those that failed or were interrupted included.
    #[must_use]
    pub fn erases(&self, eraseblock: u32) -> u64 {
        self.cells(eraseblock).erases
    }

    /// How many of [`erases`](Self::erases) were interrupted.
    #[must_use]
    pub fn cut_erases(&self, eraseblock: u32) -> u64 {
        self.cells(eraseblock).cut_erases
    }

    /// Says how often an eraseblock was erased in its life before.
    pub fn set_erases(&mut self, eraseblock: u32, erases: u64) {
        self.cells_mut(eraseblock).erases = erases;
    }

    /// Operations until now: erases, programmed pages, bad marks, changes of locks.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// What is stored, byte for byte, without any errors in reading it.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.eraseblocks.iter().flat_map(|cells| cells.bytes.iter().copied()).collect()
    }

    /// What is stored in an eraseblock, without any errors in reading it.
    #[must_use]
    pub fn content(&self, eraseblock: u32) -> &[u8] {
        &self.cells(eraseblock).bytes
    }

    /// Whether an eraseblock reads the same each time, and as [`content`](Self::content).
    #[must_use]
    pub fn is_sound(&self, eraseblock: u32) -> bool {
        let cells = self.cells(eraseblock);
        let (page, limit) = match self.geometry.kind {
            FlashKind::Nand => (self.geometry.page_size as usize, self.ecc.strength),
            _ => (cells.bytes.len(), 0),
        };
        (0..cells.bytes.len()).step_by(page).all(|start| cells.worst(start..start + page) <= limit)
    }

    /// Stores `bytes` from `offset` on as if they had been programmed long ago, on erased flash: no operation, no
    /// erase. Bytes that are not given become 0xFF up to the end of the eraseblock. Bad eraseblocks are not skipped.
    ///
    /// # Panics
    /// When `offset` is not at the start of an eraseblock, or the bytes do not fit.
    pub fn store(&mut self, offset: u64, bytes: &[u8]) {
        let size = u64::from(self.geometry.eraseblock_size);
        assert!(offset.is_multiple_of(size), "{offset:#x}");
        let first = u32::try_from(offset / size).expect("an offset on the device");
        // For hosts: a u32 fits a usize.
        for (eraseblock, bytes) in (first..).zip(bytes.chunks(self.geometry.eraseblock_size as usize)) {
            let sub_page = self.geometry.sub_page_size as usize;
            let cells = self.cells_mut(eraseblock);
            cells.wipe();
            cells.bytes[..bytes.len()].copy_from_slice(bytes);
            let used = cells.bytes.chunks(sub_page).map(|part| part.iter().any(|&byte| byte != 0xff));
            let used: Vec<bool> = used.collect();
            cells.programmed.iter_mut().zip(used).for_each(|(programmed, used)| *programmed = used);
        }
    }

    /// Turns `count` bits round in the page of NAND, or the 256 bytes of NOR, that `offset` is in.
    ///
    /// # Panics
    /// When `offset` is past the end.
    pub fn flip(&mut self, offset: u64, count: u32) {
        let (eraseblock, at) = self.locate(offset).expect("an offset on the device");
        let unit = self.unit();
        let start = at - at % unit;
        let is_nand = self.geometry.kind == FlashKind::Nand;
        let mut bits: Vec<_> =
            (start..start + unit).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))).collect();
        bits.retain(|&(at, bit): &(usize, u8)| self.cells(eraseblock).flipped[at] & bit == 0);
        for _ in 0..count.min(bits.len().try_into().unwrap_or(count)) {
            let (at, bit) = bits.swap_remove(self.random.below(bits.len()));
            let cells = self.cells_mut(eraseblock);
            cells.clean = false;
            if is_nand { cells.flipped[at] |= bit } else { cells.bytes[at] ^= bit }
        }
    }

    /// Makes the `mask` bits of a byte read as 0 or 1, differently each time.
    ///
    /// # Panics
    /// When `offset` is past the end.
    pub fn unsettle(&mut self, offset: u64, mask: u8) {
        let (eraseblock, at) = self.locate(offset).expect("an offset on the device");
        let cells = self.cells_mut(eraseblock);
        cells.unstable[at] |= mask;
        cells.clean = false;
    }

    /// Of 1000 pages of NAND that are read, so many have one more wrong bit, this time only; default 0.
    pub const fn set_read_noise(&mut self, per_mille: u32) {
        self.noise = per_mille;
    }

    /// How good the error correction is; NAND only.
    pub const fn set_ecc(&mut self, ecc: Ecc) {
        self.ecc = ecc;
    }

    /// Marks an eraseblock bad, as from the factory.
    pub fn set_bad(&mut self, eraseblock: u32) {
        self.cells_mut(eraseblock).bad = true;
    }

    /// Whether an eraseblock is marked bad.
    #[must_use]
    pub fn marked_bad(&self, eraseblock: u32) -> bool {
        self.cells(eraseblock).bad
    }

    /// Wears an eraseblock out.
    pub fn set_fault(&mut self, eraseblock: u32, fault: Fault) {
        self.faults.insert(eraseblock, fault);
    }

    /// Gives the device locks, which it has none of by default: setting or clearing one does so for `area` eraseblocks, from
    /// a multiple of that on. `tells` when it can be asked for them.
    ///
    /// # Panics
    /// When `area` is 0.
    pub fn set_lockable(&mut self, area: u32, tells: bool) {
        assert!(area > 0);
        (self.lock_area, self.tells_locks) = (Some(area), tells);
    }

    /// Gives the device a lock as SPI NOR has it: one range of eraseblocks without a gap. Whatever would leave two is
    /// refused.
    pub fn set_one_lock(&mut self) {
        self.set_lockable(1, true);
        self.one_lock = true;
    }

    /// Locks an eraseblock, from outside.
    pub fn lock(&mut self, eraseblock: u32) {
        self.cells_mut(eraseblock).locked = true;
    }

    /// Whether an eraseblock is locked, whether the device tells or not.
    #[must_use]
    pub fn locked(&self, eraseblock: u32) -> bool {
        self.cells(eraseblock).locked
    }

    /// What operations take from now on; default nothing.
    pub const fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// What operations and reads took until now, in nanoseconds.
    #[must_use]
    pub const fn elapsed_ns(&self) -> u64 {
        self.elapsed
    }

    /// Cuts the power in the `operation`-th operation from now on, 1 being the next one, in any of the ways of
    /// [`Interruption`].
    ///
    /// # Panics
    /// When `operation` is 0.
    pub fn cut_power_at(&mut self, operation: u64) {
        self.cut_power_how(operation, Interruption::Any);
    }

    /// As [`cut_power_at`](Self::cut_power_at), leaving what is told.
    ///
    /// # Panics
    /// When `operation` is 0.
    pub fn cut_power_how(&mut self, operation: u64, how: Interruption) {
        assert!(operation > 0);
        self.cut = Some((operation, how));
    }

    /// Takes the seed for everything random from now on: the same cut then leaves something else.
    pub const fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Whether the power is on.
    #[must_use]
    pub const fn is_powered(&self) -> bool {
        self.powered
    }

    /// Brings the power back. A cut that has not come yet does not come any more.
    pub const fn power_on(&mut self) {
        self.powered = true;
        self.cut = None;
    }

    /// Number of the eraseblock that `offset` is in, and where in it.
    pub(crate) fn locate(&self, offset: u64) -> Option<(u32, usize)> {
        let size = u64::from(self.geometry.eraseblock_size);
        let eraseblock = u32::try_from(offset / size).ok()?;
        let at = usize::try_from(offset % size).ok()?;
        (eraseblock < self.geometry.eraseblock_count).then_some((eraseblock, at))
    }
}
