//! What the simulation does when it is used well, and when it is not.

use flashwright_flashsim::{Ecc, Fault, Interruption, Random, Simulation, Timing, Violation, nand, nor, ram};
use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashOp};

const EB: u64 = 0x4000;

fn nand_sim() -> Simulation {
    Simulation::new(nand(16 << 10, 8, 512), 7)
}

fn nor_sim() -> Simulation {
    Simulation::new(nor(4096, 8), 7)
}

fn read(flash: &mut Simulation, offset: u64, len: usize) -> (Vec<u8>, EccStats) {
    let mut bytes = vec![0; len];
    let ecc = flash.read(offset, &mut bytes).unwrap();
    (bytes, ecc)
}

fn failed(result: Result<(), FlashError>) -> FlashError {
    result.unwrap_err()
}

#[test]
fn bits_fall_and_rise_by_erasing_alone() {
    let mut flash = nor_sim();
    flash.program(10, &[0x0f, 0xf0]).unwrap();
    flash.program(10, &[0x07, 0xf0]).unwrap();
    assert_eq!(read(&mut flash, 9, 4).0, [0xff, 0x07, 0xf0, 0xff]);
    assert_eq!(flash.violations(), []);
    flash.program(10, &[0x07, 0xff]).unwrap();
    assert_eq!(read(&mut flash, 10, 2).0, [0x07, 0xf0]);
    assert_eq!(flash.violations(), [Violation::SetsBit { offset: 11 }]);
    flash.erase(0).unwrap();
    assert_eq!(read(&mut flash, 0, 4096).0, [0xff; 4096]);
    assert_eq!((flash.erases(0), flash.erases(1), flash.operations()), (1, 0, 4));
}

#[test]
fn memory_takes_everything() {
    let mut flash = Simulation::new(ram(4096, 2), 7);
    flash.program(4000, &[1; 96]).unwrap();
    flash.program(4000, &[0xfe; 96]).unwrap();
    assert_eq!((read(&mut flash, 4000, 96).0, flash.violations().len()), (vec![0xfe; 96], 0));
}

#[test]
fn a_page_is_programmed_once() {
    let mut flash = nand_sim();
    flash.program(0, &[0x5a; 1024]).unwrap();
    flash.program(2048, &[0x5a; 512]).unwrap();
    assert_eq!((flash.violations().len(), flash.operations()), (0, 3));
    flash.program(512, &[0x5a; 512]).unwrap();
    let behind = Violation::OutOfOrder { offset: 512 };
    assert_eq!(flash.violations(), [behind, Violation::ProgrammedTwice { offset: 512 }]);
    let unreadable = flash.read(0, &mut [0; 2048]).unwrap_err();
    assert!(matches!(unreadable.fault, FlashFault::Uncorrectable));
    assert_eq!(unreadable.offset, 512);
    flash.erase(0).unwrap();
    flash.program(512, &[0x5a; 512]).unwrap();
    assert_eq!((read(&mut flash, 512, 512).0, flash.violations().len()), (vec![0x5a; 512], 2));
}

#[test]
fn sub_pages_are_programmed_one_by_one() {
    let geometry = FlashGeometry { sub_page_size: 512, ..nand(16 << 10, 8, 2048) };
    let mut flash = Simulation::new(geometry, 7);
    for part in 0..4 {
        flash.program(part * 512, &[0xa5; 512]).unwrap();
    }
    assert_eq!((read(&mut flash, 0, 2048).0, flash.violations().len()), (vec![0xa5; 2048], 0));
    flash.program(1024, &[0xa5; 512]).unwrap();
    assert_eq!(flash.violations(), [Violation::ProgrammedTwice { offset: 1024 }]);
}

#[test]
fn what_is_no_place_is_an_error() {
    let mut flash = nand_sim();
    for (offset, len) in [(0, 100), (100, 512), (EB - 512, 1024)] {
        assert!(matches!(failed(flash.program(offset, &vec![0; len])).fault, FlashFault::Device(_)));
        assert_eq!(flash.violations().last(), Some(&Violation::Misaligned { offset, len }));
    }
    assert!(flash.read(8 * EB - 1, &mut [0; 2]).is_err());
    assert!(flash.erase(8).is_err() && flash.is_bad(8).is_err());
    assert_eq!(flash.violations().len(), 6);
}

