//! `flashw phram add`: memory as an MTD.

use flashwright_mtd::{mtd, phram};

use super::JSON;
use crate::args::{Args, Command, parse_size};
use crate::exit::{Failure, Result};
use crate::output::{Json, print};

pub(crate) const COMMAND: Command = Command {
    name: "phram add",
    operands: "NAME ADDRESS LENGTH [ERASESIZE]",
    about: "Makes an MTD of memory that the kernel leaves alone",
    more: "The memory must be kept from the kernel, by mem= or a reserved node of the device tree.\n\
           ERASESIZE is that of the flash that the image is for.\n\n\
           Example:\n  flashw phram add rootfs 0x0c000000 4M 64K",
    flags: &[JSON],
    run,
};

fn size(args: &Args, index: usize, what: &str) -> Result<Option<u64>> {
    let Some(text) = args.operand(index) else { return Ok(None) };
    let size = text.to_str().and_then(parse_size);
    let error =
        || Failure::usage(format_args!("{what} {}: expected bytes, as in 0x0c000000 or 4M", text.display()));
    size.map(Some).ok_or_else(error)
}

fn run(args: &Args) -> Result {
    let name = args.operand(0).and_then(|name| name.to_str()).unwrap_or_default();
    let fits = !name.is_empty() && name.len() < 64 && !name.bytes().any(|byte| b", \n".contains(&byte));
    if !fits {
        return Err(Failure::usage(format_args!(
            "{name} is no name for an MTD: up to 63 letters without comma and space"
        )));
    }
    let (start, len) = (size(args, 1, "ADDRESS")?.unwrap_or(0), size(args, 2, "LENGTH")?.unwrap_or(0));
    let erase_size = size(args, 3, "ERASESIZE")?;
    let whole = erase_size.is_none_or(|size| size > 0 && len.is_multiple_of(size));
    if len == 0 || !whole {
        return Err(Failure::usage(format_args!(
            "a length of {len} bytes is not a whole number of eraseblocks"
        )));
    }
    let erase_size = erase_size.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    let before = mtd::all()?;
    phram::add(name, start, len, erase_size).map_err(|error| {
        Failure::from(error)
            .help(format_args!("the kernel needs phram: modprobe phram, or CONFIG_MTD_PHRAM=y"))
    })?;
    let new = mtd::all()?.into_iter().find(|number| !before.contains(number));
    let number = new.ok_or_else(|| {
        Failure::io(format_args!("the kernel took it, but there is no new MTD; its log says why"))
    })?;
    if args.has("json") {
        return Json::of("added", &format_args!("/dev/mtd{number}")).text("name", name).print();
    }
    print(format_args!("/dev/mtd{number} (mtd:{name})\n"))
}
