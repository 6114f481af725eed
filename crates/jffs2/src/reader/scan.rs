//! One pass over the image: every node, and what is between them.

use std::sync::Arc;

use flashwright_media::{Endian, Fields};
use flashwright_tree::{Finding, Findings, ReadAt, Severity};

use super::ReadError;
use super::index::Nodes;
use super::limits::Budget;
use super::locate::{detect, first_node, header};
use super::node::{MAX_NODE, Raw};
use super::summary;
use super::window::Window;
use crate::format::{ALIGNMENT, END_MARK, MAGIC, NodeHeader, Record, node_type, padded};

/// Memory that a node takes in the table while that grows, bytes.
const NODE_COST: u64 = 64;
/// Memory of a position in a list that grows, bytes.
const POSITION_COST: u64 = 8;
/// What is kept of bytes that are no node, until it is known whether nodes follow.
const MAX_TAIL: usize = 100;
const ERASED: [u8; 4] = [0xff; 4];
const ZEROS: [u8; 4] = [0; 4];

/// What lies before the first node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Nothing,
    /// Erased flash.
    Erased,
    /// A node whose header is damaged.
    Node,
    /// Something else, such as another partition.
    Other,
}

/// Cleanmarkers: where the first is, and what all distances from it are multiples of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cleanmarkers {
    pub(super) count: u32,
    pub(super) first: u32,
    pub(super) step: u32,
    /// Length in bytes of the first.
    pub(super) len: u32,
}

/// What the image's bytes are used for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) free: u64,
    pub(super) obsolete: u64,
    pub(super) obsolete_nodes: u64,
    pub(super) padding: u64,
    pub(super) dirty: u64,
    pub(super) summary: u64,
}

/// What one pass over an image finds. Positions are from `start`.
#[derive(Debug)]
pub(super) struct Scan {
    /// First node, bytes from the start of the image.
    pub(super) start: u64,
    pub(super) lead: Lead,
    pub(super) endian: Endian,
    pub(super) nodes: Nodes,
    pub(super) cleanmarkers: Cleanmarkers,
    /// Start of an eraseblock (bytes from the start of the image) and its length, from the first sound summary.
    pub(super) summarised: Option<(u64, u32)>,
    pub(super) summaries: u32,
    /// What all ends of padding nodes are multiples of, from the start of the image; 0 without any.
    pub(super) padding_step: u64,
    /// Erased flash that a node follows: from, to.
    pub(super) gaps: Vec<(u32, u32)>,
    /// End of the last node.
    pub(super) end: u32,
    pub(super) end_mark: Option<u32>,
    pub(super) usage: Usage,
    pub(super) findings: Findings,
    /// Nodes that are obsolete or damaged, in ascending order.
    pub(super) skipped: Vec<u32>,
}

pub(super) fn run(
    source: &Arc<dyn ReadAt>,
    len: u64,
    endian: Option<Endian>,
    budget: &mut Budget,
) -> Result<Scan, ReadError> {
    let mut window = Window::new(source, len);
    let Some((start, endian)) = first_node(&mut window, endian)? else {
        return Err(ReadError::not_jffs2(len));
    };
    let scan = Scan {
        start,
        lead: lead(&mut window, start, endian)?,
        endian,
        nodes: Nodes::default(),
        cleanmarkers: Cleanmarkers::default(),
        summarised: None,
        summaries: 0,
        padding_step: 0,
        gaps: Vec::new(),
        end: 0,
        end_mark: None,
        usage: Usage::default(),
        findings: Findings::default(),
        skipped: Vec::new(),
    };
    // Positions have 32 bits, as all of JFFS2.
    let area = u32::try_from(len.saturating_sub(start)).unwrap_or(u32::MAX);
    let mut scanner = Scanner { scan, window, budget, area, at: 0, gap: None, tail: Vec::new() };
    while scanner.step()? {}
    scanner.scan.findings.list.sort_by_key(|finding| finding.offset);
    let tail = std::mem::take(&mut scanner.tail);
    tail.into_iter().for_each(|finding| scanner.scan.findings.add(finding));
    Ok(scanner.scan)
}

