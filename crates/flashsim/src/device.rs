//! The device as its users see it: [`Flash`].

use std::io;

use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashKind, FlashOp};

use crate::cut::{Cut, Interruption};
use crate::simulation::{Fault, Simulation, Violation};

/// Violations that are kept; a caller that goes on after these has made its point.
const MOST_VIOLATIONS: usize = 100;

/// What an operation may do.
enum Power {
    /// All of it.
    On,
    /// This much, and then nothing is left.
    Cut(Interruption),
}

impl Simulation {
    fn violate(&mut self, violation: Violation) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    fn error(op: FlashOp, offset: u64, fault: FlashFault) -> FlashError {
        FlashError::new(op, offset, fault)
    }

    fn off(op: FlashOp, offset: u64) -> FlashError {
        Self::error(op, offset, FlashFault::Device(io::Error::other("the power is off")))
    }

    fn check_power(&self, op: FlashOp, offset: u64) -> Result<(), FlashError> {
        if self.powered { Ok(()) } else { Err(Self::off(op, offset)) }
    }

    /// Begins an operation.
    fn begin(&mut self) -> Power {
        self.operations += 1;
        let Some((left, how)) = &mut self.cut else { return Power::On };
        *left -= 1;
        if *left > 0 {
            return Power::On;
        }
        let how = how.choose(&mut self.random);
        (self.cut, self.powered) = (None, false);
        Power::Cut(how)
    }

    /// An eraseblock that exists, or the error of asking for one that does not.
    fn check_range(&mut self, op: FlashOp, offset: u64) -> Result<(u32, usize), FlashError> {
        self.check_power(op, offset)?;
        self.locate(offset).ok_or_else(|| {
            self.violate(Violation::OutOfRange { offset });
            let past = io::Error::new(io::ErrorKind::InvalidInput, "past the end of the device");
            Self::error(op, offset, FlashFault::Device(past))
        })
    }

    /// An eraseblock that may be erased or programmed.
    fn check_writable(&mut self, op: FlashOp, offset: u64) -> Result<(u32, usize), FlashError> {
        let (eraseblock, at) = self.check_range(op, offset)?;
        let cells = self.cells(eraseblock);
        let fault = match (cells.bad, cells.locked) {
            (true, _) => FlashFault::Bad,
            (_, true) => FlashFault::Locked,
            _ => return Ok((eraseblock, at)),
        };
        if matches!(fault, FlashFault::Bad) {
            self.violate(Violation::TouchedBad { offset: self.geometry.offset_of(eraseblock) });
        }
        Err(Self::error(op, offset, fault))
    }

