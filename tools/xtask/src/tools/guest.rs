//! The programs that run inside the machines, static, for each of them: that of the tests, and flashw.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cross;
use crate::process::{cargo, run, target_dir};

const PROGRAM: &str = "vmtest-guest";
const FLASHW: &str = "flashw";
const AMD64: &str = "x86_64-unknown-linux-gnu";

/// Builds the programs for the PC; quick when nothing has changed.
pub(crate) fn ensure_amd64(_update: bool) -> Result<()> {
    let flags = "-C target-feature=+crt-static";
    run(build().args(["--target", AMD64]).env("RUSTFLAGS", flags))?;
    run(build_flashw().args(["--target", AMD64]).env("RUSTFLAGS", flags))?;
    let built = guest_target_dir().join(AMD64).join("release");
    install(&built.join(PROGRAM), "amd64", PROGRAM)?;
    install(&built.join(FLASHW), "amd64", FLASHW)
}

/// Builds the programs for the big-endian MIPS machine, when its kernel is there.
pub(crate) fn ensure_mips(_update: bool) -> Result<()> {
    if vmtest::mips_folder().is_none() {
        return Ok(());
    }
    let mut command = build();
    cross::MIPS.set_up(&mut command, "")?;
    run(&mut command)?;
    let built = guest_target_dir().join(cross::MIPS.target).join("release").join(PROGRAM);
    install(&built, "mips-be", PROGRAM)?;
    // As devices get it.
    install(&crate::dist::build_for_tests()?, "mips-be", FLASHW)
}

/// A target folder of its own: other flags than the workspace's would build everything again and again.
fn guest_target_dir() -> PathBuf {
    target_dir().join("guest")
}

fn build() -> Command {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "vmtest",
        "--no-default-features",
    ]);
    command.args(["--bin", PROGRAM, "--target-dir"]).arg(guest_target_dir());
    command
}

/// flashw as it is, for the PC.
fn build_flashw() -> Command {
    let mut command = cargo();
    command.args(["build", "--quiet", "--locked", "--release", "--package", "flashw", "--target-dir"]);
    command.arg(guest_target_dir());
    command
}

fn install(built: &Path, machine: &str, program: &str) -> Result<()> {
    let folder = machine_folder(machine)?;
    // A copy made beside and renamed: a test that runs meanwhile never sees half a program.
    let (new, installed) = (folder.join(format!("{program}.new")), folder.join(program));
    fs::copy(built, &new).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&new, &installed).with_context(|| format!("cannot write {}", installed.display()))
}

fn machine_folder(machine: &str) -> Result<PathBuf> {
    let folder = vmtest::peers_dir().join("vm").join(machine);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
