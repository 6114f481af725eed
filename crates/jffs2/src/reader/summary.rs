//! A summary held against the nodes of its eraseblock: Linux believes it and does not look at them.

use flashwright_media::Fields;
use flashwright_tree::Finding;

use super::index::{Nodes, Placed};
use super::node::Raw;
use super::scan::Scan;
use crate::format::{Record, Summary, SummaryEntry, SummaryMarker};

/// Checks a summary node and takes the eraseblock's place from it.
pub(super) fn read(scan: &mut Scan, raw: &Raw<'_>) -> Result<(), Finding> {
    let (summary, rest) = raw.record::<Summary>()?;
    raw.check_crc(Summary::CRC_LEN, summary.node_crc)?;
    raw.crc("CRC of the entries", rest, summary.entries_crc)?;
    let marker = rest.last_chunk::<{ SummaryMarker::LEN as usize }>();
    let marker = marker.and_then(|bytes| SummaryMarker::get(&mut Fields::new(bytes, raw.endian)));
    let Some(SummaryMarker { offset, magic: SummaryMarker::MAGIC }) = marker else {
        let expected = format!("{:#010x}", SummaryMarker::MAGIC);
        return Err(Finding::error("marker at the end of the summary node", expected, "another number"));
    };
    let len = u32::try_from(raw.bytes.len()).unwrap_or(u32::MAX);
    let position = scan.start.saturating_add(raw.at.into());
    let (Some(start), Some(eraseblock)) = (position.checked_sub(offset.into()), offset.checked_add(len))
    else {
        let expected = format!("at most {position:#x}, where the summary is");
        return Err(Finding::error("summary's place in its eraseblock", expected, format!("{offset:#x}")));
    };
    scan.summarised.get_or_insert((start, eraseblock));
    scan.summaries = scan.summaries.saturating_add(1);
    scan.usage.summary = scan.usage.summary.saturating_add(len.into());
    let block = Block { start: i64::from(raw.at).saturating_sub(offset.into()), end: raw.at };
    compare(scan, &block, summary.entries, Fields::new(rest, raw.endian))
}

/// The nodes between the start of an eraseblock and its summary, in bytes from the first node of the image.
struct Block {
    /// Negative when the image's first nodes are damaged.
    start: i64,
    end: u32,
}

impl Block {
    /// Position of an entry; `None` when it is outside of the block.
    fn position(&self, entry: &SummaryEntry<'_>) -> Option<u32> {
        let at = u32::try_from(self.start.checked_add(entry.offset().into())?).ok()?;
        (at < self.end).then_some(at)
    }

    fn nodes<'a, N: Placed>(&self, nodes: &'a [N]) -> &'a [N] {
        let start = nodes.partition_point(|node| i64::from(node.at()) < self.start);
        nodes.get(start..).unwrap_or_default()
    }
}

fn compare(scan: &Scan, block: &Block, entries: u32, mut fields: Fields<'_>) -> Result<(), Finding> {
    let mut last = None;
    let mut listed = 0usize;
    for index in 0..entries {
        let entry = SummaryEntry::get(&mut fields);
        let entry = entry.ok_or_else(|| {
            Finding::error("entries of the summary", format!("{entries} that Linux knows"), index)
        })?;
        let wrong =
            |expected: &str, found: String| Finding::error(format!("summary entry {index}"), expected, found);
        if last.is_some_and(|last| last >= entry.offset()) {
            return Err(wrong("offsets in ascending order", format!("{:#x}", entry.offset())));
        }
        last = Some(entry.offset());
        let at = block.position(&entry);
        let at = at.ok_or_else(|| wrong("a node before the summary", format!("{:#x}", entry.offset())))?;
        if agrees(&scan.nodes, &entry, at) {
            listed = listed.saturating_add(1);
        } else if scan.skipped.binary_search(&at).is_err() {
            let found = format!("offset {:#x}, where there is no such node", entry.offset());
            return Err(wrong("a node as the summary lists it", found));
        }
    }
    let nodes = &scan.nodes;
    let there = block.nodes(&nodes.inodes).len();
    let there = there.saturating_add(block.nodes(&nodes.dirents).len());
    let there = there.saturating_add(block.nodes(&nodes.xattrs).len());
    let there = there.saturating_add(block.nodes(&nodes.xrefs).len());
    if listed == there {
        return Ok(());
    }
    Err(Finding::error("summary", format!("an entry for each of {there} nodes"), format!("{listed} entries")))
}

/// Whether the node at `at` is as `entry` says.
fn agrees(nodes: &Nodes, entry: &SummaryEntry<'_>, at: u32) -> bool {
    match entry {
        SummaryEntry::Inode(entry) => node_at(&nodes.inodes, at).is_some_and(|node| {
            (node.ino, node.version, node.len()) == (entry.ino, entry.version, entry.total_len)
        }),
        SummaryEntry::Dirent(entry, name) => node_at(&nodes.dirents, at).is_some_and(|node| {
            (node.parent, node.version, node.ino, node.kind, node.len())
                == (entry.parent, entry.version, entry.ino, entry.kind, entry.total_len)
                && nodes.name(node) == *name
        }),
        SummaryEntry::Xattr(entry) => node_at(&nodes.xattrs, at)
            .is_some_and(|node| (node.xid, node.version) == (entry.xid, entry.version)),
        SummaryEntry::Xref(_) => node_at(&nodes.xrefs, at).is_some(),
    }
}

/// The node at that position; `nodes` are in the order of the image.
fn node_at<N: Placed>(nodes: &[N], at: u32) -> Option<&N> {
    nodes.binary_search_by_key(&at, Placed::at).ok().and_then(|index| nodes.get(index))
}
