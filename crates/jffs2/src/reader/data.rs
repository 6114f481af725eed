//! File data: which node has which bytes, and unpacking it when it is wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flashwright_codec::{Decompressor, lzo, rtime, zlib};
use flashwright_media::{Endian, Fields};
use flashwright_tree::{Content, Finding, ReadAt, Source};

use super::ReadError;
use super::index::{Index, InodeNode};
use super::limits::Budget;
use crate::format::{Compression, NodeHeader, RawInode, Record, node_len};

/// Unpacked nodes that are kept.
const CACHED: usize = 8;
/// Memory of one part of a file, and of one run of parts, bytes.
const PART_COST: u64 = 80;
const RUN_COST: u64 = 128;

/// What all files of one image share.
pub(super) struct Store {
    source: Arc<dyn ReadAt>,
    /// First node, bytes from the start of the image.
    start: u64,
    endian: Endian,
    index: Arc<Index>,
    /// Unpacked nodes by their position in the index, the one used last at the end.
    cache: Mutex<Vec<(u32, Arc<[u8]>)>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("start", &self.start)
            .field("endian", &self.endian)
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(super) const fn new(source: Arc<dyn ReadAt>, start: u64, endian: Endian, index: Arc<Index>) -> Self {
        Store { source, start, endian, index, cache: Mutex::new(Vec::new()) }
    }

    pub(super) const fn endian(&self) -> Endian {
        self.endian
    }

    /// Position in the image of what is at `at` from the first node.
    pub(super) fn absolute(&self, at: u32) -> u64 {
        self.start.saturating_add(at.into())
    }

    /// `len` bytes at `offset` of the node at `at`. The scan has seen that they are there.
    pub(super) fn read(&self, at: u32, offset: u32, len: usize) -> Result<Vec<u8>, ReadError> {
        let from = self.absolute(at).saturating_add(offset.into());
        let mut bytes = vec![0; len];
        self.source.read_exact_at(from, &mut bytes).map_err(|error| ReadError::io(from, error))?;
        Ok(bytes)
    }

    /// The record of an inode node.
    pub(super) fn raw_inode(&self, node: &InodeNode) -> Result<RawInode, ReadError> {
        let bytes = self.read(node.at, NodeHeader::LEN, RawInode::LEN as usize)?;
        Ok(RawInode::get(&mut Fields::new(&bytes, self.endian)).unwrap_or_default())
    }

    /// The data of a node, unpacked; `Err` with what is wrong with it.
    pub(super) fn unpack(&self, node: &InodeNode) -> Result<Result<Vec<u8>, Finding>, ReadError> {
        let len = node.data_len as usize;
        let stored = self.read(node.at, node_len::<RawInode>(0), node.stored_len as usize)?;
        let packed: Box<dyn Decompressor> = match Compression::from_number(node.compression) {
            Some(Compression::None) => return Ok(Ok(stored)),
            Some(Compression::Zero) => return Ok(Ok(vec![0; len])),
            Some(Compression::Rtime) => rtime::decompressor(),
            Some(Compression::Zlib) => zlib::decompressor(),
            Some(Compression::Lzo) => lzo::decompressor(),
            other => return Ok(Err(self.unreadable(node, other))),
        };
        Ok(self.unpack_with(packed, node, &stored))
    }

    fn unpack_with(
        &self,
        mut packed: Box<dyn Decompressor>,
        node: &InodeNode,
        stored: &[u8],
    ) -> Result<Vec<u8>, Finding> {
        let expected = node.data_len as usize;
        let mut bytes = vec![0; expected];
        let found = match packed.decompress(stored, &mut bytes) {
            Ok(len) if len == expected => return Ok(bytes),
            Ok(len) => format!("{len} bytes"),
            Err(error) => error.to_string(),
        };
        let finding = Finding::error("data of the inode node", format!("{expected} bytes unpacked"), found);
        Err(finding.damage().at(self.absolute(node.at)).in_inode(node.ino))
    }

    fn unreadable(&self, node: &InodeNode, compression: Option<Compression>) -> Finding {
        let found = compression.map_or("an unknown one", Compression::name);
        let finding =
            Finding::error("compression of the inode node", "none, zero, rtime, zlib or lzo", found);
        finding.at(self.absolute(node.at)).in_inode(node.ino)
    }

