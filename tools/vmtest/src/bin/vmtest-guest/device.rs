//! Names of devices: the order in which the kernel finds disks and MTDs is no promise, so they go by what they say
//! of themselves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use flashwright_mtd::{mtd, ubi};

/// How often a device that is not there yet is looked for, 20 ms apart.
const TRIES: u32 = 250;

/// The path of a device: `disk:N` by its serial number, `mtd:NAME` and `mtdblock:NAME` by the MTD's name,
/// `ubivol:N:NAME` and `ubiblock:N:NAME` by the volume's, anything else as it stands.
pub(crate) fn resolve(device: &str) -> io::Result<PathBuf> {
    let Some((class, name)) = device.split_once(':') else { return Ok(device.into()) };
    for _ in 0..TRIES {
        let found = match class {
            "disk" => find("/sys/block", "serial", &disk_serial(name)).map(|disk| format!("/dev/{disk}")),
            "mtd" => mtd::find(name).map(|number| format!("/dev/mtd{number}")),
            "mtdblock" => mtd::find(name).map(|number| format!("/dev/mtdblock{number}")),
            "ubivol" => find_volume(name).map(|(ubi, id)| format!("/dev/ubi{ubi}_{id}")),
            "ubiblock" => find_volume(name).map(|(ubi, id)| format!("/dev/ubiblock{ubi}_{id}")),
            _ => Some(device.into()),
        };
        match found {
            Some(path) if !path.starts_with('/') || Path::new(&path).exists() => return Ok(path.into()),
            _ => sleep(Duration::from_millis(20)),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no device {device}")))
}

fn disk_serial(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_digit()) { format!("disk{name}") } else { name.to_owned() }
}

/// A volume given as `N:NAME`.
fn find_volume(name: &str) -> Option<(u32, u32)> {
    let (ubi, name) = name.split_once(':')?;
    let ubi = ubi.parse().ok()?;
    Some((ubi, ubi::find_volume(ubi, name).ok()??))
}

fn find(class: &str, attribute: &str, value: &str) -> Option<String> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let text = fs::read_to_string(entry.path().join(attribute)).ok()?;
        (text.trim_end() == value).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}
