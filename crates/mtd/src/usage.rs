//! Who else uses a device: what is mounted, attached or swapped to.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::text::{cut, pieces};
use crate::{mtd, sysfs, ubi};

/// Major number of the block devices of MTDs, whose minor number is that of the MTD. A file system that is mounted from an
/// MTD without a block device has the same number. Kernel: `MTD_BLOCK_MAJOR`.
const MTD_BLOCK_MAJOR: u32 = 31;

/// Something that uses a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum User {
    /// A file system.
    Mount {
        /// What is mounted, as the kernel has it.
        source: String,
        /// Where.
        at: String,
    },
    /// A UBI device, by number.
    Ubi(u32),
    /// A block device of a volume.
    UbiBlock(String),
    /// The kernel pages to it.
    Swap(String),
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            User::Mount { source, at } => write!(f, "{source} is mounted at {at}"),
            User::Ubi(number) => write!(f, "UBI device {number} is attached to it"),
            User::UbiBlock(name) => write!(f, "there is a block device of it, /dev/{name}"),
            User::Swap(path) => write!(f, "{path} is used for swapping"),
        }
    }
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    device: (u32, u32),
    at: &'a str,
    source: &'a str,
}

fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let mut fields = pieces(line, b' ');
    let (major, minor) = cut(fields.nth(2)?, b':')?;
    let at = fields.nth(1)?;
    // Optional fields end with a dash; then type and source.
    fields.find(|&field| field == "-")?;
    let source = fields.nth(1)?;
    Some(Mount { device: (major.parse().ok()?, minor.parse().ok()?), at, source })
}

/// The mounts that `uses` tells are of a device.
fn mounts(uses: &dyn Fn(&Mount<'_>) -> bool) -> Result<Vec<User>> {
    let table = sysfs::read(Path::new("/proc/self/mountinfo"))?;
    let user = |mount: Mount<'_>| User::Mount { source: mount.source.into(), at: mount.at.into() };
    Ok(pieces(&table, b'\n').filter_map(parse_mount).filter(uses).map(user).collect())
}

fn swaps(name: &str) -> Vec<User> {
    let device = format!("/dev/{name}");
    // A kernel without swapping has no such file.
    let table = sysfs::text(Path::new("/proc/swaps")).unwrap_or_default();
    let used = pieces(&table, b'\n').any(|line| line.split_ascii_whitespace().next() == Some(&device));
    used.then_some(User::Swap(device)).into_iter().collect()
}

/// Who uses an MTD, or one that is a part of it or that it is a part of.
///
/// # Errors
/// When `/proc` or `/sys` cannot be read.
pub fn of_mtd(number: u32) -> Result<Vec<User>> {
    let mut users = Vec::new();
    for other in mtd::all()?.into_iter().filter(|&other| mtd::overlap(number, other)) {
        users.extend(mounts(&|mount| mount.device == (MTD_BLOCK_MAJOR, other))?);
        users.extend(swaps(&format!("mtdblock{other}")));
        users.extend(ubi::attached_to(other)?.map(User::Ubi));
    }
    Ok(users)
}

/// The number of a block device, as `major:minor` in sysfs.
fn block_device(name: &str) -> Option<(u32, u32)> {
    let path: PathBuf = ["/sys/class/block", name, "dev"].iter().collect();
    let text = sysfs::text(&path).ok()?;
    let (major, minor) = cut(&text, b':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether `source`, as a mount has it, is volume `id`, of name `name`, of UBI device `ubi`.
fn is_volume(source: &str, ubi: u32, id: u32, name: &str) -> bool {
    let source = source.strip_prefix("/dev/").unwrap_or(source);
    let names = [format!("ubi{ubi}_{id}"), format!("ubi{ubi}:{name}"), format!("ubi{ubi}!{name}")];
    // Without a number it is device 0.
    let short = [format!("ubi:{name}"), format!("ubi!{name}")];
    names.iter().any(|name| name == source) || (ubi == 0 && short.iter().any(|name| name == source))
}

/// Who uses a volume.
///
/// # Errors
/// When `/proc` or `/sys` cannot be read.
pub fn of_volume(ubi: u32, id: u32, name: &str) -> Result<Vec<User>> {
    let block = format!("ubiblock{ubi}_{id}");
    let device = block_device(&block);
    let mut users = mounts(&|mount| Some(mount.device) == device || is_volume(mount.source, ubi, id, name))?;
    users.extend(swaps(&block));
    users.extend(device.map(|_| User::UbiBlock(block)));
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let root = "17 1 31:4 / / ro,noatime - jffs2 /dev/root ro";
        assert_eq!(parse_mount(root), Some(Mount { device: (31, 4), at: "/", source: "/dev/root" }));
        let shared = "36 35 0:33 / /a\\040b rw shared:1 master:2 - ubifs ubi0:rootfs rw,ubi=0,vol=1";
        let expected = Mount { device: (0, 33), at: "/a\\040b", source: "ubi0:rootfs" };
        assert_eq!(parse_mount(shared), Some(expected));
        for bad in ["", "36 35", "36 35 x:y / /a rw - ubifs a", "36 35 0:33 / /a rw shared:1"] {
            assert_eq!(parse_mount(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_a_volume() {
        for source in ["ubi1_2", "/dev/ubi1_2", "ubi1:data", "ubi1!data"] {
            assert!(is_volume(source, 1, 2, "data"), "{source}");
        }
        assert!(is_volume("ubi:data", 0, 2, "data"));
        for source in ["ubi:data", "ubi1_20", "ubi0_2", "ubi1:data2", "/dev/mtdblock2"] {
            assert!(!is_volume(source, 1, 2, "data"), "{source}");
        }
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert_eq!(of_volume(9, 9, "none").unwrap(), []);
    }
}
