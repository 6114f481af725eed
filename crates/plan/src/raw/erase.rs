//! Erases an area.

use flashwright_media::{Flash, FlashError, FlashKind};

use super::area::{Area, Options};
use crate::device::{Device, Trouble, count};
use crate::error::{Error, Refusal};
use crate::event::{Event, OnEvent, Phase};
use crate::report::{Ending, Report};

/// What it takes to erase an area.
#[derive(Debug)]
pub struct ErasePlan {
    options: Options,
    area: Area,
    locked: u32,
    refusals: Vec<Refusal>,
}

/// Looks at the area that [`Options`] give. Nothing is changed.
///
/// All good eraseblocks are erased, also those that read as erased: the erase that made them so may have been interrupted.
///
/// # Errors
/// [`Error::Flash`].
pub fn plan_erase(flash: &mut dyn Flash, options: &Options) -> Result<ErasePlan, Box<Error>> {
    let mut report = Report::default();
    let mut quiet = |_| std::ops::ControlFlow::Continue(());
    let mut device = Device::new(flash, &mut report, &mut quiet);
    let mut plan =
        ErasePlan { options: options.clone(), area: Area::default(), locked: 0, refusals: Vec::new() };
    match Area::look(&mut device, options)? {
        Ok(area) => plan.area = area,
        Err(refusal) => plan.refusals.push(refusal),
    }
    for &eraseblock in &plan.area.good {
        plan.locked += u32::from(device.is_locked(eraseblock)?);
    }
    Ok(plan)
}

impl ErasePlan {
    /// What cannot end well. With one of these, [`execute`](Self::execute) does nothing.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Numbers of the eraseblocks that are erased, in order.
    #[must_use]
    pub fn eraseblocks(&self) -> &[u32] {
        &self.area.good
    }

    /// Bad eraseblocks in the area, which stay as they are.
    #[must_use]
    pub const fn bad(&self) -> u32 {
        self.area.bad
    }

    /// Eraseblocks that have to be unlocked, as far as the device tells.
    #[must_use]
    pub const fn locked(&self) -> u32 {
        self.locked
    }

    /// Nanoseconds that [`execute`](Self::execute) takes, about; `None` without [`Options::costs`].
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        let (start, end) = self.area.range;
        let read = if self.options.verify { end - start } else { 0 };
        self.options.costs.estimate(self.area.good.len() as u64, 0, read)
    }

    /// Erases, the first eraseblock first; each is read back. One that fails is tried once more, then on NAND marked bad.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Flash`], [`Error::Mismatch`].
    pub fn execute(
        &self,
        flash: &mut dyn Flash,
        report: &mut Report,
        on_event: OnEvent<'_>,
    ) -> Result<Ending, Box<Error>> {
        if let Some(refusal) = self.refusals.first() {
            return Err(Error::Refused(refusal.clone()).into());
        }
        let mut device = Device::new(flash, report, on_event);
        let result = self.run(&mut device);
        let locked = device.relock();
        let ending = result?;
        locked?;
        Ok(ending)
    }

    fn run(&self, device: &mut Device<'_>) -> Result<Ending, Box<Error>> {
        let total = count(self.area.good.len());
        for (done, &eraseblock) in (1..).zip(&self.area.good) {
            if device.stopping() {
                return Ok(Ending::Stopped);
            }
            self.erase(device, eraseblock)?;
            device.progress(Phase::Erase, done, total);
        }
        Ok(Ending::Done)
    }

    fn erase(&self, device: &mut Device<'_>, eraseblock: u32) -> Result<(), Box<Error>> {
        let Some(trouble) = self.try_erase(device, eraseblock)? else { return Ok(()) };
        device.tell(Event::Failed { eraseblock });
        if trouble.is_marked() {
            return Ok(());
        }
        let is_nand = device.geometry().kind == FlashKind::Nand;
        if !is_nand || device.torture(eraseblock)? {
            let Some(trouble) = self.try_erase(device, eraseblock)? else { return Ok(()) };
            if !is_nand {
                return Err(trouble.into_error(eraseblock));
            }
        }
        Ok(device.mark_bad(eraseblock)?)
    }

    fn try_erase(&self, device: &mut Device<'_>, eraseblock: u32) -> Result<Option<Trouble>, FlashError> {
        let trouble = Trouble::of(device.erase(eraseblock))?;
        if trouble.is_some() || !self.options.verify {
            return Ok(trouble);
        }
        let trouble = device.compare_fill(eraseblock, 0xff)?.trouble();
        device.report.verified += u32::from(trouble.is_none());
        Ok(trouble)
    }
}
