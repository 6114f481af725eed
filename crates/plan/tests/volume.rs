//! Writing volumes of an attached UBI device: what is decided, and what is left when the power goes.

use std::ops::ControlFlow;

use flashwright_flashsim::{Random, UbiSimulation};
use flashwright_media::{NewUbiVolume, UbiVolume, UbiVolumes, VolumeUse};
use flashwright_plan::volume::{Method, NEW_SUFFIX, OLD_SUFFIX, Options, Plan, VolumeReport, plan};
use flashwright_plan::{Ending, Error, Event, PipeSource, Sha256, Source};
use sha2::Digest;

const LEB: usize = 1024;
/// LEBs of the volume that is written.
const LEBS: u32 = 6;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn make(device: &mut UbiSimulation, name: &[u8], is_static: bool, lebs: u32, content: &[u8]) -> u32 {
    let bytes = u64::from(lebs) * LEB as u64;
    let id = device.make(&NewUbiVolume { name: name.to_vec(), is_static, alignment: 1, bytes }).unwrap();
    device.update(id, content.len() as u64).unwrap();
    device.write(content).unwrap();
    id
}

/// A device with three volumes; id of the one that is written, which has that content.
fn device(is_static: bool, lebs: u32, content: &[u8]) -> (UbiSimulation, u32) {
    let mut device = UbiSimulation::new(1024, 512, lebs, 8, 1);
    make(&mut device, b"boot", true, 2, &noise(1500, 7));
    let id = make(&mut device, b"root", is_static, LEBS, content);
    make(&mut device, b"data", false, 2, &noise(1024, 8));
    (device, id)
}

fn named(device: &mut UbiSimulation, name: &[u8]) -> Option<UbiVolume> {
    device.volumes().unwrap().into_iter().find(|volume| volume.name == name)
}

