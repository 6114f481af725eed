//! Where the bytes of a file come from, and reading them in any order.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::ContentError;

/// Random access to the bytes of some container (an archive, another image) that file data is taken from.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Fills `buffer` with the bytes at `offset` (from the start of this source).
    ///
    /// # Errors
    /// Whatever the source meets; [`io::ErrorKind::UnexpectedEof`] when it ends before the buffer is full.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

/// Bytes in memory, such as an image just made.
impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        let bytes = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What tells one state of a host file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device that holds the file.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
    /// Length in bytes.
    pub len: u64,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Identity {
    fn difference(self, now: Identity) -> Option<String> {
        if (self.device, self.inode) != (now.device, now.inode) {
            Some("another file has taken its place".into())
        } else if self.len != now.len {
            Some(format!("it had {} bytes, now it has {}", self.len, now.len))
        } else if self.mtime != now.mtime {
            Some("its modification time moved".into())
        } else {
            None
        }
    }
}

/// A regular file of the host, as it was when the tree was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    path: PathBuf,
    identity: Identity,
}

impl HostFile {
    /// The file at `path`, in the state that `metadata` describes.
    #[must_use]
    pub fn new(path: &Path, metadata: &Metadata) -> Self {
        Self::at(path.to_owned(), metadata.into())
    }

    /// The file at `path`, in the state `identity`: for callers who have asked the host already.
    #[must_use]
    pub const fn at(path: PathBuf, identity: Identity) -> Self {
        HostFile { path, identity }
    }

    /// Path on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state the file was in.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Opens the file, if it is still the one it was.
    ///
    /// # Errors
    /// [`ContentError::Io`], [`ContentError::Changed`].
    pub fn open(&self) -> Result<File, ContentError> {
        // NONBLOCK: were the file replaced by a fifo, opening it would wait for a writer for ever.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file =
            OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map_err(|e| self.io(e))?;
        self.check(&file)?;
        Ok(file)
    }

    /// Checks that the open `file` is in the state that the tree was made from.
    ///
    /// # Errors
    /// [`ContentError::Io`], [`ContentError::Changed`].
    pub fn check(&self, file: &File) -> Result<(), ContentError> {
        let now = Identity::from(&file.metadata().map_err(|e| self.io(e))?);
        match self.identity.difference(now) {
            None => Ok(()),
            Some(what) => Err(ContentError::Changed { path: self.path.clone(), what }),
        }
    }

    fn io(&self, error: io::Error) -> ContentError {
        ContentError::Io { path: self.path.clone(), error }
    }
}

/// What one extent of a file is made of.
#[derive(Debug, Clone)]
pub enum Source {
    /// Nothing: reads as zeros, and formats that can store it as a hole.
    Hole,
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A host file.
    Host(Arc<HostFile>),
    /// Anything else that can be read at an offset.
    Reader(Arc<dyn ReadAt>),
}

