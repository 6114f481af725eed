//! Damaged and malicious images: an error or a finding, never a panic, and memory within bounds.

mod fixtures;

use flashwright_squashfs::reader::{ErrorClass, Image, Limits};
use flashwright_tree::{NodeKind, Tree};
use peak_alloc::PeakAlloc;

use fixtures::{bytes, open_bytes};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// All that may be taken for an image of a few kilobytes: the default limit, and room for the tests themselves.
const MEMORY: usize = 160 << 20;

/// Reads everything in an image, as far as it goes. True when it was read without an error.
fn exhaust(bytes: Vec<u8>) -> bool {
    let Ok(image) = open_bytes(bytes) else { return false };
    let sound = image.check().is_ok_and(|report| report.findings.is_clean());
    let _ = image.info();
    let Ok(tree) = image.tree() else { return false };
    sound & read_all(&tree)
}

fn read_all(tree: &Tree) -> bool {
    let mut buffer = vec![0; 4096];
    tree.walk().filter_map(|entry| entry.node.into_content()).all(|content| {
        // Files may claim any size: the first and the last pages of each extent are enough.
        content.extents().iter().take(64).all(|extent| {
            let len = usize::try_from(extent.len.min(4096)).unwrap();
            let mut reader = content.reader();
            reader.read_exact_at(extent.start, &mut buffer[..len]).is_ok()
                && reader.read_exact_at(extent.start + extent.len - len as u64, &mut buffer[..len]).is_ok()
        })
    })
}

fn bounded(test: impl FnOnce()) {
    ALLOCATOR.reset_peak_usage();
    test();
    let peak = ALLOCATOR.peak_usage();
    assert!(peak < MEMORY, "{peak} bytes");
}

const SMALL: [&str; 2] = ["tiny-plain", "tiny-zstd"];

#[test]
fn every_turned_bit_is_taken() {
    bounded(|| {
        for name in SMALL {
            let image = bytes(name);
            assert!(exhaust(image.clone()), "{name}");
            for bit in 0..image.len() * 8 {
                let mut damaged = image.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                exhaust(damaged);
            }
        }
    });
}

#[test]
fn every_length_is_taken() {
    bounded(|| {
        for name in SMALL {
            let image = bytes(name);
            for len in 0..image.len() {
                assert!(!exhaust(image[..len].to_vec()), "{name} {len}");
            }
        }
    });
}

#[test]
fn absurd_numbers_anywhere_are_taken() {
    let values = [u64::MAX, 1 << 63, u64::from(u32::MAX), 0x7fff_ffff, 0xffff_ffff_0000, 1 << 40, 0];
    bounded(|| {
        for name in SMALL {
            let image = bytes(name);
            for position in 0..image.len() {
                for (value, len) in values.iter().flat_map(|value| [(value, 8), (value, 4), (value, 2)]) {
                    let mut damaged = image.clone();
                    let len = len.min(image.len() - position);
                    damaged[position..position + len].copy_from_slice(&value.to_le_bytes()[..len]);
                    exhaust(damaged);
                }
            }
        }
    });
}

#[test]
fn cut_tables_with_a_fitting_length_are_taken() {
    let image = bytes("tiny-plain");
    for len in 96..image.len() {
        let mut cut = image[..len].to_vec();
        cut[0x28..0x30].copy_from_slice(&(len as u64).to_le_bytes());
        assert!(!exhaust(cut), "{len}");
    }
}

/// Position of the directory entry of that name in an image with a plain directory table.
fn entry(image: &[u8], name: &[u8]) -> usize {
    let directories = position_at(image, 0x48);
    let at = image[directories..].windows(name.len()).position(|window| window == name).unwrap();
    directories + at - 8
}

fn u16_at(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(image[at..at + 2].try_into().unwrap())
}

/// A 64-bit position in a small image.
fn position_at(image: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(image[at..at + 8].try_into().unwrap())).unwrap()
}

