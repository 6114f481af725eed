//! The commands, one module each.

mod info;
mod lock;
mod phram;
mod read;
mod ubi;
mod write;
mod write_ubi;
mod write_volume;

use crate::args::{Command, Flag, option, switch};

/// `--json`, which every command takes.
pub(crate) const JSON: Flag = switch("json", ' ', "One JSON object per line, for programs");
/// `--geometry`, for targets that are files.
pub(crate) const GEOMETRY: Flag =
    option("geometry", ' ', "KIND:SIZES", "What flash a file stands for: nor:64K, nand:128K:2K:512");
const OFFSET: Flag = option("offset", ' ', "BYTES", "Where to begin, from the start of the target [0]");

pub(crate) use read::COMMAND as READ;
pub(crate) use ubi::{ATTACH, DETACH, MKVOL, RENAME, RMVOL, RSVOL};
pub(crate) use write::{ERASE, WRITE};
pub(crate) use write_ubi::FORMAT;

/// All of them, in the order of the help.
pub(crate) const COMMANDS: &[&Command] = &[
    &info::COMMAND,
    &write::WRITE,
    &write::VERIFY,
    &read::COMMAND,
    &write::ERASE,
    &lock::UNLOCK,
    &lock::LOCK,
    &write_ubi::FORMAT,
    &write_ubi::HEALTH,
    &ubi::ATTACH,
    &ubi::DETACH,
    &ubi::MKVOL,
    &ubi::RMVOL,
    &ubi::RSVOL,
    &ubi::RENAME,
    &write::UPDATE,
    &phram::COMMAND,
];
