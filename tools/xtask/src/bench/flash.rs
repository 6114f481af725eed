//! `cargo xtask bench flash`: flashw, as it is released, and the programs of mtd-utils on the flash of a guest.
//!
//! What is measured, and how, is in the benchmark itself: `crates/flashw/benches/flash.rs`. It needs the guest's kernel, which
//! is why it is a program of its own.

use anyhow::{Result, bail};

use super::machine;
use crate::process::{cargo, run as run_command};

/// What `cargo xtask bench flash` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One kind of flash only: nor, nand, ubi
    #[arg(value_name = "FLASH", value_parser = ["nor", "nand", "ubi"])]
    flash: Option<String>,
    /// Fail when a limit is missed
    #[arg(long)]
    check: bool,
}

/// `cargo xtask bench flash`.
pub(super) fn run(options: &Options) -> Result<()> {
    let Some(peer) = vmtest::find_program("flashcp") else {
        bail!("no mtd-utils to compare with; `cargo xtask tools` installs them, on Debian as root");
    };
    crate::tools::guest::ensure_amd64(false)?;
    println!("{}", machine::describe(Some(&peer)));
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--locked", "--package", "flashw", "--bench", "flash", "--"]);
    bench.args(&options.flash);
    if options.check {
        bench.arg("--check");
    }
    run_command(&mut bench)
}
