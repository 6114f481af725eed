//! The index, bottom up: the leaves in order, then one level after another to the root.

use std::io::{Seek, Write};

use zerocopy::IntoBytes;

use super::leb::{MainArea, Place};
use crate::error::WriteError;
use crate::format::{Branch, CommonHeader, IdxNode, Key, NodeType, aligned};

/// A node of the tree, or of the index, that the index finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) key: Key,
    pub(super) place: Place,
}

/// The index as it was written.
pub(super) struct Index {
    pub(super) root: Place,
    /// Bytes of its nodes, each rounded up to 8.
    pub(super) size: u64,
}

/// Writes the index of `leaves`. Those of equal keys, which are entries, must come in the order of their names.
pub(super) fn write<W: Write + Seek>(
    mut leaves: Vec<Leaf>,
    fanout: u32,
    main: &mut MainArea<'_, W>,
) -> Result<Index, WriteError> {
    // Stable, so that equal keys stay in order.
    leaves.sort_by_key(|leaf| leaf.key);
    let mut size = 0;
    for level in 0u16.. {
        let mut above = Vec::with_capacity(leaves.len() / fanout as usize + 1);
        for children in leaves.chunks(fanout as usize) {
            let place = main.put_index(&mut node(level, children))?;
            size += u64::from(aligned(place.len));
            above.push(Leaf { key: children[0].key, place });
        }
        leaves = above;
        if leaves.len() == 1 {
            break;
        }
    }
    Ok(Index { root: leaves[0].place, size })
}

fn node(level: u16, children: &[Leaf]) -> Vec<u8> {
    let head = IdxNode {
        ch: CommonHeader::new(NodeType::Idx),
        // At most the fanout, 256.
        child_cnt: u16::try_from(children.len()).unwrap_or(u16::MAX).into(),
        level: level.into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    for child in children {
        let Place { lnum, offs, len } = child.place;
        let branch =
            Branch { lnum: lnum.into(), offs: offs.into(), len: len.into(), key: child.key.to_bytes() };
        bytes.extend_from_slice(branch.as_bytes());
    }
    bytes
}
