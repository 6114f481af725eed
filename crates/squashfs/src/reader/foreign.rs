//! Images that Linux does not mount, read by the crate backhand: big-endian SquashFS 4.0 of any compressor, that of AVM,
//! and SquashFS 3 with gzip in both byte orders, under whatever magic vendors have given them.
//!
//! What backhand does not tell is not in the tree: xattrs, hard links (each name becomes a file of its own) and holes; of
//! version 3 neither the owners. [`ForeignImage::missing`] says so.
//! SquashFS 3 with LZMA (DD-WRT and others) is not read: only GPL code reads it.
//!
//! backhand bounds neither memory nor depth by the image, so unlike the rest of this reader this is **for images from
//! sources that are trusted not to be malicious**. A panic inside it becomes an error; a directory tree of absurd depth
//! may still end the program.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs::File;
//! use std::sync::Arc;
//! use flashwright_squashfs::reader::foreign;
//!
//! let file = File::open("fritzbox.squashfs")?;
//! let len = file.metadata()?.len();
//! let tree = foreign::read(Arc::new(file), len)?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use backhand::compression::{CompressionAction, Compressor};
use backhand::kind::{self, Kind};
use backhand::traits::filesystem::{BackhandInnerNode, BackhandNode, BackhandSquashfsFileReader};
use backhand::{BackhandError, FilesystemCompressor, FilesystemReaderTrait, SuperBlock};
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, ReadAt, Source, Timestamp, Tree};

use super::identify::{Foreign, HEAD_LEN, Identity, identify};
use super::input::Input;
use super::unpack::decompressor;
use super::{Image, ReadError};
use crate::format::{Compression, METADATA_SIZE};

/// Longest file that is kept unpacked between two reads, bytes. Longer ones are unpacked again for each.
const MAX_KEPT: u64 = 256 << 20;

/// An image of another kind, read.
#[derive(Debug)]
#[non_exhaustive]
pub struct ForeignImage {
    /// What its first bytes say.
    pub foreign: Foreign,
    /// What it was read as, for people: of several kinds that look alike, the one that made sense.
    pub read_as: &'static str,
    /// The tree, as far as backhand tells it.
    pub tree: Tree,
    /// What the image may have, and the tree has not, for people.
    pub missing: Vec<&'static str>,
}

impl ForeignImage {
    fn new(foreign: Foreign, read_as: &'static str, mut tree: Tree) -> Self {
        let mut missing = MISSING.to_vec();
        if foreign.version.0 < 4 {
            missing.push(MISSING_OF_V3);
            let root = &mut tree.node_mut(Tree::ROOT).metadata;
            (root.uid, root.gid) = (0, 0);
        }
        ForeignImage { foreign, read_as, tree, missing }
    }
}

/// What backhand tells of no image.
const MISSING: [&str; 3] = ["extended attributes", "hard links (each name is a file of its own)", "holes"];
/// Of version 3 backhand 0.25 takes all owners for 0, and that of the root for anything.
const MISSING_OF_V3: &str = "owners (all shown as 0)";

/// Reads the tree of an image of any kind: standard ones by [`Image`], others by backhand.
///
/// # Errors
/// [`ErrorClass::NotSquashfs`](super::ErrorClass::NotSquashfs), or
/// [`ErrorClass::Unsupported`](super::ErrorClass::Unsupported) with what the image is when nothing here reads it, or
/// what [`Image::open`] and [`Image::tree`] have.
pub fn read(source: Arc<dyn ReadAt>, len: u64) -> Result<Tree, ReadError> {
    match open(Arc::clone(&source), len)? {
        Some(image) => Ok(image.tree),
        None => Image::open(source, len)?.tree(),
    }
}

/// Reads an image of another kind by backhand; `None` when it is a standard one, or none at all.
///
/// # Errors
/// [`ErrorClass::Unsupported`](super::ErrorClass::Unsupported) with what the image is when nothing here reads it,
/// [`ErrorClass::Io`](super::ErrorClass::Io).
pub fn open(source: Arc<dyn ReadAt>, len: u64) -> Result<Option<ForeignImage>, ReadError> {
    let input = Input::new(Arc::clone(&source), len);
    let head_len = usize::try_from(len).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    match identify(&input.read(0, head_len, "superblock")?) {
        Identity::Foreign(foreign) => read_foreign(&source, len, foreign).map(Some),
        _ => Ok(None),
    }
}

