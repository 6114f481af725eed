//! The `.ini` files of `ubinize`: a section for each volume.
//!
//! ```text
//! [rootfs]
//! mode=ubi
//! image=root.ubifs
//! vol_id=0
//! vol_size=100MiB
//! vol_type=dynamic
//! vol_name=rootfs
//! vol_alignment=1
//! vol_flags=autoresize
//! ```
//!
//! Keys in upper or lower case, `;` or `#` before a comment, values perhaps in quotes. Unlike `ubinize`, a key that is not
//! known is an error, and `vol_id` may be missing.

use crate::format::VolumeType;
use crate::options::Volume;

/// A section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Line of the file that it starts at, from 1.
    pub line: usize,
    /// The volume, without content.
    pub volume: Volume,
    /// Path of its content, as it stands there; relative to the current directory, as `ubinize` has it.
    pub image: Option<String>,
}

/// Something in the file that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct IniError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

fn error(line: usize, what: impl Into<String>) -> IniError {
    IniError { line, what: what.into() }
}

/// The volumes of such a file, in its order.
///
/// # Errors
/// [`IniError`] for a line that is neither section, key nor comment, for a key that is not known or comes twice, for a value
/// that cannot be, and for a section without name of its volume.
pub fn parse(text: &str) -> Result<Vec<Section>, IniError> {
    let mut sections: Vec<Draft> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default().trim();
            sections.push(Draft::new(name, line));
            continue;
        }
        let (key, value) =
            text.split_once('=').ok_or_else(|| error(line, format!("{text:?} is no key=value")))?;
        let section = sections.last_mut().ok_or_else(|| error(line, "a key before the first [section]"))?;
        section.set(line, &key.trim().to_ascii_lowercase(), value_of(value))?;
    }
    if sections.is_empty() {
        return Err(error(1, "no [section]: each volume is one"));
    }
    sections.into_iter().map(Draft::finish).collect()
}

/// A value without the comment after it and the quotes around it.
fn value_of(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some((value, _)) = text.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return value;
        }
    }
    text.split(';').next().unwrap_or_default().trim()
}

struct Draft {
    section: Section,
    has_name: bool,
    has_mode: bool,
    keys: Vec<String>,
}

impl Draft {
    fn new(name: &str, line: usize) -> Self {
        let section = Section { name: name.to_owned(), line, volume: Volume::new(""), image: None };
        Draft { section, has_name: false, has_mode: false, keys: Vec::new() }
    }

