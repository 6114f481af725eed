//! What is decided: what stays, what is written, which counts and numbers, and what is refused.

use std::ops::ControlFlow;

use flashwright_flashsim::{Simulation, nand, nor};
use flashwright_media::{FlashGeometry, UbiGeometry, crc32_from_ones};
use flashwright_plan::ubi::{self, Fate, Mode, Options, UbiReport};
use flashwright_plan::{Ending, Error, Event, PipeSource, Sha256, Source, SourceError};
use flashwright_ubi::Volume;
use flashwright_ubi::format::VolumeType::{Dynamic, Static};
use flashwright_ubi::format::{
    EcHdr, FASTMAP_DATA_VOLUME, FASTMAP_VOLUME, LAYOUT_VOLUME, VidHdr, VtblRecord, compat,
};

use crate::common::*;

const SIZES: FlashGeometry = nand(4096, 32, 512);
const SIZE: usize = 4096;
/// Of those sizes: VID header and data, from the start of a PEB.
const VID: usize = 512;
const DATA: usize = 1024;

fn new_image() -> Vec<u8> {
    image(&SIZES, &volumes(&SIZES, 8, 1), 0x1111)
}

/// A device that has had the image for long.
fn settled(image: &[u8]) -> Simulation {
    let mut flash = Simulation::new(SIZES, 1);
    settle(&mut flash, image, |peb| 100 + peb);
    flash
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

/// Changes a PEB of a device.
fn change(flash: &mut Simulation, peb: u32, change: impl FnOnce(&mut [u8])) {
    let mut bytes = flash.content(peb).to_vec();
    change(&mut bytes);
    flash.store(SIZES.offset_of(peb), &bytes);
}

fn refusals(result: Result<ubi::Plan, Error>) -> Vec<String> {
    match result {
        Ok(plan) => plan.refusals().iter().map(|refusal| format!("{}: {refusal}", refusal.word)).collect(),
        Err(Error::Refused(refusal)) => vec![format!("{}: {refusal}", refusal.word)],
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_there_is_not_written_again() {
    let image = new_image();
    let mut flash = settled(&image);
    let written = write(&mut flash, &image).unwrap().done();
    assert_eq!((written.plan.mode(), flash.operations(), written.report.lebs_kept), (Mode::UpToDate, 0, 10));
    assert!(written.plan.steps().iter().all(|step| matches!(step.fate, Fate::Keep | Fate::Free)));
    // The kernel has attached it: one volume has grown, a LEB was moved, an older copy of another is still there.
    let reserved = 30;
    for peb in [0, 1] {
        change(&mut flash, peb, |bytes| {
            let at = DATA + 2 * VtblRecord::LEN;
            let mut record = VtblRecord::parse(&bytes[at..]).unwrap();
            assert_eq!((record.name(), record.flags), (&b"data"[..], 1));
            (record.reserved_pebs, record.flags) = (reserved, 0);
            bytes[at..at + VtblRecord::LEN].copy_from_slice(&record.to_bytes());
        });
    }
    change(&mut flash, 3, |bytes| {
        let crc = crc32_from_ones(&bytes[DATA..]);
        change_vid(bytes, |vid| {
            (vid.copy_flag, vid.data_size, vid.data_crc, vid.sqnum) = (1, 3072, crc, 500);
        });
    });
    let old = flash.content(4).to_vec();
    flash.store(SIZES.offset_of(20), &old);
    change(&mut flash, 4, |bytes| change_vid(bytes, |vid| vid.sqnum = 501));
    assert_eq!(planned(&mut flash, &image).unwrap().mode(), Mode::UpToDate);
    // A LEB more in the volume that has grown: that is not what was asked for.
    change(&mut flash, 21, |bytes| bytes.copy_from_slice(&old));
    change(&mut flash, 21, |bytes| change_vid(bytes, |vid| (vid.volume_id, vid.lnum) = (2, 7)));
    assert_eq!(planned(&mut flash, &image).unwrap().mode(), Mode::Full);
}

#[test]
fn only_what_differs_is_erased() {
    let image = new_image();
    let mut flash = settled(&image);
    let mut volumes = volumes(&SIZES, 8, 1);
    let mut content = vec![0; 3072 * 8 - 100];
    volumes[0].content.as_ref().unwrap().source.read_exact_at(0, &mut content).unwrap();
    content[3072 * 5] ^= 1;
    volumes[0] = volume("root", Dynamic, content);
    let other = self::image(&SIZES, &volumes, 0x9999);
    let before: Vec<u64> = (0..32).map(|peb| flash.erases(peb)).collect();
    let written = write(&mut flash, &other).unwrap().done();
    // The LEB and both copies of the volume table.
    assert_eq!(
        (written.report.flash.erases, written.report.lebs_written, written.report.lebs_kept),
        (3, 3, 9)
    );
    assert_eq!((written.plan.totals().erases, written.plan.totals().lebs_written), (3, 3));
    // The device's number stays, as PEBs stay.
    assert_eq!(written.plan.image_seq(), 0x1111);
    assert_clean(&mut flash, &found_in(&other, 4096));
    assert_counts(&flash, &[]);
    // As planned.
    for step in written.plan.steps() {
        let erased = matches!(step.fate, Fate::Erase | Fate::EraseAndProgram);
        assert_eq!(flash.erases(step.peb) - before[step.peb as usize], u64::from(erased), "{step:?}");
        assert_eq!(recorded(&flash, step.peb), step.count_after.map(u64::from));
        let programmed = matches!(step.fate, Fate::Program | Fate::EraseAndProgram | Fate::Keep);
        assert_eq!(vid(&flash, step.peb).is_some(), programmed, "{step:?}");
    }
}

/// Writes with [`ubi::Options::trust_crc`]; how many LEBs it wrote.
fn trusting(flash: &mut Simulation, image: &[u8]) -> u32 {
    let mut options = ubi::Options::default();
    options.trust_crc = true;
    let mut source = image;
    let plan = ubi::plan(flash, &mut source, &options, &mut go_on).unwrap();
    let mut report = ubi::UbiReport::default();
    let ending = plan.execute(flash, &mut source, &[], &mut report, &mut go_on);
    assert!(matches!(ending, Ok(Ending::Done)), "{ending:?}");
    report.lebs_written
}

#[test]
fn headers_are_trusted_when_asked_to() {
    let image = new_image();
    let attached = found_in(&image, SIZES.eraseblock_size);
    let mut flash = Simulation::new(SIZES, 1);
    write(&mut flash, &image).unwrap().done();
    assert_clean(&mut flash, &attached);
    let pebs = 0..SIZES.eraseblock_count;
    let lebs: Vec<u32> =
        pebs.filter(|&peb| vid(&flash, peb).is_some_and(|vid| vid.volume_id < LAYOUT_VOLUME)).collect();
    assert_eq!(lebs.len(), 10);
    let peb = lebs[0];
    let header = vid(&flash, peb).unwrap();
    assert!((header.copy_flag, header.volume_type) == (1, Dynamic.to_flash()) && header.data_size > 512);
    assert_eq!(header.data_crc, crc32_from_ones(&flash.content(peb)[DATA..][..header.data_size as usize]));
    assert_eq!(trusting(&mut flash, &image), 0);
    // The first page rots: a run that trusts does not see it, any other does.
    let rot = |flash: &mut Simulation, at: usize| change(flash, peb, |bytes| bytes[at] ^= 1);
    rot(&mut flash, DATA);
    assert_eq!(trusting(&mut flash, &image), 0);
    assert_eq!(write(&mut flash, &image).unwrap().done().report.lebs_written, 3);
    assert_clean(&mut flash, &attached);
    // The last page is looked at in any case.
    let pebs = 0..SIZES.eraseblock_count;
    let holds = |peb: &u32| vid(&flash, *peb).is_some_and(|vid| vid.data_size == header.data_size);
    let peb = pebs.clone().find(holds).unwrap();
    let last = DATA + header.data_size as usize - 1;
    change(&mut flash, peb, |bytes| bytes[last] ^= 1);
    assert_eq!(trusting(&mut flash, &image), 3);
    assert_clean(&mut flash, &attached);
    // And so is the last page of one that is free by its headers.
    let free = pebs.clone().find(|&peb| vid(&flash, peb).is_none()).unwrap();
    change(&mut flash, free, |bytes| *bytes.last_mut().unwrap() = 0);
    let erases = flash.erases(free);
    let mut other = volumes(&SIZES, 8, 1);
    other[0] = volume("root", Dynamic, vec![7; 3072]);
    let other = self::image(&SIZES, &other, 0x9999);
    trusting(&mut flash, &other);
    assert_eq!(flash.erases(free), erases + 1);
    assert_clean(&mut flash, &found_in(&other, SIZES.eraseblock_size));
}

#[test]
fn lebs_are_found_wherever_they_are() {
    let image = new_image();
    let (mut flash, kept) = (settled(&image), settled(&image));
    for peb in 0..32 {
        let bytes = kept.content(31 - peb).to_vec();
        flash.store(SIZES.offset_of(peb), &bytes);
        flash.set_erases(peb, kept.erases(31 - peb));
    }
    assert_eq!(planned(&mut flash, &image).unwrap().mode(), Mode::UpToDate);
    // Of the right content, but of another volume, type, or with another number.
    let changes: [fn(&mut VidHdr); 4] = [
        |vid| vid.volume_id = 2,
        |vid| vid.lnum += 9,
        |vid| vid.data_pad = 8,
        |vid| (vid.volume_type, vid.used_ebs, vid.data_size) = (2, 20, 3072),
    ];
    for wrong in changes {
        let mut flash = flash.clone();
        change(&mut flash, 31 - 4, |bytes| change_vid(bytes, wrong));
        let written = write(&mut flash, &image).unwrap().done();
        assert_eq!((written.report.lebs_kept, written.report.lebs_written), (9, 3));
        assert_clean(&mut flash, &found_in(&image, 4096));
    }
}

#[test]
fn the_image_sequence_number() {
    let image = new_image();
    let mut blank = Simulation::new(SIZES, 1);
    assert_eq!(planned(&mut blank, &image).unwrap().image_seq(), 0x1111);
    // PEBs of several images: the one of which most can stay.
    let mut flash = settled(&self::image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222));
    assert_eq!(planned(&mut flash, &image).unwrap().image_seq(), 0x2222);
    for peb in 12..30 {
        change(&mut flash, peb, |bytes| change_ec(bytes, |ec| ec.image_seq = 0x3333));
    }
    assert_eq!(planned(&mut flash, &image).unwrap().image_seq(), 0x3333);
    let written = write(&mut flash, &image).unwrap().done();
    assert_eq!(written.report.counts_lost, 0);
    assert_clean(&mut flash, &found_in(&image, 4096));
    assert_counts(&flash, &[]);
    // 0 fits any.
    let mut flash = settled(&self::image(&SIZES, &volumes(&SIZES, 8, 7), 0));
    let plan = planned(&mut flash, &image).unwrap();
    assert_eq!((plan.image_seq(), plan.totals().free_kept), (0x1111, 20));
}

#[test]
fn counts_that_cannot_be_read() {
    let image = new_image();
    let mut flash = settled(&self::image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222));
    change(&mut flash, 30, |bytes| bytes[..64].fill(0));
    change(&mut flash, 31, |bytes| change_ec(bytes, |ec| ec.erase_count = 0x8000_0000));
    change(&mut flash, 29, |bytes| change_ec(bytes, |ec| ec.erase_count = 0x7fff_ffff));
    change(&mut flash, 29, |bytes| bytes[4000] = 0);
    let plan = planned(&mut flash, &image).unwrap();
    let known: u64 = (0..29).map(|peb| 100 + peb).sum::<u64>() + 0x7fff_ffff;
    let mean = (known + 15) / 30;
    assert_eq!((u64::from(plan.assumed_count()), plan.totals().counts_lost), (mean, 2));
    assert_eq!((plan.counts().known, plan.counts().unknown), (30, 2));
    let mut options = Options::default();
    options.assumed_count = Some(7);
    let plan = ubi::plan(&mut flash, &mut &image[..], &options, &mut go_on).unwrap();
    let mut report = UbiReport::default();
    plan.execute(&mut flash, &mut &image[..], &[], &mut report, &mut go_on).unwrap();
    assert_eq!((report.counts_lost, report.counts_full), (2, 1));
    assert_eq!([29, 30, 31].map(|peb| recorded(&flash, peb)), [Some(0x7fff_ffff), Some(8), Some(8)]);
    assert_clean(&mut flash, &found_in(&image, 4096));
}

/// A fastmap leads the kernel to the old content even without the old volume table.
#[test]
fn a_fastmap_is_erased_before_the_volume_table() {
    let image = new_image();
    let mut flash = settled(&self::image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222));
    for (peb, volume_id, sqnum) in
        [(20, FASTMAP_VOLUME, 90), (21, FASTMAP_DATA_VOLUME, 91), (22, FASTMAP_VOLUME, 80)]
    {
        let header = VidHdr { volume_type: 1, compat: compat::DELETE, volume_id, sqnum, ..VidHdr::default() };
        change(&mut flash, peb, |bytes| bytes[VID..VID + 64].copy_from_slice(&header.to_bytes()));
    }
    let count = |flash: &Simulation, volumes: &[u32]| {
        (0..32).filter(|&peb| vid(flash, peb).is_some_and(|vid| volumes.contains(&vid.volume_id))).count()
    };
    let mut seen = Vec::new();
    for at in 1..12 {
        let mut flash = flash.clone();
        flash.cut_power_how(at, flashwright_flashsim::Interruption::Complete);
        assert!(write(&mut flash, &image).unwrap().result.is_err());
        let left = [&[FASTMAP_VOLUME][..], &[FASTMAP_DATA_VOLUME], &[LAYOUT_VOLUME], &[0]]
            .map(|of| count(&flash, of));
        seen.push(left);
    }
    seen.dedup();
    // The older fastmap first; LEBs last, each when another one takes its PEB.
    let expected = [[1, 1, 2, 8], [0, 1, 2, 8], [0, 0, 2, 8], [0, 0, 1, 8], [0, 0, 0, 8], [0, 0, 0, 9]];
    assert_eq!(seen, expected);
    write(&mut flash, &image).unwrap().done();
    assert_clean(&mut flash, &found_in(&image, 4096));
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let image = new_image();
    let refused =
        |sizes: FlashGeometry, image: &[u8]| refusals(planned(&mut Simulation::new(sizes, 1), image));
    let starts = |found: Vec<String>, expected: &str| {
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}")
    };
    starts(
        refused(nand(8192, 32, 512), &image),
        "geometry: the image has PEBs of 4096 bytes, this flash has 8192",
    );
    starts(
        refused(nand(2048, 64, 512), &image),
        "geometry: the image has PEBs of 4096 bytes, this flash has 2048",
    );
    starts(
        refused(nand(4096, 32, 1024), &image),
        "geometry: the image has VID header and data at 512 and 1024 bytes of a PEB, for this flash (pages of 1024 bytes, \
         sub-pages of 1024) they must be at 1024 and 2048",
    );
    starts(refused(nor(4096, 32), &image), "geometry: the image has VID header and data at 512 and 1024");
    starts(
        refused(nand(4096, 14, 512), &image),
        "size: the image needs 15 PEBs (volumes 11, volume table 2, for the kernel 2)",
    );
    starts(
        refused(nand(4096, 15, 512), &image),
        "reserve: volumes 11 + volume table 2 + wear-levelling 1 + atomic change 1 + reserve for bad PEBs 1 = 16 PEBs, of 15",
    );
    starts(
        refused(SIZES, &image[..image.len() - 100]),
        "truncated: the image has 49052 bytes, 3996 more than whole PEBs",
    );
    starts(refused(SIZES, b"hsqs"), "kind: no UBI image: it does not begin with an EC header");
    starts(refused(SIZES, &[]), "kind: no UBI image");
    let with_sub_pages = FlashGeometry { sub_page_size: 128, ..SIZES };
    starts(
        refused(with_sub_pages, &image),
        "vid-offset: the image has VID headers at 512 bytes of a PEB; on this flash the",
    );
    // One that has it already is one that the kernel is told of.
    let mut flash = Simulation::new(with_sub_pages, 1);
    settle(&mut flash, &image, |_| 1);
    assert_eq!(refusals(planned(&mut flash, &image)), [""; 0]);
    let mut flash = Simulation::new(nand(4096, 15, 512), 1);
    let plan = planned(&mut flash, &image).unwrap();
    assert!(
        plan.refused(&[]).is_some()
            && plan.refused(&["size"]).is_some()
            && plan.refused(&["reserve"]).is_none()
    );
    let mut report = UbiReport::default();
    let error = plan.execute(&mut flash, &mut &image[..], &[], &mut report, &mut go_on).unwrap_err();
    assert!(matches!(*error, Error::Refused(_)), "{error}");
    assert_eq!(flash.operations(), 0);
    plan.execute(&mut flash, &mut &image[..], &["reserve"], &mut report, &mut go_on).unwrap();
    assert_clean(&mut flash, &found_in(&image, 4096));
}

