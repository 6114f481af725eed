//! `extract`: an image becomes a directory.

use std::io;
use std::time::Instant;

use flashwright_extract::{ExtractError, Options, Summary, extract};
use flashwright_tree::{ContentError, Source, Tree};
use serde_json::json;

use crate::args::ExtractArgs;
use crate::command::build::print_json;
use crate::command::ubi;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::{Image, Salvaged};
use crate::size;

pub(crate) fn run(args: &ExtractArgs) -> Result<(), Failure> {
    if let Some(volumes) = ubi::open(&args.image)? {
        return ubi::extract(args, &volumes);
    }
    let start = Instant::now();
    let image = Image::open(&args.image.image, &args.known)?;
    let Salvaged { tree, findings, missing } = (image.format.read)(&image, &args.read)?;
    let console = Console::plain(args.quiet, args.image.json);
    console.findings(&findings);
    console.missing(&args.image.image, &missing);
    let mut options = Options::default();
    options.privileged = rustix::process::geteuid().is_root() && !args.unprivileged;
    options.into_existing = args.into_existing;
    let total = stored_bytes(&tree);
    let bar = console.bar(&args.output.display().to_string());
    let summary =
        extract(&tree, &args.output, &options, &mut |now| bar.set(now.bytes, total)).map_err(failure)?;
    drop(bar);
    let seconds = start.elapsed().as_secs_f64();
    if args.image.json {
        return print_json(&json!({
            "path": args.output.to_string_lossy(),
            "names": summary.names,
            "bytes": summary.bytes,
            "deferred": summary.deferred,
            "manifest": summary.manifest,
            "missing": missing,
            "findings": findings.list.len() as u64 + findings.more,
            "seconds": seconds,
        }));
    }
    console.say(lines(args, &summary, seconds));
    Ok(())
}

fn lines(args: &ExtractArgs, summary: &Summary, seconds: f64) -> String {
    let mut lines = format!("{}: {} names, {seconds:.2} s", args.output.display(), summary.names);
    lines += &format!("\n  {} written", size::show(summary.bytes));
    if let Some(manifest) = &summary.manifest {
        let (count, manifest) = (summary.deferred, manifest.display());
        lines +=
            &format!("\n  {count} nodes are not as in the image (owners, devices, …); {manifest} has them");
    }
    lines
}

/// Bytes that will be written: holes are not.
fn stored_bytes(tree: &Tree) -> u64 {
    let contents = tree.walk().filter(|entry| entry.first).filter_map(|entry| entry.node.into_content());
    let extents = contents.flat_map(|content| content.extents().into_owned());
    extents.filter(|extent| !matches!(extent.source, Source::Hole)).map(|extent| extent.len).sum()
}

fn failure(error: ExtractError) -> Failure {
    let exit = match &error {
        ExtractError::NotEmpty { .. } => Exit::Refused,
        ExtractError::Host { error, .. } if error.kind() == io::ErrorKind::AlreadyExists => Exit::Refused,
        ExtractError::BadTarget { .. } => Exit::Usage,
        ExtractError::Name { .. } => Exit::Invalid,
        ExtractError::Content { error: ContentError::Source(cause), .. }
            if cause.kind() == io::ErrorKind::InvalidData =>
        {
            Exit::Invalid
        }
        _ => Exit::Io,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        ExtractError::NotEmpty { .. } => failure.help("name a new directory, or give --into-existing"),
        _ if exit == Exit::Refused => failure.help("remove it, or name another directory"),
        _ => failure,
    }
}
