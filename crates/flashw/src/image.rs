//! The image of a command line: a file, or the standard input with its length.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use flashwright_mtd as mtd;
use flashwright_plan::image::{self, HEAD_LEN, Image};
use flashwright_plan::{FileSource, PipeSource, Sha256, Source, SourceError, SourceFault};

use rustix::fs::OFlags;
use rustix::stdio::stdin;

use crate::args::Args;
use crate::exit::{Exit, Failure, Result, at};

/// The image that `name` and `--length` tell, and what it is by its first bytes.
pub(crate) fn open(name: &OsStr, args: &Args) -> Result<(Box<dyn Source>, Image)> {
    if name == "-" {
        let help = format_args!("say how many bytes come: --length BYTES");
        let len = args.size("length")?;
        let len = len.ok_or_else(|| {
            Failure::usage(format_args!("the length of a pipe is not known beforehand")).help(help)
        })?;
        not_empty(len)?;
        let pipe = Pipe::new(PipeSource::new(standard_input()?, len))?;
        let image = image::identify(&pipe.head);
        return Ok((Box::new(pipe), image));
    }
    let mut source = open_file(name, args)?;
    let len = usize::try_from(source.len()).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    let mut head = vec![0; len];
    source.read_at(0, &mut head)?;
    let image = image::identify(&head);
    Ok((source, image))
}

/// Without the standard library's buffer: what is read are whole eraseblocks.
fn standard_input() -> Result<File> {
    let name = Path::new("the standard input");
    Ok(rustix::io::dup(stdin()).map_err(|error| at("read", name)(error.into()))?.into())
}

fn open_file(name: &OsStr, args: &Args) -> Result<Box<dyn Source>> {
    let len = args.size("length")?;
    let path = Path::new(name);
    let is_target = ["mtd:", "ubi"].iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()));
    let file = mtd::open(path, OFlags::RDONLY).map_err(|error| match at("open", path)(error) {
        failure if is_target => failure.help(format_args!("the image comes first, then the target")),
        failure => failure,
    })?;
    let kind = file.metadata().map_err(at("look at", path))?.file_type();
    if !kind.is_file() {
        let message = format_args!("{} is no regular file", path.display());
        return Err(
            Failure::usage(message).help(format_args!("pipe it: `… | flashw write - TARGET --length BYTES`"))
        );
    }
    let source = FileSource::new(file).map_err(at("look at", path))?;
    let whole = source.len();
    not_empty(whole)?;
    match len {
        None => Ok(Box::new(source)),
        Some(len) if len > whole => {
            let message = format_args!("{} has {whole} bytes, --length asks for {len}", path.display());
            Err(Failure::new(Exit::Invalid, message))
        }
        Some(len) => not_empty(len).map(|()| -> Box<dyn Source> { Box::new(Part { source, len }) }),
    }
}

fn not_empty(len: u64) -> Result {
    if len > 0 {
        Ok(())
    } else {
        Err(Failure::new(Exit::Invalid, format_args!("the image has no bytes at all")))
    }
}

/// A pipe whose first bytes were read already, to see what they are.
#[derive(Debug)]
struct Pipe {
    head: Vec<u8>,
    rest: PipeSource<File>,
    position: u64,
}

impl Pipe {
    fn new(mut source: PipeSource<File>) -> Result<Self> {
        let len = usize::try_from(source.len()).unwrap_or(HEAD_LEN).min(HEAD_LEN);
        let mut head = vec![0; len];
        source.read_at(0, &mut head)?;
        Ok(Pipe { head, rest: source, position: 0 })
    }
}

impl Source for Pipe {
    fn len(&self) -> u64 {
        self.rest.len()
    }

    fn is_pipe(&self) -> bool {
        true
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<(), SourceError> {
        if offset != self.position {
            return Err(SourceError::new(offset, SourceFault::Gone));
        }
        // An offset behind the head, which is short, fits.
        let start = usize::try_from(offset).map_or(self.head.len(), |offset| offset.min(self.head.len()));
        let kept = self.head.get(start..).unwrap_or_default();
        let (from_head, from_rest) = bytes.split_at_mut(kept.len().min(bytes.len()));
        from_head.copy_from_slice(kept.get(..from_head.len()).unwrap_or_default());
        if !from_rest.is_empty() {
            self.rest.read_at(offset + from_head.len() as u64, from_rest)?;
        }
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// The beginning of a file.
#[derive(Debug)]
struct Part {
    source: FileSource,
    len: u64,
}

impl Source for Part {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_pipe(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<(), SourceError> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(SourceError::new(self.len, SourceFault::Ended { len: self.len }));
        }
        self.source.read_at(offset, bytes)
    }
}

/// The value of `--sha256`.
pub(crate) fn digest(args: &Args) -> Result<Option<Sha256>> {
    let Some(text) = args.text("sha256")? else { return Ok(None) };
    let byte = |index: usize| {
        let digits = text.get(2 * index..2 * index + 2).filter(|digits| !digits.starts_with('+'))?;
        u8::from_str_radix(digits, 16).ok()
    };
    let mut digest = Sha256([0; 32]);
    for (index, place) in digest.0.iter_mut().enumerate() {
        *place = byte(index).ok_or_else(|| not_a_digest(text))?;
    }
    if text.len() == 64 { Ok(Some(digest)) } else { Err(not_a_digest(text)) }
}

fn not_a_digest(text: &str) -> Failure {
    Failure::usage(format_args!(
        "--sha256 {text}: expected 64 hexadecimal digits, found {} characters",
        text.chars().count()
    ))
}