#[test]
fn an_image_that_is_damaged_is_refused() {
    // PEB 2 to 9: root; 10 and 11: kernel, static.
    type Case = (usize, fn(&mut [u8]), &'static str);
    let cases: [Case; 12] = [
        (
            3,
            |peb| change_ec(peb, |ec| ec.image_seq = 7),
            "image sequence number 0x00000007, that of PEB 0 is 0x00001111",
        ),
        (3, |peb| peb[20] ^= 1, "EC header: header CRC"),
        (3, |peb| peb[..64].fill(0xff), "EC header: erased"),
        (
            3,
            |peb| change_ec(peb, |ec| ec.data_offset = 2048),
            "EC header: VID header and data at 512 and 2048 bytes",
        ),
        (3, |peb| peb[VID + 20] ^= 1, "VID header: header CRC"),
        (
            3,
            |peb| change_vid(peb, |vid| vid.volume_id = 9),
            "LEB 1 of volume 9: there is no such volume in the table",
        ),
        (
            3,
            |peb| change_vid(peb, |vid| vid.lnum = 8),
            "LEB 8 of volume 0: its number is not below what is reserved",
        ),
        (
            3,
            |peb| change_vid(peb, |vid| vid.lnum = 2),
            "PEB 3 holds the same LEB with the same sequence number",
        ),
        (
            3,
            |peb| change_vid(peb, |vid| vid.data_pad = 8),
            "LEB 1 of volume 0: its padding is not that of its volume",
        ),
        (10, |peb| peb[DATA + 9] ^= 1, "data of volume 1 LEB 0: CRC"),
        (11, |peb| peb.fill(0xff), "static volume 1: 1 LEBs, it has 2"),
        (3, |peb| change_vid(peb, |vid| vid.volume_id = 0x7fff_fff0), "internal volume 0x7ffffff0"),
    ];
    for (peb, damage, expected) in cases {
        let mut image = new_image();
        damage(&mut image[peb * SIZE..(peb + 1) * SIZE]);
        let found = refusals(planned(&mut Simulation::new(SIZES, 1), &image));
        assert!(found.first().is_some_and(|found| found.contains(expected)), "{expected}: {found:?}");
    }
    // One sound copy of the volume table is enough.
    let mut image = new_image();
    image[DATA + 10] ^= 1;
    assert_eq!(refusals(planned(&mut Simulation::new(SIZES, 1), &image)), [""; 0]);
    image[SIZE + DATA + 10] ^= 1;
    let found = refusals(planned(&mut Simulation::new(SIZES, 1), &image));
    assert!(found[0].contains("volume table: record 0: header CRC"), "{found:?}");
}

/// A dump of a device has free PEBs, older copies, moved LEBs, and a fastmap.
#[test]
fn a_dump_is_an_image() {
    let image = new_image();
    let mut flash = settled(&image);
    let mut old = flash.content(4).to_vec();
    old[DATA] ^= 1;
    flash.store(SIZES.offset_of(20), &old);
    change(&mut flash, 4, |bytes| change_vid(bytes, |vid| vid.sqnum = 9));
    // A move that was cut off: the CRC is not that of the data.
    change(&mut flash, 22, |bytes| bytes.copy_from_slice(&old));
    change(&mut flash, 22, |bytes| {
        change_vid(bytes, |vid| (vid.copy_flag, vid.data_size, vid.data_crc, vid.sqnum) = (1, 3072, 1, 99));
    });
    let header =
        VidHdr { volume_type: 1, compat: compat::DELETE, volume_id: FASTMAP_VOLUME, ..VidHdr::default() };
    change(&mut flash, 21, |bytes| bytes[VID..VID + 64].copy_from_slice(&header.to_bytes()));
    let dump = flash.image();
    let mut flash = Simulation::new(SIZES, 1);
    let written = write(&mut flash, &dump).unwrap().done();
    assert_eq!(written.report.lebs_written, 12);
    assert_clean(&mut flash, &found_in(&image, 4096));
}

#[test]
fn an_image_that_changes_is_noticed() {
    struct Changing(Vec<u8>, usize);
    impl Source for Changing {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn is_pipe(&self) -> bool {
            false
        }
        fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError> {
            let mut image = &self.0[..];
            image.read_at(offset, bytes)?;
            if offset == 5 * SIZE as u64 {
                self.1 += 1;
                bytes[2000] ^= u8::from(self.1 > 1);
            }
            Ok(())
        }
    }
    let mut flash = Simulation::new(SIZES, 1);
    let written = write_from(&mut flash, &mut Changing(new_image(), 0)).unwrap();
    assert!(matches!(written.result, Err(Error::Changed { offset: 20480, .. })), "{:?}", written.result);
    assert_eq!(attach(&mut flash), Attached::Refused);
}

#[test]
fn a_request_to_stop_is_heeded_and_the_next_run_goes_on() {
    let image = new_image();
    let other = self::image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222);
    for pipe in [false, true] {
        let mut flash = settled(&other);
        let mut stops = 0;
        loop {
            let mut input = &image[..];
            let mut piped = PipeSource::new(&mut input, image.len() as u64);
            let mut file = &image[..];
            let source: &mut dyn Source = if pipe { &mut piped } else { &mut file };
            let plan = ubi::plan(&mut flash, source, &Options::default(), &mut go_on).unwrap();
            // From a pipe, LEBs that stay count too.
            let mut left = if pipe { 14 } else { 4 };
            let mut report = UbiReport::default();
            let mut stop = |_: Event| {
                left -= 1;
                if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            match plan.execute(&mut flash, source, &[], &mut report, &mut stop).unwrap() {
                Ending::Stopped => stops += 1,
                Ending::Done => break,
            }
            let found = attach(&mut flash);
            let whole = found == found_in(&other, 4096) || found == found_in(&image, 4096);
            assert!(found == Attached::Refused || whole, "{found:?}");
            assert!(stops < 40);
        }
        assert!(stops > usize::from(!pipe));
        assert_clean(&mut flash, &found_in(&image, 4096));
        assert_counts(&flash, &[]);
    }
}

#[test]
fn a_pipe_that_is_damaged_leaves_nothing_that_attaches() {
    let image = new_image();
    for (peb, expected) in [(11, "data of volume 1 LEB 1: CRC"), (5, "VID header")] {
        let mut bad = image.clone();
        bad[peb * SIZE + VID + if peb == 5 { 9 } else { 600 }] ^= 1;
        let mut flash = settled(&self::image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222));
        let failed = write_pipe(&mut flash, &bad).unwrap().result;
        assert!(
            matches!(&failed, Err(Error::Refused(refusal)) if refusal.reason.contains(expected)),
            "{failed:?}"
        );
        assert_eq!(attach(&mut flash), Attached::Refused);
        write(&mut flash, &image).unwrap().done();
        assert_clean(&mut flash, &found_in(&image, 4096));
        assert_counts(&flash, &[]);
    }
    // One that ends early, and one that is not the right one.
    let mut flash = Simulation::new(SIZES, 1);
    let mut input = &image[..5 * SIZE + 9];
    let failed = write_from(&mut flash, &mut PipeSource::new(&mut input, image.len() as u64)).unwrap();
    assert!(matches!(failed.result, Err(Error::Source(_))));
    assert_eq!((failed.report.lebs_written, attach(&mut flash)), (3, Attached::Refused));
    let mut options = Options::default();
    options.sha256 = Some(Sha256([1; 32]));
    let mut input = &image[..];
    let mut source = PipeSource::new(&mut input, image.len() as u64);
    let plan = ubi::plan(&mut flash, &mut source, &options, &mut go_on).unwrap();
    let mut report = UbiReport::default();
    let error = plan.execute(&mut flash, &mut source, &[], &mut report, &mut go_on).unwrap_err();
    assert!(matches!(*error, Error::Digest { .. }), "{error}");
    assert_eq!(attach(&mut flash), Attached::Refused);
    let plan = ubi::plan(&mut flash, &mut &image[..], &options, &mut go_on).unwrap();
    assert!(plan.refused(&["sha256"]).is_some_and(|refusal| refusal.word == "sha256"));
    // The volume table does not come first.
    let mut turned = image.clone();
    turned.rotate_left(2 * SIZE);
    let mut flash = Simulation::new(SIZES, 1);
    assert!(matches!(write_pipe(&mut flash, &turned), Err(Error::Refused(_))));
    write(&mut flash, &turned).unwrap().done();
    assert_clean(&mut flash, &found_in(&image, 4096));
}

