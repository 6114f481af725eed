//! The formats: one row each for writing and for reading. Another format joins here and in
//! [`crate::args::PackFormat`].

mod cpio;
mod jffs2;
mod squashfs;
mod ubifs;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use flashwright_manifest::Output;
use flashwright_tree::{ContentError, Findings, Tree};
use serde_json::Value;

use crate::args::{
    CpioFlags, FLASH_KEYS, Jffs2Flags, KnownFlags, ReadFlags, Size, SquashfsFlags, UbifsFlags, Wrong,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Written;

pub(crate) use jffs2::Jffs2Job;
pub(crate) use squashfs::SquashfsJob;

/// Called with bytes done and bytes in all.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// An image that is to be written: a format with its options.
#[derive(Debug)]
pub(crate) enum Job {
    Squashfs(SquashfsJob),
    Jffs2(Jffs2Job),
    Cpio(flashwright_cpio::Options),
    Ubifs(flashwright_ubifs::Options),
}

/// Formats that can be written, by their names in `image.toml`.
pub(crate) const WRITABLE: [&str; 4] = ["squashfs", "jffs2", "ubifs", "cpio"];

impl Job {
    /// What an output of `image.toml` asks for, and the most it may take. `epoch` is SOURCE_DATE_EPOCH.
    ///
    /// # Errors
    /// [`Exit::Invalid`], at the key that is wrong.
    pub(crate) fn of_output(output: &Output, epoch: Option<u32>) -> Result<(Self, Option<u64>), Failure> {
        let wrong = |wrong: Wrong| Failure::from(output.error(wrong.key, wrong.message, wrong.help));
        match output.format.as_str() {
            "squashfs" => {
                let flags: SquashfsFlags = output.settings()?;
                let max_size = flags.max_size.map(|Size(bytes)| bytes);
                let options = flags.options(epoch).map_err(wrong)?;
                Ok((Job::Squashfs(SquashfsJob { options, end_marks: flags.end_marks().to_vec() }), max_size))
            }
            "jffs2" => {
                let flags: Jffs2Flags = output.settings()?;
                let (options, device_size) = flags.options().map_err(wrong)?;
                Ok((Job::Jffs2(Jffs2Job { options, device_size }), None))
            }
            "cpio" => {
                let flags: CpioFlags = output.settings()?;
                let max_size = flags.max_size.map(|Size(bytes)| bytes);
                Ok((Job::Cpio(flags.options().map_err(wrong)?), max_size))
            }
            "ubifs" => {
                let flags: UbifsFlags = output.settings_on_flash(&FLASH_KEYS)?;
                let max_size = flags.max_size.map(|Size(bytes)| bytes);
                Ok((Job::Ubifs(flags.options().map_err(wrong)?), max_size))
            }
            _ => Err(output.unknown_format(&WRITABLE).into()),
        }
    }

    /// The format's name.
    pub(crate) const fn format(&self) -> &'static str {
        match self {
            Job::Squashfs(_) => "squashfs",
            Job::Jffs2(_) => "jffs2",
            Job::Cpio(_) => "cpio",
            Job::Ubifs(_) => "ubifs",
        }
    }

    /// Writes `tree` into the empty file `output`, called `shown` in messages.
    ///
    /// # Errors
    /// [`Exit::Invalid`] for what the format cannot hold, [`Exit::Io`] when a file cannot be read or written.
    pub(crate) fn write(
        &self,
        tree: &Tree,
        threads: NonZeroUsize,
        (output, shown): (&mut File, &Path),
        progress: Progress<'_>,
    ) -> Result<Written, Failure> {
        match self {
            Job::Squashfs(job) => squashfs::write(tree, job, threads, (output, shown), progress),
            Job::Jffs2(job) => jffs2::write(tree, job, threads, (output, shown), progress),
            Job::Cpio(options) => cpio::write(tree, options, (output, shown), progress),
            Job::Ubifs(options) => ubifs::write(tree, options, threads, (output, shown), progress),
        }
    }
}

/// The failure to read file data for the image path `path`.
fn content_failure(message: String, error: &ContentError) -> Failure {
    let failure = Failure::new(Exit::Io, message);
    match error {
        ContentError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
            failure.help("make it readable for the user who builds, or leave it out with --exclude")
        }
        _ => failure,
    }
}

