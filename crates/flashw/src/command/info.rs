//! `flashw info`: what flash there is, and who uses it.

use std::fmt::Write;

use flashwright_media::Flash;
use flashwright_mtd::mtd::{self, Facts, Mtd};
use flashwright_mtd::{MtdFlash, ubi, usage};

use super::{GEOMETRY, JSON};
use crate::args::{Args, Command};
use crate::exit::Result;
use crate::output::{Json, bytes, print_text};
use crate::target::Target;

pub(crate) const COMMAND: Command = Command {
    name: "info",
    operands: "[TARGET]",
    about: "Shows the flash of this device, its UBI volumes, and who uses them",
    more: "Examples:\n  flashw info\n  flashw info mtd:firmware\n  flashw info ubi0 --json",
    flags: &[GEOMETRY, JSON],
    run,
};

fn run(args: &Args) -> Result {
    let targets = match args.operand(0) {
        Some(name) => vec![Target::find(name)?],
        None => Target::all()?,
    };
    let mut text = String::new();
    for target in targets {
        let mut item = describe(&target, args)?;
        if args.has("json") {
            item.json.print()?;
        } else {
            text.push_str(&item.text);
        }
    }
    if text.is_empty() && !args.has("json") {
        text.push_str("The kernel has no MTD and no UBI device here.\n");
    }
    print_text(&text)
}

/// What is told of a target, both ways.
struct Item {
    text: String,
    json: Json,
}

fn describe(target: &Target, args: &Args) -> Result<Item> {
    match target {
        Target::Mtd(number) => of_mtd(*number),
        Target::Ubi(number) => of_ubi(*number),
        Target::Volume { ubi, id } => of_volume(*ubi, *id),
        Target::File(_) => {
            let flash = target.open_flash(false, args.text("geometry")?)?;
            let geometry = flash.geometry();
            let sizes = format!(
                "{} eraseblocks of {}",
                geometry.eraseblock_count,
                bytes(geometry.eraseblock_size.into())
            );
            let mut json = Json::of("file", &target);
            json.number("eraseblock_size", geometry.eraseblock_size);
            json.number("eraseblocks", geometry.eraseblock_count);
            Ok(Item { text: format!("{}: stands for {}, {sizes}\n", target, geometry.kind), json })
        }
    }
}

/// Bad and write-protected eraseblocks.
#[derive(Debug, Default)]
struct Marks {
    bad: Vec<u64>,
    locked: u32,
    /// Whether the device told of write protection at all.
    tells: bool,
}

fn marks(number: u32) -> Result<Marks> {
    let mut flash = MtdFlash::new(Mtd::open(number, false)?)?;
    let mut marks = Marks::default();
    for eraseblock in 0..flash.geometry().eraseblock_count {
        if flash.is_bad(eraseblock)? {
            marks.bad.push(flash.geometry().offset_of(eraseblock));
        }
        // Some drivers refuse to tell for some eraseblocks; that is no reason not to show the others.
        if let Some(locked) = flash.is_locked(eraseblock).unwrap_or(None) {
            marks.tells = true;
            marks.locked += u32::from(locked);
        }
    }
    Ok(marks)
}

fn users_text(users: &[usage::User]) -> String {
    users.iter().map(|user| format!("  {user}\n")).collect()
}

fn of_mtd(number: u32) -> Result<Item> {
    let facts = mtd::facts(number)?;
    // A device that may not be opened is shown all the same.
    let marks = marks(number).ok();
    let users = usage::of_mtd(number)?;
    let mut text = mtd_line(&facts);
    let mut json = mtd_json(&facts);
    json.texts("users", &users);
    if let Some(marks) = marks {
        if !marks.bad.is_empty() {
            let list: Vec<_> = marks.bad.iter().map(|offset| format!("{offset:#x}")).collect();
            let _ = writeln!(text, "  {} bad eraseblocks: {}", list.len(), list.join(", "));
        }
        if marks.locked > 0 {
            let _ = writeln!(text, "  {} eraseblocks are write-protected", marks.locked);
        }
        json.numbers("bad", &marks.bad);
        if marks.tells {
            json.number("locked", marks.locked);
        }
    }
    text.push_str(&users_text(&users));
    Ok(Item { text, json })
}

