//! Any UBI image onto any flash, used, foreign, worn, half erased, with the power cut and runs stopped anywhere: at any time
//! the kernel finds the old content or the new one or refuses the device; in the end the new one, every erase counted, or an
//! error that the flash deserves.

#![no_main]

use std::ops::ControlFlow;
use std::sync::Arc;

use flashwright_flashsim::{Fault, Interruption, Random, Simulation, nand, nor, ram};
use flashwright_media::{Flash, FlashFault, FlashGeometry, FlashKind, UbiGeometry};
use flashwright_plan::ubi::{self, UbiReport};
use flashwright_plan::{Ending, Error, Event, PipeSource, Source};
use flashwright_ubi::format::{EcHdr, VidHdr, VolumeType};
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Content, Options, Volume, plan};
use libfuzzer_sys::fuzz_target;

/// Shape: kind, PEBs, LEBs, flags; seed; how each PEB is at first; faults: PEB, kind, when; runs: from where, cut, how, stop.
type Input = ([u8; 4], u64, Vec<u8>, Vec<[u8; 3]>, Vec<[u8; 4]>);
type Volumes = Vec<(Vec<u8>, Vec<u8>)>;

struct Model {
    start: Simulation,
    image: Vec<u8>,
    new: Volumes,
    faulty: bool,
}

fn sizes([kind, count, ..]: [u8; 4]) -> FlashGeometry {
    let count = 9 + u32::from(count) % 8;
    match kind % 4 {
        0 => nor(2048, count),
        1 => nand(2048, count, 512),
        2 => FlashGeometry { sub_page_size: 256, ..nand(2048, count, 512) },
        _ => ram(2048, count),
    }
}

/// Content of LEBs: those that `other` has a bit for differ from what they are without it.
fn content(leb: usize, lebs: usize, seed: u64, other: u8) -> Vec<u8> {
    let of = |number: usize| {
        let differs = u64::from(other >> (number % 8) & 1);
        Random::new(seed ^ (number as u64) << 8 ^ differs).bytes(leb)
    };
    (0..lebs).flat_map(of).collect()
}

fn image(sizes: &FlashGeometry, lebs: usize, seed: u64, other: u8, name: &str, image_seq: u32) -> Vec<u8> {
    let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = *sizes;
    let geometry = UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), None).expect("sizes");
    let leb = geometry.leb_size() as usize;
    let mut root = Volume::new(name);
    root.content = Some(Content::from_bytes(content(leb, lebs, seed, other)));
    let mut kernel = Volume::new("kernel");
    kernel.volume_type = VolumeType::Static;
    kernel.content = Some(Content::from_bytes(content(leb, 1, seed.wrapping_add(1), other)[100..].to_vec()));
    let mut options = Options::new(geometry);
    options.image_seq = Some(image_seq);
    let mut bytes = Vec::new();
    let plan = plan(&[root, kernel], &options).expect("sound volumes");
    plan.write_to(&mut bytes, &mut |_| ()).expect("memory");
    bytes
}

/// What the kernel finds in PEBs: `None` when it refuses them.
fn found(bytes: Vec<u8>, peb_size: usize) -> Option<Volumes> {
    let seqs = bytes.chunks(peb_size).filter_map(|peb| EcHdr::parse(peb.first_chunk()?).ok());
    let seqs: Vec<u32> = seqs.map(|header| header.image_seq).collect();
    if seqs.iter().any(|seq| *seq != seqs[0]) {
        return None;
    }
    let len = bytes.len() as u64;
    let image = Image::open(Arc::new(bytes), len, Some(peb_size as u32)).ok()?;
    let mut volumes = Volumes::new();
    for volume in image.volumes() {
        let mut content = Vec::new();
        if volume.name.is_empty() || image.extract(volume, &mut content, &mut |_| ()).is_err() {
            return None;
        }
        volumes.push((volume.name.clone(), content));
    }
    (!volumes.is_empty()).then_some(volumes)
}

fn attach(flash: &mut Simulation) -> Option<Volumes> {
    let sizes = flash.geometry();
    let mut bytes = Vec::new();
    for peb in 0..sizes.eraseblock_count {
        if flash.marked_bad(peb) {
            continue;
        }
        let mut content = vec![0; sizes.eraseblock_size as usize];
        for (page, offset) in content.chunks_mut(512).zip((sizes.offset_of(peb)..).step_by(512)) {
            // Nothing that would be taken for a header.
            if flash.read(offset, page).is_err() {
                page.fill(0xa5);
            }
        }
        bytes.extend(content);
    }
    found(bytes, sizes.eraseblock_size as usize)
}

/// How a PEB is at first, of a device that had another image.
fn prepare(flash: &mut Simulation, peb: u32, state: u8, seed: u64) {
    let offset = flash.geometry().offset_of(peb);
    let size = flash.geometry().eraseblock_size as usize;
    let is_free = flash.content(peb)[64..].iter().all(|&byte| byte == 0xff);
    match state % 8 {
        _ if flash.marked_bad(peb) => return,
        0 => flash.store(offset, &[0xff]),
        1 => flash.store(offset, &Random::new(seed ^ u64::from(peb)).bytes(size)),
        2 => flash.flip(offset + u64::from(state >> 3) * 64 % size as u64, u32::from(state >> 5)),
        _ => {}
    }
    // The kernel erases none that is free, and on NOR makes headers invalid before.
    if state % 8 > 4 && !is_free {
        if flash.geometry().kind == FlashKind::Nor && flash.program(offset + 64, &[0; 64]).is_err() {
            return;
        }
        flash.cut_power_how(1, Interruption::ALL[usize::from(state % 8) - 3]);
        flash.erase(peb).expect_err("no power");
        flash.power_on();
    }
}

