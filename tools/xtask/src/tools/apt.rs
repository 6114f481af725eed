//! A private apt: lists and packages of a Debian release that need not be the host's. The host's own packages are
//! neither asked nor changed, and root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{command, is_debian, output};

/// Keys of Debian's archive, from package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SERVER: &str = "http://deb.debian.org/debian";

/// A private apt for one release.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Sets up an apt of that release (`trixie`, `testing`) and fetches its lists.
    pub(crate) fn new(release: &str) -> Result<Self> {
        if !is_debian() || !cfg!(target_arch = "x86_64") {
            bail!("this is not Debian on amd64");
        }
        let apt = Apt { folder: vmtest::peers_dir().join("apt").join(release) };
        apt.set_up(release).with_context(|| format!("cannot set up {}", apt.folder.display()))?;
        output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn set_up(&self, release: &str) -> std::io::Result<()> {
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.join(sub))?;
        }
        // An empty list of installed packages: a package comes with all that it needs, libc included.
        fs::write(self.folder.join("status"), "")?;
        fs::write(
            self.folder.join("sources.list"),
            format!("deb [signed-by={KEYRING}] {SERVER} {release} main\n"),
        )?;
        fs::write(self.folder.join("apt.conf"), self.configuration())
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            r#"Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
"#
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Fetches packages with all that they need; returns the `.deb` files.
    pub(crate) fn fetch_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let archives = self.folder.join("cache/archives");
        remove_debs(&archives)?;
        output(self.command("apt-get").args(["install", "--download-only", "--yes"]).args(packages))?;
        debs(&archives)
    }

    /// Fetches one package alone into `folder`; returns its `.deb` file.
    pub(crate) fn fetch_one(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        output(self.command("apt-get").args(["download", package]).current_dir(folder))?;
        let found = debs(folder)?.into_iter().find(|deb| file_name(deb).starts_with(&format!("{package}_")));
        found.with_context(|| format!("apt-get download {package} left nothing in {}", folder.display()))
    }

    /// The first package that `package` depends on: the real one behind a package that names the newest version.
    pub(crate) fn first_dependency(&self, package: &str) -> Result<String> {
        let text = output(self.command("apt-cache").args(["depends", package]))?;
        let found = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        found.map(str::to_owned).with_context(|| format!("package {package} depends on nothing"))
    }
}

/// Unpacks a package.
pub(crate) fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    output(command("dpkg-deb").arg("-x").arg(deb).arg(folder)).map(drop)
}

/// Paths of what is in a package, without the leading `.`.
pub(crate) fn contents(deb: &Path) -> Result<Vec<String>> {
    let text = output(command("dpkg-deb").arg("-c").arg(deb))?;
    let names = text.lines().filter_map(|line| line.split(" ./").nth(1));
    Ok(names.map(|name| format!("/{}", name.split(" -> ").next().unwrap_or(name))).collect())
}

/// `NAME_VERSION_ARCH.deb` without folder.
pub(crate) fn file_name(deb: &Path) -> String {
    deb.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    let mut debs: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
    debs.sort();
    Ok(debs)
}

fn remove_debs(folder: &Path) -> Result<()> {
    debs(folder)?.iter().try_for_each(fs::remove_file).context("cannot remove old packages")
}