fn mtd_line(facts: &Facts) -> String {
    let Facts { number, name, kind, len, erase_size, write_size, sub_page_size, .. } = facts;
    let mut text = format!("/dev/mtd{number} (mtd:{name}): {kind}, {}, ", bytes(*len));
    let _ = write!(
        text,
        "{} eraseblocks of {}",
        len / u64::from(*erase_size).max(1),
        bytes((*erase_size).into())
    );
    if *write_size > 1 {
        let _ = write!(text, ", pages of {}", bytes((*write_size).into()));
    }
    if *sub_page_size > 0 && sub_page_size < write_size {
        let _ = write!(text, ", sub-pages of {}", bytes((*sub_page_size).into()));
    }
    text.push_str(if facts.writable { "\n" } else { ", read-only\n" });
    text
}

fn mtd_json(facts: &Facts) -> Json {
    let mut json = Json::of("mtd", &format_args!("/dev/mtd{}", facts.number));
    json.text("name", &facts.name);
    json.text("kind", &facts.kind).number("size", facts.len);
    json.number("eraseblock_size", facts.erase_size).number("page_size", facts.write_size);
    json.number("sub_page_size", facts.sub_page_size).number("oob_size", facts.oob_size);
    json.flag("writable", facts.writable);
    json
}

fn of_ubi(ubi: u32) -> Result<Item> {
    // An older kernel does not tell everything.
    let count = |name| ubi::device_number(ubi, name).unwrap_or(0);
    let text = format!(
        "/dev/ubi{ubi}: on /dev/mtd{}, {} LEBs of {}, {} free\n  erase counts up to {}; {} bad PEBs, {} kept for more\n",
        count("mtd_num"),
        count("total_eraseblocks"),
        bytes(count("eraseblock_size")),
        count("avail_eraseblocks"),
        count("max_ec"),
        count("bad_peb_count"),
        count("reserved_for_bad"),
    );
    let mut json = Json::of("ubi", &format_args!("/dev/ubi{ubi}"));
    let names =
        ["mtd_num", "total_eraseblocks", "eraseblock_size", "avail_eraseblocks", "max_ec", "bad_peb_count"];
    for name in names.into_iter().chain(["reserved_for_bad", "min_io_size", "max_vol_count", "volumes_count"])
    {
        json.number(name, count(name));
    }
    Ok(Item { text, json })
}

fn of_volume(ubi: u32, id: u32) -> Result<Item> {
    let number = |name| ubi::volume_number(ubi, id, name);
    let (name, kind) = (&ubi::volume_attribute(ubi, id, "name")?, &ubi::volume_attribute(ubi, id, "type")?);
    let (lebs, leb, data) = (number("reserved_ebs")?, number("usable_eb_size")?, number("data_bytes")?);
    let (corrupted, unfinished) = (number("corrupted")? != 0, number("upd_marker")? != 0);
    let users = usage::of_volume(ubi, id, name)?;
    let mut text = format!("/dev/ubi{ubi}_{id} (ubi:{name}): {kind}, {lebs} LEBs of {}", bytes(leb));
    let _ = if kind == "static" { writeln!(text, ", {data} bytes of data") } else { writeln!(text) };
    if corrupted {
        text.push_str("  damaged\n");
    }
    if unfinished {
        text.push_str("  an update was begun and not finished: write it again\n");
    }
    text.push_str(&users_text(&users));
    let mut json = Json::of("volume", &format_args!("/dev/ubi{ubi}_{id}"));
    json.text("name", name);
    json.text("kind", kind).number("lebs", lebs).number("leb_size", leb).number("data_bytes", data);
    json.number("alignment", number("alignment")?).flag("corrupted", corrupted);
    json.flag("unfinished_update", unfinished).texts("users", &users);
    Ok(Item { text, json })
}
