//! Eraseblocks that wear out, flip bits, or are locked.

use flashwright_flashsim::{Fault, Random, Simulation, nand, nor};
use flashwright_media::{Flash, FlashFault, FlashGeometry};
use flashwright_plan::{Ending, Error};

use crate::common::*;

const SIZES: FlashGeometry = nand(4096, 16, 512);

fn new_image(sizes: &FlashGeometry) -> Vec<u8> {
    image(sizes, &volumes(sizes, 3, 1), 0x1111)
}

fn wanted(image: &[u8]) -> Attached {
    found_in(image, 4096)
}

/// PEBs whose eraseblock is marked bad.
fn bad(flash: &Simulation) -> Vec<u32> {
    (0..flash.geometry().eraseblock_count).filter(|&peb| flash.marked_bad(peb)).collect()
}

#[test]
fn worn_out_eraseblocks_are_marked_and_others_taken() {
    let image = new_image(&SIZES);
    let all = [Fault::Erase(1), Fault::Program(1), Fault::Program(4), Fault::ProgramSilently(3)];
    for fault in all {
        let mut flash = Simulation::new(SIZES, 1);
        flash.set_fault(2, fault);
        flash.set_fault(5, fault);
        let written = write(&mut flash, &image).unwrap().done();
        // The other one may have got too little to fail.
        assert!(bad(&flash) == [2, 5] || bad(&flash) == [2], "{fault:?}: {:?}", bad(&flash));
        assert_eq!(written.report.flash.went_bad, bad(&flash));
        assert_eq!(written.report.flash.tortured, bad(&flash));
        assert_clean(&mut flash, &wanted(&image));
        assert_counts(&flash, &[]);
    }
}

#[test]
fn what_passes_the_torture_is_used_on() {
    let image = new_image(&SIZES);
    for fault in [Fault::EraseOnce(1), Fault::ProgramOnce(1), Fault::ProgramOnce(3)] {
        let mut flash = Simulation::new(SIZES, 1);
        flash.set_fault(2, fault);
        let written = write(&mut flash, &image).unwrap().done();
        assert_eq!((bad(&flash), written.report.flash.tortured), (vec![], vec![2]), "{fault:?}");
        assert_clean(&mut flash, &wanted(&image));
        // All the erases of the torture are in its count.
        assert_eq!(recorded(&flash, 2), Some(flash.erases(2)));
        assert!(flash.erases(2) > 4);
        assert_counts(&flash, &[]);
    }
}

#[test]
fn when_everything_fails_not_everything_is_marked() {
    let sizes = nand(4096, 64, 512);
    let image = new_image(&sizes);
    for fault in [Fault::Erase(1), Fault::Program(1)] {
        let mut flash = Simulation::new(sizes, 1);
        (0..64).for_each(|peb| flash.set_fault(peb, fault));
        let failed = write(&mut flash, &image).unwrap().result;
        assert!(matches!(failed, Err(Error::TooManyBad { went_bad: 9 })), "{failed:?}");
        assert_eq!(bad(&flash).len(), 9);
    }
}

#[test]
fn too_few_are_left() {
    let image = new_image(&SIZES);
    let mut flash = Simulation::new(SIZES, 1);
    (0..7).for_each(|peb| flash.set_fault(peb, Fault::Program(1)));
    let failed = write(&mut flash, &image).unwrap().result;
    assert!(matches!(failed, Err(Error::NoRoom { needed: 10, left: 9, went_bad: 7 })), "{failed:?}");
    assert_eq!(attach(&mut flash), Attached::Refused);
    // And then there is no use in beginning.
    let again = planned(&mut flash, &image).unwrap();
    let words: Vec<_> = again.refusals().iter().map(|refusal| refusal.word).collect();
    assert_eq!(words, ["size"]);
}

#[test]
fn flash_without_bad_marks_is_worn_out() {
    let sizes = nor(4096, 16);
    let image = new_image(&sizes);
    for fault in [Fault::Erase(1), Fault::Program(1), Fault::ProgramSilently(2)] {
        let mut flash = Simulation::new(sizes, 1);
        flash.set_fault(3, fault);
        let failed = write(&mut flash, &image).unwrap().result;
        let named = match &failed {
            Err(Error::Flash(error)) => matches!(error.fault, FlashFault::Failed) && error.offset / 4096 == 3,
            Err(Error::Mismatch { eraseblock, .. }) => *eraseblock == 3,
            _ => false,
        };
        assert!(named, "{fault:?}: {failed:?}");
        assert_eq!(attach(&mut flash), Attached::Refused);
    }
}