/// A pipe keeps what a file would, and makes room when there is none.
#[test]
fn a_pipe_onto_a_full_device() {
    let sizes = nand(4096, 16, 512);
    let content = noise(3072 * 9, 1);
    let mut old = vec![volume("root", Dynamic, content.clone())];
    old[0].size = Some(3072 * 10);
    let mut changed = content;
    changed[3072 * 4] ^= 1;
    let mut new = vec![volume("root", Dynamic, changed), volume("more", Static, noise(3000, 2))];
    new[0].size = Some(3072 * 10);
    let (old, new) = (image(&sizes, &old, 1), image(&sizes, &new, 2));
    let mut flash = Simulation::new(sizes, 1);
    settle(&mut flash, &old, |peb| peb);
    // LEBs that are in the way: the device has no free PEB.
    for peb in 11..16 {
        let mut bytes = flash.content(3).to_vec();
        let start = VID;
        let mut header = VidHdr::parse(bytes[start..start + 64].try_into().unwrap()).unwrap();
        (header.volume_id, header.lnum, header.sqnum) = (1, peb, u64::from(peb) + 50);
        bytes[start..start + 64].copy_from_slice(&header.to_bytes());
        change_ec(&mut bytes, |ec| ec.erase_count = peb.into());
        flash.store(u64::from(peb) * 4096, &bytes);
    }
    let written = write_pipe(&mut flash, &new).unwrap().done();
    assert_eq!((written.plan.image_seq(), written.report.lebs_kept, written.report.lebs_written), (1, 8, 4));
    assert_clean(&mut flash, &found_in(&new, 4096));
    assert_counts(&flash, &[]);
}

