//! Opening an archive: recognised by content, unpacked where it is compressed, with bounded memory.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use flashwright_tree::{HostFile, ReadAt, Source};
use flate2::bufread::GzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::{Class, Error, Options};

/// What an archive may unpack to in memory, in bytes; a larger one goes to a temporary file.
const MAX_IN_MEMORY: usize = 4 << 20;
/// The most an archive may unpack to, in bytes: no image holds more.
const MAX_UNPACKED: u64 = 64 << 30;
/// Memory that unpacking xz may take, in bytes: four times what `xz -9` asks for.
const XZ_MEMORY: u64 = 256 << 20;
/// Largest window of zstd, as a power of two: what the program zstd takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes that are unpacked at a time; a run of zeros of that length becomes a hole in the temporary file.
const STEP: usize = 64 << 10;

/// The bytes of an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    /// For reading headers.
    pub(crate) reader: Arc<dyn ReadAt>,
    /// The same bytes, for the data of files.
    pub(crate) data: Source,
    /// Length in bytes.
    pub(crate) len: u64,
}

impl Archive {
    /// An archive in memory, not compressed.
    pub(crate) fn in_memory(bytes: Arc<[u8]>) -> Self {
        let len = bytes.len() as u64;
        Archive { reader: Arc::new(Memory(Arc::clone(&bytes))), data: Source::Bytes(bytes), len }
    }
}

struct Memory(Arc<[u8]>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ReadAt for Memory {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What an archive is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
    /// Recognised, and not unpacked: its name, and the program that does.
    Foreign(&'static str, &'static str),
}

/// Tells by the first bytes.
fn packing(head: &[u8]) -> Packing {
    const MAGICS: [(&[u8], Packing); 8] = [
        (b"\x1f\x8b", Packing::Gzip),
        (b"\xfd7zXZ\0", Packing::Xz),
        (b"\x28\xb5\x2f\xfd", Packing::Zstd),
        (b"BZh", Packing::Foreign("bzip2", "bunzip2")),
        (b"\x04\x22\x4d\x18", Packing::Foreign("lz4", "unlz4")),
        (b"\x02\x21\x4c\x18", Packing::Foreign("lz4", "unlz4")),
        (b"\x89LZO\0", Packing::Foreign("lzop", "lzop -d")),
        (b"\x5d\0\0", Packing::Foreign("lzma", "unlzma")),
    ];
    MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map_or(Packing::Plain, |(_, packing)| *packing)
}

/// Opens an archive. A plain one that is a regular file stays where it is; anything else is unpacked.
///
/// # Errors
/// [`Class::Io`] when the host refuses, [`Class::Invalid`] when it does not unpack.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Archive, Error> {
    let io = |error| Error::io("read", path, error);
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        let shown = path.display();
        return Err(Error::invalid(format!("{shown} is a directory, not an archive"))
            .with_help(format!("dir:{shown} carries in a directory")));
    }
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut head).map_err(io)?;
    let packing = packing(&head);
    if packing == Packing::Plain && metadata.is_file() {
        let data = Source::Host(Arc::new(HostFile::new(path, &metadata)));
        return Ok(Archive { reader: Arc::new(file), data, len: metadata.len() });
    }
    let failed = |error: io::Error| unpack_error(path, packing, error);
    let input = BufReader::new(Cursor::new(head).chain(file));
    let mut unpacking = decoder(input, packing).map_err(failed)?;
    let mut spool = Spool::new(options);
    let mut step = vec![0; STEP];
    loop {
        let len = fill(&mut unpacking, &mut step).map_err(failed)?;
        spool.write(&step[..len])?;
        if len < STEP {
            return spool.finish();
        }
    }
}

fn decoder(input: impl BufRead + 'static, packing: Packing) -> io::Result<Box<dyn Read>> {
    Ok(match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => Box::new(Members::<_, GzDecoder<_>>::new(input)),
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Packing::Zstd => Box::new(Members::<_, zstd::Decoder<'static, _>>::new(input)),
        Packing::Foreign(name, program) => {
            return Err(io::Error::other(format!(
                "it is compressed with {name}; unpack it first with {program}"
            )));
        }
    })
}

/// Unpacks one member, and gives back what is after it.
trait Member<R>: Read + Sized {
    fn begin(input: R) -> io::Result<Self>;
    fn end(self) -> R;
}

impl<R: BufRead> Member<R> for GzDecoder<R> {
    fn begin(input: R) -> io::Result<Self> {
        Ok(GzDecoder::new(input))
    }

    fn end(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> Member<R> for zstd::Decoder<'static, R> {
    fn begin(input: R) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(decoder)
    }

    fn end(self) -> R {
        self.finish()
    }
}

