//! Archive to tree. The archive may be hostile: memory stays within a small multiple of the archive's own length,
//! nothing recurses, and no path leaves the tree.
//!
//! Archives one after the other become one tree, as Linux unpacks them: a later entry replaces an earlier one of the
//! same path, and hard links never cross from one archive to the next.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use flashwright_tree::{
    Content, Device, Kind, Metadata, Node, NodeId, NodeKind, ReadAt, Source, Timestamp, Tree, display_path,
};

use crate::Error;
use crate::format::{
    ALIGNMENT, HEADER_LEN, Header, MAGIC, MAGIC_CHECKED, MAGIC_PORTABLE, MAX_NAME, MAX_PATH, TRAILER, padding,
};

/// Bytes read at a time where zeros are skipped and checksums made.
const CHUNK: u64 = 64 * 1024;
/// Longest name and longest target with a NUL, in bytes.
const PATH_MAX: u64 = 4096;

/// Most directories that are made up for one archive: each costs memory that the archive did not pay for.
const MAX_MADE_UP: usize = 1 << 16;

/// Reads the archive of `len` bytes in `archive`. File data stays there and is read when the tree's content is. What
/// Linux leaves out, since no directory for it comes before it, is an error.
///
/// # Errors
/// [`Error::Corrupt`] with the position of what is wrong, [`Error::Read`].
pub fn read(archive: Arc<dyn ReadAt>, len: u64) -> Result<Tree, Error> {
    let data = Source::Reader(Arc::clone(&archive));
    Reader::new(Archive { source: data.clone(), data, len }, Rules::Linux).run().map(|contents| contents.tree)
}

/// What an archive holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Contents {
    /// The tree.
    pub tree: Tree,
    /// Directories without an entry of their own, the root perhaps among them: they are there because something is in
    /// them, and their metadata means nothing.
    pub made_up: HashSet<NodeId>,
}

/// Reads an archive as `cpio -id` does: directories that come after what is in them, or not at all, are made. The tree's
/// file data is then read from `data`, which must be the same bytes.
///
/// # Errors
/// As [`read`].
pub fn read_parts(archive: Arc<dyn ReadAt>, len: u64, data: Source) -> Result<Contents, Error> {
    Reader::new(Archive { source: Source::Reader(archive), data, len }, Rules::Cpio).run()
}

/// Whose rules count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// Those of Linux: an entry whose directory has not come yet is an error, as Linux leaves it out.
    Linux,
    /// Those of the program cpio: the directory is made.
    Cpio,
}

/// Reads an archive in memory. The tree's content shares the memory.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(archive: impl Into<Arc<[u8]>>) -> Result<Tree, Error> {
    let bytes = archive.into();
    let len = bytes.len() as u64;
    let data = Source::Bytes(bytes);
    Reader::new(Archive { source: data.clone(), data, len }, Rules::Linux).run().map(|contents| contents.tree)
}

struct Archive {
    /// For headers and names.
    source: Source,
    /// For the content of files.
    data: Source,
    len: u64,
}

impl Archive {
    fn content(&self, offset: u64, len: u64) -> Content {
        Content::empty().with(self.data.clone(), offset, len)
    }

    /// `len` bytes at `offset`, which must be in the archive.
    fn bytes(&self, offset: u64, len: u64, what: &str) -> Result<Vec<u8>, Error> {
        self.check_range(offset, len, what)?;
        let fail = |error: io::Error| Error::Read { offset, error };
        let mut buffer = vec![0; usize::try_from(len).map_err(|e| fail(io::Error::other(e)))?];
        Content::empty()
            .with(self.source.clone(), offset, len)
            .reader()
            .read_exact_at(0, &mut buffer)
            .map_err(|error| fail(io::Error::other(error)))?;
        Ok(buffer)
    }

    fn check_range(&self, offset: u64, len: u64, what: &str) -> Result<(), Error> {
        let left = self.len.saturating_sub(offset);
        if len <= left {
            return Ok(());
        }
        let problem =
            format!("the archive is cut short: {what} needs {len} bytes, {left} are left: get it again");
        Err(Error::corrupt(offset, problem))
    }
}

/// What makes two entries of one archive the same file: device, inode number and file type.
type LinkKey = (u32, u32, u32, Kind);

struct Entry {
    header: Header,
    /// Position of the header.
    offset: u64,
    /// Position of the data.
    body: u64,
    path: Vec<u8>,
    kind: Kind,
}

