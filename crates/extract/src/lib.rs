//! Writes a [`Tree`] to a directory of the host, whoever made the tree.
//!
//! ```text
//! DIR/            files, directories, symlinks, hard links, holes; as root also owners, devices, all xattrs
//! DIR.toml        an image.toml that makes the same tree again, of DIR and DIR.pseudo
//! DIR.pseudo      what the host did not take, a line for each node, as mksquashfs reads it, too
//! ```
//!
//! Nothing outside DIR is touched, whatever the names, symlinks and targets in the tree are: each object is created
//! anew, relative to the open directory that holds it, and no symlink is ever followed. Directories are open only to
//! the owner until their content is complete. Depth is no matter: nothing recurses, and few directories are open at
//! once.
//!
//! Without [`Options::privileged`] no owner is set and no device is made, setuid and setgid bits are left off (they
//! would give rights of the wrong owner), and everything is readable by its owner; DIR.toml and DIR.pseudo say what it
//! should be. Privileged, they are written only when the host refuses something even so.

mod create;
mod directories;
mod error;
mod finish;
mod manifest;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use flashwright_tree::{NodeId, Tree};

pub use error::ExtractError;

use directories::Directories;
use manifest::Manifest;

/// How to extract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Options {
    /// Set owners, make devices, set setuid and setgid bits and every xattr: what root can do. What the host refuses
    /// even so goes to the image.toml. Default false.
    pub privileged: bool,
    /// Take a target directory that has entries already. They are left alone, and a name that is taken is an error.
    /// Default false: such a target is refused.
    pub into_existing: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Names created.
    pub names: u64,
    /// File data written, bytes.
    pub bytes: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Names created, the target itself not counted.
    pub names: u64,
    /// File data written, bytes; holes not counted.
    pub bytes: u64,
    /// Nodes that the host does not have as the tree has them; the image.toml says what they should be.
    pub deferred: u64,
    /// The image.toml, when one was needed.
    pub manifest: Option<PathBuf>,
}

/// Writes `tree` into the directory `target`, which is created when it is not there.
///
/// When this fails, what was extracted so far stays: it is in `target` alone.
///
/// # Errors
/// [`ExtractError`]; each names the path in the tree and on the host, and what to do.
pub fn extract(
    tree: &Tree,
    target: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, ExtractError> {
    let manifest = Manifest::new(target, options.privileged)?;
    let mut extraction = Extraction {
        tree,
        options: *options,
        directories: Directories::open(target, options.into_existing)?,
        manifest,
        names: tree.name_counts(),
        first_names: HashMap::new(),
        done: Progress::default(),
        progress,
    };
    extraction.create_all()?;
    extraction.finish_all()?;
    let Extraction { manifest, done, .. } = extraction;
    let deferred = manifest.deferred();
    let written = manifest.write()?;
    Ok(Summary { names: done.names, bytes: done.bytes, deferred, manifest: written })
}

/// The first name of a node that has several.
#[derive(Debug, Clone)]
struct First {
    path: Vec<u8>,
    /// False for a device that the host does not have.
    exists: bool,
}

/// An extraction under way.
struct Extraction<'a> {
    tree: &'a Tree,
    options: Options,
    directories: Directories,
    manifest: Manifest,
    names: Vec<u32>,
    /// First names of nodes that have several.
    first_names: HashMap<NodeId, First>,
    done: Progress,
    progress: &'a mut dyn FnMut(Progress),
}

impl Extraction<'_> {
    fn create_all(&mut self) -> Result<(), ExtractError> {
        let tree = self.tree;
        for entry in tree.walk().filter(|entry| !entry.path.is_empty()) {
            self.create(&entry)?;
            self.done.names += 1;
            (self.progress)(self.done);
        }
        Ok(())
    }

    /// Directories get their metadata when nothing is created in them any more: the deepest first.
    fn finish_all(&mut self) -> Result<(), ExtractError> {
        let directories = self.tree.walk().filter(|entry| entry.node.is_directory());
        let directories: Vec<_> = directories.map(|entry| (entry.path, entry.id)).collect();
        for (path, id) in directories.iter().rev() {
            self.finish_directory(path, &self.tree.node(*id))?;
        }
        Ok(())
    }
}

/// The last name of a path.
fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// All but the last name of a path.
fn parent_path(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(&[], |slash| &path[..slash])
}
