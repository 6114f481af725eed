//! One inode, from its bytes.

use flashwright_tree::{Device, Kind};
use zerocopy::little_endian::U32;

use super::ReadError;
use super::limits::Budget;
use super::metadata::{Cursor, MetadataTable};
use crate::format::{
    DIR_SIZE_EXTRA, DeviceInode, DirInode, ExtDirInode, ExtFileInode, FileInode, InodeHeader, InodeType,
    IpcInode, MetadataRef, NONE32, SymlinkInode,
};

/// An inode as it is stored.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) inode_type: InodeType,
    pub(super) permissions: u16,
    /// Indices into the id table.
    pub(super) owner: (u16, u16),
    pub(super) mtime: u32,
    /// Number of links; a basic file has no such field, and one name.
    pub(super) nlink: u32,
    /// Index of the xattr set, or [`NONE32`].
    pub(super) xattr: u32,
    pub(super) body: Body,
}

/// What only inodes of one kind have.
#[derive(Debug)]
pub(super) enum Body {
    Directory(DirectoryBody),
    File(FileBody),
    Symlink(Vec<u8>),
    Device(Device),
    Ipc,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct DirectoryBody {
    /// Where the listing starts; means nothing when it is empty.
    pub(super) listing: MetadataRef,
    /// The size field: bytes of the listing plus [`DIR_SIZE_EXTRA`].
    pub(super) file_size: u32,
    /// Inode number of the parent directory.
    pub(super) parent: u32,
    /// Entries of the directory index, which follow the inode.
    pub(super) index_count: u16,
}

impl DirectoryBody {
    /// Bytes of the listing.
    pub(super) fn listing_len(&self) -> u32 {
        self.file_size.saturating_sub(DIR_SIZE_EXTRA)
    }
}

#[derive(Debug)]
pub(super) struct FileBody {
    /// Position of the first data block.
    pub(super) start: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Bytes that the inode counts as holes; 0 in a basic inode.
    pub(super) sparse: u64,
    /// Index of the fragment with the tail, and the tail's first byte in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Size words of the data blocks.
    pub(super) words: Vec<u32>,
}

impl FileBody {
    /// Bytes of the file that data block `index` holds.
    pub(super) fn block_len(&self, index: usize, block_size: u32) -> u32 {
        let start = (index as u64).saturating_mul(u64::from(block_size));
        let left = self.size.saturating_sub(start);
        u32::try_from(left).map_or(block_size, |left| left.min(block_size))
    }

    /// Bytes of the file that are in a fragment.
    pub(super) fn tail_len(&self, block_size: u32) -> u32 {
        let blocks = (self.words.len() as u64).saturating_mul(u64::from(block_size));
        // With a fragment this is below the block size, see `read_words`.
        self.fragment.map_or(0, |_| u32::try_from(self.size.saturating_sub(blocks)).unwrap_or_default())
    }
}

impl Inode {
    /// Reads the inode that a reference points to.
    pub(super) fn at(
        table: &MetadataTable,
        reference: MetadataRef,
        block_size: u32,
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        Inode::read(&mut table.cursor(reference)?, block_size, budget)
    }

    /// Reads the next inode, without the directory index that may follow it.
    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        block_size: u32,
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        let place = cursor.place();
        let header: InodeHeader = cursor.get()?;
        let number = header.inode_number.get();
        Inode::after_header(header, cursor, block_size, budget)
            .map_err(|error| error.at(place).in_inode(number))
    }

