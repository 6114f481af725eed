//! Any image onto any flash, worn, locked, half erased, with the power cut and runs stopped anywhere: at any time the old
//! image, the new one, or one that does not start; in the end the new one, for good, or an error that the flash deserves.

#![no_main]

use std::ops::ControlFlow;

use flashwright_flashsim::{Fault, Interruption, Random, Simulation};
use flashwright_media::{Flash, FlashFault, FlashGeometry, FlashKind};
use flashwright_plan::raw::{Options, plan_verify, plan_write};
use flashwright_plan::{Ending, Error, Event, PipeSource, Report, Source};
use libfuzzer_sys::fuzz_target;

/// So much of an image is noise or blank: a few bits that hang in a page could read right by chance.
const UNIT: usize = 512;

/// Sizes; seed; how each eraseblock is at first; faults: eraseblock, kind, when; runs: from where, cut, how, stop.
type Input = ([u8; 8], u64, Vec<u8>, Vec<[u8; 3]>, Vec<[u8; 4]>);

struct Model {
    start: Simulation,
    image: Vec<u8>,
    options: Options,
    size: usize,
    faulty: bool,
}

fn geometry([kind, sizes, count, ..]: [u8; 8]) -> FlashGeometry {
    let kinds = [FlashKind::Nor, FlashKind::Nand, FlashKind::Ram];
    let kind = kinds[usize::from(kind) % kinds.len()];
    let (page_size, sub_page_size) = match (kind, sizes & 3) {
        (FlashKind::Nand, 0) => (1024, 512),
        (FlashKind::Nand, _) => (512, 512),
        (_, 0) => (16, 16),
        _ => (1, 1),
    };
    let eraseblock_size = 1024 << (sizes >> 2 & 1);
    FlashGeometry {
        kind,
        eraseblock_size,
        eraseblock_count: 1 + u32::from(count) % 10,
        page_size,
        sub_page_size,
    }
}

/// An image of so many units, those of `blank` blank.
fn image(seed: u64, units: usize, blank: u8) -> Vec<u8> {
    let mut random = Random::new(seed);
    let unit = |number: usize| {
        if blank >> (number % 8) & 1 == 1 { vec![0xff; UNIT] } else { random.bytes(UNIT) }
    };
    (0..units).flat_map(unit).collect()
}

/// Something that an eraseblock may hold at first.
fn prepare(flash: &mut Simulation, eraseblock: u32, state: u8, seed: u64, same: Option<&[u8]>) {
    let offset = flash.geometry().offset_of(eraseblock);
    let size = flash.geometry().eraseblock_size as usize;
    match state % 8 {
        _ if flash.marked_bad(eraseblock) => return,
        0 => return,
        1 | 2 if same.is_some() => flash.store(offset, same.unwrap_or_default()),
        _ => flash.store(offset, &Random::new(seed ^ u64::from(eraseblock)).bytes(size)),
    }
    if state % 8 > 4 {
        flash.cut_power_how(1, Interruption::ALL[usize::from(state % 8) - 3]);
        flash.erase(eraseblock).unwrap_err();
        flash.power_on();
    }
}

fn set_fault(flash: &mut Simulation, [eraseblock, kind, when]: [u8; 3]) -> bool {
    let eraseblock = u32::from(eraseblock) % flash.geometry().eraseblock_count;
    let when = 1 + u64::from(when) % 12;
    let fault = match kind % 6 {
        0 => {
            if flash.geometry().kind == FlashKind::Nand {
                flash.set_bad(eraseblock);
            }
            return false;
        }
        1 => Fault::Erase(when),
        2 => Fault::Program(when),
        3 => Fault::ProgramSilently(when),
        4 => Fault::EraseOnce(when),
        _ => Fault::ProgramOnce(when),
    };
    flash.set_fault(eraseblock, fault);
    true
}

