//! `cargo xtask bench ubifs`: the same directory, compressor and geometry on both sides, in turn. mkfs.ubifs has one thread.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contest::{self, Common, Contest, Match};
use super::table::Limits;
use crate::process::command;

/// NAND with pages of 2 KiB, eraseblocks of 128 KiB, no sub-pages; a volume of 260 MB.
const MIN_IO: &str = "2048";
const LEB: &str = "126976";
const MAX_LEBS: &str = "2048";

/// What `cargo xtask bench ubifs` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
}

/// Most memory that ours may take, bytes.
const MEMORY: u64 = 200_000_000;

const fn row(
    key: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    (time, size): (f64, f64),
) -> Contest {
    let limits = Limits { time: Some(time), size, memory: MEMORY };
    Contest { key, name: key, ours, theirs, limits }
}

/// `cargo xtask bench ubifs`.
pub(super) fn run(options: &Options) -> Result<()> {
    contest::run(options, &options.common)
}

impl Match for Options {
    const PEER: &'static str = "mkfs.ubifs";

    const CONTESTS: &'static [Contest] = &[
        row("lzo", &["--compression", "lzo"], &["-x", "lzo"], (0.60, 1.02)),
        row("zlib", &["--compression", "zlib"], &["-x", "zlib"], (0.50, 1.00)),
        row("zstd", &["--compression", "zstd"], &["-x", "zstd"], (0.70, 1.00)),
        row("none", &["--compression", "none"], &["-x", "none"], (1.00, 1.00)),
    ];

    fn settings(&self) -> String {
        format!("LEBs of {LEB} bytes, pages of {MIN_IO}")
    }

    fn ours(&self, command: &mut Command) {
        command.args(["ubifs", "--min-io", MIN_IO, "--leb", LEB, "--max-lebs", MAX_LEBS]);
    }

    fn theirs(&self, contest: &Contest, peer: &Path, directory: &Path, image: &Path) -> Result<Vec<Command>> {
        let mut mkfs = command(peer);
        mkfs.args(["-m", MIN_IO, "-e", LEB, "-c", MAX_LEBS]).args(contest.theirs);
        mkfs.arg("-r").arg(directory).arg("-o").arg(image);
        Ok(vec![mkfs])
    }
}
