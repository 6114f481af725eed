//! `cargo xtask bench jffs2`: the same directory, eraseblock and byte order on both sides, in turn. Where ours has
//! summaries, sumtool adds them to theirs, as its users do.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contest::{self, Common, Contest, Match, program};
use super::table::Limits;
use crate::process::command;

/// What `cargo xtask bench jffs2` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Eraseblock of each side, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    eraseblock: u32,
}

/// Most memory that ours may take, bytes.
pub(super) const MEMORY: u64 = 150_000_000;
const NO_SUMMARY: &str = "--no-summary";

const fn limits(time: Option<f64>, size: f64) -> Limits {
    Limits { time, size, memory: MEMORY }
}

/// `cargo xtask bench jffs2`.
pub(super) fn run(options: &Options) -> Result<()> {
    contest::run(options, &options.common)
}

impl Match for Options {
    const PEER: &'static str = "mkfs.jffs2";

    const CONTESTS: &'static [Contest] = &[
        Contest {
            key: "summary",
            name: "with summary, against `mkfs.jffs2` and `sumtool`",
            ours: &[],
            theirs: &[],
            limits: limits(Some(0.25), 0.965),
        },
        Contest {
            key: "plain",
            name: "without summary",
            ours: &[NO_SUMMARY],
            theirs: &[],
            limits: limits(None, 0.985),
        },
        Contest {
            key: "max",
            name: "without summary, `--effort max`",
            ours: &[NO_SUMMARY, "--effort", "max"],
            theirs: &[],
            limits: limits(None, 0.975),
        },
        Contest {
            key: "lzo",
            name: "without summary, with lzo, against `-m size -X lzo`",
            ours: &[NO_SUMMARY, "--compression", "zlib,lzo,rtime"],
            theirs: &["-m", "size", "-X", "lzo"],
            limits: limits(Some(0.30), 1.00),
        },
        Contest {
            key: "nodes",
            name: "without summary, nodes of 16K, which `mkfs.jffs2` has as `-s`",
            ours: &[NO_SUMMARY, "--node-size", "16K"],
            theirs: &["-s", "16384"],
            limits: limits(None, 1.00),
        },
    ];

    fn settings(&self) -> String {
        format!("Little-endian, eraseblocks of {} KiB", self.eraseblock)
    }

    fn ours(&self, command: &mut Command) {
        let eraseblock = format!("{}K", self.eraseblock);
        command.args(["jffs2", "--endian", "little", "--eraseblock", &eraseblock]);
    }

    fn theirs(&self, contest: &Contest, peer: &Path, directory: &Path, image: &Path) -> Result<Vec<Command>> {
        let eraseblock = format!("{}KiB", self.eraseblock);
        let mut mkfs = command(peer);
        mkfs.args(["-l", "-e", &eraseblock, "-r"]).arg(directory).args(contest.theirs).arg("-o");
        if contest.ours.contains(&NO_SUMMARY) {
            mkfs.arg(image);
            return Ok(vec![mkfs]);
        }
        let plain = image.with_extension("plain");
        mkfs.arg(&plain);
        let mut sumtool = command(&program("sumtool")?);
        sumtool.args(["-l", "-e", &eraseblock, "-i"]).arg(&plain).arg("-o").arg(image);
        Ok(vec![mkfs, sumtool])
    }
}
