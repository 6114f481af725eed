//! The bytes of newc, for writer and reader both.
//!
//! Source of fact: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`, and what `init/initramfs.c`
//! does with it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

/// Magic of an archive without checksums, the one that is written.
pub(crate) const MAGIC: &[u8; 6] = b"070701";
/// Magic of an archive whose [`Header::check`] is the sum of the file's bytes; read, never written.
pub(crate) const MAGIC_CHECKED: &[u8; 6] = b"070702";
/// Magic of the older portable format, which Linux does not unpack.
pub(crate) const MAGIC_PORTABLE: &[u8] = b"070707";
/// Name of the entry that ends an archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";
/// Bytes of a header: magic and [`FIELD_COUNT`] numbers of 8 hexadecimal digits.
pub(crate) const HEADER_LEN: usize = 110;
/// Numbers in a header.
pub(crate) const FIELD_COUNT: usize = 13;
/// Header with name, and data, both end at a multiple of this many bytes from the start of the archive.
pub(crate) const ALIGNMENT: u64 = 4;
/// Longest name and longest symlink target that Linux unpacks, in bytes, without the NUL (`PATH_MAX` less 1).
/// It leaves out an entry that has more, and says nothing.
pub(crate) const MAX_PATH: usize = 4095;
/// Longest component of a path on Linux, in bytes (`NAME_MAX`).
pub(crate) const MAX_NAME: usize = 255;

/// Entry header: 110 bytes, ASCII, at a multiple of 4 bytes. After it: name, NUL, padding, data, padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[doc(alias = "cpio_newc_header")]
pub(crate) struct Header {
    /// Inode number; with the device number it tells which entries are one file.
    pub(crate) ino: u32,
    /// `st_mode`: file type and permissions.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Number of names; Linux looks for hard links only where this is 2 or more.
    pub(crate) nlink: u32,
    /// Modification time in seconds since 1970.
    pub(crate) mtime: u32,
    /// Bytes of data: of a file, or of a symlink's target. 0 for all but one name of a hard-linked file.
    pub(crate) filesize: u32,
    /// Device that the file came from.
    pub(crate) dev_major: u32,
    /// See `dev_major`.
    pub(crate) dev_minor: u32,
    /// Device that a device node stands for.
    pub(crate) rdev_major: u32,
    /// See `rdev_major`.
    pub(crate) rdev_minor: u32,
    /// Bytes of the name, its NUL included.
    pub(crate) namesize: u32,
    /// Sum of the data's bytes modulo 2^32, with [`MAGIC_CHECKED`]; else 0.
    pub(crate) check: u32,
}

impl Header {
    const fn fields(&self) -> [u32; FIELD_COUNT] {
        [
            self.ino,
            self.mode,
            self.uid,
            self.gid,
            self.nlink,
            self.mtime,
            self.filesize,
            self.dev_major,
            self.dev_minor,
            self.rdev_major,
            self.rdev_minor,
            self.namesize,
            self.check,
        ]
    }

    /// The header as it stands in an archive.
    pub(crate) fn encode(&self) -> Vec<u8> {
        use std::fmt::Write;
        let mut text = String::from_utf8_lossy(MAGIC).into_owned();
        for field in self.fields() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{field:08X}");
        }
        text.into_bytes()
    }

    /// The 13 numbers after the magic; `None` when one is not 8 hexadecimal digits.
    pub(crate) fn decode(numbers: &[u8]) -> Option<Self> {
        let mut fields = numbers.chunks_exact(8).map(parse_hex);
        let mut next = || fields.next().flatten();
        Some(Header {
            ino: next()?,
            mode: next()?,
            uid: next()?,
            gid: next()?,
            nlink: next()?,
            mtime: next()?,
            filesize: next()?,
            dev_major: next()?,
            dev_minor: next()?,
            rdev_major: next()?,
            rdev_minor: next()?,
            namesize: next()?,
            check: next()?,
        })
    }
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    // from_str_radix alone would take a sign.
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Zero bytes from `offset` to the next multiple of `alignment`, a power of two.
pub(crate) const fn padding(offset: u64, alignment: u64) -> u64 {
    offset.wrapping_neg() & alignment.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_110_bytes_and_reads_back() {
        let header =
            Header { ino: 1, mode: 0o100_644, uid: 0xffff_fffe, check: 7, namesize: 11, ..Header::default() };
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(&bytes[..30], b"07070100000001000081A4FFFFFFFE");
        assert_eq!(Header::decode(&bytes[6..]), Some(header));
    }

    #[test]
    fn numbers_are_hexadecimal_digits_and_nothing_else() {
        for (text, value) in
            [(&b"0000000a"[..], Some(10)), (b"FFFFFFFF", Some(u32::MAX)), (b"+0000001", None)]
        {
            assert_eq!(parse_hex(text), value);
        }
        assert_eq!(Header::decode(&[b'0'; 96]), None);
    }

    #[test]
    fn padding_reaches_the_next_multiple() {
        let cases = [(0, 0), (1, 3), (3, 1), (4, 0), (u64::MAX, 1)];
        for (offset, zeros) in cases {
            assert_eq!(padding(offset, 4), zeros);
        }
    }
}
