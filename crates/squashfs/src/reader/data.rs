//! File data: blocks and tails, unpacked when somebody reads them, through one small cache for all files.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flashwright_tree::{Content, ReadAt, Source};

use super::ReadError;
use super::inode::FileBody;
use super::input::Input;
use super::limits::Budget;
use super::unpack::{Stored, Unpacker};
use crate::format::FragmentEntry;

/// Bytes of unpacked blocks that are kept; at least [`MIN_CACHED`] blocks whatever their size.
const CACHE_BYTES: u32 = 8 << 20;
const MIN_CACHED: usize = 4;
const MAX_CACHED: usize = 64;
/// Size words between two remembered positions of a file's blocks.
const MARK_STEP: usize = 64;
/// Memory of one run of holes or data while and after the content is made, bytes, roughly.
const RUN_COST: u64 = 96;

/// What all files of one image share.
#[derive(Debug)]
pub(super) struct DataStore {
    pub(super) input: Input,
    pub(super) unpacker: Unpacker,
    pub(super) block_size: u32,
    pub(super) fragments: Vec<FragmentEntry>,
    cache: Mutex<Cache>,
}

/// Unpacked blocks by their position in the image, the one used last at the end.
#[derive(Debug)]
struct Cache {
    blocks: Vec<(u64, Arc<[u8]>)>,
    capacity: usize,
}

impl Cache {
    fn get(&mut self, key: u64) -> Option<Arc<[u8]>> {
        let index = self.blocks.iter().position(|&(offset, _)| offset == key)?;
        let block = self.blocks.remove(index);
        let bytes = Arc::clone(&block.1);
        self.blocks.push(block);
        Some(bytes)
    }

    fn put(&mut self, key: u64, bytes: Arc<[u8]>) {
        if self.blocks.iter().any(|&(offset, _)| offset == key) {
            return;
        }
        if self.blocks.len() >= self.capacity {
            self.blocks.remove(0);
        }
        self.blocks.push((key, bytes));
    }
}

impl DataStore {
    pub(super) fn new(
        input: Input,
        unpacker: Unpacker,
        block_size: u32,
        fragments: Vec<FragmentEntry>,
    ) -> Self {
        let capacity = CACHE_BYTES.checked_div(block_size).unwrap_or_default() as usize;
        let capacity = capacity.clamp(MIN_CACHED, MAX_CACHED);
        let cache = Mutex::new(Cache { blocks: Vec::new(), capacity });
        DataStore { input, unpacker, block_size, fragments, cache }
    }

    /// What `unpack` makes of the block at `offset`, from the cache when it is there.
    fn cached(
        &self,
        offset: u64,
        unpack: impl FnOnce() -> Result<Arc<[u8]>, ReadError>,
    ) -> Result<Arc<[u8]>, ReadError> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().get(offset) {
            return Ok(bytes);
        }
        // Without the lock: another thread may want another block meanwhile.
        let bytes = unpack()?;
        lock().put(offset, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Where the fragment block of that index is stored.
    pub(super) fn fragment_at(&self, index: u32) -> Result<Stored, ReadError> {
        let entry = usize::try_from(index).ok().and_then(|index| self.fragments.get(index));
        let Some(entry) = entry else {
            let expected = format!("a fragment index below {}", self.fragments.len());
            return Err(ReadError::corrupt("inode", expected, index));
        };
        Stored::from_word(entry.start_block.get(), entry.size.get(), self.block_size, "fragment block")
    }

    /// The unpacked fragment block of that index.
    pub(super) fn fragment(&self, index: u32) -> Result<Arc<[u8]>, ReadError> {
        let stored = self.fragment_at(index)?;
        self.cached(stored.offset, || {
            let mut bytes = vec![0; self.block_size as usize];
            let len = self.unpacker.unpack(&self.input, stored, &mut bytes, "fragment block")?;
            bytes.truncate(len);
            Ok(bytes.into())
        })
    }

    /// Unpacks one data block into `output`, which has the block's unpacked length.
    pub(super) fn block_into(&self, stored: Stored, output: &mut [u8]) -> Result<(), ReadError> {
        self.unpacker.unpack_exact(&self.input, stored, output, "data block")
    }

    /// `buffer` from byte `skip` on of a data block that has `len` bytes unpacked.
    fn read_block(
        &self,
        stored: Stored,
        len: usize,
        skip: usize,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        if buffer.len() == len {
            return self.block_into(stored, buffer);
        }
        let block = self.cached(stored.offset, || {
            let mut bytes = vec![0; len];
            self.block_into(stored, &mut bytes)?;
            Ok(bytes.into())
        })?;
        copy_part(&block, skip, buffer, "data block").map_err(|error| error.at(stored.offset))
    }

    /// The tail of a file: `buffer` from byte `start` on of a fragment block.
    fn read_fragment(&self, index: u32, start: usize, buffer: &mut [u8]) -> Result<(), ReadError> {
        let block = self.fragment(index)?;
        copy_part(&block, start, buffer, "file's tail")
            .map_err(|error| self.fragment_at(index).map_or_else(|e| e, |stored| error.at(stored.offset)))
    }
}

fn copy_part(block: &[u8], start: usize, buffer: &mut [u8], what: &'static str) -> Result<(), ReadError> {
    let part = block.get(start..).and_then(|block| block.get(..buffer.len()));
    let Some(part) = part else {
        let expected = format!("{} bytes from byte {start} of the unpacked block", buffer.len());
        return Err(ReadError::corrupt(what, expected, format!("a block of {} bytes", block.len())));
    };
    buffer.copy_from_slice(part);
    Ok(())
}

/// The stored data of one file.
#[derive(Debug)]
struct FileData {
    store: Arc<DataStore>,
    inode: u32,
    body: FileBody,
    /// Position of every [`MARK_STEP`]th block.
    marks: Vec<u64>,
}

impl FileData {
    fn new(store: Arc<DataStore>, inode: u32, body: FileBody) -> Self {
        let mut position = body.start;
        let marks = body.words.chunks(MARK_STEP).map(|words| {
            let mark = position;
            position = skip_blocks(position, words);
            mark
        });
        let marks = marks.collect();
        FileData { store, inode, body, marks }
    }

