//! File data through the pipeline: read and hash, decide what is a duplicate, compress, write.
//!
//! The driver sees the pieces of all files in order: the blocks of a file, then its tail. While a file's blocks equal
//! a run that is in the image already, they are not kept in memory; if the run ends before the file does, they are
//! read once more. So memory does not depend on the size of files, and a duplicate is never compressed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Write;
use std::num::NonZeroUsize;

use flashwright_codec::CodecError;
use flashwright_codec::pipeline::{self, Lanes};
use flashwright_tree::{Content, ContentError, NodeId, Tree};

use super::dedup::{BlockIndex, Hash, Match, Sequence};
use super::fragment::{FragmentPacker, Full, Place};
use super::kind::{DataKind, data_kind};
use super::pack::{PackedBlock, Packer, stored};
use super::plan::path_of;
use super::{Output, Progress};
use crate::error::WriteError;
use crate::options::{Bcj, Options};

/// Stands for a hole in [`FileData::blocks`].
pub(super) const HOLE: u32 = u32::MAX;

const READ: usize = 0;
const PACK: usize = 1;
/// Bytes that one reading job covers, when a block is not larger.
const READ_CHUNK: usize = 512 << 10;
/// Bytes that are being read or wait to be looked at, at most; one job more when a block is larger.
const READ_AHEAD: usize = 8 << 20;
/// Reading jobs at the same time: many small files make few bytes.
const READ_JOBS: usize = 128;

/// Where the data of one file is.
#[derive(Debug, Clone, Default)]
pub(super) struct FileData {
    /// Block of the image that is the first of this file's blocks. The others follow it.
    pub(super) start: Option<Sequence>,
    /// For each block of the file: which of the blocks from `start` on, or [`HOLE`].
    pub(super) blocks: Vec<u32>,
    /// Where the tail is; see [`DataArea::tail`].
    pub(super) tail: Option<Place>,
    /// Bytes of the file that are holes.
    pub(super) sparse: u64,
}

/// A block in the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) word: u32,
}

/// All file data of an image.
#[derive(Default)]
pub(super) struct DataArea {
    /// By position in the order that was asked for.
    pub(super) files: Vec<FileData>,
    /// By [`Sequence`].
    pub(super) blocks: Vec<Placed>,
    /// Block of each fragment.
    pub(super) fragments: Vec<Sequence>,
    /// Fragment that each open block became, and the byte at which it starts.
    joined: Vec<(u32, u32)>,
    pub(super) counts: Counts,
    /// Branch filters that some block was kept with.
    pub(super) filters: BTreeSet<Bcj>,
}

impl DataArea {
    /// Fragment and offset of a file's tail.
    pub(super) fn tail(&self, file: &FileData) -> Option<(u32, u32)> {
        let place = file.tail?;
        let (fragment, start) = self.joined[place.open as usize];
        Some((fragment, start + place.offset))
    }

    fn add_fragment(&mut self, sequence: Sequence, members: &[(u32, u32)]) {
        // There are never more fragments than blocks, which are counted with 32 bits.
        let fragment = u32::try_from(self.fragments.len()).unwrap_or(u32::MAX);
        self.fragments.push(sequence);
        for &(open, start) in members {
            let open = open as usize;
            self.joined.resize(self.joined.len().max(open + 1), (0, 0));
            self.joined[open] = (fragment, start);
        }
    }
}

/// What happened to the data.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) hole_bytes: u64,
    pub(super) duplicate_files: u64,
    pub(super) duplicate_bytes: u64,
}

/// A range of one file.
#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Position in the list of files.
    file: usize,
    offset: u64,
    len: usize,
}

enum Job {
    Read {
        range: Origin,
    },
    Pack {
        source: Block,
        kinds: BTreeSet<DataKind>,
        store: bool,
    },
    /// Compare two ranges that have one hash.
    Compare(Origin, Origin),
}

enum Block {
    Data(Vec<u8>),
    Reread(Origin),
}

enum Done {
    Read(Vec<Piece>),
    Packed(PackedBlock),
    Equal,
    Failed(WriteError),
}

/// One block or tail of a file.
struct Piece {
    /// Empty for a block of zeros.
    data: Vec<u8>,
    len: usize,
    hash: Hash,
    kind: DataKind,
}

