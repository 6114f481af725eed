//! Sources: what they are, how a command line names them, and how each comes into the tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flashwright_tree::HostFile;

use crate::apply::{Section, apply};
use crate::builder::Builder;
use crate::scan::{Request, Wants, scan};
use crate::{Document, Error, Place, image, liminix, paths, pseudo};

/// Largest text of declarations that is read, in bytes: far above any real one, and what memory can take.
const MAX_TEXT: u64 = 256 << 20;

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// A directory of the host.
    Directory,
    /// A pseudo file as mksquashfs 4.7 reads it.
    Pseudo,
    /// The JSON tree of Liminix (`filesystem.contents`).
    Liminix,
    /// A list of host paths to carry in at the same path.
    Paths,
    /// An `image.toml`: its sources and nodes; its outputs do not matter here.
    Image,
}

impl SourceKind {
    const PREFIXES: [(&'static str, SourceKind); 5] = [
        ("dir", SourceKind::Directory),
        ("pseudo", SourceKind::Pseudo),
        ("liminix", SourceKind::Liminix),
        ("paths", SourceKind::Paths),
        ("image", SourceKind::Image),
    ];

    /// The prefix of this kind on a command line, and its key in `image.toml`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        Self::PREFIXES.iter().find(|(_, kind)| *kind == self).map_or("", |(prefix, _)| prefix)
    }
}

/// One source: what it is, where it is on the host, where it goes in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceSpec {
    /// What it is.
    pub kind: SourceKind,
    /// Path on the host; relative ones start at [`crate::Options::base_dir`].
    pub path: PathBuf,
    /// Directory of the image that it is grafted at; default: the root. [`SourceKind::Paths`] and
    /// [`SourceKind::Image`] have no use for it.
    pub at: Vec<u8>,
}

impl SourceSpec {
    /// A source grafted at the root of the image.
    #[must_use]
    pub fn new(kind: SourceKind, path: impl Into<PathBuf>) -> Self {
        SourceSpec { kind, path: path.into(), at: Vec::new() }
    }

    /// Reads an argument of a command line: `DIR`, `FILE.toml`, or `dir:DIR`, `pseudo:FILE`, `liminix:FILE`,
    /// `paths:FILE`, `image:FILE`. A directory whose name has a colon is written `./a:b` or `dir:a:b`.
    ///
    /// # Errors
    /// [`crate::Class::Usage`] when the argument is empty or its prefix is none of these.
    pub fn parse(argument: &OsStr) -> Result<Self, Error> {
        let bytes = argument.as_bytes();
        if bytes.is_empty() {
            return Err(
                Error::usage("an empty source").with_help("name a directory, or FILE.toml, or pseudo:FILE")
            );
        }
        let colon = bytes.iter().position(|&byte| byte == b':');
        if let Some((prefix, path)) = colon.map(|at| (&bytes[..at], &bytes[at + 1..]))
            && !prefix.is_empty()
            && prefix.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        {
            return SourceSpec::prefixed(prefix, path);
        }
        let is_toml = Path::new(argument).extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let kind = if is_toml { SourceKind::Image } else { SourceKind::Directory };
        Ok(SourceSpec::new(kind, argument))
    }

    fn prefixed(prefix: &[u8], path: &[u8]) -> Result<Self, Error> {
        let prefix = String::from_utf8_lossy(prefix);
        let known = SourceKind::PREFIXES.map(|(name, _)| name);
        let Some((_, kind)) = SourceKind::PREFIXES.iter().find(|(name, _)| *name == prefix) else {
            let help = match crate::value::closest(&prefix, &known) {
                Some(meant) => format!("did you mean {meant}:?"),
                None => format!(
                    "known: {}; write ./ before a directory with a colon in its name",
                    known.map(|k| format!("{k}:")).join(" ")
                ),
            };
            return Err(Error::usage(format!("unknown kind of source {prefix:?}")).with_help(help));
        };
        if path.is_empty() {
            return Err(
                Error::usage(format!("{prefix}: without a path")).with_help(format!("write {prefix}:FILE"))
            );
        }
        Ok(SourceSpec::new(*kind, OsString::from_vec(path.to_vec())))
    }
}

