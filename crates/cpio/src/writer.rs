//! Tree to archive: every limit is checked and every size known before the first byte is written.

use std::io::Write;

use flashwright_tree::{Content, Device, Node, NodeKind, Tree, WalkEntry};

use crate::compress::Encoder;
use crate::format::{ALIGNMENT, HEADER_LEN, Header, MAX_NAME, MAX_PATH, TRAILER, padding};
use crate::{Compression, Error};

/// Bytes of file data read at a time.
const CHUNK: usize = 128 * 1024;

/// What to do with xattrs, which an initramfs cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrPolicy {
    /// The archive is not written; the error names the first node that has one.
    #[default]
    Refuse,
    /// They are left out and counted in [`Summary::dropped_xattrs`].
    Drop,
}

/// How to write an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// What to do with xattrs. Default: refuse.
    pub xattrs: XattrPolicy,
    /// The archive ends at a multiple of this many bytes: a power of two from 4 to 2^30. Default 512, as other
    /// programs write it; Linux needs 4 when something is appended. Changing this changes images.
    pub pad_to: u32,
    /// How the padded archive is compressed. Default: not at all.
    pub compression: Compression,
}

impl Default for Options {
    fn default() -> Self {
        Options { xattrs: XattrPolicy::Refuse, pad_to: 512, compression: Compression::None }
    }
}

/// What went into an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Nodes, the root included; a hard-linked file counts once.
    pub nodes: u64,
    /// Entries: one for every name, the root included, the trailer not.
    pub entries: u64,
    /// Bytes of file data, holes included.
    pub data_len: u64,
    /// Bytes of the archive, padding included, before compression.
    pub archive_len: u64,
    /// Bytes written; 0 in a plan whose archive is to be compressed, as nobody knows yet.
    pub output_len: u64,
    /// Nodes whose modification time lost its fraction of a second.
    pub truncated_times: u64,
    /// Xattrs left out, with [`XattrPolicy::Drop`].
    pub dropped_xattrs: u64,
}

/// An archive that is known to be possible, with all its sizes.
#[derive(Debug)]
pub struct Plan<'a> {
    tree: &'a Tree,
    name_counts: Vec<u32>,
    compression: Compression,
    /// Length up to the end of the trailer.
    unpadded_len: u64,
    summary: Summary,
}

/// Checks `tree` against every limit and computes the size of its archive. Reads no file data.
///
/// # Errors
/// [`Error::Limit`] for what an initramfs cannot hold, [`Error::BadPadding`], [`Error::BadLevel`].
pub fn plan<'a>(tree: &'a Tree, options: &Options) -> Result<Plan<'a>, Error> {
    let pad_to = options.pad_to;
    if !pad_to.is_power_of_two() || !(4..=1 << 30).contains(&pad_to) {
        return Err(Error::BadPadding(pad_to));
    }
    let compression = options.compression;
    compression.check()?;
    let name_counts = tree.name_counts();
    let mut plan = Plan { tree, name_counts, compression, unpadded_len: 0, summary: Summary::default() };
    let mut remaining = plan.name_counts.clone();
    for entry in tree.walk() {
        check_entry(&entry, options)?;
        let last = take_name(&mut remaining, &entry);
        plan.account(&entry, last);
    }
    plan.unpadded_len += entry_len(TRAILER.len(), 0);
    plan.summary.archive_len = plan.unpadded_len + padding(plan.unpadded_len, pad_to.into());
    if compression == Compression::None {
        plan.summary.output_len = plan.summary.archive_len;
    }
    Ok(plan)
}

/// Writes `tree` as one archive. The same tree gives the same bytes: entries in byte order of their paths, inode
/// numbers from 1 in that order. Of a hard-linked file the last name carries the data.
///
/// # Errors
/// As [`plan`] before anything is written, then as [`Plan::write_to`].
pub fn write(tree: &Tree, options: &Options, output: &mut impl Write) -> Result<Summary, Error> {
    plan(tree, options)?.write_to(output)
}

