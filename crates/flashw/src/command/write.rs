//! `flashw write`, `flashw verify`, `flashw erase`: images onto flash.

use std::fmt::Write as _;

use flashwright_media::{Endian, Flash, FlashKind};
use flashwright_plan::image::{self, Image};
use flashwright_plan::raw::{self, Action, Options, WritePlan};
use flashwright_plan::{Costs, Ending, Error, Refusal, Report, Source};
use flashwright_ubi::format::EcHdr;

use super::{GEOMETRY, JSON, OFFSET, write_ubi, write_volume};
use crate::args::{Args, Command, Flag, option, switch};
use crate::exit::{Exit, Failure, Result};
use crate::image::{digest, open};
use crate::output::{Json, bytes, print, print_text, say};
use crate::safety::{in_use, judge};
use crate::target::Target;
use crate::watch::Watch;

const LENGTH: Flag = option("length", ' ', "BYTES", "Bytes of the image [all of a file]; needed for -");
const SHA256: Flag = option("sha256", ' ', "HEX", "What the image must be");
pub(crate) const FORCE: Flag = option(
    "force",
    ' ',
    "WHAT",
    "Do it in spite of WHAT, a word that a refusal names; more than once for more",
);
pub(crate) const PLAN: Flag = switch("plan", ' ', "Say what would be done, and stop");
pub(crate) const NO_VERIFY: Flag = switch("no-verify", ' ', "Do not read back");

pub(crate) const WRITE: Command = Command {
    name: "write",
    operands: "IMAGE TARGET",
    about: "Puts an image onto flash: erases and programs only what differs, and reads it back",
    more: "IMAGE is a file, or - for the standard input. What cannot end well is refused before anything is erased.\n\
           Interrupted at any moment, the same command goes on from there.\n\n\
           Examples:\n  flashw write firmware.bin mtd:firmware --plan\n  flashw write firmware.ubi mtd:ubi\n  \
           curl … | flashw write - mtd:firmware --length 8M --sha256 …",
    flags: &[
        PLAN,
        OFFSET,
        LENGTH,
        SHA256,
        NO_VERIFY,
        write_ubi::ERASE_COUNTER,
        switch(
            "trust-crc",
            ' ',
            "UBI: do not read LEBs whose header has the right CRC; much faster, but keeps data that have rotted",
        ),
        switch("in-place", ' ', "A UBI volume: change it LEB by LEB instead of making a new one"),
        FORCE,
        GEOMETRY,
        JSON,
    ],
    run: write,
};

pub(crate) const UPDATE: Command = Command {
    name: "ubi update",
    operands: "IMAGE VOLUME",
    about: "Puts an image into a volume: as `write`, for those who look for it here",
    more: "Example:\n  flashw ubi update rootfs.squashfs ubi:rootfs",
    flags: WRITE.flags,
    run: write,
};

pub(crate) const VERIFY: Command = Command {
    name: "verify",
    operands: "IMAGE TARGET",
    about: "Compares flash with an image; exit code 5 when they differ",
    more: "Example:\n  flashw verify firmware.bin mtd:firmware",
    flags: &[OFFSET, LENGTH, SHA256, GEOMETRY, JSON],
    run: verify,
};

pub(crate) const ERASE: Command = Command {
    name: "erase",
    operands: "TARGET",
    about: "Erases flash; bad eraseblocks stay marked",
    more: "Flash that UBI was on is refused, since it would lose its erase counts: `flashw ubi format` keeps them.\n\n\
           Example:\n  flashw erase mtd:data",
    flags: &[
        OFFSET,
        option("length", ' ', "BYTES", "How much, whole eraseblocks [to the end]"),
        PLAN,
        NO_VERIFY,
        FORCE,
        GEOMETRY,
        JSON,
    ],
    run: erase,
};

/// Word of a refusal that comes from here.
const ERASE_COUNTS: &str = "erase-counts";