/// Content of a volume; `None` when it cannot be read.
fn content(device: &mut UbiSimulation, name: &[u8]) -> Option<Vec<u8>> {
    let volume = named(device, name)?;
    let mut bytes = vec![0; LEB * 8];
    let count = device.read(volume.id, 0, &mut bytes).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// What a dynamic volume reads as with that content.
fn filled(bytes: &[u8], is_static: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if !is_static {
        bytes.resize(LEB * LEBS as usize, 0xff);
    }
    bytes
}

fn in_place() -> Options {
    let mut options = Options::default();
    options.in_place = true;
    options
}

fn planned(device: &mut UbiSimulation, image: &[u8], options: &Options) -> Plan {
    let id = named(device, b"root").unwrap().id;
    let mut source = image;
    plan(device, id, &mut source, options, &mut go_on).unwrap()
}

fn run(
    device: &mut UbiSimulation,
    source: &mut dyn Source,
    options: &Options,
    forced: &[&str],
) -> Result<(Ending, VolumeReport), Error> {
    let id = named(device, b"root").expect("the volume is there").id;
    let plan = plan(device, id, source, options, &mut go_on).map_err(|error| *error)?;
    let mut report = VolumeReport::default();
    let ending = plan.execute(device, source, forced, &mut report, &mut go_on).map_err(|error| *error)?;
    Ok((ending, report))
}

fn write(
    device: &mut UbiSimulation,
    image: &[u8],
    options: &Options,
) -> Result<(Ending, VolumeReport), Error> {
    let mut source = image;
    run(device, &mut source, options, &["static"])
}

fn write_pipe(
    device: &mut UbiSimulation,
    image: &[u8],
    options: &Options,
) -> Result<(Ending, VolumeReport), Error> {
    let mut input = image;
    let mut source = PipeSource::new(&mut input, image.len() as u64);
    run(device, &mut source, options, &["static"])
}

fn refusals(plan: &Plan) -> Vec<(&'static str, bool)> {
    plan.refusals().iter().map(|refusal| (refusal.word, refusal.overridable)).collect()
}

type Write = fn(&mut UbiSimulation, &[u8], &Options) -> Result<(Ending, VolumeReport), Error>;

struct Case {
    is_static: bool,
    options: Options,
    write: Write,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Case {
    /// What must hold after a cut.
    fn check(&self, device: &mut UbiSimulation) {
        let found = content(device, b"root");
        let (old, new) = (filled(&self.old, self.is_static), filled(&self.new, self.is_static));
        match (self.options.in_place, found) {
            (false, found) => assert!(found.as_ref() == Some(&old) || found == Some(new)),
            // Written as a whole: what is not whole cannot be read.
            (true, found) if self.is_static => {
                assert!(found.is_none() || found.as_ref() == Some(&old) || found == Some(new));
            }
            (true, found) => {
                let found = found.unwrap();
                for (found, (old, new)) in found.chunks(LEB).zip(old.chunks(LEB).zip(new.chunks(LEB))) {
                    assert!(found == old || found == new, "a LEB of neither");
                }
            }
        }
        assert_eq!(content(device, b"boot").unwrap(), noise(1500, 7));
    }

    fn finish(&self, device: &UbiSimulation) -> (UbiSimulation, u64) {
        let mut device = device.clone();
        let before = device.operations();
        let (ending, _) = (self.write)(&mut device, &self.new, &self.options).unwrap();
        assert_eq!(ending, Ending::Done);
        let operations = device.operations() - before;
        // It stays, whatever comes back of what was there before.
        device.cut_power_at(1);
        device.power_on();
        assert_eq!(content(&mut device, b"root").unwrap(), filled(&self.new, self.is_static));
        let names: Vec<_> = device.volumes().unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let plan = planned(&mut device, &self.new, &self.options);
        assert_eq!((plan.method(), plan.changed_lebs()), (Method::Nothing, 0));
        (device, operations)
    }

    fn cut(&self, device: &UbiSimulation, at: u64, seed: u64) -> UbiSimulation {
        let mut device = device.clone();
        device.reseed(seed);
        device.cut_power_at(at);
        let failed = (self.write)(&mut device, &self.new, &self.options);
        assert!(matches!(failed, Err(Error::Ubi(_))), "{failed:?}");
        device.power_on();
        self.check(&mut device);
        device
    }

    /// Cuts at every operation, and at every one of the run after that.
    fn prove(&self, device: &UbiSimulation) -> u64 {
        let mut cuts = 0;
        for at in 1..=self.finish(device).1 {
            for seed in 0..4 {
                let first = self.cut(device, at, seed);
                let operations = self.finish(&first).1;
                cuts += 1 + operations;
                for second in 1..=operations {
                    let device = self.cut(&first, second, seed + second);
                    self.finish(&device);
                }
            }
        }
        cuts
    }
}

fn cases() -> Vec<(Case, UbiSimulation)> {
    let old = noise(5 * LEB + 100, 1);
    let mut new = old[..4 * LEB + 30].to_vec();
    new[LEB + 5] ^= 1;
    new[2 * LEB..3 * LEB].fill(0xff);
    let mut cases = Vec::new();
    for is_static in [false, true] {
        for options in [Options::default(), in_place()] {
            for write in [write as Write, write_pipe as Write] {
                let (device, _) = device(is_static, 20, &old);
                let (old, new) = (old.clone(), new.clone());
                cases.push((Case { is_static, options: options.clone(), write, old, new }, device));
            }
        }
    }
    cases
}

#[test]
fn every_cut_of_every_second_run() {
    let mut cuts = 0;
    for (case, device) in cases() {
        let these = case.prove(&device);
        assert!(these > 20);
        cuts += these;
    }
    println!("{cuts} cuts");
}

#[test]
fn only_what_differs_is_changed_in_place() {
    let old = noise(5 * LEB + 100, 1);
    let (mut device, id) = device(false, 12, &old);
    let mut new = old[..4 * LEB].to_vec();
    new[LEB + 5] ^= 1;
    new[2 * LEB..3 * LEB].fill(0xff);
    let plan = planned(&mut device, &new, &in_place());
    assert_eq!((plan.method(), plan.changed_lebs(), plan.lebs()), (Method::InPlace, 4, 4));
    assert_eq!(plan.refusals(), []);
    let before = device.operations();
    let (_, report) = write(&mut device, &new, &in_place()).unwrap();
    // One changed, one of 0xFF, two too many.
    let expected = (id, 1, 2, 3, LEB as u64, 2);
    let VolumeReport { lebs_written, lebs_kept, lebs_erased, bytes_written, lebs_verified, .. } = report;
    assert_eq!((report.id, lebs_written, lebs_kept, lebs_erased, bytes_written, lebs_verified), expected);
    assert_eq!(device.operations() - before, 4);
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&new, false));
}

