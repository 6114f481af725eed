//! Takes away what a program carries and no kernel loads: sections behind the last segment, such as MIPS's `.pdr`, which
//! strip leaves, and the table of sections itself.

/// Places in an ELF header, of programs of 32 and of 64 bits, in bytes.
struct Layout {
    /// Offset of the program headers, and of the section headers.
    offsets: [usize; 2],
    /// Length of those fields.
    word: usize,
    /// Size and number of program headers.
    header_size: usize,
    /// Size and number of section headers, and which has their names.
    sections: std::ops::Range<usize>,
    /// In a program header: offset and length in the file.
    segment: [usize; 2],
}

const BITS_32: Layout =
    Layout { offsets: [28, 32], word: 4, header_size: 42, sections: 46..52, segment: [4, 16] };
const BITS_64: Layout =
    Layout { offsets: [32, 40], word: 8, header_size: 54, sections: 58..64, segment: [8, 32] };

struct Elf {
    bytes: Vec<u8>,
    big: bool,
}

impl Elf {
    fn number(&self, at: usize, len: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        let number = if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) };
        usize::try_from(number).ok()
    }
}

/// The program without sections; `None` when it is no ELF program.
pub(super) fn without_sections(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let layout = match bytes.get(..5)? {
        [0x7f, b'E', b'L', b'F', 1] => BITS_32,
        [0x7f, b'E', b'L', b'F', 2] => BITS_64,
        _ => return None,
    };
    let big = *bytes.get(5)? == 2;
    let mut elf = Elf { bytes, big };
    let [programs, sections] = layout.offsets;
    let first = elf.number(programs, layout.word)?;
    let size = elf.number(layout.header_size, 2)?;
    let count = elf.number(layout.header_size + 2, 2)?;
    let mut end = first + size * count;
    for header in (0..count).map(|index| first + index * size) {
        let [offset, len] = layout.segment.map(|at| elf.number(header + at, layout.word));
        end = end.max(offset?.checked_add(len?)?);
    }
    elf.bytes.get(..end)?;
    elf.bytes.truncate(end);
    elf.bytes.get_mut(sections..sections + layout.word)?.fill(0);
    elf.bytes.get_mut(layout.sections)?.fill(0);
    Some(elf.bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_runs_without_its_sections() {
        let echo = std::fs::read("/bin/echo").unwrap();
        let trimmed = without_sections(echo.clone()).unwrap();
        assert!(trimmed.len() < echo.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        std::fs::write(&path, trimmed).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let said = std::process::Command::new(path).arg("small").output().unwrap();
        assert_eq!(said.stdout, b"small\n");
    }

    #[test]
    fn what_is_no_program() {
        for bytes in [&b""[..], b"#!/bin/sh", b"\x7fELF\x01\x01", b"\x7fELF\x03\x01"] {
            assert_eq!(without_sections(bytes.to_vec()), None);
        }
    }
}
