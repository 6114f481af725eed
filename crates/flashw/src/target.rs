//! What a command is to work on: `/dev/mtd3`, `mtd:rootfs`, `/dev/ubi0_1`, `ubi:data`, or a file that stands for flash.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use flashwright_media::{Flash, FlashGeometry};
use flashwright_mtd::mtd::{self, Mtd};
use flashwright_mtd::text::{cut, pieces};
use flashwright_mtd::{MtdFlash, ubi, usage};

use crate::exit::{Exit, Failure, Result, at};
use crate::file_flash::FileFlash;

/// Major number of the character devices of MTDs; the minor number is twice the MTD's, and one more for the device that may only
/// be read. Kernel: `MTD_CHAR_MAJOR`.
const MTD_CHAR_MAJOR: u32 = 90;

/// A device, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// MTD, by number.
    Mtd(u32),
    /// UBI device, by number.
    Ubi(u32),
    /// Volume of a UBI device.
    Volume { ubi: u32, id: u32 },
    /// A file that stands for flash.
    File(PathBuf),
}

/// What is behind the last slash of a path; empty when that is no text.
pub(crate) fn last_name(path: &OsStr) -> &str {
    path.to_str().and_then(|path| pieces(path, b'/').last()).unwrap_or_default()
}

/// The number after `prefix`, when that is all of `text`.
fn numbered(text: &str, prefix: &str) -> Option<u32> {
    let digits = text.strip_prefix(prefix)?;
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

/// `ubi0_1`.
fn volume_number(text: &str) -> Option<(u32, u32)> {
    let (ubi, id) = cut(text.strip_prefix("ubi")?, b'_')?;
    Some((numbered(ubi, "")?, numbered(id, "")?))
}

/// How messages name it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Mtd(number) => write!(f, "/dev/mtd{number}"),
            Target::Ubi(number) => write!(f, "/dev/ubi{number}"),
            Target::Volume { ubi, id } => write!(f, "/dev/ubi{ubi}_{id}"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

impl Target {
    /// Finds what `name` stands for.
    pub(crate) fn find(name: &OsStr) -> Result<Self> {
        let Some(text) = name.to_str() else { return Self::of_path(Path::new(name)) };
        if let Some(name) = text.strip_prefix("mtd:") {
            return mtd_by_name(name).map(Target::Mtd);
        }
        if let Some((device, volume)) = cut(text, b':').filter(|(device, _)| device.starts_with("ubi")) {
            return volume_by_name(device, volume);
        }
        let path = Path::new(text);
        if cut(text, b'/').is_none() && !path.exists() {
            return Self::of_device_name(text).unwrap_or_else(|| Err(nothing(text)));
        }
        Self::of_path(path)
    }

    /// All that there is, in order.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut targets: Vec<_> = mtd::all()?.into_iter().map(Target::Mtd).collect();
        for ubi in ubi::all()? {
            targets.push(Target::Ubi(ubi));
            targets.extend(ubi::volume_ids(ubi)?.into_iter().map(|id| Target::Volume { ubi, id }));
        }
        Ok(targets)
    }

    /// `mtd3`, `ubi0`, `ubi0_1`, as `/dev` has them; `None` when it is no such name.
    fn of_device_name(name: &str) -> Option<Result<Self>> {
        if let Some((ubi, id)) = volume_number(name) {
            return Some(existing_volume(ubi, id));
        }
        if let Some(number) = numbered(name, "ubi") {
            return Some(existing_ubi(number));
        }
        if let Some(number) = numbered(name, "mtdblock") {
            let failure = Failure::usage(format_args!("{name} hides eraseblocks and bad blocks"));
            return Some(Err(failure.help(format_args!("name /dev/mtd{number}"))));
        }
        numbered(name, "mtd").map(existing_mtd)
    }

    fn of_path(path: &Path) -> Result<Self> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let name = last_name(path.as_os_str());
                let device = Some(name).filter(|_| path.as_os_str().as_encoded_bytes().starts_with(b"/dev/"));
                return device.and_then(Self::of_device_name).unwrap_or_else(|| Err(at("find", path)(error)));
            }
        };
        let kind = metadata.file_type();
        if kind.is_char_device() {
            return Self::of_char_device(path, metadata.rdev());
        }
        if kind.is_file() {
            return Ok(Target::File(path.into()));
        }
        let name = last_name(path.as_os_str());
        if kind.is_block_device() {
            if let Some(found @ Err(_)) = Self::of_device_name(name) {
                return found;
            }
            return Err(Failure::new(Exit::Refused, format_args!("{} is a disk, no flash", path.display())));
        }
        Err(Failure::usage(format_args!("{} is no device", path.display())))
    }

    /// By the device's number, so that links and other names work too.
    fn of_char_device(path: &Path, device: u64) -> Result<Self> {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        if major == MTD_CHAR_MAJOR {
            return existing_mtd(minor / 2);
        }
        let number = format!("{major}:{minor}");
        for target in Self::all()? {
            let its = match &target {
                Target::Ubi(ubi) => ubi::device_attribute(*ubi, "dev"),
                Target::Volume { ubi, id } => ubi::volume_attribute(*ubi, *id, "dev"),
                _ => continue,
            };
            if its.is_ok_and(|its| its == number) {
                return Ok(target);
            }
        }
        Err(Failure::usage(format_args!("{} is no MTD and no UBI volume", path.display())))
    }

    /// Who uses it; nobody where that cannot be told.
    pub(crate) fn users(&self) -> Result<Vec<usage::User>> {
        Ok(match self {
            Target::Mtd(number) => usage::of_mtd(*number)?,
            Target::Volume { ubi, id } => usage::of_volume(*ubi, *id, &volume_name(*ubi, *id)?)?,
            Target::Ubi(_) | Target::File(_) => Vec::new(),
        })
    }

    /// Opens what has eraseblocks: an MTD, or a file with the geometry given.
    pub(crate) fn open_flash(&self, write: bool, geometry: Option<&str>) -> Result<Box<dyn Flash>> {
        match self {
            Target::Mtd(number) => match Mtd::open(*number, write) {
                Ok(mtd) => Ok(Box::new(MtdFlash::new(mtd)?)),
                Err(_) if write && mtd::facts(*number).is_ok_and(|facts| !facts.writable) => {
                    let message = format_args!("{self} is read-only, as the kernel has it");
                    let help = format_args!("its partition table or its driver says so");
                    Err(Failure::new(Exit::Refused, message).help(help))
                }
                Err(error) => Err(error.into()),
            },
            Target::File(path) => {
                let message = format_args!("{} is a file, no flash", path.display());
                let help = format_args!(
                    "to try things out on a file, say what flash it stands for: --geometry nand:128K:2K"
                );
                let geometry = geometry.ok_or_else(|| Failure::new(Exit::Refused, message).help(help))?;
                Ok(Box::new(FileFlash::open(path, write, &parse_geometry(geometry)?)?))
            }
            Target::Ubi(_) | Target::Volume { .. } => {
                Err(Failure::usage(format_args!("{} has no eraseblocks of its own, expected an MTD", self)))
            }
        }
    }
}

