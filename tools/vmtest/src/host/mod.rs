//! The host's side: starts the machine and judges what it reports.

mod compare;
mod error;
mod machine;
mod modules;
mod programs;
mod report;
mod vm;

pub use compare::{Rules, differences, expected};
pub use error::Error;
pub use modules::write_modules;
pub use programs::Program;
pub use report::{Report, StepReport};
pub use vm::{Disk, StepId, Visit, Vm};