fn lead(window: &mut Window<'_>, start: u64, endian: Endian) -> Result<Lead, ReadError> {
    if start == 0 {
        return Ok(Lead::Nothing);
    }
    let head = window.up_to(0, NodeHeader::LEN.into())?;
    let found = NodeHeader::get(&mut Fields::new(head, endian)).unwrap_or_default();
    let sound_but_for_magic = found.crc == NodeHeader { magic: MAGIC, ..found }.expected_crc(endian);
    if found.magic == MAGIC || found.magic == MAGIC.swap_bytes() || sound_but_for_magic {
        return Ok(Lead::Node);
    }
    let mut at = 0u64;
    while at < start {
        let bytes = window.up_to(at, 1)?;
        let left = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        if bytes.iter().any(|&byte| byte != 0xff) {
            return Ok(Lead::Other);
        }
        at = at.saturating_add(bytes.len() as u64);
    }
    Ok(Lead::Erased)
}

struct Scanner<'a, 'b> {
    scan: Scan,
    window: Window<'a>,
    budget: &'b mut Budget,
    /// Bytes from the first node on that are looked at.
    area: u32,
    at: u32,
    /// Start of the erased flash that ends here.
    gap: Option<u32>,
    /// Bytes that are no node and that no node has followed yet.
    tail: Vec<Finding>,
}

impl Scanner<'_, '_> {
    fn absolute(&self, at: u32) -> u64 {
        self.scan.start.saturating_add(at.into())
    }

    /// Looks at what comes next; false at the end.
    fn step(&mut self) -> Result<bool, ReadError> {
        let left = self.area.saturating_sub(self.at);
        let head =
            self.window.up_to(self.scan.start.saturating_add(self.at.into()), NodeHeader::LEN.into())?;
        let head = head.get(..head.len().min(left as usize)).unwrap_or_default();
        let Some(&word) = head.first_chunk::<4>() else {
            return self.last_bytes(left).map(|()| false);
        };
        match word {
            END_MARK => {
                self.scan.end_mark = Some(self.at);
                return Ok(false);
            }
            ERASED => {
                self.gap.get_or_insert(self.at);
                let len = self.same(ERASED)?;
                self.scan.usage.free = self.scan.usage.free.saturating_add(len.into());
                self.advance(len);
            }
            ZEROS => {
                // What Linux fills the rest of a page with that is too short for a padding node.
                let len = self.same(ZEROS)?;
                self.scan.usage.dirty = self.scan.usage.dirty.saturating_add(len.into());
                self.advance(len);
            }
            _ => match header(head, self.scan.endian) {
                Some(found) => self.node(found)?,
                None => self.no_node()?,
            },
        }
        Ok(true)
    }

    fn advance(&mut self, len: u32) {
        self.at = self.at.saturating_add(len).min(self.area);
    }

    /// One to three bytes at the end.
    fn last_bytes(&mut self, left: u32) -> Result<(), ReadError> {
        let at = self.absolute(self.at);
        let bytes = self.window.get(at, left.into())?.unwrap_or_default();
        if !bytes.iter().all(|&byte| byte == 0xff) && !bytes.iter().all(|&byte| byte == 0) {
            let finding = Finding::warning("end of the image", "whole nodes", format!("{left} bytes more"));
            self.scan.findings.add(finding.damage().at(at));
        }
        Ok(())
    }

    /// Bytes from here on that repeat `word`, in whole words, as far as they are at hand.
    fn same(&mut self, word: [u8; 4]) -> Result<u32, ReadError> {
        let left = self.area.saturating_sub(self.at);
        let bytes = self.window.up_to(self.scan.start.saturating_add(self.at.into()), ALIGNMENT.into())?;
        let words = bytes.chunks_exact(4).take_while(|chunk| *chunk == word).count();
        let len = u32::try_from(words).unwrap_or(u32::MAX).saturating_mul(ALIGNMENT);
        Ok(len.min(left))
    }

