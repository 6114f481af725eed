//! Every command a developer of flashwright needs: `cargo xtask test` and its friends.

mod bench;
mod demo;
mod dist;
mod fuzz;
mod process;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every command a developer of flashwright needs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything: formatting, lints, docs, licences, unit and property tests, outside tools, real kernels
    Test(test::Options),
    /// Build the example router from real packages, show what is in it, and boot it in QEMU
    Demo(demo::Options),
    /// Build flashw for devices, static, as small as it gets, and report the sizes
    Dist(dist::Options),
    /// Run the fuzz targets
    Fuzz(fuzz::Options),
    /// Measure ours against the peers' tools
    Bench(bench::Options),
    /// Install and list what the tests need from outside: the peers' tools, emulators, kernels, guest programs
    Tools(tools::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Tools(options) => tools::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
