//! `flashw`: writes flash on the device. Keeps every UBI erase count, verifies what it wrote, and goes on where a loss of
//! power stopped it.
//!
//! What is to be done is decided in `flashwright-plan`, how the kernel is asked is in `flashwright-mtd`; here is what people
//! type and read.

mod applet;
mod args;
mod command;
mod exit;
mod file_flash;
mod image;
mod output;
mod safety;
mod target;
mod watch;
mod words;

use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use flashwright_mtd::text::pieces;

pub use crate::args::{Command, Flag};
use crate::command::COMMANDS;
use crate::exit::{Failure, Result};

/// The program: does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let json = words.iter().any(|word| word == "--json");
    let result = match applet::by_name(&called) {
        Some(applet) => applet.run(words),
        None => run(words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::report(&failure, json);
            ExitCode::from(failure.exit.code())
        }
    }
}

/// The commands, in the order of the help.
#[must_use]
pub fn commands() -> &'static [&'static Command] {
    COMMANDS
}

/// The programs that this one stands in for when it is called by their names.
#[must_use]
pub fn applets() -> &'static [&'static Command] {
    applet::APPLETS
}

/// Finds the command by its first words and runs it with the others.
fn run(words: Vec<OsString>) -> Result {
    let text = |index: usize| words.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    match text(0) {
        "" | "help" | "--help" | "-h" => return help(text(1), text(2)),
        "--version" | "-V" => return output::print_text(concat!("flashw ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => {}
    }
    let two = format!("{} {}", text(0), text(1));
    let found = COMMANDS.iter().find(|command| command.name == two || command.name == text(0));
    let command = found.ok_or_else(|| unknown(text(0), text(1)))?;
    let skipped = pieces(command.name, b' ').count();
    command.run(words.get(skipped..).unwrap_or_default().to_vec())
}

fn unknown(first: &str, second: &str) -> Failure {
    let group: Vec<_> =
        COMMANDS.iter().filter(|command| pieces(command.name, b' ').next() == Some(first)).collect();
    if group.is_empty() {
        let failure = Failure::usage(format_args!("there is no command {first}"));
        return match args::nearest(first, COMMANDS.iter().map(|command| command.name)) {
            Some(near) => failure.help(format_args!("did you mean {near}? `flashw help` lists all")),
            None => failure.help(format_args!("`flashw help` lists all")),
        };
    }
    let names: Vec<_> = group.iter().map(|command| command.name).collect();
    let failure = match second {
        "" => Failure::usage(format_args!("{first} what?")),
        _ => Failure::usage(format_args!("there is no command {first} {second}")),
    };
    failure.help(format_args!("one of {}", names.join(", ")))
}

fn help(first: &str, second: &str) -> Result {
    let two = format!("{first} {second}");
    if let Some(command) = COMMANDS.iter().find(|command| command.name == two || command.name == first) {
        return output::print_text(&command.help());
    }
    if !first.is_empty() && !COMMANDS.iter().any(|command| command.name.starts_with(&format!("{first} "))) {
        return Err(unknown(first, second));
    }
    let mut text =
        String::from("Writes flash on the device, verified, every erase count kept\n\nCommands:\n");
    for command in COMMANDS.iter().filter(|command| command.name.starts_with(first)) {
        let _ = writeln!(text, "  {:<14} {}", command.name, command.about);
    }
    text.push_str(
        "\nTargets: /dev/mtd3, mtd:NAME, /dev/ubi0_1, ubi:NAME. `flashw COMMAND --help` has options and examples.\n",
    );
    if first.is_empty() {
        let _ = writeln!(text, "Called by one of these names, it takes their options:{}.", applet::names());
    }
    output::print_text(&text)
}
