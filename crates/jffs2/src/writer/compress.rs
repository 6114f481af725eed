//! The smallest form of a piece of data.

use flashwright_codec::{CodecError, Compressor, lzo, rtime, zlib};

use crate::format::{Compression, padded};
use crate::options::{Effort, Options};

/// Compressors of one thread.
pub(super) struct Packer {
    compressors: Vec<(Compression, Box<dyn Compressor>)>,
    best: Vec<u8>,
    trial: Vec<u8>,
}

impl Packer {
    pub(super) fn new(options: &Options) -> Result<Self, CodecError> {
        let mut compressors = Vec::new();
        let set = options.compressors;
        if set.zlib {
            let level = match options.effort {
                Effort::Fast => 1,
                // Above it, up to 9, half as much time again saves 0.15 % of a root file system.
                Effort::Default => 6,
                Effort::Max => 12,
            };
            compressors.push((Compression::Zlib, zlib::compressor(zlib::Level::new(level)?)?));
        }
        if set.lzo {
            compressors.push((Compression::Lzo, lzo::compressor()));
        }
        if set.rtime {
            compressors.push((Compression::Rtime, rtime::compressor()));
        }
        Ok(Packer { compressors, best: Vec::new(), trial: Vec::new() })
    }

    /// The smallest form of `data`, which has at most a node's size. What does not save 4 bytes of flash is stored as
    /// it is: it is read faster.
    pub(super) fn pack<'a>(&'a mut self, data: &'a [u8]) -> Result<(Compression, &'a [u8]), CodecError> {
        let mut smallest = Compression::None;
        // At most 64 KiB.
        let mut limit = (padded(u32::try_from(data.len()).unwrap_or(u32::MAX)) as usize).saturating_sub(4);
        for (compression, compressor) in &mut self.compressors {
            self.trial.clear();
            if limit > 0 && compressor.compress(data, limit, &mut self.trial)? {
                std::mem::swap(&mut self.best, &mut self.trial);
                smallest = *compression;
                limit = self.best.len() - 1;
            }
        }
        Ok((smallest, if smallest == Compression::None { data } else { &self.best }))
    }
}
