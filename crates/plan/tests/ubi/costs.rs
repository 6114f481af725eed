//! How often the flash is erased, programmed and read: each of it no more than it has to be.

use flashwright_flashsim::{Simulation, Timing, nand};
use flashwright_media::FlashGeometry;
use flashwright_plan::ubi::{self, UbiReport};

use crate::common::*;

/// PEBs of 8 pages: a page for each header, 6 of data. Of the 32 PEBs 12 hold the image, the others are free.
const SIZES: FlashGeometry = nand(4096, 32, 512);

/// Pages read and programmed, and erases.
#[derive(Debug, PartialEq, Eq)]
struct Costs {
    read: u64,
    programmed: u64,
    erases: u64,
}

const NOTHING: Costs = Costs { read: 0, programmed: 0, erases: 0 };

/// What `job` costs.
fn costs_of(flash: &mut Simulation, job: impl FnOnce(&mut Simulation)) -> Costs {
    let (read_ns, program_ns, erase_ns) = (1, 1 << 20, 1 << 40);
    flash.set_timing(Timing { read_ns, program_ns, erase_ns });
    let before = flash.elapsed_ns();
    job(flash);
    let took = flash.elapsed_ns() - before;
    Costs { read: took % program_ns, programmed: took % erase_ns / program_ns, erases: took / erase_ns }
}

/// What it costs to look at a device, and to write the image then.
fn costs(flash: &mut Simulation, image: &[u8], trust: bool) -> (Costs, Costs) {
    let mut options = ubi::Options::default();
    options.trust_crc = trust;
    let mut source = image;
    let mut plan = None;
    let looked = costs_of(flash, |flash| {
        plan = Some(ubi::plan(flash, &mut source, &options, &mut go_on).unwrap());
    });
    let (plan, mut report) = (plan.unwrap(), UbiReport::default());
    let written = costs_of(flash, |flash| {
        plan.execute(flash, &mut source, &[], &mut report, &mut go_on).unwrap();
    });
    assert_eq!((report.flash.erases, report.flash.programmed), (written.erases, written.programmed * 512));
    assert_clean(flash, &found_in(image, 4096));
    (looked, written)
}

/// 8 LEBs of one volume, with 47 pages of data, and 2 of another, with 7.
fn new_image() -> Vec<u8> {
    image(&SIZES, &volumes(&SIZES, 8, 1), 0x1111)
}

#[test]
fn a_full_write_reads_and_programs_each_page_once() {
    let mut flash = Simulation::new(SIZES, 1);
    settle(&mut flash, &image(&SIZES, &volumes(&SIZES, 8, 7), 0x2222), |peb| 100 + peb);
    let (looked, written) = costs(&mut flash, &new_image(), false);
    // Headers of 32, last pages of 20 free ones, first pages of 8 LEBs (CRCs in their headers tell of the static ones), both copies
    // of the volume table.
    assert_eq!(looked, Costs { read: 2 * 32 + 20 + 8 + 2 * 6, ..NOTHING });
    // 54 pages of data, 10 VID headers, 2 tables with theirs, 12 EC headers.
    let programmed = 54 + 10 + 2 * 7 + 12;
    // All of the PEBs that hold LEBs, both tables; EC headers of the PEBs of the old tables and of the new ones were programmed,
    // and are read back, alone: before the other pages.
    let read = 10 * 8 - 2 + 2 * 7 + 4;
    assert_eq!(written, Costs { read, programmed, erases: 12 });
}

#[test]
fn what_stays_is_read_once_and_with_trust_by_headers_and_last_pages() {
    let image = new_image();
    let mut flash = Simulation::new(SIZES, 1);
    write(&mut flash, &image).unwrap().done();
    // Headers, last pages of free ones, tables; then all data, or of each LEB its last page with data and what follows.
    let least = 2 * 32 + 20 + 2 * 6;
    let (looked, written) = costs(&mut flash, &image, false);
    assert_eq!((looked, written), (Costs { read: least + 10 * 6, ..NOTHING }, NOTHING));
    let (looked, written) = costs(&mut flash, &image, true);
    assert_eq!((looked, written), (Costs { read: least + 9 + 6, ..NOTHING }, NOTHING));
}
