//! Reads and checks images and dumps that may be damaged or hostile.
//!
//! ```text
//! Image::open ── locate: first node, byte order ── scan: every node once, CRCs ── geometry
//!   ├─ tree()     ── the file system as Linux would show it; an error when something is damaged
//!   ├─ salvage()  ── what is left of a damaged one, and what is wrong
//!   ├─ info()     ── byte order, eraseblocks, what the bytes are used for
//!   └─ check()    ── all of it, data unpacked, held against the rules of the format and of Linux
//! ```
//!
//! Nothing in a JFFS2 image has a fixed place, so all nodes are looked at when it is opened, and a table of them is kept:
//! about 30 bytes a node. File data stays in the image until it is read. The file system may begin at any byte, as it
//! does in a dump of a whole flash: what comes before its first node is left alone.
//!
//! No image makes this panic, recurse, loop for ever, or take more memory than [`Limits`] say.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs::File;
//! use std::sync::Arc;
//! use flashwright_jffs2::reader::{Image, ReadOptions};
//!
//! let file = File::open("rootfs.jffs2")?;
//! let len = file.metadata()?.len();
//! let image = Image::open(Arc::new(file), len, &ReadOptions::default())?;
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
mod geometry;
mod index;
mod info;
mod inode;
mod limits;
mod locate;
mod node;
mod scan;
mod summary;
mod tree;
mod window;
mod xattr;

use std::sync::Arc;

use flashwright_media::Endian;
use flashwright_tree::{Findings, ReadAt, Tree};

pub use check::Report;
pub use error::{ErrorClass, ReadError};
pub use geometry::Geometry;
pub use info::Info;
pub use limits::Limits;
pub use locate::{HEAD_LEN, detect, find};

use data::Store;
use index::Index;
use limits::Budget;
use scan::Scan;

/// What is known about an image beforehand. Default: nothing, all of it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Byte order; default that of the first node.
    pub endian: Option<Endian>,
    /// Bytes of an eraseblock; default what summaries, cleanmarkers and nodes tell.
    pub eraseblock: Option<u32>,
    /// Bytes of a page of the flash; default what padding and cleanmarkers tell.
    pub page_size: Option<u32>,
    /// Bounds on memory.
    pub limits: Limits,
}

/// A JFFS2 image all of whose nodes have been looked at.
#[derive(Debug)]
pub struct Image {
    source: Arc<dyn ReadAt>,
    len: u64,
    scan: Scan,
    geometry: Geometry,
    index: Arc<Index>,
    /// Memory that the scan has left.
    budget: Budget,
    /// What is wrong with nodes by themselves.
    findings: Findings,
}

impl Image {
    /// Opens the image of `len` bytes in `source`, and reads it once from front to back.
    ///
    /// # Errors
    /// [`ErrorClass::NotJffs2`] when there is no node in it, [`ErrorClass::Limit`], [`ErrorClass::Io`]. Damage is none
    /// yet: it is an error of [`Image::tree`].
    pub fn open(source: Arc<dyn ReadAt>, len: u64, options: &ReadOptions) -> Result<Self, ReadError> {
        let mut budget = options.limits.budget(len);
        let mut scan = scan::run(&source, len, options.endian, &mut budget)?;
        let geometry = Geometry::of(&mut scan, options);
        let mut findings = std::mem::take(&mut scan.findings);
        geometry.check(&scan, &mut findings);
        let index = Arc::new(Index::new(std::mem::take(&mut scan.nodes)));
        Ok(Image { source, len, scan, geometry, index, budget, findings })
    }

    /// Byte order of the CPU it was made for.
    #[must_use]
    pub const fn endian(&self) -> Endian {
        self.scan.endian
    }

    /// Eraseblock and page size, as far as the image tells.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The tree in the image, as Linux would show it. File data is read when the tree's
    /// [`Content`](flashwright_tree::Content) is.
    ///
    /// # Errors
    /// [`ErrorClass::Damaged`] when any node is damaged or contradicts another: nobody can tell then whether something is
    /// missing. [`Image::salvage`] takes what is left. [`ErrorClass::Limit`], [`ErrorClass::Io`].
    pub fn tree(&self) -> Result<Tree, ReadError> {
        if let Some(first) = self.findings.first_error() {
            return Err(ReadError::damaged(first.clone(), self.findings.list.len() as u64));
        }
        let (tree, findings) = self.load(false)?;
        match findings.first_error() {
            Some(first) => Err(ReadError::damaged(first.clone(), findings.list.len() as u64)),
            None => Ok(tree),
        }
    }

    /// What is left of a damaged file system, and everything that is wrong with it.
    ///
    /// Nodes with a wrong CRC are left out, as Linux does: what an older node says, or zeros, takes their place. Inodes
    /// that no directory names are put into `lost+found` by their number, unless their names were removed on purpose. A
    /// name without an inode is dropped.
    ///
    /// # Errors
    /// [`ErrorClass::Limit`], [`ErrorClass::Io`].
    pub fn salvage(&self) -> Result<(Tree, Findings), ReadError> {
        let (tree, found) = self.load(true)?;
        let mut findings = self.findings.clone();
        found.list.into_iter().for_each(|finding| findings.add(finding));
        findings.more = findings.more.saturating_add(found.more);
        Ok((tree, findings))
    }

    fn load(&self, salvage: bool) -> Result<(Tree, Findings), ReadError> {
        tree::load(&self.index, &self.store(), &mut self.budget.clone(), salvage)
    }

    fn store(&self) -> Arc<Store> {
        Arc::new(Store::new(
            Arc::clone(&self.source),
            self.scan.start,
            self.scan.endian,
            Arc::clone(&self.index),
        ))
    }
}
