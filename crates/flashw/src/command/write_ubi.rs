//! A UBI image onto an MTD, an empty UBI, and how worn a UBI is: every PEB keeps its erase count.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use flashwright_media::Flash;
use flashwright_mtd as mtd;
use flashwright_plan::ubi::{self, Fate, Mode, Options, Plan, UbiReport};
use flashwright_plan::{Ending, Error, Refusal, Source};
use rustix::fs::OFlags;

use super::write::{self, FORCE, NO_VERIFY, PLAN};
use super::{GEOMETRY, JSON};
use crate::args::{Args, Command, Flag, option, switch};
use crate::exit::{Exit, Failure, Result, at};
use crate::image::digest;
use crate::output::{Json, bytes, print, print_text};
use crate::safety::{in_use, judge};
use crate::target::Target;
use crate::watch::Watch;

pub(crate) const ERASE_COUNTER: Flag =
    option("erase-counter", 'e', "N", "UBI: erase count of PEBs without a header [the mean of the others]");
const VID_HDR_OFFSET: Flag =
    option("vid-hdr-offset", 'O', "BYTES", "Where VID headers are [as the kernel computes it]");

pub(crate) const FORMAT: Command = Command {
    name: "ubi format",
    operands: "MTD",
    about: "Makes an empty UBI; every PEB keeps its erase count",
    more: "Example:\n  flashw ubi format mtd:ubi && flashw ubi attach mtd:ubi",
    flags: &[
        PLAN,
        ERASE_COUNTER,
        VID_HDR_OFFSET,
        option("image-seq", 'Q', "N", "Number that tells this UBI from others [from the clock]"),
        NO_VERIFY,
        FORCE,
        GEOMETRY,
        JSON,
    ],
    run: format,
};

pub(crate) const HEALTH: Command = Command {
    name: "ubi health",
    operands: "MTD",
    about: "Shows how often each PEB was erased, and what is wrong with them; changes nothing",
    more: "Works while UBI is attached.\n\nExample:\n  flashw ubi health mtd:ubi",
    flags: &[
        switch("whole", ' ', "Read every byte, for what the error correction has to say"),
        GEOMETRY,
        JSON,
    ],
    run: health,
};

fn options(args: &Args) -> Result<Options> {
    let mut options = Options::default();
    options.assumed_count = args.number("erase-counter")?;
    options.verify = !args.has("no-verify");
    options.trust_crc = args.has("trust-crc");
    options.vid_hdr_offset = args.number("vid-hdr-offset")?;
    options.sha256 = digest(args)?;
    Ok(options)
}

/// Writes a UBI image.
pub(crate) fn write(
    flash: &mut dyn Flash,
    source: &mut dyn Source,
    target: &Target,
    refusals: Vec<Refusal>,
    args: &Args,
) -> Result {
    if args.size("offset")?.unwrap_or(0) != 0 {
        return Err(Failure::usage(format_args!(
            "a UBI image takes a whole MTD: --offset is for raw images"
        )));
    }
    let (options, mut watch) = (options(args)?, Watch::new(args.has("json")));
    let plan = ubi::plan(flash, source, &options, &mut |event| watch.tell(event));
    carry_out(plan, flash, source, target, refusals, watch, args)
}

/// Compares a device with a UBI image: volume by volume, wherever the LEBs are.
pub(crate) fn verify(flash: &mut dyn Flash, source: &mut dyn Source, target: &Target, args: &Args) -> Result {
    if source.is_pipe() {
        return Err(Failure::usage(format_args!(
            "a UBI image from a pipe cannot be compared: its LEBs may be anywhere"
        )));
    }
    let mut watch = Watch::new(args.has("json"));
    let plan = ubi::plan(flash, source, &options(args)?, &mut |event| watch.tell(event));
    watch.clear();
    let plan = plan?;
    judge(plan.refusals(), args)?;
    let equal = plan.mode() == Mode::UpToDate;
    let totals = plan.totals();
    if args.has("json") {
        let mut event = Json::of("verdict", &target);
        event.flag("equal", equal);
        event.number("different", totals.lebs_written).number("lebs_kept", totals.lebs_kept).print()?;
    } else if equal {
        print(format_args!("{}: has the volumes of the image, {} LEBs\n", target, totals.lebs_kept))?;
    }
    if equal {
        return Ok(());
    }
    let message =
        format_args!("{target}: {} LEBs of the image are not there as they should be", totals.lebs_written);
    let help = "write the image again; `flashw ubi health --whole` tells which PEBs cannot be read";
    Err(Failure::new(Exit::Verification, message).help(format_args!("{help}")))
}

