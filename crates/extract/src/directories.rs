//! Open directories of the target. At most [`MAX_OPEN`] are open at once, however deep the tree is.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::ExtractError;

/// Open directories on the way to the current one, at most; the root comes on top.
const MAX_OPEN: usize = 64;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What tells a directory from every other one.
type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct Directories {
    root: OwnedFd,
    /// Way to the directory that was needed last.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    identity: Identity,
    /// `None` when it was closed to keep within [`MAX_OPEN`].
    fd: Option<OwnedFd>,
}

impl Directories {
    /// Opens the target, which is created unless it is there.
    pub(crate) fn open(target: &Path, into_existing: bool) -> Result<Self, ExtractError> {
        let host =
            |what, error: Errno| ExtractError::Host { what, path: target.to_owned(), error: error.into() };
        match fs::mkdir(target, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(host("create", error)),
        }
        let root = fs::open(target, OPEN, Mode::empty()).map_err(|error| host("open", error))?;
        if !into_existing && !is_empty(&root).map_err(|error| host("read", error))? {
            return Err(ExtractError::NotEmpty { path: target.to_owned() });
        }
        Ok(Directories { root, levels: Vec::new() })
    }

    /// The directory at a path of the tree.
    pub(crate) fn at(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, ExtractError> {
        let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
        let same = self.levels.iter().zip(&names).take_while(|(level, name)| level.name == **name).count();
        self.leave(same, path)?;
        for name in names.get(same..).unwrap_or_default() {
            self.enter(name).map_err(|error| ExtractError::node(path, "open the directory", error))?;
        }
        Ok(self.current())
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.fd.as_ref()).map_or(self.root.as_fd(), AsFd::as_fd)
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), Errno> {
        let fd = fs::openat(self.current(), OsStr::from_bytes(name), OPEN | OFlags::NOFOLLOW, Mode::empty())?;
        let identity = identity(&fd)?;
        let depth = self.levels.len();
        if let Some(level) = depth.checked_sub(MAX_OPEN).and_then(|index| self.levels.get_mut(index)) {
            level.fd = None;
        }
        self.levels.push(Level { name: name.to_vec(), identity, fd: Some(fd) });
        Ok(())
    }

    /// Goes up until `depth` levels are left. The last of them is opened again when it was closed.
    fn leave(&mut self, depth: usize, path: &[u8]) -> Result<(), ExtractError> {
        while self.levels.len() > depth {
            let Some(child) = self.levels.pop() else { break };
            let Some(parent) = self.levels.last_mut().filter(|level| level.fd.is_none()) else { continue };
            let Some(child) = child.fd else { continue };
            let failed = |error| ExtractError::node(path, "open the directory above", error);
            let fd = fs::openat(&child, "..", OPEN, Mode::empty()).map_err(failed)?;
            if identity(&fd).map_err(failed)? != parent.identity {
                return Err(ExtractError::Moved { path: path.to_vec() });
            }
            parent.fd = Some(fd);
        }
        Ok(())
    }
}

fn identity(fd: &OwnedFd) -> Result<Identity, Errno> {
    let stat = fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn is_empty(fd: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(fd)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