    fn cut(&mut self, eraseblock: u32, job: impl FnOnce(&mut Cut<'_>, &mut crate::cells::Cells)) {
        let (kind, ecc, page) = (self.geometry.kind, self.ecc, self.unit());
        let mut random = self.random.clone();
        job(&mut Cut { kind, ecc, page, random: &mut random }, self.cells_mut(eraseblock));
        self.random = random;
    }

    fn fails(&self, eraseblock: u32) -> Option<Fault> {
        let cells = self.cells(eraseblock);
        self.faults.get(&eraseblock).copied().filter(|fault| match *fault {
            Fault::Erase(from) => cells.erases >= from,
            Fault::Program(from) | Fault::ProgramSilently(from) => cells.programs >= from,
            Fault::EraseOnce(number) => cells.erases == number,
            Fault::ProgramOnce(number) => cells.programs == number,
        })
    }

    /// Programs one page, write buffer, or part of one.
    fn program_unit(&mut self, eraseblock: u32, at: usize, bytes: &[u8]) -> Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock) + at as u64;
        self.elapsed += self.timing.program_ns;
        let new = self.combine(eraseblock, at, bytes);
        let how = match self.begin() {
            Power::On => None,
            Power::Cut(how) => Some(how),
        };
        if how != Some(Interruption::NotBegun) {
            self.cells_mut(eraseblock).programs += 1;
            self.claim(eraseblock, at, bytes.len());
        }
        let fault = self.fails(eraseblock);
        match (how, fault) {
            (Some(how), _) => {
                self.cut(eraseblock, |cut, cells| cut.program(cells, at, &new, how));
                Err(Self::off(FlashOp::Program, offset))
            }
            (None, Some(Fault::Program(_) | Fault::ProgramOnce(_))) => {
                self.cut(eraseblock, |cut, cells| cut.program(cells, at, &new, Interruption::Half));
                Err(Self::error(FlashOp::Program, offset, FlashFault::Failed))
            }
            (None, Some(Fault::ProgramSilently(_))) => {
                self.cut(eraseblock, |cut, cells| cut.program(cells, at, &new, Interruption::Half));
                Ok(())
            }
            _ => {
                self.settle(eraseblock, at, &new);
                Ok(())
            }
        }
    }

    /// What cells hold after `bytes` are programmed onto them; notes what must not be.
    fn combine(&mut self, eraseblock: u32, at: usize, bytes: &[u8]) -> Vec<u8> {
        let offset = self.geometry.offset_of(eraseblock) + at as u64;
        if self.geometry.kind == FlashKind::Ram {
            return bytes.to_vec();
        }
        // Zeros go onto any NOR, and last until the erase that they are for.
        let is_mark = self.geometry.kind == FlashKind::Nor && bytes.iter().all(|&byte| byte == 0);
        if self.cells(eraseblock).half_erased && !is_mark {
            self.violate(Violation::ProgrammedHalfErased { offset });
        }
        if self.geometry.kind == FlashKind::Nand {
            self.check_order(eraseblock, at, bytes.len());
        }
        let old = &self.cells(eraseblock).bytes[at..at + bytes.len()];
        let set = old.iter().zip(bytes).position(|(old, new)| !old & new != 0);
        let new = old.iter().zip(bytes).map(|(old, new)| old & new).collect();
        if let (Some(set), FlashKind::Nor) = (set, self.geometry.kind) {
            self.violate(Violation::SetsBit { offset: offset + set as u64 });
        }
        new
    }

    fn check_order(&mut self, eraseblock: u32, at: usize, len: usize) {
        // For hosts: a u32 fits a usize.
        let (page, sub_page) = (self.geometry.page_size as usize, self.geometry.sub_page_size as usize);
        let base = self.geometry.offset_of(eraseblock);
        let programmed = &self.cells(eraseblock).programmed;
        let next_page = (at / page + 1) * page / sub_page;
        let behind = programmed.iter().skip(next_page).any(|&programmed| programmed);
        let twice = (at / sub_page..(at + len) / sub_page).find(|&index| programmed[index]);
        if behind {
            self.violate(Violation::OutOfOrder { offset: base + at as u64 });
        }
        if let Some(index) = twice {
            self.violate(Violation::ProgrammedTwice { offset: base + (index * sub_page) as u64 });
            // The page is garbage now, more than the error correction can put right.
            let count = self.ecc.strength + 1;
            self.flip(base + at as u64, count);
        }
    }

    fn claim(&mut self, eraseblock: u32, at: usize, len: usize) {
        let sub_page = self.geometry.sub_page_size as usize;
        if self.geometry.kind == FlashKind::Nand {
            self.cells_mut(eraseblock).programmed[at / sub_page..(at + len) / sub_page].fill(true);
        }
    }

    /// All of `new` is stored there now.
    fn settle(&mut self, eraseblock: u32, at: usize, new: &[u8]) {
        let kind = self.geometry.kind;
        let cells = self.cells_mut(eraseblock);
        cells.bytes[at..at + new.len()].copy_from_slice(new);
        let hanging = cells.unstable[at..at + new.len()].iter_mut().zip(new);
        match kind {
            FlashKind::Nand => {}
            // A bit that is driven to 0 does not hang any more; one that is left alone does.
            FlashKind::Nor => hanging.for_each(|(unstable, new)| *unstable &= new),
            _ => hanging.for_each(|(unstable, _)| *unstable = 0),
        }
    }

    /// Locks or unlocks eraseblocks, and those that share their areas, in one operation.
    fn lock_range(&mut self, first: u32, count: u32, locked: bool) -> Result<(), FlashError> {
        let offset = self.geometry.offset_of(first);
        self.check_range(FlashOp::Lock, offset)?;
        let Some(area) = self.lock_area else {
            return Err(Self::error(FlashOp::Lock, offset, FlashFault::Unsupported));
        };
        let past = (first + count).next_multiple_of(area).min(self.geometry.eraseblock_count);
        let range = first - first % area..past;
        let after = |number: u32| if range.contains(&number) { locked } else { self.locked(number) };
        let starts = |number: &u32| after(*number) && (*number == 0 || !after(*number - 1));
        if self.one_lock && (0..self.geometry.eraseblock_count).filter(starts).count() > 1 {
            let two = io::Error::new(io::ErrorKind::InvalidInput, "the chip has one protected range only");
            return Err(Self::error(FlashOp::Lock, offset, FlashFault::Device(two)));
        }
        let power = self.begin();
        if !matches!(power, Power::Cut(Interruption::NotBegun | Interruption::BarelyBegun)) {
            range.for_each(|number| self.cells_mut(number).locked = locked);
        }
        if let Power::Cut(_) = power { Err(Self::off(FlashOp::Lock, offset)) } else { Ok(()) }
    }

    fn read_part(&mut self, offset: u64, into: &mut [u8]) -> Result<EccStats, FlashError> {
        let (eraseblock, at) = self.check_range(FlashOp::Read, offset)?;
        self.elapsed += self.timing.read_ns;
        let range = at..at + into.len();
        let mut random = self.random.clone();
        let cells = self.cells(eraseblock);
        let result = if self.geometry.kind == FlashKind::Nand {
            let size = self.geometry.page_size as usize;
            let page = at - at % size..at - at % size + size;
            let noise = u32::from(self.noise > 0 && random.below(1000) < self.noise as usize);
            let read = cells.read_page(page, range, into, self.ecc, noise, &mut random);
            if read.correctable { Ok(read.ecc) } else { Err(FlashFault::Uncorrectable) }
        } else {
            cells.read_raw(range, into, &mut random);
            Ok(EccStats::default())
        };
        self.random = random;
        result.map_err(|fault| Self::error(FlashOp::Read, offset, fault))
    }
}

