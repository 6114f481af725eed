//! `flashw` on this machine: as it was built for the test, or for another machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// Environment variable: another `flashw` than that of this build, after the emulator that runs it, if there is one:
/// `qemu-aarch64-static target/dist/flashw-aarch64`.
const OTHER: &str = "FLASHWRIGHT_FLASHW";

/// Emulator, if there is one, and program.
fn programs() -> (Option<PathBuf>, PathBuf) {
    let Ok(words) = env::var(OTHER) else { return (None, env!("CARGO_BIN_EXE_flashw").into()) };
    match words.split_once(' ') {
        Some((emulator, program)) => (Some(emulator.into()), program.into()),
        None => (None, words.into()),
    }
}

/// The program.
pub fn program() -> PathBuf {
    programs().1
}

/// What runs that program, or a link to it or a copy of it.
pub fn command(program: &Path) -> Command {
    match programs().0 {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Runs it in a folder.
pub fn flashw(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    command(&program()).current_dir(folder).args(words).write_stdin(input).output().unwrap()
}

/// Runs it; it must end with that exit code. Returns what it printed, both ways.
pub fn run(folder: &Path, words: &[&str], code: i32) -> (Vec<u8>, String) {
    let output = flashw(folder, words, b"");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {errors}");
    (output.stdout, errors)
}

/// A folder with flash that is erased, and an image.
pub fn folder(flash_len: usize, image: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flash"), vec![0xff; flash_len]).unwrap();
    fs::write(folder.path().join("image"), image).unwrap();
    folder
}
