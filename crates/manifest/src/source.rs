//! Sources: what they are, how a command line names them, and how each comes into the tree.

use std::collections::BTreeMap;
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
use crate::{
    Document, Error, Place, archive, device_table, image, init_list, liminix, pack_file, paths, pseudo,
};

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
    /// A tar archive, plain or compressed with gzip, xz or zstd.
    Tar,
    /// A cpio archive in the format newc, plain or compressed as a tar archive.
    Cpio,
    /// A device table of makedevs or `mkfs.jffs2 -D`.
    DeviceTable,
    /// A pack file of gensquashfs.
    PackFile,
    /// A list as gen_init_cpio of Linux reads it.
    InitList,
}

impl SourceKind {
    const PREFIXES: [(&'static str, SourceKind); 10] = [
        ("dir", SourceKind::Directory),
        ("pseudo", SourceKind::Pseudo),
        ("liminix", SourceKind::Liminix),
        ("paths", SourceKind::Paths),
        ("image", SourceKind::Image),
        ("tar", SourceKind::Tar),
        ("cpio", SourceKind::Cpio),
        ("device-table", SourceKind::DeviceTable),
        ("pack-file", SourceKind::PackFile),
        ("init-list", SourceKind::InitList),
    ];

    /// Names that say without a prefix what a file is: an ending, in any case.
    const ENDINGS: [(&'static str, SourceKind); 12] = [
        (".toml", SourceKind::Image),
        (".tar", SourceKind::Tar),
        (".tar.gz", SourceKind::Tar),
        (".tgz", SourceKind::Tar),
        (".tar.xz", SourceKind::Tar),
        (".txz", SourceKind::Tar),
        (".tar.zst", SourceKind::Tar),
        (".tzst", SourceKind::Tar),
        (".cpio", SourceKind::Cpio),
        (".cpio.gz", SourceKind::Cpio),
        (".cpio.xz", SourceKind::Cpio),
        (".cpio.zst", SourceKind::Cpio),
    ];

    /// Every kind, in the order in which they are listed for people.
    pub(crate) const ALL: [SourceKind; 10] = {
        let mut all = [SourceKind::Directory; 10];
        let mut index = 0;
        while index < all.len() {
            all[index] = Self::PREFIXES[index].1;
            index += 1;
        }
        all
    };

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
    /// Folder that the source's own relative host paths start from, itself relative to [`crate::Options::base_dir`];
    /// default: that folder, and for [`SourceKind::PackFile`] the one that the file is in. For
    /// [`SourceKind::Pseudo`], [`SourceKind::PackFile`] and [`SourceKind::InitList`].
    pub base: Option<PathBuf>,
    /// Values of `${NAME}` in a [`SourceKind::InitList`]; default: none, and each is an error.
    pub variables: BTreeMap<String, String>,
}

impl SourceSpec {
    /// A source grafted at the root of the image.
    #[must_use]
    pub fn new(kind: SourceKind, path: impl Into<PathBuf>) -> Self {
        let (at, base, variables) = (Vec::new(), None, BTreeMap::new());
        SourceSpec { kind, path: path.into(), at, base, variables }
    }

    /// Reads an argument of a command line: `DIR`, `FILE.toml`, `FILE.tar` (or `.tar.gz`, `.tgz`, `.tar.xz`, `.txz`,
    /// `.tar.zst`, `.tzst`), `FILE.cpio` (or `.cpio.gz`, `.cpio.xz`, `.cpio.zst`), or `KIND:PATH` with the prefix of any
    /// kind. A directory whose name has a colon is written `./a:b` or `dir:a:b`; `dir:x.tar` is a directory of that name.
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
        let ends_with = |ending: &str| {
            let at = bytes.len().checked_sub(ending.len()).filter(|&at| at > 0);
            at.is_some_and(|at| bytes[at..].eq_ignore_ascii_case(ending.as_bytes()))
        };
        let known = SourceKind::ENDINGS.iter().find(|(ending, _)| ends_with(ending));
        let kind = known.map_or(SourceKind::Directory, |(_, kind)| *kind);
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
        SourceKind::Pseudo => {
            with_base(builder, spec, None, |builder| add_pseudo(builder, &path, &spec.at)).map_err(located)
        }
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
        SourceKind::Tar | SourceKind::Cpio => {
            let archive = archive::open(&path, builder.options).map_err(located)?;
            let document = Document::of_path(&path, b"");
            match spec.kind {
                SourceKind::Tar => archive::add_tar(builder, &archive, &document, &spec.at),
                _ => archive::add_cpio(builder, &archive, &document, &spec.at),
            }
        }
        SourceKind::DeviceTable | SourceKind::PackFile | SourceKind::InitList => {
            let text = read_text(&path).map_err(located)?;
            let document = Document::of_path(&path, &text);
            let declarations = match spec.kind {
                SourceKind::DeviceTable => device_table::parse(&text, &document)?,
                SourceKind::PackFile => pack_file::parse(&text, &document)?,
                _ => init_list::parse(&text, &document, &spec.variables)?,
            };
            let folder = path.parent().filter(|_| spec.kind == SourceKind::PackFile);
            with_base(builder, spec, folder, |builder| {
                apply(builder, &declarations, &document, &spec.at, None)
            })
        }
    }
}

/// Does something with relative host paths starting at the source's own folder, or at `default`, or where they start
/// now.
fn with_base(
    builder: &mut Builder<'_>,
    spec: &SourceSpec,
    default: Option<&Path>,
    add: impl FnOnce(&mut Builder<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let base = spec.base.as_ref().map(|base| builder.host_path(base)).or_else(|| default.map(Path::to_owned));
    let Some(base) = base else { return add(builder) };
    let outer = std::mem::replace(&mut builder.base_dir, base);
    let result = add(builder);
    builder.base_dir = outer;
    result
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
    let section = parsed
        .data_start
        .map(|start| Section { file: Arc::new(HostFile::new(path, &metadata)), start: start as u64 });
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
            ("a/root.tar", SourceKind::Tar, "a/root.tar"),
            ("root.tar.GZ", SourceKind::Tar, "root.tar.GZ"),
            ("root.tgz", SourceKind::Tar, "root.tgz"),
            (".tar", SourceKind::Directory, ".tar"),
            ("dir:root.tar", SourceKind::Directory, "root.tar"),
            ("initramfs.cpio", SourceKind::Cpio, "initramfs.cpio"),
            ("initramfs.cpio.gz", SourceKind::Cpio, "initramfs.cpio.gz"),
            ("tar:-x", SourceKind::Tar, "-x"),
            ("device-table:t", SourceKind::DeviceTable, "t"),
            ("pack-file:p", SourceKind::PackFile, "p"),
            ("init-list:l", SourceKind::InitList, "l"),
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
