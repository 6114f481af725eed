//! What kind of SquashFS an image is, by its first bytes.

use zerocopy::FromBytes;

use super::ReadError;
use crate::format::{MAGIC, SuperBlock, VERSION};

/// Bytes that [`detect`] and [`identify`] look at, at most.
pub const HEAD_LEN: usize = size_of::<SuperBlock>();

/// Byte of the major version number in the superblocks of all SquashFS versions.
const VERSION_OFFSET: usize = 28;

const FOREIGN_REMEDY: &str =
    "try the foreign reader (cargo feature `foreign`), or make the image again as SquashFS 4.0";

/// What the first bytes of an image say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// SquashFS 4.0, little-endian: what this reader reads.
    Standard,
    /// SquashFS of another version, byte order or vendor.
    Foreign(Foreign),
    /// Something else.
    Other,
}

/// A SquashFS that current kernels do not mount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// The magic, as it stands in the image.
    pub magic: [u8; 4],
    /// Whether the superblock is big-endian.
    pub big_endian: bool,
    /// Major and minor version.
    pub version: (u16, u16),
    /// What is known about it, for messages.
    pub description: &'static str,
}

/// True when `head`, the first bytes of an image, is a SquashFS 4.0, little-endian superblock's start. Foreign kinds
/// are told by [`identify`].
#[must_use]
pub fn detect(head: &[u8]) -> bool {
    head.starts_with(&MAGIC.to_le_bytes()) && !matches!(identify(head), Identity::Foreign(_))
}

/// Tells standard, foreign and vendor SquashFS images from everything else. Give it [`HEAD_LEN`] bytes, or what
/// there is.
#[must_use]
pub fn identify(head: &[u8]) -> Identity {
    let Some(&magic) = head.first_chunk::<4>() else { return Identity::Other };
    let Some(big_endian) = big_endian(magic, head) else { return Identity::Other };
    let Some(version) = version(head, big_endian) else {
        return if magic == MAGIC.to_le_bytes() { Identity::Standard } else { Identity::Other };
    };
    if magic == MAGIC.to_le_bytes() && version == VERSION {
        return Identity::Standard;
    }
    Identity::Foreign(Foreign { magic, big_endian, version, description: describe(magic, version) })
}

/// Byte order; `None` when this is no magic. Vendors have used their magics with either: there the version tells it.
fn big_endian(magic: [u8; 4], head: &[u8]) -> Option<bool> {
    match &magic {
        b"sqsh" => Some(true),
        b"hsqs" => Some(false),
        b"sqlz" | b"zlqs" | b"qshs" | b"shsq" | b"tqsh" | b"hsqt" => {
            Some(version(head, true).is_some_and(|(major, _)| (1..=VERSION.0).contains(&major)))
        }
        _ => None,
    }
}

fn version(head: &[u8], big_endian: bool) -> Option<(u16, u16)> {
    let field = |offset: usize| head.get(offset..)?.first_chunk::<2>().copied();
    let number = |bytes| if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    Some((number(field(VERSION_OFFSET)?), number(field(VERSION_OFFSET.wrapping_add(2))?)))
}

const fn describe(magic: [u8; 4], version: (u16, u16)) -> &'static str {
    match (&magic, version.0) {
        (b"sqsh", 4..) => "big-endian SquashFS 4.0, as of AVM and other vendors",
        (b"sqsh", _) => "big-endian SquashFS of an old version",
        (b"hsqs", _) => "SquashFS of a version other than 4.0",
        (b"tqsh" | b"hsqt", _) => "SquashFS of DD-WRT, with LZMA",
        (b"sqlz" | b"zlqs", _) => "SquashFS of a vendor, with LZMA",
        _ => "SquashFS of a vendor, with swapped magic",
    }
}

/// The superblock of a standard image, or the error that says what else `head` is.
pub(super) fn standard(head: &[u8]) -> Result<SuperBlock, ReadError> {
    match identify(head) {
        Identity::Standard => {}
        Identity::Other => return Err(ReadError::not_squashfs(show(head))),
        Identity::Foreign(foreign) => {
            let Foreign { version: (major, minor), description, .. } = foreign;
            let what = format!("{description} (version {major}.{minor})");
            return Err(ReadError::unsupported(what, FOREIGN_REMEDY).at(0));
        }
    }
    let superblock = SuperBlock::read_from_prefix(head).map(|(superblock, _)| superblock);
    superblock.map_err(|_| {
        let expected = format!("{HEAD_LEN} bytes");
        ReadError::corrupt("superblock", expected, head.len()).at(0)
    })
}

fn show(head: &[u8]) -> String {
    if head.is_empty() {
        return "an empty file".to_owned();
    }
    let bytes: Vec<_> = head.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(magic: &[u8; 4], version: [u8; 4]) -> Vec<u8> {
        let mut head = vec![0; HEAD_LEN];
        head[..4].copy_from_slice(magic);
        head[28..32].copy_from_slice(&version);
        head
    }

    #[test]
    fn kinds_are_told_apart() {
        let cases: [(Vec<u8>, bool, &str); 6] = [
            (head(b"hsqs", [4, 0, 0, 0]), true, ""),
            (head(b"hsqs", [3, 0, 1, 0]), false, "version other than 4.0 (version 3.1)"),
            (head(b"sqsh", [0, 4, 0, 0]), false, "big-endian SquashFS 4.0"),
            (head(b"hsqt", [3, 0, 0, 0]), false, "DD-WRT"),
            (head(b"shsq", [3, 0, 1, 0]), false, "vendor"),
            (b"\x7fELF".to_vec(), false, "the bytes 7f 45 4c 46"),
        ];
        for (head, standard_image, message) in cases {
            assert_eq!(detect(&head), standard_image, "{message}");
            match standard(&head) {
                Ok(superblock) => assert!(standard_image && superblock.major.get() == 4),
                Err(error) => assert!(error.to_string().contains(message), "{error}"),
            }
        }
        assert!(detect(b"hsqs"));
        assert!(!detect(b"hsq"));
        assert_eq!(identify(b""), Identity::Other);
    }
}
