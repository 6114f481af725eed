//! `NAME[:LEVEL]` of a SquashFS compressor: which there are, their levels, and what to say about those there are not.

use std::ops::RangeInclusive;
use std::str::FromStr;

use flashwright_squashfs::Method;
use flashwright_squashfs::format::Compression;

use crate::suggest::closest;

/// A compressor's row in the table of what can be asked for.
#[derive(Debug)]
struct Compressor {
    name: &'static str,
    /// Empty for a compressor without levels.
    levels: RangeInclusive<u8>,
    about: &'static str,
}

const COMPRESSORS: [Compressor; 5] = [
    Compressor { name: "gzip", levels: 1..=12, about: "read by every kernel; libdeflate" },
    Compressor { name: "xz", levels: 0..=9, about: "smallest; slow to read on a small CPU" },
    Compressor { name: "zstd", levels: 1..=22, about: "nearly as small as xz, several times faster to read" },
    Compressor { name: "lz4", levels: 1..=12, about: "fastest to read; largest; HC from level 1" },
    #[allow(clippy::reversed_empty_ranges, reason = "empty: LZO has no levels here")]
    Compressor { name: "lzo", levels: 1..=0, about: "fast to read, for kernels without zstd" },
];

/// What `--compression` said: a known name, and a level within that compressor's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// One of gzip, xz, zstd, lz4, lzo.
    pub(crate) name: &'static str,
    /// The level, when one was given.
    pub(crate) level: Option<u8>,
}

impl Choice {
    /// The library's method of that name and level.
    pub(crate) fn method(self) -> Method {
        let compression = Compression::ALL.into_iter().find(|known| known.name() == self.name);
        // Every name in the table is one of the library's, and every level in its range: a test sees to it.
        let method = compression.and_then(Method::of).unwrap_or(Method::Lzo);
        match self.level {
            Some(level) => method.clone().with_level(level).unwrap_or(method),
            None => method,
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let compressor = find(name)?;
        let level = level.map(|level| parse_level(compressor, level)).transpose()?;
        Ok(Choice { name: compressor.name, level })
    }
}

fn find(name: &str) -> Result<&'static Compressor, String> {
    if let Some(found) = COMPRESSORS.iter().find(|compressor| compressor.name == name) {
        return Ok(found);
    }
    Err(match name {
        "zlib" | "deflate" => "the kernel's name for it is gzip".into(),
        "lzma" => "lzma is what old vendor kernels read; current ones refuse it: take xz".into(),
        "none" | "store" => "to store without compressing, take --store all and any compressor".into(),
        _ => match closest(name, COMPRESSORS.iter().map(|compressor| compressor.name)) {
            Some(meant) => format!("no such compressor; did you mean {meant}?"),
            None => format!("no such compressor; there are {}", names()),
        },
    })
}

fn names() -> String {
    COMPRESSORS.map(|compressor| compressor.name).join(", ")
}

fn parse_level(compressor: &Compressor, text: &str) -> Result<u8, String> {
    let Compressor { name, levels, .. } = compressor;
    if levels.is_empty() {
        return Err(format!("{name} has no levels; write {name} alone"));
    }
    let (first, last) = (levels.start(), levels.end());
    let level = text.parse().ok().filter(|level| levels.contains(level));
    level.ok_or_else(|| format!("{name} has levels {first} to {last}, not {text:?}"))
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let rows = COMPRESSORS.map(|Compressor { name, levels, about }| {
        let levels =
            if levels.is_empty() { String::new() } else { format!("{}-{}", levels.start(), levels.end()) };
        format!("{name:5} {levels:5} {about}")
    });
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels() {
        let cases =
            [("gzip", None), ("gzip:12", Some(12)), ("xz:0", Some(0)), ("zstd:22", Some(22)), ("lzo", None)];
        for (text, level) in cases {
            let choice: Choice = text.parse().unwrap();
            assert_eq!((choice.name, choice.level), (text.split(':').next().unwrap(), level));
        }
    }

    #[test]
    fn the_table_agrees_with_the_library() {
        assert_eq!(COMPRESSORS.len(), Compression::ALL.len());
        for Compressor { name, levels, .. } in &COMPRESSORS {
            let method = Choice { name, level: None }.method();
            assert_eq!(method.compression().name(), *name);
            for level in 0..=30 {
                assert_eq!(
                    method.clone().with_level(level).is_ok(),
                    levels.contains(&level),
                    "{name}:{level}"
                );
            }
        }
    }

    #[test]
    fn mistakes_are_explained() {
        let cases = [
            ("zstdd", "did you mean zstd?"),
            ("gz", "did you mean gzip?"),
            ("brotli", "there are gzip, xz, zstd, lz4, lzo"),
            ("zlib", "gzip"),
            ("lzma", "take xz"),
            ("none", "--store all"),
            ("zstd:30", "levels 1 to 22, not \"30\""),
            ("xz:-1", "levels 0 to 9"),
            ("gzip:", "levels 1 to 12, not \"\""),
            ("lzo:9", "has no levels"),
        ];
        for (text, part) in cases {
            let message = text.parse::<Choice>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