    /// Bytes that start no node, up to where one may start.
    fn no_node(&mut self) -> Result<(), ReadError> {
        let at = self.absolute(self.at);
        let endian = self.scan.endian;
        let bytes = self.window.up_to(at, NodeHeader::LEN.into())?;
        let mut finding = describe(bytes, endian).damage().at(at);
        let magic = |chunk: &[u8]| chunk.starts_with(&[0x19, 0x85]) || chunk.starts_with(&[0x85, 0x19]);
        let may_start = |chunk: &&[u8]| **chunk == ERASED || **chunk == ZEROS || magic(chunk);
        let words = bytes.chunks_exact(4).skip(1).take_while(|chunk| !may_start(chunk)).count();
        let len = u32::try_from(words).unwrap_or(u32::MAX).saturating_add(1).saturating_mul(ALIGNMENT);
        self.charge_position()?;
        self.scan.skipped.push(self.at);
        self.scan.usage.dirty = self.scan.usage.dirty.saturating_add(len.into());
        self.advance(len);
        if finding.severity == Severity::Error {
            self.scan.findings.add(finding);
        } else if self.tail.len() < MAX_TAIL {
            let joined = self.tail.last().is_some_and(|last| last.what == finding.what);
            if !joined {
                finding.severity = Severity::Warning;
                self.tail.push(finding);
            }
        }
        Ok(())
    }

    fn charge_position(&mut self) -> Result<(), ReadError> {
        self.budget.charge(POSITION_COST, "the list of damaged nodes")
    }

    /// A node with a sound header.
    fn node(&mut self, header: NodeHeader) -> Result<(), ReadError> {
        // Bytes before a node that are none are an error; behind the last one they may be anything.
        for mut finding in self.tail.drain(..) {
            finding.severity = Severity::Error;
            self.scan.findings.add(finding);
        }
        if let Some(from) = self.gap.take() {
            self.budget.charge(POSITION_COST.saturating_mul(2), "the list of gaps")?;
            self.scan.gaps.push((from, self.at));
        }
        let len = header.total_len;
        let at = self.absolute(self.at);
        let name = node_type::name(header.node_type);
        if len < NodeHeader::LEN || len > self.area.saturating_sub(self.at) {
            let left = self.area.saturating_sub(self.at);
            let expected = format!("{} to {left} bytes, up to the end of the image", NodeHeader::LEN);
            let finding = Finding::error(format!("length of the {name}"), expected, len).damage().at(at);
            self.skip(NodeHeader::LEN, finding)?;
            return Ok(());
        }
        self.scan.end = self.at.saturating_add(len);
        if header.node_type & node_type::ACCURATE == 0 {
            self.charge_position()?;
            self.scan.skipped.push(self.at);
            self.scan.usage.obsolete = self.scan.usage.obsolete.saturating_add(len.into());
            self.scan.usage.obsolete_nodes = self.scan.usage.obsolete_nodes.saturating_add(1);
        } else if let Err(finding) = self.body(header)? {
            self.skip(0, finding.at(at))?;
        }
        self.advance(padded(len));
        Ok(())
    }

    /// Notes what is wrong with the node here, and goes on `len` bytes later.
    fn skip(&mut self, len: u32, finding: Finding) -> Result<(), ReadError> {
        self.charge_position()?;
        self.scan.skipped.push(self.at);
        self.scan.findings.add(finding);
        self.advance(len);
        Ok(())
    }