/// Kind and sizes of flash as `--geometry` has them; the number of eraseblocks is left open.
pub(crate) fn parse_geometry(text: &str) -> Result<FlashGeometry> {
    use flashwright_media::FlashKind;
    let error = || {
        let message = format_args!("--geometry {text}: expected KIND:ERASEBLOCK[:PAGE[:SUBPAGE]]");
        Failure::usage(message).help(format_args!("for example nor:64K, or nand:128K:2K:512"))
    };
    let mut parts = pieces(text, b':');
    let kind = match parts.next() {
        Some("nor") => FlashKind::Nor,
        Some("nand") => FlashKind::Nand,
        Some("ram") => FlashKind::Ram,
        _ => return Err(error()),
    };
    let mut size = |default: Option<u32>| match parts.next() {
        Some(text) => {
            crate::args::parse_size(text).and_then(|size| u32::try_from(size).ok()).filter(|&size| size > 0)
        }
        None => default,
    };
    let eraseblock_size = size(None).ok_or_else(error)?;
    let page_size = size((kind != FlashKind::Nand).then_some(1)).ok_or_else(error)?;
    let sub_page_size = size(Some(page_size)).ok_or_else(error)?;
    let whole = eraseblock_size.is_multiple_of(page_size) && page_size.is_multiple_of(sub_page_size);
    if !whole || parts.next().is_some() {
        return Err(error());
    }
    Ok(FlashGeometry { kind, eraseblock_size, eraseblock_count: 0, page_size, sub_page_size })
}

fn existing_mtd(number: u32) -> Result<Target> {
    match mtd::name(number) {
        Ok(_) => Ok(Target::Mtd(number)),
        Err(_) => Err(nothing(&format!("/dev/mtd{number}"))),
    }
}

fn existing_ubi(number: u32) -> Result<Target> {
    match ubi::device_number(number, "mtd_num") {
        Ok(_) => Ok(Target::Ubi(number)),
        Err(_) => Err(nothing(&format!("/dev/ubi{number}"))),
    }
}

fn existing_volume(ubi: u32, id: u32) -> Result<Target> {
    volume_name(ubi, id).map(|_| Target::Volume { ubi, id })
}