#[test]
fn the_error_correction_puts_some_right() {
    let mut flash = nand_sim();
    flash.set_ecc(Ecc { strength: 8, threshold: 6 });
    flash.store(EB, &[0x33; 0x4000]);
    for (page, flips) in [(0, 1), (1, 6), (2, 8), (3, 9)] {
        flash.flip(EB + page * 512, flips);
    }
    let (bytes, ecc) = read(&mut flash, EB + 100, 900);
    assert_eq!((bytes, ecc), (vec![0x33; 900], EccStats { corrected: 7, worn: true }));
    assert_eq!(read(&mut flash, EB, 512).1, EccStats { corrected: 1, worn: false });
    assert!(!flash.is_sound(1) && flash.is_sound(0));
    let mut bytes = [0; 2048];
    let error = flash.read(EB, &mut bytes).unwrap_err();
    assert_eq!((error.op, error.offset), (FlashOp::Read, EB + 1536));
    let wrong = bytes[1536..].iter().map(|byte| (byte ^ 0x33).count_ones()).sum::<u32>();
    assert_eq!((&bytes[..1536], wrong), (&[0x33; 1536][..], 9));
    assert_eq!(flash.content(1), [0x33; 0x4000]);
}

#[test]
fn nor_reads_flips_as_they_are() {
    let mut flash = nor_sim();
    flash.store(0, &[0; 4096]);
    flash.flip(300, 5);
    let (bytes, ecc) = read(&mut flash, 0, 4096);
    assert_eq!(bytes[256..512].iter().map(|byte| byte.count_ones()).sum::<u32>(), 5);
    assert_eq!((ecc, flash.is_sound(0)), (EccStats::default(), true));
    flash.unsettle(8, 0x81);
    assert!(!flash.is_sound(0));
    let mut seen: Vec<u8> = (0..64).map(|_| read(&mut flash, 8, 1).0[0]).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 1, 0x80, 0x81]);
}

#[test]
fn noise_is_corrected_in_passing() {
    let mut flash = nand_sim();
    flash.set_read_noise(500);
    let ecc = read(&mut flash, 0, 0x4000).1;
    assert!((5..28).contains(&ecc.corrected) && !ecc.worn, "{ecc:?}");
    flash.set_read_noise(0);
    assert_eq!(read(&mut flash, 0, 0x4000).1, EccStats::default());
}

#[test]
fn worn_eraseblocks_fail_from_then_on() {
    let mut flash = nand_sim();
    flash.set_fault(1, Fault::Erase(2));
    flash.set_fault(2, Fault::Program(3));
    flash.set_fault(3, Fault::ProgramSilently(1));
    flash.erase(1).unwrap();
    flash.program(EB, &[0; 0x4000]).unwrap();
    assert!(matches!(failed(flash.erase(1)).fault, FlashFault::Failed));
    assert!(matches!(failed(flash.erase(1)).fault, FlashFault::Failed));
    assert_eq!((flash.erases(1), flash.cut_erases(1)), (3, 0));
    assert!(matches!(failed(flash.program(2 * EB, &[0; 2048])).fault, FlashFault::Failed));
    assert_eq!(read(&mut flash, 2 * EB, 1024).0, [0; 1024]);
    assert!(flash.read(2 * EB + 1024, &mut [0; 512]).is_err());
    flash.set_fault(4, Fault::EraseOnce(1));
    flash.set_fault(5, Fault::ProgramOnce(1));
    assert!(matches!(failed(flash.erase(4)).fault, FlashFault::Failed));
    assert!(matches!(failed(flash.program(5 * EB, &[0; 512])).fault, FlashFault::Failed));
    flash.erase(4).unwrap();
    flash.erase(5).unwrap();
    flash.program(5 * EB, &[0; 512]).unwrap();
    assert_eq!((read(&mut flash, 5 * EB, 512).0, flash.violations().len()), (vec![0; 512], 0));
    flash.program(3 * EB, &[0; 512]).unwrap();
    assert!(matches!(flash.read(3 * EB, &mut [0; 512]).unwrap_err().fault, FlashFault::Uncorrectable));
}

#[test]
fn bad_eraseblocks_are_not_to_be_touched() {
    let mut flash = nand_sim();
    flash.set_bad(1);
    flash.mark_bad(2).unwrap();
    assert_eq!([0, 1, 2].map(|eraseblock| flash.is_bad(eraseblock).unwrap()), [false, true, true]);
    assert!(matches!(failed(flash.erase(1)).fault, FlashFault::Bad));
    assert!(matches!(failed(flash.program(2 * EB, &[0; 512])).fault, FlashFault::Bad));
    assert_eq!(flash.violations(), [EB, 2 * EB].map(|offset| Violation::TouchedBad { offset }));
    let mut nor = nor_sim();
    assert!(matches!(failed(nor.mark_bad(0)).fault, FlashFault::Unsupported));
}

