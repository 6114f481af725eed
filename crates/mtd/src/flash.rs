//! An MTD as [`Flash`], for those who plan.

use std::io;

use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashKind, FlashOp};
use rustix::io::Errno;

use crate::error::Error;
use crate::mtd::{Ecc, Facts, Mtd, OobMode};

/// An open MTD that is read, erased and programmed.
#[derive(Debug)]
pub struct MtdFlash {
    mtd: Mtd,
    geometry: FlashGeometry,
    reading: Reading,
}

/// How reads tell what the error correction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The kernel says so for each read (`MEMREAD`, Linux 6.1).
    Told,
    /// By its counters before and after (`ECCGETSTATS`).
    Counted,
    /// There is no error correction.
    Plain,
}

impl MtdFlash {
    /// That device.
    ///
    /// # Errors
    /// When its sizes are none that flash has.
    pub fn new(mtd: Mtd) -> Result<Self, Error> {
        let geometry = geometry(mtd.facts()).map_err(|words| mtd.invalid("use", words))?;
        let reading = if geometry.kind == FlashKind::Nand { Reading::Told } else { Reading::Plain };
        Ok(MtdFlash { mtd, geometry, reading })
    }

    /// The device.
    #[must_use]
    pub const fn mtd(&self) -> &Mtd {
        &self.mtd
    }

    fn read_told(&self, offset: u64, bytes: &mut [u8]) -> Result<Ecc, Error> {
        self.mtd.read_pages(offset, bytes, &mut [], OobMode::Place)
    }

    fn read_counted(&self, offset: u64, bytes: &mut [u8]) -> Result<Ecc, Error> {
        let whole = self.count_read(offset, bytes)?;
        let page = self.geometry.page_size as usize;
        let threshold = self.mtd.facts().bitflip_threshold;
        if whole.corrected < threshold.max(1) || bytes.len() <= page {
            return Ok(whole);
        }
        // The counters do not tell how many of those were in one page: read again, page by page.
        let mut most = 0;
        for (index, page) in (0..).zip(bytes.chunks_mut(page)) {
            let offset = offset + index * u64::from(self.geometry.page_size);
            most = most.max(self.count_read(offset, page)?.corrected);
        }
        Ok(Ecc { max_bitflips: most, ..whole })
    }

    fn count_read(&self, offset: u64, bytes: &mut [u8]) -> Result<Ecc, Error> {
        let before = self.mtd.ecc_counts()?;
        self.mtd.read(offset, bytes)?;
        let after = self.mtd.ecc_counts()?;
        let corrected = after.corrected.wrapping_sub(before.corrected);
        let uncorrectable = after.uncorrectable.wrapping_sub(before.uncorrectable);
        Ok(Ecc { uncorrectable, corrected, max_bitflips: corrected })
    }

    fn read_somehow(&mut self, offset: u64, bytes: &mut [u8]) -> Result<Ecc, Error> {
        match self.reading {
            Reading::Told => match self.read_told(offset, bytes) {
                Err(error) if error.cause().kind() == io::ErrorKind::Unsupported => {
                    self.reading = Reading::Counted;
                    self.read_counted(offset, bytes)
                }
                ecc => ecc,
            },
            Reading::Counted => self.read_counted(offset, bytes),
            Reading::Plain => self.mtd.read(offset, bytes).map(|()| Ecc::default()),
        }
    }

    /// Offset of the first page that the error correction gives up, of a read of several pages; where all can be read now,
    /// that of the read.
    fn first_uncorrectable(&mut self, offset: u64, bytes: &mut [u8]) -> u64 {
        let page = self.geometry.page_size as usize;
        let pages = (offset..).step_by(page).zip(bytes.chunks_mut(page));
        let mut given_up = pages.filter_map(|(at, page)| {
            self.read_somehow(at, page).is_ok_and(|ecc| ecc.uncorrectable > 0).then_some(at)
        });
        given_up.next().unwrap_or(offset)
    }

    fn within(&self, eraseblock: u32) -> (u64, u64) {
        (self.geometry.offset_of(eraseblock), self.geometry.eraseblock_size.into())
    }
}

/// The sizes that sysfs tells, if they are such as flash has.
fn geometry(facts: &Facts) -> Result<FlashGeometry, String> {
    let kind = match facts.kind.as_str() {
        "nand" | "mlc-nand" => FlashKind::Nand,
        "ram" => FlashKind::Ram,
        "nor" | "dataflash" | "rom" => FlashKind::Nor,
        "ubi" => return Err("it is a UBI volume; name that instead, as ubi:NAME".into()),
        other => return Err(format!("flash of type {other} is not known")),
    };
    let Facts { len, erase_size, write_size, sub_page_size, .. } = *facts;
    if erase_size == 0 || write_size == 0 || !erase_size.is_multiple_of(write_size) {
        return Err(format!("eraseblocks of {erase_size} bytes and pages of {write_size} are no flash"));
    }
    let count = u32::try_from(len / u64::from(erase_size)).map_err(|_| "more than 4294967295 eraseblocks")?;
    let sub_page = if sub_page_size == 0 { write_size } else { sub_page_size };
    Ok(FlashGeometry {
        kind,
        eraseblock_size: erase_size,
        eraseblock_count: count,
        page_size: write_size,
        sub_page_size: sub_page,
    })
}

/// Kernel: `ENOTSUPP`, which drivers of NAND hand out by mistake.
const NOT_SUPPORTED: Errno = Errno::from_raw_os_error(524);

