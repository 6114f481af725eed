//! JFFS2 in the terms of this program.

mod read;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use flashwright_jffs2::{self as jffs2, Fit, Options, Summary, Verdict, WriteError};
use flashwright_tree::{Tree, display_path};
use serde_json::json;

use super::{Progress, content_failure};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::{Detail, Written};
use crate::size;

pub(super) use read::{READABLE, is_within};

/// An image, and the size of the device it is for, bytes.
#[derive(Debug)]
pub(crate) struct Jffs2Job {
    pub(crate) options: Options,
    pub(crate) device_size: Option<u64>,
}

pub(super) fn write(
    tree: &Tree,
    job: &Jffs2Job,
    threads: NonZeroUsize,
    (output, shown): (&mut File, &Path),
    progress: Progress<'_>,
) -> Result<Written, Failure> {
    let mut forward = |now: jffs2::Progress| progress(now.bytes_done, now.bytes_total);
    let summary = jffs2::write(tree, &job.options, threads, output, &mut forward)
        .map_err(|error| failure(error, shown))?;
    let fit = job.device_size.map(|bytes| jffs2::fit(&summary, &job.options, bytes));
    let warnings = fit.and_then(|fit| judge(fit, shown).transpose()).transpose()?;
    let mut written =
        Written::new(summary.inodes.into(), summary.bytes_in, details(&summary, &job.options, fit));
    written.warnings.extend(warnings);
    Ok(written)
}

/// What a device must be told about before somebody finds out on it.
fn judge(fit: Fit, shown: &Path) -> Result<Option<String>, Failure> {
    let message = format!("{}: {fit}", shown.display());
    match fit.verdict() {
        Verdict::Fits => Ok(None),
        Verdict::NoRoom => Ok(Some(message)),
        // The message says all that there is to do.
        Verdict::TooSmall => Err(Failure::new(Exit::DoesNotFit, message)),
        Verdict::TooLarge => Err(Failure::new(Exit::DoesNotFit, message)
            .help("--effort max makes it smaller, --node-size 16K much smaller; or take a larger partition")),
    }
}

fn details(summary: &Summary, options: &Options, fit: Option<Fit>) -> Vec<Detail> {
    let holes = summary.hole_bytes;
    let times = summary.dropped_fractions;
    let stored = summary.stored;
    let needs = kernel_needs(summary);
    let rare: Vec<&str> = needs.iter().filter(|(_, rare)| *rare).map(|(name, _)| *name).collect();
    let rare = (!rare.is_empty()).then(|| format!("the kernel needs {}", rare.join(", ")));
    let names: Vec<&str> = needs.iter().map(|(name, _)| *name).collect();
    let eraseblocks = format!(
        "{} eraseblocks of {}, {} lost at their ends",
        summary.eraseblocks,
        size::show(options.eraseblock.into()),
        size::show(summary.lost_bytes)
    );
    let stored = json!({
        "none": stored.none, "zero": stored.zero, "rtime": stored.rtime, "zlib": stored.zlib, "lzo": stored.lzo,
    });
    vec![
        Detail::new("endian", options.endian.name(), None),
        Detail::new("eraseblock", options.eraseblock, None),
        Detail::new("eraseblocks", summary.eraseblocks, Some(eraseblocks)),
        Detail::new("lost_bytes", summary.lost_bytes, None),
        Detail::new("jffs2_nodes", summary.nodes, None),
        Detail::new("stored", stored, None),
        Detail::new("hole_bytes", holes, (holes > 0).then(|| format!("{} in holes", size::show(holes)))),
        Detail::new("dropped_fractions", times, (times > 0).then(|| dropped_fractions(times))),
        Detail::new("kernel_needs", names, rare),
        Detail::new("fit", fit.map(fit_json), fit.map(|fit| fit.to_string())),
    ]
}

fn dropped_fractions(times: u64) -> String {
    let nodes = if times == 1 { "1 node".into() } else { format!("{times} nodes") };
    format!("times have whole seconds in JFFS2: fractions of {nodes} dropped")
}

/// Settings that the device's kernel needs for this image, and whether kernels have it only when told to.
fn kernel_needs(summary: &Summary) -> Vec<(&'static str, bool)> {
    let stored = &summary.stored;
    let needs = [
        (stored.zlib > 0, "CONFIG_JFFS2_ZLIB", false),
        (stored.rtime > 0, "CONFIG_JFFS2_RTIME", false),
        (stored.lzo > 0, "CONFIG_JFFS2_LZO", true),
        (summary.xattrs, "CONFIG_JFFS2_FS_XATTR", true),
    ];
    needs.into_iter().filter(|need| need.0).map(|(_, name, rare)| (name, rare)).collect()
}

fn fit_json(fit: Fit) -> serde_json::Value {
    let verdict = match fit.verdict() {
        Verdict::Fits => "fits",
        Verdict::NoRoom => "no-room-to-write",
        Verdict::TooLarge => "too-large",
        Verdict::TooSmall => "device-too-small",
    };
    json!({
        "verdict": verdict,
        "device_eraseblocks": fit.device_eraseblocks,
        "used_eraseblocks": fit.used_eraseblocks,
        "reserved_eraseblocks": fit.reserved_eraseblocks,
        "free_bytes": fit.free_bytes,
    })
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
        WriteError::TooLarge { .. } => {
            Failure::new(Exit::DoesNotFit, format!("{}: {message}", shown.display()))
        }
        _ => Failure::new(Exit::Io, message),
    }
}
