//! What the router is made of: the example's files, and programs from Debian packages.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tools::{Apt, stamp, unpack};

const RELEASE: &str = "trixie";
/// Programs of the router; their libraries come with them.
const PACKAGES: [&str; 3] = ["busybox-static", "dropbear-bin", "nftables"];
const STAMP: &str = "demo";

/// Lays out the example in `folder`, with `debian/` beside it.
pub(super) fn lay_out(folder: &Path) -> Result<()> {
    let example = vmtest::workspace_dir().join("examples/router");
    copy(&example, folder).with_context(|| format!("cannot lay out {}", folder.display()))?;
    let packages = packages()?;
    let link = folder.join("debian");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(&packages, &link)?;
    println!("{}: the example, with {} from Debian {RELEASE}", folder.display(), PACKAGES.join(", "));
    Ok(())
}

/// Folder with the unpacked packages; fetched once.
fn packages() -> Result<PathBuf> {
    let folder = vmtest::peers_dir().join("demo/debian");
    let recipe = format!("1 {RELEASE} {}", PACKAGES.join(" "));
    if stamp::is_fresh(STAMP, &recipe) {
        return Ok(folder);
    }
    fetch(&folder).context(
        "the demo takes its programs from Debian's servers, on Debian for amd64; \
         `flashwright pack squashfs DIR -o FILE` works everywhere",
    )?;
    stamp::set(STAMP, &recipe)?;
    Ok(folder)
}

fn fetch(folder: &Path) -> Result<()> {
    println!("fetching {} from Debian {RELEASE}", PACKAGES.join(", "));
    let debs = Apt::new(RELEASE)?.fetch_closure(&PACKAGES)?;
    if debs.is_empty() {
        bail!("apt-get fetched nothing");
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    debs.iter().try_for_each(|deb| unpack(deb, folder))
}

/// Copies a folder with all that is in it: files, whose modes stay, and folders.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
