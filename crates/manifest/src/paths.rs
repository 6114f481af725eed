//! Lists of host paths to carry into the image at the same path, such as the store paths of a Nix closure.
//!
//! One absolute path a line, or, when the list has a NUL byte, one after each NUL. Directories come with all that is
//! in them; paths inside one that is listed already are not read twice.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::declaration::{Action, Declaration, Meta};
use crate::{Document, Error, value};

/// Reads the list.
///
/// # Errors
/// A path that is not absolute or has `..`.
pub(crate) fn parse(text: &[u8], document: &Arc<Document>) -> Result<Vec<Declaration>, Error> {
    let separator = if text.contains(&0) { 0 } else { b'\n' };
    let mut listed = Vec::new();
    let mut start = 0_usize;
    for line in text.split(|&byte| byte == separator) {
        let span = start..start.saturating_add(line.len());
        start = span.end.saturating_add(1);
        if !line.is_empty() {
            listed.push((path(line, &span, document)?, span));
        }
    }
    Ok(without_covered(listed))
}

fn path(line: &[u8], span: &Range<usize>, document: &Arc<Document>) -> Result<Vec<u8>, Error> {
    let place = || document.at(span.clone());
    if line.first() != Some(&b'/') {
        let message = format!("{:?} is not an absolute path", String::from_utf8_lossy(line));
        return Err(Error::invalid(message).at(place()).with_help(
            "each line is one path from the root of the host, which is also its path in the image",
        ));
    }
    let path = value::image_path(line).map_err(|bad| Error::from(bad).at(place()))?;
    if path.is_empty() {
        return Err(Error::invalid("the whole host cannot be carried in")
            .at(place())
            .with_help("list what is needed"));
    }
    Ok(path)
}

/// Leaves out what is listed twice, or lies in a directory that is listed.
fn without_covered(mut listed: Vec<(Vec<u8>, Range<usize>)>) -> Vec<Declaration> {
    // With '/' before every other byte, what lies in a directory comes right after it.
    listed.sort_by(|(a, _), (b, _)| a.split(|&c| c == b'/').cmp(b.split(|&c| c == b'/')));
    let mut kept: Vec<Declaration> = Vec::new();
    for (path, span) in listed {
        let covered = kept.last().is_some_and(|last| {
            path.strip_prefix(&*last.path).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        });
        if !covered {
            let host = PathBuf::from("/").join(OsStr::from_bytes(&path));
            let action = Action::Host { path: host, follow: false, directories: true };
            kept.push(Declaration { path, span, action, meta: Meta::default() });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Result<Vec<String>, Error> {
        let document = Document::new("list", text.as_bytes());
        let declarations = parse(text.as_bytes(), &document)?;
        Ok(declarations.into_iter().map(|d| String::from_utf8(d.path).unwrap()).collect())
    }

    #[test]
    fn paths_inside_listed_directories_are_covered() {
        let text = "/nix/store/b/bin/sh\n\n/nix/store/b\n/nix/store/a\n/nix/store/b.c\n/nix/store/a/\n";
        assert_eq!(listed(text).unwrap(), ["nix/store/a", "nix/store/b", "nix/store/b.c"]);
        assert_eq!(listed("/a\nb\0/c\0").unwrap(), ["a\nb", "c"]);
        assert_eq!(listed("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_absolute_path_is_named_with_its_line() {
        let cases = [
            ("/a\nb/c\n", "list:2:1: \"b/c\" is not an absolute path"),
            ("/a/../b", "list:1:1: path \"/a/../b\" has '..'"),
            ("/", "list:1:1: the whole host cannot be carried in"),
        ];
        for (text, message) in cases {
            assert_eq!(listed(text).unwrap_err().to_string(), message);
        }
    }
}
