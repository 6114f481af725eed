//! `cargo xtask fuzz`: the targets of `fuzz/`, by cargo-fuzz.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, is_ci, run as run_command, target_dir};
use crate::tools;

/// Seconds for each target in a smoke run.
const SMOKE_SECONDS: u32 = 30;
/// Memory that a target may take, MiB: what readers allow themselves for small inputs, several times over.
const MEMORY: u32 = 1024;
/// Seconds that one input may take.
const TIMEOUT: u32 = 25;

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

/// Runs the targets one after the other, all of them even when one fails.
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
    let failed: Vec<&str> = wanted.iter().filter(|name| !passes(name, seconds)).map(String::as_str).collect();
    if !failed.is_empty() {
        bail!("{} broke; the inputs are in fuzz/artifacts", failed.join(", "));
    }
    println!("fuzz targets: {} passed", wanted.len());
    Ok(())
}

fn passes(name: &str, seconds: Option<u32>) -> bool {
    println!("== {name} ==");
    let result = one(name, seconds);
    if let Err(error) = &result {
        eprintln!("{name}: {error:#}");
    }
    result.is_ok()
}

fn one(name: &str, seconds: Option<u32>) -> Result<()> {
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
    run_command(&mut command)
}

/// `cargo fuzz`, with flags of unstable compilers allowed on a stable one: measuring coverage needs them.
fn fuzz() -> std::process::Command {
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