impl Plan<'_> {
    /// What will be written.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    fn account(&mut self, entry: &WalkEntry, last: bool) {
        let metadata = &entry.node.metadata;
        self.summary.entries += 1;
        self.unpadded_len += entry_len(stored_name(&entry.path).len(), body_len(&entry.node, last));
        if entry.first {
            self.summary.nodes += 1;
            self.summary.data_len += entry.node.content().map_or(0, Content::len);
            self.summary.truncated_times += u64::from(metadata.mtime.nanoseconds != 0);
            self.summary.dropped_xattrs += metadata.xattrs.len() as u64;
        }
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// [`Error::Content`] when a file cannot be read or has changed, [`Error::Write`].
    pub fn write_to(&self, output: &mut impl Write) -> Result<Summary, Error> {
        self.write_with(output, &mut |_| ())
    }

    /// Writes the archive; `progress` is told how many bytes of it are done, out of [`Summary::archive_len`].
    ///
    /// # Errors
    /// As [`Plan::write_to`].
    pub fn write_with(
        &self,
        output: &mut impl Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Summary, Error> {
        let mut counted = Counter { inner: output, count: 0, progress: &mut |_| () };
        let encoder = Encoder::new(self.compression, &mut counted, self.summary.archive_len);
        let mut encoder = encoder.map_err(Error::Write)?;
        self.write_archive(&mut Counter { inner: &mut encoder, count: 0, progress })?;
        encoder.finish().map_err(Error::Write)?;
        Ok(Summary { output_len: counted.count, ..self.summary })
    }

    fn write_archive(&self, output: &mut impl Write) -> Result<(), Error> {
        let mut remaining = self.name_counts.clone();
        let mut inos = vec![0u32; self.tree.arena_len()];
        let mut next_ino = 0u32;
        for entry in self.tree.walk() {
            let ino = &mut inos[entry.id.index()];
            if *ino == 0 {
                // Node ids are 32 bits wide, and none is used up by the trailer.
                next_ino += 1;
                *ino = next_ino;
            }
            let last = take_name(&mut remaining, &entry);
            let header = self.header(&entry, *ino, last);
            write_head(output, header, &stored_name(&entry.path))?;
            write_body(output, &entry, last)?;
        }
        write_head(output, Header { nlink: 1, ..Header::default() }, TRAILER)?;
        write_zeros(output, self.summary.archive_len - self.unpadded_len)
    }

    fn header(&self, entry: &WalkEntry, ino: u32, last: bool) -> Header {
        let node = &entry.node;
        let metadata = &node.metadata;
        let device = node.device().unwrap_or(Device { major: 0, minor: 0 });
        Header {
            ino,
            mode: node.mode().into(),
            uid: metadata.uid,
            gid: metadata.gid,
            nlink: self.link_count(entry),
            mtime: u32::try_from(metadata.mtime.seconds).unwrap_or_default(), // in range, says check_entry
            filesize: u32::try_from(body_len(node, last)).unwrap_or_default(), // likewise
            rdev_major: device.major,
            rdev_minor: device.minor,
            ..Header::default()
        }
    }

    /// Names of a node; of a directory what `ls -l` shows, its own `.` and its subdirectories' `..` included.
    fn link_count(&self, entry: &WalkEntry) -> u32 {
        if !entry.node.is_directory() {
            return self.name_counts[entry.id.index()];
        }
        let below = self.tree.entries(entry.id).filter(|(_, id)| self.tree.is_directory(*id)).count();
        u32::try_from(below).unwrap_or(u32::MAX).saturating_add(2)
    }
}

/// Counts what goes through, and tells.
struct Counter<'p, W> {
    inner: W,
    count: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl<W: Write> Write for Counter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.count += len as u64;
        (self.progress)(self.count);
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Counts one name of a node off; true when it was the last.
fn take_name(remaining: &mut [u32], entry: &WalkEntry) -> bool {
    let left = &mut remaining[entry.id.index()];
    *left -= 1;
    *left == 0
}

/// Name in the archive: the root is `.`, and a file that has the trailer's name goes by another path.
fn stored_name(path: &[u8]) -> Vec<u8> {
    match path {
        b"" => b".".to_vec(),
        TRAILER => [b"./", path].concat(),
        path => path.to_vec(),
    }
}

/// Bytes of data of one entry. A symlink has its target under every name: Linux makes no hard links to symlinks.
fn body_len(node: &Node, last: bool) -> u64 {
    match &node.kind {
        NodeKind::File(content) if last => content.len(),
        NodeKind::Symlink(target) => target.len() as u64,
        _ => 0,
    }
}

/// Bytes of an entry with all its padding.
const fn entry_len(name_len: usize, body_len: u64) -> u64 {
    let head = HEADER_LEN as u64 + name_len as u64 + 1;
    head + padding(head, ALIGNMENT) + body_len + padding(body_len, ALIGNMENT)
}

