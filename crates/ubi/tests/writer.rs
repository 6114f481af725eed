//! What the writer makes, and what it refuses.

mod common;

use std::io::Cursor;

use common::{PAGE, PEB, everything, filled, image_of, noise, open, small, volume};
use flashwright_media::UbiGeometry;
use flashwright_ubi::format::VolumeType::{Dynamic, Static};
use flashwright_ubi::{Content, Device, Options, Volume, WriteError, plan};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sized(name: &str, size: u64) -> Volume {
    volume(name, |volume| volume.size = Some(size))
}

fn options() -> Options {
    Options::new(small())
}

fn refused(volumes: &[Volume], options: &Options) -> String {
    plan(volumes, options).unwrap_err().to_string()
}

/// A change of these means that images are other ones than before.
#[test]
fn pinned_bytes() {
    let mut nor = Options::new(UbiGeometry::new(16 << 10, 1, None, None).unwrap());
    (nor.erase_count, nor.image_seq) = (5, Some(0x1234_5678));
    let nand = Options::new(UbiGeometry::new(128 << 10, 2048, None, None).unwrap());
    let volumes = [filled("a", Dynamic, noise(300_000, 1)), filled("b", Static, noise(200_000, 2))];
    let cases = [(everything(), options()), (volumes.to_vec(), nor), (volumes.to_vec(), nand)];
    let found = cases.map(|(volumes, options)| {
        let (image, summary) = image_of(&volumes, &options);
        (summary.image_seq.unwrap(), sha256(&image))
    });
    let expected = PINNED.map(|(image_seq, digest)| (image_seq, digest.to_owned()));
    assert_eq!(found, expected);
}

const PINNED: [(u32, &str); 3] = [
    (515_690_838, "fe51567991fea657850cb1f590a76afc8f4e41971daf2068e45463fd60ba3947"),
    (0x1234_5678, "0105b25b563f1975be5f8b9f756f8dfd2a3f9ac68baec1bf7920acf6384fbeff"),
    (909_859_700, "7475e150e686d2e5fc8273d556eec41575258f219fb2f5d7c31eaad84992b538"),
];

#[test]
fn both_ways_of_writing_give_the_same_bytes() {
    for image_seq in [None, Some(7), Some(0)] {
        let mut options = options();
        options.image_seq = image_seq;
        let plan = plan(&everything(), &options).unwrap();
        let mut streamed = Vec::new();
        let first = plan.write_to(&mut streamed, &mut |_| ()).unwrap();
        let mut file = Cursor::new(b"before".to_vec());
        file.set_position(6);
        let mut done = Vec::new();
        let second = plan.write_to_file(&mut file, &mut |now| done.push(now.bytes_done)).unwrap();
        assert_eq!(file.position(), 6 + streamed.len() as u64);
        assert_eq!(&file.into_inner()[6..], streamed);
        assert_eq!(first.image_seq, second.image_seq);
        assert_eq!(done.last(), Some(&(streamed.len() as u64)));
    }
}

#[test]
fn the_image_sequence_number_follows_the_content() {
    let seq = |volumes: &[Volume], options: &Options| image_of(volumes, options).1.image_seq.unwrap();
    let bytes = noise(50_000, 1);
    let mut changed = bytes.clone();
    changed[40_000] ^= 1;
    let base = seq(&[filled("a", Dynamic, bytes.clone())], &options());
    assert_eq!(base, seq(&[filled("a", Dynamic, bytes.clone())], &options()));
    let mut other = options();
    other.erase_count = 1;
    let others = [
        seq(&[filled("a", Dynamic, changed)], &options()),
        seq(&[filled("b", Dynamic, bytes.clone())], &options()),
        seq(&[filled("a", Static, bytes.clone())], &options()),
        seq(&[filled("a", Dynamic, bytes.clone())], &other),
        seq(&[filled("a", Dynamic, bytes), sized("b", 1)], &options()),
    ];
    for (index, number) in others.iter().enumerate() {
        assert!(*number != base && !others[..index].contains(number), "{index}");
    }
}

