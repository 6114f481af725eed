//! Every name from the root on, with the inode it names.

use flashwright_tree::{Finding, check_name};
use zerocopy::little_endian::U32;

use super::{Checker, INODE_COST, Reached};
use crate::format::{DirIndex, InodeType, MAX_NAME, MetadataRef, NONE32};
use crate::reader::ReadError;
use crate::reader::directory::{Entry, Listing, Run};
use crate::reader::inode::{Body, DirectoryBody, Inode};

/// Longest name that Linux can look up, bytes.
const LINUX_NAME_MAX: usize = 255;
/// Longest symlink target that Linux can follow, bytes.
const LINUX_TARGET_MAX: usize = 4095;
/// Memory of one run of entries while its directory is checked, bytes.
const RUN_COST: u64 = 64;
/// What a name costs. None of it is kept, but listings that overlap must not make this run for ever.
const ENTRY_COST: u64 = 16;

/// A directory whose listing is to be read.
pub(super) struct Pending {
    node: usize,
    body: DirectoryBody,
    /// Byte of the inode table after the inode, where its index is.
    index_at: usize,
}

/// A run of entries and the name it starts with: what directory indexes point to.
type IndexTarget<'a> = (Run, &'a [u8]);

impl<'a> Checker<'a> {
    /// Visits all names.
    pub(super) fn walk(&mut self) -> Result<(), ReadError> {
        let root = MetadataRef::unpack(self.facts.superblock.root_inode.get());
        let mut pending = Vec::new();
        if let Err(error) = self.root(root, &mut pending) {
            self.report.note(error, |finding| finding)?;
        }
        while let Some(directory) = pending.pop() {
            self.directory(&directory, &mut pending)?;
        }
        self.report.inodes = self.nodes.len() as u64;
        Ok(())
    }

    fn root(&mut self, reference: MetadataRef, pending: &mut Vec<Pending>) -> Result<(), ReadError> {
        let (inode, end) = self.inode(reference)?;
        let node = self.reach(reference, &inode, 0, b"");
        match inode.body {
            Body::Directory(_) => self.examine(node, inode, end, pending),
            _ => {
                let finding = Finding::error("root inode", "a directory", inode.inode_type.kind.name());
                self.about(node, finding);
                Ok(())
            }
        }
    }

    fn inode(&mut self, reference: MetadataRef) -> Result<(Inode, usize), ReadError> {
        self.budget.charge(INODE_COST, "inodes")?;
        let mut cursor = self.tables.inodes.cursor(reference)?;
        let inode = Inode::read(&mut cursor, self.facts.block_size, &mut self.budget)?;
        Ok((inode, cursor.position()))
    }

