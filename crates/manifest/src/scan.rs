//! Host files and directories into the tree: one `statat` for each, no data read, no root needed.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flashwright_tree::{
    Column, Content, Device, HostFile, Identity, Metadata, Node, NodeId, NodeKind, Source, Timestamp, Tree,
    Xattrs, display_path, join_path,
};
use rustix::fs::{self, Access, AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::builder::{Builder, Origin, Spot, spill_error};
use crate::names::Names;
use crate::{Error, Severity, XattrPolicy};

/// Carries `host` into the image at `at` (normal form). A directory comes with all that is in it.
///
/// # Errors
/// [`crate::Class::Io`] when the host refuses anything, [`crate::Class::Invalid`] when it does not fit what is there.
pub(crate) fn scan(builder: &mut Builder<'_>, request: &Request<'_>) -> Result<(), Error> {
    let flags = if request.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = fs::statat(fs::CWD, request.host, flags).map_err(|e| Error::io("read", request.host, e))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_directory != request.wants.allows(is_directory) {
        return Err(request.wrong_kind(is_directory));
    }
    if builder.chain.excludes(request.at) {
        return Ok(());
    }
    let mut scan = Scan {
        settings: Settings {
            hard_links: builder.chain.hard_links(),
            one_file_system: builder.chain.one_file_system(),
            xattrs: builder.chain.xattrs(),
            device: stat.st_dev,
        },
        unread: builder.tree.column(),
        builder,
        origin: request.origin,
        levels: Vec::new(),
        foreign_xattrs: BTreeMap::new(),
    };
    let mut next = scan.start(request, &stat)?;
    while let Some(directory) = next {
        scan.directory(directory)?;
        next = scan.next_directory();
    }
    scan.report_xattrs();
    Ok(())
}

/// What is to be carried in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Path on the host, as it is opened.
    pub(crate) host: &'a Path,
    /// Path in the image.
    pub(crate) at: &'a [u8],
    pub(crate) origin: Origin,
    /// Whether `host` itself is followed when it is a symlink; symlinks below it never are.
    pub(crate) follow: bool,
    pub(crate) wants: Wants,
}

/// What `host` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    Directory,
    NoDirectory,
    Anything,
}

impl Wants {
    /// Whether a directory (or something else) is what is wanted.
    const fn allows(self, is_directory: bool) -> bool {
        match self {
            Wants::Directory => true,
            Wants::NoDirectory => false,
            Wants::Anything => is_directory,
        }
    }
}

impl Request<'_> {
    fn wrong_kind(&self, is_directory: bool) -> Error {
        let host = self.host.display();
        if is_directory {
            return Error::invalid(format!("{host} is a directory, which cannot be linked to"))
                .with_help("name a file; a directory comes in as a source of its own");
        }
        Error::invalid(format!("{host} is not a directory")).with_help(
            "a file comes in as a node with host = \"…\"; other sources are FILE.toml, FILE.tar, FILE.cpio, pseudo:FILE, liminix:FILE, paths:FILE, device-table:FILE, pack-file:FILE, init-list:FILE",
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    hard_links: bool,
    one_file_system: bool,
    xattrs: XattrPolicy,
    /// File system that the scan started on.
    device: u64,
}

/// A directory whose entries are to be read next.
#[derive(Debug)]
struct Pending {
    host: PathBuf,
    path: Vec<u8>,
    id: NodeId,
    /// Whether `host` may be a symlink: only where the scan starts.
    follow: bool,
}

/// A directory that was read, while some of those in it were not.
#[derive(Debug)]
struct Level {
    host: PathBuf,
    path: Vec<u8>,
    /// How many of those at the end of [`Scan::unread`] are in it, and those in them.
    first_unread: usize,
}

#[derive(Debug)]
struct Scan<'b, 'o> {
    builder: &'b mut Builder<'o>,
    settings: Settings,
    origin: Origin,
    /// From where the scan started inwards.
    levels: Vec<Level>,
    /// Directories that were not read, those of the innermost level last: there may be a million of them.
    unread: Column,
    /// Attributes left behind, with how many files have them and the first of these.
    foreign_xattrs: BTreeMap<Vec<u8>, (u64, PathBuf)>,
}

/// One name of a host directory while it is looked at.
struct Entry<'a> {
    directory: BorrowedFd<'a>,
    name: &'a CStr,
    host: PathBuf,
    stat: &'a Stat,
}

