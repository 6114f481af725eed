//! All nodes through the pipeline: file data is read and compressed by the workers, and everything comes back in the
//! order of the tree.

use std::collections::VecDeque;
use std::io::{Seek, Write};
use std::num::NonZeroUsize;

use flashwright_codec::CodecError;
use flashwright_codec::pipeline::{self, Lanes};
use flashwright_tree::{ContentError, NodeId, Tree, join_path};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::compress::Packer;
use super::index::Leaf;
use super::leb::MainArea;
use super::nodes::{NodeMaker, RawNode};
use super::steps::{Range, Step, Steps, content};
use super::{Counts, Progress};
use crate::error::WriteError;
use crate::format::{BLOCK_SIZE, CommonHeader, ComprType, DataNode, Key, NodeType};
use crate::options::Options;

const LANE: usize = 0;
/// Jobs at the same time: per thread, and at most. Each holds its data and what became of it.
const JOBS_PER_THREAD: usize = 8;
const MAX_JOBS: usize = 128;
/// Nodes that wait behind a job, at most.
const MAX_WAITING: usize = 4096;

/// Writes every node of the tree; returns where they are.
pub(super) fn write_nodes<W: Write + Seek>(
    maker: &NodeMaker<'_>,
    options: &Options,
    threads: NonZeroUsize,
    main: &mut MainArea<'_, W>,
    report: &mut dyn FnMut(Progress),
) -> Result<(Vec<Leaf>, Counts), WriteError> {
    let context = || Worker { packer: Packer::new(options), buffer: Vec::new() };
    let work = |worker: &mut Worker, range| worker.work(maker.tree, range);
    pipeline::run(threads, context, work, |lanes| {
        let plan = maker.plan;
        let progress = Progress { bytes_total: plan.bytes, files_total: plan.files, ..Progress::default() };
        let mut driver = Driver {
            tree: maker.tree,
            lanes,
            main,
            window: (threads.get() * JOBS_PER_THREAD).min(MAX_JOBS),
            waiting: VecDeque::new(),
            leaves: Vec::new(),
            counts: Counts::default(),
            progress,
            report,
        };
        driver.run(Steps::new(maker))?;
        Ok((driver.leaves, driver.counts))
    })
}

/// The data nodes of a range, one after another in `bytes`.
struct Packed {
    bytes: Vec<u8>,
    nodes: Vec<PackedNode>,
    hole_bytes: u64,
}

struct PackedNode {
    key: Key,
    len: usize,
    compr_type: ComprType,
}

enum Failure {
    Content(ContentError),
    Codec(CodecError),
}

struct Worker {
    packer: Result<Packer, CodecError>,
    buffer: Vec<u8>,
}

impl Worker {
    fn work(&mut self, tree: &Tree, range: Range) -> Result<Packed, Failure> {
        self.buffer.resize(range.len, 0);
        let content = content(tree, range.id);
        let mut reader = content.reader();
        let read = reader.read_exact_at(range.offset, &mut self.buffer).and_then(|()| reader.finish());
        read.map_err(Failure::Content)?;
        let packer = self.packer.as_mut().map_err(|error| Failure::Codec(error.clone()))?;
        let mut packed = Packed { bytes: Vec::with_capacity(range.len), nodes: Vec::new(), hole_bytes: 0 };
        // A file has at most 2^29 blocks, by the plan.
        let first = u32::try_from(range.offset / u64::from(BLOCK_SIZE)).unwrap_or(u32::MAX);
        for (block, data) in (first..).zip(self.buffer.chunks(BLOCK_SIZE as usize)) {
            packed.add(packer, Key::data(range.inum, block), data).map_err(Failure::Codec)?;
        }
        Ok(packed)
    }
}

impl Packed {
    fn add(&mut self, packer: &mut Packer, key: Key, data: &[u8]) -> Result<(), CodecError> {
        if data.iter().all(|&byte| byte == 0) {
            self.hole_bytes += data.len() as u64;
            return Ok(());
        }
        let start = self.bytes.len();
        let head = DataNode {
            ch: CommonHeader::new(NodeType::Data),
            key: key.to_node(),
            // At most a block.
            size: u32::try_from(data.len()).unwrap_or(BLOCK_SIZE).into(),
            ..DataNode::new_zeroed()
        };
        self.bytes.extend_from_slice(head.as_bytes());
        let compr_type = packer.pack(data, &mut self.bytes)?;
        if let Ok((head, _)) = DataNode::mut_from_prefix(&mut self.bytes[start..]) {
            head.compr_type = compr_type.number().into();
        }
        self.nodes.push(PackedNode { key, len: self.bytes.len() - start, compr_type });
        Ok(())
    }
}

/// What is between the walk and the LEBs.
enum Waiting {
    Node(RawNode),
    Hole { len: u64, last: bool },
    Job(Range),
}

struct Driver<'a, 'b, W> {
    tree: &'a Tree,
    lanes: &'a Lanes<Range, Result<Packed, Failure>>,
    main: &'a mut MainArea<'b, W>,
    window: usize,
    waiting: VecDeque<Waiting>,
    leaves: Vec<Leaf>,
    counts: Counts,
    progress: Progress,
    report: &'a mut dyn FnMut(Progress),
}

impl<W: Write + Seek> Driver<'_, '_, W> {
    fn run(&mut self, mut steps: Steps<'_>) -> Result<(), WriteError> {
        loop {
            while self.lanes.in_flight(LANE) < self.window && self.waiting.len() < MAX_WAITING {
                let Some(step) = steps.next() else { break };
                self.enter(step);
            }
            let Some(waiting) = self.waiting.pop_front() else { return Ok(()) };
            self.take(waiting)?;
        }
    }

    fn enter(&mut self, step: Step) {
        self.waiting.push_back(match step {
            Step::Node(node) => Waiting::Node(node),
            Step::Hole { len, last } => Waiting::Hole { len, last },
            Step::Read(range) => {
                self.lanes.submit(LANE, range);
                Waiting::Job(range)
            }
        });
    }

    fn take(&mut self, waiting: Waiting) -> Result<(), WriteError> {
        match waiting {
            Waiting::Node(RawNode { key, mut bytes }) => self.put(key, &mut bytes)?,
            Waiting::Hole { len, last } => {
                self.counts.hole_bytes += len;
                self.count(len, last);
            }
            Waiting::Job(range) => {
                let packed = self.lanes.next(LANE).unwrap_or_else(|| unreachable!("a job was submitted"));
                self.packed(packed.map_err(|failure| self.failed(range.id, failure))?)?;
                self.count(range.len as u64, range.last);
            }
        }
        Ok(())
    }

    fn packed(&mut self, packed: Packed) -> Result<(), WriteError> {
        self.counts.hole_bytes += packed.hole_bytes;
        let mut bytes = packed.bytes;
        let mut rest = &mut bytes[..];
        for node in packed.nodes {
            let (now, later) = rest.split_at_mut(node.len);
            self.counts.stored.count(node.compr_type);
            self.put(node.key, now)?;
            rest = later;
        }
        Ok(())
    }

    fn put(&mut self, key: Key, node: &mut [u8]) -> Result<(), WriteError> {
        let place = self.main.put(node)?;
        self.leaves.push(Leaf { key, place });
        Ok(())
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