#[test]
fn reserved_pebs_are_lebs_of_usable_size() {
    // LEB 126976, alignment 64 KiB: of each LEB 65536 bytes are used. Alignment, bytes, PEBs.
    let geometry = UbiGeometry::new(128 << 10, 2048, None, None).unwrap();
    let cases = [
        (1, 126_976, 1),
        (1, 126_977, 2),
        (65_536, 126_976, 2),
        (65_536, 131_073, 3),
        (2048, 126_976, 1),
        (4096, 126_976, 1),
        (10_240, 126_976, 2),
    ];
    for (alignment, size, pebs) in cases {
        let volume = volume("v", |volume| (volume.alignment, volume.size) = (alignment, Some(size)));
        let plan = plan(&[volume], &Options::new(geometry)).unwrap();
        assert_eq!(plan.summary().volumes[0].reserved_pebs, pebs, "{alignment} {size}");
    }
}

#[test]
fn ids_that_are_not_given_are_the_first_free_ones() {
    let with = |name: &str, id| volume(name, |volume| (volume.size, volume.id) = (Some(1), id));
    let volumes = [with("a", None), with("b", Some(0)), with("c", None), with("d", Some(2)), with("e", None)];
    let summary = plan(&volumes, &options()).unwrap().summary();
    let ids: Vec<_> = summary.volumes.iter().map(|volume| volume.id).collect();
    assert_eq!(ids, [1, 0, 3, 2, 4]);
}

#[test]
fn what_cannot_be_is_refused() {
    let with = |change: fn(&mut Volume)| {
        volume("v", |volume| {
            volume.size = Some(1000);
            change(volume);
        })
    };
    let cases = [
        (vec![], "no volume"),
        (vec![sized("", 1)], "volume : a name of 0 bytes: UBI takes 1 to 127, and no NUL"),
        (vec![sized(&"x".repeat(128), 1)], "a name of 128 bytes: UBI takes 1 to 127, and no NUL"),
        (vec![sized("a\0b", 1)], "a name of 3 bytes"),
        (vec![sized("a", 1), sized("a", 1)], "volume a: two volumes have this name"),
        (vec![with(|v| v.id = Some(92))], "volume v: id 92: the volume table has room for ids 0 to 91"),
        (vec![sized("v", 0)], "volume v: it has neither size nor image"),
        (vec![Volume::new("v")], "volume v: it has neither size nor image"),
        (vec![filled("v", Dynamic, vec![])], "volume v: its image is empty"),
        (
            vec![with(|v| v.alignment = 1000)],
            "alignment 1000: it must be 1 or a multiple of min I/O, 512 bytes",
        ),
        (vec![with(|v| v.alignment = 0)], "alignment 0: it must be"),
        (vec![with(|v| v.alignment = 16_384)], "alignment 16384: a LEB has only 15872 bytes"),
        (vec![with(|v| v.volume_type = Static)], "volume v: a static volume without an image"),
        (vec![with(|v| v.skip_check = true)], "volume v: skip-check on a dynamic volume"),
        (vec![with(|v| v.size = Some(u64::MAX))], "18446744073709551615 bytes are too many LEBs"),
        (
            vec![with(|v| v.content = Some(Content::from_bytes(vec![0; 20_000])))],
            "its image of 20000 bytes takes 2 LEBs of 15872 bytes, its size only 1",
        ),
        ((0..93).map(|i| sized(&i.to_string(), 1)).collect(), "93 volumes: the volume table has room for 92"),
    ];
    for (volumes, message) in cases {
        let found = refused(&volumes, &options());
        assert!(found.contains(message), "{found:?} has no {message:?}");
    }
    let mut twice = [sized("a", 1), sized("b", 1)];
    twice.iter_mut().for_each(|volume| volume.id = Some(3));
    assert_eq!(refused(&twice, &options()), "volume b: two volumes have id 3");
    twice.iter_mut().for_each(|volume| (volume.autoresize, volume.id) = (true, None));
    assert!(
        refused(&twice, &options())
            .starts_with("volume b: it grows to all that is free (autoresize), and so does")
    );
    let mut worn = options();
    worn.erase_count = 1 << 31;
    assert!(refused(&[sized("a", 1)], &worn).starts_with("erase counter 2147483648"));
}

