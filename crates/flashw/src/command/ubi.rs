//! `flashw ubi …`: UBI devices and their volumes.

use flashwright_mtd::ubi::{self, Attach, NewVolume};

use super::JSON;
use crate::args::{Args, Command, option, switch};
use crate::exit::{Exit, Failure, Result};
use crate::output::{Json, print};
use crate::safety::{in_use, judge};
use crate::target::{Target, volume_name};

pub(crate) const ATTACH: Command = Command {
    name: "ubi attach",
    operands: "MTD",
    about: "Attaches UBI to an MTD",
    more: "Example:\n  flashw ubi attach mtd:ubi",
    flags: &[
        option("number", 'd', "N", "Number of the UBI device [the first that is free]"),
        option("vid-hdr-offset", 'O', "BYTES", "Where VID headers are [as the kernel computes it]"),
        option("max-beb-per1024", 'b', "N", "Bad PEBs of 1024 that are provided for [the kernel's]"),
        JSON,
    ],
    run: attach,
};

pub(crate) const DETACH: Command = Command {
    name: "ubi detach",
    operands: "UBI-OR-MTD",
    about: "Detaches a UBI device",
    more: "Examples:\n  flashw ubi detach ubi0\n  flashw ubi detach mtd:ubi",
    flags: &[JSON],
    run: detach,
};

pub(crate) const MKVOL: Command = Command {
    name: "ubi mkvol",
    operands: "UBI NAME",
    about: "Makes a volume",
    more: "Example:\n  flashw ubi mkvol ubi0 data --rest",
    flags: &[
        option("size", 's', "BYTES", "Size, rounded up to whole LEBs"),
        option("lebs", 'S', "N", "Size in LEBs"),
        switch("rest", 'm', "All that is free"),
        option("id", 'n', "N", "Id [the first that is free]"),
        option("align", 'a', "BYTES", "LEBs have a multiple of this size [1]"),
        switch("static", ' ', "A static volume: written as a whole, with a CRC for each LEB"),
        switch("skip-check", ' ', "A static volume that is not read as a whole when it is opened"),
        JSON,
    ],
    run: mkvol,
};

pub(crate) const RMVOL: Command = Command {
    name: "ubi rmvol",
    operands: "VOLUME",
    about: "Removes a volume and what is in it",
    more: "Example:\n  flashw ubi rmvol ubi:data",
    flags: &[JSON],
    run: rmvol,
};

pub(crate) const RSVOL: Command = Command {
    name: "ubi rsvol",
    operands: "VOLUME",
    about: "Makes a volume larger or smaller",
    more: "Example:\n  flashw ubi rsvol ubi:data --size 32M",
    flags: &[
        option("size", 's', "BYTES", "Size, rounded up to whole LEBs"),
        option("lebs", 'S', "N", "Size in LEBs"),
        switch("rest", 'm', "All that is free besides what it has"),
        JSON,
    ],
    run: rsvol,
};

pub(crate) const RENAME: Command = Command {
    name: "ubi rename",
    operands: "UBI OLD NEW [OLD NEW]…",
    about: "Gives volumes other names, all at once: after a loss of power all have them or none",
    more: "A volume that has one of the new names, and gets no other, would be removed: --replace allows it.\n\n\
           Example:\n  flashw ubi rename ubi0 rootfs rootfs.old rootfs.new rootfs",
    flags: &[switch("replace", ' ', "Remove volumes that have one of the new names"), JSON],
    run: rename,
};

fn target(args: &Args) -> Result<Target> {
    Target::find(args.operand(0).unwrap_or_default())
}

fn mtd(target: &Target) -> Result<u32> {
    match target {
        Target::Mtd(number) => Ok(*number),
        other => Err(Failure::usage(format_args!("{} is no MTD", other))),
    }
}

/// The UBI device, also by the MTD that it is attached to.
fn device(target: &Target) -> Result<u32> {
    match target {
        Target::Ubi(number) => Ok(*number),
        Target::Mtd(number) => ubi::attached_to(*number)?.ok_or_else(|| {
            let name = target;
            Failure::usage(format_args!("no UBI device is attached to {name}"))
                .help(format_args!("flashw ubi attach {name}"))
        }),
        other => Err(Failure::usage(format_args!("{} is no UBI device, expected ubi0 or the like", other))),
    }
}

fn volume(target: &Target) -> Result<(u32, u32)> {
    match target {
        Target::Volume { ubi, id } => Ok((*ubi, *id)),
        other => Err(Failure::usage(format_args!("{} is no UBI volume, expected ubi:NAME or ubi0_1", other))),
    }
}

/// A volume that nobody uses.
fn idle_volume(target: &Target, args: &Args) -> Result<(u32, u32)> {
    let found = volume(target)?;
    judge(&in_use(target, false)?, args)?;
    Ok(found)
}

fn attach(args: &Args) -> Result {
    let mtd = mtd(&target(args)?)?;
    if let Some(ubi) = ubi::attached_to(mtd)? {
        return Err(Failure::io(format_args!("UBI device {ubi} is attached to /dev/mtd{mtd} already")));
    }
    let per1024 = args.number("max-beb-per1024")?;
    let max_beb_per1024 = per1024.map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    if max_beb_per1024.is_some_and(|number| number > 768) {
        return Err(Failure::usage(format_args!("--max-beb-per1024: the kernel takes 1 to 768")));
    }
    let request = Attach {
        mtd,
        ubi: args.number("number")?,
        vid_hdr_offset: args.number("vid-hdr-offset")?,
        max_beb_per1024,
    };
    let help =
        format_args!("the kernel's log has the reason; `flashw ubi health` looks at the PEBs themselves");
    let ubi = ubi::attach(&request).map_err(|error| Failure::from(error).help(help))?;
    if args.has("json") {
        return Json::of("attached", &format_args!("/dev/ubi{ubi}")).number("mtd", mtd).print();
    }
    print(format_args!("/dev/ubi{ubi}\n"))
}

