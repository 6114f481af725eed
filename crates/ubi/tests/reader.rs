//! What the reader reads, and what it finds in images that are not sound.

mod common;

use std::sync::Arc;

use common::{PEB, content, everything, filled, findings, image_of, noise, open, small};
use flashwright_media::{UbiGeometry, crc32_from_ones};
use flashwright_ubi::format::VolumeType::{Dynamic, Static};
use flashwright_ubi::format::{EcHdr, VidHdr, VtblRecord};
use flashwright_ubi::reader::{Image, Oob, ReadError, Severity};
use flashwright_ubi::{Options, Volume};
use proptest::prelude::*;

const SIZE: usize = PEB as usize;
/// Of the images here: VID header and data, from the start of a PEB.
const VID: usize = 256;
const DATA: usize = 512;

fn sound() -> Vec<u8> {
    image_of(&everything(), &Options::new(small())).0
}

fn peb(image: &[u8], number: usize) -> Vec<u8> {
    image[number * SIZE..(number + 1) * SIZE].to_vec()
}

fn change_vid(peb: &mut [u8], change: impl FnOnce(&mut VidHdr)) {
    let mut header = VidHdr::parse(peb[VID..VID + 64].try_into().unwrap()).unwrap();
    change(&mut header);
    peb[VID..VID + 64].copy_from_slice(&header.to_bytes());
}

fn change_ec(peb: &mut [u8], change: impl FnOnce(&mut EcHdr)) {
    let mut header = EcHdr::parse(peb[..64].try_into().unwrap()).unwrap();
    change(&mut header);
    peb[..64].copy_from_slice(&header.to_bytes());
}

#[test]
fn everything_that_was_written_is_read() {
    let volumes = everything();
    let image = open(&sound());
    assert_eq!(findings(&image), [""; 0]);
    let ids: Vec<_> = image.volumes().iter().map(|volume| volume.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 7]);
    for volume in &volumes {
        let found = image.volume(&volume.name).unwrap();
        assert_eq!(found.volume_type, volume.volume_type, "{}", volume.name);
        assert_eq!((found.alignment, found.autoresize), (volume.alignment, volume.autoresize));
        assert_eq!(found.skip_check, volume.skip_check);
        let bytes = content(&image, &volume.name);
        let mut expected = volume.content.as_ref().map_or_else(Vec::new, |content| {
            let mut bytes = vec![0; usize::try_from(content.len).unwrap()];
            content.source.read_exact_at(0, &mut bytes).unwrap();
            bytes
        });
        if volume.volume_type == Dynamic {
            let usable = found.usable_leb_size as usize;
            expected.resize(expected.len().next_multiple_of(usable), 0xff);
        }
        assert_eq!(bytes, expected, "{}", volume.name);
    }
    assert_eq!(image.volume("7").unwrap().name, b"grows");
    assert!(matches!(image.volume("none"), Err(ReadError::NoVolume(_))));
    let counts = image.erase_counts();
    assert_eq!((counts.min, counts.max, counts.unknown), (0, 0, 0));
}

