//! Devices that do not do what they are told.

use flashwright_flashsim::{Fault, Simulation, nand, nor};
use flashwright_media::{EccStats, Flash, FlashError, FlashFault, FlashGeometry, FlashOp};
use flashwright_plan::raw::{Action, Options, plan_erase, plan_verify, plan_write};
use flashwright_plan::{Ending, Error, Report};

use crate::tools::{BOTH, From, assert_holds, done, good, holds, noise, plan, quiet, run};

const SIZE: usize = 4096;

fn old_nand(seed: u64) -> Simulation {
    let mut flash = Simulation::new(nand(4096, 12, 512), seed);
    flash.store(0, &noise(3, 12 * SIZE));
    flash
}

#[test]
fn eraseblocks_that_go_bad_are_tortured_marked_and_left_out() {
    let image = noise(2, 6 * SIZE);
    let faults = [Fault::Erase(1), Fault::Program(1), Fault::Program(5), Fault::ProgramSilently(3)];
    for from in BOTH {
        for fault in faults {
            for eraseblock in 0..6 {
                let mut flash = old_nand(1);
                flash.set_fault(eraseblock, fault);
                let (result, mut report) = run(&mut flash, &image, from, &Options::default());
                match (result, from, eraseblock) {
                    (Err(Error::Again { eraseblock: 0, offset: 0 }), From::Pipe, 0) => {
                        assert_eq!(good(&flash), (1..12).collect::<Vec<_>>());
                        assert!(!holds(&flash, &image[..SIZE]));
                        report = done(&mut flash, &image, from);
                        assert_eq!(report.went_bad, []);
                    }
                    (result, _, _) => {
                        assert_eq!(result.unwrap(), Ending::Done, "{from:?} {fault:?} {eraseblock}");
                        let bad = [eraseblock];
                        assert_eq!((&report.went_bad[..], &report.tortured[..]), (&bad[..], &bad[..]));
                    }
                }
                assert!(flash.marked_bad(eraseblock));
                assert_holds(&flash, &image);
                assert_eq!(done(&mut flash, &image, from).erases, 0);
            }
        }
    }
}

#[test]
fn one_failure_is_forgiven_after_torture() {
    let image = noise(2, 3 * SIZE);
    for from in BOTH {
        for eraseblock in 0..3 {
            for fault in [Fault::EraseOnce(1), Fault::ProgramOnce(2)] {
                let mut flash = old_nand(1);
                flash.set_fault(eraseblock, fault);
                let (result, report) = run(&mut flash, &image, from, &Options::default());
                assert_eq!(result.unwrap(), Ending::Done);
                assert_eq!((&report.tortured[..], &report.went_bad[..]), (&[eraseblock][..], &[][..]));
                // Each of the patterns takes an erase, the second try another one.
                assert_eq!((report.erases, flash.erases(eraseblock)), (7, 5));
                assert_holds(&flash, &image);

                let mut nor = Simulation::new(nor(4096, 4), 1);
                nor.set_fault(eraseblock, fault);
                let (result, report) = run(&mut nor, &image, from, &Options::default());
                assert_eq!(result.unwrap(), Ending::Done);
                assert_eq!((report.erases, report.tortured.len()), (4, 0));
                assert_holds(&nor, &image);
            }
        }
    }
}

#[test]
fn many_can_go_bad() {
    let image = noise(2, 6 * SIZE);
    for seed in 0..8 {
        let mut flash = old_nand(seed);
        for eraseblock in [0, 1, 2, 4, 7, 8] {
            flash.set_fault(
                eraseblock,
                if seed % 2 == 0 { Fault::Program(seed + 1) } else { Fault::Erase(1) },
            );
        }
        let report = done(&mut flash, &image, From::File);
        assert_eq!(good(&flash), [3, 5, 6, 9, 10, 11]);
        let mut bad = report.went_bad;
        bad.sort_unstable();
        assert_eq!(bad, [0, 1, 2, 4, 7, 8]);
        assert_holds(&flash, &image);
    }
}

#[test]
fn too_many_bad_ones_leave_a_device_that_does_not_start() {
    let image = noise(2, 10 * SIZE);
    for from in BOTH {
        let mut flash = old_nand(1);
        [3, 6, 9].into_iter().for_each(|eraseblock| flash.set_fault(eraseblock, Fault::Program(1)));
        let (result, report) = run(&mut flash, &image, from, &Options::default());
        assert!(matches!(result, Err(Error::NoRoom { needed: 10, left: 9, went_bad: 3 })), "{result:?}");
        assert_eq!(report.went_bad, [3, 6, 9]);
        assert_eq!(flash.content(0), [0xff; SIZE]);
        let (result, _) = run(&mut flash, &image, from, &Options::default());
        assert!(matches!(result, Err(Error::Refused(ref refusal)) if refusal.word == "size"), "{result:?}");
    }
}

