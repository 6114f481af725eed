//! A real root file system to pack: Debian's smallest for armhf, unpacked and not configured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, output, run as run_command};

const RELEASE: &str = "bookworm";
const ARCHITECTURE: &str = "armhf";
const VARIANT: &str = "minbase";

/// The root, built when it is not there yet. Needs root and debootstrap.
pub(super) fn ensure(work: &Path) -> Result<PathBuf> {
    let root = work.join(format!("root-{RELEASE}-{ARCHITECTURE}-{VARIANT}"));
    if root.is_dir() {
        return Ok(root);
    }
    fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    if vmtest::find_program("debootstrap").is_none() {
        bail!(
            "no debootstrap to build a root with; apt-get install debootstrap, or name a directory to pack"
        );
    }
    println!(
        "bench: building a root of Debian {RELEASE} {ARCHITECTURE} {VARIANT} in {}, once",
        root.display()
    );
    let (packages, unpacked) = (fresh(&work.join("debootstrap"))?, fresh(&work.join("unpacking"))?);
    let mut debootstrap = command("debootstrap");
    let (arch, variant) = (format!("--arch={ARCHITECTURE}"), format!("--variant={VARIANT}"));
    output(debootstrap.args([&arch, &variant, "--foreign", RELEASE]).arg(&packages))
        .context("debootstrap needs root, and Debian's package servers")?;
    unpack_all(&packages.join("var/cache/apt/archives"), &unpacked)?;
    copy_lists(&packages.join("var/lib/apt/lists"), &unpacked.join("var/lib/apt/lists"))?;
    fs::remove_dir_all(&packages)?;
    // Last, so that what is there is whole.
    fs::rename(&unpacked, &root)?;
    Ok(root)
}

fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// Unpacks every package in `folder`, in the order of their names.
fn unpack_all(folder: &Path, root: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut debs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    debs.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    debs.sort();
    if debs.is_empty() {
        bail!("debootstrap has left no packages in {}", folder.display());
    }
    debs.iter().try_for_each(|deb| run_command(command("dpkg-deb").arg("-x").arg(deb).arg(root)))
}

/// apt's lists: large texts, as many images have them.
fn copy_lists(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    run_command(command("cp").args(["-a", "-T"]).arg(from).arg(to))
}