    /// As [`Store::unpack`], of the node at `number` of the index; what was unpacked last is kept.
    fn unpacked(&self, number: u32) -> io::Result<Arc<[u8]>> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cache = lock();
        if let Some(place) = cache.iter().position(|&(cached, _)| cached == number) {
            let entry = cache.remove(place);
            let bytes = Arc::clone(&entry.1);
            cache.push(entry);
            return Ok(bytes);
        }
        drop(cache);
        let node = self.index.inodes().get(number as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = self.unpack(node)?.map_err(|finding| ReadError::damaged(finding, 1))?;
        let bytes: Arc<[u8]> = bytes.into();
        let mut cache = lock();
        if cache.len() >= CACHED {
            cache.remove(0);
        }
        cache.push((number, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

/// A range of a file that one node has.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: u32,
    end: u32,
    /// Position in the index.
    node: u32,
}

/// Which node has which part of a file: data of a later version replaces what it overlaps.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<u32, Part>);

impl Parts {
    /// The parts of an inode whose nodes, oldest first, begin at position `first` of the index.
    pub(super) fn of(first: usize, nodes: &[InodeNode], budget: &mut Budget) -> Result<Self, ReadError> {
        let mut parts = Parts::default();
        for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node.data_len > 0) {
            // A node adds itself, and may cut one other in two.
            budget.charge(PART_COST, "the parts of files")?;
            let number = u32::try_from(first.saturating_add(index)).unwrap_or(u32::MAX);
            let end = node.offset.saturating_add(node.data_len);
            parts.put(Part { start: node.offset, end, node: number });
        }
        Ok(parts)
    }

    fn put(&mut self, part: Part) {
        self.cut(part.start);
        self.cut(part.end);
        let covered: Vec<u32> = self.0.range(part.start..part.end).map(|(&start, _)| start).collect();
        for start in &covered {
            self.0.remove(start);
        }
        self.0.insert(part.start, part);
    }

    /// Cuts the part that has bytes on both sides of `at` in two.
    fn cut(&mut self, at: u32) {
        let Some((_, part)) = self.0.range_mut(..at).next_back() else { return };
        if part.end > at {
            let rest = Part { start: at, ..*part };
            part.end = at;
            self.0.insert(at, rest);
        }
    }

    /// End of the last part.
    pub(super) fn end(&self) -> u32 {
        self.0.last_key_value().map_or(0, |(_, part)| part.end)
    }

    /// The content of a file of `size` bytes, read when it is wanted.
    pub(super) fn content(
        mut self,
        store: &Arc<Store>,
        size: u32,
        budget: &mut Budget,
    ) -> Result<Content, ReadError> {
        self.cut(size);
        self.0.split_off(&size);
        let zero = |part: &Part| {
            let node = store.index.inodes().get(part.node as usize);
            node.is_some_and(|node| node.compression == Compression::Zero.number())
        };
        let parts: Box<[Part]> = self.0.into_values().filter(|part| !zero(part)).collect();
        let runs = runs(&parts);
        budget.charge((runs.len() as u64).saturating_mul(RUN_COST), "holes of files")?;
        let data: Arc<dyn ReadAt> = Arc::new(FileData { store: Arc::clone(store), parts });
        let mut content = Content::empty();
        for (start, end) in runs {
            let (start, end) = (u64::from(start), u64::from(end));
            content = content.with_hole_to(start);
            content = content.with(Source::Reader(Arc::clone(&data)), start, end.saturating_sub(start));
        }
        Ok(content.with_hole_to(size.into()))
    }
}

/// Adding a hole.
trait HoleTo {
    /// The content with a hole at its end, so that it is `len` bytes long.
    fn with_hole_to(self, len: u64) -> Self;
}

impl HoleTo for Content {
    fn with_hole_to(self, len: u64) -> Self {
        let hole = len.saturating_sub(self.len());
        self.with(Source::Hole, 0, hole)
    }
}

/// Ranges that parts cover without a gap.
fn runs(parts: &[Part]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some(last) if last.1 == part.start => last.1 = part.end,
            _ => runs.push((part.start, part.end)),
        }
    }
    runs
}

/// The stored data of one file.
#[derive(Debug)]
struct FileData {
    store: Arc<Store>,
    parts: Box<[Part]>,
}

impl FileData {
    /// Copies what one part has from `offset` on; returns how much that was.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let index = self.parts.partition_point(|part| u64::from(part.end) <= offset);
        let part = self.parts.get(index).filter(|part| u64::from(part.start) <= offset);
        let part = part.ok_or(io::ErrorKind::UnexpectedEof)?;
        let node = self.store.index.inodes().get(part.node as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = self.store.unpacked(part.node)?;
        let from = usize::try_from(offset.saturating_sub(node.offset.into())).unwrap_or(usize::MAX);
        let left = usize::try_from(u64::from(part.end).saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let data =
            bytes.get(from..).and_then(|bytes| bytes.get(..len)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.get_mut(..len).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(len)
    }
}

impl ReadAt for FileData {
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let len = self.read_some(offset, buffer)?;
            offset = offset.saturating_add(len as u64);
            buffer = buffer.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes as they were written, oldest first: from, to.
    type Written<'a> = &'a [(u32, u32)];
    /// Parts as they are read: from, to, node.
    type Read<'a> = &'a [(u32, u32, u32)];

    #[test]
    fn later_parts_replace_what_they_overlap() {
        let cases: [(Written<'_>, Read<'_>); 6] = [
            (&[(0, 10), (10, 20)], &[(0, 10, 0), (10, 20, 1)]),
            (&[(0, 30), (10, 20)], &[(0, 10, 0), (10, 20, 1), (20, 30, 0)]),
            (&[(10, 20), (0, 30)], &[(0, 30, 1)]),
            (&[(0, 10), (20, 30), (5, 25)], &[(0, 5, 0), (5, 25, 2), (25, 30, 1)]),
            (&[(0, 10), (0, 10)], &[(0, 10, 1)]),
            (&[(0, 10), (0, 5), (5, 10)], &[(0, 5, 1), (5, 10, 2)]),
        ];
        for (nodes, expected) in cases {
            let mut parts = Parts::default();
            for (&(start, end), node) in nodes.iter().zip(0..) {
                parts.put(Part { start, end, node });
            }
            let found: Vec<_> = parts.0.values().map(|part| (part.start, part.end, part.node)).collect();
            assert_eq!(found, expected);
        }
    }
}
