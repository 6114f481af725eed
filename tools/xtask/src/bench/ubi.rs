//! `cargo xtask bench ubi`: one volume of 512 MB, dynamic and static, on both sides in turn.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::measure::measure;
use super::table::{Limits, Row, Side, misses, table};
use super::{flashwright, machine, work_dir};
use crate::process::command;

/// What `cargo xtask bench ubi` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Size of the volume, in millions of bytes
    #[arg(long, value_name = "MB", default_value_t = 512)]
    size: u64,
    /// Runs of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail when a limit is missed
    #[arg(long)]
    check: bool,
}

/// Most memory that ours may take, bytes.
const MEMORY_LIMIT: u64 = 20_000_000;
const LIMITS: Limits = Limits { time: Some(0.80), size: 1.0, memory: MEMORY_LIMIT };
/// Flash of both sides: PEB and page in bytes.
const FLASH: (&str, &str) = ("131072", "2048");

/// `cargo xtask bench ubi`.
pub(super) fn run(options: &Options) -> Result<()> {
    let Some(peer) = vmtest::find_program("ubinize") else {
        bail!("no ubinize to compare with; `cargo xtask tools` installs it, on Debian as root");
    };
    let ours = flashwright()?;
    fs::create_dir_all(work_dir())?;
    let folder = tempfile::tempdir_in(work_dir())?;
    let content = folder.path().join("content");
    super::memory::write_noise(&content, options.size * 1_000_000)?;
    let bench = Bench { ours, theirs: peer, folder: folder.path().to_owned(), content };
    let rows = ["dynamic", "static"].map(|kind| bench.row(kind, options.runs));
    let rows = rows.into_iter().collect::<Result<Vec<_>>>()?;
    println!(
        "{}- Input: {} MB, PEB 128 KiB, page 2048 bytes",
        machine::describe(Some(&bench.theirs)),
        options.size
    );
    println!(
        "- {} runs of each side in turn: medians; ratios are medians over pairs of runs\n",
        options.runs
    );
    print!("{}", table(&rows));
    let misses = misses(&rows);
    misses.iter().for_each(|miss| println!("\nMissed: {miss}"));
    ensure!(!options.check || misses.is_empty(), "{} limits missed", misses.len());
    Ok(())
}

struct Bench {
    ours: PathBuf,
    theirs: PathBuf,
    folder: PathBuf,
    content: PathBuf,
}

impl Bench {
    fn row(&self, kind: &'static str, runs: u32) -> Result<Row> {
        let (ours, theirs) = (self.folder.join("ours"), self.folder.join("theirs"));
        let ini = self.folder.join("ini");
        let image = self.content.display();
        fs::write(&ini, format!("[v]\nmode=ubi\nimage={image}\nvol_id=0\nvol_type={kind}\nvol_name=v\n"))?;
        let volume = format!("name=v,image={image},type={kind}");
        let (peb, page) = FLASH;
        let mut row = Row { name: kind, limits: LIMITS, ours: Side::default(), theirs: Side::default() };
        for run in 0..=runs {
            eprintln!("bench: {kind}, run {run} of {runs}");
            let mut pack = command(&self.ours);
            pack.args(["pack", "ubi", "--quiet", "--peb", peb, "--min-io", page, "--volume", &volume, "-o"]);
            let mine = measure(pack.arg(fresh(&ours)))?;
            let mut ubinize = command(&self.theirs);
            ubinize.args(["-p", peb, "-m", page, "-o"]).arg(fresh(&theirs)).arg(&ini);
            let other = measure(&mut ubinize)?;
            // The first run reads the content into memory.
            if run > 0 {
                row.ours.runs.push(mine);
                row.theirs.runs.push(other);
            }
        }
        (row.ours.size, row.theirs.size) = (fs::metadata(&ours)?.len(), fs::metadata(&theirs)?.len());
        Ok(row)
    }
}

/// The path, with nothing there: freeing an old file would be in the time of whoever replaces it.
fn fresh(path: &Path) -> &Path {
    let _ = fs::remove_file(path);
    path
}