impl Source {
    /// Whether both are the same bytes in the same place, without looking at the bytes.
    pub(crate) fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Hole, Source::Hole) => true,
            (Source::Bytes(a), Source::Bytes(b)) => Arc::ptr_eq(a, b),
            (Source::Host(a), Source::Host(b)) => Arc::ptr_eq(a, b),
            (Source::Reader(a), Source::Reader(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A range of a file that has one source.
#[derive(Debug, Clone)]
pub struct Extent {
    /// First byte, from the start of the file.
    pub start: u64,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// Where the bytes are.
    pub source: Source,
    /// First byte within the source; 0 for a hole.
    pub source_offset: u64,
}

/// The data of a regular file: extents in order, without gaps. A copy shares them.
#[derive(Debug, Clone)]
pub struct Content(Extents);

#[derive(Debug, Clone)]
enum Extents {
    Empty,
    Listed(Arc<Vec<Extent>>),
    /// One host file from its first byte to its last, as most files are: a list of one would take more memory.
    Host(Arc<HostFile>),
}

impl Default for Content {
    fn default() -> Self {
        Content::empty()
    }
}

impl Content {
    /// No data: a file of 0 bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Content(Extents::Empty)
    }

    /// Extents in order, without gaps.
    pub(crate) fn from_extents(extents: Vec<Extent>) -> Self {
        Content(if extents.is_empty() { Extents::Empty } else { Extents::Listed(extents.into()) })
    }

    /// Data in memory.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Content::empty().with(Source::Bytes(bytes), 0, len)
    }

    /// The whole of a host file, without regard to holes.
    #[must_use]
    pub fn from_host(file: Arc<HostFile>) -> Self {
        if file.identity.len == 0 { Content::empty() } else { Content(Extents::Host(file)) }
    }

    /// This content with `len` bytes more, found at `source_offset` of `source`. Holes that touch are joined.
    ///
    /// # Panics
    /// When the file would pass 2^64 - 1 bytes.
    #[must_use]
    pub fn with(self, source: Source, source_offset: u64, len: u64) -> Self {
        if len == 0 {
            return self;
        }
        let start = self.len();
        assert!(start.checked_add(len).is_some(), "a file has at most 2^64 - 1 bytes");
        let mut shared = match self.0 {
            Extents::Listed(extents) => extents,
            Extents::Empty | Extents::Host(_) => self.extents().into_owned().into(),
        };
        let extents = Arc::make_mut(&mut shared);
        match (extents.last_mut(), &source) {
            (Some(last), Source::Hole) if matches!(last.source, Source::Hole) => last.len += len,
            (last, _) => {
                if last.is_none() {
                    // Most files have one, and a list grows by several.
                    extents.reserve_exact(1);
                }
                extents.push(Extent { start, len, source, source_offset });
            }
        }
        Content(Extents::Listed(shared))
    }

    /// Length in bytes, holes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Extents::Empty => 0,
            Extents::Listed(extents) => extents.last().map_or(0, |last| last.start + last.len),
            Extents::Host(file) => file.identity.len,
        }
    }

    /// True for a file of 0 bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Extents::Empty)
    }

    /// The extents, in order of their position.
    #[must_use]
    pub fn extents(&self) -> Cow<'_, [Extent]> {
        match &self.0 {
            Extents::Empty => Cow::Borrowed(&[]),
            Extents::Listed(extents) => Cow::Borrowed(extents),
            Extents::Host(file) => {
                let source = Source::Host(Arc::clone(file));
                Cow::Owned(vec![Extent { start: 0, len: file.identity.len, source, source_offset: 0 }])
            }
        }
    }

    /// Bytes from `offset` on that lie in one hole, so that they need not be read; 0 where data begins, and past the end.
    #[must_use]
    pub fn hole_at(&self, offset: u64) -> u64 {
        let Extents::Listed(extents) = &self.0 else { return 0 };
        match extents.get(extent_at(extents, offset)) {
            Some(extent) if matches!(extent.source, Source::Hole) => extent.start + extent.len - offset,
            _ => 0,
        }
    }

    /// True when `len` bytes from `offset` lie in one hole.
    #[must_use]
    pub fn is_hole(&self, offset: u64, len: u64) -> bool {
        let hole = self.hole_at(offset);
        hole > 0 && len <= hole
    }

    /// Starts reading. Host files are opened when first needed, one at a time.
    #[must_use]
    pub const fn reader(&self) -> ContentReader<'_> {
        ContentReader { content: self, open: None }
    }

    /// All the data at once: for tests and small files.
    ///
    /// # Errors
    /// As [`ContentReader::read_exact_at`] and [`ContentReader::finish`].
    pub fn to_vec(&self) -> Result<Vec<u8>, ContentError> {
        let len = usize::try_from(self.len()).map_err(|e| ContentError::Source(io::Error::other(e)))?;
        let mut bytes = vec![0; len];
        let mut reader = self.reader();
        reader.read_exact_at(0, &mut bytes)?;
        reader.finish()?;
        Ok(bytes)
    }
}

/// Index of the extent that holds byte `offset`; the number of extents when it is past the end.
fn extent_at(extents: &[Extent], offset: u64) -> usize {
    extents.partition_point(|extent| extent.start + extent.len <= offset)
}

/// Reads a [`Content`] at any offset, and notices host files that change meanwhile.
#[derive(Debug)]
pub struct ContentReader<'a> {
    content: &'a Content,
    /// The host file that was needed last, and the index of its extent.
    open: Option<(Arc<HostFile>, File)>,
}

