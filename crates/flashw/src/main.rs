//! `flashw`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashw::main()
}
