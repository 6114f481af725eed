//! Reads and checks images that may be hostile.
//!
//! ```text
//! Image::open ── superblock
//!   ├─ tree()   ── tables unpacked ── inodes, listings ── Tree, whose file data stays in the image until it is read
//!   ├─ info()   ── what the superblock says, and how large everything is
//!   └─ check()  ── all of it read and held against the rules of the format and of Linux
//! ```
//!
//! Reads every SquashFS 4.0 little-endian image: all compressors of Linux and LZMA-alone, uncompressed parts, fragments,
//! extended inodes, xattrs in line and out of line, hard links, holes. Other versions, byte orders and vendors are told
//! by [`identify`], and some of them read by the module `foreign` (cargo feature of that name).
//!
//! No image makes this panic, recurse, loop for ever, or take more memory than [`Limits`] say: every position is
//! checked before it is used, and every length before anything is allocated for it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs::File;
//! use std::sync::Arc;
//! use flashwright_squashfs::reader::Image;
//!
//! let file = File::open("rootfs.squashfs")?;
//! let len = file.metadata()?.len();
//! let image = Image::open(Arc::new(file), len).map_err(|error| format!("rootfs.squashfs: {error}"))?;
//! for entry in image.tree()?.walk() {
//!     println!("{:o} {}", entry.node.mode(), flashwright_tree::display_path(&entry.path));
//! }
//! # Ok(())
//! # }
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod check;
mod data;
mod directory;
mod error;
#[cfg(feature = "foreign")]
pub mod foreign;
mod identify;
mod info;
mod inode;
mod input;
mod limits;
mod metadata;
mod superblock;
mod tables;
mod tree;
mod unpack;
mod xattr;

use std::sync::Arc;

use flashwright_tree::{ReadAt, Tree};

pub use check::Report;
pub use error::{ErrorClass, ReadError};
pub use identify::{Foreign, HEAD_LEN, Identity, detect, identify};
pub use info::{Info, Padding, TableInfo};
pub use limits::Limits;
pub use superblock::CompressorOptions;

use crate::format::{Compression, FragmentEntry, SuperBlock};
use data::DataStore;
use input::Input;
use superblock::Facts;
use tables::Tables;
use unpack::Unpacker;

/// A SquashFS 4.0 image whose superblock makes sense.
#[derive(Debug)]
pub struct Image {
    facts: Facts,
    /// Up to `bytes_used`: what follows is padding.
    input: Input,
    whole: Input,
    limits: Limits,
}

impl Image {
    /// Opens the image of `len` bytes in `source`, with default [`Limits`].
    ///
    /// # Errors
    /// [`ErrorClass::NotSquashfs`], [`ErrorClass::Unsupported`] for foreign images, [`ErrorClass::Corrupt`] when the
    /// superblock is wrong or the image is cut short, [`ErrorClass::Io`].
    pub fn open(source: Arc<dyn ReadAt>, len: u64) -> Result<Self, ReadError> {
        Self::open_with(source, len, Limits::default())
    }

    /// As [`Image::open`], with other limits.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, len: u64, limits: Limits) -> Result<Self, ReadError> {
        let whole = Input::new(source, len);
        let facts = Facts::read(&whole)?;
        let input = whole.cut(facts.superblock.bytes_used.get());
        Ok(Image { facts, input, whole, limits })
    }

    /// The superblock, as it stands in the image.
    #[must_use]
    pub fn superblock(&self) -> &SuperBlock {
        &self.facts.superblock
    }

    /// The compressor.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.facts.compression
    }

    /// The compressor options record; `None` when the image has none.
    ///
    /// # Errors
    /// [`ErrorClass::Corrupt`] when the record is not one of this compressor, [`ErrorClass::Io`].
    pub fn options(&self) -> Result<Option<CompressorOptions>, ReadError> {
        Ok(self.facts.options(&self.input)?.0)
    }

    /// The tree in the image. File data is not read: it stays in the image and comes out, block by block, when
    /// the tree's [`Content`](flashwright_tree::Content) is read. Blocks that are not stored are holes.
    ///
    /// # Errors
    /// [`ErrorClass::Corrupt`], [`ErrorClass::Limit`], [`ErrorClass::Io`]. Damaged file data shows when it is read:
    /// a [`ContentError::Source`](flashwright_tree::ContentError::Source) whose cause is a [`ReadError`].
    pub fn tree(&self) -> Result<Tree, ReadError> {
        let mut budget = self.limits.budget(self.input.len());
        let unpacker = Unpacker::new(self.facts.compression);
        let tables = Tables::load(&self.facts, (&self.input, &unpacker), &mut budget)?;
        let store = self.store(&tables, unpacker);
        tree::load(&self.facts.superblock, &tables, store, budget)
    }

    fn store(&self, tables: &Tables, unpacker: Unpacker) -> Arc<DataStore> {
        let fragments = tables.fragments.entries::<FragmentEntry>().to_vec();
        Arc::new(DataStore::new(self.input.clone(), unpacker, self.facts.block_size, fragments))
    }
}
