//! Records of extended headers (POSIX pax): `length keyword=value\n`.
//!
//! Sources of fact: POSIX.1-2017 "pax Interchange Format"; GNU tar's manual, "Storing Sparse Files"; star(5) for
//! `SCHILY.xattr`; libarchive's tar(5) for `LIBARCHIVE.xattr`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use data_encoding::{BASE64, BASE64_NOPAD};
use flashwright_tree::{Timestamp, Xattrs};

use super::sparse::MAX_PAIRS;

/// What the records of one header, or of a global one and that, say.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Xattrs,
    /// From `LIBARCHIVE.xattr` and `RHT.security.selinux`: these give way to `SCHILY.xattr`.
    pub(super) other_xattrs: Xattrs,
    /// POSIX ACLs as text, which cannot be carried over: names mean other numbers on other machines.
    pub(super) has_acl: bool,
    pub(super) sparse: Sparse,
}

/// Records of GNU tar about a file with holes.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    /// `GNU.sparse.major` and `minor`: 1.0 has its map in the data.
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// The name of the file; that of the entry is another one.
    pub(super) name: Option<Vec<u8>>,
    /// Length of the file with its holes.
    pub(super) real_size: Option<u64>,
    /// Offset and length of what is data, as 0.0 and 0.1 have it.
    pub(super) pairs: Vec<(u64, u64)>,
    /// An offset (0.0) whose length is still to come.
    offset: Option<u64>,
    /// A map of pairs was there, be it empty.
    has_map: bool,
}

impl Sparse {
    pub(super) fn is_map_in_data(&self) -> bool {
        self.major.is_some_and(|major| major >= 1)
    }

    pub(super) fn has_pairs(&self) -> bool {
        self.has_map || !self.pairs.is_empty()
    }
}

/// Reads records on top of what is there.
///
/// # Errors
/// What is wrong.
pub(super) fn read(pax: &mut Pax, mut records: &[u8]) -> Result<(), String> {
    while !records.is_empty() {
        let (record, rest) = split_record(records).ok_or_else(|| {
            let start = String::from_utf8_lossy(records.get(..16).unwrap_or(records)).into_owned();
            format!("expected a record \"length keyword=value\" and a line feed, found {start:?}")
        })?;
        let equals = record.iter().position(|&byte| byte == b'=');
        let (keyword, value) = equals
            .and_then(|at| Some((record.get(..at)?, record.get(at.checked_add(1)?..)?)))
            .ok_or_else(|| format!("the record {:?} has no '='", String::from_utf8_lossy(record)))?;
        let done = set(pax, keyword, value);
        done.ok_or_else(|| {
            let value = String::from_utf8_lossy(value.get(..64).unwrap_or(value)).into_owned();
            format!("bad {}: {value:?}", String::from_utf8_lossy(keyword))
        })?;
        records = rest;
    }
    Ok(())
}

/// The first record, without its length and line feed, and what follows it.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|&byte| byte == b' ')?;
    let len: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let record = record.get(space.checked_add(1)?..)?;
    Some((record.strip_suffix(b"\n")?, rest))
}

/// Sets what a record says; `None` when its value is none of its kind. Keywords that say nothing about an image are
/// passed over, as POSIX has it.
fn set(pax: &mut Pax, keyword: &[u8], value: &[u8]) -> Option<()> {
    if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
        pax.xattrs.insert(name.to_vec(), value.to_vec());
        return Some(());
    }
    if let Some(name) = keyword.strip_prefix(b"LIBARCHIVE.xattr.") {
        pax.other_xattrs.insert(percent_decoded(name)?, base64(value)?);
        return Some(());
    }
    // An empty value takes back what an earlier record said.
    let number = || if value.is_empty() { Some(None) } else { decimal(value).map(Some) };
    let text = || Some(value.to_vec()).filter(|value| !value.is_empty());
    match keyword {
        b"path" => pax.path = text(),
        b"linkpath" => pax.link_path = text(),
        b"size" => pax.size = number()?,
        b"uid" => pax.uid = number()?,
        b"gid" => pax.gid = number()?,
        b"mtime" => pax.mtime = if value.is_empty() { None } else { Some(time(value)?) },
        b"SCHILY.acl.access" | b"SCHILY.acl.default" => pax.has_acl = true,
        // The kernel's value ends in a NUL.
        b"RHT.security.selinux" => {
            pax.other_xattrs.insert(b"security.selinux".to_vec(), [value, b"\0"].concat());
        }
        _ => return set_sparse(&mut pax.sparse, keyword, value),
    }
    Some(())
}

