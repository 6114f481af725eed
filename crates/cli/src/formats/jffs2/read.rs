//! Reading JFFS2.

use std::fs::File;
use std::io;

use flashwright_jffs2::reader::{self, ErrorClass, ReadError};
use flashwright_tree::Findings;
use serde_json::{Value, json};

use crate::args::ReadFlags;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::{Checked, Facts, Image, Readable, Salvaged};

pub(crate) const READABLE: Readable = Readable {
    name: "jffs2",
    detect: |head| reader::detect(head).is_some(),
    read,
    check: |image| check(image).map(Checked::from),
    info,
};

/// Whether a JFFS2 node begins anywhere in a file of `len` bytes.
pub(crate) fn is_within(file: &File, len: u64) -> io::Result<bool> {
    reader::find(&(std::sync::Arc::new(file.try_clone()?) as _), len, None)
        .map(|found| found.is_some())
        .map_err(io::Error::from)
}

fn open(image: &Image<'_>) -> Result<reader::Image, Failure> {
    let opened = reader::Image::open(image.source()?, image.len, &image.known.jffs2());
    opened.map_err(|error| unreadable(image, &error))
}

fn unreadable(image: &Image<'_>, error: &ReadError) -> Failure {
    let exit = if error.class() == ErrorClass::Io { Exit::Io } else { Exit::Invalid };
    let failure = Failure::new(exit, format!("{}: {error}", image.path.display()));
    match error.class() {
        ErrorClass::Damaged => failure.help(
            "flashwright check lists all that is wrong; list and extract with --salvage take what is left",
        ),
        _ => failure,
    }
}

fn read(image: &Image<'_>, flags: &ReadFlags) -> Result<Salvaged, Failure> {
    let jffs2 = open(image)?;
    let result = if flags.salvage {
        jffs2.salvage().map(|(tree, findings)| Salvaged { tree, findings, missing: Vec::new() })
    } else {
        jffs2.tree().map(Salvaged::from)
    };
    result.map_err(|error| unreadable(image, &error))
}

fn check(image: &Image<'_>) -> Result<Findings, Failure> {
    let report = open(image)?.check().map_err(|error| unreadable(image, &error))?;
    Ok(report.findings)
}

fn info(image: &Image<'_>) -> Result<Facts, Failure> {
    let info = open(image)?.info();
    let geometry = &info.geometry;
    let compressions = info.compressions.iter().map(|(compression, nodes, stored, data)| {
        json!({ "name": compression.name(), "nodes": nodes, "stored_bytes": stored, "bytes": data })
    });
    Ok(vec![
        ("endian", info.endian.name().into()),
        ("eraseblock", geometry.eraseblock.into()),
        ("page_size", geometry.page_size.into()),
        ("cleanmarker_size", geometry.cleanmarker_len.into()),
        ("node_size", info.node_size.into()),
        ("start", info.start.into()),
        ("end_mark", info.end_mark.into()),
        ("inode_nodes", info.inode_nodes.into()),
        ("directory_entries", info.dirents.into()),
        ("xattr_references", info.xattr_references.into()),
        ("summaries", info.summaries.into()),
        ("cleanmarkers", info.cleanmarkers.into()),
        ("obsolete_nodes", info.obsolete_nodes.into()),
        ("compression", compressions.collect::<Vec<Value>>().into()),
        ("summary_bytes", info.summary_bytes.into()),
        ("lost_bytes", info.lost_bytes.into()),
        ("free_bytes", info.free_bytes.into()),
        ("image_bytes", info.len.into()),
    ])
}
