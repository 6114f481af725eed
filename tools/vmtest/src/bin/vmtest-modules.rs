//! `vmtest-modules FOLDER NAME…`: writes modules of the amd64 kernel, with those they need, into a folder that is
//! there.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_default());
    match vmtest::write_modules(&arguments.collect::<Vec<_>>(), &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