fn set_sparse(sparse: &mut Sparse, keyword: &[u8], value: &[u8]) -> Option<()> {
    match keyword {
        b"GNU.sparse.major" => sparse.major = Some(decimal(value)?),
        b"GNU.sparse.minor" => sparse.minor = Some(decimal(value)?),
        b"GNU.sparse.name" => sparse.name = Some(value.to_vec()),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse.real_size = Some(decimal(value)?),
        b"GNU.sparse.numblocks" => sparse.has_map = true,
        b"GNU.sparse.offset" => sparse.offset = Some(decimal(value)?),
        b"GNU.sparse.numbytes" => push(sparse, (sparse.offset?, decimal(value)?))?,
        b"GNU.sparse.map" => {
            sparse.has_map = true;
            let mut numbers = value.split(|&byte| byte == b',').filter(|number| !number.is_empty());
            while let Some(offset) = numbers.next() {
                push(sparse, (decimal(offset)?, decimal(numbers.next()?)?))?;
            }
        }
        _ => {}
    }
    Some(())
}

fn push(sparse: &mut Sparse, pair: (u64, u64)) -> Option<()> {
    sparse.pairs.push(pair);
    (sparse.pairs.len() <= MAX_PAIRS).then_some(())
}

/// A number without a sign.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds since 1970 with or without a fraction; digits beyond nanoseconds do not count.
fn time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = i64::try_from(decimal(whole.as_bytes()).filter(|_| !whole.is_empty())?).ok()?;
    fraction.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = u32::try_from(digits.fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(digit.saturating_sub(b'0').into())
    }))
    .ok()?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds: whole, nanoseconds },
        (true, 0) => Timestamp::from_seconds(whole.checked_neg()?),
        // Nanoseconds count forward.
        (true, nanoseconds) => Timestamp {
            seconds: whole.checked_neg()?.checked_sub(1)?,
            nanoseconds: 1_000_000_000_u32.checked_sub(nanoseconds)?,
        },
    })
}

/// libarchive writes base64 without padding; others may pad.
fn base64(value: &[u8]) -> Option<Vec<u8>> {
    if value.ends_with(b"=") { BASE64.decode(value).ok() } else { BASE64_NOPAD.decode(value).ok() }
}

/// A name in which `%` and two hexadecimal digits stand for a byte.
fn percent_decoded(name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_signs_and_fractions() {
        let cases: [(&str, Option<(i64, u32)>); 9] = [
            ("0", Some((0, 0))),
            ("1234567890.123456789", Some((1_234_567_890, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.-5", None),
            (".5", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds });
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn records_may_hold_anything() {
        let mut pax = Pax::default();
        let text = b"12 path=a\nb\n7 size=5\n30 SCHILY.xattr.user.x=\0\n=\xff\nend\n";
        // The lengths of these records are counted, so a line feed in a value is no end.
        let text = [&b"12 path=a\nb\n"[..], &text[12..]].concat();
        assert!(read(&mut pax, &text).is_err(), "a length that is wrong");
        let mut pax = Pax::default();
        let record = b"SCHILY.xattr.user.x=\0\n=\xff";
        let len = record.len() + 4;
        let text = [format!("12 path=a\nb\n{len} ").as_bytes(), record, b"\n9 size=5\n8 uid=7\n"].concat();
        read(&mut pax, &text).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!((pax.size, pax.uid), (Some(5), Some(7)));
        assert_eq!(pax.xattrs.get(&b"user.x"[..]).unwrap(), b"\0\n=\xff");
    }

    #[test]
    fn names_and_values_of_libarchive_are_decoded() {
        assert_eq!(percent_decoded(b"user.a%20b%3d"), Some(b"user.a b=".to_vec()));
        assert_eq!((percent_decoded(b"%"), percent_decoded(b"%+1")), (None, None));
        assert_eq!(base64(b"aGVsbG8"), Some(b"hello".to_vec()));
        assert_eq!(base64(b"aGVsbG8="), Some(b"hello".to_vec()));
    }
}