#[test]
fn an_empty_ubi() {
    let mut flash = settled(&new_image());
    flash.store(SIZES.offset_of(30), &[1; 100]);
    let plan = ubi::format(&mut flash, 0x77, &Options::default(), &mut go_on).unwrap();
    // Of UBI's own number, as free PEBs stay.
    assert_eq!((plan.image_seq(), plan.totals().free_kept, plan.totals().erases), (0x1111, 19, 13));
    let mut report = UbiReport::default();
    let mut none: &[u8] = &[];
    plan.execute(&mut flash, &mut none, &[], &mut report, &mut go_on).unwrap();
    assert_eq!((report.lebs_written, report.counts_lost), (2, 1));
    assert_clean(&mut flash, &Attached::Found(Volumes::new()));
    assert_counts(&flash, &[30]);
    let plan = ubi::format(&mut flash, 0x77, &Options::default(), &mut go_on).unwrap();
    assert_eq!(plan.mode(), Mode::UpToDate);
    let mut blank = Simulation::new(SIZES, 1);
    let plan = ubi::format(&mut blank, 0x77, &Options::default(), &mut go_on).unwrap();
    assert_eq!((plan.image_seq(), plan.totals().erases), (0x77, 32));
    assert!(
        ubi::format(&mut Simulation::new(nor(128, 32), 1), 0x77, &Options::default(), &mut go_on).is_err()
    );
}

