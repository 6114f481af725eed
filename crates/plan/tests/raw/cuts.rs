//! The power is cut at every operation of a run, and at every operation of the run after that.
//!
//! After each cut, the device holds the complete old image, or one whose first eraseblock is invalid, or the complete new
//! one. After the last run, the new one is there for good, no rule of the flash was broken, and no eraseblock was erased
//! more often than the plan said and once for each cut.

use flashwright_flashsim::{Fault, Interruption, Simulation, nand, nor};
use flashwright_media::{Flash, FlashKind};
use flashwright_plan::raw::{Action, Options};

use crate::tools::{BOTH, From, assert_holds, done, good, is_at, noise, plan, run};

const EB: usize = 2048;
const OTHER_SEEDS: u64 = 3;

/// A device before the first run.
struct Start {
    name: &'static str,
    flash: Simulation,
    /// What it holds, if that is something.
    old: Option<Vec<u8>>,
    image: Vec<u8>,
    /// Whether eraseblocks fail, so that erases cannot be counted beforehand.
    fails: bool,
}

fn used(flash: &Simulation, old: &[u8]) -> Simulation {
    let mut flash = flash.clone();
    for (chunk, eraseblock) in old.chunks(EB).zip(good(&flash)) {
        flash.store(flash.geometry().offset_of(eraseblock), chunk);
    }
    flash
}

fn starts(fresh: &Simulation) -> Vec<Start> {
    let is_nand = fresh.geometry().page_size > 1;
    let image = noise(2, 4 * EB + 900);
    let old = noise(3, 6 * EB);
    let start = |name, flash, old| Start { name, flash, old, image: image.clone(), fails: false };
    let over_old = start("over an old image", used(fresh, &old), Some(old.clone()));
    let blank = start("blank", fresh.clone(), None);

    let mut similar = image.clone();
    similar[2 * EB + 7] ^= 4;
    similar[4 * EB..].fill(0);
    let same_header = start("the same first eraseblock", used(fresh, &similar), Some(similar));

    let mut half = used(fresh, &old);
    for eraseblock in [0, 2, 3] {
        half.cut_power_how(1, Interruption::Half);
        half.erase(eraseblock).unwrap_err();
        half.power_on();
    }
    half.cut_power_how(1, Interruption::AlmostComplete);
    half.erase(4).unwrap_err();
    half.power_on();
    let half = start("half erased", half, None);

    let mut sparse = noise(5, 5 * EB);
    sparse[EB..3 * EB].fill(0xff);
    sparse[3 * EB + 600..3 * EB + 1200].fill(0xff);
    let blanks = Start { image: sparse, ..start("blank parts", used(fresh, &old), Some(old.clone())) };
    let mut all = vec![over_old, blank, same_header, half, blanks];
    if is_nand {
        for (name, eraseblock, fault) in [
            ("the first one goes bad", 0, Fault::Erase(1)),
            ("one goes bad on erase", 3, Fault::Erase(1)),
            ("one goes bad on program", 2, Fault::Program(2)),
            ("one goes bad silently", 4, Fault::ProgramSilently(1)),
        ] {
            let mut flash = used(fresh, &old);
            flash.set_fault(eraseblock, fault);
            all.push(Start { fails: true, ..start(name, flash, Some(old.clone())) });
        }
    } else {
        let mut locked = used(fresh, &old);
        locked.set_lockable(2, true);
        [0, 1, 2, 3].into_iter().for_each(|eraseblock| locked.lock(eraseblock));
        all.push(start("locked", locked, Some(old)));
    }
    all
}

impl Start {
    /// What a boot loader would find after a cut.
    fn check_cut(&self, flash: &Simulation, context: &str) {
        let whole = |image: &[u8], places: &[u32], skip: usize| {
            let mut parts = image.chunks(EB).zip(places).skip(skip);
            parts.all(|(chunk, &eraseblock)| is_at(flash, chunk, eraseblock) && flash.is_sound(eraseblock))
        };
        // NOR that hangs may read right; NAND that cannot be corrected never does.
        let is_nor = flash.geometry().kind == FlashKind::Nor;
        let reads = |eraseblock| is_nor || flash.is_sound(eraseblock) && !flash.marked_bad(eraseblock);
        // NAND wants its pages in order: there the start is programmed first.
        let start = if is_nor { 4 } else { EB };
        let first =
            |image: &[u8], places: &[u32]| is_at(flash, &image[..start], places[0]) && reads(places[0]);
        let (before, now) = (good(&self.flash), good(flash));
        let old = self.old.as_deref();
        let starts_old = old.is_some_and(|old| first(old, &before));
        let starts_new = first(&self.image, &now);
        let rest = usize::from(!is_nor);
        let old_is_whole = old.is_some_and(|old| whole(old, &before, rest));
        let new_is_whole = whole(&self.image, &now, rest);
        assert!(!starts_old || old_is_whole || starts_new && new_is_whole, "{context}");
        assert!(!starts_new || new_is_whole || starts_old && old_is_whole, "{context}");
    }