impl Model {
    fn new((shape, seed, before, faults, _): &Input) -> Self {
        let [.., offset, limit, units, blank, flags] = *shape;
        let mut flash = Simulation::new(geometry(*shape), *seed);
        let size = flash.geometry().eraseblock_size as usize;
        let count = flash.geometry().eraseblock_count;
        let faulty = faults.iter().take(8).fold(false, |any, fault| set_fault(&mut flash, *fault) | any);
        let units = usize::from(units) % (size / UNIT * count as usize + 2);
        let image = image(seed.wrapping_add(1), units, blank);
        let mut options = Options::default();
        let first = if flags & 1 == 1 { u32::from(offset) % count } else { 0 };
        options.offset = flash.geometry().offset_of(first);
        if flags & 2 == 2 {
            options.len = Some(u64::from(limit) % 12 * size as u64);
        }
        options.verify = faulty || flags & 4 == 0;
        if flags & 8 == 8 {
            flash.set_lockable(1, flags & 16 == 0);
        }
        let mut model = Model { start: flash, image, options, size, faulty };
        let places = model.good(&model.start);
        for (eraseblock, state) in (0..count).zip(before) {
            let number = places.iter().position(|&place| place == eraseblock);
            let same = number.and_then(|number| model.image.chunks(size).nth(number));
            prepare(&mut model.start, eraseblock, *state, *seed, same);
            if flags & 8 == 8 && state >> 4 & 1 == 1 {
                model.start.lock(eraseblock);
            }
        }
        model
    }

    /// Good eraseblocks of the area.
    fn good(&self, flash: &Simulation) -> Vec<u32> {
        let size = self.size as u64;
        let end = self.options.len.map_or(u64::MAX, |len| self.options.offset + len);
        let inside = |eraseblock: &u32| {
            let start = u64::from(*eraseblock) * size;
            start >= self.options.offset && start + size <= end && !flash.marked_bad(*eraseblock)
        };
        (0..flash.geometry().eraseblock_count).filter(inside).collect()
    }

    fn is_at(&self, flash: &Simulation, number: usize, eraseblock: u32) -> bool {
        let Some(chunk) = self.image.chunks(self.size).nth(number) else { return true };
        let (used, rest) = flash.content(eraseblock).split_at(chunk.len());
        used == chunk && rest.iter().all(|&byte| byte == 0xff)
    }

    /// Nothing half-written may start.
    fn check_state(&self, flash: &Simulation) {
        assert_eq!(flash.violations(), []);
        let (before, now) = (self.good(&self.start), self.good(flash));
        let count = self.image.len().div_ceil(self.size);
        for eraseblock in (0..flash.geometry().eraseblock_count)
            .filter(|eraseblock| !before.contains(eraseblock) && !self.start.marked_bad(*eraseblock))
        {
            assert_eq!(flash.erases(eraseblock), self.start.erases(eraseblock), "outside the area");
            assert_eq!(flash.content(eraseblock), self.start.content(eraseblock), "outside the area");
        }
        let (Some(&old_first), Some(&new_first)) = (before.first(), now.first()) else { return };
        if count == 0 || now.len() < count {
            return;
        }
        let is_nand = flash.geometry().kind == FlashKind::Nand;
        let reads = |eraseblock| !is_nand || flash.is_sound(eraseblock) && !flash.marked_bad(eraseblock);
        let untouched = |eraseblock: u32| {
            let same = flash.content(eraseblock) == self.start.content(eraseblock);
            same && (flash.is_sound(eraseblock) || !self.start.is_sound(eraseblock))
        };
        let content = self.start.content(old_first);
        let started = self.start.is_sound(old_first) && content.iter().any(|&byte| byte != 0xff);
        let starts_old = started && flash.content(old_first) == content && reads(old_first);
        let old_is_whole = before.iter().skip(1).all(|&eraseblock| untouched(eraseblock));
        let blank = self.image[..self.size.min(self.image.len())].iter().all(|&byte| byte == 0xff);
        let starts_new = !blank && self.is_at(flash, 0, new_first) && reads(new_first);
        let places = now.iter().enumerate().take(count).skip(1);
        let new_is_whole = places
            .clone()
            .all(|(number, &eraseblock)| self.is_at(flash, number, eraseblock) && flash.is_sound(eraseblock));
        assert!(!(starts_old || starts_new) || old_is_whole || new_is_whole, "{flash:?}");
    }