struct Reader {
    archive: Archive,
    tree: Tree,
    rules: Rules,
    made_up: HashSet<NodeId>,
    links: HashMap<LinkKey, NodeId>,
}

impl Reader {
    fn new(archive: Archive, rules: Rules) -> Self {
        let made_up = HashSet::from([Tree::ROOT]);
        Reader { archive, tree: Tree::new(), rules, made_up, links: HashMap::new() }
    }

    fn run(mut self) -> Result<Contents, Error> {
        let mut offset = 0;
        loop {
            offset = self.one_archive(offset)?;
            match self.skip_zeros(offset)? {
                None => return Ok(Contents { tree: self.tree, made_up: self.made_up }),
                Some(next) => offset = next,
            }
        }
    }

    /// Reads from a header up to the trailer; returns the position after it.
    fn one_archive(&mut self, mut offset: u64) -> Result<u64, Error> {
        self.links.clear();
        loop {
            let (header, checked) = self.header(offset)?;
            let name = self.name(offset, &header)?;
            let head_len = (HEADER_LEN as u64).saturating_add(header.namesize.into());
            let body = aligned(offset.saturating_add(head_len));
            if name == TRAILER {
                return Ok(body);
            }
            let body_len = u64::from(header.filesize);
            self.archive.check_range(body, body_len, "file data")?;
            // As Linux: GNU cpio gives symlinks no checksum.
            if checked && kind_of(header.mode) == Some(Kind::File) {
                self.verify(body, &header)?;
            }
            self.entry(offset, body, header, &name)?;
            offset = aligned(body.saturating_add(body_len));
        }
    }

    fn header(&self, offset: u64) -> Result<(Header, bool), Error> {
        let left = self.archive.len.saturating_sub(offset);
        let start = self.archive.bytes(offset, left.min(6), "a magic number")?;
        let checked = start == MAGIC_CHECKED;
        if !checked && start != MAGIC {
            return Err(Error::corrupt(offset, bad_magic(&start)));
        }
        let bytes = self.archive.bytes(offset, HEADER_LEN as u64, "a header")?;
        let header = bytes.get(MAGIC.len()..).and_then(Header::decode);
        let problem = "expected 13 hexadecimal numbers of 8 digits in the header, found something else";
        Ok((header.ok_or_else(|| Error::corrupt(offset, problem))?, checked))
    }