    fn check_end(&self, flash: &Simulation, cuts: u64, context: &str) {
        assert_holds(flash, &self.image);
        if self.fails {
            return;
        }
        let mut before = self.flash.clone();
        let plan = plan(&mut before, &self.image, &Options::default());
        let steps: Vec<_> = plan.steps().collect();
        for eraseblock in 0..flash.geometry().eraseblock_count {
            let grown = flash.erases(eraseblock) - before.erases(eraseblock);
            let step = steps.iter().find(|step| step.eraseblock == eraseblock);
            let most = step.map_or(0, |step| u64::from(step.action != Action::Keep) + cuts);
            assert!(grown <= most, "{context}: eraseblock {eraseblock} erased {grown} times, {step:?}");
        }
    }

    fn context(&self, from: From, cuts: &[u64], how: Interruption) -> String {
        format!("{} from {from:?}, cut at {cuts:?} {how:?}", self.name)
    }

    /// Cuts a run at `operation`; whether it came that far.
    fn cut(&self, flash: &mut Simulation, from: From, operation: u64, how: Interruption) -> bool {
        flash.reseed(operation * 1000 + flash.operations());
        flash.cut_power_how(operation, how);
        let (result, _) = run(flash, &self.image, from, &Options::default());
        let was_cut = !flash.is_powered();
        // A pipe cannot be read again when the first eraseblock goes bad.
        assert!(was_cut || result.is_ok() || self.fails && from == From::Pipe, "{result:?}");
        flash.power_on();
        was_cut
    }

    /// The last run.
    fn finish(&self, mut flash: Simulation, from: From, cuts: u64, context: &str) {
        let fails = self.fails && from == From::Pipe;
        if fails && run(&mut flash, &self.image, from, &Options::default()).0.is_ok() {
            return self.check_end(&flash, cuts, context);
        }
        done(&mut flash, &self.image, from);
        self.check_end(&flash, cuts, context);
    }

    /// All cuts, each in each way that flash is left in.
    fn cut_once(&self, from: From) -> u64 {
        let mut points = 0;
        for operation in 1.. {
            for how in Interruption::ALL {
                let context = self.context(from, &[operation], how);
                let mut flash = self.flash.clone();
                if !self.cut(&mut flash, from, operation, how) {
                    return points;
                }
                points += 1;
                self.check_cut(&flash, &context);
                self.finish(flash, from, 1, &context);
            }
        }
        points
    }

    /// All cuts, and all cuts of the run that follows each.
    fn cut_twice(&self, from: From, seed: u64) -> u64 {
        let mut points = 0;
        for first in 1.. {
            let mut once = self.flash.clone();
            once.reseed(seed);
            if !self.cut(&mut once, from, first, Interruption::Any) {
                return points;
            }
            self.check_cut(&once, &self.context(from, &[first], Interruption::Any));
            for second in 1.. {
                let context = self.context(from, &[first, second], Interruption::Any);
                let mut twice = once.clone();
                if !self.cut(&mut twice, from, second, Interruption::Any) {
                    break;
                }
                points += 1;
                self.check_cut(&twice, &context);
                self.finish(twice, from, 2, &context);
            }
        }
        points
    }
}

fn all_cuts(fresh: &Simulation) -> (u64, u64) {
    let (mut once, mut twice) = (0, 0);
    for start in starts(fresh) {
        for from in BOTH {
            once += start.cut_once(from);
            twice += (0..OTHER_SEEDS).map(|seed| start.cut_twice(from, seed)).sum::<u64>();
        }
    }
    (once, twice)
}

#[test]
fn nor_survives_every_cut() {
    let points = all_cuts(&Simulation::new(nor(2048, 8), 1));
    println!("cut points on NOR: {} in one run, {} in two", points.0, points.1);
    assert_eq!(points, (2340, 35_574));
}

#[test]
fn nand_survives_every_cut() {
    let mut fresh = Simulation::new(nand(2048, 10, 512), 1);
    fresh.set_bad(1);
    let points = all_cuts(&fresh);
    println!("cut points on NAND: {} in one run, {} in two", points.0, points.1);
    assert_eq!(points, (2025, 18_453));
}
