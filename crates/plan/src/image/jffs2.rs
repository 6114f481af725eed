//! JFFS2: nodes one after the other, in the byte order of the target's CPU. A header has a CRC, and so have what follows it
//! and the data behind that.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Crc32, Endian, Fields, crc32_from_zero};

use super::{Faults, Input};
use crate::error::Error;

/// Kernel: `JFFS2_MAGIC_BITMASK`.
const MAGIC: u16 = 0x1985;
/// Bit of the type that is cleared when a node is obsolete; CRCs are those of before. Kernel: `JFFS2_NODE_ACCURATE`.
const ACCURATE: u16 = 0x2000;
/// Types of nodes. Kernel: `JFFS2_NODETYPE_*`.
mod kind {
    pub(super) const DIRENT: u16 = 0xe001;
    pub(super) const INODE: u16 = 0xe002;
    pub(super) const CLEANMARKER: u16 = 0x2003;
    pub(super) const SUMMARY: u16 = 0x2006;
    pub(super) const XATTR: u16 = 0xe008;
    pub(super) const XREF: u16 = 0xe009;
}
/// Magic, type, length, CRC of those.
const HEADER: usize = 12;
const HEADER_LEN: u32 = 12;
/// OpenWrt's end of a file system: what follows is none of it.
const END_MARK: [u8; 4] = [0xde, 0xad, 0xc0, 0xde];
/// Erased flash, and what Linux fills a page with that has too few bytes left for a node of padding.
const FILLERS: [[u8; 4]; 2] = [[0xff; 4], [0; 4]];

/// The largest eraseblock that is looked for, bytes.
const MAX_ERASEBLOCK: u32 = 1 << 22;

/// What the first nodes of a JFFS2 say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jffs2 {
    /// Byte order of the CPU that it was made for.
    pub endian: Endian,
    /// Whether it starts with a cleanmarker, as images for NOR do; on NAND those are in spare bytes.
    pub cleanmarker: bool,
    /// Bytes of an eraseblock, where a second cleanmarker within the first bytes tells.
    pub eraseblock: Option<u32>,
}

/// Header of a node. Kernel: `jffs2_unknown_node`.
struct Node {
    magic: u16,
    kind: u16,
    len: u32,
    stored: u32,
    /// What the CRC of a node of that type and length is.
    computed: u32,
}

impl Node {
    fn of(bytes: &[u8], endian: Endian) -> Option<Self> {
        let mut fields = Fields::new(bytes, endian);
        let (magic, kind, len, stored) =
            (fields.take()?, fields.take::<u16>()?, fields.take()?, fields.take()?);
        let mut covered: [u8; 8] = *bytes.first_chunk()?;
        let [first, second, third, fourth, ..] = &mut covered;
        let [high, low] = (kind | ACCURATE).to_be_bytes();
        match endian {
            Endian::Big => [*first, *second, *third, *fourth] = [0x19, 0x85, high, low],
            Endian::Little => [*first, *second, *third, *fourth] = [0x85, 0x19, low, high],
        }
        Some(Node { magic, kind, len, stored, computed: crc32_from_zero(&covered) })
    }

    fn has_right_crc(&self) -> bool {
        self.stored == self.computed && usize::try_from(self.len).is_ok_and(|len| len >= HEADER)
    }

    fn is_sound(&self) -> bool {
        self.magic == MAGIC && self.has_right_crc()
    }

    fn wrong_len(&self, offset: u64, what: &str, limit: u32, faults: &mut Faults) {
        let len = self.len;
        faults.damaged(format!("JFFS2 node at {offset:#010x}: {len} bytes, {what} {limit}"));
    }

    fn is_cleanmarker(&self) -> bool {
        self.kind == kind::CLEANMARKER && self.is_sound()
    }
}

