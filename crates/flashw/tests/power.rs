//! The power of a real device is cut at many moments while `flashw` writes its NOR flash: started again, the same command ends
//! right, and the kernel mounts what was asked for.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{events, squashfs, tree};
use flashwright_media::UbiGeometry;
use flashwright_tree::{Content as FileContent, Node, Tree};
use flashwright_ubi::format::VolumeType;
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Content, Options, Volume};
use serde_json::Value;
use vmtest::protocol::Step;
use vmtest::{Report, Rules, StepId, Vm};

const TARGET: &str = "mtd:User FS";
/// Where that MTD is in the flash, bytes.
const START: usize = 1 << 20;
const LEN: usize = 46 * PEB;
const PEB: usize = 64 << 10;
/// Cuts of the long runs, of which some must hit a write.
const MANY: u32 = 20;
/// Bytes of the large file of each image.
const FILE: usize = 1_800_000;

fn new_tree() -> Tree {
    tree(FILE)
}

fn old_image() -> Vec<u8> {
    squashfs(&tree(FILE - 100_000))
}

fn new_image() -> Vec<u8> {
    squashfs(&new_tree())
}

fn ubi_of(bytes: Vec<u8>) -> Vec<u8> {
    let mut root = Volume::new("root");
    (root.volume_type, root.content) = (VolumeType::Static, Some(Content::from_bytes(bytes)));
    let options = Options::new(UbiGeometry::new(64 << 10, 1, None, None).unwrap());
    let mut image = Vec::new();
    flashwright_ubi::plan(&[root], &options).unwrap().write_to(&mut image, &mut |_| ()).unwrap();
    image
}

/// What is written over what.
struct Case {
    old: Vec<u8>,
    new: Vec<u8>,
    /// Whether both are images of UBI.
    is_ubi: bool,
}

/// How often a machine at work writes the new image and the old one in turn: one run is over too soon to be hit.
const ROUNDS: usize = 8;

/// A machine with that flash, and runs of flashw that write those images, one after the other; the last one.
fn writing(flash: &Path, images: &[&[u8]]) -> Option<(Vm, StepId)> {
    let mut vm = Vm::mips_be()?;
    vm.nor_flash(flash);
    let flashw = vm.flashw().unwrap()?;
    for (number, image) in images.iter().enumerate() {
        let node = Node::file(0o644, FileContent::from_bytes(image.to_vec()));
        vm.file(&format!("/image{number}"), node).unwrap();
    }
    let rounds = if images.len() > 1 { ROUNDS } else { 1 };
    let mut step = None;
    for number in (0..rounds).flat_map(|_| 0..images.len()) {
        let path = format!("/image{number}");
        step = Some(vm.run_program(&flashw, &["write", &path, TARGET, "--json"]));
    }
    step.map(|step| (vm, step))
}

fn end_of(report: &Report, step: StepId) -> Value {
    let run = report.outcome(step).run.clone().unwrap();
    let said = String::from_utf8_lossy(&run.stdout.0).into_owned() + &String::from_utf8_lossy(&run.stderr.0);
    assert_eq!(run.code, Some(0), "{said}");
    events(&run.stdout.0, "report").pop().unwrap()
}

fn content(flash: &Path) -> Vec<u8> {
    fs::read(flash).unwrap()[START..][..LEN].to_vec()
}

/// The volume of a UBI; `None` where there is no volume table, so that no kernel attaches it.
fn volume(flash: &[u8]) -> Option<Vec<u8>> {
    let image = Image::open(Arc::new(flash.to_vec()), LEN as u64, None).ok()?;
    let mut bytes = Vec::new();
    image.extract(image.volume("root").ok()?, &mut bytes, &mut |_| ()).ok()?;
    Some(bytes)
}

/// PEBs without an erase count.
fn unknown_counts(flash: &[u8]) -> u32 {
    let image = Image::open(Arc::new(flash.to_vec()), LEN as u64, None).unwrap();
    image.erase_counts().unknown
}

