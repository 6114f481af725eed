//! Xattrs of an inode.

use flashwright_tree::{Finding, Xattrs};

use super::ReadError;
use super::data::Store;
use super::index::{Index, XattrNode, XrefNode};
use super::limits::Budget;
use crate::acl;
use crate::format::{RawXattr, RawXref, XattrPrefix, node_len};

/// Memory of one xattr beyond its name and value, bytes.
const COST: u64 = 128;

/// The xattrs that inode `ino` has; what is wrong with some goes to `wrong`.
pub(super) fn of(
    index: &Index,
    store: &Store,
    ino: u32,
    budget: &mut Budget,
    wrong: &mut Vec<Finding>,
) -> Result<Xattrs, ReadError> {
    let mut xattrs = Xattrs::new();
    for references in index.xrefs_of(ino).chunk_by(|a, b| a.xid == b.xid) {
        let Some(newest) = references.last().filter(|xref| xref.sequence & RawXref::DELETED == 0) else {
            continue;
        };
        let Some(xattr) = index.xattr(newest.xid) else {
            wrong.push(dangling(store, newest));
            continue;
        };
        budget.charge(COST.saturating_add(u64::from(xattr.value_len)), "xattrs")?;
        match read(store, xattr)? {
            Ok((name, value)) => drop(xattrs.insert(name, value)),
            Err(finding) => wrong.push(finding.at(store.absolute(xattr.at)).in_inode(ino)),
        }
    }
    Ok(xattrs)
}

fn dangling(store: &Store, xref: &XrefNode) -> Finding {
    let finding = Finding::error("xattr reference", "an xattr that there is", format!("number {}", xref.xid));
    finding.at(store.absolute(xref.at)).in_inode(xref.ino)
}

type Xattr = (Vec<u8>, Vec<u8>);

fn read(store: &Store, xattr: &XattrNode) -> Result<Result<Xattr, Finding>, ReadError> {
    let name_len = usize::from(xattr.name_len);
    let len = name_len.saturating_add(1).saturating_add(xattr.value_len.into());
    let bytes = store.read(xattr.at, node_len::<RawXattr>(0), len)?;
    let (rest, value) = bytes.split_at_checked(name_len).unwrap_or_default();
    let value = value.get(1..).unwrap_or_default();
    let Some(prefix) = XattrPrefix::from_number(xattr.prefix) else {
        return Ok(Err(Finding::error("prefix of the xattr node", "1 to 5", xattr.prefix)));
    };
    let name = [prefix.text().as_bytes(), rest].concat();
    if !prefix.is_acl() {
        return Ok(Ok((name, value.to_vec())));
    }
    Ok(match acl::from_flash(value, store.endian()) {
        Some(value) => Ok((name, value)),
        None => Err(Finding::error("value of the xattr node", "an ACL", "something else")),
    })
}
