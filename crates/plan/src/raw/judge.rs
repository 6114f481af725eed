//! Whether what is on the flash can stay.

use flashwright_media::FlashError;

use super::survey::Action;
use crate::device::{Comparison, Device};

/// How often an eraseblock is read that an interrupted run may have had in hand.
const LOOKS: u32 = 3;

/// Goes over the eraseblocks of an image in order, 0 first.
///
/// A run that is interrupted has one eraseblock in hand, whose bits may read differently each time. That run erased
/// eraseblock 0 before, and wrote the others in order: when 0 differs, it is one that still reads right before the first one
/// that does not; when nothing differs, it is 0, written last. Those are read [`LOOKS`] times.
#[derive(Debug, Default)]
pub(super) struct Judge {
    first_differs: bool,
    touched: bool,
}

impl Judge {
    /// What has to happen to the eraseblock at `offset` that should hold `bytes`, number `number` of the image.
    pub(super) fn judge(
        &mut self,
        device: &mut Device<'_>,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Action, FlashError> {
        let suspect = number > 0 && self.first_differs && !self.touched;
        let action = look(device, offset, bytes, if suspect { LOOKS } else { 1 })?;
        if action != Action::Keep {
            self.touched |= number > 0;
            self.first_differs |= number == 0;
        }
        Ok(action)
    }

    /// Whether eraseblock 0 is the one that may have been in hand.
    pub(super) const fn suspects_first(&self) -> bool {
        !self.touched && !self.first_differs
    }

    /// Looks again at one that read right.
    pub(super) fn look_again(
        device: &mut Device<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Action, FlashError> {
        look(device, offset, bytes, LOOKS - 1)
    }
}

fn look(device: &mut Device<'_>, offset: u64, bytes: &[u8], looks: u32) -> Result<Action, FlashError> {
    let mut action = Action::Keep;
    for _ in 0..looks {
        match device.compare(offset, bytes)? {
            Comparison::Equal { worn: false } => {}
            Comparison::Equal { worn: true } => action = Action::Refresh,
            _ => return Ok(Action::Write),
        }
    }
    Ok(action)
}