/// What a refusal of the kernel means for the flash.
fn fault(op: FlashOp, error: Error) -> FlashFault {
    let errno = Errno::from_io_error(error.cause());
    let writes = matches!(op, FlashOp::Erase | FlashOp::Program | FlashOp::MarkBad);
    match errno {
        Some(Errno::IO) if writes => FlashFault::Failed,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) if writes => FlashFault::Locked,
        Some(Errno::BADMSG) => FlashFault::Uncorrectable,
        _ if error.cause().kind() == io::ErrorKind::Unsupported => FlashFault::Unsupported,
        Some(Errno::NOTTY | NOT_SUPPORTED) => FlashFault::Unsupported,
        _ => FlashFault::Device(error.into()),
    }
}

fn failed(op: FlashOp, offset: u64) -> impl FnOnce(Error) -> FlashError {
    move |error| FlashError::new(op, offset, fault(op, error))
}

impl Flash for MtdFlash {
    fn geometry(&self) -> FlashGeometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<EccStats, FlashError> {
        let threshold = self.mtd.facts().bitflip_threshold;
        let ecc = self.read_somehow(offset, bytes).map_err(failed(FlashOp::Read, offset))?;
        if ecc.uncorrectable > 0 {
            let offset = self.first_uncorrectable(offset, bytes);
            return Err(FlashError::new(FlashOp::Read, offset, FlashFault::Uncorrectable));
        }
        let worn = threshold > 0 && ecc.max_bitflips >= threshold;
        Ok(EccStats { corrected: ecc.corrected, worn })
    }

    fn erase(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        let (offset, len) = self.within(eraseblock);
        self.mtd.erase(offset, len).map_err(failed(FlashOp::Erase, offset))
    }

    fn program(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FlashError> {
        self.mtd.write(offset, bytes).map_err(failed(FlashOp::Program, offset))
    }

    fn is_bad(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        if self.geometry.kind != FlashKind::Nand {
            return Ok(false);
        }
        let (offset, _) = self.within(eraseblock);
        self.mtd.is_bad(offset).map_err(failed(FlashOp::AskBad, offset))
    }

    fn mark_bad(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        let (offset, _) = self.within(eraseblock);
        self.mtd.mark_bad(offset).map_err(failed(FlashOp::MarkBad, offset))
    }

    fn is_locked(&mut self, eraseblock: u32) -> Result<Option<bool>, FlashError> {
        let (offset, len) = self.within(eraseblock);
        self.mtd.is_locked(offset, len).map_err(failed(FlashOp::Lock, offset))
    }

    fn set_locked(&mut self, eraseblock: u32, locked: bool) -> Result<(), FlashError> {
        let (offset, len) = self.within(eraseblock);
        self.mtd.set_locked(offset, len, locked).map_err(failed(FlashOp::Lock, offset))
    }

    fn set_range_locked(&mut self, first: u32, count: u32, locked: bool) -> Result<(), FlashError> {
        let (offset, len) = self.within(first);
        let len = len * u64::from(count);
        self.mtd.set_locked(offset, len, locked).map_err(failed(FlashOp::Lock, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn facts(kind: &str, erase_size: u32, write_size: u32, sub_page_size: u32) -> Facts {
        Facts {
            number: 0,
            name: "rootfs".into(),
            kind: kind.into(),
            len: 0x10_0000,
            erase_size,
            write_size,
            sub_page_size,
            oob_size: 0,
            writable: true,
            bitflip_threshold: 0,
        }
    }

    #[test]
    fn sizes_of_sysfs_become_a_geometry() {
        let nand = geometry(&facts("nand", 0x2_0000, 2048, 512)).unwrap();
        let expected = FlashGeometry {
            kind: FlashKind::Nand,
            eraseblock_size: 0x2_0000,
            eraseblock_count: 8,
            page_size: 2048,
            sub_page_size: 512,
        };
        assert_eq!(nand, expected);
        assert_eq!(geometry(&facts("nor", 0x1_0000, 1, 0)).unwrap().sub_page_size, 1);
        for (kind, erase_size, write_size) in [("ubi", 1, 1), ("absent", 1, 1), ("nor", 0, 1), ("nand", 5, 2)]
        {
            geometry(&facts(kind, erase_size, write_size, 0)).unwrap_err();
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let cases = [
            (FlashOp::Erase, Errno::IO, "the flash did not take it: the eraseblock may be worn out"),
            (FlashOp::Program, Errno::ROFS, "write-protected"),
            (FlashOp::Read, Errno::BADMSG, "more wrong bits than the error correction can put right"),
            (FlashOp::Lock, Errno::OPNOTSUPP, "the device has no such operation"),
            (FlashOp::Lock, Errno::NOTTY, "the device has no such operation"),
        ];
        for (op, errno, words) in cases {
            let error = Error::new("use", Path::new("/dev/mtd0"))(errno.into());
            assert_eq!(fault(op, error).to_string(), words);
        }
        let gone = Error::new("read", Path::new("/dev/mtd0"))(Errno::NODEV.into());
        assert!(matches!(fault(FlashOp::Read, gone), FlashFault::Device(_)));
        let unreadable = Error::new("read", Path::new("/dev/mtd0"))(Errno::IO.into());
        assert!(matches!(fault(FlashOp::Read, unreadable), FlashFault::Device(_)));
    }
}
