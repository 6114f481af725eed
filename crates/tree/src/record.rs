//! A node as it stands in the heap: some forty bytes where the structures would take two hundred.
//!
//! ```text
//! head │ entries, of a directory │ name │ permissions, uid, gid │ time │ xattrs │ target, device or content
//! ```
//!
//! Numbers take as many bytes as they need. What many nodes share (xattrs, the host's folders, sources of data) is
//! stored once and referred to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::heap::{Cursor, Heap, Position, put_bytes, put_number, put_signed};
use crate::{
    Content, Device, Extent, HostFile, Identity, Kind, Metadata, Node, NodeKind, Source, Timestamp,
    TreeError, Xattrs,
};

/// Bits of the head: the kind, and what there is.
const KIND: u8 = 0x07;
const NANOSECONDS: u8 = 0x08;
const XATTRS: u8 = 0x10;
/// The node has, or had, more than one name.
const LINKED: u8 = 0x20;
/// The content has a host file.
const HOST: u8 = 0x40;
/// The content is that host file, whole.
const WHOLE: u8 = 0x80;

/// Of a host file: its time is the node's.
const SAME_TIME: u8 = 0x01;
/// Of a host file: its name is the node's.
const SAME_NAME: u8 = 0x02;
/// Of a host file: its path has a folder.
const FOLDER: u8 = 0x04;

/// Where the reference to a directory's entries stands in its record, and that is all that is ever changed, besides the
/// head.
const ENTRIES_AT: usize = 1;

/// What an extent is, in the lowest bits of its length.
const HOLE: u64 = 0;
const OF_HOST: u64 = 1;
const OF_SOURCE: u64 = 2;
/// In place of extents: the number of a content that is kept as it is.
const KEPT: u64 = 3;

/// Extents that a content may have in a record, where all are unpacked for each use; one with more is kept.
const MAX_EXTENTS: usize = 256;

/// Bytes of different xattrs that are remembered, to store equal ones once.
const REMEMBERED: usize = 2 << 20;
/// Sources that are looked at, to store equal ones once: those that came last.
const RECENT: usize = 4;

/// All records, and what they refer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    heap: Heap,
    sources: Vec<Source>,
    /// Contents of many extents.
    kept: Vec<Content>,
    /// The host's folder that the last file was in.
    folder: (Vec<u8>, Position),
    xattrs: HashMap<Box<[u8]>, Position>,
    xattr_bytes: usize,
}

/// What a record says of its node before all else.
#[derive(Debug)]
pub(crate) struct Record<'a>(Cow<'a, [u8]>);

impl Record<'_> {
    pub(crate) fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.head() & KIND)]
    }

    pub(crate) fn linked(&self) -> bool {
        self.head() & LINKED != 0
    }

    fn head(&self) -> u8 {
        self.0[0]
    }

    /// Where the entries of a directory are.
    pub(crate) fn entries(&self) -> Position {
        Position(Cursor(&self.0[ENTRIES_AT..]).fixed())
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.after_head().bytes()
    }

    fn after_head(&self) -> Cursor<'_> {
        let skip = if self.kind() == Kind::Directory { ENTRIES_AT + 4 } else { ENTRIES_AT };
        Cursor(&self.0[skip..])
    }
}

impl Records {
    pub(crate) fn spilling(directory: &std::path::Path) -> Self {
        Records { heap: Heap::spilling(directory), ..Records::default() }
    }

    pub(crate) const fn heap(&self) -> &Heap {
        &self.heap
    }

    pub(crate) const fn heap_mut(&mut self) -> &mut Heap {
        &mut self.heap
    }

