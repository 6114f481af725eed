//! Devices that do what they are told.

use std::ops::ControlFlow;

use flashwright_flashsim::{Simulation, Timing, nand, nor, ram};
use flashwright_media::FlashGeometry;
use flashwright_plan::raw::{Action, Options, plan_write};
use flashwright_plan::{Costs, Ending, Error, Event, Phase, PipeSource, Report};

use crate::tools::{BOTH, From, assert_holds, done, holds, noise, plan, quiet, run, run_with, sha256};

const SIZE: usize = 4096;

fn devices() -> [FlashGeometry; 3] {
    [nor(4096, 16), nand(4096, 16, 512), ram(4096, 16)]
}

fn actions(flash: &mut Simulation, image: &[u8]) -> Vec<Action> {
    plan(flash, image, &Options::default()).steps().map(|step| step.action).collect()
}

#[test]
fn only_what_differs_is_erased() {
    for geometry in devices() {
        for from in BOTH {
            let mut flash = Simulation::new(geometry, 1);
            let image = noise(2, 5 * SIZE + 700);
            flash.store(0, &noise(3, 16 * SIZE));
            let report = done(&mut flash, &image, from);
            assert_holds(&flash, &image);
            // The last page of 512 or 256 bytes is filled up, the rest of the last eraseblock left out.
            let unit = if geometry.page_size == 512 { 1024 } else { 768 };
            assert_eq!((report.erases, report.programmed), (6, 5 * SIZE as u64 + unit));
            assert_eq!((report.written, report.kept, report.verified), (6, 0, 6));
            assert_eq!(flash.content(6), &noise(3, 16 * SIZE)[6 * SIZE..7 * SIZE]);

            let report = done(&mut flash, &image, from);
            assert_eq!(report, Report::default().with_kept(6), "{geometry:?} {from:?}");

            let mut changed = image.clone();
            changed[3 * SIZE + 9] ^= 1;
            let report = done(&mut flash, &changed, from);
            assert_holds(&flash, &changed);
            assert_eq!((report.erases, report.written, report.kept), (2, 2, 4));
            changed[0] ^= 1;
            let report = done(&mut flash, &changed, from);
            assert_holds(&flash, &changed);
            assert_eq!((report.erases, report.written, report.kept), (1, 1, 5));
            let erases: Vec<_> = (0..7).map(|eraseblock| flash.erases(eraseblock)).collect();
            assert_eq!(erases, [3, 1, 1, 2, 1, 1, 0]);
        }
    }
}

trait WithKept {
    fn with_kept(self, kept: u32) -> Self;
}

impl WithKept for Report {
    fn with_kept(mut self, kept: u32) -> Self {
        self.kept = kept;
        self
    }
}

#[test]
fn a_plan_says_what_will_be_done() {
    let mut flash = Simulation::new(nand(4096, 16, 512), 1);
    flash.set_bad(1);
    let image = noise(2, 4 * SIZE);
    done(&mut flash, &image, From::File);
    let mut new = image.clone();
    new[2 * SIZE..3 * SIZE].fill(0xff);
    new[2 * SIZE + 1000] = 7;
    new.extend([0; 10]);
    let options = Options::default();
    let plan = plan(&mut flash, &new, &options);
    let steps: Vec<_> = plan.steps().map(|step| (step.eraseblock, step.action, step.programmed)).collect();
    assert_eq!(
        steps,
        [
            (0, Action::Invalidate, 4096),
            (2, Action::Keep, 0),
            (3, Action::Write, 512),
            (4, Action::Keep, 0),
            (5, Action::Write, 512),
        ]
    );
    assert_eq!((plan.erases(), plan.kept(), plan.programmed()), (3, 2, 5120));
    assert_eq!((plan.spare(), plan.bad(), plan.locked(), plan.tail_lost()), (10, 1, 0, 0));
    assert!(plan.is_decided() && plan.refusals().is_empty() && plan.estimate().is_none());
    let mut report = Report::default();
    let ending = plan.execute(&mut flash, &mut &new[..], &mut report, &mut quiet).unwrap();
    assert_eq!((ending, report.erases, report.programmed, report.kept), (Ending::Done, 3, 5120, 2));
    assert_holds(&flash, &new);
}

#[test]
fn a_pipe_is_taken_to_differ_everywhere() {
    let mut flash = Simulation::new(nor(4096, 8), 1);
    let image = noise(2, 3 * SIZE);
    let mut input = &image[..];
    let mut source = PipeSource::new(&mut input, image.len() as u64);
    let plan = plan_write(&mut flash, &mut source, &Options::default(), &mut quiet).unwrap();
    assert!(!plan.is_decided());
    assert_eq!((plan.erases(), plan.programmed(), plan.kept(), plan.spare()), (3, 3 * 4096, 0, 5));
}

