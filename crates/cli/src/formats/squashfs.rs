//! SquashFS in the terms of this program.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use flashwright_squashfs::format::{SuperBlock, flags};
use flashwright_squashfs::reader::foreign::{self, ForeignImage};
use flashwright_squashfs::reader::{self, CompressorOptions, ErrorClass, Foreign, Identity, ReadError};
use flashwright_squashfs::{self as squashfs, Options, Summary, WriteError};
use flashwright_tree::{Content, ContentError, Finding, Findings, Timestamp, Tree, display_path};
use serde_json::{Value, json};

use super::{Checked, Facts, Image, Progress, Readable, Salvaged, content_failure};
use crate::args::ReadFlags;
use crate::command::show_time;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::{Detail, Written};
use crate::size;

/// Bytes of file data that are read at a time where all of it is.
const READ_AT_ONCE: usize = 1 << 20;

/// An image, and what comes after it.
#[derive(Debug)]
pub(crate) struct SquashfsJob {
    pub(crate) options: Options,
    /// Sizes of eraseblocks, bytes, smallest first, at whose start a JFFS2 end mark follows.
    pub(crate) end_marks: Vec<u32>,
}

pub(super) fn write(
    tree: &Tree,
    job: &SquashfsJob,
    threads: NonZeroUsize,
    (output, shown): (&mut File, &Path),
    progress: Progress<'_>,
) -> Result<Written, Failure> {
    let SquashfsJob { options, end_marks } = job;
    let mut forward = |now: squashfs::Progress| progress(now.bytes_done, now.bytes_total);
    let summary = squashfs::write(tree, options, threads, output, &mut forward)
        .map_err(|error| failure(error, shown))?;
    add_end_marks(output, end_marks).map_err(|error| Failure::io("write", shown, &error))?;
    let mut details = details(&summary, options);
    if !end_marks.is_empty() {
        let places: Vec<String> = end_marks.iter().map(|&bytes| size::show(bytes.into())).collect();
        let words = format!("JFFS2 end marks for eraseblocks of {}", places.join(", "));
        details.push(Detail::new("jffs2_end_marks", end_marks.clone(), Some(words)));
    }
    Ok(Written::new(summary.inodes.into(), summary.bytes_in, details))
}

/// Adds JFFS2 end marks at the start of the next eraseblock of each size.
fn add_end_marks(output: &mut File, eraseblocks: &[u32]) -> io::Result<()> {
    if eraseblocks.is_empty() {
        return Ok(());
    }
    let len = output.seek(SeekFrom::End(0))?;
    let mut buffered = BufWriter::new(output);
    flashwright_jffs2::write_end_marks(&mut buffered, len, eraseblocks)?;
    buffered.flush()
}

fn details(summary: &Summary, options: &Options) -> Vec<Detail> {
    let files = summary.duplicate_files;
    let bytes = summary.duplicate_bytes;
    let whole = if files == 1 { "1 whole file".into() } else { format!("{files} whole files") };
    let duplicates = (bytes > 0).then(|| format!("duplicates: {whole}, {} in all", size::show(bytes)));
    let holes = summary.hole_bytes;
    let needs = squashfs::needed_by(&summary.filters);
    let needs_words = (!needs.is_empty()).then(|| format!("the kernel needs {}", needs.join(", ")));
    vec![
        Detail::new("compression", options.method.compression().name(), None),
        Detail::new("block_size", options.block_size, None),
        Detail::new("bytes_used", summary.bytes_used, None),
        Detail::new("hole_bytes", holes, (holes > 0).then(|| format!("{} in holes", size::show(holes)))),
        Detail::new("duplicate_files", files, None),
        Detail::new("duplicate_bytes", bytes, duplicates),
        Detail::new("blocks", summary.blocks, None),
        Detail::new("fragments", summary.fragments, None),
        Detail::new("kernel_needs", needs, needs_words),
    ]
}

