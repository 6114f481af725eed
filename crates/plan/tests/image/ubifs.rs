//! UBIFS of our writer.

use std::io::Cursor;

use flashwright_media::crc32_from_ones;
use flashwright_ubifs::format::node::SbNode;
use flashwright_ubifs::{Compression, Geometry, Options, write};

use super::{assert_whole, faults, look, threads, tree};

fn options(leb_size: u32, min_io_size: u32, max_lebs: u32) -> Options {
    Options::new(Geometry { leb_size, min_io_size }, max_lebs)
}

fn image(options: &Options, lens: &[usize], xattrs: bool) -> Vec<u8> {
    let mut image = Cursor::new(Vec::new());
    write(&tree(lens, xattrs), options, threads(), &mut image, &mut |_| ()).unwrap();
    image.into_inner()
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// First LEB of the LPT, and the first after it.
fn lpt(bytes: &[u8]) -> std::ops::Range<usize> {
    let first = 3 + word(bytes, 56);
    first..first + word(bytes, 60)
}

/// Position in its LEB and bytes of each node of a LEB that is not of the LPT.
fn nodes(leb: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut nodes) = (0, Vec::new());
    while at + 24 <= leb.len() && leb[at..].starts_with(&0x0610_1831u32.to_le_bytes()) {
        let len = word(leb, at + 16);
        nodes.push((at, len));
        let padding = if leb[at + 20] == 5 { word(leb, at + 24) } else { 0 };
        at = (at + len + padding).next_multiple_of(8);
        while leb.get(at..at + 8) == Some(&[0xce; 8]) {
            at += 8;
        }
    }
    nodes
}

#[test]
fn images_of_many_options_are_whole() {
    for (leb_size, min_io_size, max_lebs) in [
        (126_976, 2048, 200),
        (15_872, 8, 60_000),
        (15_872, 512, 100),
        (253_952, 4096, 3000),
        (129_024, 2048, 100_000),
    ] {
        for compression in [Compression::None, Compression::Lzo, Compression::Zstd] {
            for (xattrs, fixup) in [(false, false), (true, true)] {
                let mut options = options(leb_size, min_io_size, max_lebs);
                (options.compression, options.space_fixup) = (compression, fixup);
                let bytes = image(&options, &[0, 1, 3000, 4097, 300_000], xattrs);
                assert_whole(&bytes, "ubifs", &format!("{options:?}"));
            }
        }
    }
}

/// Damage of a byte is told with that LEB, and a position in it.
#[track_caller]
fn assert_told(whole: &[u8], at: usize, leb: usize, places: std::ops::RangeInclusive<usize>) {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 0x10;
    let found = faults(&bytes);
    let first = found.first().unwrap_or_else(|| panic!("{at:#x} in LEB {leb}: nothing"));
    let at_place = |place: usize| first.contains(&format!("at {place:#010x}: "));
    assert!(first.contains(&format!("LEB {leb} ")) && places.clone().any(at_place), "{at:#x}: {found:?}");
}

#[test]
fn a_bit_anywhere_is_found() {
    for (min_io_size, max_lebs, xattrs) in [(512, 100, true), (8, 60_000, false)] {
        let leb_size = 15_872usize;
        let whole = image(&options(15_872, min_io_size, max_lebs), &[0, 1, 70, 3000, 20_000], xattrs);
        assert_whole(&whole, "ubifs", "before");
        let lpt = lpt(&whole);
        let mut kinds = Vec::new();
        for (number, leb) in whole.chunks(leb_size).enumerate() {
            let start = number * leb_size;
            if lpt.contains(&number) {
                // Its nodes are short; its tables end where the rest is erased.
                let used = leb.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
                (0..used).step_by(7).for_each(|at| {
                    assert_told(&whole, start + at, number, at.saturating_sub(2000)..=at);
                });
                continue;
            }
            let nodes = nodes(leb);
            for &(at, len) in nodes.iter().filter(|&&(at, _)| number > 0 || at > 0) {
                kinds.push(leb[at + 20]);
                for byte in [0, 3, 4, 8, 15, 16, 18, 20, 23, len - 1] {
                    assert_told(&whole, start + at + byte, number, at..=at);
                }
            }
            let end =
                leb.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1).next_multiple_of(8);
            if end < leb_size {
                assert_told(&whole, start + leb_size - 1, number, end..=end.next_multiple_of(512));
            }
        }
        for kind in [0, 1, 2, 5, 7, 9, 10] {
            assert!(kinds.contains(&kind) || kind == 5 && min_io_size == 8, "{kind}: {kinds:?}");
        }
        for (at, name) in [(0, "raw"), (3, "raw"), (20, "raw"), (5, "ubifs"), (100, "ubifs"), (4095, "ubifs")]
        {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(look(&bytes).0.name(), name);
            if name == "ubifs" {
                let found = faults(&bytes);
                assert!(found[0].starts_with("superblock of the UBIFS at 0x00000000: CRC "), "{found:?}");
                assert_eq!(found.len(), 1);
            }
        }
    }
}

#[test]
fn superblocks_that_mean_harm() {
    let whole = image(&options(15_872, 512, 100), &[1, 3000], false);
    // With the right CRC: lengths that follow from them are far too long, or nothing.
    for at in (28..80).step_by(4) {
        for value in [0, 1, 0x7fff_ffff, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let crc = crc32_from_ones(&bytes[8..SbNode::LEN as usize]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            let (_, found) = look(&bytes);
            assert!(found.refusals.len() <= 10);
        }
    }
    // Lengths of nodes, with the right CRC or not.
    for (number, leb) in whole.chunks(15_872).enumerate().skip(1) {
        for (at, _) in nodes(leb) {
            for len in [0u32, 7, 23, 24, 15_872, u32::MAX - 7, u32::MAX] {
                let mut bytes = whole.clone();
                let at = number * 15_872 + at;
                bytes[at + 16..at + 20].copy_from_slice(&len.to_le_bytes());
                assert!(!look(&bytes).1.refusals.is_empty(), "{number} {at:#x} {len}");
            }
        }
    }
}
