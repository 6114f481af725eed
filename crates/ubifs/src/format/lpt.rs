//! The LPT (LEB properties tree): how much of each LEB of the main area is free and how much is dirty.
//!
//! A tree of fixed height with 4 branches per node, packed bit by bit, lowest bit first:
//!
//! ```text
//! any node   CRC-16 of the bytes after it (16 bits), type (4 bits)
//! pnode      [number], 4 × (free / 8, dirty / 8, index flag)          the leaves: 4 LEBs each
//! nnode      [number], 4 × (LEB from the first of the LPT, byte)      LEB = number of LPT LEBs: no such branch
//! ltab       one (free, dirty) for each LEB of the LPT itself
//! lsave      LEB numbers that the kernel looks at first                (big model only)
//! ```
//!
//! `[number]` is there in the big model only, which is for an LPT that exceeds a LEB. The widths of all fields and the
//! height follow from the superblock; a wrong one makes every node unreadable.

use super::{MIN_LPT_LEBS, SbNode};

/// Branches of a node, and LEBs of a pnode.
#[doc(alias = "UBIFS_LPT_FANOUT")]
pub const FANOUT: usize = 4;
const FANOUT_BITS: u32 = 2;
/// Bits of the CRC.
pub const CRC_BITS: u32 = 16;
/// Bits of the type.
pub const TYPE_BITS: u32 = 4;

/// Values of the type field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LptType {
    /// Leaf.
    Pnode = 0,
    /// Inner node.
    Nnode = 1,
    /// Table of the LPT's own LEBs.
    Ltab = 2,
    /// Save table.
    Lsave = 3,
}

impl LptType {
    /// The number on flash.
    #[must_use]
    pub const fn number(self) -> u32 {
        // A fieldless `repr(u32)` enum: the cast is its definition.
        self as u32
    }

    /// The type of that number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [LptType::Pnode, LptType::Nnode, LptType::Ltab, LptType::Lsave]
            .into_iter()
            .find(|known| known.number() == number)
    }

    /// The word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LptType::Pnode => "pnode",
            LptType::Nnode => "nnode",
            LptType::Ltab => "LPT table",
            LptType::Lsave => "LPT save table",
        }
    }
}

/// Free and dirty space of one LEB, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lprops {
    /// Bytes from the end that are free.
    pub free: u32,
    /// Bytes that are neither free nor in use.
    pub dirty: u32,
    /// Whether the LEB holds index nodes.
    pub index: bool,
}

/// A place in the LPT area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LptPlace {
    /// LEB, counted from the start of the volume.
    pub lnum: u32,
    /// Byte in the LEB.
    pub offs: u32,
}

/// Widths of the fields, lengths of the nodes, and shape of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LptLayout {
    /// Whether it is the big model.
    pub big: bool,
    /// Levels of nnodes.
    pub height: u32,
    /// Pnodes of the main area as it is now.
    pub pnode_cnt: u32,
    /// Nnodes of the main area as it is now.
    pub nnode_cnt: u32,
    /// Bytes of a pnode.
    pub pnode_len: u32,
    /// Bytes of an nnode.
    pub nnode_len: u32,
    /// Bytes of the table of the LPT's LEBs.
    pub ltab_len: u32,
    /// Bytes of the save table.
    pub lsave_len: u32,
    /// Bytes of everything, with what may be lost at the ends of LEBs.
    pub total_len: u64,
    number_bits: u32,
    space_bits: u32,
    lpt_lnum_bits: u32,
    lpt_offs_bits: u32,
    lpt_space_bits: u32,
    lnum_bits: u32,
}

/// What a layout follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LptInput {
    /// Bytes of a LEB.
    pub leb_size: u32,
    /// Bytes of the smallest write.
    pub min_io_size: u32,
    /// LEBs of the main area now.
    pub main_lebs: u32,
    /// LEBs of the main area when the file system has all the LEBs it may ever have.
    pub max_main_lebs: u32,
    /// LEBs that the file system may ever have.
    pub max_leb_cnt: u32,
    /// LEBs of the LPT.
    pub lpt_lebs: u32,
    /// LEB numbers in the save table.
    pub lsave_cnt: u32,
    /// Whether it is the big model.
    pub big: bool,
}

