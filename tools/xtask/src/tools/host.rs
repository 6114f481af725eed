//! Programs that the host itself must have: emulators from Debian's packages, cargo's own tools from crates.io.

use std::path::Path;

use anyhow::Result;

use super::{Missing, is_root};
use crate::process::{cargo, command, is_debian, output};

struct HostPackage {
    /// What shows that it is there: a program on the `PATH`, or a file.
    shown_by: &'static str,
    /// Debian's name.
    package: &'static str,
    /// What is not tested without it.
    tests: &'static str,
    /// Only needed where the big-endian MIPS machine is.
    for_mips: bool,
}

const fn package(
    shown_by: &'static str,
    package: &'static str,
    tests: &'static str,
    for_mips: bool,
) -> HostPackage {
    HostPackage { shown_by, package, tests, for_mips }
}

const KERNEL: &str = "tests in a real kernel";
const BIG_ENDIAN: &str = "tests on a big-endian device";

const HOST_PACKAGES: [HostPackage; 6] = [
    package("qemu-system-x86_64", "qemu-system-x86", KERNEL, false),
    package("debootstrap", "debootstrap", "benchmarks and the demo", false),
    package("qemu-system-mips", "qemu-system-mips", BIG_ENDIAN, true),
    package("qemu-mips-static", "qemu-user-static", BIG_ENDIAN, true),
    package("/usr/bin/rustc", "rustc-web", BIG_ENDIAN, true),
    package("/usr/lib/rustlib/src/rust/library/std/Cargo.toml", "rust-web-src", BIG_ENDIAN, true),
];

/// Installs what is missing, as root on Debian; returns what is missing after that.
pub(crate) fn ensure() -> Vec<Missing> {
    let with_mips = vmtest::mips_folder().is_some();
    let mut missing = ensure_packages(|package| !package.for_mips || with_mips);
    missing.extend(ensure_cargo_deny());
    missing.extend(ensure_cargo_fuzz());
    missing
}

/// Installs the emulator of the amd64 machine alone.
pub(crate) fn ensure_emulator() -> Vec<Missing> {
    ensure_packages(|package| package.package == "qemu-system-x86")
}

/// Installs the compiler for other machines alone.
pub(crate) fn ensure_compiler() -> Vec<Missing> {
    ensure_packages(|package| matches!(package.package, "rustc-web" | "rust-web-src"))
}

fn ensure_packages(choice: impl Fn(&HostPackage) -> bool) -> Vec<Missing> {
    let wanted: Vec<_> = HOST_PACKAGES.iter().filter(|p| choice(p) && !is_there(p)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.package).collect();
    let why = match install(&names) {
        Ok(()) => "installed, yet not found".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let still_missing = wanted.into_iter().filter(|wanted| !is_there(wanted));
    still_missing
        .map(|wanted| Missing {
            what: wanted.shown_by,
            why: why.clone(),
            tests: wanted.tests,
            remedy: format!("apt-get install {}", wanted.package),
        })
        .collect()
}

fn is_there(package: &HostPackage) -> bool {
    if package.shown_by.starts_with('/') {
        return Path::new(package.shown_by).exists();
    }
    vmtest::find_program(package.shown_by).is_some()
}

fn install(packages: &[&str]) -> Result<()> {
    if !is_debian() || !is_root() {
        anyhow::bail!("it is installed without asking only on Debian and for root");
    }
    println!("tools: installing Debian packages {}", packages.join(", "));
    let apt_get = |arguments: &[&str]| {
        let mut apt_get = command("apt-get");
        apt_get.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        apt_get
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // The lists may be too old, or there may be none.
    if output(&mut apt_get(&install)).is_ok() {
        return Ok(());
    }
    output(&mut apt_get(&["update"]))?;
    output(&mut apt_get(&install)).map(drop)
}

/// True when `cargo NAME` works.
pub(crate) fn has_cargo_tool(name: &str) -> bool {
    output(cargo().args([name, "--version"])).is_ok()
}

fn ensure_cargo_deny() -> Option<Missing> {
    ensure_cargo_tool(
        "deny",
        "cargo-deny",
        "licences of the dependencies",
        "cargo install --locked cargo-deny",
    )
}

/// Installs cargo-fuzz when it is missing; returns it when it still is.
pub(crate) fn ensure_cargo_fuzz() -> Option<Missing> {
    ensure_cargo_tool("fuzz", "cargo-fuzz", "fuzz targets", "cargo install --locked cargo-fuzz")
}

/// Installs a tool of cargo from crates.io when it is missing; returns it when it still is.
fn ensure_cargo_tool(
    name: &str,
    package: &'static str,
    tests: &'static str,
    remedy: &str,
) -> Option<Missing> {
    if has_cargo_tool(name) {
        return None;
    }
    println!("tools: installing {package} from crates.io; it takes some minutes, once");
    let error = output(cargo().args(["install", "--quiet", "--locked", package])).err()?;
    Some(Missing { what: package, why: format!("{error:#}"), tests, remedy: remedy.to_owned() })
}
