//! Where an image comes from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use flashwright_media::UbiError;

/// The bytes of an image: readable anywhere and again, or once and in order.
pub trait Source {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each byte can be read once only, in order, as those of a pipe.
    fn is_pipe(&self) -> bool;

    /// Reads all of `bytes` at `offset` bytes from the start of the image.
    ///
    /// # Errors
    /// [`SourceError`] when the image is shorter than its length, has changed, or cannot be read.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError>;
}

/// An image that cannot be read. One word in size, as every read hands it up.
#[derive(Debug)]
pub struct SourceError(Box<SourceFailure>);

/// What is known of an image that cannot be read: where, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct SourceFailure {
    /// Bytes from the start of the image.
    pub offset: u64,
    /// Why.
    pub fault: SourceFault,
}

impl SourceError {
    /// It cannot be read there, for that reason.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(offset: u64, fault: SourceFault) -> Self {
        SourceError(Box::new(SourceFailure { offset, fault }))
    }
}

impl std::ops::Deref for SourceError {
    type Target = SourceFailure;

    fn deref(&self) -> &SourceFailure {
        &self.0
    }
}

/// Why an image cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceFault {
    /// It ends there, before its length.
    Ended {
        /// Bytes that it should have.
        len: u64,
    },
    /// It was changed after it had been opened.
    Changed,
    /// A byte of a pipe was asked for again, or not in order.
    Gone,
    /// Reading failed.
    Io(io::Error),
    /// The volume that is read in its place cannot be read.
    Volume(UbiError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.fault {
            SourceFault::Ended { len } => {
                write!(f, "the image ends after {offset} bytes of {len}: give all of it, or its right length")
            }
            SourceFault::Changed => {
                write!(
                    f,
                    "the image changed while it was read (at {offset:#x}): run again when nobody writes it"
                )
            }
            SourceFault::Gone => {
                write!(f, "the image is a pipe: its bytes at {offset:#x} are not there again")
            }
            SourceFault::Io(error) => write!(f, "cannot read the image at {offset:#x}: {error}"),
            SourceFault::Volume(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            SourceFault::Io(error) => Some(error),
            SourceFault::Volume(error) => Some(error),
            _ => None,
        }
    }
}

impl SourceError {
    fn from_io(error: io::Error, offset: u64, len: u64) -> Self {
        let ended = error.kind() == io::ErrorKind::UnexpectedEof;
        let fault = if ended { SourceFault::Ended { len } } else { SourceFault::Io(error) };
        SourceError::new(offset, fault)
    }
}

/// Bytes in memory.
impl Source for &[u8] {
    fn len(&self) -> u64 {
        // A usize has at most 64 bits.
        <[u8]>::len(self) as u64
    }

    fn is_pipe(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError> {
        let len = Source::len(self);
        let part = usize::try_from(offset).ok().and_then(|start| self.get(start..)?.get(..bytes.len()));
        let part = part.ok_or(SourceError::new(len, SourceFault::Ended { len }))?;
        bytes.copy_from_slice(part);
        Ok(())
    }
}

/// What tells one state of a file from another: length, seconds and nanoseconds of its last change.
type Stamp = (u64, i64, i64);

fn stamp(file: &File) -> io::Result<Stamp> {
    file.metadata().map(|facts| (facts.len(), facts.mtime(), facts.mtime_nsec()))
}

/// A file. One that is changed after it was opened is an error at the next read.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    stamp: Stamp,
}

impl FileSource {
    /// The whole of a regular file.
    ///
    /// # Errors
    /// When its length cannot be had.
    pub fn new(file: File) -> io::Result<Self> {
        let stamp = stamp(&file)?;
        Ok(FileSource { file, stamp })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.stamp.0
    }

    fn is_pipe(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError> {
        let failed = |error| SourceError::new(offset, SourceFault::Io(error));
        let read = self.file.read_exact_at(bytes, offset);
        if stamp(&self.file).map_err(failed)? != self.stamp {
            return Err(SourceError::new(offset, SourceFault::Changed));
        }
        read.map_err(|error| SourceError::from_io(error, offset, self.stamp.0))
    }
}

/// A pipe, of which the length is known beforehand.
pub struct PipeSource<R> {
    input: R,
    len: u64,
    position: u64,
}

impl<R: Read> PipeSource<R> {
    /// The next `len` bytes of `input`.
    pub const fn new(input: R, len: u64) -> Self {
        PipeSource { input, len, position: 0 }
    }
}

impl<R> fmt::Debug for PipeSource<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeSource").field("len", &self.len).field("position", &self.position).finish()
    }
}

impl<R: Read> Source for PipeSource<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_pipe(&self) -> bool {
        true
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError> {
        if offset != self.position {
            return Err(SourceError::new(offset, SourceFault::Gone));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let result = self.input.read(rest);
            let fail = |fault| Err(SourceError::new(self.position, fault));
            match result {
                Ok(0) => return fail(SourceFault::Ended { len: self.len }),
                Ok(count) => {
                    // A usize has at most 64 bits; a reader that says more than it was asked for is not believed.
                    self.position = self.position.saturating_add(count as u64);
                    rest = rest.get_mut(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return fail(SourceFault::Io(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(source: &mut dyn Source, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        source.read_at(offset, &mut bytes).map(|()| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn memory_can_be_read_anywhere() {
        let mut source = &b"flash"[..];
        assert_eq!(read(&mut source, 1, 3).unwrap(), b"las");
        for (offset, len) in [(3, 3), (6, 0), (u64::MAX, 1)] {
            let error = read(&mut source, offset, len).unwrap_err();
            assert_eq!(error, "the image ends after 5 bytes of 5: give all of it, or its right length");
        }
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"flash").unwrap();
        let mut source = FileSource::new(file.try_clone().unwrap()).unwrap();
        assert_eq!((source.len(), read(&mut source, 3, 2).unwrap()), (5, b"sh".to_vec()));
        file.set_len(3).unwrap();
        let error = read(&mut source, 3, 2).unwrap_err();
        assert_eq!(error, "the image changed while it was read (at 0x3): run again when nobody writes it");
    }

    #[test]
    fn a_pipe_is_read_once() {
        let mut input = &b"flashwright"[..];
        let mut source = PipeSource::new(&mut input, 20);
        assert_eq!(read(&mut source, 0, 5).unwrap(), b"flash");
        let error = read(&mut source, 0, 5).unwrap_err();
        assert_eq!(error, "the image is a pipe: its bytes at 0x0 are not there again");
        assert_eq!(read(&mut source, 5, 2).unwrap(), b"wr");
        let error = read(&mut source, 7, 13).unwrap_err();
        assert_eq!(error, "the image ends after 11 bytes of 20: give all of it, or its right length");
    }
}