/// Reads, packs and writes the data of `files`, in that order.
pub(super) fn write_data<W: Write>(
    tree: &Tree,
    files: &[NodeId],
    options: &Options,
    threads: NonZeroUsize,
    output: &mut Output<W>,
    progress: &mut dyn FnMut(Progress),
) -> Result<DataArea, WriteError> {
    let shared = Shared { tree, files, options };
    let context = || Worker { packer: Packer::for_data(options) };
    let work = |worker: &mut Worker, job| worker.work(&shared, job).unwrap_or_else(Done::Failed);
    pipeline::run(threads, context, work, |lanes| {
        let total = files.iter().map(|&id| shared.content(id).len()).sum();
        let mut driver = Driver {
            shared: &shared,
            lanes,
            output,
            pack_window: threads.get() * 3 + 2,
            index: BlockIndex::default(),
            origins: Vec::new(),
            tails: HashMap::new(),
            fragments: FragmentPacker::new(shared.block_size()),
            current: Current::default(),
            area: DataArea { files: vec![FileData::default(); files.len()], ..DataArea::default() },
            progress: Progress {
                bytes_done: 0,
                bytes_total: total,
                // Files without data never pass through the pipeline.
                files_done: files.iter().filter(|&&id| shared.content(id).is_empty()).count() as u64,
                files_total: files.len() as u64,
            },
            report: progress,
        };
        driver.run()?;
        Ok(driver.area)
    })
}

/// What workers and driver look at together.
struct Shared<'a> {
    tree: &'a Tree,
    files: &'a [NodeId],
    options: &'a Options,
}

impl Shared<'_> {
    fn content(&self, id: NodeId) -> Content {
        self.tree.content(id).unwrap_or_else(|| unreachable!("only regular files are listed"))
    }

    fn block_size(&self) -> usize {
        // At most 1 MiB.
        self.options.block_size as usize
    }

    fn failed(&self, file: usize, error: ContentError) -> WriteError {
        WriteError::Content { path: path_of(self.tree, self.files[file]), error }
    }

    fn read(&self, range: Origin) -> Result<Vec<u8>, WriteError> {
        let mut data = vec![0; range.len];
        let content = self.content(self.files[range.file]);
        let mut reader = content.reader();
        let result = reader.read_exact_at(range.offset, &mut data).and_then(|()| reader.finish());
        result.map_err(|error| self.failed(range.file, error))?;
        Ok(data)
    }
}

struct Worker {
    packer: Result<Packer, CodecError>,
}

impl Worker {
    fn work(&mut self, shared: &Shared<'_>, job: Job) -> Result<Done, WriteError> {
        match job {
            Job::Read { range } => read_pieces(shared, range).map(Done::Read),
            Job::Pack { source, kinds, store } => {
                let data = match source {
                    Block::Data(data) => data,
                    Block::Reread(origin) => shared.read(origin)?,
                };
                let packer = self.packer.as_mut().map_err(|error| error.clone())?;
                Ok(Done::Packed(if store { stored(data) } else { packer.pack(data, &kinds)? }))
            }
            Job::Compare(a, b) if shared.read(a)? == shared.read(b)? => Ok(Done::Equal),
            Job::Compare(a, _) => {
                Err(WriteError::Changed { path: path_of(shared.tree, shared.files[a.file]) })
            }
        }
    }
}

fn read_pieces(shared: &Shared<'_>, range: Origin) -> Result<Vec<Piece>, WriteError> {
    let content = shared.content(shared.files[range.file]);
    let mut reader = content.reader();
    let mut pieces = Vec::with_capacity(range.len.div_ceil(shared.block_size()));
    let mut done = 0;
    while done < range.len {
        let len = shared.block_size().min(range.len - done);
        let offset = range.offset + done as u64;
        let mut data = Vec::new();
        if !content.is_hole(offset, len as u64) {
            data = vec![0; len];
            reader.read_exact_at(offset, &mut data).map_err(|error| shared.failed(range.file, error))?;
        }
        let kind = if offset == 0 { data_kind(&data) } else { DataKind::Other };
        let (mut hash, zeros) = ([0; 32], data.iter().all(|&byte| byte == 0));
        if zeros {
            data = Vec::new();
        } else if shared.options.duplicates {
            hash = *blake3::hash(&data).as_bytes();
        }
        pieces.push(Piece { data, len, hash, kind });
        done += len;
    }
    reader.finish().map_err(|error| shared.failed(range.file, error))?;
    Ok(pieces)
}

