//! `cargo xtask fuzz`: the targets of `fuzz/`, by cargo-fuzz.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, is_ci, run as run_command, target_dir};
use crate::tools;

/// Seconds for each target in a smoke run.
const SMOKE_SECONDS: u32 = 30;
/// Memory that a target may take, MiB: what readers allow themselves for small inputs, several times over.
const MEMORY: u32 = 1024;
/// Seconds that one input may take.
const TIMEOUT: u32 = 25;
/// Lines of the output of a target that failed that are shown.
const LINES_SHOWN: usize = 60;

/// Our code is safe Rust, and the address sanitizer does not look into libraries in C: it would only cost time, and hide
/// how much memory is taken.
const NO_SANITIZER: [&str; 2] = ["--sanitizer", "none"];

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Targets; default all of them
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// 30 seconds for each target
    #[arg(long, conflicts_with = "seconds")]
    smoke: bool,
    /// Seconds for each target; without this and --smoke until something breaks
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// List the targets
    #[arg(long)]
    list: bool,
}

/// The stage of `cargo xtask test`: 30 seconds for each target.
pub(crate) fn smoke() -> Result<()> {
    run(&Options { targets: Vec::new(), smoke: true, seconds: None, list: false })
}

/// Runs the targets, all of them even when one fails: as many at a time as there are processors.
pub(crate) fn run(options: &Options) -> Result<()> {
    let known = targets()?;
    if options.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = if options.targets.is_empty() { &known } else { &options.targets };
    if let Some(missing) = tools::ensure_cargo_fuzz() {
        println!("skipped: {missing}");
        if is_ci() {
            bail!("fuzzing was skipped, and with CI=true that is a failure");
        }
        return Ok(());
    }
    let seconds = if options.smoke { Some(SMOKE_SECONDS) } else { options.seconds };
    run_command(fuzz().args(["build", "--fuzz-dir"]).arg(directory()).args(NO_SANITIZER))?;
    let failed = match wanted.as_slice() {
        [one] => watched(one, seconds).err().map(|error| format!("{one}: {error:#}")).into_iter().collect(),
        all => side_by_side(all, seconds),
    };
    if !failed.is_empty() {
        bail!("{}; what broke is in fuzz/artifacts", failed.join("; "));
    }
    println!("fuzz targets: {} passed", wanted.len());
    Ok(())
}

/// Runs one target, its output going where ours goes.
fn watched(name: &str, seconds: Option<u32>) -> Result<()> {
    run_command(&mut one(name, seconds)?)
}

/// Runs all, each with its output in a file; returns what is wrong with those that failed.
fn side_by_side(names: &[String], seconds: Option<u32>) -> Vec<String> {
    let queue = Mutex::new(names.iter());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(name) = next() {
            if let Err(error) = logged(name, seconds) {
                eprintln!("FAILED {name}: {error:#}");
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name} failed"));
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(names.len());
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one target, its output going to a file, whose end is shown when it fails.
fn logged(name: &str, seconds: Option<u32>) -> Result<()> {
    let folder = target_dir().join("fuzz/logs");
    let log = folder.join(format!("{name}.log"));
    let opened = fs::create_dir_all(&folder).and_then(|()| File::create(&log));
    let file = opened.with_context(|| format!("cannot write {}", log.display()))?;
    let result = run_command(one(name, seconds)?.stderr(file.try_clone()?).stdout(file));
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if result.is_ok() {
        println!("ok     {name}: {}", statistics(&text));
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
    bail!("the end of {}:\n{}", log.display(), end.join("\n"))
}

/// What libFuzzer says at the end about the whole run.
fn statistics(log: &str) -> String {
    let number = |name: &str| {
        let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':')).map_or("?", str::trim)
    };
    format!("{} inputs, at most {} MiB", number("number_of_executed_units"), number("peak_rss_mb"))
}

/// The command that runs a target.
fn one(name: &str, seconds: Option<u32>) -> Result<Command> {
    let directory = directory();
    let (corpus, seeds) = (directory.join("corpus").join(name), directory.join("seeds").join(name));
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut command = fuzz();
    command.args(["run", "--fuzz-dir"]).arg(&directory).args(NO_SANITIZER).arg(name).arg(&corpus);
    if seeds.exists() {
        command.arg(&seeds);
    }
    command.arg("--").args([format!("-rss_limit_mb={MEMORY}"), format!("-timeout={TIMEOUT}")]);
    command.arg("-print_final_stats=1");
    command.args(seconds.map(|seconds| format!("-max_total_time={seconds}")));
    Ok(command)
}

/// `cargo fuzz`, with flags of unstable compilers allowed on a stable one: measuring coverage needs them.
fn fuzz() -> Command {
    let mut command = cargo();
    command.arg("fuzz").env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    command
}

fn directory() -> std::path::PathBuf {
    vmtest::workspace_dir().join("fuzz")
}

/// Names of the targets: the files in `fuzz/targets`.
fn targets() -> Result<Vec<String>> {
    let directory = directory().join("targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().filter(|_| path.extension() == Some("rs".as_ref()));
        names.extend(stem.and_then(|stem| Path::new(stem).to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_has_the_numbers() {
        let log = "#1 INITED\nstat::number_of_executed_units: 12345\nstat::peak_rss_mb:              41\n";
        assert_eq!(statistics(log), "12345 inputs, at most 41 MiB");
        assert_eq!(statistics(""), "? inputs, at most ? MiB");
    }
}