/// A format that can be read.
#[derive(Debug)]
pub(crate) struct Readable {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether the first bytes of an image are of this format.
    detect: fn(&[u8]) -> bool,
    /// The tree in it; file data stays in the image until it is read.
    pub(crate) read: fn(&Image, &ReadFlags) -> Result<Salvaged, Failure>,
    /// Everything that is wrong with it.
    pub(crate) check: fn(&Image) -> Result<Checked, Failure>,
    /// What it is.
    pub(crate) info: fn(&Image) -> Result<Facts, Failure>,
}

/// A tree, and what was wrong with the image it is from: nothing, unless `--salvage` was given.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) tree: Tree,
    pub(crate) findings: Findings,
    /// What the image may have and the tree has not, since nothing here reads it.
    pub(crate) missing: Vec<&'static str>,
}

impl From<Tree> for Salvaged {
    fn from(tree: Tree) -> Self {
        Salvaged { tree, findings: Findings::default(), missing: Vec::new() }
    }
}

/// What a check came to.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) findings: Findings,
    /// What was not looked at, since nothing here can.
    pub(crate) unchecked: Vec<&'static str>,
}

impl From<Findings> for Checked {
    fn from(findings: Findings) -> Self {
        Checked { findings, unchecked: Vec::new() }
    }
}

/// Names and values, in the order to be shown.
pub(crate) type Facts = Vec<(&'static str, Value)>;

/// Formats that can be read, in the order in which they are tried.
const READABLE: [Readable; 4] = [squashfs::READABLE, ubifs::READABLE, cpio::READABLE, jffs2::READABLE];

/// Bytes that tell the formats apart.
const HEAD: usize = 512;

/// An open image of a known format.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: File,
    /// Length in bytes.
    pub(crate) len: u64,
    pub(crate) format: &'static Readable,
    /// What the user says about it.
    known: &'a KnownFlags,
}

impl<'a> Image<'a> {
    /// Opens an image and finds out what it is: by its first bytes, or by JFFS2 nodes anywhere in it.
    ///
    /// # Errors
    /// [`Exit::Io`]; [`Exit::Invalid`] when it is of no known format.
    pub(crate) fn open(path: &'a Path, known: &'a KnownFlags) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let failure =
                Failure::new(Exit::Usage, format!("{} is a directory, not an image", path.display()));
            return Err(
                failure.help(format!("flashwright pack squashfs {} -o FILE makes one of it", path.display()))
            );
        }
        let len = if metadata.file_type().is_block_device() {
            io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed)?
        } else {
            metadata.len()
        };
        let mut head = [0; HEAD];
        let head_len = usize::try_from(len).unwrap_or(HEAD).min(HEAD);
        file.read_exact_at(&mut head[..head_len], 0).map_err(failed)?;
        let head = &head[..head_len];
        let format = READABLE.iter().find(|format| (format.detect)(head));
        let format = match format {
            Some(format) => format,
            None if jffs2::is_within(&file, len).map_err(failed)? => &jffs2::READABLE,
            None => return Err(unknown(path, head)),
        };
        Ok(Image { path, file, len, format, known })
    }

    /// The open file, for a reader.
    fn source(&self) -> Result<Arc<File>, Failure> {
        self.file.try_clone().map(Arc::new).map_err(|error| Failure::io("read", self.path, &error))
    }

    /// The failure of `--salvage` for a format that has no use for it.
    fn no_salvage(&self) -> Failure {
        let message =
            format!("{}: --salvage is for JFFS2, this is {}", self.path.display(), self.format.name);
        Failure::new(Exit::Usage, message).help("flashwright check says what is wrong with it")
    }

    /// A failure in this image: a line that names it, with the remedy.
    fn damaged(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Invalid, format!("{}: {error}", self.path.display()))
    }
}

fn unknown(path: &Path, head: &[u8]) -> Failure {
    let names = READABLE.map(|format| format.name).join(", ");
    if head.is_empty() {
        return Failure::new(Exit::Invalid, format!("{} is empty, and no image", path.display()))
            .help("write it again");
    }
    let start: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let message =
        format!("{} is no image of a known format: it starts with {}", path.display(), start.join(" "));
    Failure::new(Exit::Invalid, message).help(format!("known formats: {names}"))
}
