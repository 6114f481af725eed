//! The power goes at every operation of writing a UBI image, and at every operation of the run after that.

use flashwright_flashsim::{Interruption, Simulation, nand, nor};
use flashwright_media::{Flash, FlashGeometry};
use flashwright_plan::Error;

use crate::common::*;

/// PEBs of the devices: some more than the volumes need.
const PEBS: u32 = 11;

/// A device, what a kernel finds on it, and what it shall find.
struct Case {
    flash: Simulation,
    image: Vec<u8>,
    old: Attached,
    new: Attached,
    pipe: bool,
}

impl Case {
    fn new(mut flash: Simulation, image: Vec<u8>) -> Self {
        let old = attach(&mut flash);
        let new = found_in(&image, flash.geometry().eraseblock_size);
        Case { flash, image, old, new, pipe: false }
    }

    fn run(&self, flash: &mut Simulation) -> Result<Written, Error> {
        if self.pipe { write_pipe(flash, &self.image) } else { write(flash, &self.image) }
    }

    /// PEBs whose count cannot be read, before.
    fn lost(&self) -> Vec<u32> {
        unreadable(&mut self.flash.clone())
    }

    /// Cuts a run that starts with `flash`, which has lost the counts of `lost`.
    fn cut(&self, flash: &Simulation, at: u64, how: Interruption, lost: &mut Vec<u32>) -> Simulation {
        let mut flash = flash.clone();
        flash.reseed(at * 7919 + lost.len() as u64);
        flash.cut_power_how(at, how);
        let before = unreadable(&mut flash.clone());
        let failed = self.run(&mut flash).map(|written| written.result);
        // What reads differently each time may have led to a run with fewer operations.
        let ended = flash.is_powered() && matches!(failed, Ok(Ok(_)));
        assert!(ended || matches!(failed, Ok(Err(Error::Flash(_)))), "{failed:?}");
        flash.power_on();
        assert_eq!(flash.violations(), [], "cut at {at}");
        // Of one PEB at most the count cannot be read any more.
        let mut gone = unreadable(&mut flash);
        gone.retain(|peb| !before.contains(peb));
        assert!(gone.len() <= 1, "cut at {at}: the counts of {gone:?} are lost");
        lost.extend(gone);
        let found = attach(&mut flash);
        let known = found == self.old || found == self.new || found == Attached::Refused;
        assert!(known, "cut at {at}, {how:?}: a kernel finds {}", summary(&found));
        flash
    }

    fn finish(&self, flash: &Simulation, lost: &[u32]) -> u64 {
        let mut flash = flash.clone();
        let before = flash.operations();
        self.run(&mut flash).unwrap().done();
        let operations = flash.operations() - before;
        assert_clean(&mut flash, &self.new);
        assert_counts(&flash, lost);
        assert!(is_up_to_date(&mut flash, &self.image));
        operations
    }

    /// Cuts at every operation, in every way; returns how many cuts that were.
    fn cut_once(&self) -> u64 {
        let lost = self.lost();
        let operations = self.finish(&self.flash, &lost);
        for at in 1..=operations {
            for how in Interruption::ALL {
                let mut lost = lost.clone();
                let flash = self.cut(&self.flash, at, how, &mut lost);
                self.finish(&flash, &lost);
            }
        }
        operations * Interruption::ALL.len() as u64
    }

    /// Cuts at every operation, and the run after that at every one of its own, in some way.
    fn cut_twice(&self) -> u64 {
        let lost = self.lost();
        let mut cuts = 0;
        for at in 1..=self.finish(&self.flash, &lost) {
            let mut lost = lost.clone();
            let flash = self.cut(&self.flash, at, Interruption::Any, &mut lost);
            let operations = self.finish(&flash, &lost);
            cuts += 1 + operations;
            for second in 1..=operations {
                let mut lost = lost.clone();
                let flash = self.cut(&flash, second, Interruption::Any, &mut lost);
                self.finish(&flash, &lost);
            }
        }
        cuts
    }
}

/// PEBs whose EC header cannot be read, or not each time.
fn unreadable(flash: &mut Simulation) -> Vec<u32> {
    (0..flash.geometry().eraseblock_count)
        .filter(|&peb| !flash.is_sound(peb) || !readable(flash, peb))
        .collect()
}

fn readable(flash: &mut Simulation, peb: u32) -> bool {
    let mut bytes = [0; 64];
    let offset = flash.geometry().offset_of(peb);
    flash.read(offset, &mut bytes).is_ok() && flashwright_ubi::format::EcHdr::parse(&bytes).is_ok()
}

fn summary(found: &Attached) -> String {
    match found {
        Attached::Found(volumes) => {
            let mut text = String::new();
            for (name, content) in volumes {
                let crc = flashwright_media::crc32_from_ones(content);
                text += &format!("{} {} {crc:08x}; ", String::from_utf8_lossy(name), content.len());
            }
            text
        }
        other => format!("{other:?}"),
    }
}