fn format(args: &Args) -> Result {
    let target = Target::find(args.operand(0).unwrap_or_default())?;
    let mut flash = target.open_flash(!args.has("plan"), args.text("geometry")?)?;
    let refusals = in_use(&target, true)?;
    let image_seq = match args.number("image-seq")? {
        Some(number) => number,
        None => random()?,
    };
    let (options, mut watch) = (options(args)?, Watch::new(args.has("json")));
    let plan = ubi::format(flash.as_mut(), image_seq, &options, &mut |event| watch.tell(event));
    let mut none: &[u8] = &[];
    carry_out(plan, flash.as_mut(), &mut none, &target, refusals, watch, args)
}

/// A number that another UBI is not likely to have; not 0, which would fit all.
fn random() -> Result<u32> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 4];
    let read = mtd::open(path, OFlags::RDONLY).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| at("read", path)(error).help(format_args!("give a number: --image-seq NUMBER")))?;
    Ok(u32::from_ne_bytes(bytes) | 1)
}

fn carry_out(
    plan: std::result::Result<Plan, Box<Error>>,
    flash: &mut dyn Flash,
    source: &mut dyn Source,
    target: &Target,
    mut refusals: Vec<Refusal>,
    mut watch: Watch,
    args: &Args,
) -> Result {
    watch.clear();
    let plan = plan?;
    refusals.extend(plan.refusals().iter().cloned());
    judge(&refusals, args)?;
    let estimate = write::seconds(plan.estimate(&write::costs(flash.geometry().kind)));
    tell_plan(&plan, estimate, target, args)?;
    if args.has("plan") {
        return Ok(());
    }
    let forced: Vec<_> = args.values("force").filter_map(|word| word.to_str()).collect();
    let mut report = UbiReport::default();
    let result = plan.execute(flash, source, &forced, &mut report, &mut |event| watch.tell(event));
    watch.clear();
    finish(result, &report, &plan, target, args)
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::UpToDate => "up-to-date",
        Mode::Finish => "finish",
        _ => "full",
    }
}

/// With the seconds that it takes, about.
fn tell_plan(plan: &Plan, estimate: u64, target: &Target, args: &Args) -> Result {
    let totals = plan.totals();
    if args.has("json") {
        let mut event = Json::of("plan", &target);
        event.text("image", "ubi");
        event.text("mode", mode(plan.mode())).number("image_seq", plan.image_seq());
        event.number("erases", totals.erases).number("programmed", totals.programmed);
        event.number("lebs_written", totals.lebs_written).number("lebs_kept", totals.lebs_kept);
        event.number("free_kept", totals.free_kept).number("bad", totals.bad);
        event.number("counts_lost", totals.counts_lost).number("assumed_count", plan.assumed_count());
        return event.number("locked", totals.locked).number("estimated_seconds", estimate).print();
    }
    if !args.has("plan") {
        return Ok(());
    }
    let mut text = format!("UBI onto {}:\n", target);
    let _ = writeln!(text, "  {}", plan.fit());
    let _ = writeln!(text, "  {} erases, about {} programmed", totals.erases, bytes(totals.programmed));
    let _ =
        writeln!(text, "  {} LEBs are written, {} are there already", totals.lebs_written, totals.lebs_kept);
    let _ = writeln!(text, "  {} free PEBs stay as they are, {} are bad", totals.free_kept, totals.bad);
    let _ = writeln!(text, "  about {estimate} s, as typical chips go");
    if totals.counts_lost > 0 {
        let _ = writeln!(
            text,
            "  {} PEBs tell no erase count and get {}",
            totals.counts_lost,
            plan.assumed_count()
        );
    }
    for step in plan.steps() {
        let word = match step.fate {
            Fate::Program => "program",
            Fate::Erase => "erase",
            Fate::EraseAndProgram => "erase, program",
            Fate::Undecided => "as the pipe will tell",
            _ => continue,
        };
        let count = |count: Option<u32>| count.map_or_else(|| "unknown".into(), |count| count.to_string());
        let _ = writeln!(
            text,
            "  PEB {}: {word}; erase count {}, then {}",
            step.peb,
            count(step.count_before),
            count(step.count_after)
        );
    }
    print_text(&text)
}

