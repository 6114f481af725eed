//! JFFS2: nodes one after the other, each with a CRC over its header, in the byte order of the target's CPU.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields, crc32_from_zero};

use super::{CHUNK, Faults, Input};
use crate::error::Error;

/// Kernel: `JFFS2_MAGIC_BITMASK`.
const MAGIC: u16 = 0x1985;
/// Kernel: `JFFS2_NODETYPE_CLEANMARKER`.
const CLEANMARKER: u16 = 0x2003;
/// Magic, type, length, CRC of those.
const HEADER: usize = 12;
/// Header faults that are told one by one; an image of another kind of flash has thousands.
const MAX_FAULTS: usize = 8;

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

struct Node {
    kind: u16,
    len: u32,
    stored: u32,
    computed: u32,
}

impl Node {
    /// The node whose header is at the start of `bytes`; `None` when the magic number is another.
    fn of(bytes: &[u8], endian: Endian) -> Option<Self> {
        let mut fields = Fields::new(bytes, endian);
        if fields.take::<u16>()? != MAGIC {
            return None;
        }
        let (kind, len, stored) = (fields.take()?, fields.take()?, fields.take()?);
        let computed = crc32_from_zero(bytes.get(..8)?);
        Some(Node { kind, len, stored, computed })
    }

    fn is_sound(&self) -> bool {
        self.stored == self.computed && usize::try_from(self.len).is_ok_and(|len| len >= HEADER)
    }

    fn is_cleanmarker(&self) -> bool {
        self.kind == CLEANMARKER && self.is_sound()
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
    pub fn with_eraseblock(self, source: &mut dyn crate::source::Source) -> Result<Self, Error> {
        let mut input = Input { source };
        // Cleanmarkers are in all eraseblocks that a writer has made, so the first distance is the size.
        let mut size = 4096u32;
        while self.cleanmarker && u64::from(size).saturating_add(HEADER as u64) <= input.len() {
            let header: [u8; HEADER] = input.array(size.into())?;
            if Node::of(&header, self.endian).is_some_and(|node| node.is_cleanmarker()) {
                return Ok(Jffs2 { eraseblock: Some(size), ..self });
            }
            // Sizes of eraseblocks are multiples of 4 KiB; far fewer of them are real than are tried here.
            let Some(next) = size.checked_add(4096).filter(|&next| next <= 1 << 22) else { break };
            size = next;
        }
        Ok(self)
    }

    /// All nodes, by their headers. Between them is padding, and erased flash up to the end of an eraseblock.
    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) -> Result<(), Error> {
        let len = input.len();
        let (mut offset, mut told) = (0u64, 0usize);
        let mut buffer = Buffer { bytes: Vec::new(), start: 0 };
        while offset.saturating_add(HEADER as u64) <= len && told < MAX_FAULTS {
            let header = buffer.at(input, offset)?;
            let Some(node) = Node::of(&header, self.endian) else {
                let filler = [[0xff; 4], [0; 4]].iter().any(|filler| header.starts_with(filler));
                if !filler && Node::of(&header, self.endian.other()).is_some_and(|node| node.is_sound()) {
                    let other = self.endian.other();
                    faults.damaged(format!("JFFS2 node at {offset:#010x}: {other}-endian, the first is not"));
                    return Ok(());
                }
                offset = offset.saturating_add(4);
                continue;
            };
            let end = offset.saturating_add(u64::from(node.len).next_multiple_of(4));
            if !node.is_sound() {
                faults.crc("header of the JFFS2 node", offset, node.stored, node.computed);
                told = told.saturating_add(1);
                offset = offset.saturating_add(4);
            } else if !faults.has_all(
                "the JFFS2 up to the end of its last node",
                end.min(offset.saturating_add(node.len.into())),
                len,
            ) {
                return Ok(());
            } else {
                offset = end;
            }
        }
        Ok(())
    }
}

/// A piece of the image, so that small steps do not read one by one.
struct Buffer {
    bytes: Vec<u8>,
    start: u64,
}

impl Buffer {
    /// The header at `offset`, which is in the image.
    fn at(&mut self, input: &mut Input<'_>, offset: u64) -> Result<[u8; HEADER], Error> {
        let have = |buffer: &Self| {
            let from = usize::try_from(offset.checked_sub(buffer.start)?).ok()?;
            buffer.bytes.get(from..)?.first_chunk::<HEADER>().copied()
        };
        if let Some(header) = have(self) {
            return Ok(header);
        }
        let len = usize::try_from(input.len().saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        self.bytes.resize(len, 0);
        self.start = offset;
        input.read(offset, &mut self.bytes)?;
        Ok(have(self).unwrap_or([0; HEADER]))
    }
}
