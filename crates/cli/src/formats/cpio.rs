//! cpio in the terms of this program.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flashwright_cpio::{self as cpio, Error, Options};
use flashwright_tree::{Finding, Findings, Tree, display_path};

use super::{Checked, Facts, Image, Progress, Readable, Salvaged, content_failure};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::{Detail, Written};

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

pub(super) fn write(
    tree: &Tree,
    options: &Options,
    (output, shown): (&mut File, &Path),
    progress: Progress<'_>,
) -> Result<Written, Failure> {
    let failed = |error| failure(error, shown);
    let plan = cpio::plan(tree, options).map_err(failed)?;
    let total = plan.summary().archive_len;
    let mut buffered = BufWriter::with_capacity(BUFFER, output);
    let summary = plan.write_with(&mut buffered, &mut |done| progress(done, total)).map_err(failed)?;
    buffered.flush().map_err(|error| Failure::io("write", shown, &error))?;
    Ok(Written::new(summary.nodes, summary.data_len, details(&summary)))
}

fn details(summary: &cpio::Summary) -> Vec<Detail> {
    let xattrs = summary.dropped_xattrs;
    vec![
        Detail::new("entries", summary.entries, None),
        Detail::new("archive_bytes", summary.archive_len, None),
        Detail::new("truncated_times", summary.truncated_times, None),
        Detail::new(
            "dropped_xattrs",
            xattrs,
            (xattrs > 0).then(|| format!("{xattrs} extended attributes left out")),
        ),
    ]
}

fn failure(error: Error, shown: &Path) -> Failure {
    let message = error.to_string();
    match error {
        Error::Limit { path, what, limit, remedy } => {
            let message = format!("{}: {what}, but an initramfs holds {limit}", display_path(&path));
            Failure::new(Exit::Invalid, message).help(remedy).about(&path)
        }
        Error::Content { error, .. } => content_failure(message, &error),
        Error::Write(error) => Failure::io("write", shown, &error),
        Error::BadPadding(_) | Error::BadLevel { .. } => Failure::new(Exit::Usage, message),
        Error::Read { .. } => Failure::new(Exit::Io, message),
        _ => Failure::new(Exit::Invalid, message),
    }
}

pub(super) const READABLE: Readable = Readable {
    name: "cpio",
    detect: |head| head.starts_with(b"070701") || head.starts_with(b"070702"),
    read: |image, flags| {
        if flags.salvage { Err(image.no_salvage()) } else { read(image).map(Salvaged::from) }
    },
    check: |image| check(image).map(Checked::from),
    info,
};

fn read(image: &Image<'_>) -> Result<Tree, Failure> {
    cpio::read(image.source()?, image.len).map_err(|error| match error {
        Error::Read { .. } => Failure::new(Exit::Io, format!("{}: {error}", image.path.display())),
        _ => image.damaged(error),
    })
}

/// Reading an archive looks at every byte but the data, which has no checksum that matters.
fn check(image: &Image<'_>) -> Result<Findings, Failure> {
    match read(image) {
        Ok(_) => Ok(Findings::default()),
        Err(failure) if failure.exit() == Exit::Invalid => {
            let finding = Finding::error("archive", "one that can be read", failure).damage();
            Ok(Findings::from(finding))
        }
        Err(failure) => Err(failure),
    }
}

fn info(image: &Image<'_>) -> Result<Facts, Failure> {
    let tree = read(image)?;
    let (mut nodes, mut data) = (0, 0);
    for entry in tree.walk().filter(|entry| entry.first) {
        nodes += 1;
        data += entry.node.content().map_or(0, flashwright_tree::Content::len);
    }
    Ok(vec![
        ("entries", tree.walk().count().into()),
        ("nodes", nodes.into()),
        ("data_bytes", data.into()),
        ("image_bytes", image.len.into()),
    ])
}
