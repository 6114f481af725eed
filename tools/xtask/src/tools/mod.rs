//! `cargo xtask tools`: what the tests need from outside, kept in `target/peers` so that a second run costs nothing.
//!
//! ```text
//! target/peers/
//!   bin/mksquashfs …        run the peers' programs, of the versions the tests are made for
//!   root/                   Debian packages of those programs with all their libraries, unpacked
//!   vm/amd64/               vmlinuz, modules/, vmtest-guest, flashw
//!   vm/mips-be/             vmtest-guest, flashw
//!   zig/                    linker for other machines, with musl
//!   apt/                    lists and packages of a private apt, apart from the host's
//!   stamps/                 what was made, and from which recipe
//! ```

mod apt;
pub(crate) mod cross;
pub(crate) mod guest;
mod host;
mod kernel;
mod peers;
mod python;
pub(crate) mod stamp;

use std::fmt;

use anyhow::{Result, bail};

use crate::process::{is_ci, output};

pub(crate) use apt::{Apt, unpack};
pub(crate) use host::{ensure_cargo_fuzz, ensure_compiler, has_cargo_tool};

/// What `cargo xtask tools` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only list what is there
    #[arg(long)]
    list: bool,
    /// Fetch the newest versions, also of what is there
    #[arg(long, conflicts_with = "list")]
    update: bool,
}

/// Something that could not be had.
#[derive(Debug)]
pub(crate) struct Missing {
    /// What is missing.
    what: &'static str,
    /// Why.
    why: String,
    /// What is not tested without it.
    tests: &'static str,
    /// How to get it by hand.
    remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no {} ({}); {}", self.tests, self.what, self.why, self.remedy)
    }
}

/// What a step provides, what is not tested without it, and the step; it takes whether to fetch the newest versions.
type Step = (&'static str, &'static str, fn(bool) -> Result<()>);

/// Programs that the list shows: name, and how it tells its version.
const LISTED: [(&str, &[&str]); 10] = [
    ("mksquashfs", &["-version"]),
    ("rdsquashfs", &["--version"]),
    ("sqfsdiff", &["--version"]),
    ("mkfs.jffs2", &["--version"]),
    ("mkfs.ubifs", &["--version"]),
    ("ubinize", &["--version"]),
    ("mkimage", &["-V"]),
    ("fdtget", &["-V"]),
    ("qemu-system-x86_64", &["--version"]),
    ("qemu-system-mips", &["--version"]),
];

/// `cargo xtask tools`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let missing = if options.list { Vec::new() } else { ensure(options.update) };
    for (name, arguments) in LISTED {
        println!("{name:20} {}", version(name, arguments));
    }
    println!("{:20} {}", "kernel amd64", kernel::version().unwrap_or_else(|| "-".into()));
    for missing in &missing {
        println!("skipped: {missing}");
    }
    if is_ci() && !missing.is_empty() {
        bail!("something is missing, and with CI=true that is a failure");
    }
    Ok(())
}

/// Installs whatever is missing and can be had; returns what cannot.
pub(crate) fn ensure(update: bool) -> Vec<Missing> {
    let mut missing = host::ensure();
    let steps: [Step; 5] = [
        ("peers' tools", "comparisons with the peers' tools", peers::ensure),
        ("jefferson and ubi_reader", "comparisons with the peers' tools", python::ensure),
        ("Linux for amd64", "tests in a real kernel", kernel::ensure),
        ("guest program", "tests in a real kernel", guest::ensure_amd64),
        ("guest program for MIPS", "tests on a big-endian device", guest::ensure_mips),
    ];
    for (what, tests, step) in steps {
        if let Err(error) = step(update) {
            let remedy = "needs Debian on amd64 and its package servers".to_owned();
            missing.push(Missing { what, why: format!("{error:#}"), tests, remedy });
        }
    }
    missing
}

/// Installs a kernel and an emulator for it, nothing else; returns what cannot be had.
pub(crate) fn ensure_machine() -> Vec<Missing> {
    let mut missing = host::ensure_emulator();
    if let Err(error) = kernel::ensure(false) {
        let remedy = "needs Debian on amd64 and its package servers".to_owned();
        let (what, tests) = ("Linux for amd64", "booting");
        missing.push(Missing { what, why: format!("{error:#}"), tests, remedy });
    }
    missing
}

/// First line in which the program says its version.
fn version(name: &str, arguments: &[&str]) -> String {
    let Some(program) = vmtest::find_program(name) else { return "-".into() };
    let mut command = crate::process::command(&program);
    // Some say it on the standard error, some exit with 1.
    let said = command.args(arguments).output().map(|output| [output.stdout, output.stderr].concat());
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    format!("{} ({})", said.lines().next().unwrap_or_default().trim(), program.display())
}

/// Number of the user's id is 0.
fn is_root() -> bool {
    output(crate::process::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
