//! The volume's bytes: LEBs and the nodes in them, with every range checked before anything is allocated for it.

use std::sync::Arc;

use flashwright_tree::ReadAt;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Place, ReadError};
use crate::format::node::node_crc;
use crate::format::{ALIGNMENT, CommonHeader, NODE_MAGIC, NodeType, PADDING_BYTE, PadNode, aligned};

/// A volume whose LEBs have a known size.
#[derive(Debug, Clone)]
pub(super) struct Input {
    source: Arc<dyn ReadAt>,
    len: u64,
    pub(super) leb_size: u32,
}

/// A node that a scan has found; its CRC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScannedNode {
    pub(super) offs: u32,
    pub(super) len: u32,
    pub(super) node_type: NodeType,
    pub(super) group: u8,
    pub(super) sqnum: u64,
}

/// All nodes of a LEB from some byte on.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) nodes: Vec<ScannedNode>,
    /// Where free space begins, or what is no node.
    pub(super) end: u32,
    /// What stopped the scan before free space or the end of the LEB.
    pub(super) stop: Option<ReadError>,
}

/// Bytes that Linux writes at once, at most, where the smallest write is smaller: drivers of NOR with a write buffer
/// report up to this.
const MAX_WRITE_SIZE: u32 = 1024;

impl Scan {
    /// Whether what stopped the scan of `leb` can be what a cut of power leaves: behind the write that was not finished,
    /// nothing was written. Kernel: `no_more_nodes`, `is_last_write`.
    pub(super) fn is_cut(&self, leb: &[u8], min_io_size: u32) -> bool {
        let rest = leb.get(self.end as usize..).unwrap_or_default();
        let header =
            fixed::<CommonHeader>(rest, "node").ok().filter(|header| header.magic.get() == NODE_MAGIC);
        // A header that is whole says where its write ends.
        let len = header.map(|header| header.len.get()).filter(|&len| len as usize <= rest.len());
        let end = self.end.saturating_add(len.unwrap_or(1).max(1));
        let next = end.checked_next_multiple_of(min_io_size.max(MAX_WRITE_SIZE)).unwrap_or(u32::MAX);
        leb.get(next as usize..).is_none_or(|rest| rest.iter().all(|&byte| byte == 0xff))
    }
}

