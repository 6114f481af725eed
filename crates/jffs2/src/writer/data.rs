//! All nodes through the pipeline: file data is read and compressed by the workers, and everything comes back in the
//! order of the tree.

use std::collections::VecDeque;
use std::io::Write;
use std::num::NonZeroUsize;

use flashwright_codec::CodecError;
use flashwright_codec::pipeline::{self, Lanes};
use flashwright_tree::{ContentError, NodeId, Tree, join_path};

use super::compress::Packer;
use super::eraseblock::Eraseblocks;
use super::node::{Data, Inode, Node};
use super::plan::Plan;
use super::steps::{MetadataNodes, Range, Step, Steps, content};
use super::{Counts, Progress};
use crate::error::WriteError;
use crate::format::Compression;
use crate::options::Options;

const LANE: usize = 0;
/// Jobs at the same time: per thread, and at most. Each holds its data and what became of it.
const JOBS_PER_THREAD: usize = 4;
const MAX_JOBS: usize = 128;
/// Holes that wait behind a job, at most.
const MAX_WAITING: usize = 1024;

/// Writes every node of the tree.
pub(super) fn write_nodes<W: Write>(
    tree: &Tree,
    plan: &Plan,
    options: &Options,
    threads: NonZeroUsize,
    output: &mut Eraseblocks<'_, W>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Counts, WriteError> {
    let context = || Worker { packer: Packer::new(options), buffer: Vec::new() };
    let work = |worker: &mut Worker, range| worker.work(tree, options, range);
    pipeline::run(threads, context, work, |lanes| {
        let progress_now =
            Progress { bytes_total: plan.bytes, files_total: plan.files, ..Progress::default() };
        let window = (threads.get() * JOBS_PER_THREAD).min(MAX_JOBS);
        let mut driver = Driver {
            tree,
            lanes,
            output,
            metadata: MetadataNodes::new(tree, plan, options),
            node_size: options.node_size,
            window,
            waiting: VecDeque::new(),
            hole: None,
            counts: Counts::default(),
            progress: progress_now,
            report: progress,
        };
        driver.run(Steps::new(tree, plan, options))?;
        Ok(driver.counts)
    })
}

/// What became of one node's worth of data.
enum Piece {
    Hole { offset: u64, len: u64 },
    Node(Node, Compression),
}

type Pieces = Result<Vec<Piece>, Failure>;

enum Failure {
    Content(ContentError),
    Codec(CodecError),
}

struct Worker {
    packer: Result<Packer, CodecError>,
    buffer: Vec<u8>,
}

impl Worker {
    fn work(&mut self, tree: &Tree, options: &Options, range: Range) -> Pieces {
        self.buffer.resize(range.len, 0);
        let content = content(tree, range.id);
        let mut reader = content.reader();
        let read = reader.read_exact_at(range.offset, &mut self.buffer).and_then(|()| reader.finish());
        read.map_err(Failure::Content)?;
        let packer = self.packer.as_mut().map_err(|error| Failure::Codec(error.clone()))?;
        let offsets = (range.offset..).step_by(options.node_size as usize);
        let chunks = self.buffer.chunks(options.node_size as usize);
        chunks.zip(offsets).map(|(data, offset)| piece(packer, range.inode, offset, data, options)).collect()
    }
}

fn piece(
    packer: &mut Packer,
    inode: Inode,
    offset: u64,
    data: &[u8],
    options: &Options,
) -> Result<Piece, Failure> {
    if data.iter().all(|&byte| byte == 0) {
        return Ok(Piece::Hole { offset, len: data.len() as u64 });
    }
    let (compression, stored) = packer.pack(data).map_err(Failure::Codec)?;
    let node = data_node(inode, offset, data.len() as u64, compression, stored, options.node_size);
    Ok(Piece::Node(node, compression))
}

/// The version says how many nodes of full size could come before: so it needs no counting.
fn data_node(
    inode: Inode,
    offset: u64,
    len: u64,
    compression: Compression,
    stored: &[u8],
    node_size: u32,
) -> Node {
    // Files are below 4 GiB, by the plan.
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let version = narrow(offset) / node_size + 1;
    inode.node(version, Data { offset: narrow(offset), len: narrow(len), compression, stored })
}