/// What typical chips take, for an estimate: erases of an eraseblock, and programs and reads of 1 KiB, in nanoseconds.
pub(super) const fn costs(kind: FlashKind) -> Costs {
    match kind {
        // 64 KiB of a serial NOR chip: 150 ms to erase; 256 bytes 0.7 ms to program; 50 MHz on two lines to read.
        FlashKind::Nor => Costs { erase_ns: 150_000_000, program_ns: 2_800_000, read_ns: 82_000 },
        // 2 ms to erase; a page of 2 KiB 0.4 ms to program, 0.2 ms to read with the bus.
        FlashKind::Nand => Costs { erase_ns: 2_000_000, program_ns: 200_000, read_ns: 100_000 },
        _ => Costs { erase_ns: 0, program_ns: 1000, read_ns: 1000 },
    }
}

fn forcible(word: &'static str, reason: String) -> Refusal {
    Refusal { word, overridable: true, reason }
}

/// Eraseblocks from the start of an area that are looked at for traces of UBI.
const TRACES: u32 = 8;

/// Why flash that UBI was on is not overwritten: what it knows of each PEB would be lost.
fn holds_ubi(flash: &mut dyn Flash, offset: u64) -> Result<Vec<Refusal>> {
    let geometry = flash.geometry();
    let first = u32::try_from(offset / u64::from(geometry.eraseblock_size)).unwrap_or(u32::MAX);
    for eraseblock in (first..geometry.eraseblock_count).take(TRACES as usize) {
        let mut header = [0; 64];
        let at = geometry.offset_of(eraseblock);
        // What cannot be read is no trace.
        if flash.is_bad(eraseblock)? || flash.read(at, &mut header).is_err() {
            continue;
        }
        if let Ok(found) = EcHdr::parse(&header) {
            let reason = format!(
                "there is UBI on it, and its erase counts (the PEB at {at:#010x} was erased {} times) would be lost; \
                 write a UBI image, or `flashw ubi format`",
                found.erase_count
            );
            return Ok(vec![forcible(ERASE_COUNTS, reason)]);
        }
    }
    Ok(Vec::new())
}

/// Byte order of the CPU that this program runs on, which will mount what it writes.
const HOST: Endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };

fn options(args: &Args, flash: &dyn Flash) -> Result<Options> {
    let mut options = Options::default();
    options.offset = args.size("offset")?.unwrap_or(0);
    options.verify = !args.has("no-verify");
    options.sha256 = digest(args)?;
    options.costs = costs(flash.geometry().kind);
    Ok(options)
}

fn write(args: &Args) -> Result {
    let target = Target::find(args.operand(1).unwrap_or_default())?;
    let (mut source, image) = open(args.operand(0).unwrap_or_default(), args)?;
    let is_volume = matches!(target, Target::Volume { .. });
    let is_ubi = !is_volume && matches!(image, Image::Ubi(_));
    let misplaced = [("in-place", is_volume), ("erase-counter", is_ubi), ("trust-crc", is_ubi)];
    if let Some((name, _)) = misplaced.iter().find(|(name, fits)| !fits && args.has(name)) {
        return Err(Failure::usage(format_args!(
            "--{name} has no meaning for {} onto {}",
            image.name(),
            target
        )));
    }
    if let Target::Volume { ubi, id } = target {
        return write_volume::write(ubi, id, &image, source.as_mut(), &target, args);
    }
    let mut flash = target.open_flash(!args.has("plan"), args.text("geometry")?)?;
    let mut refusals = in_use(&target, true)?;
    if let Image::Ubi(_) = image {
        return write_ubi::write(flash.as_mut(), source.as_mut(), &target, refusals, args);
    }
    refusals.extend(image_refusals(&image, source.as_mut(), flash.as_ref())?);
    let options = options(args, flash.as_ref())?;
    refusals.extend(holds_ubi(flash.as_mut(), options.offset)?);
    let mut watch = Watch::new(args.has("json"));
    let planned = raw::plan_write(flash.as_mut(), source.as_mut(), &options, &mut |event| watch.tell(event));
    watch.clear();
    let plan = planned?;
    refusals.extend(plan.refusals().iter().cloned());
    judge(&refusals, args)?;
    tell_plan(&plan, &image, &target, args)?;
    if args.has("plan") {
        return Ok(());
    }
    let mut report = Report::default();
    let result = plan.execute(flash.as_mut(), source.as_mut(), &mut report, &mut |event| watch.tell(event));
    watch.clear();
    finish(result, &report, &target, "written", args)
}

