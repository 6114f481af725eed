//! Building for other machines, static, with musl: Debian's Rust compiler with the source of its standard library, and zig as
//! linker, which brings musl for all of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::stamp;
use crate::process::{command, output};

/// Linker with musl's libraries, from PyPI.
const ZIG: &str = "ziglang==0.17.1";
/// Debian's Rust compiler, which comes with the source of its standard library: most of these machines have none ready-made.
const RUSTC: &str = "/usr/bin/rustc";

/// A machine that is built for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Short name, for files.
    pub(crate) name: &'static str,
    /// Rust's name of the target.
    pub(crate) target: &'static str,
    /// zig's.
    zig: &'static str,
    /// The oldest CPU that it is for, as zig has it.
    cpu: &'static str,
}

/// MIPS32 release 2, big-endian, without floating point: Atheros devices.
pub(crate) const MIPS: Machine = Machine {
    name: "mips",
    target: "mips-unknown-linux-musl",
    zig: "mips-linux-musleabi",
    cpu: "mips32r2+soft_float",
};
/// The same, little-endian: MediaTek devices.
pub(crate) const MIPSEL: Machine = Machine {
    name: "mipsel",
    target: "mipsel-unknown-linux-musl",
    zig: "mipsel-linux-musleabi",
    cpu: "mips32r2+soft_float",
};
/// 64-bit PC.
pub(crate) const X86_64: Machine =
    Machine { name: "x86_64", target: "x86_64-unknown-linux-musl", zig: "x86_64-linux-musl", cpu: "x86_64" };
/// 64-bit ARM.
pub(crate) const AARCH64: Machine = Machine {
    name: "aarch64",
    target: "aarch64-unknown-linux-musl",
    zig: "aarch64-linux-musl",
    cpu: "generic",
};
/// 32-bit ARM with floating point.
pub(crate) const ARMV7: Machine = Machine {
    name: "armv7",
    target: "armv7-unknown-linux-musleabihf",
    zig: "arm-linux-musleabihf",
    cpu: "generic+v7a+vfp3d16",
};

impl Machine {
    /// Has a `cargo build` made for this machine, with those flags for the compiler besides the usual ones.
    pub(crate) fn set_up(&self, build: &mut Command, flags: &str) -> Result<()> {
        let linker = self.linker()?;
        build.args(["--target", self.target]);
        build.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        build.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
        build.env("RUSTFLAGS", format!("-C target-feature=+crt-static -C link-self-contained=no {flags}"));
        let variable = self.target.to_uppercase().replace('-', "_");
        build.env(format!("CARGO_TARGET_{variable}_LINKER"), linker);
        Ok(())
    }

    /// A script that links with zig's libraries.
    fn linker(&self) -> Result<PathBuf> {
        let folder = vmtest::peers_dir().join("zig");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let packages = folder.join("python");
        if !stamp::is_fresh("zig", ZIG) {
            println!("tools: fetching {ZIG} from PyPI");
            let mut pip = command("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"]);
            pip.args(["--root-user-action=ignore", "--target"]).arg(&packages);
            output(pip.arg(ZIG))?;
            stamp::set("zig", ZIG)?;
        }
        let script = folder.join(format!("link-{}", self.name));
        fs::write(&script, self.linker_script(&packages))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }

    /// rustc names libraries of gcc, which zig has under other names or does not need, and its own name of the target.
    fn linker_script(&self, packages: &Path) -> String {
        format!(
            r#"#!/bin/sh
for argument do
    shift
    case $argument in
        -lgcc | -lgcc_eh | --target=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
PYTHONPATH='{}' exec python3 -m ziglang cc -target {} -mcpu={} "$@"
"#,
            packages.display(),
            self.zig,
            self.cpu
        )
    }
}
