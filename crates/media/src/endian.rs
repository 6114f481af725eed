//! Integers in the byte order of the target's CPU.

use std::fmt;

/// Byte order of the device's CPU. There is no default: a wrong one makes an image that does not mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endian {
    /// Most significant byte first: MIPS as in Atheros devices, PowerPC.
    Big,
    /// Least significant byte first: ARM, x86, RISC-V, MIPS as in MediaTek devices.
    Little,
}

impl Endian {
    /// The word that options and messages use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Endian::Big => "big",
            Endian::Little => "little",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Endian::Big => Endian::Little,
            Endian::Little => Endian::Big,
        }
    }
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value with a fixed number of bytes on flash.
pub trait Field: Sized {
    /// Bytes on flash.
    const LEN: usize;

    /// The value that `fields` has next; `None` when too few bytes are left.
    fn get(fields: &mut Fields<'_>) -> Option<Self>;

    /// Appends the value to `out`.
    fn put(self, endian: Endian, out: &mut Vec<u8>);
}

macro_rules! integer {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            const LEN: usize = size_of::<$integer>();

            fn get(fields: &mut Fields<'_>) -> Option<Self> {
                let bytes = fields.array()?;
                Some(match fields.endian {
                    Endian::Big => <$integer>::from_be_bytes(bytes),
                    Endian::Little => <$integer>::from_le_bytes(bytes),
                })
            }

            fn put(self, endian: Endian, out: &mut Vec<u8>) {
                match endian {
                    Endian::Big => out.extend_from_slice(&self.to_be_bytes()),
                    Endian::Little => out.extend_from_slice(&self.to_le_bytes()),
                }
            }
        }
    )*};
}

integer!(u8, u16, u32, u64);

impl<const N: usize> Field for [u8; N] {
    const LEN: usize = N;

    fn get(fields: &mut Fields<'_>) -> Option<Self> {
        fields.array()
    }

    fn put(self, _: Endian, out: &mut Vec<u8>) {
        out.extend_from_slice(&self);
    }
}

/// Takes one [`Field`] after another from the front of some bytes.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl<'a> Fields<'a> {
    /// The fields of `bytes`, integers in that byte order.
    #[must_use]
    pub const fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Fields { bytes, endian }
    }

    /// The next value; `None` when too few bytes are left.
    pub fn take<F: Field>(&mut self) -> Option<F> {
        F::get(self)
    }

    /// The next `len` bytes; `None` when fewer are left.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(front)
    }

    /// What has not been taken.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_what_was_put() {
        for (endian, expected) in
            [(Endian::Big, [1, 2, 3, 4, 5, 6, 7, 8, 9]), (Endian::Little, [1, 3, 2, 7, 6, 5, 4, 8, 9])]
        {
            let mut out = Vec::new();
            1u8.put(endian, &mut out);
            0x0203u16.put(endian, &mut out);
            0x0405_0607u32.put(endian, &mut out);
            [8u8, 9].put(endian, &mut out);
            assert_eq!(out, expected);

            let mut fields = Fields::new(&out, endian);
            assert_eq!(
                (fields.take(), fields.take(), fields.take()),
                (Some(1u8), Some(0x0203u16), Some(0x0405_0607u32))
            );
            assert_eq!(fields.take::<u64>(), None);
            assert_eq!(fields.bytes(3), None);
            assert_eq!(fields.rest(), [8, 9]);
            assert_eq!(fields.take(), Some([8u8, 9]));
        }
    }
}