    fn body(&mut self, header: NodeHeader) -> Result<Result<(), Finding>, ReadError> {
        let len = header.total_len;
        match header.node_type {
            node_type::CLEANMARKER => self.cleanmarker(len),
            node_type::PADDING => self.padding(len),
            node_type::INODE
            | node_type::DIRENT
            | node_type::XATTR
            | node_type::XREF
            | node_type::SUMMARY => {
                return self.long(header);
            }
            unknown => return Ok(Err(unknown_type(unknown))),
        }
        Ok(Ok(()))
    }

    fn long(&mut self, header: NodeHeader) -> Result<Result<(), Finding>, ReadError> {
        let (len, at) = (header.total_len, self.absolute(self.at));
        if len > MAX_NODE {
            let what = format!("length of the {}", node_type::name(header.node_type));
            return Ok(Err(Finding::error(what, format!("at most {MAX_NODE} bytes"), len)));
        }
        self.budget.charge(NODE_COST, "the table of nodes")?;
        let bytes = self.window.get(at, len.into())?.unwrap_or_default();
        let raw = Raw { bytes, node_type: header.node_type, at: self.at, endian: self.scan.endian };
        Ok(match header.node_type {
            node_type::INODE => raw.inode().map(|node| self.scan.nodes.inodes.push(node)),
            node_type::DIRENT => raw.dirent().map(|(node, name)| self.scan.nodes.add_dirent(node, name)),
            node_type::XATTR => raw.xattr().map(|node| self.scan.nodes.xattrs.push(node)),
            node_type::XREF => raw.xref().map(|node| self.scan.nodes.xrefs.push(node)),
            _ => summary::read(&mut self.scan, &raw),
        })
    }

    fn cleanmarker(&mut self, len: u32) {
        let markers = &mut self.scan.cleanmarkers;
        if markers.count == 0 {
            (markers.first, markers.len) = (self.at, len);
        }
        markers.step =
            gcd(markers.step.into(), self.at.saturating_sub(markers.first).into()).try_into().unwrap_or(0);
        markers.count = markers.count.saturating_add(1);
    }

    fn padding(&mut self, len: u32) {
        let end = self.absolute(self.at).saturating_add(len.into());
        self.scan.padding_step = gcd(self.scan.padding_step, end);
        self.scan.usage.padding = self.scan.usage.padding.saturating_add(len.into());
    }
}

/// Greatest common divisor; of 0 and a number that number.
fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or_default());
    }
    a
}

/// What is wrong with bytes that start no node: an error when there must have been one.
fn describe(bytes: &[u8], endian: Endian) -> Finding {
    let found = NodeHeader::get(&mut Fields::new(bytes, endian)).unwrap_or_default();
    if found.magic == MAGIC {
        let expected = format!("CRC {:#010x}, as stored", found.crc);
        return Finding::error("node header", expected, format!("{:#010x}", found.expected_crc(endian)));
    }
    if (NodeHeader { magic: MAGIC, ..found }).expected_crc(endian) == found.crc {
        return Finding::error("node header", "magic 0x1985", format!("{:#06x}", found.magic));
    }
    if detect(bytes).is_some() {
        let found = format!("a {}-endian node", endian.other());
        return Finding::error("node header", format!("a {endian}-endian image"), found);
    }
    let shown: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Finding::warning("bytes", "a node, or erased flash", shown.join(" "))
}

fn unknown_type(found: u16) -> Finding {
    let shown = format!("{found:#06x}");
    match found & node_type::COMPAT_MASK {
        0xc000 => Finding::error("node type", "one that Linux knows: it refuses to mount this", shown),
        0x8000 => Finding::error("node type", "one that Linux knows: it mounts this read-only", shown),
        _ => Finding::warning("node type", "one that Linux knows: it ignores this", shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greatest_common_divisors() {
        for (a, b, expected) in [(0, 8, 8), (8, 0, 8), (12, 18, 6), (0x2_0000, 0x3_0000, 0x1_0000)] {
            assert_eq!(gcd(a, b), expected);
        }
    }
}
