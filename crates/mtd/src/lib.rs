//! Flash as Linux has it: the character devices of MTD and UBI, and what sysfs says of them.
//!
//! Devices go by their numbers: MTD 3 is `/dev/mtd3`, volume 1 of UBI device 0 is `/dev/ubi0_1`. Nothing is decided
//! here, nothing retried: every function is one thing that the kernel does, and an error says what it refused.

mod error;
mod file;
mod flash;
pub mod interrupt;
mod ioctl;
pub mod mtd;
pub mod phram;
mod sysfs;
pub mod text;
pub mod ubi;
pub mod usage;
mod volumes;

pub use error::Error;
pub use file::open;
pub use flash::MtdFlash;
pub use volumes::AttachedUbi;
