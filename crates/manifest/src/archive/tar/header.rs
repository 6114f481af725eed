//! The 512-byte header of an entry, and the numbers in it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ops::Range;

/// Bytes of a header, and what everything in an archive is aligned to.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
/// `ustar`, NUL and `00` in POSIX archives; `ustar`, two spaces and NUL in those of GNU tar.
const MAGIC: Range<usize> = 257..265;
const DEV_MAJOR: Range<usize> = 329..337;
const DEV_MINOR: Range<usize> = 337..345;
/// POSIX: what goes before the name, and a `/`. GNU tar has other things there.
const PREFIX: Range<usize> = 345..500;
/// The same in archives of star, which say so with `tar` and NUL at byte 508.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;
/// GNU tar, old sparse format: four pairs of offset and length, 12 bytes each.
const SPARSE: Range<usize> = 386..482;
const SPARSE_CONTINUES: usize = 482;
const SPARSE_REAL_SIZE: Range<usize> = 483..495;
/// In a block that continues the pairs: 21 of them.
const CONTINUED_PAIRS: Range<usize> = 0..504;
const CONTINUED_CONTINUES: usize = 504;

/// One block of the archive.
pub(super) struct Block(pub(super) [u8; BLOCK]);

impl Block {
    fn field(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    /// Whether the checksum is right: the sum of all bytes, its own field counted as spaces. Old programs took bytes as
    /// signed.
    pub(super) fn checksum(&self) -> Checksum {
        let mut unsigned = 0_i64;
        let mut signed = 0_i64;
        for (at, &byte) in self.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { byte };
            unsigned = unsigned.saturating_add(byte.into());
            signed = signed.saturating_add(byte.cast_signed().into());
        }
        let found = number(self.field(CHECKSUM));
        let right = found == Some(unsigned.into()) || found == Some(signed.into());
        Checksum { found, computed: unsigned, right }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.byte(TYPE)
    }

    fn is_posix(&self) -> bool {
        self.field(MAGIC).starts_with(b"ustar\0")
    }

    /// Name with its prefix.
    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = match (self.is_posix(), self.field(STAR_MAGIC)) {
            (true, b"tar\0") => text(self.field(STAR_PREFIX)),
            (true, _) => text(self.field(PREFIX)),
            (false, _) => &[],
        };
        let name = text(self.field(NAME));
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        text(self.field(LINK_NAME)).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i128> {
        number(self.field(MODE))
    }

    pub(super) fn uid(&self) -> Option<i128> {
        number(self.field(UID))
    }

    pub(super) fn gid(&self) -> Option<i128> {
        number(self.field(GID))
    }

    pub(super) fn size(&self) -> Option<i128> {
        number(self.field(SIZE))
    }

    pub(super) fn mtime(&self) -> Option<i128> {
        number(self.field(MTIME))
    }

    /// Major and minor.
    pub(super) fn device(&self) -> Option<(i128, i128)> {
        Some((number(self.field(DEV_MAJOR))?, number(self.field(DEV_MINOR))?))
    }

    pub(super) fn sparse_real_size(&self) -> Option<i128> {
        number(self.field(SPARSE_REAL_SIZE))
    }

    /// Pairs of the header, and whether a block with more follows.
    pub(super) fn sparse_pairs(&self) -> (&[u8], bool) {
        (self.field(SPARSE), self.byte(SPARSE_CONTINUES) != 0)
    }

    /// The same of a block that continues them.
    pub(super) fn continued_pairs(&self) -> (&[u8], bool) {
        (self.field(CONTINUED_PAIRS), self.byte(CONTINUED_CONTINUES) != 0)
    }
}

/// What a header's checksum says.
pub(super) struct Checksum {
    pub(super) found: Option<i128>,
    pub(super) computed: i64,
    pub(super) right: bool,
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits with spaces or NULs around them, nothing at all for 0, or, with the top bit set, a
/// binary number in two's complement (GNU and star).
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return binary(first, rest);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, after) = digits.split_at_checked(end)?;
    if !after.iter().all(is_blank) {
        return None;
    }
    digits.iter().try_fold(0_i128, |value, &digit| {
        let digit = char::from(digit).to_digit(8)?;
        value.checked_mul(8)?.checked_add(digit.into())
    })
}

fn binary(first: u8, rest: &[u8]) -> Option<i128> {
    // The top bit is the mark, the next one the sign.
    let negative = first & 0x40 != 0;
    let head = i128::from(first & 0x3f).checked_sub(if negative { 0x40 } else { 0 })?;
    rest.iter().try_fold(head, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let cases: [(&[u8], Option<i128>); 12] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000 644", None),
            (b"00008\0\0\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x01\0\0\0\0\0\0\0", Some(1 << 56)),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field), expected, "{field:?}");
        }
        assert_eq!(
            number(&[0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Some((1 << 87) - 1)
        );
    }
}
