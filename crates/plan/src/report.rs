//! What was done, and what it may cost.

use std::fmt;

/// How a run ended that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// All of it is done.
    Done,
    /// It was asked to stop. The same command goes on from here.
    Stopped,
}

/// What a run did to the device. Right after an error too: it says what was done until then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Erases, those of [`tortured`](Self::tortured) included, whether the flash took them or not.
    pub erases: u64,
    /// Bytes programmed, those of [`tortured`](Self::tortured) included.
    pub programmed: u64,
    /// Eraseblocks that were given new content.
    pub written: u32,
    /// Eraseblocks whose content was right already.
    pub kept: u32,
    /// Eraseblocks that were read back and found right.
    pub verified: u32,
    /// Bits that the error correction put right, as often as they were read.
    pub corrected_bits: u64,
    /// Reads that the device calls worn: as many wrong bits as it calls a danger.
    pub worn_reads: u32,
    /// Eraseblocks that failed and were tested with patterns; one that failed twice is in here twice.
    pub tortured: Vec<u32>,
    /// Eraseblocks marked bad.
    pub went_bad: Vec<u32>,
    /// Eraseblocks whose write protection was taken off: those that had to be erased, and those locked next to them.
    pub unlocked: u32,
    /// Eraseblocks whose write protection was put back.
    pub locked: u32,
}

/// How long a device takes, in nanoseconds: for an estimate only. 0 where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// Erasing one eraseblock.
    pub erase_ns: u64,
    /// Programming 1024 bytes.
    pub program_ns: u64,
    /// Reading 1024 bytes.
    pub read_ns: u64,
}

impl Costs {
    /// Nanoseconds for so many erases, bytes programmed and bytes read; `None` where nothing is known.
    #[must_use]
    pub const fn estimate(&self, erases: u64, programmed: u64, read: u64) -> Option<u64> {
        if self.erase_ns == 0 && self.program_ns == 0 && self.read_ns == 0 {
            return None;
        }
        let erase = self.erase_ns.saturating_mul(erases);
        let program = self.program_ns.saturating_mul(programmed.div_ceil(1024));
        let read = self.read_ns.saturating_mul(read.div_ceil(1024));
        Some(erase.saturating_add(program).saturating_add(read))
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Of 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut sum = Sha256([0; 32]);
        if text.len() != 2 * sum.0.len() {
            return None;
        }
        for (byte, pair) in sum.0.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = pair.iter().try_fold(0, |byte, half| Some(byte << 4 | digit(half)?))?;
        }
        Some(sum)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_add_up() {
        let costs = Costs { erase_ns: 1000, program_ns: 10, read_ns: 1 };
        assert_eq!(costs.estimate(3, 2049, 1024), Some(3031));
        assert_eq!(costs.estimate(u64::MAX, 1, 0), Some(u64::MAX));
        assert_eq!(Costs::default().estimate(3, 2049, 1024), None);
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        let mut digest = Sha256([0; 32]);
        digest.0[31] = 0xa5;
        digest.0[0] = 0x0f;
        let text = format!("0f{}a5", "0".repeat(60));
        assert_eq!((digest.to_string(), Sha256::from_hex(&text)), (text.clone(), Some(digest)));
        assert_eq!(Sha256::from_hex(&text.to_uppercase()), Some(digest));
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('f', "g")] {
            assert_eq!(Sha256::from_hex(wrong), None, "{wrong}");
        }
    }
}
