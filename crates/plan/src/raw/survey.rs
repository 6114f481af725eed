//! Looks at image and device, and decides.

use flashwright_media::{Flash, FlashKind};

use super::area::{Area, Options};
use super::chunks::Chunks;
use super::judge::Judge;
use crate::bytes::fingerprint;
use crate::device::{Device, bytes_to_program, count, unit};
use crate::error::{Error, Refusal};
use crate::event::{OnEvent, Phase};
use crate::report::Report;
use crate::source::Source;

/// What happens to an eraseblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Nothing: its content is right.
    Keep,
    /// It is erased and programmed: its content differs, or cannot be read.
    Write,
    /// It is erased and programmed: its content is right, but the device calls it worn.
    Refresh,
    /// The first eraseblock of the image, whose content is right: erased before others are touched, and programmed last.
    Invalidate,
}

/// What is known of one eraseblock of the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact {
    pub(super) action: Action,
    /// Of the content, to notice an image that changes; `None` where it is not looked at again.
    pub(super) fingerprint: Option<u32>,
    /// Bytes that are not blank, in whole units; of what stays, 0.
    pub(super) used: u32,
}

/// One eraseblock of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its number on the device.
    pub eraseblock: u32,
    /// What happens to it.
    pub action: Action,
    /// Bytes programmed.
    pub programmed: u32,
}

/// What it takes to have an image on a device.
#[derive(Debug)]
pub struct WritePlan {
    pub(super) options: Options,
    pub(super) area: Area,
    pub(super) image_len: u64,
    /// Eraseblocks of the image.
    pub(super) count: u32,
    /// For each of those; none for a pipe.
    pub(super) facts: Vec<Fact>,
    is_pipe: bool,
    eraseblock_size: u32,
    locked: u32,
    tail_lost: u64,
    refusals: Vec<Refusal>,
}

/// Looks at a device and an image, of which a pipe is not read yet, and says what has to be done. Nothing is changed.
///
/// # Errors
/// [`Error::Flash`], [`Error::Source`], and [`Error::Stopped`] when it was asked to stop.
pub fn plan_write(
    flash: &mut dyn Flash,
    source: &mut dyn Source,
    options: &Options,
    on_event: OnEvent<'_>,
) -> Result<WritePlan, Box<Error>> {
    let mut report = Report::default();
    let mut device = Device::new(flash, &mut report, on_event);
    let mut plan = WritePlan {
        options: options.clone(),
        area: Area::default(),
        image_len: source.len(),
        count: 0,
        facts: Vec::new(),
        is_pipe: source.is_pipe(),
        eraseblock_size: device.geometry().eraseblock_size,
        locked: 0,
        tail_lost: 0,
        refusals: Vec::new(),
    };
    match Area::look_for(&mut device, options, plan.image_len)? {
        Ok(found) => (plan.area, plan.count) = found,
        Err(refusal) => {
            plan.refusals.push(refusal);
            return Ok(plan);
        }
    }
    if !plan.is_pipe {
        plan.survey(&mut device, source)?;
    }
    plan.count_locked(&mut device)?;
    Ok(plan)
}

impl WritePlan {
    fn survey(&mut self, device: &mut Device<'_>, source: &mut dyn Source) -> Result<(), Box<Error>> {
        let mut chunks = Chunks::new(source, self.eraseblock_size, self.options.sha256.is_some());
        let mut judge = Judge::default();
        self.facts.reserve_exact(self.count as usize);
        for number in 0..self.count {
            self.look_at(device, &mut chunks, &mut judge, number)?;
            device.progress(Phase::Survey, number + 1, self.count);
            if device.stopping() {
                return Err(Error::Stopped.into());
            }
        }
        if judge.suspects_first() {
            chunks.load(0)?;
            let action = Judge::look_again(device, self.offset_of(device, 0), chunks.bytes())?;
            self.set_first(action);
        } else if self.facts.iter().skip(1).any(|fact| fact.action != Action::Keep) {
            self.set_first(Action::Invalidate);
        }
        self.check_digest(&chunks);
        Ok(())
    }

    /// A reason to erase the first eraseblock; one that is there already stays.
    fn set_first(&mut self, action: Action) {
        if let Some(first) = self.facts.first_mut().filter(|first| first.action == Action::Keep) {
            first.action = action;
        }
    }

