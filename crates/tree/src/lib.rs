//! The file tree that goes into a flash image.
//!
//! A [`Tree`] is what every source (directories, pseudo files, archives) is turned into and what every format
//! (SquashFS, JFFS2, UBIFS, initramfs) is written from. Nodes are named by [`NodeId`]; a directory maps names to node
//! ids, so a hard link is simply a second name for the same id.
//!
//! ```text
//! Tree ── nodes: [0 directory]──"bin"──►[1 directory]──"sh"──►[2 file]
//!                      └─────────"lib"──►[3 directory]──"x"───────┘   (hard link)
//! ```
//!
//! Nodes are packed, as there may be millions: [`Tree::node`] unpacks one. See [`Tree::spilling`] for trees that are
//! too large for memory.
//!
//! Names and symlink targets are bytes, never UTF-8. File data stays where it is (memory, a host file, another
//! image) until somebody reads it, see [`Content`]. This crate knows no on-disk format and no input syntax.
//!
//! With the cargo features `proptest` and `arbitrary` the module `generate` makes trees for tests of file-system
//! writers and readers.

mod compare;
mod content;
mod entries;
mod error;
mod finding;
#[cfg(any(feature = "proptest", feature = "arbitrary"))]
pub mod generate;
mod heap;
mod name;
mod node;
mod record;
mod spill;
mod tree;
mod walk;
mod xattrs;

pub use compare::{Difference, compare};
pub use content::{Content, ContentReader, Extent, HostFile, Identity, ReadAt, Source};
pub use entries::Entries;
pub use error::{ContentError, TreeError};
pub use finding::{Finding, Findings, MAX_FINDINGS, NextStep, Severity};
pub use name::{Name, PathDisplay, check_name, display_path, join_path};
pub use node::{Device, Kind, Metadata, Node, NodeKind, Timestamp};
pub use spill::Column;
pub use tree::{NodeId, Tree};
pub use walk::{Walk, WalkEntry};
pub use xattrs::Xattrs;