#[test]
fn worn_nor_is_an_error_with_the_place() {
    let image = noise(2, 4 * SIZE);
    for from in BOTH {
        let mut flash = Simulation::new(nor(4096, 8), 1);
        flash.store(0, &noise(3, 4 * SIZE));
        flash.set_lockable(1, true);
        flash.lock(1);
        flash.set_fault(2, Fault::ProgramSilently(1));
        let (result, report) = run(&mut flash, &image, from, &Options::default());
        let Err(Error::Mismatch { eraseblock: 2, offset, expected, found }) = result else {
            panic!("{result:?}")
        };
        let at = usize::try_from(offset).unwrap();
        assert_eq!(expected, image[at]);
        assert_ne!(expected, found);
        assert_eq!((report.erases, report.written, report.locked), (4, 1, 1));
        assert!(flash.locked(1) && flash.content(0) == [0xff; SIZE]);

        flash.set_fault(2, Fault::Erase(1));
        let (result, _) = run(&mut flash, &image, from, &Options::default());
        let Err(Error::Flash(error)) = result else { panic!("{result:?}") };
        assert_eq!((error.op, error.offset), (FlashOp::Erase, 2 * 4096));
        assert!(matches!(error.fault, FlashFault::Failed));
    }
}

#[test]
fn without_reading_back_nobody_knows() {
    let image = noise(2, 4 * SIZE);
    let mut flash = Simulation::new(nor(4096, 8), 1);
    flash.set_fault(2, Fault::ProgramSilently(1));
    let mut options = Options::default();
    options.verify = false;
    let (result, report) = run(&mut flash, &image, From::File, &options);
    assert_eq!((result.unwrap(), report.written, report.verified), (Ending::Done, 4, 0));
    assert!(!holds(&flash, &image));
}

#[test]
fn worn_content_is_refreshed_and_corrected_bits_are_counted() {
    let image = noise(2, 4 * SIZE);
    for from in BOTH {
        let mut flash = old_nand(1);
        done(&mut flash, &image, From::File);
        flash.flip(4096, 2);
        let report = done(&mut flash, &image, from);
        assert_eq!((report.erases, report.kept, report.worn_reads), (0, 4, 0));
        flash.flip(2 * 4096 + 512, 3);
        let actions = |flash: &mut Simulation| {
            plan(flash, &image, &Options::default()).steps().map(|step| step.action).collect::<Vec<_>>()
        };
        let keep = Action::Keep;
        assert_eq!(actions(&mut flash), [Action::Invalidate, keep, Action::Refresh, keep]);
        let report = done(&mut flash, &image, from);
        assert_eq!((report.erases, report.written, report.kept), (2, 2, 2));
        let seen = if from == From::Pipe { (5, 1) } else { (0, 0) };
        assert_eq!((report.corrected_bits, report.worn_reads), seen, "a plan's reads are not in its report");
        assert_holds(&flash, &image);
        flash.flip(0, 3);
        assert_eq!(actions(&mut flash), [Action::Refresh, keep, keep, keep]);
        // Too many for the error correction.
        flash.flip(0, 3);
        assert_eq!(actions(&mut flash), [Action::Write, keep, keep, keep]);
        done(&mut flash, &image, from);
        assert_holds(&flash, &image);
    }
}

#[test]
fn noise_in_reading_changes_nothing() {
    let image = noise(2, 6 * SIZE);
    for from in BOTH {
        let mut flash = old_nand(1);
        flash.set_read_noise(300);
        let report = done(&mut flash, &image, from);
        assert!(report.corrected_bits > 5 && report.erases == 6, "{report:?}");
        assert_eq!(done(&mut flash, &image, from).erases, 0);
        assert_holds(&flash, &image);
    }
}

/// How often of 200 times the unstable bit of an eraseblock that should be 0 is noticed.
fn noticed(number: u64, from: From, prepare: fn(&mut Simulation)) -> u32 {
    let image = vec![0; 4 * SIZE];
    let mut flash = Simulation::new(nor(4096, 8), 1);
    flash.store(0, &image);
    prepare(&mut flash);
    flash.unsettle(number * 4096 + 77, 0x10);
    let notices = |seed| {
        let mut flash = flash.clone();
        flash.reseed(seed);
        let report = done(&mut flash, &image, from);
        u32::from(flash.is_sound(u32::try_from(number).unwrap()) && report.erases > 0)
    };
    (0..200).map(notices).sum()
}

#[test]
fn what_a_cut_may_have_left_is_read_again() {
    for from in BOTH {
        // All others are right: 0 was written last. One look would notice half of them, three notice 7 of 8.
        let last = noticed(0, from, |_| ());
        assert!((160..190).contains(&last), "{last} {from:?}");
        // 0 is gone and 3 is still wrong: one before 3 was in hand.
        let middle = noticed(2, from, |flash| {
            flash.store(0, &[0xff; SIZE]);
            flash.store(3 * 4096, &[1; SIZE]);
        });
        assert!((160..190).contains(&middle), "{middle} {from:?}");
        // Not one behind.
        let behind = noticed(2, from, |flash| {
            flash.store(0, &[0xff; SIZE]);
            flash.store(4096, &[1; SIZE]);
        });
        assert!((80..120).contains(&behind), "{behind} {from:?}");
    }
}