fn detach(args: &Args) -> Result {
    let ubi = device(&target(args)?)?;
    for id in ubi::volume_ids(ubi)? {
        let name = volume_name(ubi, id)?;
        if let Some(user) = flashwright_mtd::usage::of_volume(ubi, id, &name)?.first() {
            return Err(Failure::new(Exit::Refused, format_args!("/dev/ubi{ubi} is in use: {user}")));
        }
    }
    ubi::detach(ubi)?;
    if args.has("json") { Json::of("detached", &format_args!("/dev/ubi{ubi}")).print() } else { Ok(()) }
}

/// Bytes that the size options ask for, on a device with LEBs of `leb` bytes and `rest` LEBs to be had.
fn wanted_size(args: &Args, leb: u64, rest: u64) -> Result<u64> {
    let given = (args.size("size")?, args.size("lebs")?, args.has("rest"));
    match given {
        (Some(bytes), None, false) => Ok(bytes),
        (None, Some(lebs), false) => Ok(lebs.saturating_mul(leb)),
        (None, None, true) => Ok(rest.saturating_mul(leb)),
        _ => Err(Failure::usage(format_args!("expected one of --size, --lebs and --rest"))),
    }
}

fn does_not_fit(bytes: u64, leb: u64, free: u64) -> Result {
    let lebs = bytes.div_ceil(leb.max(1));
    if lebs == 0 {
        return Err(Failure::usage(format_args!("a volume has at least one LEB")));
    }
    if lebs <= free {
        return Ok(());
    }
    Err(Failure::new(
        Exit::DoesNotFit,
        format_args!("{bytes} bytes take {lebs} LEBs of {leb} bytes, {free} are free"),
    ))
}

fn mkvol(args: &Args) -> Result {
    let ubi = device(&target(args)?)?;
    let name = args.operand(1).and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::usage(format_args!("the name of the volume is no text")))?;
    let alignment = args.number("align")?.unwrap_or(1).max(1);
    let leb = ubi::device_number(ubi, "eraseblock_size")?;
    let leb = leb - leb % u64::from(alignment);
    let free = ubi::device_number(ubi, "avail_eraseblocks")?;
    let bytes = wanted_size(args, leb, free)?;
    does_not_fit(bytes, leb, free)?;
    let new = NewVolume {
        name: name.into(),
        id: args.number("id")?,
        bytes,
        alignment,
        is_static: args.has("static"),
        skip_check: args.has("skip-check"),
    };
    let id = ubi::make_volume(ubi, &new)?;
    if args.has("json") {
        let mut event = Json::of("made", &format_args!("/dev/ubi{ubi}_{id}"));
        return event.text("name", name).number("lebs", bytes.div_ceil(leb.max(1))).print();
    }
    print(format_args!("/dev/ubi{ubi}_{id} (ubi:{name})\n"))
}

fn rmvol(args: &Args) -> Result {
    let target = target(args)?;
    let (ubi, id) = idle_volume(&target, args)?;
    ubi::remove_volume(ubi, id)?;
    if args.has("json") { Json::of("removed", &target).print() } else { Ok(()) }
}

fn rsvol(args: &Args) -> Result {
    let target = target(args)?;
    let (ubi, id) = volume(&target)?;
    let free = ubi::device_number(ubi, "avail_eraseblocks")? + ubi::volume_number(ubi, id, "reserved_ebs")?;
    let leb = ubi::volume_number(ubi, id, "usable_eb_size")?;
    let bytes = wanted_size(args, leb, free)?;
    does_not_fit(bytes, leb, free)?;
    ubi::resize_volume(ubi, id, bytes)?;
    if args.has("json") {
        let mut event = Json::of("resized", &target);
        return event.number("lebs", bytes.div_ceil(leb.max(1))).print();
    }
    Ok(())
}

/// Ids and names of all volumes.
fn names(ubi: u32) -> Result<Vec<(u32, String)>> {
    ubi::volume_ids(ubi)?.into_iter().map(|id| Ok((id, volume_name(ubi, id)?))).collect()
}

fn rename(args: &Args) -> Result {
    let ubi = device(&target(args)?)?;
    let words = args.operands.get(1..).unwrap_or_default();
    if !words.len().is_multiple_of(2) {
        return Err(Failure::usage(format_args!("every old name needs a new one")));
    }
    let there = names(ubi)?;
    let mut renames = Vec::new();
    for pair in words.chunks(2) {
        let [old, new] = pair else { continue };
        let (Some(old), Some(new)) = (old.to_str(), new.to_str()) else {
            return Err(Failure::usage(format_args!("a name is no text")));
        };
        let found = there.iter().find(|(_, name)| name == old);
        let found =
            found.ok_or_else(|| Failure::io(format_args!("there is no volume {old} on /dev/ubi{ubi}")))?;
        renames.push((found.0, new.as_bytes()));
    }
    for (id, name) in &there {
        let renamed = renames.iter().any(|(renamed, _)| renamed == id);
        let taken = !renamed && renames.iter().any(|(_, new)| *new == name.as_bytes());
        if taken && !args.has("replace") {
            let message = format_args!("volume {name} would be removed: it has one of the new names");
            return Err(Failure::new(Exit::Refused, message)
                .help(format_args!("--replace does it, or give it another name too")));
        }
    }
    ubi::rename_volumes(ubi, &renames)?;
    if args.has("json") {
        Json::event("renamed").number("volumes", renames.len() as u64).print()
    } else {
        Ok(())
    }
}