    fn after_header(
        header: InodeHeader,
        cursor: &mut Cursor<'_>,
        block_size: u32,
        budget: &mut Budget,
    ) -> Result<Self, ReadError> {
        let inode_type = InodeType::from_number(header.inode_type.get())
            .ok_or_else(|| ReadError::corrupt("inode", "a type from 1 to 14", header.inode_type))?;
        let (nlink, body, xattr) = match (inode_type.kind, inode_type.extended) {
            (Kind::Directory, false) => directory(cursor.get()?),
            (Kind::Directory, true) => extended_directory(cursor.get()?),
            (Kind::File, false) => {
                let inode: FileInode = cursor.get()?;
                (1, file(&widen(inode), block_size, cursor, budget)?, Some(NONE32))
            }
            (Kind::File, true) => {
                let inode: ExtFileInode = cursor.get()?;
                (inode.nlink.get(), file(&inode, block_size, cursor, budget)?, Some(inode.xattr.get()))
            }
            (Kind::Symlink, _) => symlink(cursor, budget)?,
            (Kind::CharDevice | Kind::BlockDevice, _) => {
                let inode: DeviceInode = cursor.get()?;
                (inode.nlink.get(), Body::Device(Device::decode(inode.rdev.get())), None)
            }
            (Kind::Fifo | Kind::Socket, _) => (cursor.get::<IpcInode>()?.nlink.get(), Body::Ipc, None),
        };
        let xattr = match xattr {
            Some(xattr) => xattr,
            None if inode_type.extended => cursor.get::<U32>()?.get(),
            None => NONE32,
        };
        let owner = (header.uid.get(), header.gid.get());
        let (permissions, mtime) = (header.permissions.get(), header.mtime.get());
        let number = header.inode_number.get();
        Ok(Inode { number, inode_type, permissions, owner, mtime, nlink, xattr, body })
    }
}

/// Number of links, body, and the xattr index unless it comes last.
type Parts = (u32, Body, Option<u32>);

fn directory(inode: DirInode) -> Parts {
    let block = u64::from(inode.start_block.get());
    let body = DirectoryBody {
        listing: MetadataRef { block, offset: inode.offset.get() },
        file_size: u32::from(inode.file_size.get()),
        parent: inode.parent_inode.get(),
        index_count: 0,
    };
    (inode.nlink.get(), Body::Directory(body), Some(NONE32))
}

fn extended_directory(inode: ExtDirInode) -> Parts {
    let block = u64::from(inode.start_block.get());
    let body = DirectoryBody {
        listing: MetadataRef { block, offset: inode.offset.get() },
        file_size: inode.file_size.get(),
        parent: inode.parent_inode.get(),
        index_count: inode.index_count.get(),
    };
    (inode.nlink.get(), Body::Directory(body), Some(inode.xattr.get()))
}

fn widen(inode: FileInode) -> ExtFileInode {
    ExtFileInode {
        start_block: u64::from(inode.start_block.get()).into(),
        file_size: u64::from(inode.file_size.get()).into(),
        sparse: 0.into(),
        nlink: 1.into(),
        fragment: inode.fragment,
        fragment_offset: inode.fragment_offset,
        xattr: NONE32.into(),
    }
}

fn file(
    inode: &ExtFileInode,
    block_size: u32,
    cursor: &mut Cursor<'_>,
    budget: &mut Budget,
) -> Result<Body, ReadError> {
    let size = inode.file_size.get();
    let fragment = inode.fragment.get();
    let fragment = (fragment != NONE32).then_some((fragment, inode.fragment_offset.get()));
    let block_size = u64::from(block_size);
    let count = match fragment {
        // Block sizes are not zero; a division cannot fail.
        Some(_) => size.checked_div(block_size).unwrap_or_default(),
        None => size.div_ceil(block_size),
    };
    let words = read_words(count, cursor, budget)?;
    Ok(Body::File(FileBody {
        start: inode.start_block.get(),
        size,
        sparse: inode.sparse.get(),
        fragment,
        words,
    }))
}

/// The block list. Nothing is allocated for more words than the table still holds.
fn read_words(count: u64, cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Vec<u32>, ReadError> {
    let len = count.saturating_mul(4);
    let Some(len) = usize::try_from(len).ok().filter(|&len| len <= cursor.left()) else {
        return Err(cursor.too_short(len));
    };
    budget.charge(len as u64, "block list")?;
    Ok(cursor.take(len)?.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

fn symlink(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Parts, ReadError> {
    let inode: SymlinkInode = cursor.get()?;
    let target = cursor.take(inode.target_size.get() as usize)?;
    if target.is_empty() || target.contains(&0) {
        let found = format!("{:?}", String::from_utf8_lossy(target));
        return Err(ReadError::corrupt("symlink", "a target of at least 1 byte, without NUL", found));
    }
    budget.charge(target.len() as u64, "symlink target")?;
    Ok((inode.nlink.get(), Body::Symlink(target.to_vec()), None))
}
