//! tar archives: ustar, pax, GNU and what came before them.
//!
//! ```text
//! ┌────────┬──────────────────┬────────┬──────────────────┬───┬─────────────────────┐
//! │ header │ data, pad to 512 │ header │ data, pad to 512 │ … │ two blocks of zeros │
//! └────────┴──────────────────┴────────┴──────────────────┴───┴─────────────────────┘
//! ```
//!
//! Headers of type `x`, `g`, `L` and `K` say more about the entry that follows. Data is never read here but for the
//! maps of sparse files. The archive may be hostile: positions are checked before they are used, lengths before
//! anything is allocated, and nothing recurses.
//!
//! Sources of fact: POSIX.1-2017 "pax Interchange Format" and "ustar Interchange Format"; GNU tar's manual, "Basic
//! Tar Format" and "Storing Sparse Files"; libarchive's tar(5).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod header;
mod pax;
mod sparse;

use flashwright_tree::{Content, Device, Metadata, NodeKind, Timestamp, display_path};

use self::header::{BLOCK, Block};
use self::pax::Pax;
use super::graft::{Item, What};
use super::open::Archive;
use crate::value::{self, BadValue};
use crate::{Class, Error};

/// Longest header that says more about an entry, in bytes: xattrs of 64 KiB, maps of holes and long names fit.
const MAX_EXTENSION: u64 = 16 << 20;
/// Headers that may stand before one entry: a writer needs three.
const MAX_EXTENSIONS: usize = 64;

/// Reads an archive entry by entry.
pub(super) struct Reader<'a> {
    archive: &'a Archive,
    offset: u64,
    global: Pax,
    notes: Notes,
}

/// What is worth saying once for the whole archive.
#[derive(Default)]
struct Notes {
    no_end: bool,
    /// Entries with ACLs as text, and the first of them.
    acls: Option<(u64, Vec<u8>)>,
    volume_label: bool,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// An entry whose header has been read.
struct Entry {
    block: Block,
    /// Position of the header.
    at: u64,
    /// Position of the data.
    body: u64,
    /// Bytes of data in the archive.
    stored: u64,
    extensions: Extensions,
}

fn bad(offset: u64, problem: impl AsRef<str>) -> Error {
    Error::invalid(format!("byte {offset:#x}: {}", problem.as_ref()))
}

fn damaged(offset: u64, problem: impl AsRef<str>) -> Error {
    bad(offset, problem)
        .with_help("the archive is damaged, or what made it is at fault: get or make it again")
}

fn aligned(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(BLOCK as u64)
}

impl<'a> Reader<'a> {
    pub(super) fn new(archive: &'a Archive) -> Self {
        Reader { archive, offset: 0, global: Pax::default(), notes: Notes::default() }
    }