fn check_entry(entry: &WalkEntry, options: &Options) -> Result<(), Error> {
    let metadata = &entry.node.metadata;
    let limit =
        |what: String, limit, remedy| Err(Error::Limit { path: entry.path.clone(), what, limit, remedy });
    if stored_name(&entry.path).len() > MAX_PATH {
        let what = format!("its path has {} bytes", entry.path.len());
        return limit(
            what,
            "paths of at most 4095 bytes",
            "use shorter names or fewer levels of directories",
        );
    }
    let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if name.len() > MAX_NAME {
        return limit(
            format!("its name has {} bytes", name.len()),
            "names of at most 255 bytes",
            "use a shorter name",
        );
    }
    for (what, id) in [("owner", metadata.uid), ("group", metadata.gid)] {
        if id == u32::MAX {
            return limit(
                format!("its {what} is {id}"),
                "owners and groups from 0 to 4294967294",
                "give it another one",
            );
        }
    }
    if u32::try_from(metadata.mtime.seconds).is_err() {
        let what = format!("its modification time is {} s after 1970", metadata.mtime.seconds);
        return limit(
            what,
            "times from 1970 to 2106, 0 to 4294967295",
            "set another time, or clamp all times",
        );
    }
    if options.xattrs == XattrPolicy::Refuse && !metadata.xattrs.is_empty() {
        let names: Vec<_> = metadata.xattrs.keys().map(|name| String::from_utf8_lossy(name)).collect();
        return limit(
            format!("it has xattrs ({})", names.join(", ")),
            "no xattrs",
            "remove them, or ask to drop them",
        );
    }
    check_kind(entry)
}

fn check_kind(entry: &WalkEntry) -> Result<(), Error> {
    let limit =
        |what: String, limit, remedy| Err(Error::Limit { path: entry.path.clone(), what, limit, remedy });
    match &entry.node.kind {
        NodeKind::File(content) if content.len() > u64::from(u32::MAX) => {
            let what = format!("it has {} bytes", content.len());
            limit(what, "files of at most 4294967295 bytes (4 GiB - 1)", "split it, or use another format")
        }
        NodeKind::Symlink(target) if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) => {
            let what = format!("its target has {} bytes, {} of them NUL", target.len(), nul_count(target));
            limit(what, "targets of 1 to 4095 bytes without NUL", "use another target")
        }
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) if device.encode().is_none() => {
            let what = format!("its device number is {}:{}", device.major, device.minor);
            limit(what, "device numbers up to 4095:1048575", "use a number that Linux has")
        }
        _ => Ok(()),
    }
}

fn nul_count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == 0).count()
}

fn write_head(output: &mut impl Write, mut header: Header, name: &[u8]) -> Result<(), Error> {
    header.namesize = u32::try_from(name.len() + 1).unwrap_or(u32::MAX); // at most MAX_PATH + 1
    let mut bytes = header.encode();
    bytes.extend_from_slice(name);
    bytes.push(0);
    let zeros = padding(bytes.len() as u64, ALIGNMENT);
    output.write_all(&bytes).map_err(Error::Write)?;
    write_zeros(output, zeros)
}

fn write_body(output: &mut impl Write, entry: &WalkEntry, last: bool) -> Result<(), Error> {
    match &entry.node.kind {
        NodeKind::File(content) if last => write_content(output, content, &entry.path)?,
        NodeKind::Symlink(target) => output.write_all(target).map_err(Error::Write)?,
        _ => {}
    }
    write_zeros(output, padding(body_len(&entry.node, last), ALIGNMENT))
}

fn write_content(output: &mut impl Write, content: &Content, path: &[u8]) -> Result<(), Error> {
    let fail = |error| Error::Content { path: path.to_vec(), error };
    let mut reader = content.reader();
    let mut buffer = vec![0; usize::try_from(content.len()).unwrap_or(CHUNK).min(CHUNK)];
    let mut offset = 0;
    while offset < content.len() {
        let len = usize::try_from(content.len() - offset).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..len];
        reader.read_exact_at(offset, chunk).map_err(fail)?;
        output.write_all(chunk).map_err(Error::Write)?;
        offset += len as u64;
    }
    reader.finish().map_err(fail)
}

fn write_zeros(output: &mut impl Write, count: u64) -> Result<(), Error> {
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), count), output).map(drop).map_err(Error::Write)
}