/// The name of a volume that is there.
pub(crate) fn volume_name(ubi: u32, id: u32) -> Result<String> {
    ubi::volume_attribute(ubi, id, "name").map_err(|_| nothing(&format!("/dev/ubi{ubi}_{id}")))
}

/// What there is, for those who named something else.
fn nothing(name: &str) -> Failure {
    let mut there = Vec::new();
    for target in Target::all().unwrap_or_default() {
        let (kind, name) = match &target {
            Target::Mtd(number) => ("mtd", mtd::name(*number)),
            Target::Volume { ubi, id } => ("ubi", ubi::volume_attribute(*ubi, *id, "name")),
            _ => continue,
        };
        there.push(format!("{target} ({kind}:{})", name.unwrap_or_default()));
    }
    let failure = Failure::io(format_args!("there is no {name}"));
    match there.len() {
        0 => failure.help(format_args!("the kernel has no MTD and no UBI volume here")),
        _ => failure.help(format_args!("there is {}", there.join(", "))),
    }
}

fn mtd_by_name(name: &str) -> Result<u32> {
    match *mtd::find_all(name).as_slice() {
        [number] => Ok(number),
        [] => Err(nothing(&format!("mtd:{name}"))),
        ref numbers => {
            let list: Vec<_> = numbers.iter().map(|number| format!("/dev/mtd{number}")).collect();
            Err(Failure::usage(format_args!("{} MTDs have the name {name}", list.len()))
                .help(format_args!("name one of {}", list.join(", "))))
        }
    }
}

/// `ubi:NAME` on any device, `ubi0:NAME` on that one.
fn volume_by_name(device: &str, name: &str) -> Result<Target> {
    let devices = match device {
        "ubi" => ubi::all()?,
        _ => vec![numbered(device, "ubi").ok_or_else(|| nothing(&format!("{device}:{name}")))?],
    };
    let mut found = Vec::new();
    for ubi in devices {
        let id = ubi::find_volume(ubi, name).ok().flatten();
        found.extend(id.map(|id| Target::Volume { ubi, id }));
    }
    match found.as_slice() {
        [target] => Ok(target.clone()),
        [] => Err(nothing(&format!("{device}:{name}"))),
        several => {
            let list: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::usage(format_args!("{} volumes have the name {name}", list.len()))
                .help(format_args!("name one of {}", list.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashwright_media::FlashKind;

    #[test]
    fn names_of_devices() {
        assert_eq!(
            (numbered("mtd3", "mtd"), numbered("mtd", "mtd"), numbered("mtd+3", "mtd")),
            (Some(3), None, None)
        );
        assert_eq!(
            (volume_number("ubi0_12"), volume_number("ubi0"), volume_number("ubi0_")),
            (Some((0, 12)), None, None)
        );
    }

    #[test]
    fn geometries() {
        let nand = parse_geometry("nand:128K:2K:512").unwrap();
        assert_eq!(
            (nand.kind, nand.eraseblock_size, nand.page_size, nand.sub_page_size),
            (FlashKind::Nand, 0x2_0000, 2048, 512)
        );
        let nor = parse_geometry("nor:64K").unwrap();
        assert_eq!(
            (nor.kind, nor.eraseblock_size, nor.page_size, nor.sub_page_size),
            (FlashKind::Nor, 0x1_0000, 1, 1)
        );
        for bad in [
            "",
            "nor",
            "nand:128K",
            "tape:1",
            "nor:0",
            "nand:100:3",
            "nand:128K:2K:512:1",
            "nand:128K:2K:3",
            "nor:5G",
        ] {
            assert_eq!(parse_geometry(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn what_is_no_flash() {
        let cases = [
            ("/dev/null", Exit::Usage, "/dev/null is no MTD and no UBI volume"),
            ("/tmp", Exit::Usage, "/tmp is no device"),
            ("/no/such", Exit::Io, "cannot find /no/such: No such file or directory (os error 2)"),
            ("mtd:no such", Exit::Io, "there is no mtd:no such"),
            ("ubi9:none", Exit::Io, "there is no ubi9:none"),
            ("mtd4095", Exit::Io, "there is no /dev/mtd4095"),
            ("/dev/mtd4095", Exit::Io, "there is no /dev/mtd4095"),
            ("/dev/mtdblock4095", Exit::Usage, "mtdblock4095 hides eraseblocks and bad blocks"),
            ("/dev/ubi9_9", Exit::Io, "there is no /dev/ubi9_9"),
        ];
        for (name, exit, message) in cases {
            let failure = Target::find(OsStr::new(name)).unwrap_err();
            assert_eq!((failure.exit, failure.message.as_str()), (exit, message));
        }
    }
}