    fn name(&self, offset: u64, header: &Header) -> Result<Vec<u8>, Error> {
        let at = offset.saturating_add(HEADER_LEN as u64);
        let len = u64::from(header.namesize);
        if len == 0 || len > PATH_MAX {
            let problem = format!("expected a name of 1 to {PATH_MAX} bytes with its NUL, found {len}");
            return Err(Error::corrupt(offset, problem));
        }
        let mut name = self.archive.bytes(at, len, "a name")?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(Error::corrupt(at, "expected a name with a NUL byte at its end, and nowhere else"));
        }
        Ok(name)
    }

    /// Compares the sum of the data's bytes with the header's.
    fn verify(&self, body: u64, header: &Header) -> Result<(), Error> {
        let end = body.saturating_add(header.filesize.into());
        let mut sum = 0u32;
        let mut offset = body;
        while offset < end {
            let len = end.saturating_sub(offset).min(CHUNK);
            let chunk = self.archive.bytes(offset, len, "file data")?;
            sum = chunk.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into()));
            offset = offset.saturating_add(len);
        }
        if sum == header.check {
            return Ok(());
        }
        let problem =
            format!("data checksum {sum:#010x}, expected {:#010x}: get the archive again", header.check);
        Err(Error::corrupt(body, problem))
    }

    fn entry(&mut self, offset: u64, body: u64, header: Header, name: &[u8]) -> Result<(), Error> {
        let path = clean_path(name).map_err(|problem| match problem {
            BadPath::Escape => Error::Escape { offset, path: name.to_vec() },
            BadPath::Long(problem) => Error::corrupt(offset, problem),
        })?;
        let kind = kind_of(header.mode).ok_or_else(|| {
            let path = display_path(&path);
            Error::corrupt(offset, format!("{path}: mode {:#o} is that of no file type", header.mode))
        })?;
        let entry = Entry { header, offset, body, path, kind };
        if kind == Kind::Directory {
            return self.directory(&entry);
        }
        let (parent, name) = self.parent(&entry)?;
        self.remove(&entry, parent, &name)?;
        match self.linked(&entry)? {
            Some(id) => self.tree.link(parent, &name, id),
            None => self.tree.insert(parent, &name, self.node(&entry)?).map(|id| self.remember(&entry, id)),
        }
        .map_err(|error| entry.problem(&error.to_string()))
    }

    /// A directory that is there already keeps its entries and takes the new metadata.
    fn directory(&mut self, entry: &Entry) -> Result<(), Error> {
        let existing = self.tree.resolve(&entry.path).filter(|&id| self.tree.kind(id) == Kind::Directory);
        if let Some(id) = existing {
            self.made_up.remove(&id);
            self.tree.node_mut(id).metadata = entry.metadata();
            return Ok(());
        }
        let (parent, name) = self.parent(entry)?;
        self.tree.unlink(parent, &name);
        let mut node = Node::directory(0);
        node.metadata = entry.metadata();
        self.tree.insert(parent, &name, node).map(drop).map_err(|error| entry.problem(&error.to_string()))
    }

    /// The directory that holds the entry, and the entry's name in it.
    fn parent(&mut self, entry: &Entry) -> Result<(NodeId, Vec<u8>), Error> {
        let slash = entry.path.iter().rposition(|&byte| byte == b'/');
        let (directory, name) = match slash.and_then(|at| entry.path.split_at_checked(at)) {
            Some((directory, name)) => (directory, name.strip_prefix(b"/").unwrap_or(name)),
            None => (&b""[..], entry.path.as_slice()),
        };
        if name.is_empty() {
            return Err(entry.problem("the root can only be a directory"));
        }
        match self.tree.resolve(directory) {
            Some(id) if self.tree.kind(id) == Kind::Directory => Ok((id, name.to_vec())),
            Some(_) => Err(entry.problem("what should be its directory is something else")),
            None if self.rules == Rules::Cpio => Ok((self.make(entry, directory)?, name.to_vec())),
            None => Err(entry.problem("no entry for its directory comes before it, so Linux leaves it out")),
        }
    }

    /// Makes a directory with those above it.
    fn make(&mut self, entry: &Entry, path: &[u8]) -> Result<NodeId, Error> {
        let mut directory = Tree::ROOT;
        for name in path.split(|&byte| byte == b'/') {
            directory = match self.tree.lookup(directory, name) {
                Some(id) => id,
                None if self.made_up.len() < MAX_MADE_UP => {
                    let made = self.tree.insert(directory, name, Node::directory(0o755));
                    let id = made.map_err(|error| entry.problem(&error.to_string()))?;
                    self.made_up.insert(id);
                    id
                }
                None => {
                    let problem = format!("more than {MAX_MADE_UP} directories without an entry");
                    return Err(entry.problem(&problem));
                }
            };
        }
        Ok(directory)
    }

    /// Makes room for an entry that is no directory.
    fn remove(&mut self, entry: &Entry, parent: NodeId, name: &[u8]) -> Result<(), Error> {
        let old = self.tree.lookup(parent, name);
        let full = |id| self.tree.entries(id).len() > 0;
        if old.is_some_and(full) {
            return Err(entry.problem("it would replace a directory that is not empty"));
        }
        self.tree.unlink(parent, name);
        Ok(())
    }

    /// The node that this entry is one more name of, brought up to date: data and metadata of the last entry count.
    fn linked(&mut self, entry: &Entry) -> Result<Option<NodeId>, Error> {
        let id = entry.link_key().and_then(|key| self.links.get(&key)).copied();
        let Some(id) = id else { return Ok(None) };
        let new = self.node(entry)?;
        let old = self.tree.node_mut(id);
        match (&mut old.kind, new.kind) {
            (NodeKind::Symlink(old), NodeKind::Symlink(new)) if *old != new => return Ok(None),
            (NodeKind::File(old), NodeKind::File(new)) if !new.is_empty() => *old = new,
            _ => {}
        }
        old.metadata = new.metadata;
        Ok(Some(id))
    }

    fn remember(&mut self, entry: &Entry, id: NodeId) {
        if let Some(key) = entry.link_key() {
            self.links.insert(key, id);
        }
    }

    fn node(&self, entry: &Entry) -> Result<Node, Error> {
        let header = &entry.header;
        let device = Device { major: header.rdev_major, minor: header.rdev_minor };
        let kind = match entry.kind {
            Kind::Directory => NodeKind::Directory,
            Kind::File => NodeKind::File(self.archive.content(entry.body, header.filesize.into())),
            Kind::Symlink => NodeKind::Symlink(self.target(entry)?),
            Kind::CharDevice => NodeKind::CharDevice(device),
            Kind::BlockDevice => NodeKind::BlockDevice(device),
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
        };
        Ok(Node::new(entry.metadata(), kind))
    }

    fn target(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let len = entry.header.filesize;
        if len == 0 || u64::from(len) > PATH_MAX {
            return Err(entry.problem(&format!("expected a target of 1 to {MAX_PATH} bytes, found {len}")));
        }
        let mut target = self.archive.bytes(entry.body, len.into(), "a symlink's target")?;
        // Some programs store the NUL.
        if target.last() == Some(&0) {
            target.pop();
        }
        if target.is_empty() || target.contains(&0) || target.len() > MAX_PATH {
            return Err(entry.problem("a symlink's target of 1 to 4095 bytes without NUL was expected"));
        }
        Ok(target)
    }

    /// Position of the next byte that is not zero; `None` at the end.
    fn skip_zeros(&self, mut offset: u64) -> Result<Option<u64>, Error> {
        while offset < self.archive.len {
            let len = self.archive.len.saturating_sub(offset).min(CHUNK);
            let chunk = self.archive.bytes(offset, len, "padding")?;
            if let Some(at) = chunk.iter().position(|&byte| byte != 0) {
                return check_start(offset.saturating_add(at as u64)).map(Some);
            }
            offset = offset.saturating_add(len);
        }
        Ok(None)
    }
}

