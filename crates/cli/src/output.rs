//! The output file: written beside its place under another name, and renamed when it is whole. So there is never
//! half an image under the name that was asked for, and a failed run leaves the older image as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use flashwright_tree::{Source, Tree, display_path};
use sha2::{Digest, Sha256};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Temporary;
use crate::size;

/// Bytes that are read at a time.
const BUFFER: usize = 256 * 1024;
/// Names that other runs may have left are tried past.
const MAX_ATTEMPTS: u32 = 1000;

/// A place where an image may be put: checked, nothing done yet.
#[derive(Debug)]
pub(crate) struct Target {
    /// As the user wrote it.
    shown: PathBuf,
    /// Without a symlink in its last component.
    path: PathBuf,
    /// Device and inode of what is there now.
    existing: Option<(u64, u64)>,
}

impl Target {
    /// Checks that an image may be put at `path`.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a directory, [`Exit::Refused`] for a device, fifo or socket and for a symlink to nothing,
    /// [`Exit::Io`] when the directory is missing.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str().is_empty() || path == Path::new("-") {
            let failure = Failure::new(Exit::Usage, "the output must be a file, not standard output");
            return Err(failure.help("name a file; it appears when the image is whole"));
        }
        let target = Target { shown: path.to_owned(), path: path.to_owned(), existing: None };
        match fs::metadata(path) {
            Ok(metadata) => target.over(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.fresh(),
            Err(error) => Err(Failure::io("write", path, &error)),
        }
    }

    fn over(mut self, metadata: &fs::Metadata) -> Result<Self, Failure> {
        if metadata.is_dir() {
            let failure =
                Failure::new(Exit::Usage, format!("the output {} is a directory", self.shown.display()));
            return Err(
                failure.help(format!("name a file in it: {}", self.shown.join("root.squashfs").display()))
            );
        }
        if !metadata.is_file() {
            let what = special(metadata.file_type());
            let message =
                format!("the output {} is a {what}, and would be replaced by a file", self.shown.display());
            return Err(
                Failure::new(Exit::Refused, message).help("write to a file first, then copy it there")
            );
        }
        self.path = fs::canonicalize(&self.shown).map_err(|e| Failure::io("write", &self.shown, &e))?;
        self.existing = Some((metadata.dev(), metadata.ino()));
        Ok(self)
    }

    fn fresh(self) -> Result<Self, Failure> {
        let shown = self.shown.display();
        if fs::symlink_metadata(&self.path).is_ok() {
            let message = format!("the output {shown} is a symlink to something that does not exist");
            return Err(Failure::new(Exit::Refused, message).help("remove the symlink, or make its target"));
        }
        if self.path.file_name().is_none() || shown.to_string().ends_with('/') {
            let message = format!("the output {shown} names no file");
            return Err(Failure::new(Exit::Usage, message).help("name a file"));
        }
        let parent = self.parent();
        match fs::metadata(parent) {
            Ok(metadata) if metadata.is_dir() => Ok(self),
            Ok(_) => Err(Failure::new(
                Exit::Io,
                format!("cannot write {shown}: {} is not a directory", parent.display()),
            )
            .help("check the path")),
            Err(error) => Err(Failure::io("write", &self.shown, &error)
                .help(format!("make the directory first: mkdir -p {}", parent.display()))),
        }
    }

    fn parent(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// As the user wrote it.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Where the output is below the directory `source`, as an image path without leading `/`; `None` when it is not
    /// in there.
    fn within(&self, source: &Path) -> Option<PathBuf> {
        let parent = fs::canonicalize(self.parent()).ok()?;
        let source = fs::canonicalize(source).ok()?;
        Some(parent.strip_prefix(source).ok()?.to_owned())
    }

    /// Refuses an output that lies in a directory that goes into the image: the next build would pack this image.
    ///
    /// # Errors
    /// [`Exit::Refused`], unless the output's own directory is left out of `tree`.
    pub(crate) fn refuse_inside(&self, source: &Path, at: &[u8], tree: &Tree) -> Result<(), Failure> {
        use std::os::unix::ffi::OsStrExt;
        let Some(inside) = self.within(source) else { return Ok(()) };
        let inside = inside.as_os_str().as_bytes();
        let path = if inside.is_empty() { at.to_vec() } else { flashwright_tree::join_path(at, inside) };
        if tree.resolve(&path).is_none() {
            return Ok(());
        }
        let message = format!(
            "the output {} lies inside the source {}: the next build would pack this image into itself",
            self.shown.display(),
            source.display()
        );
        Err(Failure::new(Exit::Refused, message)
            .help("write it elsewhere, or leave its directory out with --exclude"))
    }

    /// Refuses to replace the input file at `input`.
    ///
    /// # Errors
    /// [`Exit::Refused`] when it is the output.
    pub(crate) fn refuse_over(&self, input: &Path) -> Result<(), Failure> {
        let Some(existing) = self.existing else { return Ok(()) };
        match fs::metadata(input) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == existing => {
                Err(self.over_input(&input.display()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to replace a host file whose data goes into the image.
    ///
    /// # Errors
    /// [`Exit::Refused`] when the output is one.
    pub(crate) fn refuse_over_content(&self, tree: &Tree) -> Result<(), Failure> {
        let Some(existing) = self.existing else { return Ok(()) };
        let is_output = |source: &Source| match source {
            Source::Host(host) => (host.identity().device, host.identity().inode) == existing,
            _ => false,
        };
        let extents =
            |content: &flashwright_tree::Content| content.extents().iter().any(|e| is_output(&e.source));
        match tree.walk().find(|entry| entry.first && entry.node.content().is_some_and(extents)) {
            Some(entry) => Err(self.over_input(&format_args!("{} of the image", display_path(&entry.path)))),
            None => Ok(()),
        }
    }

    fn over_input(&self, input: &dyn std::fmt::Display) -> Failure {
        let shown = self.shown.display();
        let message = format!("the output {shown} is also an input ({input}), and would be replaced");
        Failure::new(Exit::Refused, message).help("write to another file")
    }
}

fn special(file_type: fs::FileType) -> &'static str {
    if file_type.is_block_device() {
        "block device"
    } else if file_type.is_char_device() {
        "character device"
    } else if file_type.is_fifo() {
        "fifo"
    } else {
        "socket"
    }
}

/// An output that is being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Pending {
    target: Target,
    temporary: Temporary,
    file: File,
}

impl Pending {
    /// Starts an output: an empty file beside its place, with the permissions that the umask gives.
    ///
    /// # Errors
    /// [`Exit::Io`].
    pub(crate) fn create(target: Target) -> Result<Self, Failure> {
        let (temporary, file) =
            create_beside(target.parent()).map_err(|e| Failure::io("write", &target.shown, &e))?;
        Ok(Pending { target, temporary, file })
    }

    /// Where the image's bytes go.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// As the user wrote it.
    pub(crate) fn shown(&self) -> &Path {
        self.target.shown()
    }

    /// What is written so far, to be read at any place, and its length in bytes.
    ///
    /// # Errors
    /// [`Exit::Io`].
    pub(crate) fn reader(&self) -> Result<(File, u64), Failure> {
        let reader = self.file.try_clone().and_then(|file| Ok((file.metadata()?.len(), file)));
        reader.map(|(len, file)| (file, len)).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::io("write", self.shown(), error)
    }

    /// The length of what was written, in bytes.
    ///
    /// # Errors
    /// [`Exit::Io`]; [`Exit::DoesNotFit`] when that is more than `budget`.
    pub(crate) fn finish(&mut self, budget: Option<u64>) -> Result<u64, Failure> {
        let len = self.file.seek(SeekFrom::End(0)).map_err(|e| self.failed(&e))?;
        match budget {
            Some(budget) if len > budget => Err(too_large(self.shown(), len, budget)),
            _ => Ok(len),
        }
    }

    /// SHA-256 of the whole file as lower-case hexadecimal.
    ///
    /// # Errors
    /// [`Exit::Io`].
    pub(crate) fn sha256(&mut self) -> Result<String, Failure> {
        let file = &mut self.file;
        let mut hash = Sha256::new();
        let result = file.rewind().and_then(|()| {
            let mut buffer = vec![0; BUFFER];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    len => hash.update(&buffer[..len]),
                }
            }
        });
        result.map_err(|e| Failure::io("read back", self.shown(), &e))?;
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Gives the finished file its name.
    ///
    /// # Errors
    /// [`Exit::Io`].
    pub(crate) fn commit(self) -> Result<(), Failure> {
        let Pending { target, temporary, .. } = self;
        temporary.rename(&target.path).map_err(|e| Failure::io("write", &target.shown, &e))
    }
}

fn create_beside(directory: &Path) -> io::Result<(Temporary, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o666);
    for attempt in 0..MAX_ATTEMPTS {
        let path = directory.join(format!(".flashwright-{}-{attempt}.tmp", process::id()));
        match Temporary::create(path, |path| options.open(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn too_large(path: &Path, len: u64, budget: u64) -> Failure {
    let message = format!(
        "{} would take {}, but may take {}: {} too many",
        path.display(),
        size::show(len),
        size::show(budget),
        size::show(len - budget)
    );
    Failure::new(Exit::DoesNotFit, message)
        .help("leave files out, compress harder (xz or zstd:22, --effort max, larger blocks), or enlarge the partition")
}
