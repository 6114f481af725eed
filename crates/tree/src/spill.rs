//! Bytes in memory, and what is too much for it in a file without a name.
//!
//! ```text
//! 0                    limit                      len
//! ├── pages in memory ──┼── temporary file ────────┤
//! ```
//!
//! Nothing moves between the two, so nothing is kept in order to decide that: what comes first stays in memory, what
//! comes later is read from the file each time. The kernel keeps what is in use of it in its page cache.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::TreeError;

/// Bytes of a page in memory: pages are never moved, as one growing buffer would be.
const PAGE: usize = 64 << 10;

/// Bytes that grow at their end.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    pages: Vec<Box<[u8]>>,
    len: u64,
    overflow: Option<Overflow>,
}

#[derive(Debug)]
struct Overflow {
    directory: PathBuf,
    /// Bytes that stay in memory, whole pages.
    limit: u64,
    file: Option<File>,
}

impl Spill {
    /// Keeps `limit` bytes in memory, rounded up to whole pages; the rest goes to an unnamed file in `directory`.
    pub(crate) fn new(directory: &Path, limit: u64) -> Self {
        let limit = limit.next_multiple_of(PAGE as u64);
        let overflow = Some(Overflow { directory: directory.to_owned(), limit, file: None });
        Spill { overflow, ..Spill::default() }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that stay in memory, however many there are.
    fn limit(&self) -> u64 {
        self.overflow.as_ref().map_or(u64::MAX, |overflow| overflow.limit)
    }

    /// `len` bytes from `start` on, which must be there.
    ///
    /// # Panics
    /// When the temporary file cannot be read: it is this program's memory, and as lost as if that failed.
    pub(crate) fn read(&self, start: u64, len: usize) -> Cow<'_, [u8]> {
        let (page, within) = place(start);
        let in_memory = self.pages.get(page).and_then(|page| page.get(within..)?.get(..len));
        in_memory.map_or_else(|| Cow::Owned(self.read_pieces(start, len)), Cow::Borrowed)
    }

    fn read_pieces(&self, start: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let (mut at, mut rest) = (start, &mut bytes[..]);
        while !rest.is_empty() {
            let (page, within) = place(at);
            let done = if let Some(page) = self.pages.get(page) {
                let len = rest.len().min(PAGE - within);
                rest[..len].copy_from_slice(&page[within..within + len]);
                len
            } else {
                let file = self.overflow.as_ref().and_then(|overflow| overflow.file.as_ref());
                let read = file.map_or_else(
                    || Err(io::ErrorKind::UnexpectedEof.into()),
                    |file| file.read_exact_at(rest, at - self.limit()),
                );
                read.unwrap_or_else(|e| panic!("cannot read the temporary file of a large tree: {e}"));
                rest.len()
            };
            at += done as u64;
            rest = &mut rest[done..];
        }
        bytes
    }

    /// Writes over what is there, or at the end.
    ///
    /// # Errors
    /// [`TreeError::Spill`].
    pub(crate) fn write(&mut self, start: u64, mut bytes: &[u8]) -> Result<(), TreeError> {
        let end = start + bytes.len() as u64;
        let mut at = start;
        while !bytes.is_empty() {
            let done = if at < self.limit() {
                let (page, within) = place(at);
                self.ensure_page(page);
                let len = bytes.len().min(PAGE - within);
                self.pages[page][within..within + len].copy_from_slice(&bytes[..len]);
                len
            } else {
                self.write_file(at, bytes)?;
                bytes.len()
            };
            at += done as u64;
            bytes = &bytes[done..];
        }
        self.len = self.len.max(end);
        Ok(())
    }

    fn ensure_page(&mut self, page: usize) {
        while self.pages.len() <= page {
            self.pages.push(vec![0; PAGE].into_boxed_slice());
        }
    }

    fn write_file(&mut self, at: u64, bytes: &[u8]) -> Result<(), TreeError> {
        let Some(overflow) = &mut self.overflow else {
            unreachable!("without a file all is below the limit")
        };
        let failed =
            |error, directory: &Path| Err(TreeError::Spill { directory: directory.to_owned(), error });
        let file = match &mut overflow.file {
            Some(file) => file,
            none => match tempfile::tempfile_in(&overflow.directory) {
                Ok(file) => none.insert(file),
                Err(error) => return failed(error, &overflow.directory),
            },
        };
        file.write_all_at(bytes, at - overflow.limit).or_else(|error| failed(error, &overflow.directory))
    }

    /// Takes bytes off the end.
    fn shorten(&mut self, len: u64) {
        self.len = len;
    }
}

