//! The program that runs inside the machines, static, for each of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::stamp;
use crate::process::{cargo, command, output, run, target_dir};

const PROGRAM: &str = "vmtest-guest";
const AMD64: &str = "x86_64-unknown-linux-gnu";
const MIPS: &str = "mips-unknown-linux-musl";
/// Linker for MIPS with musl's libraries, from PyPI.
const ZIG: &str = "ziglang==0.17.1";
/// Debian's Rust compiler, which comes with the source of its standard library: MIPS has none ready-made.
const RUSTC: &str = "/usr/bin/rustc";

/// Builds the program for the PC; quick when nothing has changed.
pub(crate) fn ensure_amd64(_update: bool) -> Result<()> {
    run(build(AMD64).env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    install(AMD64, "amd64")
}

/// Builds the program for the big-endian MIPS machine, when its kernel is there.
pub(crate) fn ensure_mips(_update: bool) -> Result<()> {
    if vmtest::mips_folder().is_none() {
        return Ok(());
    }
    let linker = mips_linker()?;
    let mut command = build(MIPS);
    command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    command.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    command.env("RUSTFLAGS", "-C target-feature=+crt-static -C link-self-contained=no");
    command.env("CARGO_TARGET_MIPS_UNKNOWN_LINUX_MUSL_LINKER", linker);
    run(&mut command)?;
    install(MIPS, "mips-be")
}

/// A target folder of its own: other flags than the workspace's would build everything again and again.
fn guest_target_dir() -> PathBuf {
    target_dir().join("guest")
}

fn build(target: &str) -> Command {
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
    command.args(["--bin", PROGRAM, "--target", target, "--target-dir"]).arg(guest_target_dir());
    command
}

fn install(target: &str, machine: &str) -> Result<()> {
    let built = guest_target_dir().join(target).join("release").join(PROGRAM);
    let folder = machine_folder(machine)?;
    // A copy made beside and renamed: a test that runs meanwhile never sees half a program.
    let (new, installed) = (folder.join("vmtest-guest.new"), folder.join(PROGRAM));
    fs::copy(&built, &new).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&new, &installed).with_context(|| format!("cannot write {}", installed.display()))
}

fn machine_folder(machine: &str) -> Result<PathBuf> {
    let folder = vmtest::peers_dir().join("vm").join(machine);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A script that links with zig's libraries.
fn mips_linker() -> Result<PathBuf> {
    let folder = machine_folder("mips-be")?;
    let packages = folder.join("python");
    if !stamp::is_fresh("ziglang", ZIG) {
        println!("tools: fetching {ZIG} from PyPI");
        let mut pip = command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--root-user-action=ignore"]);
        output(pip.arg("--target").arg(&packages).arg(ZIG))?;
        stamp::set("ziglang", ZIG)?;
    }
    let script = folder.join("linker");
    fs::write(&script, linker_script(&packages))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// rustc names libraries of gcc, which zig has under other names or does not need, and its own name of the target.
fn linker_script(packages: &Path) -> String {
    format!(
        r#"#!/bin/sh
for argument do
    shift
    case $argument in
        -lgcc | -lgcc_eh | --target=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
PYTHONPATH='{}' exec python3 -m ziglang cc -target mips-linux-musleabi -mcpu=mips32r2+soft_float "$@"
"#,
        packages.display()
    )
}