/// What follows the header of a node of one type. Offsets are in bytes from the start of the node.
struct Body {
    kind: u16,
    name: &'static str,
    /// Bytes of header and fixed part; the data follows.
    len: u8,
    /// Where its CRC is.
    crc: u8,
    /// Bytes that this CRC covers.
    covered: u8,
    /// Where the CRC of the data is; 0 for none.
    data_crc: u8,
}

/// Kernel: `jffs2_raw_inode`, `jffs2_raw_dirent`, `jffs2_raw_xattr`, `jffs2_raw_xref`, `jffs2_raw_summary`.
const BODIES: [Body; 5] = [
    Body { kind: kind::INODE, name: "inode", len: 68, crc: 64, covered: 60, data_crc: 60 },
    Body { kind: kind::DIRENT, name: "name", len: 40, crc: 32, covered: 32, data_crc: 36 },
    Body { kind: kind::XATTR, name: "xattr", len: 32, crc: 28, covered: 28, data_crc: 24 },
    Body { kind: kind::XREF, name: "xattr reference", len: 28, crc: 24, covered: 24, data_crc: 0 },
    Body { kind: kind::SUMMARY, name: "summary", len: 32, crc: 28, covered: 24, data_crc: 24 },
];
/// Bytes of the longest.
const MAX_BODY: usize = 68;

/// The fixed part of a node.
struct Fixed {
    bytes: [u8; MAX_BODY],
    endian: Endian,
}

impl Fixed {
    fn word(&self, at: u8) -> u32 {
        self.bytes
            .get(usize::from(at)..)
            .and_then(|bytes| Fields::new(bytes, self.endian).take())
            .unwrap_or(0)
    }

    /// Bytes of the data of a node of that type which has `left` after its fixed part.
    fn data_len(&self, kind: u16, left: u32) -> u32 {
        let byte = |at: usize| u32::from(self.bytes.get(at).copied().unwrap_or(0));
        match kind {
            kind::INODE => self.word(48),
            kind::DIRENT => byte(28),
            // Length of the name, which ends in a NUL, and of the value.
            kind::XATTR => {
                let mut fields = Fields::new(self.bytes.get(22..).unwrap_or_default(), self.endian);
                let value = fields.take::<u16>().unwrap_or(0);
                byte(21).saturating_add(value.into()).saturating_add(1)
            }
            kind::SUMMARY => left,
            _ => 0,
        }
    }
}

