//! The tables as wholes: complete, without anything that nobody uses, and where the superblock says.

use std::collections::HashSet;

use flashwright_tree::{Finding, Kind};
use zerocopy::little_endian::{U32, U64};

use super::Checker;
use crate::format::{Compression, DirIndex, METADATA_SIZE, MetadataRef, XattrId, flags};
use crate::reader::info;
use crate::reader::inode::{Body, Inode};
use crate::reader::input::Input;
use crate::reader::metadata::{Cursor, MetadataTable};
use crate::reader::tables::IndexedTable;
use crate::reader::{HEAD_LEN, ReadError};

/// Memory of one inode while the inode table is read from its start, bytes.
const SEEN_COST: u64 = 32;

impl Checker<'_> {
    /// Reads the inode table from its start: every inode must be in a directory, and every directory must name
    /// starts of inodes.
    pub(super) fn inode_table(&mut self) -> Result<(), ReadError> {
        let (inodes, tables) = (self.facts.superblock.inodes.get(), self.tables);
        if self.nodes.len() != inodes as usize {
            let expected = format!("{inodes} inodes in directories, as the superblock says");
            self.report.add(Finding::error("number of inodes", expected, self.nodes.len()).at(4u64));
        }
        let mut starts = HashSet::new();
        let mut cursor = tables.inodes.cursor_at(0);
        while cursor.left() > 0 {
            let start = cursor.position();
            self.budget.charge(SEEN_COST, "inodes")?;
            if let Err(error) = self.skip_inode(&mut cursor) {
                self.report.note(error, |finding| finding)?;
                break;
            }
            starts.extend(tables.inodes.reference(start));
        }
        for index in 0..self.nodes.len() {
            let reference = self.nodes.get(index).map(|node| node.reference);
            if reference.is_some_and(|reference| !starts.contains(&reference)) {
                let finding = Finding::error("position of the inode", "the start of an inode", "the middle");
                self.about(index, finding);
            }
        }
        let unused = starts.len().saturating_sub(self.nodes.len());
        if unused > 0 {
            let found = format!("{unused} that are in none");
            let finding = Finding::warning("inode table", "inodes that are in a directory", found);
            self.report.add(finding.at(self.facts.superblock.inode_table.get()));
        }
        Ok(())
    }

    fn skip_inode(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ReadError> {
        let mut budget = super::super::Limits::default().budget(cursor.left() as u64);
        let inode = Inode::read(cursor, self.facts.block_size, &mut budget)?;
        if let Body::Directory(body) = inode.body {
            for _ in 0..body.index_count {
                let entry: DirIndex = cursor.get()?;
                cursor.take((entry.name_size.get() as usize).saturating_add(1))?;
            }
        }
        Ok(())
    }

    /// Link counts: names of files, subdirectories and two more of directories.
    pub(super) fn link_counts(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(index) else { continue };
            let expected = match node.kind {
                Kind::Directory => node.subdirectories.saturating_add(2),
                _ => node.names,
            };
            let found = node.nlink;
            if expected != found {
                self.about(index, Finding::error("link count", expected, found));
            }
        }
    }

    /// Everything but inodes and data.
    pub(super) fn other_tables(&mut self, data_start: u64) -> Result<(), ReadError> {
        let (superblock, tables) = (&self.facts.superblock, self.tables);
        self.chain("inode table", superblock.inode_table.get(), &tables.inodes)?;
        self.chain("directory table", superblock.directory_table.get(), &tables.directories)?;
        if let Some((_, start)) = tables.xattrs.position {
            self.chain("xattr table", start, &tables.xattrs.data)?;
        }
        self.listings();
        self.export();
        self.ids();
        self.xattr_sets()?;
        self.positions(data_start);
        self.flags();
        Ok(())
    }

    /// Metadata blocks must be full, but for the last, and reach up to the next table.
    fn chain(&mut self, name: &'static str, start: u64, table: &MetadataTable) -> Result<(), ReadError> {
        if let Some(error) = table.stopped() {
            self.report.add(Finding::from(error));
        }
        for pair in table.blocks().windows(2) {
            let [block, next] = pair else { continue };
            let len = next.unpacked.saturating_sub(block.unpacked);
            if len != METADATA_SIZE {
                let finding = Finding::warning(name, format!("full blocks of {METADATA_SIZE} bytes"), len);
                self.report.add(finding.at(start.saturating_add(block.stored)));
            }
        }
        Ok(())
    }

    /// Listings must not reach into one another, and must fill the directory table.
    fn listings(&mut self) {
        self.listings.sort_unstable();
        let table = &self.tables.directories;
        let mut end = 0;
        for &(start, next_end) in &self.listings {
            if start != end {
                let what = if start < end { "two that overlap" } else { "bytes that are in no listing" };
                let finding = Finding::warning("directory table", "one listing after the other", what);
                self.report.add(finding.at(table.place(start.min(end))));
            }
            end = end.max(next_end);
        }
        if end < table.len() {
            let found = format!("{} bytes more", table.len().saturating_sub(end));
            let finding = Finding::warning("directory table", "listings up to its end", found);
            self.report.add(finding.at(table.place(end)));
        }
    }

    /// The export table must lead from each number to its inode.
    fn export(&mut self) {
        let (has, tables) = (self.facts.has(flags::EXPORTABLE), self.tables);
        let Some(export) = &tables.export else {
            if has {
                self.report.add(Finding::error("export table", "one, as the flags say", "none").at(0x18u64));
            }
            return;
        };
        let entries = export.entries::<U64>();
        for index in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(index) else { continue };
            let entry = (node.number as usize).checked_sub(1).and_then(|position| entries.get(position));
            let Some(entry) = entry.map(|entry| MetadataRef::unpack(entry.get())) else { continue };
            if entry != node.reference {
                let show = |at: MetadataRef| format!("{:#x}:{}", at.block, at.offset);
                let finding = Finding::error("export table", show(node.reference), show(entry));
                self.about(index, finding.at(export.index));
            }
        }
    }

    fn ids(&mut self) {
        let ids = self.tables.ids.entries::<U32>();
        let different: HashSet<_> = ids.iter().map(|id| id.get()).collect();
        if different.len() != ids.len() {
            let found = format!("{} entries, {} of them different", ids.len(), different.len());
            let finding = Finding::warning("id table", "every id once", found);
            self.report.add(finding.at(self.tables.ids.index));
        }
    }

    /// Reads every set of xattrs. Its size counts names in full with a NUL, and values.
    fn xattr_sets(&mut self) -> Result<(), ReadError> {
        let (table, budget) = (&self.tables.xattrs, &mut self.budget);
        for (index, id) in (0u32..).zip(table.ids.entries::<XattrId>()) {
            let place = table.ids.index;
            let set = table.set(index).and_then(|mut set| {
                let (mut len, mut names, mut twice) = (0u64, HashSet::new(), false);
                while let Some(xattr) = set.next().transpose()? {
                    let name = xattr.full_name();
                    budget.charge((name.len() as u64).saturating_add(SEEN_COST), "xattrs")?;
                    len = [name.len(), 1, xattr.value.len()]
                        .into_iter()
                        .fold(len, |sum, n| sum.saturating_add(n as u64));
                    twice |= !names.insert(name);
                }
                Ok((len, twice))
            });
            match set {
                Ok((len, twice)) => {
                    if twice {
                        let finding =
                            Finding::error(format!("xattr set {index}"), "every name once", "one twice");
                        self.report.add(finding.at(place));
                    }
                    if len != u64::from(id.size.get()) {
                        let what = format!("size of xattr set {index}");
                        self.report.add(Finding::warning(what, len, id.size.get()).at(place));
                    }
                }
                Err(error) => self.report.note(error, |mut finding| {
                    finding.what = format!("xattr set {index}: {}", finding.what);
                    finding.at(place)
                })?,
            }
        }
        Ok(())
    }

    /// Where the parts of the image are: none within another, and the last one ends where the image does.
    fn positions(&mut self, data_start: u64) {
        let (superblock, tables) = (&self.facts.superblock, self.tables);
        let range = |table: &IndexedTable| (table.start(), table.index_end);
        let mut parts = vec![
            ("superblock", (0, HEAD_LEN as u64)),
            ("compressor options", (HEAD_LEN as u64, data_start)),
            ("inode table", (superblock.inode_table.get(), tables.inodes.end())),
            ("directory table", (superblock.directory_table.get(), tables.directories.end())),
            ("fragment table", range(&tables.fragments)),
            ("export table", tables.export.as_ref().map_or((0, 0), range)),
            ("id table", range(&tables.ids)),
        ];
        if let Some((header, start)) = tables.xattrs.position {
            parts.push(("xattr table", (start, tables.xattrs.data.end())));
            parts.push((
                "xattr id table",
                (tables.xattrs.ids.start().min(header), tables.xattrs.ids.index_end),
            ));
        }
        parts.retain(|(_, (start, end))| end > start);
        parts.sort_by_key(|&(_, range)| range);
        for pair in parts.windows(2) {
            let [(name, (_, end)), (next_name, (start, _))] = pair else { continue };
            if end > start {
                let expected = format!("it behind the {name}, which ends at {end:#x}");
                self.report.add(Finding::error(*next_name, expected, format!("{start:#x}")).at(*start));
            }
        }
        let end = parts.iter().map(|&(_, (_, end))| end).max().unwrap_or_default();
        if end != superblock.bytes_used.get() {
            let finding = Finding::warning("bytes used", end, superblock.bytes_used.get());
            self.report.add(finding.at(0x28u64));
        }
    }

    fn flags(&mut self) {
        let superblock = &self.facts.superblock;
        if self.facts.compression == Compression::Lzma {
            let expected = "a compressor that Linux without vendor patches knows";
            self.report.add(Finding::error("compressor", expected, "lzma").at(0x14u64));
        }
        if self.facts.has(flags::NO_FRAGMENTS) && superblock.fragments.get() > 0 {
            let finding = Finding::warning("flags", "no fragments, as they say", superblock.fragments.get());
            self.report.add(finding.at(0x18u64));
        }
        if self.facts.has(flags::NO_XATTRS) && self.tables.xattrs.position.is_some() {
            self.report
                .add(Finding::warning("flags", "no xattrs, as they say", "an xattr table").at(0x18u64));
        }
    }

    /// What follows the image should be one byte again and again, as flash tools and loop devices expect;
    /// or JFFS2 end marks.
    pub(super) fn padding(&mut self, whole: &Input, start: u64) -> Result<(), ReadError> {
        let padding = info::padding(whole, start)?;
        if padding.len > 0 && padding.byte.is_none() && !info::is_marked_padding(whole, start)? {
            let finding = Finding::warning("padding", "one byte value", "several, or data behind the image");
            self.report.add(finding.at(start));
        }
        Ok(())
    }
}