#[test]
fn the_first_eraseblock_is_gone_first_and_back_last() {
    for geometry in devices() {
        for from in BOTH {
            let mut flash = Simulation::new(geometry, 1);
            let old = noise(3, 6 * SIZE);
            // The same first eraseblock as before: a boot loader would take the mixture.
            let mut image = noise(2, 6 * SIZE);
            image[..SIZE].copy_from_slice(&old[..SIZE]);
            flash.store(0, &old);
            let mut seen = flash.clone();
            seen.cut_power_at(4);
            run(&mut seen, &image, from, &Options::default()).0.unwrap_err();
            assert!(!holds(&seen, &image[..SIZE]), "{geometry:?} {from:?}");
            let report = done(&mut flash, &image, from);
            assert_holds(&flash, &image);
            assert_eq!((report.erases, flash.erases(0)), (6, 1));
        }
    }
}

#[test]
fn nothing_is_programmed_without_an_erase_in_the_same_run() {
    let mut flash = Simulation::new(nor(4096, 8), 1);
    flash.store(0, &[0xff; SIZE]);
    let image = noise(2, 2 * SIZE);
    assert_eq!(actions(&mut flash, &image), [Action::Write; 2]);
    flash.store(0, &[image[..SIZE].to_vec(), vec![0xf7; SIZE]].concat());
    let bits_fall = [&image[..SIZE], &[0x77; SIZE]].concat();
    assert_eq!(actions(&mut flash, &bits_fall), [Action::Invalidate, Action::Write]);
    // Blank where it shall be blank stays.
    flash.store(0, &[image[..SIZE].to_vec(), vec![0xff; SIZE]].concat());
    assert_eq!(actions(&mut flash, &[&image[..SIZE], &[0xff; 100]].concat()), [Action::Keep; 2]);
    let blank = [&image[..SIZE], &[0xff; SIZE], &[0xff; SIZE]].concat();
    flash.store(2 * 4096, &[0xff, 0]);
    let report = done(&mut flash, &blank, From::File);
    assert_eq!((report.erases, report.programmed), (2, 4096));
    assert_holds(&flash, &blank);
}

#[test]
fn an_area_is_kept_to() {
    for from in BOTH {
        let mut flash = Simulation::new(nand(4096, 16, 512), 1);
        let old = noise(3, 16 * SIZE);
        flash.store(0, &old);
        flash.set_bad(5);
        let image = noise(2, 2 * SIZE + 5);
        let mut options = Options::default();
        (options.offset, options.len) = (4 * 4096, Some(4 * 4096));
        let plan = plan(&mut flash, &image, &options);
        assert_eq!(plan.steps().map(|step| step.eraseblock).collect::<Vec<_>>(), [4, 6, 7]);
        let lost = old[7 * SIZE + 5..8 * SIZE].iter().filter(|&&byte| byte != 0xff).count() as u64;
        assert_eq!((plan.spare(), plan.bad(), plan.tail_lost()), (0, 1, lost));
        assert_eq!(run(&mut flash, &image, from, &options).0.unwrap(), Ending::Done);
        let mut expected = old.clone();
        expected[4 * SIZE..5 * SIZE].copy_from_slice(&image[..SIZE]);
        expected[6 * SIZE..8 * SIZE].fill(0xff);
        expected[6 * SIZE..8 * SIZE][..SIZE + 5].copy_from_slice(&image[SIZE..]);
        assert!(flash.image() == expected && flash.violations().is_empty());
    }
}