impl Input {
    pub(super) fn new(source: Arc<dyn ReadAt>, len: u64, leb_size: u32) -> Self {
        Input { source, len, leb_size }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whole LEBs that the image has.
    pub(super) fn lebs(&self) -> u64 {
        self.len.checked_div(self.leb_size.into()).unwrap_or(0)
    }

    /// `len` bytes of a LEB from `place` on.
    pub(super) fn read(&self, place: Place, len: u32, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let end = u64::from(place.offs).saturating_add(len.into());
        if end > self.leb_size.into() {
            let expected = format!("{len} bytes within a LEB of {} bytes", self.leb_size);
            return Err(ReadError::corrupt(what, expected, format!("an end at {end:#x}")).at(place));
        }
        let start = u64::from(place.lnum).saturating_mul(self.leb_size.into());
        let offset = start.saturating_add(place.offs.into());
        if start.saturating_add(end) > self.len {
            let expected = format!("{len} bytes");
            let found = format!("an image that ends at LEB {}", self.lebs());
            return Err(ReadError::corrupt(what, expected, found).at(place));
        }
        let mut buffer = vec![0; len as usize];
        let read = self.source.read_exact_at(offset, &mut buffer);
        read.map_err(|error| ReadError::io(what, error).at(place))?;
        Ok(buffer)
    }

    /// A whole LEB. One behind the end of the image is erased, as Linux has it: dumps of volumes and updates of them end
    /// with the last LEB that has something.
    pub(super) fn leb(&self, lnum: u32, what: &'static str) -> Result<Vec<u8>, ReadError> {
        if u64::from(lnum).saturating_mul(self.leb_size.into()) >= self.len {
            return Ok(vec![0xff; self.leb_size as usize]);
        }
        self.read(Place { lnum, offs: 0 }, self.leb_size, what)
    }

    /// The node of that type and length at `place`, checked.
    pub(super) fn node(&self, place: Place, len: u32, node_type: NodeType) -> Result<Vec<u8>, ReadError> {
        let what = node_type.name();
        if !place.offs.is_multiple_of(ALIGNMENT) || len < CommonHeader::LEN {
            let expected = format!("a position of a multiple of 8, and {} bytes or more", CommonHeader::LEN);
            return Err(ReadError::corrupt(what, expected, format!("{len} bytes")).at(place));
        }
        let bytes = self.read(place, len, what)?;
        check_node(&bytes, node_type).map_err(|error| error.at(place))?;
        Ok(bytes)
    }
}

/// Checks a node that takes all of `bytes`.
fn check_node(bytes: &[u8], node_type: NodeType) -> Result<(), ReadError> {
    let what = node_type.name();
    let header = fixed::<CommonHeader>(bytes, what)?;
    let found = header.magic.get();
    if found != NODE_MAGIC {
        return Err(ReadError::corrupt(what, format!("magic {NODE_MAGIC:#x}"), format!("{found:#x}")));
    }
    if header.len.get() as usize != bytes.len() {
        let expected = format!("{} bytes, as what points to it says", bytes.len());
        return Err(ReadError::corrupt(what, expected, header.len.get()));
    }
    check_crc(bytes, header, what)?;
    if header.node_type != node_type.number() {
        let found = NodeType::from_number(header.node_type).map_or("another type", NodeType::name);
        return Err(ReadError::corrupt(what, what, found));
    }
    Ok(())
}

fn check_crc(bytes: &[u8], header: &CommonHeader, what: &'static str) -> Result<(), ReadError> {
    let (expected, found) = (node_crc(bytes), header.crc.get());
    if expected == found {
        return Ok(());
    }
    Err(ReadError::corrupt(what, format!("CRC {expected:#010x}"), format!("{found:#010x}")))
}

/// The fixed part of a node.
pub(super) fn fixed<'a, T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<&'a T, ReadError> {
    T::ref_from_prefix(bytes).map(|(head, _)| head).map_err(|_| {
        let expected = format!("{} bytes or more", size_of::<T>());
        ReadError::corrupt(what, expected, format!("{} bytes", bytes.len()))
    })
}

/// Finds all nodes of a LEB.
pub(super) fn scan(bytes: &[u8], lnum: u32, from: u32) -> Scan {
    let mut scan = Scan { end: from, ..Scan::default() };
    while let Some(rest) = bytes.get(scan.end as usize..).filter(|rest| !rest.is_empty()) {
        let place = Place { lnum, offs: scan.end };
        match next(rest, scan.end) {
            Ok(Found::Free) => break,
            Ok(Found::Node(node)) => {
                scan.end = scan.end.saturating_add(aligned(node.len));
                scan.nodes.push(node);
            }
            Ok(Found::Padding(len)) => scan.end = scan.end.saturating_add(len),
            Err(error) => {
                scan.stop = Some(error.at(place));
                break;
            }
        }
    }
    scan
}

enum Found {
    /// Nothing but 0xFF up to the end.
    Free,
    Node(ScannedNode),
    Padding(u32),
}

fn next(rest: &[u8], offs: u32) -> Result<Found, ReadError> {
    if rest.first() == Some(&0xff) {
        return match rest.iter().position(|&byte| byte != 0xff) {
            None => Ok(Found::Free),
            Some(at) => {
                let found = format!("another byte {at} bytes further on");
                Err(ReadError::corrupt("free space", "0xff up to the end of the LEB", found))
            }
        };
    }
    if rest.first() == Some(&PADDING_BYTE) {
        let len = rest.iter().take_while(|&&byte| byte == PADDING_BYTE).count();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        if len.is_multiple_of(ALIGNMENT) {
            return Ok(Found::Padding(len));
        }
        return Err(ReadError::corrupt("padding", "a multiple of 8 bytes", len));
    }
    let header = fixed::<CommonHeader>(rest, "node")?;
    if header.magic.get() != NODE_MAGIC {
        let found = format!("{:#x}", header.magic.get());
        return Err(ReadError::corrupt("node", format!("magic {NODE_MAGIC:#x}"), found));
    }
    let len = header.len.get();
    let node = rest.get(..len as usize).filter(|_| len >= CommonHeader::LEN).ok_or_else(|| {
        ReadError::corrupt("node", format!("24 to {} bytes", rest.len()), format!("{len} bytes"))
    })?;
    check_crc(node, header, "node")?;
    let node_type = NodeType::from_number(header.node_type)
        .ok_or_else(|| ReadError::corrupt("node", "a type of 0 to 13", header.node_type))?;
    if node_type == NodeType::Pad {
        let pad_len = fixed::<PadNode>(node, "padding node")?.pad_len.get();
        let all = len.saturating_add(pad_len);
        if all as usize > rest.len() || !all.is_multiple_of(ALIGNMENT) {
            let expected = format!("a multiple of 8 bytes, at most {}", rest.len());
            return Err(ReadError::corrupt("padding node", expected, all));
        }
        return Ok(Found::Padding(all));
    }
    let (group, sqnum) = (header.group_type, header.sqnum.get());
    Ok(Found::Node(ScannedNode { offs, len, node_type, group, sqnum }))
}