    fn offset_of(&self, device: &Device<'_>, number: u32) -> u64 {
        // A u32 fits a usize wherever there is flash of that size.
        self.area.good.get(number as usize).map_or(0, |&eraseblock| device.geometry().offset_of(eraseblock))
    }

    fn look_at(
        &mut self,
        device: &mut Device<'_>,
        chunks: &mut Chunks<'_>,
        judge: &mut Judge,
        number: u32,
    ) -> Result<(), Box<Error>> {
        chunks.load(number)?;
        let offset = self.offset_of(device, number);
        let action = judge.judge(device, number, offset, chunks.bytes())?;
        // What stays is there for good, unless the first eraseblock must go, or one goes bad and all behind it move.
        let geometry = device.geometry();
        let stays = action == Action::Keep && number > 0 && geometry.kind != FlashKind::Nand;
        let fingerprint = (!stays).then(|| fingerprint(chunks.bytes()));
        let used = if stays { 0 } else { count(bytes_to_program(chunks.bytes(), unit(geometry))) };
        self.facts.push(Fact { action, fingerprint, used });
        let tail = (chunks.bytes().len() - chunks.used().len()) as u64;
        if tail > 0 && action == Action::Write {
            let end = offset + chunks.used().len() as u64;
            self.tail_lost = device.count_used(end, tail)?;
        }
        Ok(())
    }

    fn check_digest(&mut self, chunks: &Chunks<'_>) {
        let (Some(expected), Some(found)) = (self.options.sha256, chunks.digest()) else { return };
        if expected != found {
            self.refusals.push(Refusal::new("sha256", Error::Digest { expected, found }.to_string()));
        }
    }

    fn count_locked(&mut self, device: &mut Device<'_>) -> Result<(), Box<Error>> {
        let mut locked = 0;
        for step in self.steps().filter(|step| step.action != Action::Keep) {
            locked += u32::from(device.is_locked(step.eraseblock)?);
        }
        self.locked = locked;
        Ok(())
    }

    /// What cannot end well. With one of these, [`execute`](Self::execute) does nothing.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Whether each eraseblock was looked at. `false` for a pipe: then all are taken to differ, and are looked at when
    /// their turn comes.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        !self.is_pipe
    }

    /// What happens to each eraseblock of the image, in the image's order.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        // A u32 fits a usize wherever there is flash of that size.
        let places = self.area.good.iter().take(self.count as usize).enumerate();
        places.map(|(number, &eraseblock)| match self.facts.get(number) {
            Some(fact) if fact.action == Action::Keep => {
                Step { eraseblock, action: Action::Keep, programmed: 0 }
            }
            Some(fact) => Step { eraseblock, action: fact.action, programmed: fact.used },
            None => Step { eraseblock, action: Action::Write, programmed: self.eraseblock_size },
        })
    }

    /// Erases, each of one eraseblock. Each adds one to the count of its eraseblock.
    #[must_use]
    pub fn erases(&self) -> u64 {
        self.steps().filter(|step| step.action != Action::Keep).count() as u64
    }

    /// Eraseblocks that stay as they are.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.steps().filter(|step| step.action == Action::Keep).count() as u64
    }

    /// Bytes that are programmed.
    #[must_use]
    pub fn programmed(&self) -> u64 {
        self.steps().map(|step| u64::from(step.programmed)).sum()
    }

    /// Good eraseblocks behind the image: as many can go bad until it does not fit any more.
    #[must_use]
    pub fn spare(&self) -> u64 {
        (self.area.good.len() as u64).saturating_sub(self.count.into())
    }

    /// Bad eraseblocks in the area.
    #[must_use]
    pub const fn bad(&self) -> u32 {
        self.area.bad
    }

    /// Eraseblocks that have to be unlocked, as far as the device tells.
    #[must_use]
    pub const fn locked(&self) -> u32 {
        self.locked
    }

    /// Bytes behind the image's end in its last eraseblock that are not 0xFF now, and will be. 0 where that is not known,
    /// as for a pipe.
    #[must_use]
    pub const fn tail_lost(&self) -> u64 {
        self.tail_lost
    }

    /// Nanoseconds that [`execute`](Self::execute) takes, about; `None` without [`Options::costs`].
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        let (erases, size) = (self.erases(), u64::from(self.eraseblock_size));
        let looked = if self.is_pipe { size * u64::from(self.count) } else { 0 };
        let verified = if self.options.verify { erases * size } else { 0 };
        self.options.costs.estimate(erases, self.programmed(), looked + verified)
    }
}
