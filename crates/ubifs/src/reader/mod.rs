//! Reads and checks images that may be hostile: those of a writer, and dumps of volumes that were in use.
//!
//! ```text
//! Image::open ── superblock, newest master node
//!   ├─ tree()   ── index of the last commit ── journal applied to it ── inodes, entries ── Tree, whose file data stays
//!   │              in the image until it is read
//!   ├─ info()   ── what superblock and master say
//!   └─ check()  ── all of it read and held against the rules of the format and of Linux
//! ```
//!
//! After a cut of power the journal ends in the middle of a write. What was not whole is left out, as the kernel does at
//! the next mount. The image is not changed.
//!
//! Encrypted and authenticated images are refused. No image makes this panic, recurse, loop for ever, or take more memory
//! than [`Limits`] say: every position is checked before it is used, and every length before anything is allocated for
//! it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs::File;
//! use std::sync::Arc;
//! use flashwright_ubifs::reader::Image;
//!
//! let file = File::open("root.ubifs")?;
//! let len = file.metadata()?.len();
//! let image = Image::open(Arc::new(file), len).map_err(|error| format!("root.ubifs: {error}"))?;
//! for entry in image.tree()?.walk() {
//!     println!("{:o} {}", entry.node.mode(), flashwright_tree::display_path(&entry.path));
//! }
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod check;
mod data;
mod error;
mod index;
mod info;
mod inode;
mod input;
mod journal;
mod limits;
mod lpt;
mod superblock;
mod tree;

use std::sync::Arc;

use flashwright_tree::{ReadAt, Tree};

pub use check::Report;
pub use error::{ErrorClass, Place, ReadError};
pub use info::Info;
pub use limits::Limits;
pub use superblock::{HEAD_LEN, detect};

use index::Index;
use input::Input;
use superblock::{Facts, Master};

/// A UBIFS image whose superblock and master make sense.
#[derive(Debug)]
pub struct Image {
    facts: Facts,
    master: Master,
    input: Input,
    limits: Limits,
}

impl Image {
    /// Opens the image of `len` bytes in `source`, with default [`Limits`].
    ///
    /// # Errors
    /// [`ErrorClass::NotUbifs`], [`ErrorClass::Unsupported`] for encrypted and authenticated images,
    /// [`ErrorClass::Corrupt`] when superblock or master are wrong, [`ErrorClass::Io`].
    pub fn open(source: Arc<dyn ReadAt>, len: u64) -> Result<Self, ReadError> {
        Self::open_with(source, len, Limits::default())
    }

    /// As [`Image::open`], with other limits.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, len: u64, limits: Limits) -> Result<Self, ReadError> {
        let mut facts = Facts::read(&source, len)?;
        let input = Input::new(source, len, facts.sb.leb_size.get());
        let master = Master::read(&facts, &input)?;
        facts.grow(&master);
        Ok(Image { facts, master, input, limits })
    }

    /// The tree in the image, with everything that the journal holds. File data is not read: it stays in the image and
    /// comes out, block by block, when the tree's [`Content`](flashwright_tree::Content) is read. Blocks that are not
    /// stored are holes.
    ///
    /// # Errors
    /// [`ErrorClass::Corrupt`], [`ErrorClass::Limit`], [`ErrorClass::Io`]. Damaged file data shows when it is read: a
    /// [`ContentError::Source`](flashwright_tree::ContentError::Source) whose cause is a [`ReadError`].
    pub fn tree(&self) -> Result<Tree, ReadError> {
        let mut budget = self.limits.budget(self.input.len());
        let mut index = Index::read(&self.facts, &self.master, &self.input, &mut budget, &mut |_, _, _| ())?;
        let journal = journal::replay(&self.facts, &self.master, &self.input, &mut budget, &mut index)?;
        tree::load(&self.facts, &index, &self.input, &journal.sizes, budget)
    }
}