#[test]
fn a_device_that_is_too_small_is_refused_with_the_sums() {
    let mut options = options();
    let volumes = [sized("a", 15_872 * 90), sized("b", 1)];
    for (peb_count, bad_pebs, left) in [(97, 0, Some(0)), (100, 2, Some(3)), (96, 0, None), (97, 3, None)] {
        let mut device = Device::new(peb_count);
        device.bad_pebs = bad_pebs;
        options.device = Some(device);
        match (plan(&volumes, &options), left) {
            (Ok(plan), Some(_)) => assert_eq!(plan.summary().fit.unwrap().free(), left),
            (Err(WriteError::DoesNotFit { fit }), None) => assert!(fit.needed() > fit.good()),
            (found, _) => panic!("{peb_count} {bad_pebs}: {found:?}"),
        }
    }
    options.device = Some(Device::new(96));
    assert_eq!(
        refused(&volumes, &options),
        "the volumes do not fit: volumes 91 + volume table 2 + wear-levelling 1 + atomic change 1 + reserve for bad \
         PEBs 2 = 97 PEBs, of 96; 1 too many"
    );
}

#[test]
fn a_ubifs_for_other_flash_is_refused() {
    let ubifs = |min_io: u32, leb: u32, count: u32| {
        let mut head = vec![0; 4096];
        head[..4].copy_from_slice(&0x0610_1831u32.to_le_bytes());
        head[20] = 6;
        for (at, value) in [(32, min_io), (36, leb), (40, count), (44, count)] {
            head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        filled("root", Dynamic, head)
    };
    let cases = [
        (ubifs(512, 126_976, 1), "its UBIFS was made for a LEB of 126976 bytes, here it is 15872 bytes"),
        (ubifs(2048, 15_872, 1), "its UBIFS was made for min I/O of 2048 bytes, here it is 512 bytes"),
        (ubifs(512, 15_872, 9), "its UBIFS has 9 LEBs, the volume 1"),
    ];
    for (volume, message) in cases {
        assert_eq!(refused(&[volume], &options()), format!("volume root: {message}"));
    }
    assert!(plan(&[ubifs(512, 15_872, 1)], &options()).is_ok());
}

/// Content that is not there, or is other content the second time.
#[test]
fn content_that_changes_or_ends_is_an_error() {
    #[derive(Debug, Default)]
    struct Restless(std::sync::atomic::AtomicU8);
    impl flashwright_ubi::ReadAt for Restless {
        fn read_exact_at(&self, _: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            Ok(())
        }
    }
    let with = |len, source| volume("v", |volume| volume.content = Some(Content { len, source }));
    let restless = with(1000, std::sync::Arc::new(Restless::default()));
    let error = plan(&[restless], &options()).unwrap().write_to(&mut Vec::new(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, WriteError::Changed));
    let short = with(40_000, std::sync::Arc::new(vec![0; 39_999]));
    let error = plan(&[short], &options()).unwrap().write_to(&mut Vec::new(), &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "volume v: cannot read its content at byte 0x7c00: unexpected end of file");
}

#[test]
fn headers_are_where_the_geometry_says() {
    for (page, sub_page, vid, data) in
        [(PAGE, None, 512, 1024), (PAGE, Some(256), 256, 512), (1, None, 64, 128)]
    {
        let geometry = UbiGeometry::new(PEB, page, sub_page, None).unwrap();
        let (bytes, _) = image_of(&[filled("v", Dynamic, noise(100, 1))], &Options::new(geometry));
        assert_eq!(bytes.len(), 3 * PEB as usize);
        let last = &bytes[2 * PEB as usize..];
        assert_eq!((&last[..4], &last[vid..vid + 4]), (&b"UBI#"[..], &b"UBI!"[..]));
        assert_eq!(&last[data..data + 100], noise(100, 1));
        for gap in [64..vid, vid + 64..data, data + 100..PEB as usize] {
            assert!(last[gap].iter().all(|&byte| byte == 0xff));
        }
        let found = *open(&bytes).geometry();
        assert_eq!(
            (found.peb_size, found.vid_hdr_offset as usize, found.data_offset as usize),
            (PEB, vid, data)
        );
    }
}
