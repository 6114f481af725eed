//! One module a command.

mod build;
mod check;
mod extract;
mod generate;
mod info;
mod list;
mod pack;
mod ubi;

pub(crate) use list::show_time;

use crate::args::Command;
use crate::failure::Failure;

/// Does what the command line says.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(args) => build::run(&args),
        Command::Pack(args) => pack::run(&args.format),
        Command::List(args) => list::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    }
}