fn image_refusals(image: &Image, source: &mut dyn Source, flash: &dyn Flash) -> Result<Vec<Refusal>> {
    let image = match *image {
        Image::Jffs2(jffs2) if !source.is_pipe() => Image::Jffs2(jffs2.with_eraseblock(source)?),
        other => other,
    };
    let mut refusals = image::fits_mtd(&image, &flash.geometry(), HOST);
    refusals.extend(checked(&image, source)?);
    Ok(refusals)
}

/// What is wrong with the image by its own checksums; says which of them it has that are not known here.
pub(super) fn checked(image: &Image, source: &mut dyn Source) -> Result<Vec<Refusal>> {
    if source.is_pipe() {
        return Ok(Vec::new());
    }
    let found = image::check(image, source)?;
    found.unchecked.iter().for_each(|line| say(format_args!("{line}")));
    Ok(found.refusals)
}

/// Seconds of an estimate, rounded up.
pub(super) fn seconds(estimate: Option<u64>) -> u64 {
    estimate.unwrap_or(0).div_ceil(1_000_000_000)
}

fn tell_plan(plan: &WritePlan, image: &Image, target: &Target, args: &Args) -> Result {
    if args.has("json") {
        let mut event = Json::of("plan", &target);
        event.text("image", image.name());
        event.number("erases", plan.erases()).number("programmed", plan.programmed());
        event.number("kept", plan.kept()).number("bad", plan.bad()).number("spare", plan.spare());
        event.number("locked", plan.locked()).number("tail_lost", plan.tail_lost());
        event.flag("decided", plan.is_decided());
        return event.number("estimated_seconds", seconds(plan.estimate())).print();
    }
    if !args.has("plan") {
        return Ok(());
    }
    let mut text = format!("{} onto {}:\n", image.name(), target);
    if !plan.is_decided() {
        text.push_str("  a pipe is looked at as it comes; at most\n");
    }
    let _ = writeln!(text, "  {} erases, {} programmed", plan.erases(), bytes(plan.programmed()));
    let _ = writeln!(text, "  {} eraseblocks are right already", plan.kept());
    let _ = writeln!(text, "  {} bad eraseblocks, {} good ones behind the image", plan.bad(), plan.spare());
    if plan.locked() > 0 {
        let _ = writeln!(text, "  {} eraseblocks are unlocked, and locked again", plan.locked());
    }
    if plan.tail_lost() > 0 {
        let _ =
            writeln!(text, "  {} bytes behind the image, in its last eraseblock, are lost", plan.tail_lost());
    }
    let _ = writeln!(text, "  about {} s, as typical chips go", seconds(plan.estimate()));
    for step in plan.steps().filter(|step| step.action != Action::Keep) {
        let word = match step.action {
            Action::Refresh => "refresh: right, but worn",
            Action::Invalidate => "erase first, program last",
            _ => "erase, program",
        };
        let _ = writeln!(text, "  eraseblock {}: {word} ({} bytes)", step.eraseblock, step.programmed);
    }
    print_text(&text)
}

/// Says what was done, whatever the end.
fn finish(
    result: std::result::Result<Ending, Box<Error>>,
    report: &Report,
    target: &Target,
    word: &str,
    args: &Args,
) -> Result {
    let done = matches!(result, Ok(Ending::Done));
    if args.has("json") {
        let mut event = Json::of("report", &target);
        event.flag("done", done);
        event.number("erases", report.erases).number("programmed", report.programmed);
        event.number("written", report.written).number("kept", report.kept);
        event.number("verified", report.verified).number("corrected_bits", report.corrected_bits);
        event.number("worn_reads", report.worn_reads).number("unlocked", report.unlocked);
        event.number("locked", report.locked).numbers("went_bad", &report.went_bad).print()?;
    } else {
        let mut text = format!("{}: {}", target, if done { word } else { "not finished" });
        let _ = write!(text, "; {} erases, {} programmed", report.erases, bytes(report.programmed));
        let _ = write!(text, ", {} eraseblocks right before, {} read back", report.kept, report.verified);
        if report.corrected_bits > 0 {
            let _ = write!(text, ", {} bits corrected", report.corrected_bits);
        }
        text.push('\n');
        print_text(&text)?;
    }
    match result? {
        Ending::Done => Ok(()),
        Ending::Stopped => Err(Failure::stopped()),
    }
}