    /// What is worth saying, after the last item.
    pub(super) fn notes(self) -> Vec<String> {
        let mut all = Vec::new();
        if self.notes.no_end {
            all.push("the archive ends without the two blocks of zeros that end one: is it whole?".into());
        }
        if self.notes.volume_label {
            all.push("the volume label is left behind".into());
        }
        if let Some((count, first)) = self.notes.acls {
            let first = display_path(&first);
            all.push(format!(
                "POSIX ACLs left behind on {count} entries, first {first}: they are stored by names of users, \
                 which mean other numbers on other machines; tar --xattrs-include='*' stores them by number"
            ));
        }
        all
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// [`Class::Invalid`] with the position, [`Class::Refused`] for `..` in a path, [`Class::Io`].
    pub(super) fn next_item(&mut self) -> Result<Option<Item>, Error> {
        let mut extensions = Extensions::default();
        for _ in 0..MAX_EXTENSIONS {
            let at = self.offset;
            let Some(block) = self.header()? else {
                return self.end(at, &extensions);
            };
            let flag = block.type_flag();
            if self.extension(flag, &block, at, &mut extensions)? {
                continue;
            }
            let entry = self.entry(block, at, extensions)?;
            if flag == b'V' {
                self.notes.volume_label = true;
                extensions = Extensions::default();
                continue;
            }
            return self.item(&entry).map(Some);
        }
        Err(bad(self.offset, format!("more than {MAX_EXTENSIONS} headers about one entry")))
    }

    fn end(&mut self, at: u64, extensions: &Extensions) -> Result<Option<Item>, Error> {
        if extensions.pax.is_some() || extensions.long_name.is_some() || extensions.long_link.is_some() {
            return Err(bad(at, "the archive ends where the entry of an extended header should be")
                .with_help("it is cut short: get it again"));
        }
        Ok(None)
    }

    fn read(&self, offset: u64, buffer: &mut [u8], what: &str) -> Result<(), Error> {
        let left = self.archive.len.saturating_sub(offset);
        if u64::try_from(buffer.len()).unwrap_or(u64::MAX) > left {
            let problem =
                format!("the archive is cut short: {what} needs {} bytes, {left} are left", buffer.len());
            return Err(bad(offset, problem).with_help("get it again"));
        }
        self.archive.reader.read_exact_at(offset, buffer).map_err(|error| {
            Error::new(Class::Io, format!("byte {offset:#x}: cannot read the archive: {error}"))
        })
    }

    fn block(&self, offset: u64, what: &str) -> Result<Block, Error> {
        let mut block = Block([0; BLOCK]);
        self.read(offset, &mut block.0, what)?;
        Ok(block)
    }

    fn skip_block(&mut self) {
        self.offset = self.offset.saturating_add(BLOCK as u64);
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Block>, Error> {
        let at = self.offset;
        if at >= self.archive.len {
            self.notes.no_end = true;
            if at == 0 {
                return Err(
                    bad(0, "the file is empty, and no tar archive").with_help("is it the right file?")
                );
            }
            return Ok(None);
        }
        if at == 0 && self.archive.len < BLOCK as u64 {
            let problem =
                format!("no tar archive: it has {} bytes, a tar archive at least 512", self.archive.len);
            return Err(bad(0, problem).with_help(self.what_else()));
        }
        let block = self.block(at, "a header")?;
        if block.is_zero() {
            return self.last_block(at);
        }
        let checksum = block.checksum();
        if !checksum.right {
            let found = checksum.found.map_or("no number".into(), |found| format!("{found:#o}"));
            let found = format!("the checksum of the header is {found}, expected {:#o}", checksum.computed);
            if at == 0 {
                return Err(bad(at, format!("no tar archive: {found}")).with_help(self.what_else()));
            }
            let help = "the archive is damaged, or an entry before this has a wrong length: get it again";
            return Err(bad(at, found).with_help(help));
        }
        self.skip_block();
        Ok(Some(block))
    }

    /// What to do with a file that is no tar archive.
    fn what_else(&self) -> &'static str {
        const OTHERS: [(&[u8], &str); 5] = [
            (b"07070", "it looks like a cpio archive: cpio:FILE carries that in"),
            (b"!<arch>", "it looks like a Debian package: ar x FILE takes data.tar out of that"),
            (b"PK\x03\x04", "it looks like a zip archive: unpack it, and carry in the directory"),
            (b"hsqs", "it looks like a SquashFS image: flashwright extract makes a directory of that"),
            (b"#", "it looks like a text: lists and tables have sources of their own"),
        ];
        let mut head = [0; 8];
        let len = usize::try_from(self.archive.len).unwrap_or(head.len()).min(head.len());
        let known = head.get_mut(..len).unwrap_or_default();
        if self.archive.reader.read_exact_at(0, known).is_err() {
            return "is it the right file?";
        }
        let other = OTHERS.iter().find(|(magic, _)| head.starts_with(magic));
        other.map_or("is it the right file, and not damaged?", |(_, what)| what)
    }

    /// Two blocks of zeros end an archive, whatever follows them.
    fn last_block(&self, at: u64) -> Result<Option<Block>, Error> {
        let next = at.saturating_add(BLOCK as u64);
        if next < self.archive.len && !self.block(next, "the end of the archive")?.is_zero() {
            return Err(bad(at, "one block of zeros, and something after it: an archive ends with two")
                .with_help("the archive is damaged, or two were put together: list both as sources"));
        }
        Ok(None)
    }

    /// Reads a header that says something about the next entry. False when it is an entry itself.
    fn extension(
        &mut self,
        flag: u8,
        block: &Block,
        at: u64,
        extensions: &mut Extensions,
    ) -> Result<bool, Error> {
        if !matches!(flag, b'x' | b'X' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        let len = size(block, at)?;
        if len > MAX_EXTENSION {
            let problem = format!("an extended header of {len} bytes, the most is {MAX_EXTENSION}");
            return Err(bad(at, problem).with_help("is the archive damaged?"));
        }
        let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
        let body = self.offset;
        self.read(body, &mut text, "an extended header")?;
        self.offset = self.offset.saturating_add(aligned(len).unwrap_or(len));
        let records = |pax: &mut Pax| pax::read(pax, &text).map_err(|problem| damaged(body, problem));
        match flag {
            b'g' => {
                records(&mut self.global)?;
                let xattrs = self.global.xattrs.len().saturating_add(self.global.other_xattrs.len());
                if xattrs > MAX_EXTENSIONS || self.global.sparse.has_pairs() {
                    return Err(bad(at, "a global header that speaks of one file")
                        .with_help("make the archive again"));
                }
            }
            b'x' | b'X' => records(extensions.pax.get_or_insert_with(|| self.global.clone()))?,
            b'L' => extensions.long_name = Some(up_to_nul(text)),
            _ => extensions.long_link = Some(up_to_nul(text)),
        }
        Ok(true)
    }

    /// Finds where the data is, and moves on to what follows it.
    fn entry(&mut self, block: Block, at: u64, extensions: Extensions) -> Result<Entry, Error> {
        let flag = block.type_flag();
        let has_pax = extensions.pax.is_some();
        let pax_size = extensions.pax.as_ref().unwrap_or(&self.global).size;
        let stated = match pax_size {
            Some(size) => size,
            None => size(&block, at)?,
        };
        let has_data = match flag {
            b'3'..=b'6' | b'2' => false,
            // Old programs stored the length of the file with a link, and no data; pax may store data.
            b'1' => has_pax || !self.is_header(self.offset),
            _ => true,
        };
        let stored = if has_data { stated } else { 0 };
        let mut entry = Entry { block, at, body: self.offset, stored, extensions };
        if flag == b'S' {
            entry.body = self.after_sparse_headers(&entry)?;
        }
        let left = self.archive.len.saturating_sub(entry.body);
        if stored > left {
            let problem = format!("the archive is cut short: data needs {stored} bytes, {left} are left");
            return Err(bad(entry.body, problem).with_help("get it again"));
        }
        // It fits into the archive, so nothing overflows; padding of the last entry may be missing.
        self.offset = entry.body.saturating_add(aligned(stored).unwrap_or(stored)).min(self.archive.len);
        Ok(entry)
    }

    fn is_header(&self, offset: u64) -> bool {
        self.block(offset, "a header").is_ok_and(|block| block.is_zero() || block.checksum().right)
    }

    /// Old sparse files of GNU tar have further headers before their data.
    fn after_sparse_headers(&self, entry: &Entry) -> Result<u64, Error> {
        let mut body = entry.body;
        let (_, mut more) = entry.block.sparse_pairs();
        while more {
            more = self.block(body, "a map of holes")?.continued_pairs().1;
            body = body.saturating_add(BLOCK as u64);
        }
        Ok(body)
    }

    fn item(&mut self, entry: &Entry) -> Result<Item, Error> {
        let pax = entry.extensions.pax.as_ref().unwrap_or(&self.global);
        let raw = raw_path(entry, pax);
        let path = value::contained_path(&raw).map_err(|problem| refuse(entry.at, problem))?;
        if pax.has_acl {
            let (count, _) = self.notes.acls.get_or_insert_with(|| (0, path.clone()));
            *count = count.saturating_add(1);
        }
        let pax = entry.extensions.pax.as_ref().unwrap_or(&self.global);
        let problem = |what: String| damaged(entry.at, format!("{}: {what}", display_path(&path)));
        let what = self.what(entry, pax, &raw)?;
        let is_root_directory = matches!(what, What::Node(NodeKind::Directory));
        if path.is_empty() && !is_root_directory {
            return Err(problem("the root can only be a directory".into()));
        }
        let metadata = metadata(entry, pax).map_err(problem)?;
        Ok(Item { path, metadata, what })
    }

    fn what(&self, entry: &Entry, pax: &Pax, raw: &[u8]) -> Result<What, Error> {
        let flag = entry.block.type_flag();
        let problem = |what: &str| bad(entry.at, format!("{}: {what}", display_path(raw)));
        let named = |error: BadValue| {
            refuse(
                entry.at,
                BadValue { message: format!("{}: {}", display_path(raw), error.message), ..error },
            )
        };
        let kind = match flag {
            // Before POSIX a directory was a file whose name ends in '/'.
            0 | b'0' | b'7' if raw.ends_with(b"/") => NodeKind::Directory,
            b'5' | b'D' => NodeKind::Directory,
            0 | b'0' | b'7' | b'S' => NodeKind::File(self.content(entry, pax)?),
            b'1' => return link(entry, pax).map_err(named),
            b'2' => NodeKind::Symlink(value::target(&link_name(entry, pax)).map_err(named)?),
            b'3' => NodeKind::CharDevice(device(entry).map_err(named)?),
            b'4' => NodeKind::BlockDevice(device(entry).map_err(named)?),
            b'6' => NodeKind::Fifo,
            b'M' => {
                return Err(problem("the rest of a file that began in another volume")
                    .with_help("put the volumes together with tar --multi-volume first"));
            }
            _ => {
                let shown = char::from(flag).escape_default();
                return Err(problem(&format!("entries of type '{shown}' are not known"))
                    .with_help("make the archive again, with tar --format=posix"));
            }
        };
        Ok(What::Node(kind))
    }

    fn content(&self, entry: &Entry, pax: &Pax) -> Result<Content, Error> {
        let sparse = &pax.sparse;
        let data = &self.archive.data;
        let located = |problem: String| damaged(entry.at, problem);
        if entry.block.type_flag() == b'S' {
            let pairs = self.old_sparse_pairs(entry)?;
            let real_size = entry.block.sparse_real_size().and_then(|size| u64::try_from(size).ok());
            let real_size = real_size.ok_or_else(|| located("the length with holes is no number".into()))?;
            return sparse::content(data, (entry.body, entry.stored), &pairs, real_size).map_err(located);
        }
        if sparse.is_map_in_data() {
            let (pairs, map_len) = self.sparse_map(entry)?;
            let real_size = sparse.real_size.unwrap_or(0);
            let body = entry.body.saturating_add(map_len);
            let stored = entry.stored.saturating_sub(map_len);
            return sparse::content(data, (body, stored), &pairs, real_size).map_err(located);
        }
        if sparse.has_pairs() {
            let real_size = sparse.real_size.unwrap_or(entry.stored);
            let range = (entry.body, entry.stored);
            return sparse::content(data, range, &sparse.pairs, real_size).map_err(located);
        }
        Ok(Content::empty().with(data.clone(), entry.body, entry.stored))
    }

    fn old_sparse_pairs(&self, entry: &Entry) -> Result<Vec<(u64, u64)>, Error> {
        let mut pairs = Vec::new();
        let (fields, mut more) = entry.block.sparse_pairs();
        add_pairs(&mut pairs, fields, entry.at)?;
        let mut at = entry.at.saturating_add(BLOCK as u64);
        while more {
            let block = self.block(at, "a map of holes")?;
            let (fields, continues) = block.continued_pairs();
            add_pairs(&mut pairs, fields, at)?;
            more = continues;
            at = at.saturating_add(BLOCK as u64);
        }
        Ok(pairs)
    }

    /// The map before the data (format 1.0): decimal numbers, each with a line feed; the number of pairs first.
    /// Returns the bytes it takes, padding included.
    fn sparse_map(&self, entry: &Entry) -> Result<(Vec<(u64, u64)>, u64), Error> {
        let mut numbers = Vec::new();
        let mut expected = 1_usize;
        let mut digits = Vec::new();
        let mut taken = 0_u64;
        while numbers.len() < expected {
            let at = entry.body.saturating_add(taken);
            let problem = |what: &str| damaged(at, format!("the map of holes {what}"));
            if taken >= entry.stored {
                return Err(problem("has no end within the entry"));
            }
            let block = self.block(at, "a map of holes")?;
            taken = taken.saturating_add(BLOCK as u64);
            for &byte in &block.0 {
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let number = Some(&digits).filter(|digits| !digits.is_empty()).and_then(|d| pax::decimal(d));
                numbers.push(number.ok_or_else(|| problem("has a line that is no number"))?);
                digits.clear();
                if let [count] = *numbers {
                    let count = usize::try_from(count).ok().filter(|&count| count <= sparse::MAX_PAIRS);
                    let count = count.ok_or_else(|| problem("is larger than anything real"))?;
                    expected = count.saturating_mul(2).saturating_add(1);
                }
                if numbers.len() >= expected {
                    break;
                }
            }
            if digits.len() > 20 {
                return Err(problem("has a line that is no number"));
            }
        }
        let pairs = numbers.get(1..).unwrap_or_default().chunks_exact(2);
        let pairs = pairs.filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect();
        Ok((pairs, taken))
    }
}

fn add_pairs(pairs: &mut Vec<(u64, u64)>, fields: &[u8], at: u64) -> Result<(), Error> {
    for field in fields.chunks_exact(24).filter(|field| field.first() != Some(&0)) {
        let (offset, len) = field.split_at_checked(12).unwrap_or_default();
        let number = |field| header::number(field).and_then(|number| u64::try_from(number).ok());
        let (Some(offset), Some(len)) = (number(offset), number(len)) else {
            return Err(damaged(at, "the map of holes has something that is no number"));
        };
        pairs.push((offset, len));
    }
    if pairs.len() > sparse::MAX_PAIRS {
        return Err(damaged(at, "the map of holes is larger than anything real"));
    }
    Ok(())
}

/// A problem with a value, at a position of the archive.
fn refuse(at: u64, problem: BadValue) -> Error {
    let message = format!("byte {at:#x}: {}", problem.message);
    Error::from(BadValue { message, ..problem })
}

fn up_to_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

fn size(block: &Block, at: u64) -> Result<u64, Error> {
    let size = block.size().and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| damaged(at, format!("{}: its length is no number", display_path(&block.path()))))
}

fn raw_path(entry: &Entry, pax: &Pax) -> Vec<u8> {
    let of_pax = pax.sparse.name.as_ref().or(pax.path.as_ref());
    let long = of_pax.or(entry.extensions.long_name.as_ref());
    long.cloned().unwrap_or_else(|| entry.block.path())
}

fn link_name(entry: &Entry, pax: &Pax) -> Vec<u8> {
    let long = pax.link_path.as_ref().or(entry.extensions.long_link.as_ref());
    long.cloned().unwrap_or_else(|| entry.block.link_name())
}

fn link(entry: &Entry, pax: &Pax) -> Result<What, BadValue> {
    value::contained_path(&link_name(entry, pax)).map(What::Link)
}

fn device(entry: &Entry) -> Result<Device, BadValue> {
    let number = |number: i128| u64::try_from(number).ok();
    let numbers = entry.block.device().and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    let (major, minor) = numbers.ok_or_else(|| BadValue::new("its device number is no number"))?;
    value::device(major, minor)
}

fn metadata(entry: &Entry, pax: &Pax) -> Result<Metadata, String> {
    let block = &entry.block;
    let owner = |what: &str, number: Option<i128>| {
        let number = number.ok_or_else(|| format!("its {what} is no number"))?;
        u32::try_from(number).map_err(|_| format!("its {what} is {number}, not within 0 to 4294967295"))
    };
    let mode = block.mode().ok_or("its mode is no number")?;
    // The mask leaves 12 bits; what is above them is the type in old archives.
    let mut metadata = Metadata::new(u16::try_from(mode & 0o7777).unwrap_or(0));
    metadata.uid = owner("uid", pax.uid.map(i128::from).or_else(|| block.uid()))?;
    metadata.gid = owner("gid", pax.gid.map(i128::from).or_else(|| block.gid()))?;
    metadata.mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => {
            let seconds = block.mtime().and_then(|seconds| i64::try_from(seconds).ok());
            Timestamp::from_seconds(seconds.ok_or("its time is no number")?)
        }
    };
    metadata.xattrs.clone_from(&pax.other_xattrs);
    metadata.xattrs.extend(pax.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(metadata)
}
