//! `completions` and `man`: made from the definitions of the flags.

use std::fs;
use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "flashwright", &mut script);
    print(&script)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|e| Failure::stdout(&e))?;
        return print(&page);
    };
    fs::create_dir_all(directory).map_err(|e| Failure::io("make", directory, &e))?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(|e| Failure::io("write to", directory, &e))
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| Failure::stdout(&e))
}
