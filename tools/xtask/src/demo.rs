//! `cargo xtask demo`: builds the example router from real packages, shows what is in it, boots it.

mod boot;
mod material;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, command, run as run_command, target_dir};

/// Time of everything that has none, so that the demo gives the same image on every day: 2025-01-01.
const EPOCH: &str = "1735689600";

/// What `cargo xtask demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Stay in the router with a shell instead of powering off; leave with `poweroff -f` or Ctrl-A X
    #[arg(long)]
    shell: bool,
    /// Do not boot
    #[arg(long, conflicts_with = "shell")]
    no_boot: bool,
}

/// Builds, shows, boots.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = target_dir().join("demo");
    println!("== material ==");
    material::lay_out(&folder)?;
    println!("\n== build ==");
    run_command(cargo().args(["build", "--locked", "--package", "flashwright"]))?;
    flashwright(&["build", "image.toml"], &folder)?;
    flashwright(&["list", "-l", "router.squashfs"], &folder)?;
    flashwright(&["info", "router.squashfs"], &folder)?;
    flashwright(&["check", "router.squashfs"], &folder)?;
    println!("\n== boot ==");
    if options.no_boot {
        println!("not asked for");
        return Ok(());
    }
    let Some(machine) = boot::Machine::find() else { return Ok(()) };
    machine.modules(&folder.join("modules"))?;
    flashwright(&["build", "initramfs.toml"], &folder)?;
    machine.boot(&folder, options.shell)
}

/// Runs the program just built, showing how it is called.
fn flashwright(arguments: &[&str], folder: &Path) -> Result<()> {
    println!("\n$ SOURCE_DATE_EPOCH={EPOCH} flashwright {}", arguments.join(" "));
    let mut command: Command = command(target_dir().join("debug/flashwright"));
    command.args(arguments).current_dir(folder).env("SOURCE_DATE_EPOCH", EPOCH);
    run_command(&mut command)
}
