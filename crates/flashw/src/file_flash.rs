//! A file that stands for flash, for trying things out: what is not erased keeps its zero bits, as on flash.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashKind, FlashOp};
use flashwright_mtd::open;
use rustix::fs::OFlags;

use crate::exit::{Exit, Failure, Result, at};

/// An open file with a geometry.
#[derive(Debug)]
pub(crate) struct FileFlash {
    file: File,
    geometry: FlashGeometry,
}

impl FileFlash {
    pub(crate) fn open(path: &Path, write: bool, geometry: &FlashGeometry) -> Result<Self> {
        let file = open(path, if write { OFlags::RDWR } else { OFlags::RDONLY }).map_err(at("open", path))?;
        let len = file.metadata().map_err(at("ask for the length of", path))?.len();
        let size = u64::from(geometry.eraseblock_size);
        let count = u32::try_from(len / size).unwrap_or(0);
        if count == 0 || !len.is_multiple_of(size) {
            let message =
                format_args!("{} has {len} bytes, expected whole eraseblocks of {size}", path.display());
            return Err(Failure::new(Exit::DoesNotFit, message));
        }
        Ok(FileFlash { file, geometry: FlashGeometry { eraseblock_count: count, ..*geometry } })
    }

    fn change(&self, offset: u64, old: &mut [u8], change: impl Fn(&mut [u8])) -> io::Result<()> {
        self.file.read_exact_at(old, offset)?;
        change(old);
        self.file.write_all_at(old, offset)
    }
}

fn failed(op: FlashOp, offset: u64) -> impl FnOnce(io::Error) -> FlashError {
    move |error| FlashError::new(op, offset, FlashFault::Device(error))
}

impl Flash for FileFlash {
    fn geometry(&self) -> FlashGeometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<EccStats, FlashError> {
        self.file.read_exact_at(bytes, offset).map_err(failed(FlashOp::Read, offset))?;
        Ok(EccStats::default())
    }

    fn erase(&mut self, eraseblock: u32) -> std::result::Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock);
        let mut page = [0xff; 4096];
        let (mut done, size) = (0, self.geometry.eraseblock_size as usize);
        while done < size {
            let len = page.len().min(size - done);
            let part = page.get_mut(..len).unwrap_or_default();
            self.file.write_all_at(part, offset + done as u64).map_err(failed(FlashOp::Erase, offset))?;
            done += len;
        }
        Ok(())
    }

    fn program(&mut self, offset: u64, bytes: &[u8]) -> std::result::Result<(), FlashError> {
        let mut old = vec![0; bytes.len()];
        let cleared = |old: &mut [u8]| match self.geometry.kind {
            FlashKind::Ram => old.copy_from_slice(bytes),
            _ => old.iter_mut().zip(bytes).for_each(|(old, new)| *old &= new),
        };
        self.change(offset, &mut old, cleared).map_err(failed(FlashOp::Program, offset))
    }

    fn is_bad(&mut self, _: u32) -> std::result::Result<bool, FlashError> {
        Ok(false)
    }

    fn mark_bad(&mut self, eraseblock: u32) -> std::result::Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock);
        Err(FlashError::new(FlashOp::MarkBad, offset, FlashFault::Unsupported))
    }

    fn is_locked(&mut self, _: u32) -> std::result::Result<Option<bool>, FlashError> {
        Ok(None)
    }

    fn set_locked(&mut self, eraseblock: u32, _: bool) -> std::result::Result<(), FlashError> {
        let offset = self.geometry.offset_of(eraseblock);
        Err(FlashError::new(FlashOp::Lock, offset, FlashFault::Unsupported))
    }
}
