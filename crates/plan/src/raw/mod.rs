//! An image onto flash as it is: NOR, NAND, or memory behind the same interface.
//!
//! ```text
//! image      0    1    2    3        eraseblocks of the image, the last one filled up with 0xFF
//!            |    |     \    \
//! device     0    1   bad   3    4    good eraseblocks from the offset on, in order
//! ```
//!
//! - Bad eraseblocks are skipped, as `nandwrite` and boot loaders do.
//! - What reads right stays; an eraseblock that differs is erased, and its pages that are not all 0xFF are programmed, in
//!   order, once. So is one that reads right while the error correction calls it worn.
//! - Nothing is programmed without an erase in the same run, NOR where only bits from 1 to 0 would change included: an
//!   erase that was interrupted leaves cells that read as 1 today and as 0 tomorrow, and no reading tells them from others.
//! - Eraseblock 0 of the image, the one that makes it boot, is erased before any other is touched, and written last. So an
//!   interruption leaves the old image, or one that does not start and that the same command completes.
//! - An image from a pipe is decided on eraseblock by eraseblock, as it comes; eraseblock 0 is kept in memory.
//! - An eraseblock that fails is tried once more, on NAND after it took patterns (torture), else it is marked bad and
//!   everything from there on moves by one. Flash without bad marks: an error.
//! - An offset inside an eraseblock is refused: to keep what is before it, that would have to be erased and written again,
//!   and be lost in a power cut. What is behind the end of the image in its last eraseblock becomes 0xFF, as a file system
//!   there would take remains for its own; [`WritePlan::tail_lost`] says how much that is.
//!
//! A bit that hangs between 0 and 1 after an interruption can read right by chance. So what the interrupted run may have
//! had in hand when it ended is read several times before it is kept.

mod area;
mod chunks;
mod erase;
mod judge;
mod survey;
mod verify;
mod write;

pub use area::Options;
pub use erase::{ErasePlan, plan_erase};
pub use survey::{Action, Step, WritePlan, plan_write};
pub use verify::{Difference, Verdict, VerifyPlan, plan_verify};