impl Scan<'_, '_> {
    fn start(&mut self, request: &Request<'_>, stat: &Stat) -> Result<Option<Pending>, Error> {
        // The parent of `host` stands in for the directory, so that one path serves all; following is done here.
        let host = if request.follow && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            std::fs::canonicalize(request.host).map_err(|e| Error::io("read", request.host, e))?
        } else {
            request.host.to_owned()
        };
        let name = c_string(host.as_os_str().as_bytes()).map_err(|e| Error::io("read", &host, e))?;
        let entry = Entry { directory: fs::CWD, name: &name, host, stat };
        match self.builder.parent(request.at, self.origin)? {
            Some(spot) => {
                let id = self.entry(spot, &entry)?;
                Ok(id.map(|id| Pending { host: entry.host, path: spot.path(), id, follow: true }))
            }
            None => {
                let metadata = self.metadata(&entry, b"")?;
                self.warn_of_closed_root(&metadata, &entry.host);
                self.builder.replace_metadata(Tree::ROOT, metadata, self.origin)?;
                let (host, id) = (entry.host, Tree::ROOT);
                Ok(Some(Pending { host, path: Vec::new(), id, follow: true }))
            }
        }
    }

    /// A staging directory made by `mktemp -d` has mode 0700, and an image with that root runs nothing but root.
    fn warn_of_closed_root(&mut self, metadata: &Metadata, host: &Path) {
        if metadata.permissions & 0o005 != 0o005 {
            let message = format!(
                "/: mode {:04o} from {}, so that only its owner can use the image; declare \"/\" = {{ type = \"directory\", mode = \"0755\" }} to change that",
                metadata.permissions,
                host.display()
            );
            self.builder.note(Severity::Warning, message, None);
        }
    }

    /// Reads all entries of one directory, in byte order so that notes and errors do not depend on the host.
    fn directory(&mut self, pending: Pending) -> Result<(), Error> {
        let error = |doing: &str, e| Error::io(doing, &pending.host, e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let flags = if pending.follow { flags } else { flags | OFlags::NOFOLLOW };
        let fd = fs::open(&pending.host, flags, Mode::empty()).map_err(|e| error("open directory", e))?;
        let mut dir = Dir::new(fd).map_err(|e| error("read directory", e))?;
        let first_unread = self.unread.len();
        let mut names = Names::default();
        while names.read_more(&mut dir).map_err(|e| error("read directory", e))? {
            self.names(&pending, &names, dir.fd().map_err(|e| error("read directory", e))?)?;
        }
        self.builder.complete(pending.id)?;
        if self.unread.len() > first_unread {
            self.levels.push(Level { host: pending.host, path: pending.path, first_unread });
        }
        Ok(())
    }

    /// Brings in those of a directory that have these names.
    fn names(&mut self, pending: &Pending, names: &Names, fd: BorrowedFd<'_>) -> Result<(), Error> {
        for name in names.iter() {
            let path = join_path(&pending.path, name.to_bytes());
            if self.builder.chain.excludes(&path) {
                continue;
            }
            let host = pending.host.join(OsStr::from_bytes(name.to_bytes()));
            let stat =
                fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("read", &host, e))?;
            let spot = Spot { directory: pending.id, directory_path: &pending.path, name: name.to_bytes() };
            let entry = Entry { directory: fd, name, host, stat: &stat };
            if let Some(id) = self.entry(spot, &entry)? {
                self.unread.push(id.number()).map_err(spill_error)?;
            }
        }
        Ok(())
    }

    fn next_directory(&mut self) -> Option<Pending> {
        let level = self.levels.last()?;
        let id = NodeId::from_number(self.unread.pop()?);
        let name = self.builder.tree.first_name(id);
        let (host, path) = (level.host.join(OsStr::from_bytes(&name)), join_path(&level.path, &name));
        if self.unread.len() == level.first_unread {
            self.levels.pop();
        }
        Some(Pending { host, path, id, follow: false })
    }

    /// Puts it into the tree. The node of a directory that is to be read.
    fn entry(&mut self, spot: Spot<'_>, entry: &Entry<'_>) -> Result<Option<NodeId>, Error> {
        let is_directory = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
        let elsewhere = self.settings.one_file_system && entry.stat.st_dev != self.settings.device;
        if elsewhere {
            self.leave_out(&spot, entry, is_directory);
            if !is_directory {
                return Ok(None);
            }
        }
        let inode = (entry.stat.st_dev, entry.stat.st_ino);
        let shared = self.settings.hard_links && !is_directory && entry.stat.st_nlink > 1;
        if let Some(&id) = self.builder.inodes.get(&inode).filter(|_| shared) {
            return self.builder.put_link(spot, id, self.origin).map(|()| None);
        }
        let node = Node::new(self.metadata(entry, &spot.path())?, self.kind(entry)?);
        let id = self.builder.put(spot, node, self.origin)?;
        if shared {
            self.builder.inodes.insert(inode, id);
        }
        Ok((is_directory && !elsewhere).then_some(id))
    }

    fn leave_out(&mut self, spot: &Spot<'_>, entry: &Entry<'_>, is_directory: bool) {
        let path = spot.path();
        let what = if is_directory { "left empty" } else { "left out" };
        let message =
            format!("{}: {what}, {} is on another file system", display_path(&path), entry.host.display());
        self.builder.note(Severity::Info, message, None);
    }

    fn metadata(&mut self, entry: &Entry<'_>, path: &[u8]) -> Result<Metadata, Error> {
        let stat = entry.stat;
        let kind = FileType::from_raw_mode(stat.st_mode);
        // The mask leaves 12 bits, which fit.
        let permissions = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
        let tree_kind = match kind {
            FileType::Directory => flashwright_tree::Kind::Directory,
            FileType::Symlink => flashwright_tree::Kind::Symlink,
            _ => flashwright_tree::Kind::File,
        };
        let chain = &self.builder.chain;
        Ok(Metadata {
            permissions: chain.permissions(tree_kind, permissions),
            uid: chain.uid(stat.st_uid, path)?,
            gid: chain.gid(stat.st_gid, path)?,
            mtime: self.builder.host_mtime(mtime(stat)),
            xattrs: self.xattrs(&entry.host)?,
        })
    }

    fn kind(&self, entry: &Entry<'_>) -> Result<NodeKind, Error> {
        let stat = entry.stat;
        let device = || Device { major: fs::major(stat.st_rdev), minor: fs::minor(stat.st_rdev) };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => NodeKind::File(content_of(entry)?),
            FileType::Symlink => {
                let target = fs::readlinkat(entry.directory, entry.name, Vec::new())
                    .map_err(|e| Error::io("read the symlink", &entry.host, e))?;
                NodeKind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => NodeKind::CharDevice(device()),
            FileType::BlockDevice => NodeKind::BlockDevice(device()),
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::Unknown => {
                let message = format!("{} has a file type that no image can hold", entry.host.display());
                return Err(Error::invalid(message).with_help("leave it out with an exclude glob"));
            }
        })
    }

    fn xattrs(&mut self, host: &Path) -> Result<Xattrs, Error> {
        let mut kept = Xattrs::new();
        if self.settings.xattrs == XattrPolicy::None {
            return Ok(kept);
        }
        let names = list_xattrs(host).map_err(|e| xattr_error(host, e))?;
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            if !wants_xattr(self.settings.xattrs, name) {
                self.foreign_xattrs.entry(name.to_vec()).or_insert_with(|| (0, host.to_owned())).0 += 1;
            } else if let Some(value) = get_xattr(host, name).map_err(|e| xattr_error(host, e))? {
                kept.insert(name.to_vec(), value);
            }
        }
        Ok(kept)
    }

    fn report_xattrs(&mut self) {
        for (name, (count, first)) in std::mem::take(&mut self.foreign_xattrs) {
            let name = String::from_utf8_lossy(&name).into_owned();
            let hint =
                if name.starts_with("system.posix_acl_") { "; xattrs = \"acl\" keeps them" } else { "" };
            let message =
                format!("xattr {name} left behind on {count} files, first {}{hint}", first.display());
            let place = Some(self.builder.place(self.origin));
            self.builder.note(Severity::Warning, message, place);
        }
    }
}

