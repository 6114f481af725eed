//! What is told on the way.

use std::ops::ControlFlow;

use flashwright_media::EccStats;

/// Who is told. [`ControlFlow::Break`] asks to stop: the eraseblock in hand is finished, what was unlocked is locked again,
/// and the run ends as [`Ending::Stopped`](crate::Ending::Stopped).
pub type OnEvent<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Image and device are looked at; nothing is changed.
    Survey,
    /// Eraseblocks are erased, programmed and read back.
    Write,
    /// The device is compared with the image.
    Verify,
    /// Eraseblocks are erased.
    Erase,
}

impl Phase {
    /// A word for messages: `survey`, `write`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Survey => "survey",
            Phase::Write => "write",
            Phase::Verify => "verify",
            Phase::Erase => "erase",
        }
    }
}

/// Something that happened. Eraseblocks are counted from the start of the device, offsets are in bytes from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An eraseblock is done with. `done` starts anew when a phase has to.
    Progress {
        /// What is being done.
        phase: Phase,
        /// Eraseblocks done.
        done: u32,
        /// Eraseblocks in all.
        total: u32,
    },
    /// The error correction had to put bits right.
    Corrected {
        /// Where was read.
        offset: u64,
        /// What it did.
        ecc: EccStats,
    },
    /// An eraseblock did not take an erase or a program, or reads differently.
    Failed {
        /// Which one.
        eraseblock: u32,
    },
    /// An eraseblock that failed was erased and programmed with patterns.
    Tortured {
        /// Which one.
        eraseblock: u32,
        /// Whether it took all of them, and is used on.
        passed: bool,
    },
    /// An eraseblock was marked bad.
    WentBad {
        /// Which one.
        eraseblock: u32,
    },
    /// Write protection was taken off an eraseblock.
    Unlocked {
        /// Which one.
        eraseblock: u32,
    },
    /// Write protection was put back.
    Locked {
        /// Which one.
        eraseblock: u32,
    },
}