/// Damage to one PEB, and all that must be said of it.
#[test]
fn damage_is_named() {
    type Case = (usize, fn(&mut [u8]), &'static [&'static str]);
    // PEB 2 to 4: volume 7, 5 to 8: volume 0, static.
    let cases: [Case; 13] = [
        (5, |peb| peb[DATA + 100] ^= 1, &["PEB 5 (0x00014200), volume 0 LEB 0: data CRC: expected 0x"]),
        (
            3,
            |peb| peb[10] ^= 1,
            &["PEB 3 (0x0000c000): erase counter header: expected a sound one, found header CRC"],
        ),
        (
            3,
            |peb| peb[VID + 10] ^= 1,
            &["PEB 3 (0x0000c100): VID header: expected a sound one, found header CRC"],
        ),
        (
            6,
            |peb| peb[VID] = b'u',
            &[
                "PEB 6 (0x00018100): VID header: expected a sound one, found magic 0x75424921, expected 0x55424921",
                "volume 0 LEB 1: LEB of a static volume: expected in a PEB, found none that holds it",
            ],
        ),
        (
            0,
            |peb| peb[DATA + 5 * 172 + 1] ^= 1,
            &[
                "PEB 0 (0x00000200), volume 2147479551 LEB 0: record 5 of the volume table: expected a sound one",
            ],
        ),
        (
            4,
            |peb| peb[..64].fill(0xff),
            &["PEB 4 (0x00010000): erase counter header: expected a header before"],
        ),
        (
            4,
            |peb| change_ec(peb, |ec| ec.image_seq ^= 1),
            &["PEB 4 (0x00010000): image sequence number: expected 0x"],
        ),
        (4, |peb| change_ec(peb, |ec| ec.image_seq = 0), &[]),
        (
            4,
            |peb| change_ec(peb, |ec| ec.erase_count = 1 << 31),
            &[
                "PEB 4 (0x00010000): erase counter header: expected at most 2147483647 erases, found 2147483648",
            ],
        ),
        (
            4,
            |peb| change_ec(peb, |ec| ec.data_offset = 1024),
            &[
                "PEB 4 (0x00010000): erase counter header: expected offsets 256 and 512, as in other PEBs, found 256 and 1024",
            ],
        ),
        (
            4,
            |peb| change_vid(peb, |vid| vid.lnum = 500),
            &["PEB 4 (0x00010100), volume 7 LEB 500: LEB number: expected below 7, as reserved, found 500"],
        ),
        (
            4,
            |peb| change_vid(peb, |vid| vid.volume_id = 90),
            &[
                "PEB 4 (0x00010100), volume 90 LEB 2: LEB: expected of a volume in the table, found of none: an orphan",
            ],
        ),
        (
            4,
            |peb| change_vid(peb, |vid| vid.copy_flag = 2),
            &[
                "PEB 4 (0x00010100), volume 7 LEB 2: VID header: expected one that can be, found copy flag neither",
            ],
        ),
    ];
    let image = sound();
    for (number, damage, expected) in cases {
        let mut damaged = image.clone();
        damage(&mut damaged[number * SIZE..(number + 1) * SIZE]);
        let found = findings(&open(&damaged));
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n  is not\n{expected}");
        }
    }
}

#[test]
fn either_copy_of_the_volume_table_will_do() {
    let image = sound();
    for copy in 0..2 {
        let mut damaged = image.clone();
        damaged[copy * SIZE + DATA + 50] ^= 0xff;
        let damaged = open(&damaged);
        assert_eq!(damaged.volumes(), open(&image).volumes());
        assert_eq!(findings(&damaged).len(), 1);
    }
    let mut damaged = image.clone();
    (0..2).for_each(|copy| damaged[copy * SIZE + DATA + 50] ^= 0xff);
    let damaged = open(&damaged);
    assert_eq!(findings(&damaged).len(), 3);
    let volumes: Vec<_> = damaged.volumes().iter().map(|volume| (volume.id, volume.name.len())).collect();
    assert_eq!(volumes, [(0, 0), (1, 0), (2, 0), (4, 0), (7, 0)]);
    assert_eq!(content(&damaged, "0"), noise(50_001, 2));
}

#[test]
fn records_that_cannot_be_are_refused() {
    let image = sound();
    type Change = fn(&mut VtblRecord);
    let cases: [(Change, &str); 6] = [
        (|record| record.reserved_pebs = 0, "size of volume 0"),
        (|record| record.alignment = 3, "padding of volume 0: expected 2, found 0"),
        (|record| record.volume_type = 3, "type of volume 0: expected 1 or 2, found 3"),
        (
            |record| record.name_len = 128,
            "name of volume 0: expected 1 to 127 bytes, then zeros, found a length of 128",
        ),
        (|record| record.update_marker = 2, "update marker of volume 0"),
        (|record| record.flags |= 1, "volumes with autoresize: expected one at most, found 2"),
    ];
    for (change, expected) in cases {
        let mut changed = image.clone();
        for copy in 0..2 {
            let at = copy * SIZE + DATA;
            let mut record = VtblRecord::parse(&changed[at..]).unwrap();
            change(&mut record);
            changed[at..at + VtblRecord::LEN].copy_from_slice(&record.to_bytes());
        }
        let found = findings(&open(&changed));
        assert!(found.iter().any(|found| found.contains(expected)), "{found:#?} has no {expected}");
    }
}

