//! An image in pieces of an eraseblock.

use sha2::Digest;

use crate::device::shorter;
use crate::error::Error;
use crate::report::Sha256;
use crate::source::Source;

/// One eraseblock of the image at a time, the last one filled up with 0xFF.
pub(super) struct Chunks<'a> {
    source: &'a mut dyn Source,
    bytes: Vec<u8>,
    loaded: Option<u32>,
    /// Of a pipe: its first eraseblock, which is needed last.
    first: Option<Vec<u8>>,
    hash: Option<sha2::Sha256>,
    hashed: u32,
}

impl<'a> Chunks<'a> {
    /// `hashing` for a SHA-256 of everything, which then has to be loaded in order.
    pub(super) fn new(source: &'a mut dyn Source, eraseblock_size: u32, hashing: bool) -> Self {
        let hash = hashing.then(sha2::Sha256::new);
        // A u32 fits a usize wherever there is flash of that size.
        let bytes = vec![0xff; eraseblock_size as usize];
        Chunks { source, bytes, loaded: None, first: None, hash, hashed: 0 }
    }

    pub(super) fn is_pipe(&self) -> bool {
        self.source.is_pipe()
    }

    /// The one that was loaded last, filled up.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the image from its start to eraseblock `number`, and in it.
    pub(super) fn place(&self, number: u32) -> (u64, u64) {
        let size = self.bytes.len() as u64;
        let offset = size * u64::from(number);
        (offset, self.source.len().saturating_sub(offset).min(size))
    }

    /// The bytes of the image in the one that was loaded last.
    pub(super) fn used(&self) -> &[u8] {
        let len = self.loaded.map_or(0, |number| self.place(number).1);
        self.bytes.get(..shorter(self.bytes.len(), len)).unwrap_or(&self.bytes)
    }

    /// Reads eraseblock `number` of the image, unless it is the one in memory.
    pub(super) fn load(&mut self, number: u32) -> Result<(), Box<Error>> {
        if self.loaded == Some(number) {
            return Ok(());
        }
        if let (0, Some(first)) = (number, &self.first) {
            self.bytes.copy_from_slice(first);
            self.loaded = Some(0);
            return Ok(());
        }
        self.loaded = None;
        let (offset, len) = self.place(number);
        let len = shorter(self.bytes.len(), len);
        let (used, rest) = self.bytes.split_at_mut(len);
        rest.fill(0xff);
        self.source.read_at(offset, used)?;
        if let (Some(hash), true) = (&mut self.hash, self.hashed == number) {
            hash.update(used);
            self.hashed += 1;
        }
        if number == 0 && self.source.is_pipe() {
            self.first = Some(self.bytes.clone());
        }
        self.loaded = Some(number);
        Ok(())
    }

    /// What is in memory, until it is given back.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// The SHA-256 of everything that was loaded, if it was asked for.
    pub(super) fn digest(&self) -> Option<Sha256> {
        self.hash.clone().map(|hash| Sha256(hash.finalize().into()))
    }
}
