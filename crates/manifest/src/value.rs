//! Values that more than one syntax knows: modes, paths, times, bytes as text.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use flashwright_tree::{Device, Timestamp};

/// What is wrong with a value, and the remedy where there is one better than the obvious.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Possible, but not done: [`crate::Class::Refused`].
    pub(crate) refused: bool,
}

impl BadValue {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        BadValue { message: message.into(), help: None, refused: false }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        BadValue { message: message.into(), help: None, refused: true }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Permission bits in octal, with or without leading zeros or `0o`: `0755`, `4755`.
pub(crate) fn mode(text: &str) -> Result<u16, BadValue> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        let message = format!("bad mode {text:?}: not an octal number");
        return Err(BadValue::new(message).with_help("write four octal digits, such as 0755 or 4755"));
    }
    match u16::from_str_radix(digits, 8) {
        Ok(bits) if bits <= 0o7777 => Ok(bits),
        _ => {
            let message = format!("bad mode {text:?}: above 7777");
            Err(BadValue::new(message)
                .with_help("a mode is permission bits only, 0000 to 7777; the type is said apart"))
        }
    }
}

/// A path of the image in normal form: no leading `/`, no empty names, no `.`.
pub(crate) fn image_path(path: &[u8]) -> Result<Vec<u8>, BadValue> {
    let mut normal = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            let message = format!("path {:?} has '..'", String::from_utf8_lossy(path));
            return Err(
                BadValue::new(message).with_help("write the path from the root of the image, without '..'")
            );
        }
        if name.contains(&0) {
            return Err(BadValue::new(format!("path {:?} has a NUL byte", String::from_utf8_lossy(path))));
        }
        if !normal.is_empty() {
            normal.push(b'/');
        }
        normal.extend_from_slice(name);
    }
    Ok(normal)
}

/// A path that an archive or list brings, in normal form: absolute ones start where the source is grafted, `..` is
/// refused.
pub(crate) fn contained_path(path: &[u8]) -> Result<Vec<u8>, BadValue> {
    if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
        let message = format!("path {:?} has '..', which may lead anywhere", String::from_utf8_lossy(path));
        return Err(BadValue::refused(message).with_help("make the archive or list again without '..'"));
    }
    image_path(path)
}

/// A symlink target: anything but nothing and NUL.
pub(crate) fn target(target: &[u8]) -> Result<Vec<u8>, BadValue> {
    if target.is_empty() {
        return Err(BadValue::new("a symlink needs a target"));
    }
    if target.contains(&0) {
        return Err(BadValue::new("a symlink target cannot have a NUL byte"));
    }
    Ok(target.to_vec())
}

/// The full name of an extended attribute, in one of the four namespaces of Linux.
pub(crate) fn xattr_name(name: &[u8]) -> Result<Vec<u8>, BadValue> {
    let shown = String::from_utf8_lossy(name).into_owned();
    let namespaces = ["user.", "trusted.", "security.", "system."];
    let known = |namespace: &&str| name.starts_with(namespace.as_bytes()) && name.len() > namespace.len();
    if !namespaces.iter().any(known) {
        let bad = BadValue::new(format!("bad xattr name {shown:?}: no namespace"));
        return Err(bad.with_help("a name begins with user., trusted., security. or system."));
    }
    if name.contains(&0) || name.len() > 255 {
        return Err(BadValue::new(format!("bad xattr name {shown:?}: at most 255 bytes, no NUL")));
    }
    Ok(name.to_vec())
}

/// A device number within what Linux has.
pub(crate) fn device(major: u64, minor: u64) -> Result<Device, BadValue> {
    let fit = |number: u64, max: u32| u32::try_from(number).ok().filter(|&number| number <= max);
    if let (Some(major), Some(minor)) = (fit(major, Device::MAX_MAJOR), fit(minor, Device::MAX_MINOR)) {
        return Ok(Device { major, minor });
    }
    Err(BadValue::new(format!(
        "device number {major}:{minor} is too large: major is at most {}, minor at most {}",
        Device::MAX_MAJOR,
        Device::MAX_MINOR
    )))
}

/// The device that unsquashfs -pf 4.7.5 meant by a number it wrote: it splits the kernel's 32-bit encoding at bit 8,
/// which is wrong for minors above 255.
pub(crate) fn unsplit_device(high: u64, low: u64) -> Option<Device> {
    let high = u32::try_from(high).ok().filter(|&high| (0x1000..1 << 24).contains(&high) && low < 256)?;
    let encoded = high.checked_mul(256)? | u32::try_from(low).ok()?;
    Some(Device::decode(encoded)).filter(|device| device.major != 0)
}

/// Bytes written as hexadecimal digits; spaces, line breaks, `:` and `_` between them do not count.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, BadValue> {
    let digits: String =
        text.chars().filter(|c| !c.is_ascii_whitespace() && !matches!(c, ':' | '_')).collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| {
        BadValue::new("not hexadecimal")
            .with_help("write two digits 0-9 a-f for every byte, for example \"de ad be ef\"")
    })
}

