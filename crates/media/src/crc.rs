//! CRC-32 (polynomial 0x04C11DB7, reflected) as the kernel's `crc32()` computes it: without the final inversion of
//! the usual CRC-32 of zip and Ethernet, and with one of two initial values.

use crc32fast::Hasher;

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
    !crc32fast::hash(bytes)
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
    fn known_headers() {
        // Cleanmarkers of JFFS2 of both byte orders: magic, type, length 12.
        assert_eq!(crc32_from_zero(&[0x19, 0x85, 0x20, 0x03, 0, 0, 0, 0x0c]), 0xf060_dc98);
        assert_eq!(crc32_from_zero(&[0x85, 0x19, 0x03, 0x20, 0x0c, 0, 0, 0]), 0xe41e_b0b1);
        // An empty record of UBI's volume table, 168 zeros.
        assert_eq!(crc32_from_ones(&[0; 168]), 0xf116_c36b);
    }
}
