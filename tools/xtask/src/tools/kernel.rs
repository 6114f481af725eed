//! Debian's stock amd64 kernel. Release trixie has Linux 6.12, the first with all filters of xz that SquashFS uses.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::{Apt, file_name, unpack};
use super::stamp;

const RELEASE: &str = "trixie";
/// Names the newest kernel of the release.
const PACKAGE: &str = "linux-image-amd64";
const STAMP: &str = "kernel-amd64";
/// Changing the way in which the kernel is laid out changes this.
const RECIPE: &str = "2 trixie linux-image-amd64";

fn folder() -> PathBuf {
    vmtest::peers_dir().join("vm/amd64")
}

/// Version of the kernel that is there.
pub(crate) fn version() -> Option<String> {
    let modules = fs::read_link(folder().join("modules")).ok()?;
    Some(modules.file_name()?.to_string_lossy().into_owned())
}

/// Installs the kernel, unless it is there; the newest one when asked to update.
pub(crate) fn ensure(update: bool) -> Result<()> {
    if !update && stamp::is_fresh(STAMP, RECIPE) {
        return Ok(());
    }
    println!("tools: fetching {PACKAGE} from Debian {RELEASE}");
    let apt = Apt::new(RELEASE)?;
    let folder = folder();
    let deb = apt.fetch_one(&apt.first_dependency(PACKAGE)?, &folder)?;
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    unpack(&deb, &root).with_context(|| format!("cannot unpack {}", file_name(&deb)))?;
    fs::remove_file(&deb)?;
    link(&only_entry(&root.join("boot"), "vmlinuz-")?, &folder.join("vmlinuz"))?;
    let modules = ["usr/lib/modules", "lib/modules"].map(|sub| root.join(sub));
    let modules = modules.iter().find(|sub| sub.is_dir()).context("the package has no modules")?;
    link(&only_entry(modules, "")?, &folder.join("modules"))?;
    stamp::set(STAMP, RECIPE)
}

fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = entries.flatten().map(|entry| entry.path());
    let found =
        names.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.with_context(|| format!("no {prefix}* in {}", folder.display()))
}

/// A relative link, so that the whole folder can be moved.
fn link(target: &Path, at: &Path) -> Result<()> {
    let target = at.parent().and_then(|folder| target.strip_prefix(folder).ok()).unwrap_or(target);
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at)?;
    }
    symlink(target, at).with_context(|| format!("cannot make {}", at.display()))
}
