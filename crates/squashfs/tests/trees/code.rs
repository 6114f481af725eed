//! Machine code for every branch filter: calls to a few functions from many places, which a filter makes alike.

use flashwright_squashfs::Bcj;
use flashwright_tree::Tree;

use super::data::Numbers;
use super::{Grove, file};

/// Bytes of a file of code.
const LEN: usize = 300_000;
/// Bytes before the code.
const HEADER: usize = 64;

/// A tree of one program in the code of that filter's machine, and a text.
pub(crate) fn code(bcj: Bcj) -> Tree {
    let mut grove = Grove::new();
    grove.put("bin/program", file(machine_code(bcj)));
    grove.put("bin/script", file(super::text(10_000, 1)));
    grove.0
}

/// An ELF file of the machine that the filter is for.
pub(crate) fn machine_code(bcj: Bcj) -> Vec<u8> {
    let mut numbers = Numbers::new(7);
    let functions: Vec<u32> = (0..400).map(|_| (numbers.next() % 250_000) & !3).collect();
    let mut bytes = elf_header(bcj);
    while bytes.len() < LEN {
        // Instructions other than calls: few different ones.
        for _ in 0..1 + numbers.below(3) {
            let word = [0x1020_3040u32, 0x1121_3141, 0x5566_7788, 0x0a0b_0c0d][numbers.below(4)];
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let here = u32::try_from(bytes.len()).unwrap();
        bytes.extend(call(bcj, here, functions[numbers.below(functions.len())]));
    }
    bytes
}

fn elf_header(bcj: Bcj) -> Vec<u8> {
    // e_machine, and whether the file is big-endian.
    let (machine, big_endian) = match bcj {
        Bcj::X86 => (62u16, false),
        Bcj::PowerPc => (20, true),
        Bcj::Arm | Bcj::ArmThumb => (40, false),
        Bcj::Sparc => (2, true),
        Bcj::Arm64 => (183, false),
        Bcj::RiscV => (243, false),
    };
    let mut header = vec![0; HEADER];
    header[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, if big_endian { 2 } else { 1 }, 1, 0]);
    header[18..20].copy_from_slice(&if big_endian { machine.to_be_bytes() } else { machine.to_le_bytes() });
    header
}

/// The call instruction at `here`, padded to a multiple of 4 bytes, that goes to `there`.
fn call(bcj: Bcj, here: u32, there: u32) -> Vec<u8> {
    let distance = there.wrapping_sub(here);
    match bcj {
        Bcj::X86 => {
            let relative = distance.wrapping_sub(5).to_le_bytes();
            [&[0xe8], &relative[..], &[0x90; 3]].concat()
        }
        Bcj::PowerPc => (0x4800_0001 | (distance & 0x03ff_fffc)).to_be_bytes().to_vec(),
        Bcj::Arm => (0xeb00_0000 | ((distance.wrapping_sub(8) >> 2) & 0x00ff_ffff)).to_le_bytes().to_vec(),
        Bcj::ArmThumb => {
            let halfwords = distance.wrapping_sub(4) >> 1;
            let (high, low) = (0xf000 | ((halfwords >> 11) & 0x7ff), 0xf800 | (halfwords & 0x7ff));
            (high | (low << 16)).to_le_bytes().to_vec()
        }
        Bcj::Sparc => {
            // A signed shift: the upper bits repeat the sign.
            let words = (distance.cast_signed() >> 2).cast_unsigned();
            (0x4000_0000 | (words & 0x3fff_ffff)).to_be_bytes().to_vec()
        }
        Bcj::Arm64 => (0x9400_0000 | ((distance >> 2) & 0x03ff_ffff)).to_le_bytes().to_vec(),
        Bcj::RiscV => {
            let bits = |from: u32, count: u32, to: u32| ((distance >> from) & ((1 << count) - 1)) << to;
            let jump = bits(20, 1, 31) | bits(1, 10, 21) | bits(11, 1, 20) | bits(12, 8, 12);
            (jump | 0xef).to_le_bytes().to_vec()
        }
    }
}
