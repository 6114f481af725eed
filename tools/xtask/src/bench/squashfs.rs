//! `cargo xtask bench squashfs`: the same directory, compressor, level, block size and threads on both sides, in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::measure::measure;
use super::table::{Limits, Row, Side, megabytes, misses, table};
use super::{flashwright, input, machine, root, work_dir};
use crate::process::command;

/// What `cargo xtask bench squashfs` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Directory to pack; default: a root of Debian minbase for armhf, built with debootstrap and kept
    directory: Option<PathBuf>,
    /// Runs of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads of each side
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// Block size of each side, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    block_size: u32,
    /// Only these rows: gzip, xz, zstd, lzo, lz4, max
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// Fail when a limit is missed
    #[arg(long)]
    check: bool,
}

/// One row: how each side is told to do the same.
struct Contest {
    key: &'static str,
    name: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    limits: Limits,
}

/// Levels are mksquashfs's own defaults, said aloud where there are any.
const CONTESTS: [Contest; 6] = [
    Contest {
        key: "gzip",
        name: "gzip, level 9",
        ours: &["--compression", "gzip:9"],
        theirs: &["-comp", "gzip", "-Xcompression-level", "9"],
        limits: Limits { time: 0.40, size: 0.985 },
    },
    Contest {
        key: "xz",
        name: "xz",
        ours: &["--compression", "xz"],
        theirs: &["-comp", "xz"],
        limits: Limits { time: 1.00, size: 0.995 },
    },
    Contest {
        key: "zstd",
        name: "zstd, level 15",
        ours: &["--compression", "zstd:15"],
        theirs: &["-comp", "zstd", "-Xcompression-level", "15"],
        limits: Limits { time: 0.95, size: 0.995 },
    },
    Contest {
        key: "lzo",
        name: "lzo",
        ours: &["--compression", "lzo"],
        theirs: &["-comp", "lzo", "-Xalgorithm", "lzo1x_999", "-Xcompression-level", "8"],
        limits: Limits { time: 1.00, size: 1.02 },
    },
    Contest {
        key: "lz4",
        name: "lz4",
        ours: &["--compression", "lz4"],
        theirs: &["-comp", "lz4"],
        limits: Limits { time: 1.00, size: 1.02 },
    },
    Contest {
        key: "max",
        name: "xz, `--effort max` against all of `-Xbcj`",
        ours: &["--compression", "xz", "--effort", "max"],
        theirs: &["-comp", "xz", "-Xbcj", "x86,arm,armthumb,arm64,powerpc,sparc,ia64,riscv"],
        limits: Limits { time: 1.20, size: 0.975 },
    },
];

/// `cargo xtask bench squashfs`.
pub(super) fn run(options: &Options) -> Result<()> {
    let contests = chosen(&options.only)?;
    let Some(peer) = vmtest::find_program("mksquashfs") else {
        bail!("no mksquashfs to compare with; `cargo xtask tools` installs it, on Debian as root");
    };
    let bench = Bench { ours: flashwright()?, theirs: peer, directory: directory(options)?, options };
    let input = input::warm(&bench.directory)?;
    let mut rows = Vec::new();
    for contest in contests {
        eprintln!("bench: {}", contest.key);
        rows.push(bench.row(contest)?);
    }
    println!(
        "{}- Input: {} files, {}",
        machine::describe(Some(&bench.theirs)),
        input.files,
        megabytes(input.bytes)
    );
    let runs = options.runs;
    println!(
        "- {} threads, blocks of {} KiB, {runs} runs of each side in turn: medians, smallest to largest; ratios are \
         medians over pairs of runs; memory is the highest of all runs\n",
        options.jobs, options.block_size
    );
    print!("{}", table(&rows));
    let misses = misses(&rows);
    misses.iter().for_each(|miss| println!("\nMissed: {miss}"));
    ensure!(!options.check || misses.is_empty(), "{} limits missed", misses.len());
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static Contest>> {
    if let Some(unknown) = only.iter().find(|name| CONTESTS.iter().all(|contest| contest.key != *name)) {
        bail!("no row {unknown:?}; there are {}", CONTESTS.map(|contest| contest.key).join(", "));
    }
    let is_chosen = |contest: &&Contest| only.is_empty() || only.iter().any(|name| name == contest.key);
    Ok(CONTESTS.iter().filter(is_chosen).collect())
}

fn directory(options: &Options) -> Result<PathBuf> {
    match &options.directory {
        None => root::ensure(&work_dir()),
        Some(directory) => {
            fs::canonicalize(directory).with_context(|| format!("cannot read {}", directory.display()))
        }
    }
}

struct Bench<'a> {
    ours: PathBuf,
    theirs: PathBuf,
    directory: PathBuf,
    options: &'a Options,
}

impl Bench<'_> {
    fn row(&self, contest: &Contest) -> Result<Row> {
        fs::create_dir_all(work_dir())?;
        let folder = tempfile::tempdir_in(work_dir())?;
        let image = folder.path().join("image.squashfs");
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for run in 1..=self.options.runs {
            once(&mut ours, self.our_command(contest, &image), &image)?;
            once(&mut theirs, self.their_command(contest, &image), &image)?;
            eprintln!("bench: {} run {run} of {}", contest.key, self.options.runs);
        }
        Ok(Row { name: contest.name, limits: contest.limits, ours, theirs })
    }

    fn our_command(&self, contest: &Contest, image: &Path) -> Command {
        let mut ours = command(&self.ours);
        ours.args(["pack", "squashfs", "--quiet"]).arg(&self.directory).arg("-o").arg(image);
        ours.arg("--block-size").arg(format!("{}K", self.options.block_size));
        ours.arg("--jobs").arg(self.options.jobs.to_string()).args(contest.ours);
        ours
    }

    fn their_command(&self, contest: &Contest, image: &Path) -> Command {
        let mut theirs = command(&self.theirs);
        theirs.arg(&self.directory).arg(image).args(["-noappend", "-no-progress", "-quiet"]);
        theirs.arg("-b").arg(format!("{}K", self.options.block_size));
        theirs.arg("-processors").arg(self.options.jobs.to_string()).args(contest.theirs);
        theirs
    }
}

/// One run; the image must be as long as in the runs before, and is removed.
fn once(side: &mut Side, mut command: Command, image: &Path) -> Result<()> {
    let usage = measure(&mut command)?;
    let size = fs::metadata(image).with_context(|| format!("{command:?} made no image"))?.len();
    fs::remove_file(image)?;
    let same = side.runs.is_empty() || side.size == size;
    ensure!(same, "{command:?}: {size} bytes now, {} before: something changes the input", side.size);
    side.size = size;
    side.runs.push(usage);
    Ok(())
}
