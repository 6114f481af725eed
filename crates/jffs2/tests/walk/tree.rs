//! What a walk has found, compared with the tree that was asked for.

use std::collections::HashMap;

use flashwright_jffs2::acl;
use flashwright_media::Endian;
use flashwright_tree::{Device, Node, NodeId, NodeKind, Tree};

use super::Found;

/// Fails unless the image is the tree.
pub fn assert_found(name: &str, found: &Found, tree: &Tree, endian: Endian) {
    let mut inos: HashMap<NodeId, u32> = HashMap::new();
    let mut names = 0;
    for entry in tree.walk() {
        let path = String::from_utf8_lossy(&entry.path);
        let ino = match entry.path.rsplit(|&byte| byte == b'/').next() {
            Some(last) if !entry.path.is_empty() => {
                names += 1;
                let (ino, kind) = found.dirents[&(inos[&entry.parent], last.to_vec())];
                assert_eq!(u16::from(kind), entry.node.mode() >> 12, "{name}: {path}");
                ino
            }
            _ => 1,
        };
        assert_eq!(*inos.entry(entry.id).or_insert(ino), ino, "{name}: {path}: hard links are one inode");
        if entry.first {
            assert_inode(&format!("{name}: {path}"), found, ino, &entry.node, endian);
        }
    }
    assert_eq!(names, found.dirents.len(), "{name}");
    assert_eq!(inos.len(), found.inodes.len(), "{name}");
}

fn assert_inode(name: &str, found: &Found, ino: u32, node: &Node, endian: Endian) {
    let metadata = &node.metadata;
    let time = u32::try_from(metadata.mtime.seconds).unwrap();
    for inode in found.inodes[&ino].values() {
        assert_eq!(inode.mode, u32::from(node.mode()), "{name}");
        assert_eq!((u32::from(inode.uid), u32::from(inode.gid)), (metadata.uid, metadata.gid), "{name}");
        assert_eq!(inode.times, [time; 3], "{name}");
    }
    let stored = || {
        assert_eq!(found.inodes[&ino].len(), 1, "{name}: one node");
        let (_, inode) = found.inodes[&ino].first_key_value().unwrap();
        assert_eq!((inode.compression, inode.offset), (0, 0), "{name}");
        (inode.size as usize, inode.data.clone().unwrap())
    };
    match &node.kind {
        NodeKind::File(content) => assert!(found.data(ino) == content.to_vec().unwrap(), "{name}"),
        NodeKind::Symlink(target) => assert_eq!(stored(), (target.len(), target.clone()), "{name}"),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            assert_eq!(stored(), (0, device_bytes(*device, endian)), "{name}");
        }
        _ => assert_eq!(stored(), (0, Vec::new()), "{name}"),
    }
    let refers = |xid: &u32| found.xrefs.contains(&(ino, *xid));
    let mut xattrs: Vec<_> =
        found.xattrs.iter().filter(|(xid, _)| refers(xid)).map(|(_, x)| x.clone()).collect();
    xattrs.sort();
    let mut expected: Vec<_> =
        metadata.xattrs.iter().map(|(name, value)| flash_xattr(name, value, endian)).collect();
    expected.sort();
    assert_eq!(xattrs, expected, "{name}");
}

/// The kernel's old encoding in 2 bytes where it can hold the number, else its new one in 4.
fn device_bytes(Device { major, minor }: Device, endian: Endian) -> Vec<u8> {
    let mut bytes = if major < 256 && minor < 256 {
        vec![minor.to_le_bytes()[0], major.to_le_bytes()[0]]
    } else {
        ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)).to_le_bytes().to_vec()
    };
    if endian == Endian::Big {
        bytes.reverse();
    }
    bytes
}

fn flash_xattr(name: &[u8], value: &[u8], endian: Endian) -> (u8, Vec<u8>, Vec<u8>) {
    let prefixes = [("user.", 1), ("security.", 2), ("trusted.", 5)];
    for (prefix, number) in prefixes {
        if let Some(rest) = name.strip_prefix(prefix.as_bytes()) {
            return (number, rest.to_vec(), value.to_vec());
        }
    }
    let number = if name.ends_with(b"access") { 3 } else { 4 };
    (number, Vec::new(), acl::to_flash(value, endian).unwrap())
}
