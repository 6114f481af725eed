//! Images made by hand: what they are taken for, and what damage is found.
#![allow(clippy::arithmetic_side_effects, reason = "sizes of images made here")]

use flashwright_media::{Endian, FlashGeometry, FlashKind, crc32_from_ones, crc32_from_zero};
use flashwright_ubi::format::EcHdr;

use super::*;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn squashfs() -> Vec<u8> {
    let mut bytes = vec![7; 5000];
    put(&mut bytes, 0, b"hsqs");
    put(&mut bytes, 12, &0x2_0000u32.to_le_bytes());
    put(&mut bytes, 22, &17u16.to_le_bytes());
    put(&mut bytes, 28, &[4, 0, 0, 0]);
    put(&mut bytes, 40, &4900u64.to_le_bytes());
    for (at, table) in [(48, 4800u64), (56, u64::MAX), (64, 4000), (72, 4400), (80, 4500), (88, u64::MAX)] {
        put(&mut bytes, at, &table.to_le_bytes());
    }
    bytes
}

fn ubifs_node(bytes: &mut [u8], len: usize, kind: u8) {
    put(bytes, 0, &0x0610_1831u32.to_le_bytes());
    put(bytes, 16, &u32::try_from(len).unwrap().to_le_bytes());
    bytes[20] = kind;
    let crc = crc32_from_ones(&bytes[8..len]);
    put(bytes, 4, &crc.to_le_bytes());
}

fn ubifs() -> Vec<u8> {
    let leb = 15_872;
    let mut bytes = vec![0xff; leb * 4];
    bytes[..4096].fill(0);
    [leb, 2 * leb].iter().for_each(|&at| bytes[at..at + 512].fill(0));
    for (at, value) in [(32, 512u32), (36, 15_872), (40, 20), (44, 100), (56, 2), (60, 2)] {
        put(&mut bytes, at, &value.to_le_bytes());
    }
    ubifs_node(&mut bytes, 4096, 6);
    ubifs_node(&mut bytes[leb..], 512, 7);
    ubifs_node(&mut bytes[2 * leb..], 512, 7);
    bytes
}

fn uimage() -> Vec<u8> {
    let mut bytes = vec![3; 10_000];
    bytes[..64].fill(0);
    put(&mut bytes, 0, &0x2705_1956u32.to_be_bytes());
    put(&mut bytes, 12, &9000u32.to_be_bytes());
    let crc = flashwright_media::crc32(&bytes[64..9064]);
    put(&mut bytes, 24, &crc.to_be_bytes());
    put(&mut bytes, 32, b"linux");
    let crc = flashwright_media::crc32(&bytes[..64]);
    put(&mut bytes, 4, &crc.to_be_bytes());
    bytes
}

fn trx() -> Vec<u8> {
    let mut bytes = vec![9; 6000];
    put(&mut bytes, 0, b"HDR0");
    put(&mut bytes, 4, &5000u32.to_le_bytes());
    let crc = crc32_from_ones(&bytes[12..5000]);
    put(&mut bytes, 8, &crc.to_le_bytes());
    bytes
}

/// A FIT image with one image behind the tree, 100 bytes of it.
fn fit() -> Vec<u8> {
    let strings = b"data-size\0data-offset\0";
    let mut tree = Vec::new();
    let word = |value: u32, tree: &mut Vec<u8>| tree.extend(value.to_be_bytes());
    for name in [&b"\0\0\0\0"[..], b"images\0\0", b"kernel\0\0"] {
        word(1, &mut tree);
        tree.extend(name);
    }
    for (name, value) in [(0, 100), (10, 0)] {
        [3, 4, name, value].into_iter().for_each(|value| word(value, &mut tree));
    }
    [4, 2, 2, 2, 9].into_iter().for_each(|value| word(value, &mut tree));
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let total = 56 + len(&tree) + len(strings);
    let header = [0xd00d_feed, total, 56, 56 + len(&tree), 40, 17, 16, 0, len(strings), len(&tree)];
    let mut bytes: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
    bytes.extend([0; 16]);
    bytes.extend(tree);
    bytes.extend(strings);
    bytes.resize(bytes.len().next_multiple_of(4) + 100, 5);
    bytes
}

