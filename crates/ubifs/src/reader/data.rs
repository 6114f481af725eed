//! File data: blocks, unpacked when somebody reads them.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flashwright_codec::{CodecError, Decompressor, deflate, lzo, zstd};
use flashwright_tree::{Content, ReadAt, Source};

use super::ReadError;
use super::index::{Index, Leaf};
use super::input::{Input, fixed};
use super::limits::Budget;
use crate::format::{BLOCK_SIZE, ComprType, DataNode, Key, KeyType, MAX_FILE_SIZE, NodeType};

const BLOCK: usize = BLOCK_SIZE as usize;
const BLOCK_LEN: u64 = BLOCK_SIZE as u64;
/// Memory of one block of a file, bytes, roughly.
const BLOCK_COST: u64 = 24;
/// Memory of one run of blocks or hole, bytes, roughly.
const RUN_COST: u64 = 96;

/// Decompressors of one thread, made when first needed.
#[derive(Default)]
struct Decoders {
    lzo: Option<Box<dyn Decompressor>>,
    zlib: Option<Box<dyn Decompressor>>,
    zstd: Option<Box<dyn Decompressor>>,
}

impl Decoders {
    fn get(&mut self, compr_type: ComprType) -> Result<Option<&mut Box<dyn Decompressor>>, CodecError> {
        Ok(Some(match compr_type {
            ComprType::None => return Ok(None),
            ComprType::Lzo => self.lzo.get_or_insert_with(lzo::decompressor),
            ComprType::Zlib => self.zlib.get_or_insert_with(deflate::decompressor),
            ComprType::Zstd => match &mut self.zstd {
                Some(decoder) => decoder,
                none => none.insert(zstd::decompressor()?),
            },
        }))
    }
}

/// What all files of one image share.
pub(super) struct DataStore {
    input: Input,
    decoders: Mutex<Vec<Decoders>>,
    /// The block that was unpacked last, for readers that take small pieces.
    last: Mutex<Option<(Key, Arc<[u8]>)>>,
}

impl fmt::Debug for DataStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataStore").field("input", &self.input).finish_non_exhaustive()
    }
}

impl DataStore {
    pub(super) fn new(input: Input) -> Self {
        DataStore { input, decoders: Mutex::default(), last: Mutex::default() }
    }

    /// Unpacks a block into `output`, which has a block's length; what is not stored becomes zero. Returns the length
    /// that is stored.
    pub(super) fn block(&self, key: Key, leaf: Leaf, output: &mut [u8]) -> Result<usize, ReadError> {
        self.unpack(key, leaf, output).map_err(|error| error.at(leaf.place).in_inode(key.inum))
    }

    fn unpack(&self, key: Key, leaf: Leaf, output: &mut [u8]) -> Result<usize, ReadError> {
        let what = NodeType::Data.name();
        let bytes = self.input.node(leaf.place, leaf.len, NodeType::Data)?;
        let node = fixed::<DataNode>(&bytes, what)?;
        let found = Key::from_node(node.key);
        if found != key {
            return Err(ReadError::corrupt(what, key, found));
        }
        let (size, stored) =
            (node.size.get() as usize, bytes.get(DataNode::LEN as usize..).unwrap_or_default());
        let compr_type = ComprType::from_number(node.compr_type.get())
            .ok_or_else(|| ReadError::corrupt("compression", "0 to 3", node.compr_type))?;
        let room = output.get_mut(..size).filter(|room| !room.is_empty());
        let room = room.ok_or_else(|| ReadError::corrupt(what, format!("1 to {BLOCK} bytes"), size))?;
        let len = self.decode(compr_type, stored, room)?;
        if len != size {
            return Err(ReadError::corrupt(what, format!("{size} bytes unpacked"), len));
        }
        output.get_mut(size..).unwrap_or_default().fill(0);
        Ok(size)
    }

