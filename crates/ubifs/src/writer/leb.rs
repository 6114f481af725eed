//! The main area as it fills up: nodes go into whichever open LEB they fill best.

use std::io::{Seek, SeekFrom, Write};

use crate::error::WriteError;
use crate::format::lpt::Lprops;
use crate::format::node::{pad, seal};
use crate::format::{PADDING_BYTE, aligned};
use crate::geometry::round_up;

/// LEBs that are filled at the same time: more lose less at their ends, and tear files apart.
const OPEN_LEBS: usize = 4;

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lnum: u32,
    pub(super) offs: u32,
    pub(super) len: u32,
}

struct OpenLeb {
    lnum: u32,
    bytes: Vec<u8>,
}

/// The main area.
pub(super) struct MainArea<'a, W> {
    out: &'a mut W,
    leb_size: u32,
    min_io_size: u32,
    first: u32,
    max_leb_cnt: u32,
    open: Vec<OpenLeb>,
    index: Option<OpenLeb>,
    /// Of each LEB from `first` on.
    lprops: Vec<Lprops>,
    hasher: blake3::Hasher,
    sqnum: u64,
    nodes: u64,
}

impl<'a, W: Write + Seek> MainArea<'a, W> {
    pub(super) fn new(
        out: &'a mut W,
        (leb_size, min_io_size): (u32, u32),
        (first, max_leb_cnt): (u32, u32),
    ) -> Self {
        MainArea {
            out,
            leb_size,
            min_io_size,
            first,
            max_leb_cnt,
            open: Vec::new(),
            index: None,
            lprops: Vec::new(),
            hasher: blake3::Hasher::new(),
            sqnum: 0,
            nodes: 0,
        }
    }

    /// The next sequence number.
    pub(super) fn next_sqnum(&mut self) -> u64 {
        self.sqnum += 1;
        self.sqnum
    }

    /// Nodes of the tree so far.
    pub(super) fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Completes a node and puts it where there is room.
    pub(super) fn put(&mut self, node: &mut [u8]) -> Result<Place, WriteError> {
        self.nodes += 1;
        let sqnum = self.next_sqnum();
        seal(node, sqnum);
        self.hasher.update(node);
        let room = self.leb_size as usize;
        let fits = |leb: &OpenLeb| leb.bytes.len() + node.len() <= room;
        let fullest =
            (0..self.open.len()).filter(|&i| fits(&self.open[i])).max_by_key(|&i| self.open[i].bytes.len());
        let index = match fullest {
            Some(index) => index,
            None => self.open_another()?,
        };
        Ok(append(&mut self.open[index], node))
    }

    /// Opens a LEB, in the place of the fullest when there are enough.
    fn open_another(&mut self) -> Result<usize, WriteError> {
        if self.open.len() == OPEN_LEBS {
            let fullest = (0..OPEN_LEBS).max_by_key(|&i| self.open[i].bytes.len()).unwrap_or(0);
            let full = self.open.remove(fullest);
            self.close(full, false)?;
        }
        let leb = self.new_leb();
        self.open.push(leb);
        Ok(self.open.len() - 1)
    }

    fn new_leb(&mut self) -> OpenLeb {
        let lnum = self.take_empty();
        OpenLeb { lnum, bytes: Vec::with_capacity(self.leb_size as usize) }
    }

    /// Sets a LEB aside; returns its number.
    pub(super) fn take_empty(&mut self) -> u32 {
        // Below 2^32 bytes of memory for the properties, so below 2^32 LEBs.
        let lnum = self.first + u32::try_from(self.lprops.len()).unwrap_or(u32::MAX - self.first);
        self.lprops.push(Lprops { free: self.leb_size, dirty: 0, index: false });
        lnum
    }

    /// Pads a LEB and writes it, unless it is one too many: then it is only counted.
    fn close(&mut self, leb: OpenLeb, index: bool) -> Result<(), WriteError> {
        let OpenLeb { lnum, mut bytes } = leb;
        let used = bytes.len();
        // At most a LEB.
        let end = round_up(u32::try_from(used).unwrap_or(u32::MAX), self.min_io_size) as usize;
        bytes.resize(end, 0);
        pad(&mut bytes[used..]);
        let lprops = &mut self.lprops[(lnum - self.first) as usize];
        lprops.free = self.leb_size - u32::try_from(end).unwrap_or(self.leb_size);
        lprops.dirty = u32::try_from(end - used).unwrap_or(0);
        lprops.index = index;
        bytes.resize(self.leb_size as usize, 0xff);
        if lnum < self.max_leb_cnt {
            self.out.seek(SeekFrom::Start(u64::from(lnum) * u64::from(self.leb_size)))?;
            self.out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Ends the nodes of the tree. Returns a hash of them all.
    pub(super) fn finish_nodes(&mut self) -> Result<blake3::Hash, WriteError> {
        for leb in std::mem::take(&mut self.open) {
            self.close(leb, false)?;
        }
        Ok(self.hasher.finalize())
    }

    /// Completes an index node and puts it behind the others.
    pub(super) fn put_index(&mut self, node: &mut [u8]) -> Result<Place, WriteError> {
        let sqnum = self.next_sqnum();
        seal(node, sqnum);
        let mut leb = match self.index.take() {
            Some(leb) if leb.bytes.len() + node.len() <= self.leb_size as usize => leb,
            full => {
                if let Some(full) = full {
                    self.close(full, true)?;
                }
                self.new_leb()
            }
        };
        let place = append(&mut leb, node);
        self.index = Some(leb);
        Ok(place)
    }

    /// Ends the index. Returns where it could go on.
    pub(super) fn finish_index(&mut self) -> Result<(u32, u32), WriteError> {
        let Some(leb) = self.index.take() else { return Ok((self.first, 0)) };
        let used = u32::try_from(leb.bytes.len()).unwrap_or(u32::MAX);
        let head = (leb.lnum, round_up(used, self.min_io_size));
        self.close(leb, true)?;
        Ok(head)
    }

    /// Properties of all LEBs that were set aside.
    pub(super) fn lprops(&self) -> &[Lprops] {
        &self.lprops
    }

    /// Writes a LEB of another area: `bytes`, then free space.
    pub(super) fn write_leb(&mut self, lnum: u32, mut bytes: Vec<u8>) -> Result<(), WriteError> {
        bytes.resize(self.leb_size as usize, 0xff);
        self.out.seek(SeekFrom::Start(u64::from(lnum) * u64::from(self.leb_size)))?;
        self.out.write_all(&bytes)?;
        Ok(())
    }

    /// Ends the output.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.out.flush()?)
    }
}

fn append(leb: &mut OpenLeb, node: &[u8]) -> Place {
    // Nodes are far below a LEB.
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let place = Place { lnum: leb.lnum, offs: narrow(leb.bytes.len()), len: narrow(node.len()) };
    leb.bytes.extend_from_slice(node);
    leb.bytes.resize(aligned(narrow(leb.bytes.len())) as usize, PADDING_BYTE);
    place
}