/// The kernel's rules: the newest copy, unless its move was not finished.
#[test]
fn of_several_copies_the_right_one_is_read() {
    let volumes = [filled("v", Dynamic, noise(30_000, 1))];
    let (image, _) = image_of(&volumes, &Options::new(small()));
    let old = content(&open(&image), "v");
    let mut new = peb(&image, 3);
    new[DATA..].fill(0x55);
    let finished = crc32_from_ones(&new[DATA..DATA + 1000]);
    // Sequence number, moved, CRC right: the new one is read, findings.
    let cases = [
        (9, false, true, true, 0),
        (9, true, true, true, 0),
        (9, true, false, false, 1),
        (0, false, true, false, 1),
    ];
    for (sqnum, moved, sound, takes_new, count) in cases {
        let mut copy = new.clone();
        change_vid(&mut copy, |vid| {
            vid.sqnum = sqnum;
            if moved {
                (vid.copy_flag, vid.data_size) = (1, 1000);
                vid.data_crc = if sound { finished } else { !finished };
            }
        });
        for image in
            [[image.clone(), copy.clone()].concat(), [peb(&image, 0), copy, image[SIZE..].to_vec()].concat()]
        {
            let image = open(&image);
            let found = content(&image, "v");
            let expected = if takes_new { [&old[..SIZE - DATA], &new[DATA..]].concat() } else { old.clone() };
            if count == 0 || moved {
                assert!(found == expected, "{sqnum} {moved} {sound}");
            }
            assert_eq!(findings(&image).len(), count, "{:#?}", findings(&image));
        }
    }
}

#[test]
fn truncated_dumps() {
    let image = sound();
    let cut = open(&image[..image.len() - 5000]);
    let found = findings(&cut);
    assert!(
        found[0].contains("last PEB: expected 16384 bytes, found 11384: the file is cut off"),
        "{found:#?}"
    );
    assert_eq!(found.len(), 2, "and the LEB of the static volume is missing: {found:#?}");
    let error = cut.extract(cut.volume("2").unwrap(), &mut Vec::new(), &mut |_| ());
    assert!(error.is_ok(), "other volumes are whole");
    let name = "n".repeat(127);
    let error = cut.extract(cut.volume(&name).unwrap(), &mut Vec::new(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("LEB of a static volume: expected in a PEB, found none"), "{error}");
}

#[test]
fn a_dump_with_other_partitions_and_erased_flash() {
    let image = sound();
    let mut dump = noise(3 * SIZE, 8);
    dump.extend_from_slice(&image);
    dump.extend(std::iter::repeat_n(0xff, 4 * SIZE));
    dump.extend(noise(2 * SIZE, 9));
    let dump = open(&dump);
    assert_eq!(dump.volumes(), open(&image).volumes());
    assert_eq!(dump.geometry().start, 3 * u64::from(PEB));
    let found = findings(&dump);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("end of the file: expected UBI, or erased flash, found 2 PEBs with something else")
    );
    assert_eq!((dump.free_pebs(), dump.erase_counts().unknown), (4, 6));
}

