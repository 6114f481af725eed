//! `flashw unlock` and `flashw lock`: write protection.

use flashwright_media::{Flash, FlashFault};

use super::{GEOMETRY, JSON, OFFSET};
use crate::args::{Args, Command, Flag, option};
use crate::exit::{Exit, Failure, Result};
use crate::output::{Json, print};
use crate::target::Target;

const FLAGS: &[Flag] =
    &[OFFSET, option("length", ' ', "BYTES", "How much, whole eraseblocks [to the end]"), GEOMETRY, JSON];

pub(crate) const UNLOCK: Command = Command {
    name: "unlock",
    operands: "TARGET",
    about: "Takes the write protection of flash away",
    more: "Most chips protect areas, not single eraseblocks: more than asked for may be unlocked.\n\n\
           Example:\n  flashw unlock mtd:firmware",
    flags: FLAGS,
    run: |args| run(args, false),
};

pub(crate) const LOCK: Command = Command {
    name: "lock",
    operands: "TARGET",
    about: "Protects flash against writing, as far as the chip can",
    more: "Example:\n  flashw lock mtd:u-boot",
    flags: FLAGS,
    run: |args| run(args, true),
};

/// Eraseblocks from `--offset`, `--length` long.
pub(crate) fn range(args: &Args, flash: &dyn Flash) -> Result<std::ops::Range<u32>> {
    let geometry = flash.geometry();
    let size = u64::from(geometry.eraseblock_size);
    let offset = args.size("offset")?.unwrap_or(0);
    let len = args.size("length")?.unwrap_or(geometry.len().saturating_sub(offset));
    if !offset.is_multiple_of(size) || !len.is_multiple_of(size) || len == 0 {
        let message = format_args!(
            "offset {offset:#x} and length {len:#x} are not whole eraseblocks of {size:#x} bytes"
        );
        return Err(Failure::usage(message));
    }
    let end = offset.checked_add(len).filter(|&end| end <= geometry.len());
    let end = end.ok_or_else(|| {
        let message = format_args!(
            "{len:#x} bytes from {offset:#x} end past the flash, which has {:#x}",
            geometry.len()
        );
        Failure::new(Exit::DoesNotFit, message)
    })?;
    // Below the number of eraseblocks, which is a u32.
    let index = |offset: u64| u32::try_from(offset / size).unwrap_or(u32::MAX);
    Ok(index(offset)..index(end))
}

fn run(args: &Args, lock: bool) -> Result {
    let target = Target::find(args.operand(0).unwrap_or_default())?;
    let mut flash = target.open_flash(true, args.text("geometry")?)?;
    let range = range(args, flash.as_ref())?;
    let eraseblocks = range.len();
    // At most the number of eraseblocks, a u32.
    let count = u32::try_from(eraseblocks).unwrap_or(u32::MAX);
    match flash.set_range_locked(range.start, count, lock) {
        Err(error) if matches!(error.fault, FlashFault::Unsupported) => {
            let message = format_args!("{} has no write protection that the kernel knows", target);
            return Err(Failure::io(message).help(format_args!("nothing to do: it can be written")));
        }
        result => result?,
    }
    for eraseblock in range {
        if flash.is_locked(eraseblock)? == Some(!lock) {
            let state = if lock { "not locked" } else { "still locked" };
            let offset = flash.geometry().offset_of(eraseblock);
            let message = format_args!("{}: the eraseblock at {offset:#010x} is {state}", target);
            let help = format_args!("a pin of the chip, or the boot loader, may hold the protection");
            return Err(Failure::new(Exit::Verification, message).help(help));
        }
    }
    let word = if lock { "locked" } else { "unlocked" };
    if args.has("json") {
        return Json::of(word, &target).number("eraseblocks", eraseblocks as u64).print();
    }
    print(format_args!("{}: {eraseblocks} eraseblocks {word}\n", target))
}