/// What is between the walk and the eraseblocks.
enum Waiting {
    Hole { inode: Inode, offset: u64, len: u64, last: bool },
    Job(Range),
}

struct Driver<'a, 'b, W: Write> {
    tree: &'a Tree,
    lanes: &'a Lanes<Range, Pieces>,
    output: &'a mut Eraseblocks<'b, W>,
    metadata: MetadataNodes<'a>,
    node_size: u32,
    window: usize,
    waiting: VecDeque<Waiting>,
    /// A hole that may go on: its inode, first byte and length.
    hole: Option<(Inode, u64, u64)>,
    counts: Counts,
    progress: Progress,
    report: &'a mut dyn FnMut(Progress),
}

impl<W: Write> Driver<'_, '_, W> {
    fn run(&mut self, mut steps: Steps<'_>) -> Result<(), WriteError> {
        loop {
            while self.lanes.in_flight(LANE) < self.window && self.waiting.len() < MAX_WAITING {
                let Some(step) = steps.next() else { break };
                self.enter(step);
            }
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.take(waiting)?;
        }
        self.end_hole()?;
        self.metadata.try_for_each(|node| self.output.push(node))
    }

    /// A node of data: before it so many of metadata that eraseblocks can be filled with them.
    fn push(&mut self, node: Node) -> Result<(), WriteError> {
        while self.output.wants_short()
            && let Some(node) = self.metadata.next()
        {
            self.output.push(node)?;
        }
        self.output.push(node)
    }

    fn enter(&mut self, step: Step) {
        self.waiting.push_back(match step {
            Step::Hole { inode, offset, len, last } => Waiting::Hole { inode, offset, len, last },
            Step::Read(range) => {
                self.lanes.submit(LANE, range);
                Waiting::Job(range)
            }
        });
    }

    fn take(&mut self, waiting: Waiting) -> Result<(), WriteError> {
        match waiting {
            Waiting::Hole { inode, offset, len, last } => {
                self.hole(inode, offset, len)?;
                self.count(len, last);
                Ok(())
            }
            Waiting::Job(range) => {
                let pieces = self.lanes.next(LANE).unwrap_or_else(|| unreachable!("a job was submitted"));
                for piece in pieces.map_err(|failure| self.failed(range.id, failure))? {
                    self.piece(range.inode, piece)?;
                }
                self.count(range.len as u64, range.last);
                Ok(())
            }
        }
    }

    fn piece(&mut self, inode: Inode, piece: Piece) -> Result<(), WriteError> {
        match piece {
            Piece::Hole { offset, len } => self.hole(inode, offset, len),
            Piece::Node(node, compression) => {
                self.end_hole()?;
                self.counts.count(compression);
                self.push(node)
            }
        }
    }

    /// Makes the hole before this one longer, or begins one.
    fn hole(&mut self, inode: Inode, offset: u64, len: u64) -> Result<(), WriteError> {
        self.counts.hole_bytes += len;
        match &mut self.hole {
            Some((before, start, before_len))
                if before.ino == inode.ino && *start + *before_len == offset =>
            {
                *before_len += len;
                Ok(())
            }
            _ => {
                self.end_hole()?;
                self.hole = Some((inode, offset, len));
                Ok(())
            }
        }
    }

    fn end_hole(&mut self) -> Result<(), WriteError> {
        let Some((inode, offset, len)) = self.hole.take() else { return Ok(()) };
        self.counts.count(Compression::Zero);
        self.push(data_node(inode, offset, len, Compression::Zero, &[], self.node_size))
    }

    fn count(&mut self, bytes: u64, file_done: bool) {
        self.counts.bytes += bytes;
        self.progress.bytes_done += bytes;
        self.progress.files_done += u64::from(file_done);
        (self.report)(self.progress);
    }

    fn failed(&self, id: NodeId, failure: Failure) -> WriteError {
        match failure {
            Failure::Content(error) => WriteError::Content { path: path_of(self.tree, id), error },
            Failure::Codec(error) => error.into(),
        }
    }
}

/// A path of a node, for messages.
fn path_of(tree: &Tree, id: NodeId) -> Vec<u8> {
    let found = tree.walk().find(|entry| entry.id == id).map(|entry| entry.path);
    found.unwrap_or_else(|| join_path(b"?", format!("{id:?}").as_bytes()))
}
