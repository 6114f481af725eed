//! Does what a plan says.

use flashwright_media::{Flash, FlashError, FlashKind};

use super::chunks::Chunks;
use super::judge::Judge;
use super::survey::{Action, WritePlan};
use crate::bytes::fingerprint;
use crate::device::{Device, Trouble, count};
use crate::error::Error;
use crate::event::{Event, OnEvent, Phase};
use crate::report::{Ending, Report};
use crate::source::Source;

/// How one pass over the image ended.
enum Pass {
    Ended(Ending),
    /// The first eraseblock went bad, so everything has to move.
    Moved,
}

/// Where an eraseblock of the image is now.
#[derive(PartialEq, Eq)]
enum Place {
    /// Where it was to be.
    Same,
    /// In the next one, since that one went bad.
    Next,
}

/// Something done to an eraseblock, given its number; the trouble it had.
type Job<'j> = &'j mut dyn FnMut(&mut Device<'_>, u32) -> Result<Option<Trouble>, FlashError>;

struct Writer<'a> {
    plan: &'a WritePlan,
    device: Device<'a>,
    chunks: Chunks<'a>,
    /// Good eraseblocks of the area that are left.
    good: Vec<u32>,
    /// Whether the plan's decisions hold: not for a pipe, nor once something has moved.
    decided: bool,
}

impl WritePlan {
    /// Does what the plan says. `flash` and `source` have to be those that were looked at. `report` says what was done, also
    /// after an error.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Stopped`]. Once an eraseblock was touched, the first one of the image is erased, so that
    /// nothing half-written starts; the same command goes on from there.
    pub fn execute(
        &self,
        flash: &mut dyn Flash,
        source: &mut dyn Source,
        report: &mut Report,
        on_event: OnEvent<'_>,
    ) -> Result<Ending, Box<Error>> {
        if let Some(refusal) = self.refusals().first() {
            return Err(Error::Refused(refusal.clone()).into());
        }
        if source.len() != self.image_len {
            return Err(Error::Changed { offset: 0, len: source.len() }.into());
        }
        let device = Device::new(flash, report, on_event);
        let size = device.geometry().eraseblock_size;
        let hashing = source.is_pipe() && self.options.sha256.is_some();
        let chunks = Chunks::new(source, size, hashing);
        let good = self.area.good.clone();
        let mut writer = Writer { plan: self, device, chunks, good, decided: self.is_decided() };
        let result = writer.run();
        // Also after an error, of which the first one is what matters.
        let locked = writer.device.relock();
        let ending = result?;
        locked?;
        Ok(ending)
    }
}

