//! Two sides that do the same, in turn: what all side-by-side benchmarks have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::measure::{Usage, measure};
use super::table::{Limits, Row, Side, megabytes, misses, table};
use super::{flashwright, input, machine, root, work_dir};
use crate::process::command;

/// What every side-by-side benchmark takes.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Directory to pack; default: a root of Debian minbase for armhf, built with debootstrap and kept
    directory: Option<PathBuf>,
    /// Runs of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Threads of each side that can have them
    #[arg(short, long, default_value_t = 2)]
    pub(super) jobs: usize,
    /// Only these rows
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// Fail when a limit is missed
    #[arg(long)]
    check: bool,
}

/// One row: how each side is told to do the same.
#[derive(Debug)]
pub(super) struct Contest {
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) ours: &'static [&'static str],
    pub(super) theirs: &'static [&'static str],
    pub(super) limits: Limits,
}

/// A benchmark: its rows, and how programs are called.
pub(super) trait Match {
    /// Every row.
    const CONTESTS: &'static [Contest];

    /// The peer, whose version is shown.
    const PEER: &'static str;

    /// What is common to all rows, for people.
    fn settings(&self) -> String;

    /// Adds all that our program is told besides the source, the output and [`Contest::ours`].
    fn ours(&self, command: &mut Command);

    /// What the peers are told, one after the other; the last one writes `image`.
    fn theirs(&self, contest: &Contest, peer: &Path, directory: &Path, image: &Path) -> Result<Vec<Command>>;
}

/// Runs all rows that are asked for and prints the results.
pub(super) fn run<M: Match>(this: &M, common: &Common) -> Result<()> {
    let contests = chosen(M::CONTESTS, &common.only)?;
    let peer = program(M::PEER)?;
    let ring = Ring { this, ours: flashwright()?, peer, directory: directory(common)?, common };
    let input = input::warm(&ring.directory)?;
    let mut rows = Vec::new();
    for contest in contests {
        eprintln!("bench: {}", contest.key);
        rows.push(ring.row(contest)?);
    }
    let described = machine::describe(Some(&ring.peer));
    println!("{described}- Input: {} files, {}", input.files, megabytes(input.bytes));
    println!(
        "- {}, {} threads, {} runs of each side in turn: medians, smallest to largest; ratios are medians over pairs of \
         runs; memory is the highest of all runs\n",
        this.settings(),
        common.jobs,
        common.runs
    );
    print!("{}", table(&rows));
    let misses = misses(&rows);
    misses.iter().for_each(|miss| println!("\nMissed: {miss}"));
    ensure!(!common.check || misses.is_empty(), "{} limits missed", misses.len());
    Ok(())
}

/// A peer's program.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let Some(found) = vmtest::find_program(name) else {
        bail!("no {name} to compare with; `cargo xtask tools` installs it, on Debian as root");
    };
    Ok(found)
}

fn chosen<'c>(contests: &'c [Contest], only: &[String]) -> Result<Vec<&'c Contest>> {
    if let Some(unknown) = only.iter().find(|name| contests.iter().all(|contest| contest.key != *name)) {
        let keys: Vec<&str> = contests.iter().map(|contest| contest.key).collect();
        bail!("no row {unknown:?}; there are {}", keys.join(", "));
    }
    let is_chosen = |contest: &&Contest| only.is_empty() || only.iter().any(|name| name == contest.key);
    Ok(contests.iter().filter(is_chosen).collect())
}

fn directory(common: &Common) -> Result<PathBuf> {
    match &common.directory {
        None => root::ensure(&work_dir()),
        Some(directory) => {
            fs::canonicalize(directory).with_context(|| format!("cannot read {}", directory.display()))
        }
    }
}

struct Ring<'a, M> {
    this: &'a M,
    ours: PathBuf,
    peer: PathBuf,
    directory: PathBuf,
    common: &'a Common,
}

impl<M: Match> Ring<'_, M> {
    fn row(&self, contest: &Contest) -> Result<Row> {
        fs::create_dir_all(work_dir())?;
        let folder = tempfile::tempdir_in(work_dir())?;
        let image = folder.path().join("image");
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for run in 1..=self.common.runs {
            once(&mut ours, vec![self.our_command(contest, &image)], &image)?;
            once(&mut theirs, self.this.theirs(contest, &self.peer, &self.directory, &image)?, &image)?;
            eprintln!("bench: {} run {run} of {}", contest.key, self.common.runs);
        }
        Ok(Row { name: contest.name, limits: contest.limits, ours, theirs })
    }

    fn our_command(&self, contest: &Contest, image: &Path) -> Command {
        let mut ours = command(&self.ours);
        ours.arg("pack");
        self.this.ours(&mut ours);
        ours.arg("--quiet").arg(&self.directory).arg("-o").arg(image);
        ours.arg("--jobs").arg(self.common.jobs.to_string()).args(contest.ours);
        ours
    }
}

/// One run; the image must be as long as in the runs before, and is removed.
fn once(side: &mut Side, commands: Vec<Command>, image: &Path) -> Result<()> {
    let shown = format!("{commands:?}");
    let usages = commands.into_iter().map(|mut command| measure(&mut command)).collect::<Result<Vec<_>>>()?;
    let size = fs::metadata(image).with_context(|| format!("{shown} made no image"))?.len();
    fs::remove_file(image)?;
    let same = side.runs.is_empty() || side.size == size;
    ensure!(same, "{shown}: {size} bytes now, {} before: something changes the input", side.size);
    side.size = size;
    side.runs.push(Usage::one_after_the_other(&usages));
    Ok(())
}
