//! Every node of a mounted file system, without recursion and with names looked up one directory at a time, so that
//! neither depth nor the length of a path is a limit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::vec;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags, lgetxattr, llistxattr, llistxattr_query,
    openat, readlinkat, statx,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use vmtest::protocol::{Bytes, NodeReport};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Largest xattr value in bytes that Linux gives out.
const XATTR_MAX: usize = 1 << 16;

struct Level {
    fd: OwnedFd,
    path: Vec<u8>,
    entries: vec::IntoIter<Entry>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: Vec<u8>,
    ino: u64,
    type_bits: u32,
}

/// Reports the directory `root` and everything below it, parents first, names in byte order.
pub(crate) fn walk(
    root: &Path,
    hash_up_to: u64,
    emit: &mut dyn FnMut(NodeReport) -> io::Result<()>,
) -> io::Result<()> {
    let fd = open_directory(CWD, root)?;
    let mut report = describe(&statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?);
    xattrs(&fd_path(&fd, b""), &mut report);
    let mut levels = Vec::from_iter(enter(fd, Vec::new(), &mut report));
    emit(report)?;
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next() else {
            levels.pop();
            continue;
        };
        let mut report = NodeReport::default();
        let below = visit(level, &entry, hash_up_to, &mut report).unwrap_or_else(|error| {
            report.faults.push(error.to_string());
            None
        });
        report.path = Bytes(join(&level.path, &entry.name));
        emit(report)?;
        levels.extend(below);
    }
    Ok(())
}

fn open_directory(parent: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Reads the directory's entries; a fault in that is noted and the directory taken as empty.
fn enter(fd: OwnedFd, path: Vec<u8>, report: &mut NodeReport) -> Option<Level> {
    match entries(&fd) {
        Ok(entries) => {
            report.entries = Some(entries.len() as u64);
            Some(Level { fd, path, entries: entries.into_iter() })
        }
        Err(error) => {
            report.faults.push(format!("reading the directory: {error}"));
            None
        }
    }
}

fn entries(directory: &OwnedFd) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            let type_bits = type_bits(entry.file_type());
            entries.push(Entry { name, ino: entry.ino(), type_bits });
        }
    }
    entries.sort();
    Ok(entries)
}

/// File type bits of `st_mode`; 0 when the directory does not tell.
fn type_bits(file_type: FileType) -> u32 {
    if file_type == FileType::Unknown { 0 } else { file_type.as_raw_mode() }
}

fn visit(
    level: &Level,
    entry: &Entry,
    hash_up_to: u64,
    report: &mut NodeReport,
) -> io::Result<Option<Level>> {
    let name = entry.name.as_slice();
    let found = statx(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    *report = describe(&found);
    if entry.ino != found.stx_ino {
        report
            .faults
            .push(format!("inode number {} in the directory, {} of the node", entry.ino, found.stx_ino));
    }
    let type_bits = u32::from(found.stx_mode) & 0o170_000;
    if entry.type_bits != 0 && entry.type_bits != type_bits {
        report
            .faults
            .push(format!("type {:#o} in the directory, {type_bits:#o} of the node", entry.type_bits));
    }
    xattrs(&fd_path(&level.fd, name), report);
    match FileType::from_raw_mode(type_bits) {
        FileType::Symlink => {
            report.target = Some(Bytes(readlinkat(&level.fd, name, Vec::new())?.into_bytes()))
        }
        FileType::RegularFile if found.stx_size <= hash_up_to => {
            report.sha256 = Some(hash(&level.fd, name, report)?)
        }
        FileType::Directory => {
            let fd = open_directory(&level.fd, name)?;
            return Ok(enter(fd, join(&level.path, name), report));
        }
        _ => {}
    }
    Ok(None)
}

fn describe(found: &Statx) -> NodeReport {
    NodeReport {
        mode: found.stx_mode,
        uid: found.stx_uid,
        gid: found.stx_gid,
        rdev: (found.stx_rdev_major, found.stx_rdev_minor),
        nlink: found.stx_nlink,
        ino: found.stx_ino,
        size: found.stx_size,
        mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        ..NodeReport::default()
    }
}

/// SHA-256 of what can be read, and a fault when that is not as long as the node says.
fn hash(parent: &OwnedFd, name: &[u8], report: &mut NodeReport) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::empty())?);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; usize::try_from(report.size).unwrap_or(CHUNK).clamp(1, CHUNK)];
    let mut total = 0u64;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        digest.update(&buffer[..len]);
        total += len as u64;
    }
    if total != report.size {
        report.faults.push(format!("{} bytes long, but {total} bytes can be read", report.size));
    }
    Ok(hex(&digest.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path to an entry of an open directory; the calls for xattrs of symlinks take nothing else.
fn fd_path(directory: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

fn xattrs(path: &[u8], report: &mut NodeReport) {
    match read_xattrs(path) {
        Ok(xattrs) => report.xattrs = xattrs,
        Err(Errno::OPNOTSUPP) => {}
        Err(error) => report.faults.push(format!("reading xattrs: {error}")),
    }
}

fn read_xattrs(path: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, Errno> {
    let mut list = vec![0u8; llistxattr_query(path)?];
    // Most nodes have none, and a buffer of no bytes would ask for the size again.
    if list.is_empty() {
        return Ok(BTreeMap::new());
    }
    let len = llistxattr(path, list.as_mut_slice())?;
    list.truncate(len);
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0u8; XATTR_MAX];
            let len = lgetxattr(path, name, value.as_mut_slice())?;
            value.truncate(len);
            Ok((Bytes(name.to_vec()), Bytes(value)))
        })
        .collect()
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
