//! `flashw read`: what is on the flash, to a file or the standard output.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use flashwright_media::{EccStats, Flash, FlashFault};
use flashwright_mtd::open;
use flashwright_mtd::ubi::Volume;
use rustix::fs::OFlags;
use rustix::stdio::stdout;

use super::{GEOMETRY, JSON, OFFSET};
use crate::args::{Args, Command, option, switch};
use crate::exit::{Exit, Failure, Result, at};
use crate::output::{Json, say};
use crate::target::Target;

pub(crate) const COMMAND: Command = Command {
    name: "read",
    operands: "TARGET",
    about: "Reads flash, or a UBI volume",
    more: "Bad eraseblocks of NAND are left out, as a writer leaves them out: offsets count good ones only.\n\
           --physical reads them as well. Bytes that the error correction gave up on are an error.\n\n\
           Examples:\n  flashw read mtd:art --offset 0x5000 --length 0x844 -o calibration.bin\n  \
           flashw read ubi:rootfs | sha256sum",
    flags: &[
        OFFSET,
        option("length", ' ', "BYTES", "How much [to the end]"),
        option("output", 'o', "FILE", "Where to; it appears when it is whole [standard output]"),
        switch("physical", ' ', "Count and read bad eraseblocks too"),
        switch("damaged", ' ', "Go on where the error correction gives up; exit code 5 at the end"),
        GEOMETRY,
        JSON,
    ],
    run,
};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Where the bytes go.
struct Sink {
    out: File,
    /// The file beside the one to be, and its name in the end.
    renamed: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    fn new(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            if stdout().is_terminal() {
                return Err(Failure::usage(format_args!("bytes of flash are nothing for a terminal"))
                    .help(format_args!("add -o FILE")));
            }
            let out = rustix::io::dup(stdout())
                .map_err(|error| Failure::io(format_args!("cannot write: {error}")))?;
            return Ok(Sink { out: out.into(), renamed: None });
        };
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            // A device or a pipe is written to, not replaced.
            let file = open(path, OFlags::WRONLY).map_err(at("write", path))?;
            return Ok(Sink { out: file, renamed: None });
        }
        let mut new = path.as_os_str().to_owned();
        new.push(".part");
        let new = PathBuf::from(new);
        let file = open(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).map_err(at("create", &new))?;
        Ok(Sink { out: file, renamed: Some((new, path.into())) })
    }

    fn finish(mut self) -> Result {
        match self.renamed.take() {
            Some((new, path)) => fs::rename(&new, &path).map_err(at("write", &path)),
            None => Ok(()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((new, _)) = &self.renamed {
            // Half a file is worse than none; that it cannot be removed changes nothing.
            let _ = fs::remove_file(new);
        }
    }
}

/// What was read.
#[derive(Debug, Default)]
struct Totals {
    bytes: u64,
    ecc: EccStats,
    damaged: Vec<u64>,
    bad: u32,
}

fn run(args: &Args) -> Result {
    let target = Target::find(args.operand(0).unwrap_or_default())?;
    let mut sink = Sink::new(args.value("output").map(Path::new))?;
    let totals = match target {
        Target::Volume { ubi, id } => read_volume(ubi, id, args, &mut sink.out)?,
        _ => {
            let mut flash = target.open_flash(false, args.text("geometry")?)?;
            read_flash(flash.as_mut(), args, &mut sink.out)?
        }
    };
    let to_file = args.value("output").is_some();
    sink.finish()?;
    report(&target, &totals, args.has("json") && to_file)
}

fn report(target: &Target, totals: &Totals, json: bool) -> Result {
    let Totals { bytes, ecc, damaged, bad } = totals;
    if json {
        let mut event = Json::of("read", &target);
        event.number("bytes", *bytes);
        event.number("corrected_bits", ecc.corrected).number("bad_eraseblocks", *bad);
        event.numbers("damaged", damaged).print()?;
    } else if *bad > 0 {
        say(format_args!("{}: left out {bad} bad eraseblocks", target));
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = damaged.iter().take(8).map(|offset| format!("{offset:#010x}")).collect();
    let message = format_args!("{}: could not be put right at {}", target, list.join(", "));
    Err(Failure::new(Exit::Verification, message))
}

fn write(out: &mut File, bytes: &[u8]) -> Result {
    out.write_all(bytes).map_err(|error| Failure::io(format_args!("cannot write: {error}")))
}

fn read_volume(ubi: u32, id: u32, args: &Args, out: &mut File) -> Result<Totals> {
    let volume = Volume::open(ubi, id, false)?;
    let offset = args.size("offset")?.unwrap_or(0);
    let mut left = args.size("length")?;
    let (mut totals, mut buffer) = (Totals::default(), vec![0; CHUNK]);
    while left != Some(0) {
        let want = left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        let part = buffer.get_mut(..want).unwrap_or_default();
        let count = volume.read(offset + totals.bytes, part)?;
        if count == 0 {
            break;
        }
        write(out, part.get(..count).unwrap_or_default())?;
        totals.bytes += count as u64;
        left = left.map(|left| left - count as u64);
    }
    match left {
        Some(left) if left > 0 => Err(past_the_end(offset + totals.bytes)),
        _ => Ok(totals),
    }
}

fn past_the_end(len: u64) -> Failure {
    Failure::new(Exit::DoesNotFit, format_args!("it ends at {len:#x}, before --offset and --length do"))
}

/// Reads eraseblocks in order, those that are bad left out.
fn read_flash(flash: &mut dyn Flash, args: &Args, out: &mut File) -> Result<Totals> {
    let geometry = flash.geometry();
    let size = u64::from(geometry.eraseblock_size);
    let mut skip = args.size("offset")?.unwrap_or(0);
    let wanted = args.size("length")?;
    let mut left = wanted.unwrap_or(u64::MAX);
    let (mut totals, mut buffer) = (Totals::default(), vec![0; CHUNK.min(geometry.eraseblock_size as usize)]);
    for eraseblock in 0..geometry.eraseblock_count {
        if left == 0 {
            break;
        }
        // An eraseblock that is not read need not be asked for, where all count.
        let asked = !args.has("physical");
        if asked && flash.is_bad(eraseblock)? {
            totals.bad += 1;
            continue;
        }
        if skip >= size {
            skip -= size;
            continue;
        }
        let start = geometry.offset_of(eraseblock) + skip;
        let len = (size - skip).min(left);
        read_range(flash, start, len, args.has("damaged"), &mut buffer, &mut totals, out)?;
        skip = 0;
        left -= len;
    }
    let end = args.size("offset")?.unwrap_or(0).saturating_add(wanted.unwrap_or(0));
    if skip > 0 || (wanted.is_some() && left > 0) {
        return Err(past_the_end(geometry.len() - u64::from(totals.bad) * size)
            .help(format_args!("asked for bytes up to {end:#x}, {} eraseblocks are bad", totals.bad)));
    }
    Ok(totals)
}

/// Reads `len` bytes from `start`, within an eraseblock.
fn read_range(
    flash: &mut dyn Flash,
    start: u64,
    len: u64,
    damaged: bool,
    buffer: &mut [u8],
    totals: &mut Totals,
    out: &mut File,
) -> Result {
    let mut done = 0;
    while done < len {
        let want = buffer.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..want).unwrap_or_default();
        match flash.read(start + done, part) {
            Ok(ecc) => totals.ecc = totals.ecc.and(ecc),
            Err(error) if damaged && matches!(error.fault, FlashFault::Uncorrectable) => {
                read_pages(flash, start + done, part, totals)?;
            }
            Err(error) if matches!(error.fault, FlashFault::Uncorrectable) => {
                return Err(Failure::new(Exit::Verification, format_args!("{error}"))
                    .help(format_args!("--damaged reads on")));
            }
            Err(error) => return Err(error.into()),
        }
        write(out, part)?;
        done += want as u64;
        totals.bytes += want as u64;
    }
    Ok(())
}

/// Reads page by page, for a list of those that the error correction gives up.
fn read_pages(flash: &mut dyn Flash, start: u64, bytes: &mut [u8], totals: &mut Totals) -> Result {
    let page = flash.geometry().page_size as usize;
    for (at, page) in (start..).step_by(page).zip(bytes.chunks_mut(page)) {
        match flash.read(at, page) {
            Ok(ecc) => totals.ecc = totals.ecc.and(ecc),
            Err(error) if matches!(error.fault, FlashFault::Uncorrectable) => totals.damaged.push(at),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
