//! Metadata: owner, xattrs, mode, time, in the order in which one does not undo the other.

use std::os::fd::{AsRawFd, OwnedFd};

use flashwright_tree::{Metadata, Node, NodeKind};
use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::create::is_symlink;
use crate::manifest::Deferred;
use crate::{ExtractError, Extraction};

/// What has its metadata set.
#[derive(Debug)]
pub(crate) enum Object {
    /// A file or directory, open.
    Open(OwnedFd),
    /// Anything else, by a descriptor that only names it.
    Held(OwnedFd),
}

impl Object {
    /// A path that leads to just this object and follows no symlink, not even when it is one.
    fn proc_path(&self) -> String {
        let (Object::Open(fd) | Object::Held(fd)) = self;
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    fn chown(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Object::Open(fd) => fs::fchown(fd, uid, gid),
            Object::Held(fd) => fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Object::Open(fd) => fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Object::Held(_) => fs::setxattr(self.proc_path(), name, value, XattrFlags::empty()),
        }
    }

    fn chmod(&self, mode: u16) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode.into());
        match self {
            Object::Open(fd) => fs::fchmod(fd, mode),
            Object::Held(_) => fs::chmod(self.proc_path(), mode),
        }
    }

    fn set_time(&self, metadata: &Metadata) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: metadata.mtime.seconds,
                tv_nsec: metadata.mtime.nanoseconds.into(),
            },
        };
        match self {
            Object::Open(fd) => fs::futimens(fd, &times),
            Object::Held(fd) => fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH),
        }
    }

    /// Whether the host has kept the time as it was given. Some have whole seconds, or an end of time.
    fn has_time(&self, metadata: &Metadata) -> Result<bool, Errno> {
        let (Object::Open(fd) | Object::Held(fd)) = self;
        let stat = fs::fstat(fd)?;
        let time = (metadata.mtime.seconds, u64::from(metadata.mtime.nanoseconds));
        Ok((stat.st_mtime, stat.st_mtime_nsec) == time)
    }
}

impl Extraction<'_> {
    pub(crate) fn finish_directory(&mut self, path: &[u8], node: &Node) -> Result<(), ExtractError> {
        let fd = self.directories.at(path)?.try_clone_to_owned();
        let fd = fd.map_err(|error| ExtractError::node(path, "open the directory", error))?;
        self.finish(path, node, &Object::Open(fd))
    }

    /// Sets all metadata of an object; what the host does not take goes to the manifest.
    pub(crate) fn finish(&mut self, path: &[u8], node: &Node, object: &Object) -> Result<(), ExtractError> {
        let failed = |what, error: Errno| ExtractError::node(path, what, error);
        let metadata = &node.metadata;
        let owner = self.owner(metadata, object).map_err(|error| failed("set the owner", error))?;
        let mut deferred = Deferred { owner: !owner, ..Deferred::default() };
        for (name, value) in &metadata.xattrs {
            if !self.xattr(object, name, value).map_err(|error| failed("set an xattr", error))? {
                deferred.xattrs.push(name.clone());
            }
        }
        if !is_symlink(node) {
            let mode = self.host_mode(node, deferred.owner);
            object.chmod(mode).map_err(|error| failed("set the mode", error))?;
            deferred.mode = mode != metadata.permissions;
        }
        object.set_time(metadata).or_else(time_refused).map_err(|error| failed("set the time", error))?;
        deferred.time = !object.has_time(metadata).map_err(|error| failed("read the time", error))?;
        self.manifest.node(path, node, &deferred);
        Ok(())
    }

    /// True when the owner is set.
    fn owner(&self, metadata: &Metadata, object: &Object) -> Result<bool, Errno> {
        // The largest number means "leave it" to the system call.
        if !self.options.privileged || metadata.uid == u32::MAX || metadata.gid == u32::MAX {
            return Ok(false);
        }
        match object.chown(metadata.uid, metadata.gid) {
            Ok(()) => Ok(true),
            // No such right, or no such user in this container.
            Err(Errno::PERM | Errno::INVAL | Errno::OVERFLOW) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// True when the xattr is set.
    fn xattr(&self, object: &Object, name: &[u8], value: &[u8]) -> Result<bool, Errno> {
        if !self.options.privileged && !name.starts_with(b"user.") {
            return Ok(false);
        }
        match object.set_xattr(name, value) {
            Ok(()) => Ok(true),
            Err(
                Errno::PERM
                | Errno::ACCESS
                | Errno::NOTSUP
                | Errno::NOSPC
                | Errno::TOOBIG
                | Errno::INVAL
                | Errno::RANGE,
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The mode that the host gets. With another owner, setuid and setgid would give away that owner's rights, and
    /// what is closed to its owner could not be read again.
    fn host_mode(&self, node: &Node, other_owner: bool) -> u16 {
        let mode = node.metadata.permissions;
        match node.kind {
            _ if !other_owner => mode,
            NodeKind::Directory => (mode & !0o6000) | 0o700,
            NodeKind::File(_) => (mode & !0o6000) | 0o400,
            _ => mode & !0o6000,
        }
    }
}

/// A time out of the host's range is no failure: it is deferred when it is looked at afterwards.
fn time_refused(error: Errno) -> Result<(), Errno> {
    if matches!(error, Errno::INVAL | Errno::OVERFLOW | Errno::RANGE) { Ok(()) } else { Err(error) }
}