struct Driver<'a, W: Write> {
    shared: &'a Shared<'a>,
    lanes: &'a Lanes<Job, Done>,
    output: &'a mut Output<W>,
    pack_window: usize,
    index: BlockIndex,
    /// Where the data of each block comes from, for comparison; `None` for fragment blocks.
    origins: Vec<Option<Origin>>,
    tails: HashMap<Hash, (Place, Origin)>,
    fragments: FragmentPacker,
    current: Current,
    area: DataArea,
    progress: Progress,
    report: &'a mut dyn FnMut(Progress),
}

/// How far the driver is with one file.
#[derive(Default)]
struct Current {
    file: usize,
    len: u64,
    offset: u64,
    kind: DataKind,
    /// The run of blocks that this file may share; `None` once it has blocks of its own.
    run: Option<Match>,
    /// While there is a run: the blocks that are not holes.
    matched: Vec<(Origin, Hash)>,
    /// Number of blocks that are not holes.
    solid: u32,
    /// Whether some of the data was not in the image before.
    fresh: bool,
}

impl<W: Write> Driver<'_, W> {
    fn run(&mut self) -> Result<(), WriteError> {
        let shared = self.shared;
        let mut ranges = ranges(shared);
        let mut reading: VecDeque<Origin> = VecDeque::new();
        let mut ahead = 0;
        loop {
            while ahead < READ_AHEAD && reading.len() < READ_JOBS {
                let Some(range) = ranges.next() else { break };
                ahead += range.len;
                reading.push_back(range);
                self.lanes.submit(READ, Job::Read { range });
            }
            let (Some(range), Some(done)) = (reading.pop_front(), self.lanes.next(READ)) else { break };
            ahead -= range.len;
            match done {
                Done::Read(pieces) => self.take(range, pieces)?,
                Done::Failed(error) => return Err(error),
                Done::Packed(_) | Done::Equal => unreachable!("these come in the other lane"),
            }
            self.drain(self.pack_window)?;
        }
        let open = std::mem::replace(&mut self.fragments, FragmentPacker::new(0));
        for full in open.finish() {
            self.fragment(full)?;
        }
        self.drain(0)
    }

    fn take(&mut self, range: Origin, pieces: Vec<Piece>) -> Result<(), WriteError> {
        if range.offset == 0 {
            let len = self.shared.content(self.shared.files[range.file]).len();
            let kind = pieces.first().map_or(DataKind::Other, |piece| piece.kind);
            let run = self.shared.options.duplicates.then(Match::default);
            self.current = Current { file: range.file, len, kind, run, ..Current::default() };
        }
        for piece in pieces {
            self.piece(piece)?;
        }
        self.progress.bytes_done += range.len as u64;
        if self.current.offset == self.current.len {
            self.end_file()?;
        }
        (self.report)(self.progress);
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Result<(), WriteError> {
        let current = &mut self.current;
        let origin = Origin { file: current.file, offset: current.offset, len: piece.len };
        current.offset += piece.len as u64;
        self.area.counts.bytes += piece.len as u64;
        let short = piece.len < self.shared.block_size();
        if piece.data.is_empty() {
            // A last, short block of zeros is a hole too: no fragment is smaller than that.
            let data = &mut self.area.files[current.file];
            data.blocks.push(HOLE);
            data.sparse += piece.len as u64;
            self.area.counts.hole_bytes += piece.len as u64;
            Ok(())
        } else if short && self.shared.options.tail_in_fragment(current.len) {
            self.tail(piece, origin)
        } else {
            self.block(piece, origin)
        }
    }

    fn block(&mut self, piece: Piece, origin: Origin) -> Result<(), WriteError> {
        let current = &mut self.current;
        self.area.files[current.file].blocks.push(current.solid);
        current.solid += 1;
        if let Some(run) = &mut current.run {
            if run.extend(&self.index, &piece.hash) {
                current.matched.push((origin, piece.hash));
                return Ok(());
            }
            current.run = None;
            for (origin, hash) in std::mem::take(&mut current.matched) {
                self.own_block(Block::Reread(origin), origin, hash)?;
            }
        }
        self.own_block(Block::Data(piece.data), origin, piece.hash)
    }

    /// Gives the current file a block of its own.
    fn own_block(&mut self, source: Block, origin: Origin, hash: Hash) -> Result<(), WriteError> {
        self.current.fresh = true;
        let (kinds, store) = (BTreeSet::from([self.current.kind]), self.shared.options.store.data);
        let hash = self.shared.options.duplicates.then_some(hash);
        let sequence = self.submit(Job::Pack { source, kinds, store }, hash, Some(origin))?;
        self.area.files[self.current.file].start.get_or_insert(sequence);
        Ok(())
    }

    fn submit(
        &mut self,
        job: Job,
        hash: Option<Hash>,
        origin: Option<Origin>,
    ) -> Result<Sequence, WriteError> {
        let sequence = self.index.push(hash).ok_or_else(too_many_blocks)?;
        self.origins.push(origin);
        self.lanes.submit(PACK, job);
        self.drain(self.pack_window)?;
        Ok(sequence)
    }

    fn tail(&mut self, piece: Piece, origin: Origin) -> Result<(), WriteError> {
        if self.shared.options.duplicates
            && let Some(&(place, same)) = self.tails.get(&piece.hash)
        {
            self.area.files[origin.file].tail = Some(place);
            self.area.counts.duplicate_bytes += origin.len as u64;
            return self.compare(origin, same);
        }
        let placed = self.fragments.place(self.current.kind, &piece.data);
        let (place, full) = placed.ok_or_else(too_many_blocks)?;
        self.area.files[origin.file].tail = Some(place);
        self.tails.entry(piece.hash).or_insert((place, origin));
        self.current.fresh = true;
        full.map_or(Ok(()), |full| self.fragment(full))
    }

    fn fragment(&mut self, full: Full) -> Result<(), WriteError> {
        let (source, store) = (Block::Data(full.data), self.shared.options.store.fragments);
        let sequence = self.submit(Job::Pack { source, kinds: full.kinds, store }, None, None)?;
        self.area.add_fragment(sequence, &full.members);
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), WriteError> {
        let current = std::mem::take(&mut self.current);
        if let Some(start) = current.run.as_ref().and_then(Match::start) {
            self.area.files[current.file].start = Some(start);
            for (&(origin, _), same) in current.matched.iter().zip(start as usize..) {
                self.area.counts.duplicate_bytes += origin.len as u64;
                let same =
                    self.origins[same].unwrap_or_else(|| unreachable!("fragment blocks match nothing"));
                self.compare(origin, same)?;
            }
        }
        let data = &self.area.files[current.file];
        let has_data = current.solid > 0 || data.tail.is_some();
        self.area.counts.duplicate_files += u64::from(has_data && !current.fresh);
        self.progress.files_done += 1;
        Ok(())
    }

    fn compare(&mut self, origin: Origin, same: Origin) -> Result<(), WriteError> {
        self.lanes.submit(PACK, Job::Compare(origin, same));
        self.drain(self.pack_window)
    }

    /// Writes what is done; waits until at most `window` blocks are on their way.
    fn drain(&mut self, window: usize) -> Result<(), WriteError> {
        while self.lanes.in_flight(PACK) > window {
            let done = self.lanes.next(PACK);
            done.map_or(Ok(()), |done| self.place(done))?;
        }
        while let Some(done) = self.lanes.try_next(PACK) {
            self.place(done)?;
        }
        Ok(())
    }

    fn place(&mut self, done: Done) -> Result<(), WriteError> {
        match done {
            Done::Packed(block) => {
                self.area.blocks.push(Placed { offset: self.output.position, word: block.word });
                self.area.filters.extend(block.bcj);
                self.output.write(&block.bytes)
            }
            Done::Equal => Ok(()),
            Done::Failed(error) => Err(error),
            Done::Read(_) => unreachable!("these come in the other lane"),
        }
    }
}

fn too_many_blocks() -> WriteError {
    WriteError::Tree { what: "more than 4294967294 blocks of data".into(), remedy: "use a larger block size" }
}

/// All data of all files, cut into reading jobs.
fn ranges<'a>(shared: &'a Shared<'a>) -> impl Iterator<Item = Origin> + 'a {
    let chunk = READ_CHUNK.max(shared.block_size());
    shared.files.iter().enumerate().flat_map(move |(file, &id)| {
        let len = shared.content(id).len();
        let starts = (0..len).step_by(chunk);
        starts.map(move |offset| {
            let len = usize::try_from(len - offset).unwrap_or(chunk).min(chunk);
            Origin { file, offset, len }
        })
    })
}
