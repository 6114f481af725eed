//! NOR and NAND flash as they really behave, for tests: what real chips do when they are treated well, treated badly, worn
//! out, or lose their power in the middle.
//!
//! A [`Simulation`] is a [`Flash`](flashwright_media::Flash) in memory:
//!
//! - *Cells.* Programming turns bits from 1 to 0, erasing turns all bits of an eraseblock to 1. On NAND each sub-page is
//!   programmed once after an erase, and the pages of an eraseblock in order. A caller that breaks these rules is told loudly:
//!   it gets an error or a result as bad as the chip would give, and [`Simulation::violations`] has a [`Violation`]. Tests
//!   assert that there is none.
//! - *Errors.* [`Simulation::flip`] turns bits that the error correction of NAND puts right, or too many for it.
//!   [`Simulation::set_read_noise`] turns some in passing. NOR has no error correction: what flips is read wrong.
//! - *Wear.* Eraseblocks are bad from the factory ([`Simulation::set_bad`]), or fail from their n-th erase or program on
//!   ([`Simulation::set_fault`]). Erases are counted truly, per eraseblock: [`Simulation::erases`].
//! - *Power cuts.* [`Simulation::cut_power_at`]: the n-th operation from now on is interrupted, and everything fails
//!   with [`FlashFault::Device`](flashwright_media::FlashFault::Device) until [`Simulation::power_on`]. Each erase, each page
//!   programmed, each bad mark and each change of a lock is one operation. See [`Interruption`] for what may be left.
//! - *Locks.* [`Simulation::set_lockable`], [`Simulation::lock`].
//! - *Time.* Operations add up what they would take: [`Simulation::set_timing`], [`Simulation::elapsed_ns`].
//!
//! [`UbiSimulation`] is an attached UBI device with its volumes, and power cuts likewise.
//!
//! Everything random comes from the seed: the same calls give the same results. A clone shares the eraseblocks that
//! neither has changed, so a test can go back to a state and cut at every operation that follows.
//!
//! ```
//! use flashwright_flashsim::{Simulation, nand};
//! use flashwright_media::Flash;
//!
//! let mut flash = Simulation::new(nand(16 << 10, 8, 512), 1);
//! flash.cut_power_at(2); // the second page is programmed partly
//! flash.erase(3)?;
//! assert!(flash.program(3 * 0x4000, &[0x5a; 2048]).is_err());
//! assert!(!flash.is_powered() && flash.read(0, &mut [0; 4]).is_err());
//! flash.power_on();
//! assert_eq!((flash.erases(3), flash.violations().len()), (1, 0));
//! # Ok::<(), flashwright_media::FlashError>(())
//! ```

mod cells;
mod cut;
mod device;
mod random;
mod simulation;
mod ubi;

pub use cells::Ecc;
pub use cut::Interruption;
pub use random::Random;
pub use simulation::{Fault, Simulation, Timing, Violation, nand, nor, ram};
pub use ubi::UbiSimulation;
