//! Where the peers' tools, kernels and the guest program are, and what a test does without them.

use std::env;
use std::path::{Path, PathBuf};

/// Environment variable: folder with what `cargo xtask tools` makes; default `target/peers` of the workspace.
const PEERS: &str = "FLASHWRIGHT_PEERS";
/// Environment variable: folder with the kernel of the big-endian MIPS machine.
const MIPS_FOLDER: &str = "FLASHWRIGHT_VM_MIPS";

/// Root of the workspace.
///
/// # Panics
/// Never: this package is two folders below it.
#[must_use]
pub fn workspace_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tools/vmtest is two folders below the workspace").to_owned()
}

/// Folder of the outside tools: `bin/` with programs, `vm/` with kernels and guest programs. The environment variable
/// `FLASHWRIGHT_PEERS`, or else `target/peers` of the workspace.
#[must_use]
pub fn peers_dir() -> PathBuf {
    env::var_os(PEERS).map_or_else(|| workspace_dir().join("target/peers"), PathBuf::from)
}

/// Says that a test, or a part of one, does not run because something is missing.
///
/// # Panics
/// With `CI=true`: there, everything must run.
pub fn skip(what: &str) {
    let message = format!("skipped: {what}; `cargo xtask tools` installs what is missing, on Debian as root");
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    eprintln!("{message}");
}

/// Program `name` (`mksquashfs`, `jffs2dump`, …) of the version that the tests are made for, or else one that is on
/// the `PATH`. Without either the caller's test is skipped, see [`skip`].
///
/// # Panics
/// With `CI=true`, when it is missing.
#[must_use]
pub fn peer(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(&format!("no {name}"));
    }
    found
}

/// Program `name` in `bin/` of [`peers_dir`], or else on the `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(peers_dir().join("bin")).chain(env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Folder with the kernel of the big-endian MIPS machine: the environment variable `FLASHWRIGHT_VM_MIPS`, or else
/// `../shared/vm/mips-be` beside the workspace. `None` when there is no such folder.
#[must_use]
pub fn mips_folder() -> Option<PathBuf> {
    let named = env::var_os(MIPS_FOLDER).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| workspace_dir().join("../shared/vm/mips-be"));
    folder.is_dir().then_some(folder)
}