impl Entry {
    fn metadata(&self) -> Metadata {
        // The mask leaves 12 bits.
        let permissions = u16::try_from(self.header.mode & 0o7777).unwrap_or_default();
        let mut metadata = Metadata::new(permissions);
        (metadata.uid, metadata.gid) = (self.header.uid, self.header.gid);
        metadata.mtime = Timestamp::from_seconds(self.header.mtime.into());
        metadata
    }

    /// `None` for a file of one name: its inode number means nothing.
    fn link_key(&self) -> Option<LinkKey> {
        let header = &self.header;
        (header.nlink > 1).then_some((header.dev_major, header.dev_minor, header.ino, self.kind))
    }

    fn problem(&self, what: &str) -> Error {
        Error::corrupt(self.offset, format!("{}: {what}", display_path(&self.path)))
    }
}

fn aligned(offset: u64) -> u64 {
    offset.saturating_add(padding(offset, ALIGNMENT))
}

/// An archive after another must start where Linux would find it.
fn check_start(offset: u64) -> Result<u64, Error> {
    if padding(offset, ALIGNMENT) == 0 {
        return Ok(offset);
    }
    let problem =
        "expected an archive at a multiple of 4 bytes or nothing, found bytes that Linux calls junk";
    Err(Error::corrupt(offset, problem))
}

fn kind_of(mode: u32) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| u32::from(kind.mode_bits()) == mode & !0o7777)
}

enum BadPath {
    Escape,
    Long(String),
}

/// Path without leading `/` and `.` components.
fn clean_path(name: &[u8]) -> Result<Vec<u8>, BadPath> {
    let parts: Vec<_> = name.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let shown = display_path(name);
    if parts.iter().any(|part| *part == b"..") {
        return Err(BadPath::Escape);
    }
    if parts.iter().any(|part| part.len() > MAX_NAME) {
        let problem = format!("{shown}: expected names of at most {MAX_NAME} bytes, so Linux leaves it out");
        return Err(BadPath::Long(problem));
    }
    Ok(parts.join(&b'/'))
}

fn bad_magic(start: &[u8]) -> String {
    let hint = match start {
        MAGIC_PORTABLE => ", the old portable format; make the archive again as newc (cpio -H newc)",
        [0x1f, 0x8b, ..] => ", gzip data; decompress it first",
        [0xfd, b'7', b'z', ..] => ", xz data; decompress it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ", zstd data; decompress it first",
        [0x02, 0x21, 0x4c, 0x18, ..] => ", lz4 data; decompress it first",
        [0x89, b'L', b'Z', b'O', ..] => ", lzop data; decompress it first",
        [] => "; the archive ends without its TRAILER!!! entry",
        _ => "; this is no newc archive, or an entry before this has a wrong length",
    };
    let found: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("expected the magic 070701 or 070702, found bytes {found:?}{hint}")
}
