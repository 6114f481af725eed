//! What host and guest say to each other: the job as one JSON object, the report as JSON lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Path of the job in the guest's root.
pub const JOB_PATH: &str = "/job.json";
/// Serial number of the disk that takes the report; images have `disk0`, `disk1`, …
pub const REPORT_DISK: &str = "report";

/// Path of the guest program in the guest's root.
pub const GUEST_PATH: &str = "/init";
/// First argument of the guest program as one that runs another program and writes to a file how many bytes of it were in
/// memory at most.
pub const MEASURED: &str = "--measured";
/// First argument of the guest program as one that runs another program as if the kernel did not know some ioctls.
pub const WITHOUT: &str = "--without";

/// Bytes that need not be UTF-8: a JSON string in which a byte that is no printable ASCII, and the backslash, stand
/// as `\xNN`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b'\\' | 0..0x20 | 0x7f.. => write!(f, "\\x{byte:02x}"),
            _ => write!(f, "{}", char::from(byte)),
        })
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Bytes(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescape(&text).map(Bytes).ok_or_else(|| de::Error::custom(format!("bad escape in {text:?}")))
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// Everything that one run of the guest does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Loaded before the first step, in this order.
    pub modules: Vec<Module>,
    /// Done in order; a step that fails is reported and the next one is done all the same.
    pub steps: Vec<Step>,
}

/// A kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Path in the guest.
    pub path: String,
    /// Parameters, as `modprobe` takes them: `total_size=16384 erase_size=64`.
    pub parameters: String,
}