/// Whether an extended attribute of that name comes in.
pub(crate) fn wants_xattr(policy: XattrPolicy, name: &[u8]) -> bool {
    let standard = [&b"user."[..], b"trusted.", b"security."];
    match policy {
        XattrPolicy::None => false,
        XattrPolicy::Standard => standard.iter().any(|prefix| name.starts_with(prefix)),
        XattrPolicy::WithAcls => {
            standard.iter().any(|prefix| name.starts_with(prefix)) || name.starts_with(b"system.posix_acl_")
        }
    }
}

/// Modification time as the tree has it.
pub(crate) fn mtime(stat: &Stat) -> Timestamp {
    // The kernel's nanoseconds are below 10^9.
    Timestamp { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// The data of a host file by its path, for nodes that are declared.
///
/// # Errors
/// [`crate::Class::Io`] when it is missing or unreadable, [`crate::Class::Invalid`] when it is no regular file.
pub(crate) fn host_content(host: &Path) -> Result<(Content, Stat), Error> {
    let stat = fs::stat(host).map_err(|e| Error::io("read", host, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let message = format!("{} is not a regular file", host.display());
        return Err(Error::invalid(message)
            .with_help("data comes from regular files; a directory comes in as a source"));
    }
    let name = c_string(host.as_os_str().as_bytes()).map_err(|e| Error::io("read", host, e))?;
    let host = host.to_owned();
    let content = content_of(&Entry { directory: fs::CWD, name: &name, host, stat: &stat })?;
    Ok((content, stat))
}

/// Extents of a regular file. A file that takes fewer disk blocks than it has bytes is asked for its holes.
fn content_of(entry: &Entry<'_>) -> Result<Content, Error> {
    let stat = entry.stat;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    // Who may read is only asked where not everybody may.
    if stat.st_mode & 0o444 != 0o444 {
        let readable = fs::accessat(entry.directory, entry.name, Access::READ_OK, AtFlags::EACCESS);
        readable.map_err(|e| Error::io("read", &entry.host, e))?;
    }
    let identity = Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
        len,
        mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    };
    let file = Arc::new(HostFile::at(entry.host.clone(), identity));
    if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) >= len {
        return Ok(Content::from_host(file));
    }
    sparse_content(entry, file, len).map_err(|e| Error::io("read", &entry.host, e))
}

fn sparse_content(entry: &Entry<'_>, file: Arc<HostFile>, len: u64) -> Result<Content, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let fd = fs::openat(entry.directory, entry.name, flags, Mode::empty())?;
    let mut content = Content::empty();
    let mut offset = 0;
    while offset < len {
        let Some(data) = seek(&fd, SeekFrom::Data(offset))? else { break };
        let data = data.clamp(offset, len);
        let hole = seek(&fd, SeekFrom::Hole(data))?.unwrap_or(len).clamp(data, len);
        content = content.with(Source::Hole, 0, data - offset);
        content = content.with(Source::Host(Arc::clone(&file)), data, hole - data);
        // A file that shrinks meanwhile may answer with the same place for ever.
        if hole == offset {
            break;
        }
        offset = hole;
    }
    Ok(content.with(Source::Hole, 0, len - offset))
}

/// Where the next data or hole is; `None` when there is none up to the end. A file system without this knowledge
/// says that all is data.
fn seek(fd: &OwnedFd, to: SeekFrom) -> Result<Option<u64>, Errno> {
    match fs::seek(fd, to) {
        Ok(offset) => Ok(Some(offset)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            Ok(if let SeekFrom::Data(offset) = to { Some(offset) } else { None })
        }
        Err(e) => Err(e),
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, std::io::Error> {
    CString::new(bytes).map_err(std::io::Error::other)
}

fn xattr_error(host: &Path, errno: Errno) -> Error {
    Error::io("read the xattrs of", host, errno).with_help("xattrs = false (--no-xattrs) leaves them out")
}

/// Names of all attributes, each with a NUL after it. Empty where the file system knows none.
fn list_xattrs(host: &Path) -> Result<Vec<u8>, Errno> {
    let mut names = Vec::with_capacity(256);
    loop {
        match fs::llistxattr(host, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => return Ok(names),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(Errno::RANGE) => names.reserve(names.capacity().saturating_mul(2).max(65_536)),
            Err(e) => return Err(e),
        }
    }
}

/// The value of one attribute; `None` when it went away meanwhile.
fn get_xattr(host: &Path, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = Vec::with_capacity(256);
    loop {
        match fs::lgetxattr(host, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::NODATA) => return Ok(None),
            Err(Errno::RANGE) => value.reserve(value.capacity().saturating_mul(2).max(65_536)),
            Err(e) => return Err(e),
        }
    }
}