#[test]
fn a_new_volume_takes_the_place_of_the_old_one() {
    for is_static in [false, true] {
        let (mut device, id) = device(is_static, 20, &noise(3000, 1));
        let new = noise(2500, 2);
        let (_, report) = write(&mut device, &new, &Options::default()).unwrap();
        assert_ne!(report.id, id);
        assert_eq!((report.lebs_written, report.lebs_verified, report.old_is_left), (3, 3, false));
        let volume = named(&mut device, b"root").unwrap();
        assert_eq!((volume.id, volume.is_static, volume.reserved_lebs), (report.id, is_static, LEBS));
        // The same once more: nothing.
        let before = device.operations();
        let (_, report) = write(&mut device, &new, &Options::default()).unwrap();
        assert_eq!((report.lebs_kept, report.lebs_written, device.operations()), (3, 0, before));
    }
}

#[test]
fn a_volume_that_is_read_stays_under_another_name() {
    let (mut device, id) = device(false, 24, &noise(3000, 1));
    device.set_usage(id, VolumeUse::Read);
    let (_, report) = write(&mut device, &noise(2500, 2), &Options::default()).unwrap();
    assert!(report.old_is_left);
    let old_name = [b"root", OLD_SUFFIX].concat();
    assert_eq!(named(&mut device, &old_name).unwrap().id, id);
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&noise(2500, 2), false));
    // Still read: no second one can be put aside. Then it is removed.
    let plan = planned(&mut device, &noise(2500, 3), &Options::default());
    assert_eq!(refusals(&plan), [("in-use", false)]);
    device.set_usage(id, VolumeUse::Free);
    write(&mut device, &noise(2500, 3), &Options::default()).unwrap();
    assert_eq!(device.volumes().unwrap().len(), 3);
}

#[test]
fn what_cannot_end_well_is_refused() {
    let (mut device, id) = device(false, 12, &noise(3000, 1));
    let plan = planned(&mut device, &noise(LEB * 6 + 1, 2), &in_place());
    assert_eq!(refusals(&plan), [("size", false)]);
    assert_eq!(refusals(&planned(&mut device, &[], &in_place())), [("empty", true)]);
    // Two LEBs are free, six are needed.
    let plan = planned(&mut device, &noise(100, 2), &Options::default());
    assert_eq!(refusals(&plan), [("room", false)]);
    let reason = plan.refusals()[0].to_string();
    assert_eq!(reason, "a second volume of 6 LEBs is needed, 2 are free: write in place, or make room");
    for (usage, replace, in_place_too) in
        [(VolumeUse::Read, false, true), (VolumeUse::Written, true, true), (VolumeUse::Free, false, false)]
    {
        device.set_usage(id, usage);
        let plan = planned(&mut device, &noise(100, 2), &Options::default());
        assert_eq!(plan.refusals().iter().any(|refusal| refusal.word == "in-use"), replace);
        let plan = planned(&mut device, &noise(100, 2), &in_place());
        assert_eq!(plan.refusals().iter().any(|refusal| refusal.word == "in-use"), in_place_too);
    }
    let mut report = VolumeReport::default();
    let mut source: &[u8] = &noise(LEB * 7, 2);
    let plan = planned(&mut device, source, &in_place());
    let before = device.operations();
    let error = plan.execute(&mut device, &mut source, &["size"], &mut report, &mut go_on).unwrap_err();
    assert!(matches!(*error, Error::Refused(_)), "{error}");
    assert_eq!(device.operations(), before);
}

#[test]
fn a_static_volume_in_place_has_to_be_forced() {
    let (mut device, _) = device(true, 12, &noise(3000, 1));
    let new = noise(2000, 2);
    let plan = planned(&mut device, &new, &in_place());
    assert_eq!((plan.method(), refusals(&plan)), (Method::Rewrite, vec![("static", true)]));
    assert!(plan.refused(&[]).is_some() && plan.refused(&["static"]).is_none());
    write(&mut device, &new, &in_place()).unwrap();
    assert_eq!(content(&mut device, b"root").unwrap(), new);
}