impl LptInput {
    /// What the superblock says, for a main area of that many LEBs. `None` when the areas exceed the volume.
    #[must_use]
    pub fn from_superblock(sb: &SbNode) -> Option<Self> {
        let before = super::LOG_LNUM
            .checked_add(sb.log_lebs.get())?
            .checked_add(sb.lpt_lebs.get())?
            .checked_add(sb.orph_lebs.get())?;
        Some(LptInput {
            leb_size: sb.leb_size.get(),
            min_io_size: sb.min_io_size.get(),
            main_lebs: sb.leb_cnt.get().checked_sub(before)?,
            max_main_lebs: sb.max_leb_cnt.get().checked_sub(before)?,
            max_leb_cnt: sb.max_leb_cnt.get(),
            lpt_lebs: sb.lpt_lebs.get(),
            lsave_cnt: sb.lsave_cnt.get(),
            big: sb.flags.get() & super::sb_flags::BIG_LPT != 0,
        })
    }
}

/// Bits that `value` takes; 0 for 0. Kernel: `fls`.
const fn bits(value: u32) -> u32 {
    u32::BITS.saturating_sub(value.leading_zeros())
}

impl LptLayout {
    /// The layout that the kernel computes from the same numbers.
    #[must_use]
    pub fn new(input: &LptInput) -> Self {
        let fanout = 1u32 << FANOUT_BITS;
        let max_pnodes = input.max_main_lebs.div_ceil(fanout).max(1);
        let mut height = 1u32;
        // 4^16 exceeds every u32.
        while height < 16 && 1u64 << (FANOUT_BITS.saturating_mul(height)) < u64::from(max_pnodes) {
            height = height.saturating_add(1);
        }
        let pnode_cnt = input.main_lebs.div_ceil(fanout);
        let mut row = pnode_cnt;
        let mut nnode_cnt = 0u32;
        for _ in 0..height {
            row = row.div_ceil(fanout);
            nnode_cnt = nnode_cnt.saturating_add(row);
        }
        let number_bits = bits(input.max_leb_cnt.div_ceil(fanout).saturating_sub(1));
        let mut layout = LptLayout {
            big: input.big,
            height,
            pnode_cnt,
            nnode_cnt,
            pnode_len: 0,
            nnode_len: 0,
            ltab_len: 0,
            lsave_len: 0,
            total_len: 0,
            number_bits: if input.big { number_bits } else { 0 },
            space_bits: bits(input.leb_size).saturating_sub(3),
            lpt_lnum_bits: bits(input.lpt_lebs),
            lpt_offs_bits: bits(input.leb_size.saturating_sub(1)),
            lpt_space_bits: bits(input.leb_size),
            lnum_bits: bits(input.max_leb_cnt.saturating_sub(1)),
        };
        layout.set_lengths(input);
        layout
    }

    fn set_lengths(&mut self, input: &LptInput) {
        let len = |fixed: u32, each: u32, count: u32| {
            let bits = u64::from(each).saturating_mul(count.into()).saturating_add(fixed.into());
            u32::try_from(bits.saturating_add((CRC_BITS + TYPE_BITS).into()).div_ceil(8)).unwrap_or(u32::MAX)
        };
        let twice = |bits: u32| bits.saturating_mul(2);
        self.pnode_len = len(self.number_bits, twice(self.space_bits).saturating_add(1), 4);
        self.nnode_len = len(self.number_bits, self.lpt_lnum_bits.saturating_add(self.lpt_offs_bits), 4);
        self.ltab_len = len(0, twice(self.lpt_space_bits), input.lpt_lebs);
        self.lsave_len = len(0, self.lnum_bits, input.lsave_cnt);

        let product = |count: u32, len: u32| u64::from(count).saturating_mul(len.into());
        let mut used = product(self.pnode_cnt, self.pnode_len)
            .saturating_add(product(self.nnode_cnt, self.nnode_len))
            .saturating_add(self.ltab_len.into());
        if self.big {
            used = used.saturating_add(self.lsave_len.into());
        }
        // Each LEB may lose less than a node at its end, the last one what is left of the smallest write.
        let waste = u64::from(self.pnode_len.max(self.nnode_len));
        let leb = u64::from(input.leb_size);
        let room = leb.saturating_sub(waste).max(1);
        let full = used.saturating_add(waste).saturating_sub(leb).div_ceil(room);
        let wasted = waste.saturating_mul(full.saturating_add(1));
        let last = used.saturating_add(wasted).saturating_sub(full.saturating_mul(leb));
        let min_io = u64::from(input.min_io_size.max(1));
        let tail = last.next_multiple_of(min_io).saturating_sub(last);
        self.total_len = used.saturating_add(wasted).saturating_add(tail);
    }

