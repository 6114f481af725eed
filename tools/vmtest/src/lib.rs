//! Images in a real kernel: boots a stock Linux under plain emulation, mounts images in it, and compares what a
//! program inside sees with the tree that was asked for.
//!
//! ```text
//! host:  Vm ── job.json, guest program, modules ──► initramfs ──► qemu ◄── images as disks
//!                                                                  │
//! guest: load modules, then per step: mount, statfs, walk, write, … ▼
//! host:  Report ◄── one JSON line per node, step and kernel message ── report disk
//! ```
//!
//! One boot takes seconds, so a test gives many images to one [`Vm`]:
//!
//! ```no_run
//! # fn images() -> Vec<(std::path::PathBuf, flashwright_tree::Tree)> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let Some(mut vm) = vmtest::Vm::amd64() else { return Ok(()) };
//! vm.module("squashfs", "")?;
//! let images = images();
//! let visits: Vec<_> = images
//!     .iter()
//!     .map(|(path, _)| {
//!         let disk = vm.disk(path);
//!         vm.visit("squashfs", &disk)
//!     })
//!     .collect();
//! let report = vm.run()?;
//! for (visit, (_, tree)) in visits.iter().zip(&images) {
//!     report.assert_visit(visit, tree, &vmtest::Rules::squashfs());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The kernel, the guest program and the peers' tools come from `cargo xtask tools`; where they are missing,
//! [`Vm::amd64`], [`Vm::mips_be`] and [`peer`] say so and return `None`, and with `CI=true` they panic.

mod artifacts;
pub mod protocol;

#[cfg(feature = "host")]
mod host;

pub use artifacts::{find_program, mips_folder, peer, peers_dir, skip, workspace_dir};
#[cfg(feature = "host")]
pub use host::*;
