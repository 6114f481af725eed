//! The stored form of a block.

use flashwright_codec::{CodecError, Compressor, deflate, lzo, zstd};

use crate::format::{ALIGNMENT, ComprType, MIN_COMPRESS_LEN};
use crate::options::{Compression, Options};

/// Compressors of one thread.
pub(super) struct Packer {
    main: Option<(ComprType, Box<dyn Compressor>)>,
    /// What is taken instead when it saves that many percent.
    other: Option<(ComprType, Box<dyn Compressor>, u8)>,
    trial: Vec<u8>,
}

impl Packer {
    pub(super) fn new(options: &Options) -> Result<Self, CodecError> {
        let zlib = || options.zlib_level().map(deflate::compressor);
        let mut other = None;
        let main = match options.compression {
            Compression::None => None,
            Compression::Lzo => Some(lzo::compressor()),
            Compression::Zlib => Some(zlib()?),
            Compression::Zstd => Some(zstd::compressor(options.zstd_level()?)?),
            Compression::FavorLzo(percent) => {
                other = Some((ComprType::Zlib, zlib()?, percent));
                Some(lzo::compressor())
            }
        };
        let compr_type = options.compression.compr_type();
        Ok(Packer { main: main.map(|compressor| (compr_type, compressor)), other, trial: Vec::new() })
    }

    /// Appends the stored form of `data` to `out`. What does not save 8 bytes of flash is stored as it is: it is read
    /// faster.
    pub(super) fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<ComprType, CodecError> {
        let start = out.len();
        let limit = data.len().saturating_sub(ALIGNMENT as usize);
        let mut taken = ComprType::None;
        if data.len() < MIN_COMPRESS_LEN {
            out.extend_from_slice(data);
            return Ok(taken);
        }
        if let Some((compr_type, compressor)) = &mut self.main
            && compressor.compress(data, limit, out)?
        {
            taken = *compr_type;
        }
        if let Some((compr_type, compressor, percent)) = &mut self.other {
            let so_far = if taken == ComprType::None { data.len() } else { out.len() - start };
            let limit = limit.min(so_far * (100 - usize::from(*percent)) / 100);
            self.trial.clear();
            if compressor.compress(data, limit, &mut self.trial)? {
                out.truncate(start);
                out.extend_from_slice(&self.trial);
                taken = *compr_type;
            }
        }
        if taken == ComprType::None {
            out.extend_from_slice(data);
        }
        Ok(taken)
    }
}
