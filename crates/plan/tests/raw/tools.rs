//! What all tests here need.

use std::ops::ControlFlow;

use flashwright_flashsim::{Random, Simulation};
use flashwright_media::Flash;
use flashwright_plan::raw::{Options, WritePlan, plan_write};
use flashwright_plan::{Ending, Error, Event, PipeSource, Report, Sha256, Source};
use sha2::Digest;

pub(crate) fn quiet(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    File,
    Pipe,
}

pub(crate) const BOTH: [From; 2] = [From::File, From::Pipe];

pub(crate) fn plan(flash: &mut Simulation, image: &[u8], options: &Options) -> WritePlan {
    plan_write(flash, &mut &image[..], options, &mut quiet).unwrap()
}

/// Plans and executes; the report of what was done comes with any result.
pub(crate) fn run_with(
    flash: &mut Simulation,
    source: &mut dyn Source,
    options: &Options,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> (Result<Ending, Error>, Report) {
    let mut report = Report::default();
    let result = plan_write(flash, source, options, on_event)
        .and_then(|plan| plan.execute(flash, source, &mut report, on_event));
    (result.map_err(|error| *error), report)
}

pub(crate) fn run(
    flash: &mut Simulation,
    image: &[u8],
    from: From,
    options: &Options,
) -> (Result<Ending, Error>, Report) {
    match from {
        From::File => run_with(flash, &mut &image[..], options, &mut quiet),
        From::Pipe => {
            let mut input = image;
            run_with(flash, &mut PipeSource::new(&mut input, image.len() as u64), options, &mut quiet)
        }
    }
}

/// A run that has to end well.
pub(crate) fn done(flash: &mut Simulation, image: &[u8], from: From) -> Report {
    let (result, report) = run(flash, image, from, &Options::default());
    assert_eq!(result.unwrap(), Ending::Done);
    report
}

pub(crate) fn good(flash: &Simulation) -> Vec<u32> {
    (0..flash.geometry().eraseblock_count).filter(|&eraseblock| !flash.marked_bad(eraseblock)).collect()
}

/// Whether the good eraseblocks hold the image, filled up with 0xFF, for good.
pub(crate) fn holds(flash: &Simulation, image: &[u8]) -> bool {
    let size = flash.geometry().eraseblock_size as usize;
    let places = good(flash);
    image.chunks(size).count() <= places.len()
        && image
            .chunks(size)
            .zip(places)
            .all(|(chunk, eraseblock)| is_at(flash, chunk, eraseblock) && flash.is_sound(eraseblock))
}

/// Whether an eraseblock holds a part of an image, filled up with 0xFF, as far as its cells know.
pub(crate) fn is_at(flash: &Simulation, chunk: &[u8], eraseblock: u32) -> bool {
    let (used, rest) = flash.content(eraseblock).split_at(chunk.len());
    used == chunk && rest.iter().all(|&byte| byte == 0xff)
}

#[track_caller]
pub(crate) fn assert_holds(flash: &Simulation, image: &[u8]) {
    assert!(holds(flash, image), "{flash:?}");
    assert_eq!(flash.violations(), []);
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

pub(crate) fn sha256(image: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(image).into())
}