/// Bytes written in base64 with padding; white space does not count.
pub(crate) fn base64(text: &str) -> Result<Vec<u8>, BadValue> {
    let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(digits.as_bytes()).map_err(|e| {
        BadValue::new(format!("not base64: {e}"))
            .with_help("use the standard alphabet with '=' at the end, as the program base64 writes it")
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. `month` is 1 to 12, `day` 1 to 31.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    // Years counted from March, so that the leap day comes last.
    let year = year.checked_sub(i64::from(month <= 2))?;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = month.checked_add(9)?.rem_euclid(12);
    let of_year =
        month_from_march.checked_mul(153)?.checked_add(2)?.div_euclid(5).checked_add(day)?.checked_sub(1)?;
    let leap_days = of_era.div_euclid(4).checked_sub(of_era.div_euclid(100))?;
    let of_era = of_era.checked_mul(365)?.checked_add(leap_days)?.checked_add(of_year)?;
    era.checked_mul(146_097)?.checked_add(of_era)?.checked_sub(719_468)
}

/// Seconds since 1970 of an RFC 3339 time that names its offset from UTC.
pub(crate) fn timestamp(time: &toml::value::Datetime) -> Result<Timestamp, BadValue> {
    let (Some(date), Some(clock), Some(offset)) = (time.date, time.time, time.offset) else {
        let message = format!("time {time} has no offset from UTC");
        return Err(BadValue::new(message).with_help(
            "write it whole and in UTC, for example 2024-01-31T12:00:00Z, or as seconds since 1970",
        ));
    };
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds =
        days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day)).and_then(|days| {
            let hour = i64::from(clock.hour);
            let minutes = hour.checked_mul(60)?.checked_add(i64::from(clock.minute))?.checked_sub(minutes)?;
            let seconds = minutes.checked_mul(60)?.checked_add(i64::from(clock.second.unwrap_or(0)))?;
            days.checked_mul(86_400)?.checked_add(seconds)
        });
    let seconds = seconds.ok_or_else(|| BadValue::new(format!("time {time} is out of range")))?;
    Ok(Timestamp { seconds, nanoseconds: clock.nanosecond.unwrap_or(0) })
}

/// The candidate that `word` was most likely meant to be.
pub(crate) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let close = |candidate: &&'a str| {
        let distance = distance(word, candidate);
        let allowed = candidate.chars().count().max(word.chars().count()).div_ceil(3);
        (distance <= allowed).then_some((distance, *candidate))
    };
    candidates.iter().filter_map(close).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], back: usize| {
                j.checked_add(1)
                    .and_then(|j| j.checked_sub(back))
                    .and_then(|j| row.get(j).copied())
                    .unwrap_or(usize::MAX)
            };
            let mut best = at(&last, 1).saturating_add(usize::from(x != y));
            best = best.min(at(&last, 0).saturating_add(1)).min(at(&row, 1).saturating_add(1));
            let swapped =
                i > 0 && j > 0 && a.get(i.wrapping_sub(1)) == Some(y) && b.get(j.wrapping_sub(1)) == Some(x);
            if swapped {
                best = best.min(at(&before, 2).saturating_add(1));
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for (text, bits) in [
            ("0755", 0o755),
            ("755", 0o755),
            ("4755", 0o4755),
            ("0o1777", 0o1777),
            ("0", 0),
            ("00644", 0o644),
        ] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for text in ["", "0o", "899", "-755", "+755", "12345", "10000", "100644", "u=rwx", " 755"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_normalised_and_never_climb() {
        for (path, normal) in [("/", ""), ("", ""), ("/a//b/", "a/b"), ("./a/./b", "a/b"), ("...", "...")] {
            assert_eq!(image_path(path.as_bytes()), Ok(normal.into()), "{path}");
        }
        for path in ["..", "/a/../b", "a/..", "a\0"] {
            assert!(image_path(path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn device_numbers_beyond_linux_are_refused_and_split_ones_explained() {
        assert_eq!(device(4095, 0xf_ffff).unwrap(), Device { major: 4095, minor: 0xf_ffff });
        assert!(device(4096, 0).is_err());
        assert!(device(0, 1 << 20).is_err());
        assert!(device(u64::MAX, u64::MAX).is_err());
        assert_eq!(unsplit_device(1_118_467, 112), Some(Device { major: 259, minor: 70000 }));
        assert_eq!(unsplit_device(4096, 1), None);
    }

    #[test]
    fn times_are_seconds_since_1970() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:30:15Z", 1_709_209_815),
            ("2000-03-01T00:00:00+01:30", 951_863_400),
            ("1969-12-31T23:59:59Z", -1),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
        ];
        for (text, seconds) in cases {
            assert_eq!(timestamp(&text.parse().unwrap()), Ok(Timestamp::from_seconds(seconds)), "{text}");
        }
        assert_eq!(timestamp(&"1970-01-01T00:00:00.25Z".parse().unwrap()).unwrap().nanoseconds, 250_000_000);
        for text in ["2024-01-01", "2024-01-01T00:00:00", "12:00:00"] {
            assert!(timestamp(&text.parse().unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_read_from_hex_and_base64() {
        assert_eq!(hex("DE ad:be_ef\n"), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(base64("aGVs\nbG8="), Ok(b"hello".to_vec()));
        assert!(hex("abc").is_err() && hex("0x12").is_err() && base64("aGVsbG8").is_err());
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let keys = ["mode", "mtime", "type", "target", "one-file-system"];
        let cases = [
            ("mdoe", Some("mode")),
            ("Mode", Some("mode")),
            ("mtme", Some("mtime")),
            ("one_file_system", Some("one-file-system")),
            ("colour", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(closest(word, &keys), expected, "{word}");
        }
    }
}
