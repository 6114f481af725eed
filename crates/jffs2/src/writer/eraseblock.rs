//! Nodes put into eraseblocks: cleanmarkers, summaries, and what is erased behind them.

use std::io::Write;

use flashwright_media::crc32_from_zero;

use super::node::{ERASED, Node, encode};
use super::pack::Pool;
use crate::error::WriteError;
use crate::format::{
    END_MARK, ENTRY_TYPE_LEN, NodeHeader, RawInode, Record, Summary as SummaryRecord, SummaryInode,
    SummaryMarker, node_len, node_type, padded,
};
use crate::options::{Options, Padding};

/// What became of the eraseblocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// Nodes, cleanmarkers and summaries not counted.
    pub(super) nodes: u64,
    /// Eraseblocks that have nodes, the last one included.
    pub(super) eraseblocks: u64,
    /// Bytes behind the last node of the last of these.
    pub(super) open_bytes: u32,
    /// Bytes lost at the ends of full eraseblocks: together, and in the worst one.
    pub(super) lost_bytes: u64,
    pub(super) most_lost: u32,
    /// Length of the image, padding included.
    pub(super) bytes: u64,
}

/// The image as it is written, eraseblock by eraseblock.
pub(super) struct Eraseblocks<'a, W> {
    options: &'a Options,
    output: W,
    pool: Pool,
    /// Cleanmarker with the erased bytes after it.
    cleanmarker: Vec<u8>,
    buffer: Vec<u8>,
    written: Written,
}

/// Nodes that wait beyond an eraseblock's worth, so that there is a choice: so many bytes, and so many of the longest.
const LOOKAHEAD: (u64, u64) = (1 << 20, 64);

impl<'a, W: Write> Eraseblocks<'a, W> {
    pub(super) fn new(options: &'a Options, output: W) -> Self {
        let longest = longest_node(options);
        let mut cleanmarker = Vec::new();
        let len = options.cleanmarker_len();
        if len > 0 {
            let header = NodeHeader::new(node_type::CLEANMARKER, len, options.endian);
            header.put(options.endian, &mut cleanmarker);
            cleanmarker.resize(len as usize, ERASED);
        }
        let pool = Pool::new(longest, options.summary);
        Eraseblocks { options, output, pool, cleanmarker, buffer: Vec::new(), written: Written::default() }
    }

    /// Gives a node its place, now or later.
    pub(super) fn push(&mut self, node: Node) -> Result<(), WriteError> {
        self.pool.push(node);
        let lookahead = LOOKAHEAD.0.max(u64::from(longest_node(self.options)) * LOOKAHEAD.1);
        while self.pool.cost() >= u64::from(self.options.eraseblock) + lookahead {
            self.full()?;
        }
        Ok(())
    }

    /// Whether short nodes would help to fill eraseblocks.
    pub(super) fn wants_short(&self) -> bool {
        self.pool.wants_short()
    }

    /// Writes what still waits, and the padding.
    pub(super) fn finish(mut self) -> Result<Written, WriteError> {
        while self.pool.len() > u64::from(self.options.eraseblock - self.start()) {
            self.full()?;
        }
        self.open()?;
        self.pad()?;
        self.output.flush()?;
        Ok(self.written)
    }

    /// Bytes of an eraseblock's cleanmarker.
    fn start(&self) -> u32 {
        padded(self.options.cleanmarker_len())
    }

    /// Fills one eraseblock.
    fn full(&mut self) -> Result<(), WriteError> {
        let fixed = if self.options.summary { SummaryRecord::FIXED_LEN } else { 0 };
        let room = self.options.eraseblock - self.start() - fixed;
        let nodes = self.pool.take(room);
        self.put(&nodes);
        let cost = |node: &Node| node.len() + if self.options.summary { node.entry_len() } else { 0 };
        let lost = room - nodes.iter().map(cost).sum::<u32>();
        if self.options.summary {
            let summary = summary(self.options, self.start(), self.filled(), &nodes);
            self.buffer.extend_from_slice(&summary);
        }
        self.buffer.resize(self.options.eraseblock as usize, ERASED);
        self.written.lost_bytes += u64::from(lost);
        self.written.most_lost = self.written.most_lost.max(lost);
        self.write_buffer()
    }

    /// The last eraseblock that has nodes: without summary, since the kernel goes on writing there.
    fn open(&mut self) -> Result<(), WriteError> {
        if self.pool.is_empty() {
            return Ok(());
        }
        let nodes = self.pool.take_all();
        self.put(&nodes);
        self.fill_page();
        self.written.open_bytes = self.options.eraseblock - self.filled();
        if self.options.padding != Padding::None || self.options.end_mark {
            self.buffer.resize(self.options.eraseblock as usize, ERASED);
        }
        self.write_buffer()
    }

