//! Extended attributes: the xattr id table, and the names and values it points to.

use flashwright_tree::Xattrs;
use zerocopy::little_endian::{U32, U64};

use super::ReadError;
use super::error::Place;
use super::input::Input;
use super::limits::Budget;
use super::metadata::{Cursor, MetadataTable};
use super::tables::IndexedTable;
use super::unpack::Unpacker;
use crate::format::{
    MetadataRef, NONE32, NONE64, XATTR_VALUE_OOL, XattrEntry, XattrId, XattrPrefix, XattrTableHeader,
};

/// Memory of one map entry beyond its name and value, bytes, roughly.
const ENTRY_COST: u64 = 64;

/// All xattrs of an image.
#[derive(Debug)]
pub(super) struct XattrTable {
    pub(super) ids: IndexedTable,
    pub(super) data: MetadataTable,
    /// Position of the header, and of the first block of names; `None` without xattrs.
    pub(super) position: Option<(u64, u64)>,
}

/// One xattr as it is stored.
#[derive(Debug)]
pub(super) struct StoredXattr<'a> {
    pub(super) prefix: XattrPrefix,
    /// What follows the prefix.
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl StoredXattr<'_> {
    pub(super) fn full_name(&self) -> Vec<u8> {
        [self.prefix.text().as_bytes(), self.name].concat()
    }
}

impl XattrTable {
    pub(super) fn load(
        header: u64,
        (input, unpacker): (&Input, &Unpacker),
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        const NAME: &str = "xattr table";
        if header == NONE64 {
            let data = MetadataTable::none(NAME);
            return Ok(XattrTable { ids: IndexedTable::none(), data, position: None });
        }
        let mut bytes = [0; size_of::<XattrTableHeader>()];
        input.read_into(header, &mut bytes, "xattr id table")?;
        let XattrTableHeader { xattr_start, ids, .. } = zerocopy::transmute!(bytes);
        let (start, count) = (xattr_start.get(), ids.get());
        let index = header.saturating_add(bytes.len() as u64);
        let size = (count, size_of::<XattrId>());
        let ids = IndexedTable::load((input, unpacker), "xattr id table", index, size, budget)?;
        let end = if count == 0 { header } else { ids.start() };
        if start > end {
            let expected = format!("names and values before {end:#x}");
            return Err(ReadError::corrupt(NAME, expected, format!("{start:#x}")).at(header));
        }
        let data = MetadataTable::load(input, unpacker, NAME, (start, end), budget)?;
        Ok(XattrTable { ids, data, position: Some((header, start)) })
    }

    /// The set of that index; the empty set for "none".
    pub(super) fn get(&self, index: u32, budget: &mut Budget) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::new();
        if index == NONE32 {
            return Ok(xattrs);
        }
        for xattr in self.set(index)? {
            let xattr = xattr?;
            let len = xattr.name.len().saturating_add(xattr.value.len()) as u64;
            budget.charge(len.saturating_add(ENTRY_COST), "xattrs")?;
            if let Some(value) = xattrs.insert(xattr.full_name(), xattr.value.to_vec()) {
                let name = String::from_utf8_lossy(xattr.name).into_owned();
                let found = format!("{name:?} twice, once with {} bytes", value.len());
                return Err(ReadError::corrupt("xattr set", "every name once", found));
            }
        }
        Ok(xattrs)
    }

    /// Reads the set of that index one by one.
    pub(super) fn set(&self, index: u32) -> Result<XattrSet<'_>, ReadError> {
        let ids = self.ids.entries::<XattrId>();
        let Some(id) = usize::try_from(index).ok().and_then(|index| ids.get(index)) else {
            let expected = format!("an xattr index below {}", ids.len());
            return Err(ReadError::corrupt("inode", expected, index));
        };
        let cursor = self.data.cursor(MetadataRef::unpack(id.xattr.get()))?;
        Ok(XattrSet { table: &self.data, cursor, left: id.count.get() })
    }
}

/// Iterator over one stored set.
#[derive(Debug)]
pub(super) struct XattrSet<'a> {
    table: &'a MetadataTable,
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> XattrSet<'a> {
    fn read(&mut self) -> Result<StoredXattr<'a>, ReadError> {
        let place = self.cursor.place();
        let entry: XattrEntry = self.cursor.get()?;
        let name = self.cursor.take(usize::from(entry.size.get()))?;
        let prefix = prefix(entry.prefix.get(), place)?;
        let value_len: U32 = self.cursor.get()?;
        let value = if entry.prefix.get() & XATTR_VALUE_OOL == 0 {
            self.cursor.take(value_len.get() as usize)?
        } else {
            let reference: U64 = self.cursor.get()?;
            let mut elsewhere = self.table.cursor(MetadataRef::unpack(reference.get()))?;
            let value_len: U32 = elsewhere.get()?;
            elsewhere.take(value_len.get() as usize)?
        };
        Ok(StoredXattr { prefix, name, value })
    }
}

fn prefix(number: u16, place: Place) -> Result<XattrPrefix, ReadError> {
    XattrPrefix::from_number(number & !XATTR_VALUE_OOL).ok_or_else(|| {
        let expected = "namespace 0 (user), 1 (trusted) or 2 (security)";
        ReadError::corrupt("xattr", expected, format!("{number:#x}")).at(place)
    })
}

impl<'a> Iterator for XattrSet<'a> {
    type Item = Result<StoredXattr<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let xattr = self.read();
        if xattr.is_err() {
            self.left = 0;
        }
        Some(xattr)
    }
}
