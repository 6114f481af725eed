//! Keys: what a node is about, in the order in which the index holds them.

use super::BLOCK_SIZE;

/// Bits of the second word that are a block number or hash.
pub const VALUE_BITS: u32 = 29;
/// Mask of those bits.
pub const VALUE_MASK: u32 = 0x1fff_ffff;

/// Kind of a key: the 3 highest bits of its second word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum KeyType {
    /// Inode.
    Ino = 0,
    /// Block of a file.
    Data = 1,
    /// Directory entry.
    Dent = 2,
    /// Xattr entry.
    Xent = 3,
}

impl KeyType {
    /// All, by number.
    pub const ALL: [KeyType; 4] = [KeyType::Ino, KeyType::Data, KeyType::Dent, KeyType::Xent];

    const fn bits(self) -> u32 {
        // A fieldless `repr(u32)` enum; 0 to 3 in bits 29 and 30.
        (self as u32) << VALUE_BITS
    }
}

/// What a node is about. Ordered as the index is: by inode, then kind, then block or hash.
///
/// On flash 8 bytes in the index; in nodes 16, the last 8 of them zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key {
    /// Inode; for an entry the directory's, for an xattr its owner's.
    pub inum: u32,
    /// Kind, and block or hash.
    pub word: u32,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key_type() {
            Some(KeyType::Ino) => write!(f, "inode {}", self.inum),
            Some(KeyType::Data) => write!(f, "block {} of inode {}", self.value(), self.inum),
            Some(KeyType::Dent) => write!(f, "entry {:#x} of inode {}", self.value(), self.inum),
            Some(KeyType::Xent) => write!(f, "xattr {:#x} of inode {}", self.value(), self.inum),
            None => write!(f, "key {:#x} {:#x}", self.inum, self.word),
        }
    }
}

impl Key {
    /// Bytes in the index.
    pub const LEN: usize = 8;

    /// Key of an inode.
    #[must_use]
    pub const fn ino(inum: u32) -> Self {
        Key { inum, word: 0 }
    }

    /// Key of a file's block; only the lowest 29 bits of `block` count.
    #[must_use]
    pub const fn data(inum: u32, block: u32) -> Self {
        Key { inum, word: KeyType::Data.bits() | (block & VALUE_MASK) }
    }

    /// Key of a directory entry whose name has that hash.
    #[must_use]
    pub const fn dent(inum: u32, hash: u32) -> Self {
        Key { inum, word: KeyType::Dent.bits() | (hash & VALUE_MASK) }
    }

    /// Key of an xattr whose name has that hash.
    #[must_use]
    pub const fn xent(inum: u32, hash: u32) -> Self {
        Key { inum, word: KeyType::Xent.bits() | (hash & VALUE_MASK) }
    }

    /// The lowest and highest key of that kind and inode.
    #[must_use]
    pub const fn range(inum: u32, key_type: KeyType) -> (Self, Self) {
        let low = key_type.bits();
        (Key { inum, word: low }, Key { inum, word: low | VALUE_MASK })
    }

    /// Its kind; `None` for what no kernel writes.
    #[must_use]
    pub fn key_type(self) -> Option<KeyType> {
        KeyType::ALL.into_iter().find(|known| known.bits() == self.word & !VALUE_MASK)
    }

    /// Block number or hash.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.word & VALUE_MASK
    }

    /// Byte of the file at which the block starts.
    #[must_use]
    pub const fn block_offset(self) -> u64 {
        // At most 2^29 blocks of 2^12 bytes.
        (self.value() as u64).saturating_mul(BLOCK_SIZE as u64)
    }

    /// The 8 bytes of the index.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.inum.to_le_bytes();
        let [e, f, g, h] = self.word.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The 16 bytes of a node.
    #[must_use]
    pub const fn to_node(self) -> [u8; 16] {
        let [a, b, c, d] = self.inum.to_le_bytes();
        let [e, f, g, h] = self.word.to_le_bytes();
        [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// The key in those bytes.
    #[must_use]
    pub const fn from_bytes([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        Key { inum: u32::from_le_bytes([a, b, c, d]), word: u32::from_le_bytes([e, f, g, h]) }
    }

    /// The key of a node.
    #[must_use]
    pub const fn from_node([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> Self {
        Self::from_bytes([a, b, c, d, e, f, g, h])
    }
}

/// How names are hashed: [`SbNode::key_hash`](super::SbNode::key_hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyHash {
    /// Reiserfs's R5, what everybody has.
    #[default]
    R5,
    /// The first 4 bytes: many collisions, for tests. A big-endian kernel takes them in its own byte order, so an image
    /// with this hash is for little-endian devices.
    Test,
}

impl KeyHash {
    /// Every hash, with the word that options use.
    pub const NAMES: [(KeyHash, &str); 2] = [(KeyHash::R5, "r5"), (KeyHash::Test, "test")];

    /// The hash of that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(KeyHash::R5),
            1 => Some(KeyHash::Test),
            _ => None,
        }
    }

    /// The number in the superblock.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            KeyHash::R5 => 0,
            KeyHash::Test => 1,
        }
    }

    /// The word that options use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KeyHash::R5 => "r5",
            KeyHash::Test => "test",
        }
    }

    /// Hash of a name, 29 bits. The values 0 to 2 stand for `.`, `..` and the end of a directory, and are not used.
    #[must_use]
    pub fn hash(self, name: &[u8]) -> u32 {
        let raw = match self {
            KeyHash::R5 => name.iter().fold(0, |hash, &byte| r5_step(hash, byte)),
            KeyHash::Test => {
                let mut bytes = [0; 4];
                bytes.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
                u32::from_le_bytes(bytes)
            }
        };
        match raw & VALUE_MASK {
            low @ 0..=2 => low.wrapping_add(3),
            hash => hash,
        }
    }
}

/// Bytes count as signed numbers: the hash was first computed on x86.
const fn r5_step(hash: u32, byte: u8) -> u32 {
    let signed = byte.cast_signed() as i32;
    let hash = hash.wrapping_add((signed << 4).cast_unsigned());
    hash.wrapping_add((signed >> 4).cast_unsigned()).wrapping_mul(11)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_inode_kind_and_value() {
        let sorted =
            [Key::ino(1), Key::data(1, 0), Key::data(1, 9), Key::dent(1, 3), Key::xent(1, 3), Key::ino(2)];
        assert!(sorted.is_sorted());
        for key in sorted {
            assert_eq!(Key::from_bytes(key.to_bytes()), key);
            assert_eq!(Key::from_node(key.to_node()), key);
        }
        assert_eq!(Key::data(1, 9).block_offset(), 36864);
        assert_eq!(Key { inum: 1, word: u32::MAX }.key_type(), None);
        assert_eq!(Key::dent(5, 0x123).to_string(), "entry 0x123 of inode 5");
    }

    #[test]
    fn hashes() {
        // "a": (0x61 << 4) + (0x61 >> 4) = 0x610 + 6, times 11.
        assert_eq!(KeyHash::R5.hash(b"a"), (0x610 + 6) * 11);
        // 0xff counts as -1: (-16 + -1) * 11, 29 bits of it.
        assert_eq!(KeyHash::R5.hash(b"\xff"), (-187i32).cast_unsigned() & VALUE_MASK);
        assert_eq!(KeyHash::R5.hash(b""), 3);
        assert_eq!(KeyHash::Test.hash(b"abcdef"), 0x6463_6261 & VALUE_MASK);
        assert_eq!(KeyHash::Test.hash(b"\x02"), 5);
    }
}