/// LEBs of the largest volume on those flashes.
const LEBS: usize = 2;

fn flashes(eraseblock: u32) -> [FlashGeometry; 3] {
    let with_sub_pages = FlashGeometry { sub_page_size: 128, ..nand(eraseblock, PEBS, 512) };
    [nand(eraseblock, PEBS, 512), with_sub_pages, nor(eraseblock, PEBS)]
}

/// A device with other volumes and the same sizes, of which some LEBs are as in the image.
fn used(sizes: FlashGeometry, image_seq: u32) -> (Simulation, Vec<u8>) {
    let mut volumes = volumes(&sizes, LEBS, 1);
    let new = image(&sizes, &volumes, 0x1111);
    let leb = geometry(&sizes).leb_size() as usize;
    // Another kernel, another last LEB of the root.
    volumes[1] = volume("kernel", flashwright_ubi::format::VolumeType::Static, noise(leb / 2, 9));
    let mut content = vec![0; leb * LEBS - 100];
    volumes[0].content.as_ref().unwrap().source.read_exact_at(0, &mut content).unwrap();
    content[leb * (LEBS - 1) + 7] ^= 1;
    volumes[0] = volume("root", flashwright_ubi::format::VolumeType::Dynamic, content);
    let old = image(&sizes, &volumes, image_seq);
    let mut flash = Simulation::new(sizes, 5);
    settle(&mut flash, &old, |peb| 100 + peb * peb);
    (flash, new)
}

/// All the ways a device may be before.
fn cases(sizes: FlashGeometry) -> Vec<(&'static str, Case)> {
    let new = image(&sizes, &volumes(&sizes, LEBS, 1), 0x1111);
    let size = sizes.eraseblock_size as usize;
    let blank = Case::new(Simulation::new(sizes, 1), new.clone());
    let (flash, _) = used(sizes, 0x2222);
    let same = Case::new(flash, new.clone());
    let mut foreign = Simulation::new(sizes, 2);
    foreign.store(0, &noise(size * PEBS as usize, 3));
    let foreign = Case::new(foreign, new.clone());
    // Half erased, the headers gone of some.
    let (mut flash, _) = used(sizes, 0x2222);
    for peb in [2, 4, 9] {
        if sizes.kind == flashwright_media::FlashKind::Nor {
            flash.program(sizes.offset_of(peb) + 64, &[0; 64]).unwrap();
        }
        flash.cut_power_how(1, Interruption::Half);
        assert!(flash.erase(peb).is_err());
        flash.power_on();
    }
    let half = Case::new(flash, new.clone());
    // PEBs of three images, and of none.
    let (mut flash, _) = used(sizes, 0x2222);
    let (other, _) = used(sizes, 0x3333);
    for peb in [1, 4, 5, 10] {
        flash.store(sizes.offset_of(peb), other.content(peb));
    }
    flash.store(sizes.offset_of(8), &noise(size, 4));
    let mixed = Case::new(flash, new.clone());
    let mut bad = Simulation::new(sizes, 1);
    if sizes.kind == flashwright_media::FlashKind::Nand {
        bad.set_bad(0);
        bad.set_bad(5);
    }
    let bad = Case::new(bad, new);
    vec![
        ("blank", blank),
        ("used", same),
        ("foreign", foreign),
        ("half erased", half),
        ("mixed", mixed),
        ("bad eraseblocks", bad),
    ]
}

/// Proves those cases; says how many cuts that were.
fn prove(eraseblock: u32, pipe: bool, wanted: &[&str], cuts_of: fn(&Case) -> u64) {
    let mut cuts = 0;
    for sizes in flashes(eraseblock) {
        for (name, case) in cases(sizes).into_iter().filter(|(name, _)| wanted.contains(name)) {
            let these = cuts_of(&Case { pipe, ..case });
            let FlashGeometry { kind, sub_page_size, .. } = sizes;
            println!("{kind}, sub-pages of {sub_page_size}, {name}: {these} cuts");
            assert!(these > 30);
            cuts += these;
        }
    }
    println!("{cuts} cuts");
}

const ALL: [&str; 6] = ["blank", "used", "foreign", "half erased", "mixed", "bad eraseblocks"];

#[test]
fn every_cut_in_every_way() {
    prove(4096, false, &ALL, Case::cut_once);
}

#[test]
fn every_cut_of_a_pipe() {
    prove(2048, true, &ALL, Case::cut_once);
}

#[test]
fn every_cut_of_every_second_run() {
    prove(2048, false, &ALL, Case::cut_twice);
}

#[test]
fn every_cut_of_every_second_run_of_a_pipe() {
    prove(2048, true, &["used", "mixed"], Case::cut_twice);
}