    fn set(&mut self, line: usize, key: &str, value: &str) -> Result<(), IniError> {
        if self.keys.iter().any(|known| known == key) {
            return Err(error(line, format!("{key} comes twice")));
        }
        self.keys.push(key.to_owned());
        let volume = &mut self.section.volume;
        match key {
            "mode" if value == "ubi" => self.has_mode = true,
            "mode" => return Err(error(line, format!("mode={value}: only ubi is known"))),
            "image" => self.section.image = Some(value.to_owned()),
            "vol_id" => volume.id = Some(number(line, key, value)?),
            "vol_size" => volume.size = Some(bytes(line, value)?),
            "vol_type" => volume.volume_type = volume_type(line, value)?,
            "vol_name" => {
                self.has_name = true;
                value.clone_into(&mut volume.name);
            }
            "vol_alignment" => volume.alignment = number(line, key, value)?,
            "vol_flags" => flags(line, value, volume)?,
            _ => return Err(error(line, format!("{key} is not known"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Section, IniError> {
        let section = self.section;
        let missing = |key: &str| Err(error(section.line, format!("section {} has no {key}", section.name)));
        if !self.has_mode {
            return missing("mode=ubi");
        }
        if !self.has_name {
            return missing("vol_name");
        }
        Ok(section)
    }
}

fn volume_type(line: usize, value: &str) -> Result<VolumeType, IniError> {
    match value {
        "dynamic" => Ok(VolumeType::Dynamic),
        "static" => Ok(VolumeType::Static),
        _ => Err(error(line, format!("vol_type={value}: dynamic or static"))),
    }
}

fn flags(line: usize, value: &str, volume: &mut Volume) -> Result<(), IniError> {
    for flag in value.split(',') {
        match flag.trim() {
            "autoresize" => volume.autoresize = true,
            "skip-check" => volume.skip_check = true,
            other => return Err(error(line, format!("vol_flags={other}: autoresize or skip-check"))),
        }
    }
    Ok(())
}

/// A number, decimal or with `0x` hexadecimal.
fn number(line: usize, key: &str, value: &str) -> Result<u32, IniError> {
    let parsed =
        value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
    parsed.ok_or_else(|| error(line, format!("{key}={value}: not a number")))
}

/// A number of bytes: plain, or with `KiB`, `MiB`, `GiB`, the last two letters of which may be missing.
fn bytes(line: usize, value: &str) -> Result<u64, IniError> {
    let wrong = || error(line, format!("vol_size={value}: bytes, or a number with KiB, MiB or GiB"));
    let digits = value.find(|letter: char| !letter.is_ascii_alphanumeric() || letter.is_ascii_uppercase());
    let (digits, unit) = value.split_at(digits.unwrap_or(value.len()));
    let shift = match unit.trim() {
        "" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err(wrong()),
    };
    let parsed = digits
        .strip_prefix("0x")
        .map_or_else(|| digits.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    parsed.and_then(|count| count.checked_mul(1 << shift)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_ubinize_knows() {
        let text = "; comment\n[first]\nmode=ubi\nimage=root.img ; why\nvol_id=3\nvol_size=30MiB\nvol_type=static\n\
                    vol_name=\"root; fs\"\nvol_alignment=2048\nvol_flags=autoresize, skip-check\n\n# more\n\
                    [ second ]\nMODE = ubi\nvol_name = data\nvol_size=0x1000";
        let sections = parse(text).unwrap();
        let first = &sections[0];
        assert_eq!((first.name.as_str(), first.line, first.image.as_deref()), ("first", 2, Some("root.img")));
        let volume = &first.volume;
        assert_eq!((volume.name.as_str(), volume.id, volume.size), ("root; fs", Some(3), Some(30 << 20)));
        assert_eq!((volume.volume_type, volume.alignment), (VolumeType::Static, 2048));
        assert!(volume.autoresize && volume.skip_check);
        let second = &sections[1];
        assert_eq!((second.name.as_str(), second.volume.name.as_str()), ("second", "data"));
        assert_eq!((second.volume.id, second.volume.size, &second.image), (None, Some(4096), &None));
        for (text, size) in
            [("5K", 5 << 10), ("7 KiB", 7 << 10), ("2GiB", 2 << 30), ("123", 123), ("0xfM", 15 << 20)]
        {
            assert_eq!(bytes(1, text), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", 1, "no [section]: each volume is one"),
            ("mode=ubi", 1, "a key before the first [section]"),
            ("[a]\nwhat", 2, "\"what\" is no key=value"),
            ("[a]\nmode=ubifs", 2, "mode=ubifs: only ubi is known"),
            ("[a]\nvol_name=x", 1, "section a has no mode=ubi"),
            ("[a]\nmode=ubi", 1, "section a has no vol_name"),
            ("[a]\nvol_id=x", 2, "vol_id=x: not a number"),
            ("[a]\nvol_id=-1", 2, "vol_id=-1: not a number"),
            ("[a]\nvol_type=fast", 2, "vol_type=fast: dynamic or static"),
            ("[a]\nvol_flags=none", 2, "vol_flags=none: autoresize or skip-check"),
            ("[a]\nvolume=x", 2, "volume is not known"),
            ("[a]\nvol_id=1\nvol_id=2", 3, "vol_id comes twice"),
            ("[a]\nvol_size=3TiB", 2, "vol_size=3TiB: bytes, or a number with KiB, MiB or GiB"),
            (
                "[a]\nvol_size=99999999999GiB",
                2,
                "vol_size=99999999999GiB: bytes, or a number with KiB, MiB or GiB",
            ),
        ];
        for (text, line, what) in cases {
            assert_eq!(parse(text).unwrap_err(), error(line, what), "{text}");
        }
    }
}