fn failure(error: WriteError, shown: &Path) -> Failure {
    let message = error.to_string();
    match error {
        WriteError::Option(_) => Failure::new(Exit::Usage, message),
        WriteError::Content { error, .. } => content_failure(message, &error),
        WriteError::Output(error) => Failure::io("write", shown, &error),
        WriteError::Node { path, what, remedy } => {
            Failure::new(Exit::Invalid, format!("{}: {what}", display_path(&path))).help(remedy).about(&path)
        }
        WriteError::Tree { what, remedy } => Failure::new(Exit::Invalid, what).help(remedy),
        _ => Failure::new(Exit::Io, message),
    }
}

pub(super) const READABLE: Readable = Readable {
    name: "squashfs",
    detect: |head| reader::identify(head) != Identity::Other,
    read,
    check,
    info,
};

fn open(image: &Image<'_>) -> Result<Result<reader::Image, ReadError>, Failure> {
    Ok(reader::Image::open(image.source()?, image.len))
}

/// The image by less careful code, when that is wanted and the image is of another kind.
fn open_foreign(image: &Image<'_>) -> Result<Option<ForeignImage>, Failure> {
    if !image.known.foreign {
        return Ok(None);
    }
    foreign::open(image.source()?, image.len).map_err(|error| unreadable(image, &error))
}

fn unreadable(image: &Image<'_>, error: &ReadError) -> Failure {
    let exit = if error.class() == ErrorClass::Io { Exit::Io } else { Exit::Invalid };
    let failure = Failure::new(exit, format!("{}: {error}", image.path.display()));
    match error.class() {
        ErrorClass::Unsupported if !image.known.foreign => failure.help("--foreign reads some of these"),
        _ => failure,
    }
}

fn read(image: &Image<'_>, flags: &ReadFlags) -> Result<Salvaged, Failure> {
    if flags.salvage {
        return Err(image.no_salvage());
    }
    if let Some(ForeignImage { tree, missing, .. }) = open_foreign(image)? {
        return Ok(Salvaged { missing, ..Salvaged::from(tree) });
    }
    let tree = open(image)?.and_then(|squashfs| squashfs.tree());
    tree.map(Salvaged::from).map_err(|error| unreadable(image, &error))
}

fn check(image: &Image<'_>) -> Result<Checked, Failure> {
    if let Some(foreign) = open_foreign(image)? {
        return Ok(check_foreign(&foreign));
    }
    match open(image)?.and_then(|squashfs| squashfs.check()) {
        Ok(report) => Ok(report.findings.into()),
        // A superblock that is wrong is a finding as any other.
        Err(error) if error.class() == ErrorClass::Corrupt => {
            Ok(Findings::from(Finding::from(&error)).into())
        }
        Err(error) => Err(unreadable(image, &error)),
    }
}

/// What no tree shows, besides what is missing in it: so nothing is known about these.
const UNCHECKED: [&str; 3] = ["counts and flags of the superblock", "the export table", "padding"];

/// Reads all data: names and inodes were read with the tree.
fn check_foreign(image: &ForeignImage) -> Checked {
    let unchecked = image.missing.iter().copied().chain(UNCHECKED).collect();
    let mut findings = Findings::default();
    for entry in image.tree.walk() {
        if let Some(Err(error)) = entry.node.content().map(read_through) {
            findings.add(Finding::error("data", "all of it to be read", error).named(entry.path).damage());
        }
    }
    Checked { findings, unchecked }
}

fn read_through(content: &Content) -> Result<(), ContentError> {
    let mut reader = content.reader();
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut offset = 0;
    while offset < content.len() {
        let len = usize::try_from(content.len() - offset).unwrap_or(READ_AT_ONCE).min(READ_AT_ONCE);
        reader.read_exact_at(offset, &mut buffer[..len])?;
        offset += len as u64;
    }
    reader.finish()
}