impl Flash for Simulation {
    fn geometry(&self) -> FlashGeometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<EccStats, FlashError> {
        self.check_power(FlashOp::Read, offset)?;
        let (mut all, mut failed) = (EccStats::default(), None);
        let (mut at, mut rest) = (offset, bytes);
        let unit = self.unit();
        while !rest.is_empty() {
            // What is left of the page is less than it.
            let place = self.check_range(FlashOp::Read, at)?.1 % unit;
            let (part, next) = rest.split_at_mut(rest.len().min(unit - place));
            match self.read_part(at, part) {
                Ok(ecc) => all = all.and(ecc),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
            at += part.len() as u64;
            rest = next;
        }
        failed.map_or(Ok(all), Err)
    }

    fn erase(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock);
        self.check_writable(FlashOp::Erase, offset)?;
        self.elapsed += self.timing.erase_ns;
        if let Power::Cut(how) = self.begin() {
            self.cut(eraseblock, |cut, cells| cut.erase(cells, how));
            return Err(Self::off(FlashOp::Erase, offset));
        }
        let cells = self.cells_mut(eraseblock);
        cells.erases += 1;
        if matches!(self.fails(eraseblock), Some(Fault::Erase(_) | Fault::EraseOnce(_))) {
            self.cut(eraseblock, |cut, cells| {
                cut.erase(cells, Interruption::Half);
                cells.erases -= 1;
                cells.cut_erases -= 1;
            });
            return Err(Self::error(FlashOp::Erase, offset, FlashFault::Failed));
        }
        self.cells_mut(eraseblock).wipe();
        Ok(())
    }

    fn program(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FlashError> {
        let (eraseblock, at) = self.check_writable(FlashOp::Program, offset)?;
        let (sub_page, size) = (self.geometry.sub_page_size as usize, self.geometry.eraseblock_size as usize);
        let whole = at.is_multiple_of(sub_page) && bytes.len().is_multiple_of(sub_page);
        if !whole || size - at < bytes.len() {
            self.violate(Violation::Misaligned { offset, len: bytes.len() });
            let fault = io::Error::new(io::ErrorKind::InvalidInput, "no whole sub-pages of one eraseblock");
            return Err(Self::error(FlashOp::Program, offset, FlashFault::Device(fault)));
        }
        let (mut at, mut rest) = (at, bytes);
        let unit = self.unit();
        while !rest.is_empty() {
            let (part, next) = rest.split_at(rest.len().min(unit - at % unit));
            self.program_unit(eraseblock, at, part)?;
            at += part.len();
            rest = next;
        }
        Ok(())
    }

    fn is_bad(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        self.check_range(FlashOp::AskBad, self.geometry.offset_of(eraseblock))?;
        Ok(self.cells(eraseblock).bad)
    }

    fn mark_bad(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock);
        self.check_range(FlashOp::MarkBad, offset)?;
        if self.geometry.kind != FlashKind::Nand {
            return Err(Self::error(FlashOp::MarkBad, offset, FlashFault::Unsupported));
        }
        match self.begin() {
            Power::On => self.cells_mut(eraseblock).bad = true,
            Power::Cut(how) => {
                // A mark is there or not: few bits of it are enough.
                let marked = matches!(how, Interruption::Complete | Interruption::AlmostComplete);
                self.cells_mut(eraseblock).bad |= marked;
                return Err(Self::off(FlashOp::MarkBad, offset));
            }
        }
        Ok(())
    }

    fn is_locked(&mut self, eraseblock: u32) -> Result<Option<bool>, FlashError> {
        self.check_range(FlashOp::Lock, self.geometry.offset_of(eraseblock))?;
        let tells = self.lock_area.is_some() && self.tells_locks;
        Ok(tells.then_some(self.cells(eraseblock).locked))
    }

    fn set_locked(&mut self, eraseblock: u32, locked: bool) -> Result<(), FlashError> {
        self.lock_range(eraseblock, 1, locked)
    }

    fn set_range_locked(&mut self, first: u32, count: u32, locked: bool) -> Result<(), FlashError> {
        if self.one_lock {
            return self.lock_range(first, count, locked);
        }
        let mut all = first..first + count;
        all.try_for_each(|eraseblock| self.lock_range(eraseblock, 1, locked))
    }
}