#[test]
fn locks_cover_areas() {
    let mut flash = nor_sim();
    assert_eq!(flash.is_locked(0).unwrap(), None);
    assert!(matches!(failed(flash.set_locked(0, true)).fault, FlashFault::Unsupported));
    flash.set_lockable(4, true);
    flash.set_locked(5, true).unwrap();
    assert_eq!(
        [3, 4, 7].map(|eraseblock| flash.is_locked(eraseblock).unwrap()),
        [Some(false), Some(true), Some(true)]
    );
    assert!(matches!(failed(flash.erase(4)).fault, FlashFault::Locked));
    assert!(matches!(failed(flash.program(7 * 4096, &[0])).fault, FlashFault::Locked));
    flash.set_locked(6, false).unwrap();
    flash.erase(4).unwrap();
    flash.set_lockable(1, false);
    flash.lock(0);
    assert_eq!((flash.is_locked(0).unwrap(), flash.locked(0)), (None, true));
    assert_eq!(flash.violations(), []);
}

#[test]
fn one_lock_has_no_gaps() {
    let mut flash = nor_sim();
    flash.set_one_lock();
    flash.set_range_locked(2, 4, true).unwrap();
    assert!(matches!(failed(flash.set_locked(3, false)).fault, FlashFault::Device(_)));
    assert!(matches!(failed(flash.set_locked(7, true)).fault, FlashFault::Device(_)));
    flash.set_locked(2, false).unwrap();
    flash.set_range_locked(3, 3, false).unwrap();
    assert_eq!(((0..8).any(|eraseblock| flash.locked(eraseblock)), flash.operations()), (false, 3));
}

#[test]
fn time_adds_up() {
    let mut flash = nand_sim();
    flash.set_timing(Timing { erase_ns: 1_000_000, program_ns: 1000, read_ns: 10 });
    flash.erase(0).unwrap();
    flash.program(0, &[0; 2048]).unwrap();
    flash.read(100, &mut [0; 1000]).unwrap();
    assert_eq!(flash.elapsed_ns(), 1_004_030);
}

#[test]
fn after_a_cut_nothing_answers() {
    let mut flash = nand_sim();
    flash.cut_power_how(3, Interruption::Complete);
    flash.erase(0).unwrap();
    let error = flash.program(0, &[0; 4096]).unwrap_err();
    assert!(matches!(error.fault, FlashFault::Device(_)) && !flash.is_powered());
    assert_eq!(error.to_string(), "cannot program at 0x00000200: the power is off");
    assert!(flash.read(0, &mut []).is_err() && flash.erase(0).is_err() && flash.mark_bad(0).is_err());
    assert!(flash.is_bad(0).is_err() && flash.is_locked(0).is_err() && flash.set_locked(0, true).is_err());
    flash.power_on();
    assert_eq!(read(&mut flash, 0, 2048).0, [vec![0; 1024], vec![0xff; 1024]].concat());
    assert_eq!((flash.operations(), flash.violations().len()), (3, 0));
}

/// How an interrupted erase of an eraseblock full of noise reads, ten times.
fn cut_erase(mut flash: Simulation, how: Interruption, seed: u64) -> (Simulation, Vec<Option<Vec<u8>>>) {
    let len = flash.geometry().eraseblock_size as usize;
    flash.store(0, &Random::new(1).bytes(len));
    flash.reseed(seed);
    flash.cut_power_how(1, how);
    flash.erase(0).unwrap_err();
    flash.power_on();
    let mut bytes = vec![0; len];
    let reads = (0..10).map(|_| flash.read(0, &mut bytes).is_ok().then(|| bytes.clone())).collect();
    (flash, reads)
}

fn alike(reads: &[Option<Vec<u8>>]) -> bool {
    reads.windows(2).all(|pair| pair[0] == pair[1])
}

#[test]
fn an_interrupted_erase_leaves_what_flash_leaves() {
    for (fresh, is_nand) in [(nor_sim(), false), (nand_sim(), true)] {
        let len = fresh.geometry().eraseblock_size as usize;
        let (old, blank) = (Random::new(1).bytes(len), vec![0xff; len]);
        for seed in 0..20 {
            let cut = |how| cut_erase(fresh.clone(), how, seed);
            let (flash, reads) = cut(Interruption::NotBegun);
            assert_eq!((flash.erases(0), &reads[0]), (0, &Some(old.clone())));
            assert!(alike(&reads) && flash.is_sound(0));
            let (mut flash, reads) = cut(Interruption::Complete);
            assert_eq!((flash.erases(0), flash.cut_erases(0), &reads[0]), (1, 1, &Some(blank.clone())));
            assert!(alike(&reads) && flash.is_sound(0));
            flash.program(0, &old).unwrap();
            assert_eq!(flash.violations(), []);
            let (flash, reads) = cut(Interruption::Half);
            assert!(!flash.is_sound(0) && reads.iter().all(|read| is_nand == read.is_none()));
            assert_eq!(alike(&reads), is_nand);
            for (how, like) in [(Interruption::AlmostComplete, &blank), (Interruption::BarelyBegun, &old)] {
                let (mut flash, reads) = cut(how);
                assert_eq!(flash.content(0), like);
                if is_nand {
                    assert!(flash.is_sound(0) && reads.iter().all(|read| read.as_ref() == Some(like)));
                } else {
                    assert!(!alike(&reads) && !flash.is_sound(0));
                }
                let mut marked = flash.clone();
                marked.program(0, &vec![0; len]).unwrap();
                assert_eq!(marked.violations().is_empty(), !is_nand);
                flash.program(0, &vec![1; len]).unwrap();
                assert_eq!(flash.violations()[0], Violation::ProgrammedHalfErased { offset: 0 });
                flash.erase(0).unwrap();
                assert!(flash.is_sound(0));
            }
        }
    }
}