fn node(kind: u16, len: u32, endian: Endian) -> Vec<u8> {
    let mut bytes = Vec::new();
    match endian {
        Endian::Big => {
            bytes.extend(0x1985u16.to_be_bytes());
            bytes.extend(kind.to_be_bytes());
            bytes.extend(len.to_be_bytes());
            bytes.extend(crc32_from_zero(&bytes).to_be_bytes());
        }
        Endian::Little => {
            bytes.extend(0x1985u16.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(len.to_le_bytes());
            bytes.extend(crc32_from_zero(&bytes).to_le_bytes());
        }
    }
    bytes.resize((len as usize).next_multiple_of(4), 0x5a);
    bytes
}

/// Three eraseblocks, each a cleanmarker and two nodes.
fn jffs2(endian: Endian) -> Vec<u8> {
    let mut bytes = Vec::new();
    for eraseblock in 1..=3 {
        bytes.extend(node(0x2003, 12, endian));
        bytes.extend(node(0x2004, 45, endian));
        bytes.extend(node(0xe005, 5000, endian));
        bytes.resize(eraseblock * 0x2000, 0xff);
    }
    bytes
}

fn ubi() -> Vec<u8> {
    let header = EcHdr { erase_count: 3, vid_hdr_offset: 512, data_offset: 2048, image_seq: 7 };
    let mut bytes = header.to_bytes();
    bytes.resize(4096, 0xff);
    bytes
}

fn checked(bytes: &[u8]) -> Vec<String> {
    let mut source = bytes;
    let image = identify(&bytes[..bytes.len().min(HEAD_LEN)]);
    let found = check(&image, &mut source).unwrap();
    assert_eq!(found.unchecked, [""; 0]);
    found.refusals.iter().map(|refusal| format!("{}: {}", refusal.word, refusal.reason)).collect()
}

#[test]
fn images_are_known_by_their_first_bytes() {
    let cases = [
        (squashfs(), "squashfs"),
        (ubifs(), "ubifs"),
        (uimage(), "uimage"),
        (trx(), "trx"),
        (fit(), "fit"),
        (jffs2(Endian::Big), "jffs2"),
        (jffs2(Endian::Little), "jffs2"),
        (ubi(), "ubi"),
        (vec![0xff; 100], "raw"),
        (b"hsq".to_vec(), "raw"),
        (Vec::new(), "raw"),
    ];
    for (bytes, name) in &cases {
        assert_eq!(identify(bytes).name(), *name);
        assert_eq!(checked(bytes), [""; 0], "{name}");
        // No prefix of any is a reason to panic.
        for len in 0..bytes.len().min(200) {
            let mut source = &bytes[..len];
            drop(check(&identify(source), &mut source));
            drop(check(&identify(bytes), &mut source));
        }
    }
    let tree = fit();
    let plain: Vec<u8> = tree.iter().map(|&byte| if byte == b'g' { b'h' } else { byte }).collect();
    assert_eq!(identify(&plain).name(), "device tree");
    let Image::Ubi(found) = identify(&ubi()) else { panic!("an image of UBI") };
    assert_eq!((found.vid_hdr_offset, found.data_offset, found.image_seq), (512, 2048, 7));
}

#[test]
fn damage_is_found() {
    type Case = (fn() -> Vec<u8>, fn(&mut Vec<u8>), &'static str);
    let big = || jffs2(Endian::Big);
    let cases: [Case; 21] = [
        (
            squashfs,
            |bytes| bytes.truncate(4899),
            "truncated: the SquashFS has 4900 bytes, the image only 4899: 1 are",
        ),
        (
            squashfs,
            |bytes| bytes[12] = 1,
            "checksum: superblock of the SquashFS: block size 131073 cannot be",
        ),
        (squashfs, |bytes| bytes[28] = 3, "checksum: superblock of the SquashFS: version 3 cannot be"),
        (squashfs, |bytes| bytes[50] = 1, "checksum: superblock of the SquashFS: position of a table"),
        (squashfs, |bytes| bytes[63] = 1, "checksum: superblock of the SquashFS: position of a table"),
        (ubifs, |bytes| bytes[100] = 1, "checksum: superblock of the UBIFS at 0x00000000: CRC"),
        (
            ubifs,
            |bytes| bytes[15_900] = 1,
            "checksum: node of type 7 of the UBIFS in LEB 1 at 0x00000000: CRC",
        ),
        (ubifs, |bytes| bytes[31_744..].fill(0xff), "checksum: LEB 2 of the UBIFS: no master node in it"),
        (ubifs, |bytes| bytes[50_000] = 1, "checksum: LEB 3 of the UBIFS at 0x00000000: neither a node nor"),
        (
            ubifs,
            |bytes| bytes.truncate(50_000),
            "truncated: the UBIFS up to its last LEB has 63488 bytes, the image only",
        ),
        (ubifs, |bytes| bytes.truncate(15_872), "truncated: the UBIFS with its master nodes has"),
        (uimage, |bytes| bytes[40] = 1, "checksum: header of the uImage at 0x00000000: CRC"),
        (uimage, |bytes| bytes[9063] = 1, "checksum: data of the uImage at 0x00000040: CRC"),
        (uimage, |bytes| bytes.truncate(9063), "truncated: the uImage has 9064 bytes, the image only 9063"),
        (trx, |bytes| bytes[4999] = 1, "checksum: TRX at 0x0000000c: CRC"),
        (trx, |bytes| bytes.truncate(4999), "truncated: the TRX has 5000 bytes"),
        (fit, |bytes| bytes.truncate(bytes.len() - 1), "truncated: the FIT with the images behind it has"),
        (fit, |bytes| bytes[59] = 7, "checksum: device tree at 0x00000038: no node or property"),
        (fit, |bytes| bytes[11] = 0xff, "checksum: header of the device tree: version 17, "),
        (
            big,
            |bytes| bytes[0x2000 + 5] ^= 1,
            "checksum: header of the JFFS2 node at 0x00002000: magic 0x1985, CRC 0x",
        ),
        (
            big,
            |bytes| bytes.truncate(0x4000 + 3000),
            "truncated: the JFFS2 up to the end of its last node has",
        ),
    ];
    for (make, damage, expected) in cases {
        let mut bytes = make();
        damage(&mut bytes);
        let found = checked(&bytes);
        assert!(found.first().is_some_and(|found| found.starts_with(expected)), "{expected}: {found:?}");
    }
    let mut mixed = jffs2(Endian::Big);
    put(&mut mixed, 0x2000, &node(0x2003, 12, Endian::Little));
    assert_eq!(checked(&mixed), ["checksum: JFFS2 node at 0x00002000: little-endian, the first is not"]);
}

#[test]
fn what_does_not_belong_there() {
    let geometry = |kind| FlashGeometry {
        kind,
        eraseblock_size: 0x1_0000,
        eraseblock_count: 16,
        page_size: 1,
        sub_page_size: 1,
    };
    let on_mtd = |bytes: &[u8], kind| {
        let mut source = bytes;
        let image = match identify(bytes) {
            Image::Jffs2(jffs2) => Image::Jffs2(jffs2.with_eraseblock(&mut source).unwrap()),
            other => other,
        };
        let refusals = fits_mtd(&image, &geometry(kind), Endian::Little);
        refusals.iter().map(|refusal| refusal.word).collect::<Vec<_>>()
    };
    assert_eq!(on_mtd(&ubifs(), FlashKind::Nand), [word::KIND]);
    assert_eq!(on_mtd(&jffs2(Endian::Big), FlashKind::Nor), [word::ENDIAN, word::GEOMETRY]);
    assert_eq!(on_mtd(&jffs2(Endian::Little), FlashKind::Nand), [word::GEOMETRY, word::KIND]);
    assert_eq!(on_mtd(&squashfs(), FlashKind::Nand), [""; 0]);
    let small = FlashGeometry { eraseblock_size: 0x2000, ..geometry(FlashKind::Nor) };
    let mut source = &jffs2(Endian::Little)[..];
    let Image::Jffs2(image) = identify(source) else { panic!("a JFFS2") };
    let image = image.with_eraseblock(&mut source).unwrap();
    assert_eq!((image.endian, image.eraseblock, image.cleanmarker), (Endian::Little, Some(0x2000), true));
    assert_eq!(fits_mtd(&Image::Jffs2(image), &small, Endian::Little), []);

    let volume = Volume { usable_leb_size: 15_872, reserved_lebs: 20, min_io_size: 512, is_static: false };
    let in_volume = |bytes: &[u8], volume| {
        let refusals = fits_volume(&identify(bytes), &volume);
        refusals.iter().map(|refusal| refusal.word).collect::<Vec<_>>()
    };
    assert_eq!(in_volume(&ubifs(), volume), [""; 0]);
    assert_eq!(in_volume(&squashfs(), volume), [""; 0]);
    assert_eq!(in_volume(&ubi(), volume), [word::KIND]);
    assert_eq!(in_volume(&jffs2(Endian::Big), volume), [word::KIND]);
    let others = [
        Volume { usable_leb_size: 15_360, ..volume },
        Volume { reserved_lebs: 19, ..volume },
        Volume { min_io_size: 2048, ..volume },
        Volume { is_static: true, ..volume },
    ];
    for (other, word) in others.into_iter().zip([word::GEOMETRY, word::GEOMETRY, word::GEOMETRY, word::KIND])
    {
        assert_eq!(in_volume(&ubifs(), other), [word]);
    }
}