    /// Number of the nnode that is `index`th in its row; row 0 is the root. Kernel: `nnode->num`.
    #[must_use]
    pub fn nnode_number(row: u32, index: u32) -> u32 {
        let mut number = 1u32;
        let mut left = index;
        for _ in 0..row {
            number = (number << FANOUT_BITS) | (left & 3);
            left >>= FANOUT_BITS;
        }
        number
    }

    /// Nnodes of each row, from the one above the pnodes to the root.
    pub fn rows(&self) -> impl Iterator<Item = u32> + use<> {
        let fanout = 1u32 << FANOUT_BITS;
        let mut row = self.pnode_cnt;
        (0..self.height).map(move |_| {
            row = row.div_ceil(fanout);
            row
        })
    }

    fn start(&self, node_type: LptType, len: u32) -> BitWriter {
        let mut writer = BitWriter::new(len as usize);
        writer.put(0, CRC_BITS);
        writer.put(node_type.number(), TYPE_BITS);
        writer
    }

    /// The pnode of that number.
    #[must_use]
    pub fn pnode(&self, number: u32, lebs: &[Lprops; FANOUT]) -> Vec<u8> {
        let mut writer = self.start(LptType::Pnode, self.pnode_len);
        writer.put(number, self.number_bits);
        for leb in lebs {
            writer.put(leb.free >> 3, self.space_bits);
            writer.put(leb.dirty >> 3, self.space_bits);
            writer.put(leb.index.into(), 1);
        }
        writer.finish()
    }

    /// The nnode of that number; the LPT starts at LEB `first` and has `lebs` LEBs.
    #[must_use]
    pub fn nnode(
        &self,
        number: u32,
        branches: &[Option<LptPlace>; FANOUT],
        first: u32,
        lebs: u32,
    ) -> Vec<u8> {
        let mut writer = self.start(LptType::Nnode, self.nnode_len);
        writer.put(number, self.number_bits);
        for branch in branches {
            let (lnum, offs) =
                branch.map_or((lebs, 0), |place| (place.lnum.saturating_sub(first), place.offs));
            writer.put(lnum, self.lpt_lnum_bits);
            writer.put(offs, self.lpt_offs_bits);
        }
        writer.finish()
    }

    /// The table of the LPT's own LEBs: free and dirty bytes of each.
    #[must_use]
    pub fn ltab(&self, lebs: &[(u32, u32)]) -> Vec<u8> {
        let mut writer = self.start(LptType::Ltab, self.ltab_len);
        for &(free, dirty) in lebs {
            writer.put(free, self.lpt_space_bits);
            writer.put(dirty, self.lpt_space_bits);
        }
        writer.finish()
    }

    /// The save table.
    #[must_use]
    pub fn lsave(&self, lnums: impl Iterator<Item = u32>) -> Vec<u8> {
        let mut writer = self.start(LptType::Lsave, self.lsave_len);
        lnums.for_each(|lnum| writer.put(lnum, self.lnum_bits));
        writer.finish()
    }

    /// Bytes of a node of that type.
    #[must_use]
    pub const fn len_of(&self, node_type: LptType) -> u32 {
        match node_type {
            LptType::Pnode => self.pnode_len,
            LptType::Nnode => self.nnode_len,
            LptType::Ltab => self.ltab_len,
            LptType::Lsave => self.lsave_len,
        }
    }

