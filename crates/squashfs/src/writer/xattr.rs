//! The xattr table: equal sets are stored once, and so are long values that several sets have.

use std::collections::HashMap;

use flashwright_codec::CodecError;
use flashwright_tree::{NodeId, Tree, Xattrs};
use zerocopy::IntoBytes;

use super::metadata::MetadataTable;
use crate::error::WriteError;
use crate::format::{MetadataRef, NONE32, XATTR_VALUE_OOL, XattrEntry, XattrId, XattrPrefix};

/// Values longer than the reference that would replace them are worth sharing.
const SHARED_VALUE: usize = size_of::<u64>();

/// All different sets of xattrs.
pub(super) struct XattrSets {
    sets: Vec<Xattrs>,
    by_node: HashMap<NodeId, u32>,
}

impl XattrSets {
    pub(super) fn collect(tree: &Tree) -> Result<Self, WriteError> {
        let mut known: HashMap<Xattrs, u32> = HashMap::new();
        let mut by_node = HashMap::new();
        for entry in tree.walk().filter(|entry| entry.first && !entry.node.metadata.xattrs.is_empty()) {
            let next = u32::try_from(known.len()).ok().filter(|next| *next < NONE32);
            let next = next.ok_or_else(|| WriteError::Tree {
                what: "more than 4294967294 different sets of xattrs".into(),
                remedy: "leave some xattrs out",
            })?;
            let index = *known.entry(entry.node.metadata.xattrs).or_insert(next);
            by_node.insert(entry.id, index);
        }
        let mut sets: Vec<_> = known.into_iter().collect();
        sets.sort_unstable_by_key(|(_, index)| *index);
        Ok(XattrSets { sets: sets.into_iter().map(|(set, _)| set).collect(), by_node })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        // Checked in `collect`.
        u32::try_from(self.sets.len()).unwrap_or(NONE32)
    }

    /// Index of the node's set, or [`NONE32`].
    pub(super) fn of(&self, id: NodeId) -> u32 {
        self.by_node.get(&id).copied().unwrap_or(NONE32)
    }

    /// Writes all names and values, and returns the id of each set.
    pub(super) fn write(&self, table: &mut MetadataTable<'_>) -> Result<Vec<XattrId>, CodecError> {
        let mut values: HashMap<&[u8], MetadataRef> = HashMap::new();
        let mut ids = Vec::with_capacity(self.sets.len());
        for set in &self.sets {
            let position = table.position();
            let mut size = 0;
            for (name, value) in set {
                size += write_pair(table, &mut values, name, value)?;
            }
            ids.push(XattrId {
                xattr: position.pack().into(),
                count: narrow(set.len()).into(),
                size: narrow(size).into(),
            });
        }
        Ok(ids)
    }
}

/// Writes one name and its value, or a reference to where that value is already. Returns what the pair adds to
/// [`XattrId::size`], which is counted as mksquashfs does: the full name, a NUL, and the value.
fn write_pair<'a>(
    table: &mut MetadataTable<'_>,
    values: &mut HashMap<&'a [u8], MetadataRef>,
    name: &[u8],
    value: &'a [u8],
) -> Result<usize, CodecError> {
    let Some((prefix, rest)) = XattrPrefix::split(name) else {
        unreachable!("the plan refuses other namespaces")
    };
    let shared = values.get(value).copied();
    let ool = if shared.is_some() { XATTR_VALUE_OOL } else { 0 };
    let size =
        u16::try_from(rest.len()).unwrap_or_else(|_| unreachable!("the plan refuses names over 255 bytes"));
    table.write(XattrEntry { prefix: (prefix.number() | ool).into(), size: size.into() }.as_bytes())?;
    table.write(rest)?;
    if let Some(shared) = shared {
        table.write(&narrow(size_of::<u64>()).to_le_bytes())?;
        table.write(&shared.pack().to_le_bytes())?;
    } else {
        if value.len() > SHARED_VALUE {
            values.insert(value, table.position());
        }
        table.write(&narrow(value.len()).to_le_bytes())?;
        table.write(value)?;
    }
    Ok(name.len() + 1 + value.len())
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_| unreachable!("the plan refuses values over 65536 bytes"))
}