#[test]
fn what_cannot_end_well_is_refused() {
    let mut flash = Simulation::new(nand(4096, 16, 512), 1);
    flash.set_bad(3);
    flash.set_bad(12);
    let cases: [(u64, Option<u64>, usize, &str, &str); 9] = [
        (0, None, 0, "empty", "the image is empty"),
        (
            4196,
            None,
            5,
            "offset",
            "offset 0x00001064 is inside the eraseblock from 0x00001000 to 0x00002000, which can be erased as a whole \
             only: the other bytes there would be lost; give one of these two",
        ),
        (
            0,
            Some(4096 + 1),
            5,
            "length",
            "offset + length 0x00001001 is inside the eraseblock from 0x00001000 to 0x00002000, which can be erased as a \
             whole only: the other bytes there would be lost; give one of these two",
        ),
        (
            65536,
            None,
            5,
            "range",
            "bytes 0x00010000 to 0x00010000 of a device of 0x00010000 (16 eraseblocks of 4096 bytes): give an offset and a \
             length inside it",
        ),
        (
            4096,
            Some(65536),
            5,
            "range",
            "bytes 0x00001000 to 0x00011000 of a device of 0x00010000 (16 eraseblocks of 4096 bytes): give an offset and a \
             length inside it",
        ),
        (
            4096,
            Some(u64::MAX),
            5,
            "range",
            "bytes 0x00001000 to 0xffffffffffffffff of a device of 0x00010000 (16 eraseblocks of 4096 bytes): give an \
             offset and a length inside it",
        ),
        (
            4096,
            Some(0),
            5,
            "range",
            "bytes 0x00001000 to 0x00001000 of a device of 0x00010000 (16 eraseblocks of 4096 bytes): give an offset and a \
             length inside it",
        ),
        (
            0,
            None,
            14 * SIZE + 1,
            "size",
            "the image has 57345 bytes, which take 15 eraseblocks of 4096 bytes; from 0x00000000 to 0x00010000 there are 14 \
             good ones and 2 bad: 1 bytes too few",
        ),
        (
            12 * 4096,
            Some(2 * 4096),
            SIZE + 100,
            "size",
            "the image has 4196 bytes, which take 2 eraseblocks of 4096 bytes; from 0x0000c000 to 0x0000e000 there are 1 \
             good ones and 1 bad: 100 bytes too few",
        ),
    ];
    for (offset, len, image_len, word, reason) in cases {
        let mut options = Options::default();
        (options.offset, options.len) = (offset, len);
        let image = noise(2, image_len);
        let plan = plan(&mut flash, &image, &options);
        let [refusal] = plan.refusals() else { panic!("{:?}", plan.refusals()) };
        assert_eq!((refusal.word, refusal.reason.as_str(), refusal.overridable), (word, reason, false));
        for from in BOTH {
            let (result, report) = run(&mut flash, &image, from, &options);
            assert!(matches!(result, Err(Error::Refused(ref refused)) if refused == refusal));
            assert_eq!(report, Report::default());
        }
    }
    let largest = noise(2, 14 * SIZE);
    assert_eq!(flash.operations(), 0);
    done(&mut flash, &largest, From::Pipe);
    assert_holds(&flash, &largest);
}

#[test]
fn the_digest_is_checked_first_or_before_the_first_eraseblock() {
    let image = noise(2, 3 * SIZE);
    let old = noise(3, 3 * SIZE);
    for from in BOTH {
        let mut flash = Simulation::new(nor(4096, 8), 1);
        flash.store(0, &old);
        let mut options = Options::default();
        options.sha256 = Some(sha256(&old));
        let (result, report) = run(&mut flash, &image, from, &options);
        let text = result.unwrap_err().to_string();
        let expected = format!(
            "the image has SHA-256 {}, expected {}: it was damaged on its way, or is another one",
            sha256(&image),
            sha256(&old)
        );
        assert_eq!(text, expected);
        match from {
            From::File => assert!(report == Report::default() && holds(&flash, &old)),
            From::Pipe => {
                assert_eq!((report.written, report.erases), (2, 3));
                assert_eq!(flash.content(0), [0xff; SIZE]);
            }
        }
        options.sha256 = Some(sha256(&image));
        assert_eq!(run(&mut flash, &image, from, &options).0.unwrap(), Ending::Done);
        assert_holds(&flash, &image);
        // All is right already, and yet it is not what was asked for.
        options.sha256 = Some(sha256(&old));
        let operations = flash.operations();
        run(&mut flash, &image, from, &options).0.unwrap_err();
        assert_eq!(flash.operations(), operations);
    }
}

#[test]
fn locks_are_opened_where_needed_and_closed_again() {
    for (geometry, tells) in [(nor(4096, 16), true), (nand(4096, 16, 512), true), (nor(4096, 16), false)] {
        for from in BOTH {
            let mut flash = Simulation::new(geometry, 1);
            let image = noise(2, 6 * SIZE);
            flash.store(0, &image);
            flash.store(2 * 4096, &noise(3, 2 * SIZE));
            flash.set_lockable(1, tells);
            [0, 1, 2, 5, 9].into_iter().for_each(|eraseblock| flash.lock(eraseblock));
            let plan = plan(&mut flash, &image, &Options::default());
            assert_eq!(plan.locked(), if tells { 2 } else { 0 });
            let mut events = Vec::new();
            let mut on_event = |event| {
                if matches!(event, Event::Unlocked { .. } | Event::Locked { .. }) {
                    events.push(event);
                }
                ControlFlow::Continue(())
            };
            let mut input = &image[..];
            let report = match from {
                From::File => run_with(&mut flash, &mut input, &Options::default(), &mut on_event).1,
                From::Pipe => {
                    let mut source = PipeSource::new(&mut input, image.len() as u64);
                    run_with(&mut flash, &mut source, &Options::default(), &mut on_event).1
                }
            };
            assert_holds(&flash, &image);
            // 1 is locked between two others.
            let opened: &[u32] = if tells { &[0, 1, 2] } else { &[0, 2] };
            assert_eq!([report.unlocked, report.locked].map(|count| count as usize), [opened.len(); 2]);
            let unlocked = opened.iter().map(|&eraseblock| Event::Unlocked { eraseblock });
            let locked = opened.iter().map(|&eraseblock| Event::Locked { eraseblock });
            assert_eq!(events, unlocked.chain(locked).collect::<Vec<_>>());
            let locked: Vec<u32> = (0..16).filter(|&eraseblock| flash.locked(eraseblock)).collect();
            assert_eq!(locked, [0, 1, 2, 5, 9]);
        }
    }
}