    /// Number and LEBs of a pnode whose head was read.
    #[must_use]
    pub fn read_pnode(&self, reader: &mut BitReader<'_>) -> (u32, [Lprops; FANOUT]) {
        let number = reader.take(self.number_bits);
        let lebs = std::array::from_fn(|_| Lprops {
            free: reader.take(self.space_bits) << 3,
            dirty: reader.take(self.space_bits) << 3,
            index: reader.take(1) == 1,
        });
        (number, lebs)
    }

    /// Number and branches of an nnode whose head was read: LEBs are counted from the first of the LPT.
    #[must_use]
    pub fn read_nnode(&self, reader: &mut BitReader<'_>) -> (u32, [(u32, u32); FANOUT]) {
        let number = reader.take(self.number_bits);
        (number, std::array::from_fn(|_| (reader.take(self.lpt_lnum_bits), reader.take(self.lpt_offs_bits))))
    }

    /// One entry of the table of LEBs: free and dirty.
    #[must_use]
    pub fn read_ltab_entry(&self, reader: &mut BitReader<'_>) -> (u32, u32) {
        (reader.take(self.lpt_space_bits), reader.take(self.lpt_space_bits))
    }

    /// One entry of the save table.
    #[must_use]
    pub fn read_lsave_entry(&self, reader: &mut BitReader<'_>) -> u32 {
        reader.take(self.lnum_bits)
    }

    /// Whether nodes carry their number.
    #[must_use]
    pub const fn numbered(&self) -> bool {
        self.big
    }
}

/// LEBs that the LPT gets: four times its length, so that it can be written anew without being collected each time, and
/// the model it needs. `main_lebs` are what LPT and main area have together. `None` when there is no room.
///
/// Source of fact: the kernel's `fs/ubifs/lpt.c`.
#[must_use]
pub fn choose(input: &LptInput, main_lebs: u32) -> Option<LptInput> {
    let with = |lpt_lebs: u32, big: bool| {
        let main_lebs = main_lebs.checked_sub(lpt_lebs).filter(|&lebs| lebs > 0)?;
        Some(LptInput { main_lebs, max_main_lebs: main_lebs, lpt_lebs, big, ..*input })
    };
    let small = with(MIN_LPT_LEBS, false)?;
    let big = LptLayout::new(&small).total_len > u64::from(input.leb_size);
    let mut chosen = with(MIN_LPT_LEBS, big)?;
    // More LEBs widen some fields, which may take more LEBs; this ends soon.
    for _ in 0..64 {
        let layout = LptLayout::new(&chosen);
        let needed = layout.total_len.saturating_mul(4).div_ceil(u64::from(input.leb_size).max(1));
        if needed <= u64::from(chosen.lpt_lebs) {
            return (layout.ltab_len <= input.leb_size).then_some(chosen);
        }
        chosen = with(u32::try_from(needed).ok()?, big)?;
    }
    None
}

/// CRC-16 (polynomial 0x8005, reflected) from all ones. Kernel: `crc16(-1, …)`.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc: u16, _| (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 })
    })
}

struct BitWriter {
    bytes: Vec<u8>,
    position: usize,
}

impl BitWriter {
    fn new(len: usize) -> Self {
        BitWriter { bytes: vec![0; len], position: 0 }
    }

    /// Puts the `count` lowest bits of `value`.
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if let Some(byte) = self.bytes.get_mut(self.position / 8) {
                let set = u8::from((value >> bit) & 1 == 1);
                *byte |= set << (self.position % 8);
            }
            self.position = self.position.saturating_add(1);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let crc = crc16(self.bytes.get(2..).unwrap_or_default()).to_le_bytes();
        self.bytes.iter_mut().zip(crc).for_each(|(to, from)| *to = from);
        self.bytes
    }
}

