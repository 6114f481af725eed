//! The peers' tools, of the newest versions that Debian has, each behind a script that runs it with its own libraries.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::{Apt, contents, file_name, unpack};
use super::stamp;

/// Release with squashfs-tools 4.7.5, squashfs-tools-ng 1.3.2, mtd-utils 2.3.1 or newer.
const RELEASE: &str = "testing";
/// Packages whose programs are wanted.
const PACKAGES: [&str; 8] = [
    "squashfs-tools",
    "squashfs-tools-ng",
    "mtd-utils",
    "u-boot-tools",
    "device-tree-compiler",
    "cpio",
    "libarchive-tools",
    "genimage",
];
const STAMP: &str = "peers";
/// Changing the way in which the tools are laid out changes this number.
const LAYOUT: u32 = 1;

/// Installs the tools, unless they are there; the newest ones when asked to update.
pub(crate) fn ensure(update: bool) -> Result<()> {
    let recipe = format!("{LAYOUT} {RELEASE} {}", PACKAGES.join(" "));
    if !update && stamp::is_fresh(STAMP, &recipe) {
        return Ok(());
    }
    println!("tools: fetching {} from Debian {RELEASE}", PACKAGES.join(", "));
    let debs = Apt::new(RELEASE)?.fetch_closure(&PACKAGES)?;
    let folder = vmtest::peers_dir();
    let (root, bin) = (fresh_folder(&folder.join("root"))?, fresh_folder(&folder.join("bin"))?);
    let mut versions = String::new();
    for deb in &debs {
        unpack(deb, &root)?;
        let name = file_name(deb);
        writeln!(versions, "{name}")?;
        if PACKAGES.iter().any(|package| name.starts_with(&format!("{package}_"))) {
            wrap_programs(deb, &root, &bin)?;
        }
    }
    fs::write(folder.join("versions.txt"), versions)?;
    stamp::set(STAMP, &recipe)
}

fn fresh_folder(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// A script for each program of the package.
fn wrap_programs(deb: &Path, root: &Path, bin: &Path) -> Result<()> {
    for path in contents(deb)? {
        let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            continue;
        };
        if !matches!(folder, "/usr/bin" | "/usr/sbin" | "/bin" | "/sbin")
            || !is_program(&root.join(&path[1..]))
        {
            continue;
        }
        let script = bin.join(name);
        fs::write(&script, wrapper(&path, name))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// True for an ELF file, also behind a symlink; scripts of the package are of no use here.
fn is_program(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))
}

/// Runs the program by the dynamic loader beside it, so that the host's libraries are never seen.
fn wrapper(path: &str, name: &str) -> String {
    format!(
        r#"#!/bin/sh
root=${{0%/*}}/../root
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --argv0 {name} --library-path "$root/usr/lib/x86_64-linux-gnu" "$root{path}" "$@"
"#
    )
}