    /// Remembers an inode; returns its index.
    fn reach(&mut self, reference: MetadataRef, inode: &Inode, parent: usize, name: &'a [u8]) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Reached {
            reference,
            number: inode.number,
            kind: inode.inode_type.kind,
            nlink: inode.nlink,
            names: 1,
            subdirectories: 0,
            parent,
            name,
        });
        self.by_number.entry(inode.number).or_insert(index);
        index
    }

    /// Checks everything an inode says; leaves directories for later.
    fn examine(
        &mut self,
        node: usize,
        inode: Inode,
        end: usize,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ReadError> {
        self.numbers(node, &inode);
        if inode.xattr != NONE32 {
            self.xattrs(node, inode.xattr)?;
        }
        match inode.body {
            Body::Directory(body) => pending.push(Pending { node, body, index_at: end }),
            Body::File(body) => self.file_data(node, &body, inode.inode_type.extended)?,
            Body::Symlink(target) if target.len() > LINUX_TARGET_MAX => {
                let expected = format!("a target of at most {LINUX_TARGET_MAX} bytes, as Linux can follow");
                self.about(node, Finding::warning("symlink", expected, target.len()));
            }
            Body::Symlink(_) | Body::Device(_) | Body::Ipc => {}
        }
        Ok(())
    }

    fn numbers(&mut self, node: usize, inode: &Inode) {
        let inodes = self.facts.superblock.inodes.get();
        if inode.number == 0 || inode.number > inodes {
            let expected = format!("a number from 1 to {inodes}");
            self.about(node, Finding::error("inode number", expected, inode.number));
        }
        if inode.permissions > 0o7777 {
            let found = format!("{:#o}", inode.permissions);
            self.about(node, Finding::warning("permissions", "at most 0o7777", found));
        }
        let ids = self.tables.ids.entries::<U32>().len();
        for (what, id) in [("uid", inode.owner.0), ("gid", inode.owner.1)] {
            if usize::from(id) >= ids {
                self.about(node, Finding::error(what, format!("an index below {ids}"), id));
            }
        }
    }

    fn xattrs(&mut self, node: usize, index: u32) -> Result<(), ReadError> {
        // The values are looked at once for all inodes, see `other_tables`.
        if let Err(error) = self.tables.xattrs.set(index) {
            self.failed(node, error)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Pending, pending: &mut Vec<Pending>) -> Result<(), ReadError> {
        let node = directory.node;
        self.parent_number(node, directory.body.parent);
        let mut listing = match Listing::new(&self.tables.directories, &directory.body) {
            Ok(listing) => listing,
            Err(error) => return self.failed(node, error),
        };
        let (mut last, mut runs): (Option<&[u8]>, Vec<IndexTarget<'_>>) = (None, Vec::new());
        loop {
            let entry = match listing.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    self.failed(node, error)?;
                    break;
                }
            };
            if entry.first_of_run && directory.body.index_count > 0 {
                self.budget.charge(RUN_COST, "directory indexes")?;
                runs.push((entry.run, entry.name));
            }
            self.budget.charge(ENTRY_COST, "directory entries")?;
            self.name(node, last, &entry);
            last = Some(entry.name);
            self.entry(node, &entry, pending)?;
        }
        let (start, end) = listing.range();
        if end > start {
            self.listings.push((start, end));
        }
        self.index(directory, &runs)
    }

    /// The root's parent is no inode, and writers do not agree on a number for it.
    fn parent_number(&mut self, node: usize, parent: u32) {
        let expected = self.nodes.get(node).and_then(|n| self.nodes.get(n.parent)).map(|p| p.number);
        if let Some(expected) = expected.filter(|&number| node != 0 && number != parent) {
            self.about(node, Finding::warning("parent inode", expected, parent));
        }
    }

    /// A finding about one entry of a directory.
    fn about_entry(&mut self, directory: usize, entry: &Entry<'_>, finding: Finding) {
        let place = self.tables.directories.place(entry.position);
        let path = flashwright_tree::join_path(&self.path(directory), entry.name);
        self.report.add(finding.named(path).in_inode(entry.number).at(place));
    }

    fn name(&mut self, directory: usize, last: Option<&[u8]>, entry: &Entry<'_>) {
        self.report.names = self.report.names.saturating_add(1);
        if let Err(error) = check_name(entry.name) {
            self.about_entry(directory, entry, Finding::error("name", "a name that Linux can use", error));
        }
        if entry.name.len() > LINUX_NAME_MAX && entry.name.len() <= MAX_NAME {
            let expected = format!("at most {LINUX_NAME_MAX} bytes, as Linux can look up");
            self.about_entry(directory, entry, Finding::warning("name", expected, entry.name.len()));
        }
        if last.is_some_and(|last| last >= entry.name) {
            let last = last.map(flashwright_tree::display_path).map(|name| name.to_string());
            let expected = "names in ascending byte order, without which Linux does not find them";
            let found = format!("one after {}", last.unwrap_or_default());
            self.about_entry(directory, entry, Finding::error("order of names", expected, found));
        }
    }

    fn entry(
        &mut self,
        directory: usize,
        entry: &Entry<'a>,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ReadError> {
        if let Some(&known) = self.by_number.get(&entry.number) {
            self.further_name(directory, entry, known);
            return Ok(());
        }
        if self.nodes.len() >= self.facts.superblock.inodes.get() as usize {
            let expected = format!("{} inodes, as the superblock says", self.nodes.len());
            self.about_entry(directory, entry, Finding::error("number of inodes", expected, "one more"));
            return Ok(());
        }
        let (inode, end) = match self.inode(entry.inode) {
            Ok(found) => found,
            Err(error) => {
                let path = flashwright_tree::join_path(&self.path(directory), entry.name);
                return self.report.note(error, |finding| finding.named(path).in_inode(entry.number));
            }
        };
        self.same_facts(directory, entry, &inode);
        if inode.number != entry.number && self.by_number.contains_key(&inode.number) {
            return Ok(());
        }
        if matches!(inode.body, Body::Directory(_)) {
            self.nodes
                .get_mut(directory)
                .into_iter()
                .for_each(|d| d.subdirectories = d.subdirectories.saturating_add(1));
        }
        let node = self.reach(entry.inode, &inode, directory, entry.name);
        self.examine(node, inode, end, pending)
    }

    /// A directory entry repeats the type and the number of its inode.
    fn same_facts(&mut self, directory: usize, entry: &Entry<'_>, inode: &Inode) {
        let basic = InodeType { extended: false, ..inode.inode_type };
        if entry.type_number != basic.number() {
            let expected = format!("{} ({})", basic.number(), basic.kind.name());
            let finding = Finding::error("type in the name", expected, entry.type_number);
            self.about_entry(directory, entry, finding);
        }
        if inode.number != entry.number {
            let finding = Finding::error("inode number in the name", inode.number, entry.number);
            self.about_entry(directory, entry, finding);
        }
    }

    /// A second name for an inode that was reached before.
    fn further_name(&mut self, directory: usize, entry: &Entry<'_>, known: usize) {
        let Some(node) = self.nodes.get_mut(known) else { return };
        node.names = node.names.saturating_add(1);
        let (reference, kind) = (node.reference, node.kind);
        if reference != entry.inode {
            let show = |at: MetadataRef| format!("{:#x}:{}", at.block, at.offset);
            let finding = Finding::error("inode of that number", show(reference), show(entry.inode));
            self.about_entry(directory, entry, finding);
        } else if kind == flashwright_tree::Kind::Directory {
            let expected = "one name for a directory";
            self.about_entry(directory, entry, Finding::error("directory", expected, "another name for it"));
        } else if entry.type_number != (InodeType { kind, extended: false }).number() {
            let expected = InodeType { kind, extended: false }.number();
            self.about_entry(
                directory,
                entry,
                Finding::error("type in the name", expected, entry.type_number),
            );
        }
    }

    /// The index of a directory must point to runs, in order, by the names they start with.
    fn index(&mut self, directory: &Pending, runs: &[IndexTarget<'_>]) -> Result<(), ReadError> {
        let mut cursor = self.tables.inodes.cursor_at(directory.index_at);
        let mut last = None;
        for number in 0..directory.body.index_count {
            self.budget.charge(ENTRY_COST, "directory indexes")?;
            let read = cursor.get::<DirIndex>().and_then(|entry| {
                let len = entry.name_size.get() as usize;
                Ok((entry, cursor.take(len.saturating_add(1))?))
            });
            let (entry, name) = match read {
                Ok(read) => read,
                Err(error) => return self.failed(directory.node, error),
            };
            if let Some((expected, found)) = self.index_problem(&entry, name, runs) {
                let what = format!("directory index {number}");
                self.about(directory.node, Finding::error(what, expected, found));
            }
            if last.is_some_and(|last| last >= entry.index.get()) {
                let what = format!("directory index {number}");
                let finding = Finding::error(what, "ascending positions", format!("{:#x}", entry.index));
                self.about(directory.node, finding);
            }
            last = Some(entry.index.get());
        }
        Ok(())
    }

    fn index_problem(
        &self,
        entry: &DirIndex,
        name: &[u8],
        runs: &[IndexTarget<'_>],
    ) -> Option<(String, String)> {
        let found = runs.binary_search_by_key(&entry.index.get(), |(run, _)| run.listing_offset);
        let Some((run, first)) = found.ok().and_then(|index| runs.get(index)) else {
            return Some(("the start of a run of names".into(), format!("listing byte {}", entry.index)));
        };
        let block = self.tables.directories.block_of(run.position).map_or(0, |block| block.stored);
        let show = flashwright_tree::display_path;
        if *first != name {
            Some((show(first).to_string(), show(name).to_string()))
        } else if block != u64::from(entry.start_block.get()) {
            Some((format!("metadata block {block:#x}"), format!("{:#x}", entry.start_block)))
        } else {
            None
        }
    }
}
