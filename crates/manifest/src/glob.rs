//! Globs over paths of the image.
//!
//! A pattern that starts with `/` is anchored at the root of the image; any other matches at every depth. `*` and
//! `?` stay within one name, `**` crosses directories. A directory that matches goes with all that is in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::Error;

#[derive(Debug, Default)]
pub(crate) struct Globs {
    set: GlobSet,
}

impl Globs {
    /// Compiles patterns.
    ///
    /// # Errors
    /// Names the first pattern that is none.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, Error> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(compile(pattern).map_err(|why| {
                let help = "examples: \"*.a\" (at any depth), \"/usr/share/doc\" (with all in it), \"/usr/lib/**/*.la\"";
                Error::invalid(format!("bad glob {pattern:?}: {why}")).with_help(help)
            })?);
        }
        let set = builder.build().map_err(|e| Error::invalid(format!("bad globs: {e}")))?;
        Ok(Globs { set })
    }

    /// Whether any pattern matches a path of the image (without leading `/`).
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        !self.set.is_empty() && self.set.is_match(Path::new(OsStr::from_bytes(path)))
    }
}

/// Checks patterns, each with its place.
pub(crate) fn check(patterns: &[(String, crate::Place)]) -> Result<(), Error> {
    let one = |pattern: &String| Globs::new(std::slice::from_ref(pattern)).map(|_| ());
    patterns.iter().try_for_each(|(pattern, place)| one(pattern).map_err(|e| e.at(place.clone())))
}

fn compile(pattern: &str) -> Result<globset::Glob, String> {
    let trimmed = pattern.trim_end_matches('/');
    if trimmed.is_empty() {
        return Err("it names the root of the image; write \"/**\" for all that is in it".into());
    }
    if trimmed.split('/').any(|part| part == ".." || part == ".") {
        return Err("'.' and '..' never match".into());
    }
    let glob = match trimmed.strip_prefix('/') {
        Some(anchored) => anchored.to_owned(),
        None => format!("**/{trimmed}"),
    };
    GlobBuilder::new(&glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|e| e.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchored_patterns_match_at_the_root_and_others_anywhere() {
        let cases: [(&str, &[u8], bool); 13] = [
            ("*.a", b"libc.a", true),
            ("*.a", b"usr/lib/libc.a", true),
            ("*.a", b"usr/lib.a/x", false),
            ("/*.a", b"usr/libc.a", false),
            ("/usr/share/doc", b"usr/share/doc", true),
            ("/usr/share/doc/", b"usr/share/doc", true),
            ("usr/share/doc", b"opt/usr/share/doc", true),
            ("/usr/**/*.la", b"usr/lib/x.la", true),
            ("/usr/**", b"usr", false),
            ("/usr/**", b"usr/a/b", true),
            ("/**", b"a", true),
            ("x?", b"x\xff", true),
            ("*.{a,la}", b"d/x.la", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Globs::new(&[pattern.into()]).unwrap().matches(path), expected, "{pattern} {path:?}");
        }
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for pattern in ["", "/", "a/../b", "[a", "{a"] {
            assert!(Globs::new(&[pattern.into()]).is_err(), "{pattern}");
        }
    }
}