#[test]
fn spare_bytes_in_a_dump_are_left_out_and_named() {
    for (peb_size, page, sub_page, spare) in [
        (128 << 10, 2048, None, 64),
        (16 << 10, 512, None, 16),
        (128 << 10, 2048, Some(512), 64),
        (256 << 10, 4096, None, 224),
    ] {
        let geometry = UbiGeometry::new(peb_size, page, sub_page, None).unwrap();
        let volumes = [filled("v", Static, noise(700_000, 1))];
        let (image, _) = image_of(&volumes, &Options::new(geometry));
        let mut dump = Vec::new();
        for (index, bytes) in (0u32..).zip(image.chunks(page as usize)) {
            dump.extend_from_slice(bytes);
            dump.extend(noise(spare as usize, index));
        }
        let dump = open(&dump);
        assert_eq!(dump.geometry().oob, Some(Oob { page_size: page, spare }), "{peb_size}");
        assert_eq!(dump.geometry().peb_size, peb_size);
        assert_eq!(content(&dump, "v"), noise(700_000, 1));
        let report = dump.check().unwrap();
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
        assert_eq!(report.findings[0].severity, Severity::Warning);
        assert!(
            report.findings[0]
                .to_string()
                .contains(&format!("{spare} spare bytes after each page of {page}"))
        );
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let opened = |bytes: Vec<u8>, peb_size| {
        let len = bytes.len() as u64;
        Image::open(Arc::new(bytes), len, peb_size)
    };
    for bytes in [vec![], vec![0xff; 100_000], noise(100_000, 1), b"UBI#".repeat(1000)] {
        assert!(matches!(opened(bytes, None), Err(ReadError::NotUbi { .. })));
    }
    let one = peb(&sound(), 0);
    assert!(matches!(opened(one.clone(), None), Err(ReadError::PebSize { offset: 0 })));
    assert!(opened(one.clone(), Some(PEB)).is_ok());
    assert!(matches!(opened(one.clone(), Some(0)), Err(ReadError::Geometry { .. })));
    assert!(matches!(opened(one, Some(500)), Err(ReadError::Geometry { .. })));
}

fn read_all(bytes: Vec<u8>) {
    let len = bytes.len() as u64;
    let Ok(image) = Image::open(Arc::new(bytes), len, None) else { return };
    let _ = image.check();
    let _ = image.fastmap();
    let _ = (image.erase_counts(), image.image_seqs());
    for volume in image.volumes() {
        if volume.len < 1 << 24 {
            let _ = image.extract(volume, &mut std::io::sink(), &mut |_| ());
        }
    }
}

fn kind() -> impl Strategy<Value = (bool, usize, u32, u8)> {
    (any::<bool>(), 1usize..60_000, prop_oneof![Just(1u32), Just(512), Just(2048), Just(5120)], any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(kinds in prop::collection::vec(kind(), 1..6), erase_count in 0u64..1 << 31) {
        let volumes: Vec<Volume> = kinds.iter().enumerate().map(|(index, (is_static, len, alignment, seed))| {
            let volume_type = if *is_static { Static } else { Dynamic };
            let mut volume = filled(&format!("v{index}"), volume_type, noise(*len, (*seed).into()));
            volume.alignment = *alignment;
            volume
        }).collect();
        let mut options = Options::new(small());
        options.erase_count = erase_count;
        let (bytes, _) = image_of(&volumes, &options);
        let image = open(&bytes);
        prop_assert_eq!(findings(&image), [""; 0]);
        for (index, (is_static, len, _, seed)) in kinds.iter().enumerate() {
            let found = content(&image, &format!("v{index}"));
            prop_assert_eq!(&found[..*len], noise(*len, (*seed).into()));
            prop_assert!(!is_static || found.len() == *len);
        }
        prop_assert_eq!(u64::from(image.erase_counts().mean), erase_count);
    }

    #[test]
    fn damage_never_panics(flips in prop::collection::vec((0usize..21 * SIZE, 1u8..=255), 1..40), cut in 0usize..SIZE * 3) {
        let mut image = sound();
        for (at, bits) in flips {
            let len = image.len();
            image[at % len] ^= bits;
        }
        image.truncate(image.len() - cut);
        read_all(image);
    }

    #[test]
    fn one_flipped_bit_in_a_header_or_a_static_volume_is_found(peb in 0usize..21, at in 0usize..2000, bit in 0u8..8) {
        let mut image = sound();
        let pebs = image.len() / SIZE;
        let peb = peb % pebs;
        let within = if at < 64 { at } else { VID + at % 64 };
        image[peb * SIZE + within] ^= 1 << bit;
        let found = findings(&open(&image));
        prop_assert!(found.iter().any(|found| found.starts_with(&format!("PEB {peb} "))), "{:?}", found);
    }
}
