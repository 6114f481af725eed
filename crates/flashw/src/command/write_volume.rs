//! An image into a volume of an attached UBI device.

use flashwright_media::UbiVolumes;
use flashwright_mtd::AttachedUbi;
use flashwright_plan::image::{self, Image};
use flashwright_plan::volume::{self, Method, Options, Plan, VolumeReport};
use flashwright_plan::{Ending, Error, Source};

use super::write::checked;
use crate::args::Args;
use crate::exit::{Exit, Failure, Result};
use crate::image::digest;
use crate::output::{Json, bytes, print, print_text};
use crate::safety::judge;
use crate::target::Target;
use crate::watch::Watch;

/// Writes an image to volume `id` of UBI device `ubi`.
pub(crate) fn write(
    ubi: u32,
    id: u32,
    image: &Image,
    source: &mut dyn Source,
    target: &Target,
    args: &Args,
) -> Result {
    if args.size("offset")?.unwrap_or(0) != 0 {
        return Err(Failure::usage(format_args!("a volume is written from its start: --offset is for MTDs")));
    }
    let mut device = AttachedUbi::new(ubi);
    let mut options = Options::default();
    options.in_place = args.has("in-place");
    options.verify = !args.has("no-verify");
    options.sha256 = digest(args)?;
    let mut refusals = checked(image, source)?;
    let mut watch = Watch::new(args.has("json"));
    let plan = volume::plan(&mut device, id, source, &options, &mut |event| watch.tell(event));
    watch.clear();
    let plan = plan?;
    let facts = device.facts()?;
    let room = image::Volume {
        usable_leb_size: plan.target().usable_leb_size,
        reserved_lebs: plan.target().reserved_lebs,
        min_io_size: facts.min_io_size,
        is_static: plan.target().is_static,
    };
    refusals.extend(image::fits_volume(image, &room));
    refusals.extend(plan.refusals().iter().cloned());
    judge(&refusals, args)?;
    tell_plan(&plan, image, target, args)?;
    if args.has("plan") {
        return Ok(());
    }
    let forced: Vec<_> = args.values("force").filter_map(|word| word.to_str()).collect();
    let mut report = VolumeReport::default();
    let result = plan.execute(&mut device, source, &forced, &mut report, &mut |event| watch.tell(event));
    watch.clear();
    finish(result, &report, ubi, &plan, args)
}

const fn method(method: Method) -> (&'static str, &'static str) {
    match method {
        Method::Nothing => ("nothing", "it has that content already"),
        Method::Replace => ("replace", "a new volume gets it, and takes the place of the old one at once"),
        Method::InPlace => ("in-place", "LEBs that differ are changed, each at once"),
        _ => ("rewrite", "all of it is written anew; until that is done the volume has no content"),
    }
}

fn tell_plan(plan: &Plan, image: &Image, target: &Target, args: &Args) -> Result {
    let (word, words) = method(plan.method());
    if args.has("json") {
        let mut event = Json::of("plan", &target);
        event.text("image", image.name());
        event.text("method", word).number("lebs", plan.lebs());
        return event.number("changed_lebs", plan.changed_lebs()).print();
    }
    if !args.has("plan") {
        return Ok(());
    }
    let lebs = format!("{} of {} LEBs differ", plan.changed_lebs(), plan.lebs());
    print(format_args!("{} into {}: {words}\n  {lebs}\n", image.name(), target))
}

fn finish(
    result: std::result::Result<Ending, Box<Error>>,
    report: &VolumeReport,
    ubi: u32,
    plan: &Plan,
    args: &Args,
) -> Result {
    let done = matches!(result, Ok(Ending::Done));
    let name = format!("/dev/ubi{ubi}_{}", report.id);
    if args.has("json") {
        let mut event = Json::of("report", &name);
        event.flag("done", done);
        event.number("lebs_written", report.lebs_written).number("lebs_kept", report.lebs_kept);
        event.number("lebs_erased", report.lebs_erased).number("programmed", report.bytes_written);
        event.number("verified", report.lebs_verified);
        event.flag("old_is_left", report.old_is_left).print()?;
    } else {
        let state = if done { "written" } else { "not finished" };
        let written = bytes(report.bytes_written);
        let mut text = format!("{name}: {state}; {written} written, {} LEBs right before", report.lebs_kept);
        text.push_str(&format!(", {} read back\n", report.lebs_verified));
        if done && report.id != plan.target().id {
            text.push_str(&format!(
                "  a new volume has its name: its id is {}, not {}\n",
                report.id,
                plan.target().id
            ));
        }
        if report.old_is_left {
            text.push_str("  the old volume is in use and stays, as NAME.flashw-old, until the next run finds it free\n");
        }
        print_text(&text)?;
    }
    match result? {
        Ending::Done => Ok(()),
        Ending::Stopped => Err(Failure::stopped()),
    }
}

/// Compares a volume with an image.
pub(crate) fn verify(ubi: u32, id: u32, source: &mut dyn Source, target: &Target, args: &Args) -> Result {
    let mut device = AttachedUbi::new(ubi);
    let (mut offset, len) = (args.size("offset")?.unwrap_or(0), source.len());
    let mut done = 0;
    let (mut expected, mut found) = (vec![0; CHUNK], vec![0; CHUNK]);
    while done < len {
        let count = CHUNK.min(usize::try_from(len - done).unwrap_or(CHUNK));
        let (Some(expected), Some(found)) = (expected.get_mut(..count), found.get_mut(..count)) else {
            break;
        };
        source.read_at(done, expected)?;
        let read = device.read(id, offset, found)?;
        let same =
            expected.iter().zip(found.iter()).take(read).take_while(|(one, other)| one == other).count();
        if same < count {
            let at = offset + same as u64;
            let message = match (expected.get(same), found.get(same).filter(|_| same < read)) {
                (Some(one), Some(other)) => format!("at {at:#010x} expected {one:#04x}, found {other:#04x}"),
                _ => format!("it ends at {at:#010x}, before the image does"),
            };
            if args.has("json") {
                Json::of("verdict", &target).flag("equal", false).text("first", &message).print()?;
            }
            return Err(Failure::new(Exit::Verification, format_args!("{}: {message}", target)));
        }
        done += count as u64;
        offset += count as u64;
    }
    if args.has("json") {
        return Json::of("verdict", &target).flag("equal", true).text("first", "").print();
    }
    print(format_args!("{}: as the image\n", target))
}

/// Bytes that are compared at a time.
const CHUNK: usize = 64 << 10;
