//! A device in the hands of a run: counts what is done to it, tells about it, and unlocks what has to be.

use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashKind, FlashOp};

use crate::bytes::{first_difference, first_other, is_blank};
use crate::error::Error;
use crate::event::{Event, OnEvent, Phase};
use crate::report::Report;

/// What flash without bad spots takes, one after the other: UBI's `torture_peb` has the same.
const TORTURE_PATTERNS: [u8; 3] = [0xa5, 0x5a, 0x00];
/// Bytes read at once, about: enough for the device to be busy, and small next to an eraseblock.
const PIECE: usize = 64 << 10;
/// Bytes read at first, about, where something may differ: it mostly does so early.
const FIRST_PIECE: usize = 512;
/// Bytes of flash with smaller pages that are left out when all of them are 0xFF: a line of its write buffer.
const SMALLEST_UNIT: u32 = 256;

/// What a comparison found.
#[derive(Debug)]
pub(crate) enum Comparison {
    /// All bytes are alike; `worn` when the device calls them in danger.
    Equal { worn: bool },
    /// The first byte that is not.
    Differs { offset: u64, expected: u8, found: u8 },
    /// The error correction gave up.
    Unreadable(FlashError),
}

/// What is wrong with one eraseblock; other eraseblocks may be better.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It did not take an erase or a program, or cannot be read.
    Failed(FlashError),
    /// It reads differently.
    Differs { offset: u64, expected: u8, found: u8 },
}

impl Trouble {
    /// The trouble in a result, if there is; other faults are those of the whole device.
    pub(crate) fn of(result: Result<(), FlashError>) -> Result<Option<Self>, FlashError> {
        match result {
            Ok(()) => Ok(None),
            Err(error) => match error.fault {
                FlashFault::Failed | FlashFault::Bad | FlashFault::Uncorrectable => {
                    Ok(Some(Trouble::Failed(error)))
                }
                _ => Err(error),
            },
        }
    }

    /// Whether the eraseblock turned out to be marked bad already.
    pub(crate) fn is_marked(&self) -> bool {
        matches!(self, Trouble::Failed(error) if matches!(error.fault, FlashFault::Bad))
    }

    pub(crate) fn into_error(self, eraseblock: u32) -> Box<Error> {
        match self {
            Trouble::Failed(error) => error.into(),
            Trouble::Differs { offset, expected, found } => {
                Error::Mismatch { eraseblock, offset, expected, found }.into()
            }
        }
    }
}

impl Comparison {
    pub(crate) fn trouble(self) -> Option<Trouble> {
        match self {
            Comparison::Equal { .. } => None,
            Comparison::Differs { offset, expected, found } => {
                Some(Trouble::Differs { offset, expected, found })
            }
            Comparison::Unreadable(error) => Some(Trouble::Failed(error)),
        }
    }
}

/// Bytes of a run of units at the start of `bytes` that are blank, or are not; the first unit has `first` bytes.
fn run_len(bytes: &[u8], first: usize, unit: usize, blank: bool) -> usize {
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    if is_blank(head) != blank {
        return 0;
    }
    let alike = rest.chunks(unit).take_while(|unit| is_blank(unit) == blank);
    head.len() + alike.map(<[u8]>::len).sum::<usize>()
}

/// Bytes that are programmed or left out as one.
pub(crate) fn unit(geometry: &FlashGeometry) -> usize {
    let page = geometry.page_size.max(1);
    // At most the larger of both, which are u32.
    (page * SMALLEST_UNIT.div_ceil(page)) as usize
}

/// Bytes of `bytes` that [`Device::program`] programs.
pub(crate) fn bytes_to_program(bytes: &[u8], unit: usize) -> usize {
    bytes.chunks(unit).filter(|unit| !is_blank(unit)).map(<[u8]>::len).sum()
}

/// The smaller of both.
pub(crate) fn shorter(len: usize, other: u64) -> usize {
    usize::try_from(other).map_or(len, |other| other.min(len))
}

/// A length of which it is known that it fits: eraseblocks of a device, or bytes of one.
pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pub(crate) struct Device<'a> {
    flash: &'a mut dyn Flash,
    geometry: FlashGeometry,
    pub(crate) report: &'a mut Report,
    on_event: OnEvent<'a>,
    stop: bool,
    /// Whether it may tell which eraseblocks are write-protected.
    tells_locks: bool,
    /// Whether the last comparison found a difference: the next one mostly does, too.
    differed: bool,
    /// First eraseblock and how many, of each range that was unlocked.
    unlocked: Vec<(u32, u32)>,
    piece: Vec<u8>,
}