    /// Fills the page in which the last node ends, as the kernel does: it goes on writing in the next page, and takes what
    /// is erased in between for a fault.
    fn fill_page(&mut self) {
        let len = self.filled();
        let end = len.next_multiple_of(self.options.page_size).min(self.options.eraseblock);
        if end - len < NodeHeader::LEN {
            // Zeros are skipped.
            self.buffer.resize(end as usize, 0);
            return;
        }
        let header = NodeHeader::new(node_type::PADDING, end - len, self.options.endian);
        header.put(self.options.endian, &mut self.buffer);
        self.buffer.resize(end as usize, ERASED);
    }

    fn put(&mut self, nodes: &[Node]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.cleanmarker);
        nodes.iter().for_each(|node| self.buffer.extend_from_slice(&node.bytes));
        self.written.nodes += nodes.len() as u64;
        self.written.eraseblocks += 1;
    }

    /// Bytes in the buffer, at most an eraseblock.
    fn filled(&self) -> u32 {
        u32::try_from(self.buffer.len()).unwrap_or(u32::MAX)
    }

    fn write_buffer(&mut self) -> Result<(), WriteError> {
        let len = self.written.bytes + self.buffer.len() as u64;
        if let Padding::Size(size) = self.options.padding
            && len > size
        {
            let needed = len + self.pool.len();
            return Err(WriteError::TooLarge { needed, size });
        }
        if u32::try_from(len).is_err() {
            return Err(WriteError::Tree {
                what: "an image of 4 GiB or more, JFFS2 addresses less".into(),
                remedy: "leave files out",
            });
        }
        self.output.write_all(&self.buffer)?;
        self.written.bytes = len;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), WriteError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.cleanmarker);
        self.buffer.resize(self.options.eraseblock as usize, ERASED);
        if self.options.end_mark {
            let free = std::mem::take(&mut self.buffer);
            self.buffer.extend_from_slice(&END_MARK);
            if self.options.padding != Padding::None {
                self.buffer.resize(free.len(), ERASED);
            }
            self.write_buffer()?;
            self.buffer = free;
        }
        if let Padding::Size(size) = self.options.padding {
            while self.written.bytes < size {
                self.write_buffer()?;
            }
        }
        Ok(())
    }
}

/// Bytes that the longest data node costs.
fn longest_node(options: &Options) -> u32 {
    node_len::<RawInode>(options.node_size) + ENTRY_TYPE_LEN + SummaryInode::LEN
}

/// The summary of an eraseblock whose first node begins at `start`, and which is filled up to `position`: all bytes
/// from there to its end.
fn summary(options: &Options, start: u32, position: u32, nodes: &[Node]) -> Vec<u8> {
    let endian = options.endian;
    let mut entries = Vec::new();
    let mut offset = start;
    for node in nodes {
        node.entry(offset).put(endian, &mut entries);
        offset += node.len();
    }
    let len = options.eraseblock - position - node_len::<SummaryRecord>(SummaryMarker::LEN);
    entries.resize(len as usize, ERASED);
    SummaryMarker { offset: position, magic: SummaryMarker::MAGIC }.put(endian, &mut entries);
    let record = SummaryRecord {
        // As many as fit into an eraseblock.
        entries: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        cleanmarker_len: options.cleanmarker_len(),
        padded: 0,
        entries_crc: crc32_from_zero(&entries),
        node_crc: 0,
    };
    let crc = (SummaryRecord::CRC_LEN, SummaryRecord::CRC_LEN + size_of::<u32>());
    encode(node_type::SUMMARY, record, &[&entries], crc, endian).0
}

/// Writes OpenWrt's end marks behind `len` bytes that are in `output` already, and returns how many bytes there are
/// then: one mark at the next multiple of each of `eraseblocks` (bytes; smallest first), 0xFF between them.
///
/// OpenWrt's kernel makes its writable JFFS2 from the first eraseblock that begins with a mark; with a mark for each
/// size, one image serves devices of several.
///
/// # Errors
/// What `output` says.
pub fn write_end_marks(output: &mut impl Write, len: u64, eraseblocks: &[u32]) -> std::io::Result<u64> {
    let mut position = len;
    for &eraseblock in eraseblocks {
        let start = position.next_multiple_of(eraseblock.max(1).into());
        for _ in position..start {
            output.write_all(&[ERASED])?;
        }
        output.write_all(&END_MARK)?;
        position = start + END_MARK.len() as u64;
    }
    Ok(position)
}
