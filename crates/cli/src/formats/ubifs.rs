//! UBIFS in the terms of this program.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use flashwright_tree::{Finding, Findings, Tree, display_path};
use flashwright_ubifs::format::{KeyHash, sb_flags};
use flashwright_ubifs::reader::{self, ErrorClass, ReadError};
use flashwright_ubifs::{self as ubifs, Options, Summary, WriteError};
use serde_json::{Value, json};

use super::{Checked, Facts, Image, Progress, Readable, Salvaged, content_failure};
use crate::args::ReadFlags;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::{Detail, Written};
use crate::size;

pub(super) fn write(
    tree: &Tree,
    options: &Options,
    threads: NonZeroUsize,
    (output, shown): (&mut File, &Path),
    progress: Progress<'_>,
) -> Result<Written, Failure> {
    let mut forward = |now: ubifs::Progress| progress(now.bytes_done, now.bytes_total);
    let summary =
        ubifs::write(tree, options, threads, output, &mut forward).map_err(|error| failure(error, shown))?;
    let details = details(&summary, options);
    Ok(Written::new(summary.inodes.into(), summary.bytes_in, details))
}

fn details(summary: &Summary, options: &Options) -> Vec<Detail> {
    let names = ubifs::Compression::NAMES;
    let same = |known: ubifs::Compression| {
        std::mem::discriminant(&known) == std::mem::discriminant(&options.compression)
    };
    let compression = names.into_iter().find(|(known, _)| same(*known)).map_or("none", |(_, name)| name);
    let holes = summary.hole_bytes;
    let stored = summary.stored;
    let volume = format!(
        "{} LEBs of {} bytes; the volume needs {} LEBs or more, and can have up to {}",
        summary.leb_cnt, options.geometry.leb_size, summary.min_volume_lebs, options.max_leb_cnt
    );
    vec![
        Detail::new("compression", compression, None),
        Detail::new("leb_size", options.geometry.leb_size, None),
        Detail::new("min_io_size", options.min_io_size(), None),
        Detail::new("lebs", summary.leb_cnt, Some(volume)),
        Detail::new("min_volume_lebs", summary.min_volume_lebs, None),
        Detail::new("max_lebs", options.max_leb_cnt, None),
        Detail::new("used_lebs", summary.used_lebs, None),
        Detail::new("index_bytes", summary.index_bytes, None),
        Detail::new("hole_bytes", holes, (holes > 0).then(|| format!("{} in holes", size::show(holes)))),
        Detail::new(
            "blocks",
            json!({ "none": stored.none, "lzo": stored.lzo, "zlib": stored.zlib, "zstd": stored.zstd }),
            None,
        ),
        Detail::new("uuid", show_uuid(&summary.uuid), None),
    ]
}

fn show_uuid(uuid: &[u8; 16]) -> String {
    let digits: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| digits[from..to].concat();
    [part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16)].join("-")
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
        WriteError::TooLarge { .. } | WriteError::TooManyInodes => {
            let (what, remedy) = message.rsplit_once("; ").unwrap_or((&message, "leave files out"));
            Failure::new(Exit::DoesNotFit, what).help(remedy)
        }
        _ => Failure::new(Exit::Io, message),
    }
}

pub(super) const READABLE: Readable = Readable {
    name: "ubifs",
    detect: reader::detect,
    read,
    check: |image| check(image).map(Checked::from),
    info,
};

fn open(image: &Image<'_>) -> Result<Result<reader::Image, ReadError>, Failure> {
    Ok(reader::Image::open(image.source()?, image.len))
}

fn unreadable(image: &Image<'_>, error: &ReadError) -> Failure {
    let exit = if error.class() == ErrorClass::Io { Exit::Io } else { Exit::Invalid };
    Failure::new(exit, format!("{}: {error}", image.path.display()))
}

fn read(image: &Image<'_>, flags: &ReadFlags) -> Result<Salvaged, Failure> {
    if flags.salvage {
        return Err(image.no_salvage());
    }
    let tree = open(image)?.and_then(|ubifs| ubifs.tree());
    tree.map(Salvaged::from).map_err(|error| unreadable(image, &error))
}

fn check(image: &Image<'_>) -> Result<Findings, Failure> {
    match open(image)?.and_then(|ubifs| ubifs.check()) {
        Ok(report) => Ok(report.findings),
        // A superblock or master that is wrong is a finding as any other.
        Err(error) if error.class() == ErrorClass::Corrupt => Ok(Findings::from(Finding::from(&error))),
        Err(error) => Err(unreadable(image, &error)),
    }
}

fn info(image: &Image<'_>) -> Result<Facts, Failure> {
    let info = open(image)?.and_then(|ubifs| ubifs.info()).map_err(|error| unreadable(image, &error))?;
    let (sb, master) = (&info.superblock, &info.master);
    let hash = KeyHash::from_number(sb.key_hash).map(KeyHash::name);
    Ok(vec![
        ("format_version", sb.fmt_version.get().into()),
        ("compression", info.default_compr.name().into()),
        ("uuid", show_uuid(&sb.uuid).into()),
        ("min_io_size", sb.min_io_size.get().into()),
        ("leb_size", sb.leb_size.get().into()),
        ("lebs", sb.leb_cnt.get().into()),
        ("max_lebs", sb.max_leb_cnt.get().into()),
        ("log_lebs", sb.log_lebs.get().into()),
        ("lpt_lebs", sb.lpt_lebs.get().into()),
        ("orphan_lebs", sb.orph_lebs.get().into()),
        ("main_lebs", info.main_lebs.into()),
        ("flags", flag_names(sb.flags.get()).into()),
        ("journal_bytes", sb.max_bud_bytes.get().into()),
        ("fanout", sb.fanout.get().into()),
        ("key_hash", hash.into()),
        ("reserved_bytes", sb.rp_size.get().into()),
        ("commit", master.cmt_no.get().into()),
        ("highest_inode", master.highest_inum.get().into()),
        ("index_bytes", master.index_size.get().into()),
        ("free_bytes", master.total_free.get().into()),
        ("dirty_bytes", master.total_dirty.get().into()),
        ("unmounted_in_order", info.clean.into()),
        ("journal_lebs_in_use", info.buds.into()),
        ("journal_nodes", info.journal_nodes.into()),
        ("image_bytes", info.len.into()),
    ])
}

fn flag_names(set: u32) -> Vec<Value> {
    const NAMES: [(u32, &str); 5] = [
        (sb_flags::BIG_LPT, "big-lpt"),
        (sb_flags::SPACE_FIXUP, "space-fixup"),
        (sb_flags::DOUBLE_HASH, "double-hash"),
        (sb_flags::ENCRYPTION, "encrypted"),
        (sb_flags::AUTHENTICATION, "authenticated"),
    ];
    NAMES.iter().filter(|(bit, _)| set & bit != 0).map(|(_, name)| (*name).into()).collect()
}
