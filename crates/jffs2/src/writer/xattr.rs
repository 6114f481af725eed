//! Xattr nodes and references to them: equal xattrs of several inodes are stored once.

use std::borrow::Cow;
use std::collections::HashMap;

use flashwright_media::Endian;
use flashwright_tree::Xattrs;

use super::node::{self, Node};
use crate::acl;
use crate::format::XattrPrefix;

/// The xattrs that are in the image already.
#[derive(Default)]
pub(super) struct XattrNodes {
    /// Number of each full name and value.
    known: HashMap<(Vec<u8>, Vec<u8>), u32>,
    /// Sequence number of the last reference.
    sequence: u32,
}

impl XattrNodes {
    /// The nodes that give inode `ino` these xattrs.
    pub(super) fn nodes(&mut self, endian: Endian, ino: u32, xattrs: &Xattrs) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (name, value) in xattrs {
            // As many as there are inodes and xattrs; an image below 4 GiB has fewer than 2^32.
            let next = u32::try_from(self.known.len() + 1).unwrap_or(u32::MAX);
            let xid = *self.known.entry((name.clone(), value.clone())).or_insert(next);
            if xid == next {
                nodes.push(xattr_node(endian, xid, name, value));
            }
            self.sequence = self.sequence.wrapping_add(2);
            nodes.push(node::xref(endian, ino, xid, self.sequence));
        }
        nodes
    }
}

fn xattr_node(endian: Endian, xid: u32, name: &[u8], value: &[u8]) -> Node {
    let (prefix, rest) =
        XattrPrefix::split(name).unwrap_or_else(|| unreachable!("the plan refuses other namespaces"));
    let value = if prefix.is_acl() {
        let value = acl::to_flash(value, endian);
        Cow::Owned(value.unwrap_or_else(|| unreachable!("the plan refuses what is no ACL")))
    } else {
        Cow::Borrowed(value)
    };
    node::xattr(endian, xid, prefix, rest, &value)
}
