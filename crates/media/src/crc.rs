//! CRC-32 (polynomial 0x04C11DB7, reflected) as the kernel's `crc32()` computes it: without the final inversion of
//! the usual CRC-32 of zip and Ethernet, and with one of two initial values.

#[cfg(not(flashwright_small))]
use crc32fast::Hasher;
#[cfg(flashwright_small)]
use small::Hasher;

/// The usual CRC-32 of zip and Ethernet: of a uImage, of TRX after an inversion. For bytes that come piece by piece:
/// [`Crc32`].
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::default();
    crc.update(bytes);
    crc.finish()
}

/// The usual CRC-32 of bytes that come piece by piece.
#[derive(Debug, Clone)]
pub struct Crc32(Hasher);

impl Default for Crc32 {
    fn default() -> Self {
        Crc32(Hasher::new_with_initial(0))
    }
}

impl Crc32 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of all pieces.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// CRC-32 with initial value 0 and no final inversion: JFFS2. Kernel: `crc32(0, …)`.
#[must_use]
pub fn crc32_from_zero(bytes: &[u8]) -> u32 {
    // The library inverts before and after; both inversions are undone.
    let mut hasher = Hasher::new_with_initial(u32::MAX);
    hasher.update(bytes);
    !hasher.finalize()
}

/// CRC-32 with initial value 0xFFFFFFFF and no final inversion: UBI, UBIFS. Kernel: `crc32(UBI_CRC32_INIT, …)`.
#[must_use]
pub fn crc32_from_ones(bytes: &[u8]) -> u32 {
    !crc32(bytes)
}

/// The same with a table of 1 KiB instead of 16: for programs that have to be small (`--cfg flashwright_small`).
#[cfg(any(flashwright_small, test))]
mod small {
    /// CRC of each byte.
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = index;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
                bit += 1;
            }
            // Below 256.
            table[index as usize] = crc;
            index += 1;
        }
        table
    };

    #[derive(Debug, Clone)]
    pub(super) struct Hasher(u32);

    impl Hasher {
        pub(super) const fn new_with_initial(initial: u32) -> Self {
            Hasher(!initial)
        }

        pub(super) fn update(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                let [low, ..] = self.0.to_le_bytes();
                self.0 = (self.0 >> 8) ^ TABLE[usize::from(low ^ byte)];
            }
        }

        pub(super) const fn finalize(self) -> u32 {
            !self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the polynomial defines it.
    fn reference(initial: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(initial, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    }

    #[test]
    fn both_conventions_follow_the_polynomial() {
        let long: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
        for bytes in [&b""[..], b"123456789", &[0; 100], &long] {
            assert_eq!(crc32_from_zero(bytes), reference(0, bytes));
            assert_eq!(crc32_from_ones(bytes), reference(u32::MAX, bytes));
        }
        assert_eq!(crc32_from_ones(b"123456789"), !0xcbf4_3926);
    }

    #[test]
    fn both_implementations_agree() {
        let long: Vec<u8> = (0..5000u32).map(|i| (i * i % 253) as u8).collect();
        for initial in [0, u32::MAX, 0x1234_5678] {
            let mut small = small::Hasher::new_with_initial(initial);
            let mut fast = crc32fast::Hasher::new_with_initial(initial);
            for piece in long.chunks(77) {
                small.update(piece);
                fast.update(piece);
            }
            assert_eq!(small.finalize(), fast.finalize());
        }
        let mut pieces = Crc32::default();
        long.chunks(1000).for_each(|piece| pieces.update(piece));
        assert_eq!((pieces.finish(), crc32(b"123456789")), (crc32(&long), 0xcbf4_3926));
    }

    #[test]
    fn known_headers() {
        // Cleanmarkers of JFFS2 of both byte orders: magic, type, length 12.
        assert_eq!(crc32_from_zero(&[0x19, 0x85, 0x20, 0x03, 0, 0, 0, 0x0c]), 0xf060_dc98);
        assert_eq!(crc32_from_zero(&[0x85, 0x19, 0x03, 0x20, 0x0c, 0, 0, 0]), 0xe41e_b0b1);
        // An empty record of UBI's volume table, 168 zeros.
        assert_eq!(crc32_from_ones(&[0; 168]), 0xf116_c36b);
    }
}