impl ContentReader<'_> {
    /// Fills `buffer` with the file's bytes from `offset` on.
    ///
    /// # Errors
    /// [`ContentError::Io`] and [`ContentError::Source`] as the host or source says, [`ContentError::Changed`] when
    /// a host file is not what it was. Asking for bytes past the end is [`ContentError::Source`].
    pub fn read_exact_at(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), ContentError> {
        let extents = self.content.extents();
        let mut index = extent_at(&extents, offset);
        while !buffer.is_empty() {
            let Some(extent) = extents.get(index) else {
                return Err(ContentError::Source(io::ErrorKind::UnexpectedEof.into()));
            };
            let skip = offset - extent.start;
            let len = usize::try_from(extent.len - skip).unwrap_or(usize::MAX).min(buffer.len());
            let (now, later) = buffer.split_at_mut(len);
            self.read_extent(extent, skip, now)?;
            buffer = later;
            offset += len as u64;
            index += 1;
        }
        Ok(())
    }

    fn read_extent(&mut self, extent: &Extent, skip: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        let offset = extent.source_offset + skip;
        match &extent.source {
            Source::Hole => buffer.fill(0),
            Source::Bytes(bytes) => {
                let range =
                    usize::try_from(offset).ok().and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                let range = range.ok_or_else(|| ContentError::Source(io::ErrorKind::UnexpectedEof.into()))?;
                buffer.copy_from_slice(range);
            }
            Source::Reader(reader) => reader.read_exact_at(offset, buffer).map_err(ContentError::Source)?,
            Source::Host(host) => read_host(host, self.host_file(host)?, offset, buffer)?,
        }
        Ok(())
    }

    fn host_file(&mut self, host: &Arc<HostFile>) -> Result<&File, ContentError> {
        if !matches!(&self.open, Some((open, _)) if Arc::ptr_eq(open, host)) {
            self.check_open()?;
            self.open = None;
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            none => Ok(&none.insert((Arc::clone(host), host.open()?)).1),
        }
    }

    fn check_open(&self) -> Result<(), ContentError> {
        self.open.as_ref().map_or(Ok(()), |(host, file)| host.check(file))
    }

    /// Ends the reading with a last look whether the host file is still what it was. Without this call a change
    /// during the last read goes unnoticed.
    ///
    /// # Errors
    /// [`ContentError::Changed`], [`ContentError::Io`].
    pub fn finish(self) -> Result<(), ContentError> {
        self.check_open()
    }
}

fn read_host(host: &HostFile, file: &File, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
    FileExt::read_exact_at(file, buffer, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => match host.check(file) {
            Err(changed) => changed,
            Ok(()) => host.io(error),
        },
        _ => host.io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn host(path: &Path) -> Arc<HostFile> {
        Arc::new(HostFile::new(path, &fs::metadata(path).unwrap()))
    }

    #[test]
    fn extents_read_as_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"0123456789").unwrap();
        let content = Content::from_bytes(&b"abc"[..])
            .with(Source::Hole, 0, 2)
            .with(Source::Hole, 0, 1)
            .with(Source::Host(host(&path)), 4, 3)
            .with(Source::Reader(Arc::new(File::open(&path).unwrap())), 8, 2);
        assert_eq!(content.extents().len(), 4);
        assert_eq!(content.to_vec().unwrap(), b"abc\0\0\x0045689");
        let mut middle = [9; 4];
        content.reader().read_exact_at(5, &mut middle).unwrap();
        assert_eq!(&middle, b"\x00456");
        assert!(
            content.is_hole(3, 3)
                && !content.is_hole(2, 2)
                && !content.is_hole(4, 3)
                && !content.is_hole(11, 1)
        );
        assert!(content.reader().read_exact_at(10, &mut middle).is_err());
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"0123456789").unwrap();
        let content = Content::from_host(host(&path));

        let mut reader = content.reader();
        reader.read_exact_at(0, &mut [0; 5]).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        assert!(matches!(reader.finish(), Err(ContentError::Changed { .. })));

        let error = content.to_vec().unwrap_err();
        assert!(error.to_string().contains("it had 10 bytes, now it has 11"), "{error}");

        fs::remove_file(&path).unwrap();
        assert!(matches!(content.to_vec(), Err(ContentError::Io { .. })));
    }
}