impl Case {
    /// After a cut nothing half-written is there that somebody would take for whole.
    fn check_cut(&self, flash: &Path) -> &'static str {
        let found = content(flash);
        if self.is_ubi {
            return match volume(&found) {
                None => "no volumes",
                Some(bytes) if bytes == old_image() => "old",
                Some(bytes) if bytes == new_image() => "new",
                Some(_) => panic!("neither the old volume nor the new one"),
            };
        }
        match () {
            () if found.starts_with(&self.old) => "old",
            () if found.starts_with(&self.new) => "new",
            () => {
                assert!(found[..4] != *b"hsqs", "half-written, and it starts");
                "none that starts"
            }
        }
    }

    /// Cuts at `cuts` moments of a machine at work, each time on a flash that began with the old content.
    fn survives(&self, cuts: u32) {
        let folder = tempfile::tempdir().unwrap();
        let (clean, flash) = (folder.path().join("clean"), folder.path().join("flash"));
        fs::write(&clean, vec![0xff; 4 << 20]).unwrap();
        let Some((vm, step)) = writing(&clean, &[&self.old]) else { return };
        end_of(&vm.run().unwrap(), step);
        let (begin, whole) = self.times(&clean, &flash);
        let mut seen = Vec::new();
        for number in 0..cuts {
            fs::copy(&clean, &flash).unwrap();
            let Some((mut vm, _)) = writing(&flash, &[&self.new, &self.old]) else { return };
            vm.timeout(begin + (whole - begin) * (2 * number + 1) / (2 * cuts));
            let _ = vm.run();
            seen.push(self.check_cut(&flash));
            self.finish(&flash);
        }
        eprintln!("{cuts} cuts, which left: {}", seen.join(", "));
        let hit = seen.iter().any(|state| !["old", "new"].contains(state));
        assert!(hit || cuts < MANY, "no cut came in the middle of a write: {seen:?}");
    }

    /// When the writing begins, about, and when all is done.
    fn times(&self, clean: &Path, flash: &Path) -> (Duration, Duration) {
        let time = |images: &[&[u8]]| {
            fs::copy(clean, flash).unwrap();
            let (vm, step) = writing(flash, images).unwrap();
            let start = Instant::now();
            end_of(&vm.run().unwrap(), step);
            start.elapsed()
        };
        // What is there already is looked at, and nothing is written.
        let begin = time(&[&self.old]);
        let whole = time(&[&self.new, &self.old]);
        (begin.min(whole / 2), whole)
    }

    /// The same command again, and what the kernel has then.
    fn finish(&self, flash: &Path) {
        let unknown = self.is_ubi.then(|| unknown_counts(&content(flash)));
        let (mut vm, step) = writing(flash, &[&self.new]).unwrap();
        let device = if self.is_ubi {
            vm.step(Step::UbiAttach {
                mtd: "User FS".into(),
                ubi: 0,
                vid_hdr_offset: None,
                max_beb_per1024: None,
            });
            vm.step(Step::UbiBlock { ubi: 0, name: "root".into() });
            "ubiblock:0:root"
        } else {
            "mtdblock:User FS"
        };
        let visit = vm.visit_device("squashfs", device, "", true);
        let report = vm.run().unwrap();
        let end = end_of(&report, step);
        report.assert_visit(&visit, &new_tree(), &Rules::squashfs());
        let Some(unknown) = unknown else { return };
        assert!(unknown <= 1, "the PEB in hand alone may lose its count: {unknown}");
        assert!(end["counts_lost"].as_u64().unwrap() <= u64::from(unknown), "{end}");
    }
}

fn raw() -> Case {
    Case { old: old_image(), new: new_image(), is_ubi: false }
}

fn ubi() -> Case {
    Case { old: ubi_of(old_image()), new: ubi_of(new_image()), is_ubi: true }
}

#[test]
fn a_device_survives_a_cut() {
    // So that neither image is by chance the beginning of the other.
    assert_ne!(old_image()[..96], new_image()[..96]);
    ubi().survives(1);
}

#[test]
#[ignore = "for the long run: cargo test -p flashw --test power -- --ignored"]
fn a_device_survives_twenty_cuts_of_raw_writing() {
    raw().survives(MANY);
}

#[test]
#[ignore = "for the long run: cargo test -p flashw --test power -- --ignored"]
fn a_device_survives_twenty_cuts_of_ubi_writing() {
    ubi().survives(MANY);
}
