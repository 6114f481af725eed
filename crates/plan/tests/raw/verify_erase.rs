//! Comparing, and erasing.

use std::ops::ControlFlow;

use flashwright_flashsim::{Fault, Simulation, nand, nor};
use flashwright_plan::raw::{Options, Verdict, plan_erase, plan_verify};
use flashwright_plan::{Costs, Ending, Error, Event, PipeSource, Report};

use crate::tools::{BOTH, From, noise, quiet, sha256};

const SIZE: usize = 4096;

fn verify(
    flash: &mut Simulation,
    image: &[u8],
    from: From,
    options: &Options,
) -> (Result<Verdict, Error>, Report) {
    let mut report = Report::default();
    let mut input = image;
    let plan = plan_verify(flash, &image, options).unwrap();
    let result = match from {
        From::File => plan.execute(flash, &mut input, &mut report, &mut quiet),
        From::Pipe => {
            let mut source = PipeSource::new(&mut input, image.len() as u64);
            plan.execute(flash, &mut source, &mut report, &mut quiet)
        }
    };
    (result.map_err(|error| *error), report)
}

#[test]
fn a_comparison_says_where() {
    for from in BOTH {
        let mut flash = Simulation::new(nand(4096, 8, 512), 1);
        flash.set_bad(1);
        let image = noise(2, 4 * SIZE - 100);
        flash.store(0, &image[..SIZE]);
        flash.store(2 * 4096, &image[SIZE..]);
        let mut options = Options::default();
        options.sha256 = Some(sha256(&image));
        let (verdict, report) = verify(&mut flash, &image, from, &options);
        assert!(verdict.unwrap().is_equal());
        assert_eq!((report.verified, report.erases, flash.operations()), (4, 0, 0));

        // What is behind the image does not count.
        let mut stored = image.clone();
        stored.extend([0; 50]);
        stored[SIZE + 5] ^= 0x41;
        stored[3 * SIZE] ^= 1;
        flash.store(2 * 4096, &stored[SIZE..]);
        flash.flip(0, 2);
        let (verdict, report) = verify(&mut flash, &image, from, &options);
        let verdict = verdict.unwrap();
        let first = verdict.first.unwrap();
        assert_eq!((verdict.is_equal(), verdict.different, verdict.ending), (false, 2, Ending::Done));
        assert_eq!((first.offset, first.bytes), (0x2005, Some((image[SIZE + 5], stored[SIZE + 5]))));
        assert_eq!((report.verified, report.corrected_bits), (2, 2));

        flash.flip(0, 4);
        let (verdict, _) = verify(&mut flash, &image, from, &options);
        let first = verdict.unwrap().first.unwrap();
        assert_eq!((first.offset, first.bytes), (0, None));

        options.sha256 = Some(sha256(b"another"));
        assert!(matches!(verify(&mut flash, &image, from, &options).0, Err(Error::Digest { .. })));
    }
}

#[test]
fn what_does_not_fit_cannot_be_there() {
    let mut flash = Simulation::new(nor(4096, 4), 1);
    let image = noise(2, 5 * SIZE);
    let plan = plan_verify(&mut flash, &&image[..], &Options::default()).unwrap();
    assert_eq!((plan.refusals()[0].word, plan.eraseblocks()), ("size", 0));
    let (result, _) = verify(&mut flash, &image, From::File, &Options::default());
    assert!(matches!(result, Err(Error::Refused(_))));
}

#[test]
fn a_comparison_can_be_stopped() {
    let mut flash = Simulation::new(nor(4096, 4), 1);
    let image = vec![0xff; 3 * SIZE];
    let mut options = Options::default();
    options.costs = Costs { erase_ns: 0, program_ns: 0, read_ns: 1000 };
    let plan = plan_verify(&mut flash, &&image[..], &options).unwrap();
    assert_eq!((plan.estimate(), plan.eraseblocks()), (Some(12_000), 3));
    let mut stop = |_| ControlFlow::Break(());
    let verdict = plan.execute(&mut flash, &mut &image[..], &mut Report::default(), &mut stop).unwrap();
    assert_eq!((verdict.ending, verdict.is_equal(), verdict.different), (Ending::Stopped, false, 0));
}

#[test]
fn an_area_is_erased_whole() {
    let mut flash = Simulation::new(nand(4096, 8, 512), 1);
    let old = noise(3, 8 * SIZE);
    flash.store(0, &old);
    flash.store(3 * 4096, &[0xff; SIZE]);
    flash.set_bad(4);
    flash.set_fault(5, Fault::Erase(1));
    flash.set_fault(6, Fault::EraseOnce(1));
    flash.set_lockable(1, true);
    flash.lock(2);
    let mut options = Options::default();
    (options.offset, options.len) = (2 * 4096, Some(5 * 4096));
    options.costs = Costs { erase_ns: 1_000_000, program_ns: 0, read_ns: 1 };
    let plan = plan_erase(&mut flash, &options).unwrap();
    assert_eq!((plan.eraseblocks(), plan.bad(), plan.locked()), (&[2, 3, 5, 6][..], 1, 1));
    assert_eq!((plan.estimate(), flash.operations()), (Some(4_000_020), 0));
    let mut report = Report::default();
    assert_eq!(plan.execute(&mut flash, &mut report, &mut quiet).unwrap(), Ending::Done);
    assert_eq!((&report.tortured[..], &report.went_bad[..]), (&[5, 6][..], &[5][..]));
    assert_eq!((report.verified, report.unlocked, report.locked), (3, 1, 1));
    for eraseblock in [2, 3, 6] {
        assert_eq!(flash.content(eraseblock), [0xff; SIZE]);
    }
    let untouched = [0, 1, 4, 7].map(|at| flash.content(at) == &old[at as usize * SIZE..][..SIZE]);
    assert_eq!((untouched, flash.violations().len(), flash.locked(2)), ([true; 4], 0, true));
}

#[test]
fn erasing_stops_and_fails_where_it_has_to() {
    let mut flash = Simulation::new(nor(4096, 8), 1);
    flash.store(0, &noise(3, 8 * SIZE));
    let plan = plan_erase(&mut flash, &Options::default()).unwrap();
    let mut stop = |event| match event {
        Event::Progress { done: 3, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut report = Report::default();
    assert_eq!(plan.execute(&mut flash, &mut report, &mut stop).unwrap(), Ending::Stopped);
    assert_eq!((report.erases, flash.erases(2), flash.erases(3)), (3, 1, 0));
    flash.set_fault(5, Fault::Erase(1));
    let mut report = Report::default();
    let error = plan.execute(&mut flash, &mut report, &mut quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot erase at 0x00005000: the flash did not take it: the eraseblock may be worn out"
    );
    assert_eq!(report.erases, 7);
    let mut options = Options::default();
    options.offset = 1;
    let plan = plan_erase(&mut flash, &options).unwrap();
    assert_eq!(plan.refusals()[0].word, "offset");
    let error = plan.execute(&mut flash, &mut report, &mut quiet).unwrap_err();
    assert!(matches!(*error, Error::Refused(_)), "{error}");
}