fn verify(args: &Args) -> Result {
    let target = Target::find(args.operand(1).unwrap_or_default())?;
    let (mut source, image) = open(args.operand(0).unwrap_or_default(), args)?;
    if let Target::Volume { ubi, id } = target {
        return write_volume::verify(ubi, id, source.as_mut(), &target, args);
    }
    let mut flash = target.open_flash(false, args.text("geometry")?)?;
    if let Image::Ubi(_) = image {
        return write_ubi::verify(flash.as_mut(), source.as_mut(), &target, args);
    }
    let options = options(args, flash.as_ref())?;
    let plan = raw::plan_verify(flash.as_mut(), source.as_ref(), &options)?;
    judge(plan.refusals(), args)?;
    let (mut watch, mut report) = (Watch::new(args.has("json")), Report::default());
    let result = plan.execute(flash.as_mut(), source.as_mut(), &mut report, &mut |event| watch.tell(event));
    watch.clear();
    let verdict = result?;
    let size = u64::from(flash.geometry().eraseblock_size);
    let first = verdict.first.map(|difference| {
        let place = format!("at {:#010x} (eraseblock {})", difference.offset, difference.offset / size);
        match difference.bytes {
            Some((expected, found)) => format!("{place} expected {expected:#04x}, found {found:#04x}"),
            None => format!("{place} the error correction gave up"),
        }
    });
    if args.has("json") {
        let mut event = Json::of("verdict", &target);
        event.flag("equal", verdict.is_equal());
        event.number("different", verdict.different).text("first", first.as_deref().unwrap_or(""));
        event.number("corrected_bits", report.corrected_bits).print()?;
    } else if verdict.is_equal() {
        print(format_args!("{}: as the image, {} bits corrected\n", target, report.corrected_bits))?;
    }
    match (verdict.ending, first) {
        (Ending::Stopped, _) => Err(Failure::stopped()),
        (Ending::Done, None) => Ok(()),
        (Ending::Done, Some(first)) => {
            let message = format_args!("{}: {} eraseblocks differ, {first}", target, verdict.different);
            Err(Failure::new(Exit::Verification, message).help(format_args!("write the image again")))
        }
    }
}

fn erase(args: &Args) -> Result {
    let target = Target::find(args.operand(0).unwrap_or_default())?;
    let mut flash = target.open_flash(!args.has("plan"), args.text("geometry")?)?;
    let mut options = options(args, flash.as_ref())?;
    options.len = args.size("length")?;
    let mut refusals = in_use(&target, true)?;
    refusals.extend(holds_ubi(flash.as_mut(), options.offset)?);
    let plan = raw::plan_erase(flash.as_mut(), &options)?;
    refusals.extend(plan.refusals().iter().cloned());
    judge(&refusals, args)?;
    if args.has("plan") {
        let (erases, bad) = (plan.eraseblocks().len(), plan.bad());
        if args.has("json") {
            let mut event = Json::of("plan", &target);
            event.number("erases", erases as u64);
            return event.number("bad", bad).number("locked", plan.locked()).print();
        }
        return print(format_args!("{}: {erases} erases, {bad} bad eraseblocks stay\n", target));
    }
    let (mut watch, mut report) = (Watch::new(args.has("json")), Report::default());
    let result = plan.execute(flash.as_mut(), &mut report, &mut |event| watch.tell(event));
    watch.clear();
    finish(result, &report, &target, "erased", args)
}
