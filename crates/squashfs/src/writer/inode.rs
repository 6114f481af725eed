//! The inode table and, hand in hand with it, the directory table.

use std::collections::HashMap;

use flashwright_codec::{CodecError, Compressor};
use flashwright_tree::{Device, Node, NodeId, NodeKind, Tree};
use zerocopy::{Immutable, IntoBytes};

use super::data::{DataArea, FileData, HOLE};
use super::directory::{Entry, Listing, write_listing};
use super::metadata::MetadataTable;
use super::plan::{Plan, path_of};
use super::xattr::XattrSets;
use crate::error::WriteError;
use crate::format::{
    DIR_SIZE_EXTRA, DeviceInode, DirInode, ExtDirInode, ExtFileInode, FileInode, InodeHeader, InodeType,
    IpcInode, MetadataRef, NONE32, SymlinkInode,
};

pub(super) struct InodeWriter<'a> {
    tree: &'a Tree,
    plan: &'a Plan,
    data: &'a DataArea,
    xattrs: &'a XattrSets,
    file_index: HashMap<NodeId, usize>,
    inodes: MetadataTable<'a>,
    directories: MetadataTable<'a>,
    /// Position of each inode, by number less 1.
    positions: Vec<Option<MetadataRef>>,
    /// Listings of directories whose inode is still to be written.
    listings: HashMap<NodeId, Listing>,
}

