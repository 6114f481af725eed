//! Metadata blocks: 8 KiB units, each compressed by itself behind a 2-byte header.

use flashwright_codec::{CodecError, Compressor};

use crate::format::{METADATA_SIZE, METADATA_UNCOMPRESSED, MetadataRef};

/// A chain of metadata blocks that grows at its end.
pub(super) struct MetadataTable<'a> {
    /// `None`: blocks are stored as they are.
    compressor: Option<&'a mut dyn Compressor>,
    pending: Vec<u8>,
    packed: Vec<u8>,
    /// Start of each block within `packed`.
    starts: Vec<u64>,
}

impl<'a> MetadataTable<'a> {
    pub(super) fn new(compressor: Option<&'a mut dyn Compressor>) -> Self {
        MetadataTable {
            compressor,
            pending: Vec::with_capacity(METADATA_SIZE),
            packed: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Where the next byte will be.
    pub(super) fn position(&self) -> MetadataRef {
        // `pending` is shorter than 8192 bytes between two calls.
        let offset =
            u16::try_from(self.pending.len()).unwrap_or_else(|_| unreachable!("a block is cut at 8192"));
        MetadataRef { block: self.packed.len() as u64, offset }
    }

    /// Appends bytes, which may run over any number of block borders.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), CodecError> {
        while self.pending.len() + bytes.len() >= METADATA_SIZE {
            let (now, later) = bytes.split_at(METADATA_SIZE - self.pending.len());
            self.pending.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CodecError> {
        self.starts.push(self.packed.len() as u64);
        let header = self.packed.len();
        self.packed.extend_from_slice(&[0, 0]);
        let compressed = match &mut self.compressor {
            Some(compressor) => {
                compressor.compress(&self.pending, self.pending.len() - 1, &mut self.packed)?
            }
            None => false,
        };
        if !compressed {
            self.packed.extend_from_slice(&self.pending);
        }
        let len = u16::try_from(self.packed.len() - header - 2);
        let len = len.unwrap_or_else(|_| unreachable!("a metadata block has at most 8192 bytes"));
        let word = if compressed { len } else { len | METADATA_UNCOMPRESSED };
        self.packed[header..header + 2].copy_from_slice(&word.to_le_bytes());
        self.pending.clear();
        Ok(())
    }

    /// The finished chain, and where in it each block starts.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u64>), CodecError> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        Ok((self.packed, self.starts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_at_8192_bytes_and_positions_point_into_them() {
        let mut table = MetadataTable::new(None);
        assert_eq!(table.position(), MetadataRef { block: 0, offset: 0 });
        table.write(&[1; 8000]).unwrap();
        assert_eq!(table.position(), MetadataRef { block: 0, offset: 8000 });
        table.write(&[2; 192]).unwrap();
        assert_eq!(table.position(), MetadataRef { block: 8194, offset: 0 });
        table.write(&[3; 8193]).unwrap();
        assert_eq!(table.position(), MetadataRef { block: 16388, offset: 1 });
        let (packed, starts) = table.finish().unwrap();
        assert_eq!(starts, [0, 8194, 16388]);
        assert_eq!(packed.len(), 16388 + 2 + 1);
        assert_eq!(packed[..2], (8192 | METADATA_UNCOMPRESSED).to_le_bytes());
        assert_eq!(packed[16388..], [1, 0x80, 3]);
    }
}
