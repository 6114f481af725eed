//! `cargo xtask dist`: flashw for devices.

mod trim;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, run as run_command, target_dir};
use crate::tools::cross::{self, Machine};
use crate::tools::ensure_compiler;

/// What `cargo xtask dist` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Machines: mips, mipsel, x86_64, aarch64, armv7; default: mips and x86_64
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
}

/// A machine, and the most bytes that flashw may have for it.
const MACHINES: [(Machine, Option<u64>); 5] = [
    (cross::MIPS, Some(300 << 10)),
    (cross::X86_64, Some(700 << 10)),
    (cross::MIPSEL, None),
    (cross::AARCH64, None),
    (cross::ARMV7, None),
];
/// Machines whose flash is so small that the program has to be: the others get a faster one.
const SMALL: [&str; 2] = [cross::MIPS.name, cross::MIPSEL.name];

/// What makes the program small: a panic ends it without a word (nothing here may panic), no places of panics, no tables for
/// unwinding (not from the C library either, which zig compiles), nothing for `{:?}`, code that stays where it is linked to.
const FLAGS: &str = "-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none \
                     -Cforce-unwind-tables=no -Clink-arg=-Wl,--no-eh-frame-hdr -Clink-arg=-fno-unwind-tables \
                     -Clink-arg=-fno-asynchronous-unwind-tables -Crelocation-model=static";
/// What makes it smaller still: checksums with small tables, which are slower; a C library that zig compiles for size; addresses
/// made where they are used instead of before a loop, from where they go through the stack; more of MIPS's delay slots filled.
/// Of LLVM's other options for MIPS, `-mips-tail-calls` would take 2 KB off; the program that `-enable-ipra` makes hangs, and
/// LLVM makes none at all with `+mips16`.
const SMALL_FLAGS: &str = "--cfg=flashwright_small --cfg=sha2_backend=\"soft\" \
                           --cfg=sha2_backend_soft=\"compact\" -Clink-arg=-Oz \
                           -Cllvm-args=-disable-machine-licm \
                           -Cllvm-args=-disable-mips-df-succbb-search=false";
/// Where size is not all: as the compiler optimises elsewhere.
const FAST: &str = "3";

/// `cargo xtask dist`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = chosen(&options.machines)?;
    if let Some(missing) = ensure_compiler().first() {
        bail!("{missing}");
    }
    let mut over = Vec::new();
    pages()?;
    for (machine, limit) in chosen {
        let program = build(machine)?;
        let words = limit.map_or_else(String::new, |limit| format!(", at most {limit}"));
        println!("{}: {} bytes{words}", program.display(), fs::metadata(&program)?.len());
        over.extend(check(&program, limit).err().map(|_| machine.name));
    }
    ensure!(over.is_empty(), "too large: {}", over.join(", "));
    Ok(())
}

/// Man pages and completions, made from the options.
fn pages() -> Result<()> {
    let folder = target_dir().join("dist").join("share");
    run_command(
        cargo().args(["run", "--quiet", "--locked", "--package", "flashw-pages", "--"]).arg(&folder),
    )?;
    println!("{}: man pages and completions", folder.display());
    Ok(())
}

/// Fails when a program is larger than it may be.
fn check(program: &Path, limit: Option<u64>) -> Result<()> {
    let len = fs::metadata(program)?.len();
    ensure!(limit.is_none_or(|limit| len <= limit), "{}: {len} bytes are too many", program.display());
    Ok(())
}

/// Builds flashw for big-endian MIPS, as the tests have it; fails when it is too large.
pub(crate) fn build_for_tests() -> Result<PathBuf> {
    let [(machine, limit), ..] = MACHINES;
    let program = build(machine)?;
    check(&program, limit)?;
    Ok(program)
}

fn chosen(names: &[String]) -> Result<Vec<(Machine, Option<u64>)>> {
    if names.is_empty() {
        return Ok(MACHINES.into_iter().filter(|(_, limit)| limit.is_some()).collect());
    }
    let find = |name: &String| MACHINES.into_iter().find(|(machine, _)| machine.name == name);
    names.iter().map(|name| find(name).with_context(|| format!("there is no machine {name}"))).collect()
}

/// Builds flashw for a machine; returns where it is.
fn build(machine: Machine) -> Result<PathBuf> {
    let folder = target_dir().join("dist");
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--profile",
        "dist",
        "--package",
        "flashw",
        "--target-dir",
    ]);
    command.arg(&folder);
    if SMALL.contains(&machine.name) {
        machine.set_up(&mut command, &format!("{FLAGS} {SMALL_FLAGS}"))?;
    } else {
        machine.set_up(&mut command, FLAGS)?;
        command.env("CARGO_PROFILE_DIST_OPT_LEVEL", FAST);
    }
    run_command(&mut command)?;
    let built = folder.join(machine.target).join("dist").join("flashw");
    let program = folder.join(format!("flashw-{}", machine.name));
    install(&built, &program)?;
    Ok(program)
}

fn install(built: &Path, program: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    let bytes =
        trim::without_sections(bytes).context("what was built is no program of a kind that is known")?;
    // Beside and renamed: who runs it meanwhile never sees half a program.
    let new = program.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, program).with_context(|| format!("cannot write {}", program.display()))
}