/// Brings one source in. `place` is where it is asked for, when a text does so.
pub(crate) fn add(builder: &mut Builder<'_>, spec: &SourceSpec, place: Option<&Place>) -> Result<(), Error> {
    builder.inodes.clear();
    let path = builder.host_path(&spec.path);
    builder.inputs.push(SourceSpec { path: path.clone(), ..spec.clone() });
    let located = |error: Error| match place {
        Some(place) => error.at(place.clone()),
        None => error,
    };
    match spec.kind {
        SourceKind::Directory => {
            let origin = builder.origin(Document::of_path(&path, b"").whole());
            let request =
                Request { host: &path, at: &spec.at, origin, follow: true, wants: Wants::Directory };
            scan(builder, &request).map_err(located)
        }
        SourceKind::Pseudo => add_pseudo(builder, &path, &spec.at).map_err(located),
        SourceKind::Liminix => {
            let text = read_text(&path).map_err(located)?;
            let document = Document::of_path(&path, &text);
            let declarations = liminix::parse(&text, &document)?;
            apply(builder, &declarations, &document, &spec.at, None)
        }
        SourceKind::Paths => {
            let text = read_text(&path).map_err(located)?;
            let document = Document::of_path(&path, &text);
            let declarations = paths::parse(&text, &document)?;
            apply(builder, &declarations, &document, b"", None)
        }
        SourceKind::Image => image::add(builder, &path).map(|_| ()).map_err(located),
    }
}

fn add_pseudo(builder: &mut Builder<'_>, path: &Path, at: &[u8]) -> Result<(), Error> {
    let error = |e| Error::io("read", path, e);
    let mut file = File::open(path).map_err(error)?;
    let text = read_definitions(&mut file, path)?;
    let metadata = file.metadata().map_err(error)?;
    let definitions = pseudo::definitions(&text);
    let document = Document::of_path(path, definitions);
    let parsed = pseudo::parse(&text, &document)?;
    for (message, span) in parsed.notes {
        builder.note(crate::Severity::Warning, message, Some(document.at(span)));
    }
    let section = parsed.data_start.map(|start| Section {
        file: Arc::new(HostFile::new(path.to_owned(), &metadata)),
        start: start as u64,
    });
    apply(builder, &parsed.declarations, &document, at, section.as_ref())
}

/// Reads a pseudo file up to its data section, which may be far larger than memory.
fn read_definitions(file: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    const STEP: u64 = 1 << 20;
    let mut text = Vec::new();
    loop {
        let read =
            Read::by_ref(file).take(STEP).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
        // Looked for in what is new, and enough before it that a marker on the border is seen.
        let from = text.len().saturating_sub(read + pseudo::MARKER.len() + 1);
        if read == 0 || pseudo::has_marker(&text[from..]) {
            return Ok(text);
        }
        check_size(text.len() as u64, path)?;
    }
}

fn check_size(len: u64, path: &Path) -> Result<(), Error> {
    if len <= MAX_TEXT {
        return Ok(());
    }
    let message = format!(
        "{} is larger than {} MiB, the most a text of declarations may have",
        path.display(),
        MAX_TEXT >> 20
    );
    Err(Error::invalid(message).with_help("is it the right file? Data belongs into host files"))
}

/// Reads a text whole.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |e| Error::io("read", path, e);
    let mut text = Vec::new();
    File::open(path).map_err(error)?.take(MAX_TEXT + 1).read_to_end(&mut text).map_err(error)?;
    check_size(text.len() as u64, path)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_sources() {
        let cases = [
            ("rootfs", SourceKind::Directory, "rootfs"),
            ("/a/b.d/", SourceKind::Directory, "/a/b.d/"),
            ("./a:b", SourceKind::Directory, "./a:b"),
            ("dir:a:b", SourceKind::Directory, "a:b"),
            ("dir:x.toml", SourceKind::Directory, "x.toml"),
            ("x/image.toml", SourceKind::Image, "x/image.toml"),
            ("image:x", SourceKind::Image, "x"),
            ("pseudo:p.txt", SourceKind::Pseudo, "p.txt"),
            ("liminix:/nix/store/x.json", SourceKind::Liminix, "/nix/store/x.json"),
            ("paths:store-paths", SourceKind::Paths, "store-paths"),
        ];
        for (argument, kind, path) in cases {
            assert_eq!(
                SourceSpec::parse(argument.as_ref()).unwrap(),
                SourceSpec::new(kind, path),
                "{argument}"
            );
        }
        for (argument, help) in [
            ("psuedo:x", "did you mean pseudo:?"),
            ("pseudo:", "write pseudo:FILE"),
            ("", "name a directory, or FILE.toml, or pseudo:FILE"),
        ] {
            let error = SourceSpec::parse(argument.as_ref()).unwrap_err();
            assert_eq!((error.class(), error.help()), (crate::Class::Usage, Some(help)));
        }
    }
}