/// Members one after the other, as the programs take them, and zeros after the last: files that were on a tape or in
/// flash are padded.
struct Members<R, M> {
    /// Between two members.
    input: Option<R>,
    member: Option<M>,
    started: bool,
}

impl<R: BufRead, M: Member<R>> Members<R, M> {
    fn new(input: R) -> Self {
        Members { input: Some(input), member: None, started: false }
    }

    /// Begins the next member. False when there is none.
    fn begin(&mut self) -> io::Result<bool> {
        let Some(mut input) = self.input.take() else { return Ok(false) };
        if self.started && !skip_zeros(&mut input)? {
            return Ok(false);
        }
        self.started = true;
        self.member = Some(M::begin(input)?);
        Ok(true)
    }
}

/// Skips zeros. False when nothing follows them.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
        let found = zeros < buffer.len();
        input.consume(zeros);
        if found {
            return Ok(true);
        }
    }
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(member) = &mut self.member {
                let len = member.read(buffer)?;
                if len > 0 || buffer.is_empty() {
                    return Ok(len);
                }
            }
            if let Some(member) = self.member.take() {
                self.input = Some(member.end());
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

/// As many bytes as there are, up to the length of the buffer.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn unpack_error(path: &Path, packing: Packing, error: io::Error) -> Error {
    // An error of the host has a number; one of the data has not.
    if error.raw_os_error().is_some() {
        return Error::io("read", path, error);
    }
    let message = format!("cannot unpack {}: {error}", path.display());
    match packing {
        Packing::Foreign(..) => Error::invalid(message).with_help("gzip, xz and zstd are unpacked here"),
        _ if error.to_string().contains("memory") => Error::invalid(message).with_help(
            "it asks for more memory than any ordinary archive: unpack it first with its own program",
        ),
        _ => Error::invalid(message)
            .with_help("the file is damaged or cut short: get it again, and test it with its own program"),
    }
}

/// Where an archive is unpacked to.
struct Spool<'o> {
    options: &'o Options,
    memory: Vec<u8>,
    file: Option<File>,
    len: u64,
}

impl<'o> Spool<'o> {
    fn new(options: &'o Options) -> Self {
        Spool { options, memory: Vec::new(), file: None, len: 0 }
    }

    fn error(&self, error: io::Error) -> Error {
        Error::io("write a temporary file in", self.options.temp_dir(), error)
            .with_help("an unpacked archive needs room there; TMPDIR names another folder")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.len += bytes.len() as u64;
        if self.len > MAX_UNPACKED {
            let message = format!("the archive unpacks to more than {} GiB", MAX_UNPACKED >> 30);
            return Err(Error::new(Class::Invalid, message).with_help("is it the right file?"));
        }
        if self.file.is_none() && self.memory.len() + bytes.len() <= MAX_IN_MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.spill(bytes).map_err(|error| self.error(error))
    }

    fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                // It has no name, so nothing is left behind whatever happens.
                let mut file = tempfile::tempfile_in(self.options.temp_dir())?;
                file.write_all(&std::mem::take(&mut self.memory))?;
                file
            }
        };
        if bytes.iter().all(|&byte| byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(bytes.len()).map_err(io::Error::other)?))?;
        } else {
            file.write_all(bytes)?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn finish(mut self) -> Result<Archive, Error> {
        let Some(file) = self.file.take() else { return Ok(Archive::in_memory(self.memory.into())) };
        file.set_len(self.len).map_err(|error| self.error(error))?;
        let file = Arc::new(file);
        let reader: Arc<dyn ReadAt> = Arc::clone(&file) as _;
        Ok(Archive { data: Source::Reader(file), reader, len: self.len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_told_by_content() {
        let cases: [(&[u8], Packing); 6] = [
            (b"\x1f\x8b\x08\0\0\0", Packing::Gzip),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd\x04\0", Packing::Zstd),
            (b"BZh91A", Packing::Foreign("bzip2", "bunzip2")),
            (b"", Packing::Plain),
            (b"070701", Packing::Plain),
        ];
        for (head, expected) in cases {
            assert_eq!(packing(head), expected);
        }
    }

    #[test]
    fn what_is_large_goes_to_a_file_and_zeros_to_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { temp_dir: folder.path().to_owned(), ..Options::default() };
        let mut spool = Spool::new(&options);
        let mut all = Vec::new();
        for step in 0..200_u8 {
            let bytes = vec![if step % 2 == 0 { step } else { 0 }; STEP];
            spool.write(&bytes).unwrap();
            all.extend(bytes);
        }
        spool.write(&[0; 100]).unwrap();
        all.extend([0; 100]);
        let archive = spool.finish().unwrap();
        assert!(matches!(archive.data, Source::Reader(_)));
        let mut read = vec![1; all.len()];
        archive.reader.read_exact_at(0, &mut read).unwrap();
        assert!(read == all && archive.len == all.len() as u64);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }
}