#[test]
fn an_interrupted_program_leaves_what_flash_leaves() {
    for (fresh, is_nand, unit) in [(nor_sim(), false, 256), (nand_sim(), true, 512)] {
        let new = Random::new(2).bytes(unit);
        for seed in 0..20 {
            let cut = |how| {
                let mut flash = fresh.clone();
                flash.reseed(seed);
                flash.cut_power_how(2, how);
                flash.program(0, &[new.clone(), new.clone(), new.clone()].concat()).unwrap_err();
                flash.power_on();
                assert_eq!(read(&mut flash, 0, unit).0, new);
                assert_eq!(read(&mut flash, 2 * unit as u64, unit).0, vec![0xff; unit]);
                let mut bytes = vec![0; unit];
                let read = |_| flash.read(unit as u64, &mut bytes).is_ok().then(|| bytes.clone());
                let reads: Vec<_> = (0..10).map(read).collect();
                (flash, reads)
            };
            let (flash, reads) = cut(Interruption::Complete);
            assert!(flash.is_sound(0) && alike(&reads) && reads[0] == Some(new.clone()));
            let (mut flash, reads) = cut(Interruption::NotBegun);
            assert!(flash.is_sound(0) && alike(&reads) && reads[0] == Some(vec![0xff; unit]));
            flash.program(unit as u64, &new).unwrap();
            assert_eq!(flash.violations(), []);
            let (mut flash, reads) = cut(Interruption::Half);
            assert!(!flash.is_sound(0) && reads.iter().all(|read| is_nand == read.is_none()));
            flash.program(unit as u64, &new).unwrap();
            assert_eq!(
                flash.violations().is_empty(),
                !is_nand,
                "NAND takes a page once, NOR the rest of the bits"
            );
            let (flash, reads) = cut(Interruption::AlmostComplete);
            let right = reads.iter().filter(|read| read.as_ref() == Some(&new)).count();
            assert_eq!((right == 10, flash.is_sound(0)), (is_nand, is_nand));
            let (flash, reads) = cut(Interruption::BarelyBegun);
            let blank = reads.iter().filter(|read| **read == Some(vec![0xff; unit])).count();
            assert_eq!((blank == 10, flash.is_sound(0)), (is_nand, is_nand));
        }
    }
}

#[test]
fn marks_and_locks_are_cut_too() {
    let mut flash = nand_sim();
    flash.set_lockable(1, true);
    for (how, done) in [(Interruption::NotBegun, false), (Interruption::Complete, true)] {
        let mut flash = flash.clone();
        flash.cut_power_how(1, how);
        flash.mark_bad(3).unwrap_err();
        flash.power_on();
        assert_eq!(flash.is_bad(3).unwrap(), done);
        flash.cut_power_how(1, how);
        flash.set_locked(4, true).unwrap_err();
        flash.power_on();
        assert_eq!(flash.is_locked(4).unwrap(), Some(done));
    }
}

#[test]
fn the_same_seed_gives_the_same() {
    let run = |seed| {
        let mut flash = Simulation::new(nor(4096, 4), seed);
        flash.store(0, &[0; 4096]);
        flash.cut_power_at(1);
        flash.erase(0).unwrap_err();
        flash.power_on();
        read(&mut flash, 0, 4096).0
    };
    let results: Vec<_> = (0..16).map(run).collect();
    assert_eq!(results, (0..16).map(run).collect::<Vec<_>>());
    assert!(results.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn a_clone_stands_alone() {
    let mut flash = nand_sim();
    flash.store(0, &[0; 0x4000]);
    let mut clone = flash.clone();
    clone.erase(0).unwrap();
    assert_eq!((flash.content(0), clone.content(0)), (&[0; 0x4000][..], &[0xff; 0x4000][..]));
    assert_eq!((flash.erases(0), clone.erases(0)), (0, 1));
}