/// One thing to do in the guest.
///
/// A device is given as a path, as `disk:N` (the Nth image), as `mtd:NAME` or `mtdblock:NAME` (the MTD of that
/// name), as `ubivol:N:NAME` or `ubiblock:N:NAME` (the volume of that name on UBI device N), or as text that the file
/// system itself understands, such as `ubi0:rootfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Mounts a file system.
    Mount {
        /// File system type, as in `/proc/filesystems`.
        fs: String,
        /// Device.
        device: String,
        /// Directory; made when missing.
        at: String,
        /// Options for the file system, separated by commas.
        options: String,
        /// Mounts it read-only.
        read_only: bool,
    },
    /// Unmounts what is mounted there.
    Unmount {
        /// Directory.
        at: String,
    },
    /// Reports what `statvfs` says.
    Statfs {
        /// Any path in the file system.
        at: String,
    },
    /// Reports every node below a directory, itself included.
    Walk {
        /// Directory.
        at: String,
        /// Files above this many bytes are not read, so have no SHA-256.
        hash_up_to: u64,
    },
    /// Loads modules.
    Load {
        /// In this order.
        modules: Vec<Module>,
    },
    /// Takes a module out of the kernel, so that it can be loaded with other parameters.
    Unload {
        /// Name, with `_` only.
        module: String,
    },
    /// Copies the bytes of one device or file to another, whole, the last block padded with 0xFF.
    Copy {
        /// Device or file read.
        from: String,
        /// Device or file written.
        to: String,
        /// Bytes per write.
        block_size: usize,
    },
    /// Creates or overwrites a file, or, with an offset, writes into one.
    Write {
        /// File.
        path: String,
        /// `None` truncates the file first; else the position of the first byte.
        offset: Option<u64>,
        /// What to write.
        data: Bytes,
    },
    /// Reports the content of a file.
    Read {
        /// File.
        path: String,
    },
    /// Removes a file, or a directory that is empty.
    Remove {
        /// File or directory.
        path: String,
    },
    /// Renames.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Makes a directory, mode 0755.
    MakeDirectory {
        /// Directory.
        path: String,
    },
    /// Sets the modification time of any node to whole seconds since 1970, symlinks not followed.
    SetTime {
        /// Node.
        path: String,
        /// Seconds.
        seconds: i64,
    },
    /// Writes everything out (`sync`).
    Sync,
    /// Makes an MTD of a disk that may be written to, with the driver `block2mtd`, which must be there.
    MtdOfDisk {
        /// Disk.
        disk: String,
        /// Bytes.
        eraseblock: u32,
        /// Name of the MTD.
        name: String,
    },
    /// Reports how many bytes have been read from a disk since the machine was started.
    BytesRead {
        /// Disk.
        disk: String,
    },
    /// Makes what is mounted there the root, as an initramfs does at the end of a boot, and becomes the program `init` of
    /// the new root: process 1 is then that program, which has to be the guest program too and does the steps that are
    /// left. The new root needs the directories `/dev`, `/proc`, `/sys` and `/tmp`. The step reports, as its data, what the
    /// new program says: `INIT runs as process 1`.
    SwitchRoot {
        /// Directory.
        at: String,
        /// Program, from the new root.
        init: String,
    },
    /// Runs a program to its end.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Reports what sysfs says of an MTD.
    MtdFacts {
        /// Name of the MTD.
        mtd: String,
    },
    /// Erases every eraseblock of an MTD that is not bad.
    MtdErase {
        /// Name of the MTD.
        mtd: String,
    },
    /// Writes an image to an MTD, each eraseblock erased first; bad ones are skipped, so what is meant for them goes to
    /// the next. The rest of the MTD is erased.
    MtdWrite {
        /// Device or file read.
        from: String,
        /// Bytes of it; the last eraseblock is filled with 0xFF.
        len: u64,
        /// Name of the MTD.
        mtd: String,
        /// Writes the 0xFF bytes at the end of an eraseblock too, as plain flashers do; without, only up to the last page
        /// that has anything else in it, as those do that know UBI.
        whole: bool,
    },
    /// Copies an MTD to a disk as it is; of a bad eraseblock come 0xFF bytes.
    MtdDump {
        /// Name of the MTD.
        mtd: String,
        /// Device or file written.
        to: String,
    },
    /// Attaches an MTD to UBI.
    UbiAttach {
        /// Name of the MTD.
        mtd: String,
        /// Number of the UBI device to be.
        ubi: u32,
        /// Bytes from the start of a PEB to its VID header; `None` for the sub-page after the EC header.
        vid_hdr_offset: Option<u32>,
        /// Bad PEBs of 1024 that are provided for; `None` for the kernel's choice.
        max_beb_per1024: Option<u16>,
    },
    /// Detaches a UBI device.
    UbiDetach {
        /// Its number.
        ubi: u32,
    },
    /// Reports what sysfs says of a UBI device and of its volumes.
    UbiFacts {
        /// Its number.
        ubi: u32,
    },
    /// Makes a volume.
    UbiMakeVolume {
        /// Number of the UBI device.
        ubi: u32,
        /// Name of the volume.
        name: String,
        /// `None` for the first id that is free.
        id: Option<u32>,
        /// Rounded up to whole LEBs.
        bytes: u64,
        /// 1, or a multiple of the page.
        alignment: u32,
        /// Static, else dynamic.
        is_static: bool,
    },
    /// Removes a volume.
    UbiRemoveVolume {
        /// Number of the UBI device.
        ubi: u32,
        /// Name of the volume.
        name: String,
    },
    /// Replaces the content of a volume.
    UbiUpdate {
        /// Number of the UBI device.
        ubi: u32,
        /// Name of the volume.
        name: String,
        /// Device or file read.
        from: String,
        /// Bytes of it.
        len: u64,
    },
    /// Makes the block device of a volume.
    UbiBlock {
        /// Number of the UBI device.
        ubi: u32,
        /// Name of the volume.
        name: String,
    },
    /// Removes the block device of a volume.
    UbiUnblock {
        /// Number of the UBI device.
        ubi: u32,
        /// Name of the volume.
        name: String,
    },
    /// Reports the SHA-256 of the first bytes of a device or file.
    Hash {
        /// Device or file.
        path: String,
        /// Bytes; to the end when there are fewer.
        len: u64,
    },
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// A node that a walk found.
    Node {
        /// Index of the step.
        step: usize,
        /// The node.
        node: NodeReport,
    },
    /// A message of the kernel, printed during or before the step.
    Log {
        /// Index of the step; `None` before the first.
        step: Option<usize>,
        /// The message.
        message: LogMessage,
    },
    /// The end of a step.
    Done {
        /// Index of the step.
        step: usize,
        /// How it ended.
        outcome: Outcome,
    },
    /// The guest has done all steps.
    End,
}