/// A copy is in memory, whole.
impl Clone for Spill {
    fn clone(&self) -> Self {
        let mut copy = Spill::default();
        let mut at = 0;
        while at < self.len {
            // At most a page.
            let len = usize::try_from(self.len - at).unwrap_or(PAGE).min(PAGE);
            let mut page = self.read(at, len).into_owned();
            page.resize(PAGE, 0);
            copy.pages.push(page.into_boxed_slice());
            at += len as u64;
        }
        copy.len = self.len;
        copy
    }
}

/// Number of the page that has that byte, and where in it.
fn place(at: u64) -> (usize, usize) {
    let page = PAGE as u64;
    // No memory has more pages than its address space, and the rest is less than a page.
    (usize::try_from(at / page).unwrap_or(usize::MAX), usize::try_from(at % page).unwrap_or(0))
}

/// A table of numbers, most often one for each node of a tree, by [`NodeId::index`](crate::NodeId::index). Made by
/// [`Tree::column`](crate::Tree::column), it keeps beyond some millions of them in a temporary file if the tree does.
#[derive(Debug, Clone, Default)]
pub struct Column {
    bytes: Spill,
}

/// Bytes of a number.
const NUMBER: u64 = 4;
/// What a column keeps in memory when it may use a file, bytes: two million numbers.
const COLUMN_LIMIT: u64 = 8 << 20;

impl Column {
    /// An empty table that uses a file in `directory` when it gets large.
    #[must_use]
    pub fn spilling(directory: &Path) -> Self {
        Column { bytes: Spill::new(directory, COLUMN_LIMIT) }
    }

    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.bytes.len() / NUMBER).unwrap_or(usize::MAX)
    }

    /// True without any number.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.len() == 0
    }

    /// The number of that index; 0 beyond the last.
    ///
    /// # Panics
    /// When the temporary file cannot be read.
    #[must_use]
    pub fn get(&self, index: usize) -> u32 {
        if index >= self.len() {
            return 0;
        }
        let bytes = self.bytes.read(index as u64 * NUMBER, 4);
        u32::from_le_bytes(bytes.as_ref().try_into().unwrap_or_default())
    }

    /// Sets a number. Those between the last and a new one are 0.
    ///
    /// # Errors
    /// [`TreeError::Spill`].
    pub fn set(&mut self, index: usize, number: u32) -> Result<(), TreeError> {
        while self.len() < index {
            self.bytes.write(self.bytes.len(), &[0; 4])?;
        }
        self.bytes.write(index as u64 * NUMBER, &number.to_le_bytes())
    }

    /// Appends a number.
    ///
    /// # Errors
    /// [`TreeError::Spill`].
    pub fn push(&mut self, number: u32) -> Result<(), TreeError> {
        self.set(self.len(), number)
    }

    /// Takes the last number away.
    ///
    /// # Panics
    /// As [`Column::get`].
    pub fn pop(&mut self) -> Option<u32> {
        let last = self.len().checked_sub(1)?;
        let number = self.get(last);
        self.bytes.shorten(last as u64 * NUMBER);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_in_memory_and_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut spilled = Spill::new(folder.path(), 1);
        let mut whole = Spill::default();
        let all: Vec<u8> = (0..=250).cycle().take(5 * PAGE / 2).collect();
        for part in all.chunks(1000) {
            spilled.write(spilled.len(), part).unwrap();
            whole.write(whole.len(), part).unwrap();
        }
        for (start, len) in [(0, 10), (PAGE - 3, 7), (PAGE, 1), (PAGE - 10, PAGE + 20), (2 * PAGE + 1, 9)] {
            assert_eq!(*spilled.read(start as u64, len), all[start..start + len]);
            assert_eq!(*whole.read(start as u64, len), all[start..start + len]);
        }
        assert_eq!((spilled.pages.len(), whole.pages.len()), (1, 3));
        spilled.write(PAGE as u64 - 2, b"abcd").unwrap();
        assert_eq!(
            *spilled.clone().read(PAGE as u64 - 3, 6),
            [all[PAGE - 3], b'a', b'b', b'c', b'd', all[PAGE + 2]]
        );
    }

    #[test]
    fn numbers_stay_where_they_were_put() {
        let folder = tempfile::tempdir().unwrap();
        let mut column = Column { bytes: Spill::new(folder.path(), 1) };
        column.set(20_000, 7).unwrap();
        column.push(8).unwrap();
        assert_eq!([0, 19_999, 20_000, 20_001, 99_999].map(|at| column.get(at)), [0, 0, 7, 8, 0]);
        assert_eq!((column.pop(), column.pop(), column.len()), (Some(8), Some(7), 20_000));
        column.push(9).unwrap();
        assert_eq!(column.get(20_000), 9);
    }

    #[test]
    fn a_folder_that_takes_no_file_is_an_error() {
        let mut column = Column { bytes: Spill::new(Path::new("/nonexistent"), 1) };
        let error = column.set(20_000, 7).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