#[test]
fn the_one_range_of_a_chip_is_put_back_as_it_was() {
    let image = noise(2, 6 * SIZE);
    for (from, locked) in
        BOTH.into_iter().flat_map(|from| [0..16, 2..16, 0..3, 1..4].map(|range| (from, range)))
    {
        let mut flash = Simulation::new(nor(4096, 16), 1);
        flash.set_one_lock();
        locked.clone().for_each(|eraseblock| flash.lock(eraseblock));
        let report = done(&mut flash, &image, from);
        assert_holds(&flash, &image);
        assert_eq!((report.unlocked, report.locked), (locked.end - locked.start, locked.end - locked.start));
        let found: Vec<u32> = (0..16).filter(|&eraseblock| flash.locked(eraseblock)).collect();
        assert_eq!(found, locked.collect::<Vec<_>>());
    }
}

#[test]
fn a_stop_ends_at_the_border_of_an_eraseblock() {
    for geometry in devices() {
        for from in BOTH {
            let image = noise(2, 5 * SIZE);
            let mut stopped_runs = 0;
            for stop_after in 0..40 {
                let mut flash = Simulation::new(geometry, 1);
                flash.set_lockable(1, true);
                flash.lock(0);
                flash.lock(3);
                flash.store(0, &noise(3, 5 * SIZE));
                let mut events = 0;
                let mut on_event = |_| {
                    events += 1;
                    if events > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let mut input = &image[..];
                let (result, first) = match from {
                    From::File => run_with(&mut flash, &mut input, &Options::default(), &mut on_event),
                    From::Pipe => {
                        let mut source = PipeSource::new(&mut input, image.len() as u64);
                        run_with(&mut flash, &mut source, &Options::default(), &mut on_event)
                    }
                };
                assert!(flash.locked(0) && flash.locked(3) && !flash.locked(1));
                match result {
                    Ok(Ending::Done) => assert_holds(&flash, &image),
                    Ok(Ending::Stopped) => {
                        assert!(first.written < 5 && !holds(&flash, &image));
                        assert!(!holds(&flash, &image[..SIZE]));
                        let written = (1u32..5).filter(|&number| {
                            crate::tools::is_at(&flash, &image[number as usize * SIZE..][..SIZE], number)
                        });
                        assert_eq!(written.count(), first.written as usize);
                        stopped_runs += 1;
                    }
                    Err(Error::Stopped) => assert!(flash.operations() == 0 && stop_after < 5),
                    Err(error) => panic!("{error}"),
                }
                let second = done(&mut flash, &image, from);
                assert_holds(&flash, &image);
                assert!(first.erases + second.erases <= 6, "the first eraseblock alone is erased twice");
            }
            assert!(stopped_runs >= 4, "{stopped_runs}");
        }
    }
}

#[test]
fn progress_counts_every_eraseblock() {
    let mut flash = Simulation::new(nor(4096, 16), 1);
    let image = noise(2, 3 * SIZE);
    let mut events = Vec::new();
    let mut on_event = |event| {
        events.push(event);
        ControlFlow::Continue(())
    };
    run_with(&mut flash, &mut &image[..], &Options::default(), &mut on_event).0.unwrap();
    let phase = |phase| (1..=3).map(move |done| Event::Progress { phase, done, total: 3 });
    assert_eq!(events, phase(Phase::Survey).chain(phase(Phase::Write)).collect::<Vec<_>>());
}

#[test]
fn estimates_are_what_the_device_takes() {
    let mut flash = Simulation::new(nand(4096, 16, 1024), 1);
    flash.set_timing(Timing { erase_ns: 2_000_000, program_ns: 300_000, read_ns: 25_000 });
    let mut options = Options::default();
    options.costs = Costs { erase_ns: 2_000_000, program_ns: 300_000, read_ns: 25_000 };
    let image = noise(2, 4 * SIZE);
    let plan = plan(&mut flash, &image, &options);
    let before = flash.elapsed_ns();
    plan.execute(&mut flash, &mut &image[..], &mut Report::default(), &mut quiet).unwrap();
    let blank_check = 4 * 25_000;
    assert_eq!(plan.estimate().unwrap() + blank_check, flash.elapsed_ns() - before);
}