/// Takes bits from the front of bytes; after their end zeros.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// The bits of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, position: 0 }
    }

    /// The next `count` bits, at most 32.
    pub fn take(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, bit| {
            let byte = self.bytes.get(self.position / 8).copied().unwrap_or(0);
            let set = u32::from((byte >> (self.position % 8)) & 1);
            self.position = self.position.saturating_add(1);
            value | set.checked_shl(bit).unwrap_or(0)
        })
    }

    /// The CRC and type that start a node; the type as a number.
    pub fn head(&mut self) -> (u16, u32) {
        // 16 bits fit.
        (u16::try_from(self.take(CRC_BITS)).unwrap_or(0), self.take(TYPE_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(leb_size: u32, min_io_size: u32, max_leb_cnt: u32) -> LptInput {
        let main = max_leb_cnt.checked_sub(10).unwrap();
        LptInput {
            leb_size,
            min_io_size,
            main_lebs: main,
            max_main_lebs: main,
            max_leb_cnt,
            lpt_lebs: 2,
            lsave_cnt: 256,
            big: false,
        }
    }

    #[test]
    fn crc16_is_the_kernels() {
        // The check value of CRC-16/MODBUS.
        assert_eq!(crc16(b"123456789"), 0x4b37);
    }

    #[test]
    fn bits_come_back() {
        let mut writer = BitWriter::new(9);
        let values = [(0xffff, 16), (0b1010, 4), (0x1_2345, 17), (1, 1), (0, 3), (0x7f_ffff, 23), (5, 3)];
        values.iter().for_each(|&(value, count)| writer.put(value, count));
        let mut reader = BitReader::new(&writer.bytes);
        for (value, count) in values {
            assert_eq!(reader.take(count), value);
        }
        assert_eq!(reader.take(32), 0);
    }

    #[test]
    fn layout_of_a_usual_volume() {
        let layout = LptLayout::new(&input(126_976, 2048, 2048));
        // 2038 LEBs are 510 pnodes; 4^4 = 256 are too few for them, 4^5 enough.
        assert_eq!((layout.pnode_cnt, layout.height), (510, 5));
        assert_eq!(layout.nnode_cnt, 128 + 32 + 8 + 2 + 1);
        assert_eq!(layout.rows().collect::<Vec<_>>(), [128, 32, 8, 2, 1]);
        // 20 bits and 4 × (14 + 14 + 1); 20 bits and 4 × (2 + 17).
        assert_eq!((layout.pnode_len, layout.nnode_len), (17, 12));
        assert!(!choose(&input(126_976, 2048, 2048), 2038).unwrap().big);
        let big = choose(&input(15_872, 8, 4000), 3990).unwrap();
        assert!(big.big && big.lpt_lebs > 2);
    }

    #[test]
    fn numbers_of_nnodes_are_their_path_backwards() {
        assert_eq!(LptLayout::nnode_number(0, 0), 1);
        assert_eq!((0..4).map(|i| LptLayout::nnode_number(1, i)).collect::<Vec<_>>(), [4, 5, 6, 7]);
        // Child 2 of the root's child 1.
        assert_eq!(LptLayout::nnode_number(2, 6), (4 + 2) * 4 + 1);
    }

    #[test]
    fn nodes_come_back() {
        for big in [false, true] {
            let layout = LptLayout::new(&LptInput { big, ..input(126_976, 2048, 2048) });
            let lebs = [
                Lprops { free: 126_976, dirty: 0, index: false },
                Lprops { free: 0, dirty: 126_976, index: false },
                Lprops { free: 2048, dirty: 8, index: true },
                Lprops::default(),
            ];
            let bytes = layout.pnode(300, &lebs);
            assert_eq!(bytes.len(), layout.pnode_len as usize);
            let mut reader = BitReader::new(&bytes);
            assert_eq!(reader.head(), (crc16(&bytes[2..]), LptType::Pnode.number()));
            assert_eq!(layout.read_pnode(&mut reader), (if big { 300 } else { 0 }, lebs));

            let place = LptPlace { lnum: 8, offs: 126_975 };
            let bytes = layout.nnode(5, &[Some(place), None, None, Some(place)], 7, 2);
            let mut reader = BitReader::new(&bytes);
            assert_eq!(reader.head(), (crc16(&bytes[2..]), LptType::Nnode.number()));
            let branches = [(1, 126_975), (2, 0), (2, 0), (1, 126_975)];
            assert_eq!(layout.read_nnode(&mut reader), (if big { 5 } else { 0 }, branches));
        }
    }
}