fn read_foreign(source: &Arc<dyn ReadAt>, len: u64, foreign: Foreign) -> Result<ForeignImage, ReadError> {
    let mut reasons = Vec::new();
    for (read_as, kind) in kinds(&foreign) {
        let image = Patched { source: Arc::clone(source), position: 0, len, magic: kind.magic() };
        let opened = guarded(|| backhand::create_squashfs_from_kind(BufReader::new(image), 0, kind));
        match opened.and_then(|filesystem| Reader::new(filesystem).tree()) {
            Ok(tree) => return Ok(ForeignImage::new(foreign, read_as, tree)),
            Err(reason) => reasons.push(format!("as {read_as}: {reason}")),
        }
    }
    let Foreign { version: (major, minor), description, .. } = foreign;
    let tried = if reasons.is_empty() { "nothing here reads this".to_owned() } else { reasons.join("; ") };
    let what = format!("{description} (version {major}.{minor}): {tried}");
    let remedy = if major < 4 {
        "it is damaged, or has LZMA, which needs the vendor's tools or sasquatch"
    } else {
        "make or copy the image again"
    };
    Err(ReadError::unsupported(what, remedy))
}

/// The kinds that an image may be, by byte order and version.
fn kinds(foreign: &Foreign) -> Vec<(&'static str, Kind)> {
    let (major, minor) = foreign.version;
    let own = |inner| Kind::new_v4_with_const(&CODECS, inner);
    let old = |inner| Kind::from_const(inner).ok().map(|kind| kind.with_version(major, minor));
    match (major, foreign.big_endian) {
        (4, true) => {
            vec![("big-endian SquashFS", own(kind::BE_V4_0)), ("SquashFS of AVM", own(kind::AVM_BE_V4_0))]
        }
        (4, false) => vec![("SquashFS under another magic", own(kind::LE_V4_0))],
        (3, true) => old(kind::BE_V3_0).map(|kind| ("big-endian SquashFS 3", kind)).into_iter().collect(),
        (3, false) => old(kind::LE_V3_0).map(|kind| ("SquashFS 3", kind)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Runs what may panic on bad input.
fn guarded<T>(work: impl FnOnce() -> Result<T, BackhandError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("damaged beyond what backhand can name".to_owned()),
    }
}

/// An image whose first bytes are the magic that backhand expects.
#[derive(Debug)]
struct Patched {
    source: Arc<dyn ReadAt>,
    position: u64,
    len: u64,
    magic: [u8; 4],
}

impl Read for Patched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let take = left.min(buffer.len());
        let part = buffer.get_mut(..take).unwrap_or_default();
        self.source.read_exact_at(self.position, part)?;
        for (position, (byte, magic)) in (0u64..).zip(part.iter_mut().zip(self.magic)) {
            // Only a read from the start meets the magic: everything reads the superblock as one.
            if self.position == 0 && position < 4 {
                *byte = magic;
            }
        }
        self.position = self.position.saturating_add(take as u64);
        Ok(take)
    }
}

impl Seek for Patched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Our decompressors for backhand: LZO and LZMA among them, and bounded.
struct Codecs;

static CODECS: Codecs = Codecs;

impl CompressionAction for Codecs {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(
        &self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        compressor: Compressor,
    ) -> Result<(), BackhandError> {
        let compression = match compressor {
            Compressor::Gzip => Compression::Gzip,
            Compressor::Lzma => Compression::Lzma,
            Compressor::Lzo => Compression::Lzo,
            Compressor::Xz => Compression::Xz,
            Compressor::Lz4 => Compression::Lz4,
            Compressor::Zstd => Compression::Zstd,
            _ => return Err(BackhandError::CorruptedOrInvalidSquashfs),
        };
        out.resize(out.capacity().clamp(METADATA_SIZE, 1 << 20), 0);
        let len = decompressor(compression).and_then(|mut codec| codec.decompress(bytes, out));
        out.truncate(len.map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?);
        Ok(())
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Err(BackhandError::CorruptedOrInvalidSquashfs)
    }
}

/// An open image. Shared by the content of all its files.
struct Reader {
    filesystem: Box<dyn FilesystemReaderTrait>,
    /// The file that was read last, by its number in the image's order.
    last: Mutex<Option<(usize, Arc<[u8]>)>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    fn new(filesystem: Box<dyn FilesystemReaderTrait>) -> Arc<Self> {
        Arc::new(Reader { filesystem, last: Mutex::new(None) })
    }