impl<'a> Device<'a> {
    pub(crate) fn new(flash: &'a mut dyn Flash, report: &'a mut Report, on_event: OnEvent<'a>) -> Self {
        let geometry = flash.geometry();
        let page = unit(&geometry);
        // At most the larger of PIECE and a page.
        let len = (page * (PIECE / page).max(1)).min(geometry.eraseblock_size as usize);
        let piece = vec![0; len];
        Device {
            flash,
            geometry,
            report,
            on_event,
            stop: false,
            tells_locks: true,
            differed: true,
            unlocked: Vec::new(),
            piece,
        }
    }

    pub(crate) const fn geometry(&self) -> &FlashGeometry {
        &self.geometry
    }

    pub(crate) fn tell(&mut self, event: Event) {
        if (self.on_event)(event).is_break() {
            self.stop = true;
        }
    }

    pub(crate) fn progress(&mut self, phase: Phase, done: u32, total: u32) {
        self.tell(Event::Progress { phase, done, total });
    }

    /// Whether somebody asked to stop.
    pub(crate) const fn stopping(&self) -> bool {
        self.stop
    }

    fn note(&mut self, offset: u64, ecc: EccStats) {
        if ecc == EccStats::default() {
            return;
        }
        self.report.corrected_bits += u64::from(ecc.corrected);
        self.report.worn_reads += u32::from(ecc.worn);
        self.tell(Event::Corrected { offset, ecc });
    }

