//! What a file's data looks like, as far as it matters for compression: text, machine code of which machine, other.

use crate::options::Bcj;

/// Kind of data, from the first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum DataKind {
    /// Nothing known.
    #[default]
    Other,
    /// Mostly printable bytes.
    Text,
    /// An ELF file of that machine (`e_machine`).
    Code(Machine),
}

/// Instruction sets that xz has a branch filter for, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Machine {
    X86,
    Arm,
    Arm64,
    PowerPc,
    Sparc,
    RiscV,
    /// Four-byte instructions, but no filter: MIPS and the like.
    Other,
}

impl Machine {
    fn from_elf(number: u16) -> Self {
        // Numbers of the ELF specification: EM_386, EM_X86_64, EM_ARM, EM_AARCH64, EM_PPC, EM_PPC64, EM_SPARC,
        // EM_SPARC32PLUS, EM_SPARCV9, EM_RISCV.
        match number {
            3 | 62 => Machine::X86,
            40 => Machine::Arm,
            183 => Machine::Arm64,
            20 | 21 => Machine::PowerPc,
            2 | 18 | 43 => Machine::Sparc,
            243 => Machine::RiscV,
            _ => Machine::Other,
        }
    }

    /// The branch filters for this code, the likeliest first.
    pub(super) const fn filters(self) -> &'static [Bcj] {
        match self {
            Machine::X86 => &[Bcj::X86],
            // 32-bit ARM files are Thumb-2 on current distributions, plain ARM on older devices.
            Machine::Arm => &[Bcj::ArmThumb, Bcj::Arm],
            Machine::Arm64 => &[Bcj::Arm64],
            Machine::PowerPc => &[Bcj::PowerPc],
            Machine::Sparc => &[Bcj::Sparc],
            Machine::RiscV => &[Bcj::RiscV],
            Machine::Other => &[],
        }
    }
}

/// Bytes that are enough to tell.
pub(super) const HEAD: usize = 512;

/// Tells the kind from the first bytes of a file (more than [`HEAD`] are not looked at).
pub(super) fn data_kind(head: &[u8]) -> DataKind {
    let head = &head[..head.len().min(HEAD)];
    if let [0x7f, b'E', b'L', b'F', _, endian, ..] = head
        && let Some(&[a, b]) = head.get(18..20)
    {
        let number = if *endian == 2 { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
        return DataKind::Code(Machine::from_elf(number));
    }
    let printable = head.iter().filter(|&&byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e)).count();
    if printable * 16 >= head.len() * 15 && !head.is_empty() { DataKind::Text } else { DataKind::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elf_headers_name_the_machine_in_both_endians() {
        let mut elf = *b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0";
        assert_eq!(data_kind(&elf), DataKind::Code(Machine::Arm));
        (elf[5], elf[18], elf[19]) = (2, 0, 21);
        assert_eq!(data_kind(&elf), DataKind::Code(Machine::PowerPc));
        assert_ne!(data_kind(&elf[..19]), DataKind::Code(Machine::PowerPc));
    }

    #[test]
    fn text_is_what_people_can_read() {
        assert_eq!(data_kind(b"#!/bin/sh\nexit 0\n"), DataKind::Text);
        assert_eq!(data_kind(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), DataKind::Other);
        assert_eq!(data_kind(b""), DataKind::Other);
    }
}