    fn decode(&self, compr_type: ComprType, stored: &[u8], room: &mut [u8]) -> Result<usize, ReadError> {
        let pool = || self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decoders = pool().pop().unwrap_or_default();
        let what = NodeType::Data.name();
        let len = match decoders.get(compr_type) {
            Ok(Some(decoder)) => decoder.decompress(stored, room).map_err(|e| ReadError::unpack(what, e))?,
            Ok(None) if stored.len() == room.len() => {
                room.copy_from_slice(stored);
                stored.len()
            }
            Ok(None) => stored.len(),
            Err(error) => return Err(ReadError::unpack(what, error)),
        };
        pool().push(decoders);
        Ok(len)
    }

    fn cached(&self, key: Key, leaf: Leaf) -> Result<Arc<[u8]>, ReadError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last().as_ref().filter(|(known, _)| *known == key) {
            return Ok(Arc::clone(bytes));
        }
        let mut bytes = vec![0; BLOCK];
        self.block(key, leaf, &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        *last() = Some((key, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

/// The blocks of one file, by number.
#[derive(Debug)]
struct FileData {
    store: Arc<DataStore>,
    inum: u32,
    blocks: Vec<(u32, Leaf)>,
}

impl FileData {
    fn read_block(&self, block: u64, skip: usize, buffer: &mut [u8]) -> Result<(), ReadError> {
        let number = u32::try_from(block).unwrap_or(u32::MAX);
        let found = self.blocks.binary_search_by_key(&number, |&(block, _)| block).ok();
        let Some(&(_, leaf)) = found.and_then(|index| self.blocks.get(index)) else {
            buffer.fill(0);
            return Ok(());
        };
        let key = Key::data(self.inum, number);
        if buffer.len() == BLOCK {
            return self.store.block(key, leaf, buffer).map(drop);
        }
        let bytes = self.store.cached(key, leaf)?;
        let part = bytes.get(skip..).and_then(|rest| rest.get(..buffer.len())).unwrap_or_default();
        if part.len() == buffer.len() {
            buffer.copy_from_slice(part);
        }
        Ok(())
    }
}

impl ReadAt for FileData {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let skip = usize::try_from(at & (BLOCK_LEN - 1)).unwrap_or(0);
            let len = BLOCK.saturating_sub(skip).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            self.read_block(at / BLOCK_LEN, skip, now)?;
            at = at.saturating_add(len as u64);
            rest = later;
        }
        Ok(())
    }
}

/// The data of a file of `size` bytes: runs of blocks, and holes between them.
pub(super) fn content(
    store: &Arc<DataStore>,
    index: &Index,
    inum: u32,
    size: u64,
    budget: &mut Budget,
) -> Result<Content, ReadError> {
    if size > MAX_FILE_SIZE {
        return Err(ReadError::corrupt("size", format!("at most {MAX_FILE_SIZE} bytes"), size).in_inode(inum));
    }
    let end = size.div_ceil(BLOCK_LEN);
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut blocks = Vec::new();
    for (key, leaf) in index.range(inum, KeyType::Data) {
        let block = u64::from(key.value());
        // What is beyond the end is not seen.
        if block >= end {
            break;
        }
        budget.charge(BLOCK_COST, "blocks of files")?;
        blocks.push((key.value(), leaf));
        match runs.last_mut() {
            Some((_, run_end)) if *run_end == block => *run_end = block.saturating_add(1),
            _ => {
                budget.charge(RUN_COST, "holes of files")?;
                runs.push((block, block.saturating_add(1)));
            }
        }
    }
    let source = Source::Reader(Arc::new(FileData { store: Arc::clone(store), inum, blocks }));
    let mut content = Content::empty();
    for (first, last) in runs {
        let start = first.saturating_mul(BLOCK_LEN);
        let stop = last.saturating_mul(BLOCK_LEN).min(size);
        let hole = start.saturating_sub(content.len());
        content = content.with(Source::Hole, 0, hole);
        content = content.with(source.clone(), start, stop.saturating_sub(start));
    }
    let rest = size.saturating_sub(content.len());
    Ok(content.with(Source::Hole, 0, rest))
}