    /// Reads from `offset` until `visit`, which gets each piece and its offset, says no; about `first` bytes to begin with.
    /// The inner error is that of an error correction that gave up.
    fn walk(
        &mut self,
        offset: u64,
        len: u64,
        first: usize,
        visit: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<Result<EccStats, FlashError>, FlashError> {
        let mut piece = std::mem::take(&mut self.piece);
        let result = self.walk_with(&mut piece, (offset, offset + len), first, visit);
        self.piece = piece;
        result
    }

    fn walk_with(
        &mut self,
        piece: &mut [u8],
        (mut at, end): (u64, u64),
        first: usize,
        visit: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<Result<EccStats, FlashError>, FlashError> {
        let mut all = EccStats::default();
        let page = unit(&self.geometry);
        // From then on whole pages.
        let mut most = page * (first / page).max(1) - self.within_unit(at);
        while at < end {
            let count = shorter(piece.len().min(most), end - at);
            most = piece.len();
            let piece = piece.get_mut(..count).unwrap_or_default();
            let ecc = match self.flash.read(at, piece) {
                Err(error) if matches!(error.fault, FlashFault::Uncorrectable) => return Ok(Err(error)),
                result => result?,
            };
            self.note(at, ecc);
            all = all.and(ecc);
            if !visit(at, piece) {
                break;
            }
            at += count as u64;
        }
        Ok(Ok(all))
    }

    /// Bytes from the start of the unit that `offset` is in.
    fn within_unit(&self, offset: u64) -> usize {
        let unit = unit(&self.geometry);
        // Less than a unit.
        shorter(unit, offset % unit as u64)
    }

    /// Compares the device from `offset` on with `bytes`, which it may well not hold.
    pub(crate) fn compare(&mut self, offset: u64, bytes: &[u8]) -> Result<Comparison, FlashError> {
        let first = if self.differed { FIRST_PIECE } else { PIECE };
        let found = self.compare_from(offset, bytes, first)?;
        self.differed = !matches!(found, Comparison::Equal { .. });
        Ok(found)
    }

    /// The same where it should hold them.
    pub(crate) fn read_back(&mut self, offset: u64, bytes: &[u8]) -> Result<Comparison, FlashError> {
        self.compare_from(offset, bytes, PIECE)
    }

    fn compare_from(&mut self, offset: u64, bytes: &[u8], piece: usize) -> Result<Comparison, FlashError> {
        let mut rest = bytes;
        let mut first = None;
        // A slice has at most 2^63 bytes.
        let read = self.walk(offset, bytes.len() as u64, piece, &mut |at, found| {
            let (expected, next) = rest.split_at_checked(found.len()).unwrap_or((rest, &[]));
            rest = next;
            first = first_difference(expected, found).and_then(|index| {
                // A usize has at most 64 bits.
                Some((at + index as u64, *expected.get(index)?, *found.get(index)?))
            });
            first.is_none()
        })?;
        Ok(match (first, read) {
            (Some((offset, expected, found)), _) => Comparison::Differs { offset, expected, found },
            (None, Ok(ecc)) => Comparison::Equal { worn: ecc.worn },
            (None, Err(error)) => Comparison::Unreadable(error),
        })
    }

    /// What is in `len` bytes from `offset`, the start of a page, and behind them to the end of a page, which takes no longer
    /// (of what is longer than 64 KiB, the beginning); with it `None` when the error correction gave up.
    pub(crate) fn peek(&mut self, offset: u64, len: usize) -> Result<(Option<EccStats>, &[u8]), FlashError> {
        let mut piece = std::mem::take(&mut self.piece);
        let page = self.geometry.page_size.max(1) as usize;
        let len = len.next_multiple_of(page).min(piece.len());
        let result = self.read(offset, piece.get_mut(..len).unwrap_or_default());
        self.piece = piece;
        Ok((result?, self.piece.get(..len).unwrap_or_default()))
    }

    /// Reads all of `bytes`; `None`, and what was read, when the error correction gave up.
    pub(crate) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<Option<EccStats>, FlashError> {
        match self.flash.read(offset, bytes) {
            Ok(ecc) => {
                self.note(offset, ecc);
                Ok(Some(ecc))
            }
            Err(error) if matches!(error.fault, FlashFault::Uncorrectable) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads `len` bytes for what the error correction has to say; `false` when it gave up.
    pub(crate) fn read_through(&mut self, offset: u64, len: u64) -> Result<bool, FlashError> {
        Ok(self.walk(offset, len, PIECE, &mut |_, _| true)?.is_ok())
    }

    /// Whether an eraseblock has that byte everywhere.
    pub(crate) fn compare_fill(&mut self, eraseblock: u32, byte: u8) -> Result<Comparison, FlashError> {
        let (offset, len) = (self.geometry.offset_of(eraseblock), self.geometry.eraseblock_size.into());
        self.compare_range(offset, len, byte)
    }

    /// Whether `len` bytes from `offset` on are all that byte.
    pub(crate) fn compare_range(
        &mut self,
        offset: u64,
        len: u64,
        byte: u8,
    ) -> Result<Comparison, FlashError> {
        let mut first = None;
        let read = self.walk(offset, len, PIECE, &mut |at, found| {
            let other = first_other(found, byte);
            // A usize has at most 64 bits.
            first = other.and_then(|index| Some((at + index as u64, *found.get(index)?)));
            first.is_none()
        })?;
        Ok(match (first, read) {
            (Some((offset, found)), _) => Comparison::Differs { offset, expected: byte, found },
            (None, Ok(ecc)) => Comparison::Equal { worn: ecc.worn },
            (None, Err(error)) => Comparison::Unreadable(error),
        })
    }

    /// Bytes from `offset` on that are not 0xFF, of `len`; all of them where they cannot be read.
    pub(crate) fn count_used(&mut self, offset: u64, len: u64) -> Result<u64, FlashError> {
        let mut used = 0;
        let read = self.walk(offset, len, PIECE, &mut |_, found| {
            used += found.iter().filter(|&&byte| byte != 0xff).count() as u64;
            true
        })?;
        Ok(if read.is_ok() { used } else { len })
    }

    /// Whether an eraseblock is known to be write-protected.
    pub(crate) fn is_locked(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        if !self.tells_locks {
            return Ok(false);
        }
        let locked = match self.flash.is_locked(eraseblock) {
            Err(error) if matches!(error.fault, FlashFault::Unsupported) => None,
            result => result?,
        };
        self.tells_locks = locked.is_some();
        Ok(locked == Some(true))
    }

    pub(crate) fn is_bad(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        self.flash.is_bad(eraseblock)
    }

    /// Takes write protection off an eraseblock, and off those that are locked next to it without a gap: a chip that knows
    /// one protected range only takes nothing else, and it can be put back as it was.
    fn unlock(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        let (mut first, mut past) = (eraseblock, eraseblock + 1);
        while first > 0 && self.is_locked(first - 1)? {
            first -= 1;
        }
        while past < self.geometry.eraseblock_count && self.is_locked(past)? {
            past += 1;
        }
        self.flash.set_range_locked(first, past - first, false)?;
        self.unlocked.push((first, past - first));
        self.report.unlocked += past - first;
        (first..past).for_each(|eraseblock| self.tell(Event::Unlocked { eraseblock }));
        if self.is_locked(eraseblock)? {
            // By a pin, say: some chips would ignore an erase and report success.
            let offset = self.geometry.offset_of(eraseblock);
            return Err(FlashError::new(FlashOp::Lock, offset, FlashFault::Locked));
        }
        Ok(())
    }

    /// Puts write protection back where it was taken off. To be called at the end of a run, whatever the end is; goes over
    /// all of them, and returns the first error.
    pub(crate) fn relock(&mut self) -> Result<(), FlashError> {
        let mut result = Ok(());
        for (first, count) in std::mem::take(&mut self.unlocked) {
            match self.flash.set_range_locked(first, count, true) {
                Ok(()) => {
                    self.report.locked += count;
                    (first..first + count).for_each(|eraseblock| self.tell(Event::Locked { eraseblock }));
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Programs `zeros` over a header, `within` bytes behind the start of an eraseblock, so that it is none any more before the
    /// erase, where that can be done; the kernel does it on NOR. An erase that is cut off may leave all of the old content there,
    /// to be lost later.
    pub(crate) fn invalidate(
        &mut self,
        eraseblock: u32,
        within: u64,
        zeros: &[u8],
    ) -> Result<(), FlashError> {
        let can_overwrite = self.geometry.kind == FlashKind::Nor && self.geometry.page_size == 1;
        if can_overwrite && !self.is_locked(eraseblock)? {
            // If it does not take that, the erase will tell.
            let _ = self.flash.program(self.geometry.offset_of(eraseblock) + within, zeros);
        }
        Ok(())
    }

    /// Erases an eraseblock, unlocked before when it has to be.
    pub(crate) fn erase(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        if self.is_locked(eraseblock)? {
            self.unlock(eraseblock)?;
        }
        let mut result = self.flash.erase(eraseblock);
        // Not every device tells before.
        if matches!(&result, Err(error) if matches!(error.fault, FlashFault::Locked)) {
            self.unlock(eraseblock)?;
            result = self.flash.erase(eraseblock);
        }
        self.report.erases += 1;
        result
    }

    /// Programs what is not 0xFF of `bytes`, whole units and what of one is behind `offset`, from there on. The flash there
    /// has to be erased.
    pub(crate) fn program(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FlashError> {
        let unit = unit(&self.geometry);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let blank = run_len(rest, unit - self.within_unit(at), unit, true);
            let (blank, used) = rest.split_at(blank);
            let first = unit - self.within_unit(at + blank.len() as u64);
            let (run, next) = used.split_at(run_len(used, first, unit, false));
            at += blank.len() as u64;
            if !run.is_empty() {
                self.flash.program(at, run)?;
                self.report.programmed += run.len() as u64;
            }
            at += run.len() as u64;
            rest = next;
        }
        Ok(())
    }

    /// Erases and programs an eraseblock with patterns; whether it took and kept them. Its content is lost.
    pub(crate) fn torture(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        self.report.tortured.push(eraseblock);
        let mut passed = true;
        for pattern in TORTURE_PATTERNS {
            passed = passed && self.takes(eraseblock, pattern)?;
        }
        self.tell(Event::Tortured { eraseblock, passed });
        Ok(passed)
    }

    fn takes(&mut self, eraseblock: u32, pattern: u8) -> Result<bool, FlashError> {
        let erased = self.erase(eraseblock);
        if Trouble::of(erased)?.is_some() || self.compare_fill(eraseblock, 0xff)?.trouble().is_some() {
            return Ok(false);
        }
        let mut piece = std::mem::take(&mut self.piece);
        piece.fill(pattern);
        let filled = self.fill(eraseblock, &piece);
        self.piece = piece;
        Ok(Trouble::of(filled)?.is_none() && self.compare_fill(eraseblock, pattern)?.trouble().is_none())
    }

    fn fill(&mut self, eraseblock: u32, piece: &[u8]) -> Result<(), FlashError> {
        let mut at = self.geometry.offset_of(eraseblock);
        let end = at + u64::from(self.geometry.eraseblock_size);
        while at < end {
            let count = shorter(piece.len(), end - at);
            self.program(at, piece.get(..count).unwrap_or_default())?;
            at += count as u64;
        }
        Ok(())
    }

    /// Marks an eraseblock bad.
    pub(crate) fn mark_bad(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        self.flash.mark_bad(eraseblock)?;
        self.report.went_bad.push(eraseblock);
        self.tell(Event::WentBad { eraseblock });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flashwright_media::FlashKind;

    use super::*;

    #[test]
    fn blank_units_are_left_out() {
        let geometry = |page_size| FlashGeometry {
            kind: FlashKind::Nor,
            eraseblock_size: 0x1_0000,
            eraseblock_count: 1,
            page_size,
            sub_page_size: page_size,
        };
        let units = [1, 2, 32, 256, 512, 2048].map(|page| unit(&geometry(page)));
        assert_eq!(units, [256, 256, 256, 256, 512, 2048]);
        let mut bytes = vec![0xff; 1000];
        assert_eq!((run_len(&bytes, 256, 256, true), bytes_to_program(&bytes, 256)), (1000, 0));
        bytes[999] = 0;
        assert_eq!((run_len(&bytes, 256, 256, true), bytes_to_program(&bytes, 256)), (768, 232));
        assert_eq!((run_len(&bytes, 240, 256, true), run_len(&bytes, 240, 256, false)), (752, 0));
        assert_eq!(
            (run_len(&bytes[760..], 240, 256, false), run_len(&bytes[760..], 239, 256, false)),
            (240, 0)
        );
        assert_eq!(run_len(&bytes[990..], 240, 256, false), 10);
    }
}