    /// Where data block `index` is stored; `None` for a hole, or behind the last block.
    fn block(&self, index: usize) -> Result<Option<Stored>, ReadError> {
        let Some(&word) = self.body.words.get(index).filter(|&&word| word != 0) else { return Ok(None) };
        let mark = index.checked_div(MARK_STEP).unwrap_or_default();
        let before = self.body.words.get(mark.saturating_mul(MARK_STEP)..index).unwrap_or_default();
        let offset = skip_blocks(self.marks.get(mark).copied().unwrap_or_default(), before);
        Stored::from_word(offset, word, self.store.block_size, "data block").map(Some)
    }

    /// Reads as much of `buffer` as one block has from `offset` on; returns how much that was.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let block_size = u64::from(self.store.block_size);
        let index = offset.checked_div(block_size).and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or(usize::MAX);
        // Below the block size, which has 21 bits.
        let skip = usize::try_from(offset.checked_rem(block_size).unwrap_or_default()).unwrap_or_default();
        let in_fragment = index >= self.body.words.len();
        let len = if in_fragment {
            self.body.tail_len(self.store.block_size)
        } else {
            self.body.block_len(index, self.store.block_size)
        } as usize;
        let take = len.saturating_sub(skip).min(buffer.len());
        let part = buffer.get_mut(..take).unwrap_or_default();
        match (in_fragment, self.body.fragment) {
            (true, Some((fragment, start))) => {
                self.store.read_fragment(fragment, skip.saturating_add(start as usize), part)?;
            }
            (true, None) => return Ok(0),
            (false, _) => match self.block(index)? {
                Some(stored) => self.store.read_block(stored, len, skip, part)?,
                None => part.fill(0),
            },
        }
        Ok(take)
    }
}

/// Position after blocks of these size words.
pub(super) fn skip_blocks(position: u64, words: &[u32]) -> u64 {
    let len = |&word: &u32| u64::from(word & !crate::format::DATA_UNCOMPRESSED);
    words.iter().map(len).fold(position, u64::saturating_add)
}

impl ReadAt for FileData {
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let done = self.read_some(offset, buffer).map_err(|error| error.in_inode(self.inode))?;
            if done == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset = offset.saturating_add(done as u64);
            buffer = buffer.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The content of a file: holes for blocks that are not stored, the rest read when it is wanted.
pub(super) fn content(
    store: &Arc<DataStore>,
    inode: u32,
    body: FileBody,
    budget: &mut Budget,
) -> Result<Content, ReadError> {
    budget.charge(run_count(&body).saturating_mul(RUN_COST), "holes of files")?;
    let runs = runs(&body, store.block_size);
    if runs.iter().all(|&(hole, _)| hole) {
        let only_holes = |content: Content, &(_, len): &(bool, u64)| content.with(Source::Hole, 0, len);
        return Ok(runs.iter().fold(Content::empty(), only_holes));
    }
    let data: Arc<dyn ReadAt> = Arc::new(FileData::new(Arc::clone(store), inode, body));
    Ok(runs.into_iter().fold(Content::empty(), |content, (hole, len)| {
        let offset = content.len();
        let source = if hole { Source::Hole } else { Source::Reader(Arc::clone(&data)) };
        content.with(source, offset, len)
    }))
}

/// How many runs there are at most.
fn run_count(body: &FileBody) -> u64 {
    let changes = body.words.windows(2).filter(|pair| matches!(pair, [a, b] if (*a == 0) != (*b == 0)));
    (changes.count() as u64).saturating_add(2)
}

/// Runs of holes and of data, in order: whether it is a hole, and its length. A tail counts as data.
fn runs(body: &FileBody, block_size: u32) -> Vec<(bool, u64)> {
    let mut runs: Vec<(bool, u64)> = Vec::new();
    let mut add = |hole: bool, len: u64| match runs.last_mut() {
        Some(last) if last.0 == hole => last.1 = last.1.saturating_add(len),
        _ => runs.push((hole, len)),
    };
    for (index, &word) in body.words.iter().enumerate() {
        add(word == 0, u64::from(body.block_len(index, block_size)));
    }
    add(false, u64::from(body.tail_len(block_size)));
    runs.retain(|&(_, len)| len > 0);
    runs
}
