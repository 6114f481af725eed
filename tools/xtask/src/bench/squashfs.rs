//! `cargo xtask bench squashfs`: the same directory, compressor, level, block size and threads on both sides, in turn.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contest::{self, Common, Contest, Match};
use super::table::Limits;
use crate::process::command;

/// What `cargo xtask bench squashfs` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Block size of each side, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    block_size: u32,
}

/// Most memory that ours may take, bytes.
pub(super) const MEMORY: u64 = 200_000_000;

const fn limits(time: f64, size: f64) -> Limits {
    Limits { time: Some(time), size, memory: MEMORY }
}

/// `cargo xtask bench squashfs`.
pub(super) fn run(options: &Options) -> Result<()> {
    contest::run(options, &options.common)
}

impl Match for Options {
    const PEER: &'static str = "mksquashfs";

    /// Levels are mksquashfs's own defaults, said aloud where there are any.
    const CONTESTS: &'static [Contest] = &[
        Contest {
            key: "gzip",
            name: "gzip, level 9",
            ours: &["--compression", "gzip:9"],
            theirs: &["-comp", "gzip", "-Xcompression-level", "9"],
            limits: limits(0.40, 0.985),
        },
        Contest {
            key: "xz",
            name: "xz",
            ours: &["--compression", "xz"],
            theirs: &["-comp", "xz"],
            limits: limits(1.00, 0.995),
        },
        Contest {
            key: "zstd",
            name: "zstd, level 15",
            ours: &["--compression", "zstd:15"],
            theirs: &["-comp", "zstd", "-Xcompression-level", "15"],
            limits: limits(0.95, 0.995),
        },
        Contest {
            key: "lzo",
            name: "lzo",
            ours: &["--compression", "lzo"],
            theirs: &["-comp", "lzo", "-Xalgorithm", "lzo1x_999", "-Xcompression-level", "8"],
            limits: limits(1.00, 1.02),
        },
        Contest {
            key: "lz4",
            name: "lz4",
            ours: &["--compression", "lz4"],
            theirs: &["-comp", "lz4"],
            limits: limits(1.00, 1.02),
        },
        Contest {
            key: "max",
            name: "xz, `--effort max` against all of `-Xbcj`",
            ours: &["--compression", "xz", "--effort", "max"],
            theirs: &["-comp", "xz", "-Xbcj", "x86,arm,armthumb,arm64,powerpc,sparc,ia64,riscv"],
            limits: limits(1.20, 0.975),
        },
    ];

    fn settings(&self) -> String {
        format!("Blocks of {} KiB", self.block_size)
    }

    fn ours(&self, command: &mut Command) {
        command.arg("squashfs").arg("--block-size").arg(format!("{}K", self.block_size));
    }

    fn theirs(&self, contest: &Contest, peer: &Path, directory: &Path, image: &Path) -> Result<Vec<Command>> {
        let mut theirs = command(peer);
        theirs.arg(directory).arg(image).args(["-noappend", "-no-progress", "-quiet"]);
        theirs.arg("-b").arg(format!("{}K", self.block_size));
        theirs.arg("-processors").arg(self.common.jobs.to_string()).args(contest.theirs);
        Ok(vec![theirs])
    }
}