impl Writer<'_> {
    fn run(&mut self) -> Result<Ending, Box<Error>> {
        loop {
            let first = self.eraseblock(0)?;
            match self.pass()? {
                Pass::Ended(ending) => return Ok(ending),
                Pass::Moved if self.chunks.is_pipe() => {
                    let offset = self.device.geometry().offset_of(first);
                    return Err(Error::Again { eraseblock: first, offset }.into());
                }
                Pass::Moved => self.decided = false,
            }
        }
    }

    fn pass(&mut self) -> Result<Pass, Box<Error>> {
        let total = self.plan.count;
        let mut judge = Judge::default();
        let mut kept = 0;
        let mut first = self.action(0, &mut judge)?;
        let mut erased = false;
        for number in 1..total {
            if self.device.stopping() {
                return Ok(Pass::Ended(Ending::Stopped));
            }
            if self.action(number, &mut judge)? == Action::Keep {
                kept += 1;
            } else {
                if !erased && self.invalidate()? == Place::Next {
                    return Ok(Pass::Moved);
                }
                erased = true;
                self.put(number, false)?;
            }
            self.device.report.kept = kept;
            self.device.progress(Phase::Write, number, total);
        }
        self.check_digest()?;
        if !self.decided && judge.suspects_first() {
            first = self.look_again()?;
        }
        if !erased && first == Action::Keep {
            self.device.report.kept = kept + 1;
        } else if self.device.stopping() {
            return Ok(Pass::Ended(Ending::Stopped));
        } else if self.put(0, erased)? == Place::Next {
            return Ok(Pass::Moved);
        }
        self.device.progress(Phase::Write, total, total);
        Ok(Pass::Ended(Ending::Done))
    }

    /// Where eraseblock `number` of the image goes.
    fn eraseblock(&self, number: u32) -> Result<u32, Box<Error>> {
        let needed = self.plan.count;
        let left = count(self.good.len());
        let went_bad = count(self.device.report.went_bad.len());
        // A u32 fits a usize wherever there is flash of that size.
        let place = self.good.get(number as usize).copied().filter(|_| left >= needed);
        place.ok_or_else(|| Error::NoRoom { needed, left, went_bad }.into())
    }

    /// What happens to eraseblock `number`: as planned, or by looking at it.
    fn action(&mut self, number: u32, judge: &mut Judge) -> Result<Action, Box<Error>> {
        match self.plan.facts.get(number as usize) {
            Some(fact) if self.decided => Ok(fact.action),
            _ => {
                self.load(number)?;
                let offset = self.device.geometry().offset_of(self.eraseblock(number)?);
                Ok(judge.judge(&mut self.device, number, offset, self.chunks.bytes())?)
            }
        }
    }

    fn look_again(&mut self) -> Result<Action, Box<Error>> {
        self.load(0)?;
        let offset = self.device.geometry().offset_of(self.eraseblock(0)?);
        Ok(Judge::look_again(&mut self.device, offset, self.chunks.bytes())?)
    }

    /// Has eraseblock `number` of the image in memory, the one that was looked at.
    fn load(&mut self, number: u32) -> Result<(), Box<Error>> {
        self.chunks.load(number)?;
        let fact = self.plan.facts.get(number as usize);
        let known = fact.and_then(|fact| fact.fingerprint);
        if known.is_some_and(|known| fingerprint(self.chunks.bytes()) != known) {
            let (offset, len) = self.chunks.place(number);
            return Err(Error::Changed { offset, len }.into());
        }
        Ok(())
    }

    fn check_digest(&self) -> Result<(), Box<Error>> {
        Error::check_digest(self.plan.options.sha256, self.chunks.digest())
    }

    /// Erases the first eraseblock of the image.
    fn invalidate(&mut self) -> Result<Place, Box<Error>> {
        let verify = self.plan.options.verify;
        self.settle(0, &mut |device, eraseblock| {
            let trouble = erase(device, eraseblock, start_len(device))?;
            if trouble.is_some() || !verify {
                return Ok(trouble);
            }
            Ok(device.compare_fill(eraseblock, 0xff)?.trouble())
        })
    }

    /// Erases, programs and reads back eraseblock `number` of the image. With `erased`, the one it goes to was erased in
    /// this run.
    fn put(&mut self, number: u32, mut erased: bool) -> Result<Place, Box<Error>> {
        self.load(number)?;
        // Taken out for the time, as the job must not borrow the writer.
        let bytes = self.chunks.take();
        let verify = self.plan.options.verify;
        let place = self.settle(number, &mut |device, eraseblock| {
            let start = if number == 0 { start_len(device) } else { 0 };
            if !std::mem::take(&mut erased)
                && let Some(trouble) = erase(device, eraseblock, start)?
            {
                return Ok(Some(trouble));
            }
            let (start, rest) = bytes.split_at(start.min(bytes.len()));
            let offset = device.geometry().offset_of(eraseblock);
            match store(device, offset + start.len() as u64, rest, verify)? {
                None => store(device, offset, start, verify),
                trouble => Ok(trouble),
            }
        });
        self.chunks.give_back(bytes);
        let place = place?;
        if number > 0 || place == Place::Same {
            self.device.report.written += 1;
            self.device.report.verified += u32::from(verify);
        }
        Ok(place)
    }

    /// Does a job on the place of eraseblock `number` until it succeeds, there or in the next good one. Not the next one
    /// for eraseblock 0, as all others have to move with it.
    fn settle(&mut self, number: u32, job: Job<'_>) -> Result<Place, Box<Error>> {
        let mut place = Place::Same;
        loop {
            let eraseblock = self.eraseblock(number)?;
            let Some(trouble) = job(&mut self.device, eraseblock)? else { return Ok(place) };
            self.device.tell(Event::Failed { eraseblock });
            let Some(trouble) = self.second_try(eraseblock, trouble, job)? else { return Ok(place) };
            if !trouble.is_marked() {
                if self.device.geometry().kind != FlashKind::Nand {
                    return Err(trouble.into_error(eraseblock));
                }
                self.device.mark_bad(eraseblock)?;
            }
            self.good.remove(number as usize);
            self.decided = false;
            place = Place::Next;
            if number == 0 {
                return Ok(place);
            }
        }
    }

    /// Does the job once more, on NAND only when the eraseblock stands torture. The trouble that is left.
    fn second_try(
        &mut self,
        eraseblock: u32,
        trouble: Trouble,
        job: Job<'_>,
    ) -> Result<Option<Trouble>, FlashError> {
        let is_nand = self.device.geometry().kind == FlashKind::Nand;
        if trouble.is_marked() || is_nand && !self.device.torture(eraseblock)? {
            return Ok(Some(trouble));
        }
        job(&mut self.device, eraseblock)
    }
}

/// Bytes by which a boot loader, or a kernel, knows that an image begins.
const MAGIC: u32 = 4;

/// Bytes of the first eraseblock that are programmed after all others, so that what is half-written does not start. NAND wants
/// its pages in order: none there.
fn start_len(device: &Device<'_>) -> usize {
    let geometry = device.geometry();
    let page = geometry.page_size.max(1);
    // At most a page, or a few.
    if geometry.kind == FlashKind::Nand { 0 } else { MAGIC.next_multiple_of(page) as usize }
}

/// Erases an eraseblock; where it has a start, that is gone first.
fn erase(device: &mut Device<'_>, eraseblock: u32, start: usize) -> Result<Option<Trouble>, FlashError> {
    if start > 0 {
        device.invalidate(eraseblock, 0, &[0; MAGIC as usize])?;
    }
    Trouble::of(device.erase(eraseblock))
}

/// Programs what is erased and reads it back.
fn store(
    device: &mut Device<'_>,
    offset: u64,
    bytes: &[u8],
    verify: bool,
) -> Result<Option<Trouble>, FlashError> {
    let programmed = Trouble::of(device.program(offset, bytes))?;
    if programmed.is_some() || !verify {
        return Ok(programmed);
    }
    Ok(device.read_back(offset, bytes)?.trouble())
}