/// The tiny image with `outer/loop` naming the inode of `outer`.
fn with_loop() -> Vec<u8> {
    let mut image = bytes("tiny-plain");
    let (outer, inner) = (entry(&image, b"outer"), entry(&image, b"loop"));
    let inode_table = position_at(&image, 0x40);
    let number = |image: &[u8], entry: usize| {
        let inode = inode_table + 2 + usize::from(u16_at(image, entry));
        u16_at(image, inode + 12)
    };
    let delta = number(&image, outer).wrapping_sub(number(&image, inner));
    let delta = u16_at(&image, inner + 2).wrapping_add(delta);
    let reference = u16_at(&image, outer);
    image[inner..inner + 2].copy_from_slice(&reference.to_le_bytes());
    image[inner + 2..inner + 4].copy_from_slice(&delta.to_le_bytes());
    image
}

#[test]
fn a_directory_within_itself_is_an_error() {
    let image = open_bytes(with_loop()).unwrap();
    let error = image.tree().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(error.to_string().contains("under a second name or within itself"), "{error}");
    let report = image.check().unwrap();
    let line = "another name for it";
    assert!(report.findings.list.iter().any(|f| f.to_string().contains(line)), "{:#?}", report.findings);
    assert!(!report.findings.is_usable());
}

#[test]
fn findings_say_where_and_what() {
    let mut image = bytes("tiny-plain");
    // 'o' to 'z' keeps the order, and 'h' of "holes" to 'z' does not.
    let other = entry(&image, b"holes");
    image[other + 8] = b'z';
    let report = open_bytes(image).unwrap().check().unwrap();
    let lines: Vec<_> = report.findings.list.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("/outer: inode "), "{lines:#?}");
    assert!(lines[0].contains("order of names: expected names in ascending byte order"), "{lines:#?}");
    assert!(lines[0].contains("found one after /zoles"), "{lines:#?}");
}

/// What a check of the tiny image finds after one byte of it was changed.
fn found_after(position: usize, change: impl FnOnce(&mut u8)) -> Vec<String> {
    let mut image = bytes("tiny-plain");
    change(&mut image[position]);
    let report = open_bytes(image).unwrap().check().unwrap();
    report.findings.list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_wrong_link_count_and_a_wrong_export_entry_are_found() {
    let image = bytes("tiny-plain");
    let export = position_at(&image, position_at(&image, 0x58));
    // mksquashfs has no switch for a plain export table, but so short a one does not get smaller.
    assert_ne!(u16_at(&image, export) & 0x8000, 0);
    let lines = found_after(export + 2, |byte| *byte ^= 1);
    assert!(lines.len() == 1 && lines[0].contains("export table: expected 0x0:"), "{lines:#?}");
    // Link count of the root directory: after the 16-byte header and the block number.
    let root = position_at(&image, 0x40) + 2 + usize::from(u16_at(&image, 0x20));
    let lines = found_after(root + 20, |byte| *byte += 1);
    assert!(lines.len() == 1 && lines[0].starts_with("/: inode "), "{lines:#?}");
    assert!(lines[0].contains("link count: expected 3, found 4"), "{lines:#?}");
}

#[test]
fn limits_are_kept() {
    let image = bytes("gzip");
    let len = image.len() as u64;
    let mut limits = Limits::default();
    limits.memory = Some(20_000);
    let image = Image::open_with(std::sync::Arc::new(image), len, limits).unwrap();
    assert_eq!(image.tree().unwrap_err().class(), ErrorClass::Limit);
    assert_eq!(image.check().unwrap_err().class(), ErrorClass::Limit);
    assert_eq!(image.info().unwrap_err().class(), ErrorClass::Limit);
}

#[test]
fn damaged_data_shows_when_it_is_read() {
    let mut image = bytes("gzip");
    // The first data block starts right after the superblock.
    image[100..140].fill(0xaa);
    let image = open_bytes(image).unwrap();
    let tree = image.tree().unwrap();
    let files = tree.walk().filter(|entry| matches!(entry.node.kind, NodeKind::File(_)));
    let errors: Vec<_> = files.filter_map(|e| e.node.content().unwrap().to_vec().err()).collect();
    assert!(!errors.is_empty());
    let line = errors[0].to_string();
    assert!(line.contains("inode ") && line.contains("at 0x60: data block: zlib data is corrupt"), "{line}");
    let report = image.check().unwrap();
    assert!(report.findings.list.iter().any(|f| f.offset == Some(0x60) && f.path.is_some()), "{report:#?}");
}
