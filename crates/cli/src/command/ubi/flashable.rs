//! The pair for flashing: beside the image one for programs that do not know UBI, and a text that says which to use when.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flashwright_ubi::{Options, Summary};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Pending, Target};
use crate::size;

/// First line of the text, by which an older one is known.
const TITLE: &str = "How to flash this UBI image";
const README: &str = "README.txt";

/// Where the files beside the image go.
#[derive(Debug)]
pub(super) struct Pair {
    raw: Target,
    readme: Target,
}

impl Pair {
    /// Beside `image`.
    ///
    /// # Errors
    /// As [`Target::new`]; [`Exit::Refused`] when there is a README.txt that is not of this program.
    pub(super) fn beside(image: &Path) -> Result<Self, Failure> {
        let readme = image.with_file_name(README);
        let mut head = vec![0; TITLE.len()];
        let other = |mut file: File| file.read_exact(&mut head).is_err() || head != TITLE.as_bytes();
        if File::open(&readme).is_ok_and(other) {
            let message = format!("{} is there, and would be replaced", readme.display());
            return Err(
                Failure::new(Exit::Refused, message).help("write the image into a directory of its own")
            );
        }
        let raw: PathBuf = image.with_extension("raw");
        if raw == image {
            let message = format!("the image {} has the name of the raw image", image.display());
            return Err(Failure::new(Exit::Usage, message).help("call it firmware.ubi"));
        }
        Ok(Pair { raw: Target::new(&raw)?, readme: Target::new(&readme)? })
    }

    /// Writes both; they appear when they are committed.
    pub(super) fn write(
        self,
        image: &mut Pending,
        summary: &Summary,
        options: &Options,
    ) -> Result<Vec<Pending>, Failure> {
        let filled = filled_pebs(summary);
        let names = [image.shown(), self.raw.shown()].map(file_name);
        let text = readme(&names, summary, options, filled);
        let (mut raw, mut readme) = (Pending::create(self.raw)?, Pending::create(self.readme)?);
        let path = raw.shown().to_owned();
        let blank = vec![0xff; options.geometry.peb_size() as usize];
        let mut copy = || -> io::Result<()> {
            image.file().rewind()?;
            io::copy(image.file(), raw.file())?;
            (0..filled).try_for_each(|_| raw.file().write_all(&blank))
        };
        copy().map_err(|error| Failure::io("write", &path, &error))?;
        let path = readme.shown().to_owned();
        readme.file().write_all(text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))?;
        Ok(vec![raw, readme])
    }
}

/// PEBs behind the image that the raw one has as 0xFF: up to the partition's end, less what may be bad.
fn filled_pebs(summary: &Summary) -> u64 {
    let Some(fit) = summary.fit else { return 0 };
    fit.good().saturating_sub(fit.bad_reserve).saturating_sub(summary.peb_count.into())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn readme([ubi, raw]: &[String; 2], summary: &Summary, options: &Options, filled: u64) -> String {
    let geometry = &options.geometry;
    let (peb, offset) = (geometry.peb_size(), geometry.vid_hdr_offset());
    let pebs = summary.fit.map_or(0, |fit| fit.peb_count);
    let raw_len = summary.bytes_out + filled * u64::from(peb);
    let seq = summary.image_seq.unwrap_or_default();
    let volumes: String = summary
        .volumes
        .iter()
        .map(|volume| {
            let grows = if volume.autoresize() { ", grows to the end of the flash" } else { "" };
            format!(
                "  {:>3}  {}  {} LEBs of {} bytes{grows}\n",
                volume.id,
                volume.volume_type.name(),
                volume.reserved_pebs,
                volume.usable_leb_size
            ) + &format!("       {}\n", volume.name.escape_debug())
        })
        .collect();
    format!(
        "{TITLE}
===========================

For a partition of {pebs} PEBs of {}, page {} bytes, VID header at byte {offset}.
Image sequence number {seq:#010x}. Volumes:

{volumes}
{ubi}   {}
    For every program that knows UBI, and always when the partition has UBI on it already. On the device:

        ubidetach -p /dev/mtdX
        ubiformat /dev/mtdX -O {offset} -f {ubi}
        ubiattach -p /dev/mtdX -O {offset}

    It skips bad blocks, and keeps the erase counter of each PEB: how often it was erased. UBI wears the flash
    evenly by these counters, so they are what its life depends on.

{raw}   {}
    Only for the first installation, from a boot loader or a program that does not know UBI: the same image, then
    erased flash (0xFF) to the end of the partition less its reserve for bad blocks, so that nothing old stays
    behind. In U-Boot:

        nand erase.part PARTITION
        nand write.trimffs ADDRESS PARTITION {raw_len:#x}

    The program must skip bad blocks and must not write pages that are all 0xFF, as nand write.trimffs and
    nandwrite do. Where it writes them all the same, a UBIFS in a volume must have been made with space fixup.

    Do not use it again on a device that runs: a raw write costs the erase counters. All PEBs then claim to have
    been erased {} times, UBI does not know the worn ones any more, and the flash dies sooner.
",
        size::show(peb.into()),
        geometry.min_io_size(),
        size::show(summary.bytes_out),
        size::show(raw_len),
        options.erase_count,
    )
}