impl Jffs2 {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let found = |endian| Node::of(head, endian).filter(Node::is_sound).map(|node| (endian, node));
        let (endian, first) = found(Endian::Big).or_else(|| found(Endian::Little))?;
        Some(Jffs2 { endian, cleanmarker: first.is_cleanmarker(), eraseblock: None })
    }

    /// The same, with the eraseblock that it was made for where its cleanmarkers tell.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn with_eraseblock(self, source: &mut dyn crate::source::Source) -> Result<Self, Box<Error>> {
        let mut input = Input::new(source);
        let image = self.measured(&mut input);
        input.end(image)
    }

    fn measured(self, input: &mut Input<'_>) -> Self {
        // Cleanmarkers are in all eraseblocks that a writer has made, so the first distance is the size. Sizes of
        // eraseblocks are multiples of 4 KiB; far fewer of them are real than are tried here.
        let unknown = self.cleanmarker && self.eraseblock.is_none();
        let last = input.len().saturating_sub(HEADER as u64).min(MAX_ERASEBLOCK.into());
        let mut size = 4096u32;
        while unknown && u64::from(size) <= last {
            let header: [u8; HEADER] = input.array(size.into());
            if Node::of(&header, self.endian).is_some_and(|node| node.is_cleanmarker()) {
                return Jffs2 { eraseblock: Some(size), ..self };
            }
            size = size.saturating_add(4096);
        }
        self
    }

    /// All nodes. Between them is padding, and erased flash up to the end of an eraseblock. Behind the last one may be
    /// anything.
    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) {
        let image = self.measured(input);
        // Positions have 32 bits, as all of JFFS2.
        let len = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let mut at = 0u32;
        // Whether what is here is no node, and where such bytes start that nothing was said of.
        let (mut lost, mut stray) = (false, None);
        while len.saturating_sub(at) >= HEADER_LEN {
            let offset = u64::from(at);
            let bytes = input.at(offset, HEADER);
            if let Some(filler) = FILLERS.iter().find(|filler| bytes.starts_with(*filler)) {
                let words = bytes.chunks_exact(4).take_while(|word| word == filler).count();
                at = u32::try_from(words).map_or(len, |words| at.saturating_add(words.saturating_mul(4)));
                continue;
            }
            let Some(node) = Node::of(bytes, self.endian).filter(|_| !bytes.starts_with(&END_MARK)) else {
                return;
            };
            if node.is_sound() {
                if let Some(at) = stray.take() {
                    faults.damaged(format!("JFFS2 at {at:#010x}: neither a node nor erased"));
                }
                lost = false;
                let end = offset.saturating_add(node.len.into());
                if !faults.has_all("the JFFS2 up to the end of its last node", end, input.len()) {
                    return;
                }
                image.body(&node, offset, input, faults);
                at = at.saturating_add(node.len).saturating_add(3) & !3;
                continue;
            }
            if !lost {
                let other = self.endian.other();
                if Node::of(bytes, other).is_some_and(|node| node.is_sound()) {
                    faults.damaged(format!("JFFS2 node at {offset:#010x}: {other}-endian, the first is not"));
                    return;
                }
                if node.magic == MAGIC || node.has_right_crc() {
                    let Node { magic, stored, computed, .. } = node;
                    faults.damaged(format!(
                        "header of the JFFS2 node at {offset:#010x}: magic {magic:#06x}, CRC {stored:#010x}, expected \
                         {MAGIC:#06x} and {computed:#010x}"
                    ));
                } else {
                    stray = Some(offset);
                }
            }
            lost = true;
            at = at.saturating_add(4);
        }
    }

    /// What follows the header of a sound node.
    fn body(&self, node: &Node, offset: u64, input: &mut Input<'_>, faults: &mut Faults) {
        if let Some(size) = self.eraseblock
            && offset.checked_rem(size.into()).unwrap_or(0).saturating_add(node.len.into()) > size.into()
        {
            node.wrong_len(offset, "beyond the end of its eraseblock of", size, faults);
        }
        // An obsolete node has no type of these.
        let Some(body) = BODIES.iter().find(|body| body.kind == node.kind) else { return };
        let fixed_len = u32::from(body.len);
        let Some(left) = node.len.checked_sub(fixed_len) else {
            node.wrong_len(offset, "for its type at least", fixed_len, faults);
            return;
        };
        let mut fixed = Fixed { bytes: [0; MAX_BODY], endian: self.endian };
        let bytes = input.at(offset, body.len.into());
        fixed.bytes.iter_mut().zip(bytes.iter().take(body.len.into())).for_each(|(to, from)| *to = *from);
        let computed = crc32_from_zero(fixed.bytes.get(..body.covered.into()).unwrap_or_default());
        let name = body.name;
        if !faults.crc(format_args!("JFFS2 {name}"), offset, fixed.word(body.crc), computed) {
            return;
        }
        let len = fixed.data_len(body.kind, left);
        if len > left {
            node.wrong_len(offset, "after its fixed part it would need", len, faults);
        } else if body.data_crc > 0 {
            let from = offset.saturating_add(fixed_len.into());
            // JFFS2's CRC starts from 0: four bytes of ones take the usual one there.
            let mut crc = Crc32::default();
            crc.update(&[0xff; 4]);
            let computed = !input.crc_after(crc, from, from.saturating_add(len.into()));
            let what = format_args!("data of the JFFS2 {name}");
            faults.crc(what, offset, fixed.word(body.data_crc), computed);
        }
    }
}