    /// Makes the tree. The first file is read as a proof that the kind is right.
    fn tree(self: Arc<Self>) -> Result<Tree, String> {
        let mut tree = Tree::new();
        let mut proven = false;
        // Parents come before what is in them: backhand sorts by path.
        for (number, node) in self.filesystem.files().enumerate() {
            let path: Vec<_> = node.fullpath.as_os_str().as_bytes().to_vec();
            let (kind, content) = self.kind(number, &node);
            if let Some(content) = content.filter(|content| !proven && !content.is_empty()) {
                let len = usize::try_from(content.len()).unwrap_or(1).min(1);
                content.reader().read_exact_at(0, &mut vec![0; len]).map_err(|e| e.to_string())?;
                proven = true;
            }
            let made = Node::new(metadata(&node), kind);
            insert(&mut tree, &path, made)?;
        }
        Ok(tree)
    }

    fn kind(self: &Arc<Self>, number: usize, node: &BackhandNode) -> (NodeKind, Option<Content>) {
        let kind = match &node.inner {
            BackhandInnerNode::Dir => NodeKind::Directory,
            BackhandInnerNode::File(file) => {
                let len = file_len(file);
                let data = Arc::new(FileData { reader: Arc::clone(self), number, file: file.clone() });
                let content = Content::empty().with(Source::Reader(data), 0, len);
                return (NodeKind::File(content.clone()), Some(content));
            }
            BackhandInnerNode::Symlink { link } => NodeKind::Symlink(link.as_os_str().as_bytes().to_vec()),
            BackhandInnerNode::CharacterDevice { device_number } => {
                NodeKind::CharDevice(Device::decode(*device_number))
            }
            BackhandInnerNode::BlockDevice { device_number } => {
                NodeKind::BlockDevice(Device::decode(*device_number))
            }
            BackhandInnerNode::NamedPipe => NodeKind::Fifo,
            BackhandInnerNode::Socket => NodeKind::Socket,
        };
        (kind, None)
    }

    /// All of a file, if it is not too long to keep.
    fn whole(&self, data: &FileData) -> io::Result<Arc<[u8]>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, bytes)) = &*last
            && *number == data.number
        {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = guarded(|| self.filesystem.file_data(&data.file)).map_err(damaged)?.into();
        *last = Some((data.number, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn file_len(file: &BackhandSquashfsFileReader) -> u64 {
    match file {
        BackhandSquashfsFileReader::Basic { file_size, .. } => u64::from(*file_size),
        BackhandSquashfsFileReader::Extended { file_size, .. } => *file_size,
    }
}

fn metadata(node: &BackhandNode) -> Metadata {
    let mut metadata = Metadata::new(node.header.permissions);
    (metadata.uid, metadata.gid) = (node.header.uid, node.header.gid);
    metadata.mtime = Timestamp::from_seconds(i64::from(node.header.mtime));
    metadata
}

fn insert(tree: &mut Tree, path: &[u8], node: Node) -> Result<(), String> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    if path.is_empty() {
        *tree.node_mut(Tree::ROOT) = node;
        return Ok(());
    }
    let slash = path.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = match slash.and_then(|at| path.split_at_checked(at)) {
        Some((parent, name)) => (parent, name.strip_prefix(b"/").unwrap_or(name)),
        None => (&b""[..], path),
    };
    let parent = tree.resolve(parent).ok_or_else(|| "a name without its directory".to_owned())?;
    tree.insert(parent, name, node).map(|_| ()).map_err(|error| error.to_string())
}

/// The data of one file.
#[derive(Debug)]
struct FileData {
    reader: Arc<Reader>,
    number: usize,
    file: BackhandSquashfsFileReader,
}

impl ReadAt for FileData {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if file_len(&self.file) > MAX_KEPT {
            return self.read_through(offset, buffer);
        }
        let whole = self.reader.whole(self)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let part = whole.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl FileData {
    /// Unpacks from the start up to what is wanted.
    fn read_through(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut window = Window { skip: offset, buffer };
        let result = guarded(|| self.reader.filesystem.file_data_to_writer(&self.file, &mut window));
        if window.buffer.is_empty() {
            // The window ends the reading with an error once it is full.
            return Ok(());
        }
        result.map_err(damaged)?;
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Takes a range of what is written to it.
struct Window<'a> {
    /// Bytes to come before the range.
    skip: u64,
    buffer: &'a mut [u8],
}

impl io::Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip = self.skip.saturating_sub(skip as u64);
        let wanted = bytes.get(skip..).unwrap_or_default();
        let take = wanted.len().min(self.buffer.len());
        let (now, later) = std::mem::take(&mut self.buffer).split_at_mut(take);
        now.copy_from_slice(wanted.get(..take).unwrap_or_default());
        self.buffer = later;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