#[test]
fn how_worn_a_device_is() {
    let mut flash = settled(&new_image());
    flash.set_bad(31);
    flash.store(SIZES.offset_of(30), &[0xff]);
    flash.store(SIZES.offset_of(29), &[1; 100]);
    flash.flip(SIZES.offset_of(5) + 3000, 3);
    flash.flip(SIZES.offset_of(6) + 3000, 9);
    let health = ubi::health(&mut flash, false, &mut go_on).unwrap();
    assert_eq!((health.bad, health.erased, health.unreadable), (1, 1, 1));
    let counts = &health.counts;
    assert_eq!((counts.known, counts.unknown, counts.min, counts.mean, counts.max), (29, 2, 100, 114, 128));
    assert_eq!(counts.histogram.iter().map(|bar| bar.pebs).sum::<u32>(), 29);
    assert_eq!((health.image_seqs.as_slice(), health.worn.len()), (&[(0x1111, 29)][..], 0));
    assert_eq!(health.geometry, UbiGeometry::new(4096, 512, None, None).ok());
    let health = ubi::health(&mut flash, true, &mut go_on).unwrap();
    assert_eq!((health.worn, health.uncorrectable, health.corrected_bits), (vec![5], vec![6], 3));
    assert_eq!(flash.operations(), 0);
}

#[test]
fn volumes_without_any_leb() {
    let mut data = Volume::new("data");
    data.size = Some(3072 * 4);
    let image = image(&SIZES, &[data], 5);
    let mut flash = settled(&new_image());
    let written = write(&mut flash, &image).unwrap().done();
    assert_eq!((written.report.lebs_written, written.report.flash.erases), (2, 12));
    assert_clean(&mut flash, &found_in(&image, 4096));
}
