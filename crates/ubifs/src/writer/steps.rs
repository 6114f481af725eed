//! The tree as a sequence of steps: nodes that are ready, and file data that is still to be read.

use std::collections::VecDeque;

use flashwright_tree::{Content, NodeId, Tree, Walk, WalkEntry};

use super::nodes::{NodeMaker, RawNode};
use crate::format::BLOCK_SIZE;

/// File data that is read and compressed in one go, bytes: a multiple of a block.
const READ_CHUNK: u64 = 64 << 10;

/// A part of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) id: NodeId,
    pub(super) inum: u32,
    /// First byte, at the start of a block.
    pub(super) offset: u64,
    /// Bytes, at most [`READ_CHUNK`].
    pub(super) len: usize,
    /// Whether the file ends with it.
    pub(super) last: bool,
}

/// What comes next.
pub(super) enum Step {
    Node(RawNode),
    Read(Range),
    /// Blocks that are known to be holes.
    Hole {
        len: u64,
        last: bool,
    },
}

/// Iterator over all steps.
pub(super) struct Steps<'a> {
    maker: &'a NodeMaker<'a>,
    walk: Walk<'a>,
    ready: VecDeque<RawNode>,
    /// The file whose data comes next: node, inode, first byte that is left.
    file: Option<(NodeId, u32, u64)>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(maker: &'a NodeMaker<'a>) -> Self {
        Steps { maker, walk: maker.tree.walk(), ready: VecDeque::new(), file: None }
    }

    fn enter(&mut self, entry: &WalkEntry) {
        if !entry.first {
            return;
        }
        let index = entry.id.index();
        let (inum, names) = (self.maker.plan.numbers[index], self.maker.plan.names[index]);
        self.ready.extend(self.maker.inode(entry.id, inum, names, &entry.node));
        if entry.node.content().is_some_and(|content| !content.is_empty()) {
            self.file = Some((entry.id, inum, 0));
        }
    }

    /// The part of a file that starts at `offset`, and its length.
    fn part(&self, id: NodeId, inum: u32, offset: u64) -> (Step, u64) {
        let content = content(self.maker.tree, id);
        let left = content.len() - offset;
        let hole = content.hole_at(offset);
        // A hole that ends within a block makes the rest of the block zeros that are written.
        let hole = if hole == left { hole } else { hole - hole % u64::from(BLOCK_SIZE) };
        if hole > 0 {
            return (Step::Hole { len: hole, last: hole == left }, hole);
        }
        let len = left.min(READ_CHUNK);
        // At most a chunk.
        let range = Range { id, inum, offset, len: usize::try_from(len).unwrap_or(0), last: len == left };
        (Step::Read(range), len)
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(node) = self.ready.pop_front() {
                return Some(Step::Node(node));
            }
            if let Some((id, inum, offset)) = self.file.take() {
                let (step, len) = self.part(id, inum, offset);
                if offset + len < content(self.maker.tree, id).len() {
                    self.file = Some((id, inum, offset + len));
                }
                return Some(step);
            }
            let entry = self.walk.next()?;
            self.enter(&entry);
        }
    }
}

/// The data of a regular file.
pub(super) fn content(tree: &Tree, id: NodeId) -> Content {
    tree.content(id).unwrap_or_else(|| unreachable!("only regular files are read"))
}