impl<'a> InodeWriter<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        plan: &'a Plan,
        files: &[NodeId],
        data: &'a DataArea,
        xattrs: &'a XattrSets,
        inode_compressor: Option<&'a mut dyn Compressor>,
        directory_compressor: Option<&'a mut dyn Compressor>,
    ) -> Self {
        InodeWriter {
            tree,
            plan,
            data,
            xattrs,
            file_index: files.iter().enumerate().map(|(index, &id)| (id, index)).collect(),
            inodes: MetadataTable::new(inode_compressor),
            directories: MetadataTable::new(directory_compressor),
            positions: vec![None; plan.inodes as usize],
            listings: HashMap::new(),
        }
    }

    /// Writes every inode and listing in the plan's order. Returns where the root's inode is.
    pub(super) fn write_all(&mut self) -> Result<MetadataRef, WriteError> {
        for &directory in self.plan.directories.iter().rev() {
            let children: Vec<_> = self.tree.entries(directory).collect();
            let mut entries = Vec::with_capacity(children.len());
            for (name, child) in &children {
                let child = *child;
                let inode = self.ensure_inode(child)?;
                let (kind, number) = (self.tree.kind(child), self.number(child));
                entries.push(Entry { name, kind, number, inode });
            }
            let listing = write_listing(&mut self.directories, &entries)?;
            self.check_table_size()?;
            self.listings.insert(directory, listing);
        }
        self.ensure_inode(Tree::ROOT)
    }

    /// Both tables, and the position of each inode by number less 1.
    #[allow(clippy::type_complexity, reason = "three results, used once")]
    pub(super) fn finish(self) -> Result<(Vec<u8>, Vec<u8>, Vec<MetadataRef>), WriteError> {
        let positions = self.positions.into_iter().flatten().collect();
        Ok((self.inodes.finish()?.0, self.directories.finish()?.0, positions))
    }

    /// Directory headers and inodes hold 32-bit positions.
    fn check_table_size(&self) -> Result<(), WriteError> {
        let largest = self.inodes.position().block.max(self.directories.position().block);
        if largest > u64::from(u32::MAX) {
            let what = format!("the inode or directory table has {largest} bytes, SquashFS holds 4294967295");
            return Err(WriteError::Tree { what, remedy: "make two images" });
        }
        Ok(())
    }

    fn number(&self, id: NodeId) -> u32 {
        self.plan.numbers[id.index()]
    }

    fn ensure_inode(&mut self, id: NodeId) -> Result<MetadataRef, WriteError> {
        let slot = self.number(id) as usize - 1;
        if let Some(position) = self.positions[slot] {
            return Ok(position);
        }
        let position = self.inodes.position();
        self.positions[slot] = Some(position);
        self.write_inode(id)?;
        Ok(position)
    }

    fn write_inode(&mut self, id: NodeId) -> Result<(), WriteError> {
        let node = &self.tree.node(id);
        match &node.kind {
            NodeKind::Directory => self.write_directory(id, node),
            NodeKind::File(content) => self.write_file(id, node, content.len()),
            NodeKind::Symlink(target) => Ok(self.write_symlink(id, node, target)?),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                Ok(self.write_device(id, node, *device)?)
            }
            NodeKind::Fifo | NodeKind::Socket => {
                let inode = IpcInode { nlink: self.links(id).into() };
                Ok(self.write_simple(id, node, &inode)?)
            }
        }
    }

    fn links(&self, id: NodeId) -> u32 {
        self.plan.links[id.index()]
    }

    fn header(&mut self, id: NodeId, node: &Node, extended: bool) -> Result<(), CodecError> {
        let header = InodeHeader {
            inode_type: InodeType { kind: node.kind(), extended }.number().into(),
            permissions: node.metadata.permissions.into(),
            uid: self.plan.id_index(node.metadata.uid).into(),
            gid: self.plan.id_index(node.metadata.gid).into(),
            // The plan has checked the range.
            mtime: u32::try_from(node.metadata.mtime.seconds).unwrap_or(0).into(),
            inode_number: self.number(id).into(),
        };
        self.inodes.write(header.as_bytes())
    }

    /// A device, fifo or socket: the extended form only adds the xattrs.
    fn write_simple(
        &mut self,
        id: NodeId,
        node: &Node,
        inode: &(impl IntoBytes + Immutable),
    ) -> Result<(), CodecError> {
        let xattr = self.xattrs.of(id);
        self.header(id, node, xattr != NONE32)?;
        self.inodes.write(inode.as_bytes())?;
        if xattr != NONE32 {
            self.inodes.write(&xattr.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_device(&mut self, id: NodeId, node: &Node, device: Device) -> Result<(), CodecError> {
        let rdev = device.encode().unwrap_or_else(|| unreachable!("the plan refuses other device numbers"));
        let inode = DeviceInode { nlink: self.links(id).into(), rdev: rdev.into() };
        self.write_simple(id, node, &inode)
    }

    fn write_symlink(&mut self, id: NodeId, node: &Node, target: &[u8]) -> Result<(), CodecError> {
        let xattr = self.xattrs.of(id);
        // The plan refuses targets over 65535 bytes.
        let target_size = u32::try_from(target.len()).unwrap_or(0).into();
        self.header(id, node, xattr != NONE32)?;
        self.inodes.write(SymlinkInode { nlink: self.links(id).into(), target_size }.as_bytes())?;
        self.inodes.write(target)?;
        if xattr != NONE32 {
            self.inodes.write(&xattr.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_file(&mut self, id: NodeId, node: &Node, file_size: u64) -> Result<(), WriteError> {
        let data = &self.data.files[self.file_index[&id]];
        let xattr = self.xattrs.of(id);
        let start = data.start.map_or(0, |start| self.data.blocks[start as usize].offset);
        let (fragment, fragment_offset) = self.data.tail(data).unwrap_or((NONE32, 0));
        let nlink = self.links(id);
        let basic = (u32::try_from(start), u32::try_from(file_size));
        match basic {
            (Ok(start_block), Ok(file_size)) if nlink == 1 && xattr == NONE32 && data.sparse == 0 => {
                self.header(id, node, false)?;
                let inode = FileInode {
                    start_block: start_block.into(),
                    fragment: fragment.into(),
                    fragment_offset: fragment_offset.into(),
                    file_size: file_size.into(),
                };
                self.inodes.write(inode.as_bytes())?;
            }
            _ => {
                self.header(id, node, true)?;
                let inode = ExtFileInode {
                    start_block: start.into(),
                    file_size: file_size.into(),
                    sparse: data.sparse.into(),
                    nlink: nlink.into(),
                    fragment: fragment.into(),
                    fragment_offset: fragment_offset.into(),
                    xattr: xattr.into(),
                };
                self.inodes.write(inode.as_bytes())?;
            }
        }
        Ok(self.write_block_sizes(data)?)
    }

    fn write_block_sizes(&mut self, data: &FileData) -> Result<(), CodecError> {
        let start = data.start.unwrap_or(0) as usize;
        for &block in &data.blocks {
            let word = if block == HOLE { 0 } else { self.data.blocks[start + block as usize].word };
            self.inodes.write(&word.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_directory(&mut self, id: NodeId, node: &Node) -> Result<(), WriteError> {
        let Some(listing) = self.listings.remove(&id) else {
            unreachable!("a directory's listing is written before its inode")
        };
        let parent = self.plan.parents[id.index()];
        let parent_inode = if id == Tree::ROOT { self.plan.inodes + 1 } else { self.number(parent) };
        let xattr = self.xattrs.of(id);
        let size = u32::try_from(listing.len + u64::from(DIR_SIZE_EXTRA)).map_err(|_| WriteError::Node {
            path: path_of(self.tree, id),
            what: format!("its listing has {} bytes, SquashFS holds 4294967292", listing.len),
            remedy: "split the directory",
        })?;
        // `check_table_size` keeps the table below 4 GiB.
        let start_block = u32::try_from(listing.start.block).unwrap_or(u32::MAX);
        let nlink = self.links(id);
        match u16::try_from(size) {
            Ok(file_size) if xattr == NONE32 && listing.index_count == 0 => {
                self.header(id, node, false)?;
                let inode = DirInode {
                    start_block: start_block.into(),
                    nlink: nlink.into(),
                    file_size: file_size.into(),
                    offset: listing.start.offset.into(),
                    parent_inode: parent_inode.into(),
                };
                self.inodes.write(inode.as_bytes())?;
            }
            _ => {
                self.header(id, node, true)?;
                let inode = ExtDirInode {
                    nlink: nlink.into(),
                    file_size: size.into(),
                    start_block: start_block.into(),
                    parent_inode: parent_inode.into(),
                    index_count: listing.index_count.into(),
                    offset: listing.start.offset.into(),
                    xattr: xattr.into(),
                };
                self.inodes.write(inode.as_bytes())?;
                self.inodes.write(&listing.index)?;
            }
        }
        Ok(())
    }
}