fn set_fault(flash: &mut Simulation, [peb, kind, when]: [u8; 3]) -> bool {
    let peb = u32::from(peb) % flash.geometry().eraseblock_count;
    let when = 1 + u64::from(when) % 16;
    let erase = flash.erases(peb) + 1 + when % 4;
    let fault = match kind % 6 {
        0 => {
            if flash.geometry().kind == FlashKind::Nand {
                flash.set_bad(peb);
            }
            return false;
        }
        1 => Fault::Erase(erase),
        2 => Fault::Program(when),
        3 => Fault::ProgramSilently(when),
        4 => Fault::EraseOnce(erase),
        _ => Fault::ProgramOnce(when),
    };
    flash.set_fault(peb, fault);
    true
}

impl Model {
    fn new((shape, seed, states, faults, _): &Input) -> Self {
        let sizes = sizes(*shape);
        let [.., lebs, flags] = *shape;
        let lebs = 1 + usize::from(lebs) % 4;
        let mut flash = Simulation::new(sizes, *seed);
        let new = image(&sizes, lebs, *seed, 0, "root", 0x1111);
        let size = sizes.eraseblock_size as usize;
        if flags & 1 == 1 {
            // Used: another image, with some LEBs the same; or the same.
            let (name, other) = if flags & 2 == 2 { ("old", flags >> 2) } else { ("root", 0) };
            let old = image(&sizes, lebs, *seed, other, name, if flags & 4 == 4 { 0x1111 } else { 0x2222 });
            let first = EcHdr::parse(old.first_chunk().expect("a header")).expect("a header");
            for peb in 0..sizes.eraseblock_count {
                let mut bytes =
                    old.chunks(size).nth(peb as usize).map_or_else(|| vec![0xff; size], <[u8]>::to_vec);
                let count = 50 + u64::from(peb) * 3;
                bytes[..64].copy_from_slice(&EcHdr { erase_count: count, ..first }.to_bytes());
                flash.store(sizes.offset_of(peb), &bytes);
                flash.set_erases(peb, count);
            }
        }
        let faulty = faults.iter().take(6).fold(false, |any, fault| set_fault(&mut flash, *fault) | any);
        for (peb, state) in (0..sizes.eraseblock_count).zip(states) {
            prepare(&mut flash, peb, *state, *seed);
        }
        Model { start: flash, new: found(new.clone(), size).expect("a sound image"), image: new, faulty }
    }

    fn check_state(&self, flash: &mut Simulation) {
        assert_eq!(flash.violations(), []);
        let Some(volumes) = attach(flash) else { return };
        // Volumes that have the new names have all of the new content, unless they were there before.
        let is_new = volumes.iter().any(|(name, _)| name == b"root");
        let was_there =
            attach(&mut self.start.clone()).is_none_or(|old| old.iter().any(|(name, _)| name == b"root"));
        assert!(!is_new || volumes == self.new || was_there, "new volumes with old content");
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
        let plan = ubi::plan(flash, source, &ubi::Options::default(), &mut on_event)?;
        plan.execute(flash, source, &["reserve"], &mut UbiReport::default(), &mut on_event)
    }

    /// A run without cuts; whether it ended as it should, having the image there.
    fn is_done(&self, flash: &mut Simulation, pipe: bool) -> bool {
        let result = self.run(flash, pipe, usize::MAX);
        self.check_state(flash);
        let is_nand = flash.geometry().kind == FlashKind::Nand;
        match result.map_err(|error| *error) {
            Ok(ending) => {
                assert_eq!(ending, Ending::Done);
                return true;
            }
            Err(Error::Refused(refusal)) => assert_eq!(refusal.word, "size"),
            Err(Error::NoRoom { .. } | Error::TooManyBad { .. }) => assert!(self.faulty && is_nand),
            Err(Error::Mismatch { .. }) => assert!(self.faulty && !is_nand),
            Err(Error::Flash(error)) if matches!(error.fault, FlashFault::Failed) => {
                assert!(self.faulty && !is_nand, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        false
    }

    fn check_end(&self, flash: &mut Simulation) {
        assert_eq!(attach(flash).as_ref(), Some(&self.new));
        let offset =
            if flash.geometry().kind == FlashKind::Nand { flash.geometry().sub_page_size } else { 64 };
        for peb in (0..flash.geometry().eraseblock_count).filter(|&peb| !flash.marked_bad(peb)) {
            let bytes = flash.content(peb);
            let at = offset as usize;
            // What holds something holds it for good.
            let holds = VidHdr::parse(bytes[at..].first_chunk().expect("a PEB")).is_ok();
            assert!(!holds || flash.is_sound(peb), "PEB {peb}");
        }
        let mut source = &self.image[..];
        let plan =
            ubi::plan(flash, &mut source, &ubi::Options::default(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(plan.expect("a device").mode(), ubi::Mode::UpToDate);
    }
}

fuzz_target!(|input: Input| {
    let model = Model::new(&input);
    let mut flash = model.start.clone();
    for (&[mode, operation, how, stop], salt) in input.4.iter().take(5).zip(1..) {
        flash.reseed(input.1 ^ salt);
        if mode & 2 == 2 {
            let how = Interruption::ALL[usize::from(how) % Interruption::ALL.len()];
            flash.cut_power_how(1 + u64::from(operation) % 96, how);
        }
        let stop = if mode & 4 == 4 { usize::from(stop) } else { usize::MAX };
        // Whatever it says: what it leaves is what counts.
        let _ = model.run(&mut flash, mode & 1 == 1, stop);
        flash.power_on();
        model.check_state(&mut flash);
    }
    if model.is_done(&mut flash, input.0[0] & 128 == 128) {
        model.check_end(&mut flash);
    }
});