#[test]
fn a_device_that_is_gone_is_an_error() {
    let image = noise(2, 4 * SIZE);
    let mut flash = old_nand(1);
    flash.cut_power_at(1);
    let (result, report) = run(&mut flash, &image, From::File, &Options::default());
    assert!(matches!(result, Err(Error::Flash(ref error)) if matches!(error.fault, FlashFault::Device(_))));
    assert_eq!((report.written, report.erases), (0, 1));
    let (result, report) = run(&mut flash, &image, From::File, &Options::default());
    assert!(result.is_err() && report == Report::default());
}

/// A device that can be unlocked, but not locked again.
struct Stubborn(Simulation);

impl Flash for Stubborn {
    fn geometry(&self) -> FlashGeometry {
        self.0.geometry()
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<EccStats, FlashError> {
        self.0.read(offset, bytes)
    }

    fn erase(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        self.0.erase(eraseblock)
    }

    fn program(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FlashError> {
        self.0.program(offset, bytes)
    }

    fn is_bad(&mut self, eraseblock: u32) -> Result<bool, FlashError> {
        self.0.is_bad(eraseblock)
    }

    fn mark_bad(&mut self, eraseblock: u32) -> Result<(), FlashError> {
        self.0.mark_bad(eraseblock)
    }

    fn is_locked(&mut self, eraseblock: u32) -> Result<Option<bool>, FlashError> {
        self.0.is_locked(eraseblock)
    }

    fn set_locked(&mut self, eraseblock: u32, locked: bool) -> Result<(), FlashError> {
        if locked && eraseblock == 1 {
            let offset = self.geometry().offset_of(eraseblock);
            return Err(FlashError::new(FlashOp::Lock, offset, FlashFault::Failed));
        }
        self.0.set_locked(eraseblock, locked)
    }
}

#[test]
fn a_lock_that_cannot_be_put_back_is_an_error() {
    let image = noise(2, 3 * SIZE);
    let mut flash = Simulation::new(nor(4096, 8), 1);
    flash.set_lockable(1, true);
    [0, 1, 2].into_iter().for_each(|eraseblock| flash.lock(eraseblock));
    let mut flash = Stubborn(flash);
    let mut report = Report::default();
    let plan = plan_write(&mut flash, &mut &image[..], &Options::default(), &mut quiet).unwrap();
    let error = plan.execute(&mut flash, &mut &image[..], &mut report, &mut quiet).unwrap_err();
    let Error::Flash(error) = *error else { panic!("{error}") };
    assert_eq!((error.op, error.offset), (FlashOp::Lock, 4096), "{error}");
    assert_eq!((report.unlocked, report.locked, report.written), (3, 0, 3), "all or none of a range");
    assert_holds(&flash.0, &image);
    assert_eq!([0, 1, 2].map(|eraseblock| flash.0.locked(eraseblock)), [true, false, true]);
}

#[test]
fn large_eraseblocks_are_read_and_tortured_in_pieces() {
    let size = 200 << 10;
    let image = noise(2, 3 * size + 150_000);
    for geometry in [nand(200 << 10, 7, 4096), nor(200 << 10, 7)] {
        let is_nand = geometry.page_size > 1;
        let mut flash = Simulation::new(geometry, 1);
        flash.store(0, &noise(3, 7 * size));
        if is_nand {
            flash.set_fault(2, Fault::Program(40));
            flash.set_fault(3, Fault::ProgramOnce(41));
        }
        let report = done(&mut flash, &image, From::Pipe);
        let (tortured, bad): (&[u32], &[u32]) = if is_nand { (&[2, 3], &[2]) } else { (&[], &[]) };
        assert_eq!((&report.tortured[..], &report.went_bad[..]), (tortured, bad));
        assert_holds(&flash, &image);
        assert_eq!(done(&mut flash, &image, From::File).erases, 0);
        for at in [4095, 4096, 70_000, 199_999] {
            let mut other = image.clone();
            other[at] ^= 0x80;
            let verdict = plan_verify(&mut flash, &&other[..], &Options::default()).unwrap().execute(
                &mut flash,
                &mut &other[..],
                &mut Report::default(),
                &mut quiet,
            );
            let first = verdict.unwrap().first.unwrap();
            assert_eq!((first.offset, first.bytes), (at as u64, Some((other[at], image[at]))));
        }
        flash.set_fault(1, Fault::Erase(1));
        let plan = plan_erase(&mut flash, &Options::default()).unwrap();
        let mut report = Report::default();
        let result = plan.execute(&mut flash, &mut report, &mut quiet);
        assert_eq!(result.is_ok(), is_nand);
        assert_eq!(report.went_bad, if is_nand { vec![1] } else { vec![] });
        assert_eq!(flash.violations(), []);
    }
}