/// What is known of an image of another kind.
fn foreign_info(image: &Image<'_>, read: &ForeignImage) -> Facts {
    let Foreign { magic, big_endian, version: (major, minor), description, .. } = &read.foreign;
    let entries = read.tree.walk().count();
    let files: Vec<u64> =
        read.tree.walk().filter_map(|entry| entry.node.content().map(Content::len)).collect();
    vec![
        ("kind", (*description).into()),
        ("read_as", read.read_as.into()),
        ("magic", magic.escape_ascii().to_string().into()),
        ("byte_order", if *big_endian { "big" } else { "little" }.into()),
        ("version", format!("{major}.{minor}").into()),
        ("entries", entries.into()),
        ("files", files.len().into()),
        ("file_bytes", files.iter().sum::<u64>().into()),
        ("image_bytes", image.len.into()),
        ("missing", read.missing.clone().into()),
    ]
}

fn info(image: &Image<'_>) -> Result<Facts, Failure> {
    if let Some(foreign) = open_foreign(image)? {
        return Ok(foreign_info(image, &foreign));
    }
    let info =
        open(image)?.and_then(|squashfs| squashfs.info()).map_err(|error| unreadable(image, &error))?;
    let superblock = &info.superblock;
    let time = superblock.mkfs_time.get();
    let mut facts: Facts = vec![
        ("compression", info.compression.name().into()),
        ("compressor_options", info.options.as_ref().map(compressor_options).into()),
        ("block_size", superblock.block_size.get().into()),
        ("mkfs_time", time.into()),
        ("mkfs_time_utc", show_time(Timestamp::from_seconds(time.into())).into()),
        ("inodes", superblock.inodes.get().into()),
        ("owners", superblock.ids.get().into()),
        ("fragments", superblock.fragments.get().into()),
        ("flags", flag_names(superblock).into()),
        ("image_bytes", info.len.into()),
        ("bytes_used", superblock.bytes_used.get().into()),
        ("data_bytes", info.data_len.into()),
    ];
    let table = |table: &reader::TableInfo| json!({ "name": table.name, "offset": table.offset, "stored_bytes": table.stored_len, "bytes": table.len });
    facts.push(("tables", info.tables.iter().map(table).collect::<Vec<_>>().into()));
    facts.push(("padding_bytes", info.padding.len.into()));
    facts.push(("padding_byte", info.padding.byte.map(|byte| format!("{byte:#04x}")).into()));
    Ok(facts)
}

fn compressor_options(options: &CompressorOptions) -> Value {
    match options {
        CompressorOptions::Gzip(gzip) => {
            json!({ "level": gzip.level.get(), "window": gzip.window.get(), "strategies": gzip.strategies.get() })
        }
        CompressorOptions::Xz(xz) => {
            json!({ "dictionary": xz.dictionary.get(), "filters": xz.filters.get() })
        }
        CompressorOptions::Lzo(lzo) => json!({ "algorithm": lzo.algorithm.get(), "level": lzo.level.get() }),
        CompressorOptions::Lz4(lz4) => json!({ "version": lz4.version.get(), "flags": lz4.flags.get() }),
        CompressorOptions::Zstd(zstd) => json!({ "level": zstd.level.get() }),
        _ => Value::Null,
    }
}

fn flag_names(superblock: &SuperBlock) -> Vec<&'static str> {
    const NAMES: [(u16, &str); 11] = [
        (flags::UNCOMPRESSED_INODES, "uncompressed-inodes"),
        (flags::UNCOMPRESSED_DATA, "uncompressed-data"),
        (flags::UNCOMPRESSED_FRAGMENTS, "uncompressed-fragments"),
        (flags::NO_FRAGMENTS, "no-fragments"),
        (flags::ALWAYS_FRAGMENTS, "tails-in-fragments"),
        (flags::DUPLICATES, "duplicates-removed"),
        (flags::EXPORTABLE, "export-table"),
        (flags::UNCOMPRESSED_XATTRS, "uncompressed-xattrs"),
        (flags::NO_XATTRS, "no-xattrs"),
        (flags::COMPRESSOR_OPTIONS, "compressor-options"),
        (flags::UNCOMPRESSED_IDS, "uncompressed-ids"),
    ];
    let set = superblock.flags.get();
    NAMES.iter().filter(|(bit, _)| set & bit != 0).map(|(_, name)| *name).collect()
}