    fn run(&self, flash: &mut Simulation, pipe: bool, stop_after: usize) -> Result<Ending, Box<Error>> {
        let mut events = 0;
        let mut on_event = |_: Event| {
            events += 1;
            if events > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (mut input, mut file) = (&self.image[..], &self.image[..]);
        let mut piped = PipeSource::new(&mut input, self.image.len() as u64);
        let source: &mut dyn Source = if pipe { &mut piped } else { &mut file };
        let plan = plan_write(flash, source, &self.options, &mut on_event)?;
        let mut report = Report::default();
        let before: u64 = (0..flash.geometry().eraseblock_count).map(|number| flash.erases(number)).sum();
        let result = plan.execute(flash, source, &mut report, &mut on_event);
        let after: u64 = (0..flash.geometry().eraseblock_count).map(|number| flash.erases(number)).sum();
        // The last one of a run that was cut may not have begun.
        assert!(after - before <= report.erases && report.erases <= after - before + 1);
        result
    }

    /// A run without cuts; whether it ended as it should, having the image there.
    fn is_done(&self, flash: &mut Simulation, pipe: bool) -> bool {
        let result = self.run(flash, pipe, usize::MAX);
        self.check_state(flash);
        let error = match result {
            Ok(ending) => {
                assert_eq!(ending, Ending::Done);
                return true;
            }
            Err(error) => error,
        };
        let fits = self.good(flash).len() >= self.image.len().div_ceil(self.size) && !self.image.is_empty();
        let is_nand = flash.geometry().kind == FlashKind::Nand;
        match &*error {
            Error::Refused(refusal) => assert!(!fits || refusal.word == "range", "{refusal}"),
            Error::NoRoom { .. } => assert!(self.faulty && is_nand && !fits),
            Error::Again { .. } => assert!(self.faulty && is_nand && pipe),
            Error::Mismatch { .. } => assert!(self.faulty && !is_nand),
            Error::Flash(error) if matches!(error.fault, FlashFault::Failed) => {
                assert!(self.faulty && !is_nand, "{error}");
            }
            _ => panic!("{error}"),
        }
        false
    }

    fn check_end(&self, flash: &mut Simulation, cut: bool) {
        let places = self.good(flash);
        for (number, &eraseblock) in places.iter().enumerate() {
            assert!(self.is_at(flash, number, eraseblock), "{eraseblock}");
            let used = number < self.image.len().div_ceil(self.size);
            assert!(!used || flash.is_sound(eraseblock), "{eraseblock}");
        }
        for eraseblock in 0..flash.geometry().eraseblock_count {
            assert!(cut || flash.locked(eraseblock) == self.start.locked(eraseblock));
        }
        let plan = plan_verify(flash, &&self.image[..], &self.options).unwrap();
        let verdict = plan
            .execute(flash, &mut &self.image[..], &mut Report::default(), &mut |_| ControlFlow::Continue(()));
        assert!(verdict.unwrap().is_equal());
    }
}

fuzz_target!(|input: Input| {
    let model = Model::new(&input);
    let mut flash = model.start.clone();
    let mut cut = false;
    for (&[mode, operation, how, stop], salt) in input.4.iter().take(5).zip(1..) {
        flash.reseed(input.1 ^ salt);
        if mode & 2 == 2 {
            let how = Interruption::ALL[usize::from(how) % Interruption::ALL.len()];
            flash.cut_power_how(1 + u64::from(operation) % 64, how);
        }
        let stop = if mode & 4 == 4 { usize::from(stop) } else { usize::MAX };
        // Whatever it says: what it leaves is what counts.
        let _ = model.run(&mut flash, mode & 1 == 1, stop);
        cut |= !flash.is_powered();
        flash.power_on();
        model.check_state(&flash);
    }
    let pipe = input.0[0] & 128 == 128;
    // A pipe may have to come again once for each eraseblock that goes bad.
    let tries = if pipe && model.faulty { flash.geometry().eraseblock_count } else { 1 };
    if (0..tries).any(|_| model.is_done(&mut flash, pipe)) {
        model.check_end(&mut flash, cut);
    }
});
