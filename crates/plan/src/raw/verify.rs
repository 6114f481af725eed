//! Compares a device with an image.

use flashwright_media::Flash;

use super::area::{Area, Options};
use super::chunks::Chunks;
use crate::device::{Comparison, Device};
use crate::error::{Error, Refusal};
use crate::event::{OnEvent, Phase};
use crate::report::{Ending, Report};
use crate::source::Source;

/// What it takes to compare a device with an image.
#[derive(Debug)]
pub struct VerifyPlan {
    options: Options,
    area: Area,
    image_len: u64,
    count: u32,
    refusals: Vec<Refusal>,
}

/// What a comparison found. [`Report`] has what the error correction had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether all of the image was compared.
    pub ending: Ending,
    /// Eraseblocks that differ, or cannot be read.
    pub different: u32,
    /// Where on the device the first one of those starts to differ, in bytes from its start.
    pub first: Option<Difference>,
}

/// A place where device and image differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Bytes from the start of the device.
    pub offset: u64,
    /// The image's byte and the device's; `None` when the error correction gave up there.
    pub bytes: Option<(u8, u8)>,
}

/// Looks whether an image can be on a device at all: whether it fits there. Neither is read.
///
/// # Errors
/// [`Error::Flash`].
pub fn plan_verify(
    flash: &mut dyn Flash,
    source: &dyn Source,
    options: &Options,
) -> Result<VerifyPlan, Box<Error>> {
    let mut report = Report::default();
    let mut quiet = |_| std::ops::ControlFlow::Continue(());
    let mut device = Device::new(flash, &mut report, &mut quiet);
    let image_len = source.len();
    let mut plan = VerifyPlan {
        options: options.clone(),
        area: Area::default(),
        image_len,
        count: 0,
        refusals: Vec::new(),
    };
    match Area::look_for(&mut device, options, image_len)? {
        Ok(found) => (plan.area, plan.count) = found,
        Err(refusal) => plan.refusals.push(refusal),
    }
    Ok(plan)
}

impl VerifyPlan {
    /// Why the image cannot be there.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Eraseblocks that are read.
    #[must_use]
    pub const fn eraseblocks(&self) -> u32 {
        self.count
    }

    /// Nanoseconds that [`execute`](Self::execute) takes, about; `None` without [`Options::costs`].
    #[must_use]
    pub const fn estimate(&self) -> Option<u64> {
        self.options.costs.estimate(0, 0, self.image_len)
    }

    /// Compares. What is behind the end of the image does not count.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Flash`], [`Error::Source`], and [`Error::Digest`] when the image is not the one that was
    /// asked for.
    pub fn execute(
        &self,
        flash: &mut dyn Flash,
        source: &mut dyn Source,
        report: &mut Report,
        on_event: OnEvent<'_>,
    ) -> Result<Verdict, Box<Error>> {
        if let Some(refusal) = self.refusals.first() {
            return Err(Error::Refused(refusal.clone()).into());
        }
        if source.len() != self.image_len {
            return Err(Error::Changed { offset: 0, len: source.len() }.into());
        }
        let mut device = Device::new(flash, report, on_event);
        let hashing = self.options.sha256.is_some();
        let mut chunks = Chunks::new(source, device.geometry().eraseblock_size, hashing);
        let mut verdict = Verdict { ending: Ending::Done, different: 0, first: None };
        for (number, &eraseblock) in (0..self.count).zip(&self.area.good) {
            if device.stopping() {
                verdict.ending = Ending::Stopped;
                return Ok(verdict);
            }
            chunks.load(number)?;
            let offset = device.geometry().offset_of(eraseblock);
            verdict.add(device.compare(offset, chunks.used())?, device.report);
            device.progress(Phase::Verify, number + 1, self.count);
        }
        Error::check_digest(self.options.sha256, chunks.digest())?;
        Ok(verdict)
    }
}

impl Verdict {
    /// Whether all of the image is there.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.ending == Ending::Done && self.different == 0
    }

    fn add(&mut self, comparison: Comparison, report: &mut Report) {
        let difference = match comparison {
            Comparison::Equal { .. } => {
                report.verified += 1;
                return;
            }
            Comparison::Differs { offset, expected, found } => {
                Difference { offset, bytes: Some((expected, found)) }
            }
            Comparison::Unreadable(error) => Difference { offset: error.offset, bytes: None },
        };
        self.different += 1;
        self.first.get_or_insert(difference);
    }
}