fn finish(
    result: std::result::Result<Ending, Box<Error>>,
    report: &UbiReport,
    plan: &Plan,
    target: &Target,
    args: &Args,
) -> Result {
    let done = matches!(result, Ok(Ending::Done));
    let flash = &report.flash;
    if args.has("json") {
        let mut event = Json::of("report", &target);
        event.flag("done", done);
        event.number("erases", flash.erases).number("programmed", flash.programmed);
        event.number("lebs_written", report.lebs_written).number("lebs_kept", report.lebs_kept);
        event.number("counts_lost", report.counts_lost).number("counts_full", report.counts_full);
        event.number("assumed_count", plan.assumed_count()).number("image_seq", plan.image_seq());
        event.number("corrected_bits", flash.corrected_bits);
        event.numbers("went_bad", &flash.went_bad).print()?;
    } else {
        let mut text = format!("{}: {}", target, if done { "written" } else { "not finished" });
        let _ = write!(text, "; {} erases, {} LEBs written", flash.erases, report.lebs_written);
        let _ = write!(text, ", {} there before", report.lebs_kept);
        if report.counts_lost > 0 {
            let lost = report.counts_lost;
            let _ = write!(text, "; {lost} PEBs told no erase count and got {}", plan.assumed_count());
        }
        text.push('\n');
        print_text(&text)?;
    }
    match result? {
        Ending::Done => Ok(()),
        Ending::Stopped => Err(Failure::stopped()),
    }
}

fn health(args: &Args) -> Result {
    let target = Target::find(args.operand(0).unwrap_or_default())?;
    let mut flash = target.open_flash(false, args.text("geometry")?)?;
    let mut watch = Watch::new(args.has("json"));
    let found = ubi::health(flash.as_mut(), args.has("whole"), &mut |event| watch.tell(event));
    watch.clear();
    let found = found?;
    let counts = &found.counts;
    if args.has("json") {
        let mut event = Json::of("health", &target);
        event.number("min", counts.min).number("mean", counts.mean).number("max", counts.max);
        event.number("known", counts.known).number("bad", found.bad).number("erased", found.erased);
        event.number("unreadable", found.unreadable).number("corrected_bits", found.corrected_bits);
        let seqs: Vec<_> = found.image_seqs.iter().map(|(seq, _)| *seq).collect();
        event.numbers("worn", &found.worn);
        event.numbers("uncorrectable", &found.uncorrectable);
        return event.numbers("image_seqs", &seqs).print();
    }
    let mut text = format!("{}: ", target);
    let _ = writeln!(
        text,
        "{} PEBs tell their erase count: {} to {}, mean {}",
        counts.known, counts.min, counts.max, counts.mean
    );
    let _ = writeln!(
        text,
        "  {} bad, {} erased without a header, {} unreadable",
        found.bad, found.erased, found.unreadable
    );
    let _ = write!(
        text,
        "  {} bits corrected, {} PEBs worn, {} not correctable",
        found.corrected_bits,
        found.worn.len(),
        found.uncorrectable.len()
    );
    for (index, peb) in found.uncorrectable.iter().enumerate() {
        let _ = write!(text, "{}{peb}", if index == 0 { ": PEB " } else { ", " });
    }
    text.push('\n');
    if found.image_seqs.len() > 1 {
        let _ = writeln!(
            text,
            "  {} image sequence numbers are mixed: the kernel refuses that",
            found.image_seqs.len()
        );
    }
    print_text(&text)
}