/// How a step ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What went wrong; `None` when nothing did.
    pub error: Option<String>,
    /// Time it took in the guest.
    pub nanoseconds: u64,
    /// What [`Step::Statfs`] saw.
    pub statfs: Option<StatfsReport>,
    /// What [`Step::Read`] read, and what the program of [`Step::SwitchRoot`] says.
    pub data: Option<Bytes>,
    /// What [`Step::BytesRead`] counted.
    #[serde(default)]
    pub bytes_read: Option<u64>,
    /// How [`Step::Run`] ended.
    pub run: Option<RunReport>,
    /// What [`Step::MtdFacts`] saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtd: Option<MtdReport>,
    /// What [`Step::UbiFacts`] saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ubi: Option<UbiReport>,
    /// What [`Step::Hash`] found: SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What sysfs says of an MTD. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtdReport {
    /// Number in `/dev/mtdN`.
    pub number: u32,
    /// Length.
    pub len: u64,
    /// Eraseblock.
    pub erase_size: u32,
    /// Page; 1 on NOR.
    pub write_size: u32,
    /// Sub-page; the page where there is none.
    pub sub_page_size: u32,
    /// Spare bytes of each page.
    pub oob_size: u32,
    /// Offsets of bad eraseblocks.
    pub bad: Vec<u64>,
}

/// What sysfs says of a UBI device, by attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UbiReport {
    /// Of the device: `total_eraseblocks`, `max_ec`, …
    pub device: BTreeMap<String, String>,
    /// Of its volumes by id, in decimal digits: `name`, `reserved_ebs`, `corrupted`, …
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
}

impl UbiReport {
    /// A number that sysfs has of the device.
    #[must_use]
    pub fn number(&self, attribute: &str) -> Option<u64> {
        self.device.get(attribute)?.parse().ok()
    }

    /// The attributes of the volume of that name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.volumes.values().find(|volume| volume.get("name").is_some_and(|found| found == name))
    }
}

/// What `statvfs` says of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatfsReport {
    /// Bytes per block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Inodes in all.
    pub files: u64,
    /// Longest name in bytes.
    pub name_max: u64,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Bytes,
    /// What it printed as errors.
    pub stderr: Bytes,
}

/// One message of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMessage {
    /// 0 emergency, 3 error, 4 warning, 5 notice, 6 information, 7 debug.
    pub level: u8,
    /// Since the start of the kernel.
    pub microseconds: u64,
    /// The message, its first line.
    pub text: String,
}

impl fmt::Display for LogMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> {}", self.level, self.text)
    }
}

/// One name that a walk found, with all that Linux says of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// From the root of the mount, no leading `/`; the root itself is empty.
    pub path: Bytes,
    /// `st_mode`: type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device node, else 0, 0.
    pub rdev: (u32, u32),
    /// Number of names.
    pub nlink: u32,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Target of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
    /// Xattrs by full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<Bytes, Bytes>,
    /// SHA-256 of a file's data, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Entries of a directory, without `.` and `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// What went wrong at this node, and where the directory entry and the node disagree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_json() {
        let all = Bytes((0..=255).collect());
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), all);
        assert_eq!(serde_json::to_string(&Bytes(b"a\\x00\n".to_vec())).unwrap(), r#""a\\x5cx00\\x0a""#);
        for bad in [r#""\\x""#, r#""\\xg0""#, r#""\\x0""#] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_reads_back() {
        let line =
            Line::Node { step: 3, node: NodeReport { path: Bytes(vec![0xff]), ..NodeReport::default() } };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