#[test]
fn a_volume_without_content_is_written_anew() {
    for is_static in [false, true] {
        let (mut device, id) = device(is_static, 20, &noise(3000, 1));
        device.update(id, 3000).unwrap();
        device.write(&[0; 100]).unwrap();
        assert!(named(&mut device, b"root").unwrap().update_marker);
        let plan = planned(&mut device, &noise(3000, 1), &in_place());
        assert_eq!((plan.method(), refusals(&plan)), (Method::Rewrite, vec![]));
        assert_eq!(planned(&mut device, &noise(3000, 1), &Options::default()).method(), Method::Replace);
        write(&mut device, &noise(3000, 1), &in_place()).unwrap();
        assert_eq!(content(&mut device, b"root").unwrap(), filled(&noise(3000, 1), is_static));
    }
}

#[test]
fn what_an_interrupted_run_has_left_is_used_or_removed() {
    let name = [b"root", NEW_SUFFIX].concat();
    let new = noise(2500, 2);
    // All of it is there: it is only renamed. Another size: removed.
    for (lebs, written) in [(LEBS, 0), (LEBS - 2, 3)] {
        let (mut device, _) = device(false, 24, &noise(3000, 1));
        make(&mut device, &name, false, lebs, &new);
        let (_, report) = write(&mut device, &new, &Options::default()).unwrap();
        assert_eq!((report.lebs_written, device.volumes().unwrap().len()), (written, 3));
        assert_eq!(content(&mut device, b"root").unwrap(), filled(&new, false));
    }
    // It is all the room that there is.
    let (mut device, _) = device(false, 16, &noise(3000, 1));
    make(&mut device, &name, false, LEBS, &noise(100, 9));
    write(&mut device, &new, &Options::default()).unwrap();
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&new, false));
}

#[test]
fn another_image_than_asked_for_changes_nothing() {
    let (mut device, _) = device(false, 20, &noise(3000, 1));
    let new = noise(2500, 2);
    for in_place in [false, true] {
        let mut options = Options::default();
        (options.in_place, options.sha256) = (in_place, Some(Sha256([7; 32])));
        assert_eq!(refusals(&planned(&mut device, &new, &options)), [("sha256", false)]);
        options.sha256 = Some(Sha256(sha2::Sha256::digest(&new).into()));
        assert_eq!(refusals(&planned(&mut device, &new, &options)), []);
    }
    let mut options = Options::default();
    options.sha256 = Some(Sha256([7; 32]));
    let failed = write_pipe(&mut device, &new, &options);
    assert!(matches!(failed, Err(Error::Digest { .. })), "{failed:?}");
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&noise(3000, 1), false));
    options.sha256 = Some(Sha256(sha2::Sha256::digest(&new).into()));
    write_pipe(&mut device, &new, &options).unwrap();
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&new, false));
}

#[test]
fn a_pipe_that_ends_early_changes_nothing() {
    let (mut device, _) = device(false, 20, &noise(3000, 1));
    let new = noise(2500, 2);
    let mut input = &new[..2000];
    let mut source = PipeSource::new(&mut input, 2500);
    let failed = run(&mut device, &mut source, &Options::default(), &[]);
    assert!(matches!(failed, Err(Error::Source(_))), "{failed:?}");
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&noise(3000, 1), false));
    write(&mut device, &new, &Options::default()).unwrap();
    assert_eq!(device.volumes().unwrap().len(), 3);
}

#[test]
fn a_request_to_stop_leaves_the_old_content() {
    let (mut device, _) = device(false, 20, &noise(5000, 1));
    let new = noise(4500, 2);
    let plan = planned(&mut device, &new, &Options::default());
    let mut source: &[u8] = &new;
    let mut report = VolumeReport::default();
    let mut stop = |_| ControlFlow::Break(());
    let ending = plan.execute(&mut device, &mut source, &[], &mut report, &mut stop).unwrap();
    assert_eq!((ending, report.lebs_written), (Ending::Stopped, 1));
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&noise(5000, 1), false));
    write(&mut device, &new, &Options::default()).unwrap();
    assert_eq!(content(&mut device, b"root").unwrap(), filled(&new, false));
}
