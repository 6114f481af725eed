//! Creates one node. Everything but directories gets its metadata at once.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use flashwright_tree::{Content, Device, Node, NodeKind, Source, WalkEntry, check_name};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::finish::Object;
use crate::{ExtractError, Extraction, First, last_name, parent_path};

/// Bytes of file data that are copied at a time.
const CHUNK: usize = 1 << 20;

impl Extraction<'_> {
    pub(crate) fn create(&mut self, entry: &WalkEntry) -> Result<(), ExtractError> {
        let name = last_name(&entry.path);
        check_name(name).map_err(|error| ExtractError::Name { path: entry.path.clone(), error })?;
        if !entry.first {
            return self.link(entry);
        }
        let exists = self.create_new(entry, OsStr::from_bytes(name))?;
        if self.names.get(entry.id.index()).is_some_and(|&names| names > 1) {
            self.first_names.insert(entry.id, First { path: entry.path.clone(), exists });
        }
        Ok(())
    }

    /// Creates the node under its first name. False when the host cannot have it.
    fn create_new(&mut self, entry: &WalkEntry, name: &OsStr) -> Result<bool, ExtractError> {
        let path = &entry.path;
        match &entry.node.kind {
            NodeKind::Directory => {
                let parent = self.directories.at(parent_path(path))?;
                fs::mkdirat(parent, name, Mode::RWXU)
                    .map_err(|error| ExtractError::node(path, "create the directory", error))?;
            }
            NodeKind::File(content) => self.file(entry, name, content)?,
            NodeKind::Symlink(target) => {
                let parent = self.directories.at(parent_path(path))?;
                fs::symlinkat(OsStr::from_bytes(target), parent, name)
                    .map_err(|error| ExtractError::node(path, "create the symlink", error))?;
                self.special_metadata(entry, name)?;
            }
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                return self.device(entry, name, *device);
            }
            NodeKind::Fifo | NodeKind::Socket => {
                self.node(entry, name, 0).map_err(|error| ExtractError::node(path, "create it", error))?;
                self.special_metadata(entry, name)?;
            }
        }
        Ok(true)
    }

    fn device(&mut self, entry: &WalkEntry, name: &OsStr, device: Device) -> Result<bool, ExtractError> {
        if self.options.privileged {
            match self.node(entry, name, fs::makedev(device.major, device.minor)) {
                Ok(()) => {
                    self.special_metadata(entry, name)?;
                    return Ok(true);
                }
                // In a container root cannot make devices either.
                Err(Errno::PERM | Errno::INVAL) => {}
                Err(error) => return Err(ExtractError::node(&entry.path, "create the device", error)),
            }
        }
        self.manifest.device(&entry.path, &entry.node, device);
        Ok(false)
    }

    fn node(&mut self, entry: &WalkEntry, name: &OsStr, device: u64) -> Result<(), Errno> {
        let kind = match entry.node.kind {
            NodeKind::CharDevice(_) => FileType::CharacterDevice,
            NodeKind::BlockDevice(_) => FileType::BlockDevice,
            NodeKind::Fifo => FileType::Fifo,
            _ => FileType::Socket,
        };
        // The parent was opened for this path before, or fails with an error of its own right after.
        let parent = self.directories.at(parent_path(&entry.path)).map_err(|_| Errno::NOENT)?;
        fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)
    }

    /// Metadata of what cannot be opened: it is held by a descriptor that only names it.
    fn special_metadata(&mut self, entry: &WalkEntry, name: &OsStr) -> Result<(), ExtractError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = self.directories.at(parent_path(&entry.path))?;
        let held = fs::openat(parent, name, flags, Mode::empty());
        let held = held.map_err(|error| ExtractError::node(&entry.path, "open it", error))?;
        self.finish(&entry.path, &entry.node, &Object::Held(held))
    }

    fn file(&mut self, entry: &WalkEntry, name: &OsStr, content: &Content) -> Result<(), ExtractError> {
        let path = &entry.path;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = self.directories.at(parent_path(path))?;
        let file = fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| ExtractError::node(path, "create the file", error))?;
        self.data(path, &file, content)?;
        self.finish(path, &entry.node, &Object::Open(file))
    }

    fn data(&mut self, path: &[u8], file: &OwnedFd, content: &Content) -> Result<(), ExtractError> {
        let failed = |error: io::Error| ExtractError::node(path, "write the file", error);
        // First, so that a size the host does not have is found out before anything is written.
        fs::ftruncate(file, content.len()).map_err(|error| failed(error.into()))?;
        let unreadable = |error| ExtractError::Content { path: path.to_vec(), error };
        let mut reader = content.reader();
        let mut buffer = Vec::new();
        for extent in content.extents().iter().filter(|extent| !matches!(extent.source, Source::Hole)) {
            let (mut offset, end) = (extent.start, extent.start + extent.len);
            while offset < end {
                let len = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
                buffer.resize(len, 0);
                reader.read_exact_at(offset, &mut buffer).map_err(unreadable)?;
                write_at(file.as_fd(), &buffer, offset).map_err(failed)?;
                offset += len as u64;
                self.done.bytes += len as u64;
                (self.progress)(self.done);
            }
        }
        reader.finish().map_err(unreadable)
    }

    /// One more name of a node that is there.
    fn link(&mut self, entry: &WalkEntry) -> Result<(), ExtractError> {
        let path = &entry.path;
        // A walk shows the first name of a node before the others, so there is one.
        let Some(First { path: first, exists }) = self.first_names.get(&entry.id).cloned() else {
            return Ok(());
        };
        if !exists {
            self.manifest.link(path, &first);
            return Ok(());
        }
        let failed = |error: Errno| ExtractError::node(path, "create the hard link", error);
        let from = self.directories.at(parent_path(&first))?.try_clone_to_owned();
        let from = from.map_err(|error| ExtractError::node(path, "create the hard link", error))?;
        let to = self.directories.at(parent_path(path))?;
        let (old, new) = (OsStr::from_bytes(last_name(&first)), OsStr::from_bytes(last_name(path)));
        fs::linkat(from, old, to, new, AtFlags::empty()).map_err(failed)
    }
}

fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a node is a symlink, whose mode Linux does not know.
pub(crate) const fn is_symlink(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Symlink(_))
}