    pub(crate) fn get(&self, position: Position) -> Record<'_> {
        Record(self.heap.get(position))
    }

    /// Says of a node that it has more than one name.
    pub(crate) fn set_linked(&mut self, position: Position) -> Result<(), TreeError> {
        let head = self.get(position).head() | LINKED;
        self.heap.patch(position, 0, &[head])
    }

    /// Says where the entries of a directory are.
    pub(crate) fn set_entries(&mut self, directory: Position, entries: Position) -> Result<(), TreeError> {
        self.heap.patch(directory, ENTRIES_AT, &entries.0.to_le_bytes())
    }

    /// Stores a node of that name.
    pub(crate) fn add(&mut self, name: &[u8], node: &Node) -> Result<Position, TreeError> {
        let kind = Kind::ALL.iter().position(|&kind| kind == node.kind()).unwrap_or_default();
        // Below 8.
        let mut head = u8::try_from(kind).unwrap_or_default();
        let mut out = vec![head];
        if node.is_directory() {
            out.extend_from_slice(&Position::NONE.0.to_le_bytes());
        }
        put_bytes(name, &mut out);
        head |= self.put_metadata(&node.metadata, &mut out)?;
        match &node.kind {
            NodeKind::File(content) => {
                head |= self.put_content(name, node.metadata.mtime, content, &mut out)?;
            }
            NodeKind::Symlink(target) => put_bytes(target, &mut out),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                put_number(device.major.into(), &mut out);
                put_number(device.minor.into(), &mut out);
            }
            NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => (),
        }
        out[0] = head;
        self.heap.add(&out)
    }

    /// Stores a node anew in place of one that has changed, under the name it had.
    pub(crate) fn replace(&mut self, old: Position, node: &Node) -> Result<Position, TreeError> {
        let record = self.get(old);
        let (linked, name) = (record.linked(), record.name().to_vec());
        let entries = (record.kind() == Kind::Directory).then(|| record.entries());
        let new = self.add(&name, node)?;
        if linked {
            self.set_linked(new)?;
        }
        if let Some(entries) = entries.filter(|_| node.is_directory()) {
            self.set_entries(new, entries)?;
        }
        Ok(new)
    }

    /// The node of a record.
    pub(crate) fn node(&self, record: &Record<'_>) -> Node {
        let mut cursor = record.after_head();
        let name = cursor.bytes();
        let metadata = self.metadata(record.head(), &mut cursor);
        let mut device = || Device { major: cursor.number32(), minor: cursor.number32() };
        let kind = match record.kind() {
            Kind::Directory => NodeKind::Directory,
            Kind::File => NodeKind::File(self.content(record.head(), name, metadata.mtime, cursor)),
            Kind::Symlink => NodeKind::Symlink(cursor.bytes().to_vec()),
            Kind::CharDevice => NodeKind::CharDevice(device()),
            Kind::BlockDevice => NodeKind::BlockDevice(device()),
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
        };
        Node { metadata, kind }
    }

    fn put_metadata(&mut self, metadata: &Metadata, out: &mut Vec<u8>) -> Result<u8, TreeError> {
        let mut head = 0;
        put_number(metadata.permissions.into(), out);
        put_number(metadata.uid.into(), out);
        put_number(metadata.gid.into(), out);
        put_signed(metadata.mtime.seconds, out);
        if metadata.mtime.nanoseconds != 0 {
            head |= NANOSECONDS;
            out.extend_from_slice(&metadata.mtime.nanoseconds.to_le_bytes());
        }
        if !metadata.xattrs.is_empty() {
            head |= XATTRS;
            out.extend_from_slice(&self.add_xattrs(&metadata.xattrs)?.0.to_le_bytes());
        }
        Ok(head)
    }

    fn metadata(&self, head: u8, cursor: &mut Cursor<'_>) -> Metadata {
        // 16 bits went in.
        let permissions = u16::try_from(cursor.number()).unwrap_or(u16::MAX);
        let (uid, gid, seconds) = (cursor.number32(), cursor.number32(), cursor.signed());
        let nanoseconds = if head & NANOSECONDS != 0 { cursor.fixed() } else { 0 };
        let xattrs = if head & XATTRS != 0 { self.xattrs(Position(cursor.fixed())) } else { Xattrs::new() };
        Metadata { permissions, uid, gid, mtime: Timestamp { seconds, nanoseconds }, xattrs }
    }

    fn add_xattrs(&mut self, xattrs: &Xattrs) -> Result<Position, TreeError> {
        let mut out = Vec::new();
        for (name, value) in xattrs {
            put_bytes(name, &mut out);
            put_bytes(value, &mut out);
        }
        if let Some(&position) = self.xattrs.get(&out[..]) {
            return Ok(position);
        }
        let position = self.heap.add(&out)?;
        if self.xattr_bytes > REMEMBERED {
            self.xattr_bytes = 0;
            self.xattrs.clear();
        }
        self.xattr_bytes += out.len() + size_of::<(Box<[u8]>, Position)>();
        self.xattrs.insert(out.into(), position);
        Ok(position)
    }

    fn xattrs(&self, position: Position) -> Xattrs {
        let bytes = self.heap.get(position);
        let mut cursor = Cursor(&bytes);
        let mut xattrs = Xattrs::new();
        while !cursor.0.is_empty() {
            xattrs.insert(cursor.bytes().to_vec(), cursor.bytes().to_vec());
        }
        xattrs
    }

    fn put_content(
        &mut self,
        name: &[u8],
        mtime: Timestamp,
        content: &Content,
        out: &mut Vec<u8>,
    ) -> Result<u8, TreeError> {
        let extents = content.extents();
        if extents.len() > MAX_EXTENTS {
            put_number(KEPT, out);
            put_number(self.kept.len() as u64, out);
            self.kept.push(content.clone());
            return Ok(0);
        }
        let mut head = 0;
        let host = extents.iter().find_map(|extent| match &extent.source {
            Source::Host(file) => Some(file),
            _ => None,
        });
        if let Some(host) = host {
            head |= HOST;
            self.put_host(name, mtime, host, out)?;
            if let [only] = &*extents
                && (only.source_offset, only.len) == (0, host.identity().len)
            {
                return Ok(head | WHOLE);
            }
        }
        for extent in &*extents {
            let kind = match &extent.source {
                Source::Hole => HOLE,
                Source::Host(file) if host == Some(file) => OF_HOST,
                _ => OF_SOURCE,
            };
            put_number(kind, out);
            put_number(extent.len, out);
            if kind == OF_SOURCE {
                put_number(self.add_source(&extent.source), out);
            }
            if kind != HOLE {
                put_number(extent.source_offset, out);
            }
        }
        Ok(head)
    }

    fn content(&self, head: u8, name: &[u8], mtime: Timestamp, mut cursor: Cursor<'_>) -> Content {
        let host = (head & HOST != 0).then(|| Arc::new(self.host(name, mtime, &mut cursor)));
        if let (Some(host), true) = (&host, head & WHOLE != 0) {
            return Content::from_host(Arc::clone(host));
        }
        let mut extents = Vec::new();
        let mut start = 0;
        while !cursor.0.is_empty() {
            let (kind, len) = (cursor.number(), cursor.number());
            if kind == KEPT {
                // Then `len` is its number.
                let kept = usize::try_from(len).ok().and_then(|number| self.kept.get(number));
                return kept.cloned().unwrap_or_default();
            }
            let source = match (kind, &host) {
                (OF_HOST, Some(host)) => Source::Host(Arc::clone(host)),
                (OF_SOURCE, _) => {
                    self.sources.get(cursor.number32() as usize).cloned().unwrap_or(Source::Hole)
                }
                _ => Source::Hole,
            };
            let source_offset = if kind == HOLE { 0 } else { cursor.number() };
            extents.push(Extent { start, len, source, source_offset });
            start += len;
        }
        Content::from_extents(extents)
    }

    fn add_source(&mut self, source: &Source) -> u64 {
        let known = self.sources.iter().rev().take(RECENT).position(|known| known.is(source));
        let index = known.map_or(self.sources.len(), |back| self.sources.len() - 1 - back);
        if index == self.sources.len() {
            self.sources.push(source.clone());
        }
        index as u64
    }

    fn put_host(
        &mut self,
        name: &[u8],
        mtime: Timestamp,
        file: &HostFile,
        out: &mut Vec<u8>,
    ) -> Result<(), TreeError> {
        let identity = file.identity();
        let path = file.path().as_os_str().as_bytes();
        let split = path.iter().rposition(|&byte| byte == b'/');
        let own = &path[split.map_or(0, |at| at + 1)..];
        let flag = |there: bool, flag| if there { flag } else { 0 };
        let same_time = identity.mtime == (mtime.seconds, mtime.nanoseconds.into());
        let same_name = own == name;
        out.push(flag(same_time, SAME_TIME) | flag(same_name, SAME_NAME) | flag(split.is_some(), FOLDER));
        put_number(identity.device, out);
        put_number(identity.inode, out);
        put_number(identity.len, out);
        if !same_time {
            put_signed(identity.mtime.0, out);
            put_signed(identity.mtime.1, out);
        }
        if let Some(split) = split {
            out.extend_from_slice(&self.add_folder(&path[..split])?.0.to_le_bytes());
        }
        if !same_name {
            put_bytes(own, out);
        }
        Ok(())
    }

    fn host(&self, name: &[u8], mtime: Timestamp, cursor: &mut Cursor<'_>) -> HostFile {
        let flags = cursor.byte();
        let (device, inode, len) = (cursor.number(), cursor.number(), cursor.number());
        let mtime = match flags & SAME_TIME {
            0 => (cursor.signed(), cursor.signed()),
            _ => (mtime.seconds, mtime.nanoseconds.into()),
        };
        let mut path = Vec::new();
        if flags & FOLDER != 0 {
            path.extend_from_slice(&self.heap.get(Position(cursor.fixed())));
            path.push(b'/');
        }
        path.extend_from_slice(if flags & SAME_NAME != 0 { name } else { cursor.bytes() });
        HostFile::at(PathBuf::from(OsStr::from_bytes(&path)), Identity { device, inode, len, mtime })
    }

    fn add_folder(&mut self, folder: &[u8]) -> Result<Position, TreeError> {
        if self.folder.1 == Position::NONE || self.folder.0 != folder {
            self.folder = (folder.to_vec(), self.heap.add(folder)?);
        }
        Ok(self.folder.1)
    }
}