#[test]
fn flipped_bits() {
    let image = new_image(&SIZES);
    let (mut written, other) = (Simulation::new(SIZES, 1), self::image(&SIZES, &volumes(&SIZES, 3, 7), 1));
    write(&mut written, &image).unwrap().done();
    let held = |flash: &Simulation, volume, lnum| {
        (0..16)
            .find(|&peb| vid(flash, peb).is_some_and(|vid| (vid.volume_id, vid.lnum) == (volume, lnum)))
            .unwrap()
    };
    // Flips in a page of data; whether the LEB stays where it is, in a run that has something else to write.
    for (flips, stays) in [(1, true), (3, false), (5, false)] {
        let mut flash = written.clone();
        let peb = held(&flash, 0, 1);
        flash.flip(SIZES.offset_of(peb) + 1500, flips);
        // Another LEB is not there at all.
        let gone = held(&flash, 1, 1);
        flash.store(SIZES.offset_of(gone), &[0xff]);
        let report = write(&mut flash, &image).unwrap().done().report;
        assert_eq!(report.lebs_kept, if stays { 4 } else { 3 }, "{flips}");
        assert_clean(&mut flash, &wanted(&image));
    }
    // With nothing else to write, what can be put right is the kernel's to move.
    for (flips, same) in [(1, true), (3, true), (5, false)] {
        let mut flash = written.clone();
        let peb = held(&flash, 0, 1);
        flash.flip(SIZES.offset_of(peb) + 1500, flips);
        assert_eq!(is_up_to_date(&mut flash, &image), same, "{flips}");
    }
    // A header that cannot be read: the count is lost, and said to be.
    let mut flash = written.clone();
    flash.flip(SIZES.offset_of(12), 9);
    let report = write(&mut flash, &other).unwrap().done().report;
    assert_eq!(report.counts_lost, 1);
    assert_clean(&mut flash, &wanted(&other));
    assert_counts(&flash, &[12]);
}

#[test]
fn locked_eraseblocks_are_locked_again() {
    for tells in [true, false] {
        let sizes = nor(4096, 16);
        let image = new_image(&sizes);
        let mut flash = Simulation::new(sizes, 1);
        write(&mut flash, &image).unwrap().done();
        flash.set_lockable(1, tells);
        (0..4).for_each(|peb| flash.lock(peb));
        let other = self::image(&sizes, &volumes(&sizes, 3, 7), 1);
        let written = write(&mut flash, &other).unwrap().done();
        assert_eq!(written.plan.totals().locked, if tells { 4 } else { 0 });
        assert_eq!((written.report.flash.unlocked, written.report.flash.locked), (4, 4));
        assert!((0..4).all(|peb| flash.locked(peb)) && !flash.locked(4));
        assert_clean(&mut flash, &wanted(&other));
    }
}

/// Random faults, flips and cuts; in the end the image is there, or too many eraseblocks went bad.
#[test]
fn faults_and_cuts_together() {
    let image = new_image(&SIZES);
    let other = self::image(&SIZES, &volumes(&SIZES, 3, 7), 0x2222);
    let (mut done, mut worn) = (0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut flash = Simulation::new(SIZES, seed);
        if seed % 3 > 0 {
            settle(&mut flash, &other, |peb| peb * 3);
        }
        for _ in 0..random.below(4) {
            let peb = u32::try_from(random.below(16)).unwrap();
            let from = 1 + random.below(40) as u64;
            let fault = match random.below(5) {
                0 => Fault::Erase(flash.erases(peb) + from % 4),
                1 => Fault::Program(from),
                2 => Fault::ProgramSilently(from),
                3 => Fault::ProgramOnce(from),
                _ => Fault::EraseOnce(flash.erases(peb) + from % 4),
            };
            flash.set_fault(peb, fault);
        }
        flash.set_read_noise(u32::try_from(random.below(100)).unwrap());
        for _ in 0..random.below(5) {
            flash.flip(random.below(16 * 4096) as u64, u32::try_from(random.below(7)).unwrap());
        }
        for _ in 0..random.below(6) {
            flash.cut_power_at(1 + random.below(90) as u64);
            let pipe = random.below(2) == 0;
            let run = if pipe { write_pipe(&mut flash, &image) } else { write(&mut flash, &image) };
            drop(run);
            flash.power_on();
            let found = attach(&mut flash);
            if let Attached::Found(volumes) = found
                && volumes.values().all(|content| content != b"damaged")
            {
                let found = Attached::Found(volumes);
                // With flips of the start in old LEBs, or in none.
                let new = found == wanted(&image);
                assert!(new || seed % 3 > 0, "seed {seed}");
            }
        }
        flash.set_read_noise(0);
        match write(&mut flash, &image).map(|written| written.result) {
            Ok(Ok(Ending::Done)) => {
                done += 1;
                assert_eq!(attach(&mut flash), wanted(&image), "seed {seed}");
                assert_eq!(flash.violations(), [], "seed {seed}");
            }
            Ok(Err(Error::NoRoom { .. })) | Err(Error::Refused(_)) => worn += 1,
            Ok(Err(Error::Refused(refusal))) if refusal.word == "size" => worn += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{done} done, {worn} worn out");
    assert!(done > 350, "{done} done, {worn} worn out");
}
