//! POSIX ACLs: JFFS2 stores them shorter than the xattr `system.posix_acl_access` that programs see.
//!
//! ```text
//! xattr    version 2 (u32), then per entry: tag u16, permissions u16, id u32      always little-endian
//! JFFS2    version 1 (u32), then per entry: tag u16, permissions u16 and, for a     endianness of the target
//!          named user or group only, id u32
//! ```
//!
//! Source of fact: the kernel's `fs/jffs2/acl.h` and `include/uapi/linux/posix_acl_xattr.h`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Field, Fields};

#[doc(alias = "POSIX_ACL_XATTR_VERSION")]
const XATTR_VERSION: u32 = 2;
#[doc(alias = "JFFS2_ACL_VERSION")]
const FLASH_VERSION: u32 = 1;
/// The id of an entry that has none, in the xattr.
#[doc(alias = "ACL_UNDEFINED_ID")]
const NO_ID: u32 = u32::MAX;

/// Whether entries of that tag have an id: named users and named groups. `None` for a tag that does not exist.
const fn has_id(tag: u16) -> Option<bool> {
    match tag {
        // ACL_USER, ACL_GROUP
        0x02 | 0x08 => Some(true),
        // ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER
        0x01 | 0x04 | 0x10 | 0x20 => Some(false),
        _ => None,
    }
}

/// The value on flash for the value of the xattr. `None` when that is no ACL.
#[must_use]
pub fn to_flash(xattr: &[u8], endian: Endian) -> Option<Vec<u8>> {
    let mut fields = Fields::new(xattr, Endian::Little);
    if fields.take::<u32>()? != XATTR_VERSION {
        return None;
    }
    let mut out = Vec::with_capacity(xattr.len());
    FLASH_VERSION.put(endian, &mut out);
    while !fields.rest().is_empty() {
        let (tag, permissions, id) = (fields.take::<u16>()?, fields.take::<u16>()?, fields.take::<u32>()?);
        tag.put(endian, &mut out);
        permissions.put(endian, &mut out);
        if has_id(tag)? {
            id.put(endian, &mut out);
        }
    }
    Some(out)
}

/// The value of the xattr for the value on flash. `None` when that is no ACL.
#[must_use]
pub fn from_flash(flash: &[u8], endian: Endian) -> Option<Vec<u8>> {
    let mut fields = Fields::new(flash, endian);
    if fields.take::<u32>()? != FLASH_VERSION {
        return None;
    }
    let mut out = Vec::new();
    XATTR_VERSION.put(Endian::Little, &mut out);
    while !fields.rest().is_empty() {
        let (tag, permissions) = (fields.take::<u16>()?, fields.take::<u16>()?);
        let id = if has_id(tag)? { fields.take()? } else { NO_ID };
        tag.put(Endian::Little, &mut out);
        permissions.put(Endian::Little, &mut out);
        id.put(Endian::Little, &mut out);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// u::rwx, u:1000:r--, g::r-x, m::r-x, o::---
    const XATTR: [u8; 44] = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255,
        255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];

    #[test]
    fn ids_are_stored_only_where_there_are_any() {
        let big = [0, 0, 0, 1, 0, 1, 0, 7, 0, 2, 0, 4, 0, 0, 3, 0xe8, 0, 4, 0, 5, 0, 16, 0, 5, 0, 32, 0, 0];
        assert_eq!(to_flash(&XATTR, Endian::Big).unwrap(), big);
        assert_eq!(from_flash(&big, Endian::Big).unwrap(), XATTR);
        let little = to_flash(&XATTR, Endian::Little).unwrap();
        assert_eq!(from_flash(&little, Endian::Little).unwrap(), XATTR);
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        let unknown_tag = [2, 0, 0, 0, 64, 0, 7, 0, 255, 255, 255, 255];
        for bad in [&XATTR[..43], &XATTR[..3], &[1, 0, 0, 0], &unknown_tag] {
            assert_eq!(to_flash(bad, Endian::Little), None);
        }
        for bad in [&[1, 0, 0][..], &[2, 0, 0, 0], &[1, 0, 0, 0, 2, 0, 7, 0, 1], &[1, 0, 0, 0, 64, 0, 7, 0]] {
            assert_eq!(from_flash(bad, Endian::Little), None);
        }
    }
}
