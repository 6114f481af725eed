//! `cargo xtask test`: all checks, one after the other, every one of them even when an earlier one failed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{cargo, is_ci, run as run_command};
use crate::{fuzz, tools};

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only these stages: fmt, clippy, docs, licences, tests, doctests, fuzz
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    only: Vec<String>,
}

struct Stage {
    name: &'static str,
    run: fn() -> Result<()>,
}

const STAGES: [Stage; 7] = [
    Stage { name: "fmt", run: fmt },
    Stage { name: "clippy", run: clippy },
    Stage { name: "docs", run: docs },
    Stage { name: "licences", run: licences },
    Stage { name: "tests", run: tests },
    Stage { name: "doctests", run: doctests },
    Stage { name: "fuzz", run: fuzz::smoke },
];

/// Tools first, then the stages; fails when one of them failed, or, with `CI=true`, when anything was skipped.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| STAGES.iter().all(|stage| stage.name != *name)) {
        bail!("no stage {unknown:?}; there are {}", STAGES.map(|stage| stage.name).join(", "));
    }
    let missing = tools::ensure(false);
    let mut results = Vec::new();
    for stage in
        STAGES.iter().filter(|stage| options.only.is_empty() || options.only.iter().any(|o| o == stage.name))
    {
        println!("== {} ==", stage.name);
        let start = Instant::now();
        let result = (stage.run)();
        if let Err(error) = &result {
            eprintln!("{}: {error:#}", stage.name);
        }
        results.push((stage.name, start.elapsed(), result.is_ok()));
    }
    println!("== summary ==");
    missing.iter().for_each(|missing| println!("skipped: {missing}"));
    summary(&results, is_ci() && !missing.is_empty())
}

fn summary(results: &[(&str, Duration, bool)], skips_count: bool) -> Result<()> {
    for (name, time, passed) in results {
        println!("{} {name} ({:.0} s)", if *passed { "ok    " } else { "FAILED" }, time.as_secs_f64());
    }
    let passed = results.iter().filter(|(_, _, passed)| *passed).count();
    let failed = results.len() - passed;
    println!("stages: {passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} of {} stages failed", results.len());
    }
    if skips_count {
        bail!("tests were skipped, and with CI=true that is a failure");
    }
    Ok(())
}

fn fmt() -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run_command(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-features",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn docs() -> Result<()> {
    let mut command = cargo();
    command
        .args(["doc", "--locked", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    run_command(&mut command)
}

/// Licences of all dependencies, and where they come from. Advisories are left to a scheduled job: they need a data
/// base that changes without a change here.
fn licences() -> Result<()> {
    if !tools::has_cargo_tool("deny") {
        println!("no cargo-deny, see below");
        return Ok(());
    }
    run_command(cargo().args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))
}

fn tests() -> Result<()> {
    if tools::has_cargo_tool("nextest") {
        return run_command(cargo().args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--all-features",
            "--no-fail-fast",
        ]));
    }
    run_command(cargo().args([
        "test",
        "--locked",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--lib",
        "--bins",
        "--tests",
    ]))
}

/// Apart from the other tests, since nextest does not run them.
fn doctests() -> Result<()> {
    run_command(cargo().args(["test", "--locked", "--workspace", "--all-features", "--doc"]))
}
