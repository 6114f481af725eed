//! Reads all of an image and holds it against the rules of the format, and against what Linux needs beyond them.
//!
//! In this order: fragment blocks, then every name from the root with its inode, data and xattrs, then the tables
//! as wholes, when it is known what they should hold. Nothing stops at the first finding unless what follows cannot
//! be found without it.

mod data;
mod report;
mod tables;
mod walk;

use std::collections::HashMap;

use flashwright_tree::{Finding, Kind};

use super::limits::Budget;
use super::superblock::Facts;
use super::tables::Tables;
use super::unpack::Unpacker;
use super::{ErrorClass, Image, ReadError};
use crate::format::MetadataRef;
use data::DataChecks;
pub use report::Report;

/// Bytes of a path that a finding shows, at most.
const MAX_PATH_SHOWN: usize = 4096;
/// Memory of one reached inode, bytes, roughly.
const INODE_COST: u64 = 160;

impl Image {
    /// Checks the whole image: every table, inode, name, xattr, and every block of file data, which are all unpacked.
    ///
    /// Looked at, among other things: that positions are in range and nothing overlaps; that inode numbers are
    /// unique and complete; that link counts are right; that names are sorted, as Linux needs them; that the export
    /// table, directory indexes, fragment table, xattr and id tables say what the inodes say; that the image ends
    /// where it says.
    ///
    /// # Errors
    /// [`ErrorClass::Io`] and [`ErrorClass::Limit`]. What is wrong with the image itself is in the report.
    pub fn check(&self) -> Result<Report, ReadError> {
        let mut report = Report::default();
        let mut budget = self.limits.budget(self.input.len());
        let unpacker = Unpacker::new(self.facts.compression);
        let tables = match Tables::load(&self.facts, (&self.input, &unpacker), &mut budget) {
            Ok(tables) => tables,
            Err(error) => {
                report.note(error, |finding| finding)?;
                return Ok(report);
            }
        };
        let data_start = match self.facts.options(&self.input) {
            Ok((_, end)) => end,
            Err(error) => {
                report.note(error, |finding| finding)?;
                super::HEAD_LEN as u64
            }
        };
        let store = self.store(&tables, unpacker);
        let mut checker = Checker {
            facts: &self.facts,
            tables: &tables,
            report,
            budget,
            nodes: Vec::new(),
            by_number: HashMap::new(),
            listings: Vec::new(),
            data: DataChecks::new(store, data_start, self.facts.superblock.inode_table.get()),
        };
        checker.fragments()?;
        checker.walk()?;
        checker.unused_fragments();
        checker.inode_table()?;
        checker.link_counts();
        checker.other_tables(data_start)?;
        checker.padding(&self.whole, self.input.len())?;
        Ok(checker.report)
    }
}

/// The check under way.
struct Checker<'a> {
    facts: &'a Facts,
    tables: &'a Tables,
    report: Report,
    budget: Budget,
    /// Inodes that were reached, in that order; the root first.
    nodes: Vec<Reached<'a>>,
    /// Index into `nodes` by inode number.
    by_number: HashMap<u32, usize>,
    /// Bytes of the directory table that listings take.
    listings: Vec<(usize, usize)>,
    data: DataChecks,
}

/// An inode that a directory names.
#[derive(Debug)]
struct Reached<'a> {
    reference: MetadataRef,
    number: u32,
    kind: Kind,
    /// What the inode says.
    nlink: u32,
    /// Names that were met.
    names: u32,
    /// Subdirectories.
    subdirectories: u32,
    /// Index of the directory that was met first with it, and the name there. (Paths are not kept: in deep trees
    /// they would be far longer than the image.)
    parent: usize,
    name: &'a [u8],
}

impl Checker<'_> {
    /// Path of a node, its beginning cut off when it is very long.
    fn path(&self, index: usize) -> Vec<u8> {
        let (mut parts, mut len, mut at) = (Vec::new(), 0usize, index);
        // The root is its own parent.
        while let Some(node) = self.nodes.get(at).filter(|_| at != 0) {
            len = len.saturating_add(node.name.len()).saturating_add(1);
            if len > MAX_PATH_SHOWN {
                parts.push(&b"..."[..]);
                break;
            }
            parts.push(node.name);
            at = node.parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Adds a finding about a node.
    fn about(&mut self, index: usize, finding: Finding) {
        let Some((number, reference)) = self.nodes.get(index).map(|node| (node.number, node.reference))
        else {
            return;
        };
        let offset = self.facts.superblock.inode_table.get().saturating_add(reference.block);
        let finding = finding.named(self.path(index)).in_inode(number).at(offset);
        self.report.add(finding);
    }

    /// Adds an error about a node; returns it when it is not the image's.
    fn failed(&mut self, index: usize, error: ReadError) -> Result<(), ReadError> {
        if matches!(error.class(), ErrorClass::Io | ErrorClass::Limit) {
            return Err(error);
        }
        self.about(index, Finding::from(&error));
        Ok(())
    }
}
