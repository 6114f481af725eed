//! `flashwright`: flash images from one declarative tree.
//!
//! A thin program over the libraries: it reads the command line and the environment, puts outputs in their place
//! and talks to people. What an image contains and how its bytes are laid out is decided elsewhere.
//!
//! ```text
//! args ──► command::{build, pack, …} ──► formats ──► libraries
//!                 │                         │
//!              sources ──► Tree ────────────┘──► output (temporary file, rename) ──► report
//! ```

mod args;
mod command;
mod compression;
mod console;
mod exit;
mod failure;
mod formats;
mod interrupt;
mod mistake;
mod output;
mod report;
mod size;
mod suggest;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(mistake::report(&error).code()),
    };
    let json = cli.command.json();
    match command::run(cli.command) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit().code())
        }
    }
}
