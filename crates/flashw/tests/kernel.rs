//! `flashw` on the flash of a real kernel, on CPUs of either byte order.

mod common;

use std::num::NonZeroUsize;

use common::{end_of, events, noise, put, run, sha256, squashfs, tree};
use flashwright_media::Endian;
use serde_json::Value;
use vmtest::protocol::Step;
use vmtest::{Program, Report, Rules, StepId, Visit, Vm};

/// Bytes of the large file of the tree.
const FILE: usize = 300_000;

/// An image written, verified, written again, changed a little, written again.
struct Writes {
    name: &'static str,
    plan: StepId,
    first: StepId,
    verified: StepId,
    again: StepId,
    changed: StepId,
    differs: StepId,
    read: StepId,
    hash: StepId,
}

impl Writes {
    fn steps(vm: &mut Vm, flashw: &Program, name: &'static str) -> Self {
        let target = format!("mtd:{name}");
        let mut step = |words: &[&str]| vm.run_program(flashw, words);
        let plan = step(&["write", "/image", &target, "--plan", "--json"]);
        let first = step(&["write", "/image", &target, "--json"]);
        let verified = step(&["verify", "/image", &target, "--json"]);
        let again = step(&["write", "/image", &target, "--json"]);
        let changed = step(&["write", "/changed", &target, "--json"]);
        let differs = step(&["verify", "/image", &target, "--json"]);
        let len = changed_image().len().to_string();
        let out = format!("/tmp/{}", name.replace(' ', "-"));
        let read = step(&["read", &target, "--length", &len, "-o", &out, "--json"]);
        let hash = vm.step(Step::Hash { path: out, len: 1 << 40 });
        Writes { name, plan, first, verified, again, changed, differs, read, hash }
    }

    fn check(&self, report: &Report, eraseblock: usize) {
        let name = self.name;
        let (image, changed) = (image(), changed_image());
        let all = image.len().div_ceil(eraseblock) as u64;
        let plan = end_of(report, self.plan, 0, "plan");
        assert_eq!((&plan["image"], &plan["erases"]), (&"squashfs".into(), &all.into()), "{name}");
        let first = end_of(report, self.first, 0, "report");
        assert_eq!((&first["done"], &first["erases"]), (&true.into(), &all.into()), "{name}: {first}");
        assert_eq!(first["verified"], all, "{name}: {first}");
        assert_eq!(end_of(report, self.verified, 0, "verdict")["equal"], true, "{name}");
        let again = end_of(report, self.again, 0, "report");
        assert_eq!((&again["erases"], &again["kept"]), (&0.into(), &all.into()), "{name}: {again}");
        // What differs, and the first eraseblock, which is invalidated first.
        let pairs = image.chunks(eraseblock).zip(changed.chunks(eraseblock));
        let differ = pairs.filter(|(one, other)| one != other).count() as u64;
        let end = end_of(report, self.changed, 0, "report");
        assert_eq!((differ, &end["erases"]), (1, &2.into()), "{name}: {end}");
        let verdict = end_of(report, self.differs, 5, "verdict");
        assert_eq!((&verdict["equal"], &verdict["different"]), (&false.into(), &1.into()), "{name}");
        assert_eq!(end_of(report, self.read, 0, "read")["bytes"], changed.len() as u64, "{name}");
        assert_eq!(report.outcome(self.hash).sha256, sha256(&changed), "{name}");
    }
}

fn image() -> Vec<u8> {
    squashfs(&tree(FILE))
}

/// The same with another byte in the middle of the data that no compressor made smaller.
fn changed_image() -> Vec<u8> {
    let mut image = image();
    image[200_000] ^= 0xff;
    image
}

/// Images in the guest.
fn images(vm: &mut Vm) {
    put(vm, "/image", &image());
    put(vm, "/changed", &changed_image());
}

fn mounted(vm: &mut Vm, flashw: &Program, name: &str) -> (StepId, Visit) {
    let written = vm.run_program(flashw, &["write", "/image", &format!("mtd:{name}"), "--json"]);
    (written, vm.visit_device("squashfs", &format!("mtdblock:{name}"), "", true))
}

fn check_mounted(report: &Report, (written, visit): &(StepId, Visit)) {
    assert_eq!(end_of(report, *written, 0, "report")["erases"], 2);
    report.assert_visit(visit, &tree(FILE), &Rules::squashfs());
}

/// Mistakes that must not cost anything: words, exit code, and what the message has.
const REFUSED: [(&[&str], i32, &str); 9] = [
    (&["write", "/image", "mtd:none"], 1, "there is no mtd:none there is /dev/mtd0 (mtd:"),
    (&["write", "/large", "mtd:RAM"], 3, "eraseblocks"),
    (&["write", "/damaged", "mtd:RAM"], 4, "cut off"),
    (&["write", "/foreign", "mtd:RAM"], 4, "-endian"),
    (&["write", "/empty", "mtd:RAM"], 4, "no bytes"),
    (&["write", "/image", "mtd:RAM", "--offset", "100"], 3, "eraseblock"),
    (&["write", "-", "mtd:RAM"], 2, "--length"),
    (&["write", "/image", "mtd:RAM", "--sha256", "00"], 2, "64 hexadecimal digits"),
    (&["write", "/image", "/dev/null"], 2, "is no MTD"),
];

fn mistakes(vm: &mut Vm, flashw: &Program, ram: &str, foreign: &[u8], len: usize) -> Vec<StepId> {
    put(vm, "/large", &noise(len + 1, 3));
    put(vm, "/damaged", &image()[..100_000]);
    put(vm, "/foreign", foreign);
    put(vm, "/empty", &[]);
    let words = |words: &[&str]| words.iter().map(|word| word.replace("RAM", ram)).collect::<Vec<_>>();
    let mut step = |(given, ..): &(&[&str], i32, &str)| {
        let given = words(given);
        let given: Vec<_> = given.iter().map(String::as_str).chain(["--json"]).collect();
        vm.run_program(flashw, &given)
    };
    REFUSED.iter().map(&mut step).collect()
}

fn check_mistakes(report: &Report, steps: &[StepId]) {
    assert_eq!(steps.len(), REFUSED.len());
    for ((words, code, part), step) in REFUSED.iter().zip(steps) {
        let error = end_of(report, *step, *code, "error");
        let text = format!("{} {}", error["message"].as_str().unwrap(), error["help"].as_str().unwrap());
        assert!(text.contains(part), "{words:?}: {text}");
    }
}

/// A JFFS2 for CPUs of that byte order.
fn jffs2(endian: Endian) -> Vec<u8> {
    let options = flashwright_jffs2::Options::new(0x1_0000, endian);
    let mut bytes = Vec::new();
    flashwright_jffs2::write(&tree(1000), &options, NonZeroUsize::MIN, &mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// All that is done to the flash of one machine.
struct Trial {
    info: StepId,
    writes: Vec<(Writes, usize)>,
    mounted: (StepId, Visit),
    mistakes: Vec<StepId>,
    in_use: [StepId; 2],
}

const NAND: &str = "NAND simulator partition 0";

impl Trial {
    /// `flash` are names of MTDs and their eraseblocks; the last one, of `len` bytes, is mounted.
    fn steps(vm: &mut Vm, flash: &[(&'static str, usize)], len: usize, foreign: Endian) -> Option<Self> {
        let flashw = vm.flashw().unwrap()?;
        images(vm);
        let info = vm.run_program(&flashw, &["info", "--json"]);
        let writes = flash.iter().map(|&(name, size)| (Writes::steps(vm, &flashw, name), size)).collect();
        let (last, _) = *flash.last()?;
        let mistakes = mistakes(vm, &flashw, last, &jffs2(foreign), len);
        let mounted = mounted(vm, &flashw, last);
        let at = "/busy".to_owned();
        let device = format!("mtdblock:{last}");
        let options = String::new();
        vm.step(Step::Mount { fs: "squashfs".into(), device, at: at.clone(), options, read_only: true });
        let target = format!("mtd:{last}");
        let in_use = [&["write", "/changed", &target, "--json"][..], &["erase", &target, "--json"]]
            .map(|words| vm.run_program(&flashw, words));
        vm.step(Step::Unmount { at });
        Some(Trial { info, writes, mounted, mistakes, in_use })
    }

    fn check(&self, report: &Report) {
        let info = run(report, self.info);
        let known = events(&info.stdout.0, "mtd");
        for (writes, eraseblock) in &self.writes {
            let found = known.iter().find(|mtd| mtd["name"] == writes.name).expect(writes.name);
            assert_eq!(found["eraseblock_size"], *eraseblock as u64, "{found}");
            let bad = if writes.name == NAND { vec![2 * eraseblock, 7 * eraseblock] } else { Vec::new() };
            assert_eq!(found["bad"], Value::from(bad), "{found}");
            writes.check(report, *eraseblock);
        }
        check_mounted(report, &self.mounted);
        check_mistakes(report, &self.mistakes);
        for step in self.in_use {
            let error = end_of(report, step, 6, "error");
            assert!(error["message"].as_str().unwrap().contains("is mounted at /busy"), "{error}");
        }
    }
}

#[test]
fn a_pc_holds_what_was_written() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=100 badblocks=2,7").unwrap();
    vm.module("mtdram", "total_size=1024 erase_size=64").unwrap();
    vm.module("mtdblock", "").unwrap();
    vm.module("squashfs", "").unwrap();
    let flash = [(NAND, 128 << 10), ("mtdram test device", 64 << 10)];
    let Some(trial) = Trial::steps(&mut vm, &flash, 1 << 20, Endian::Big) else { return };
    trial.check(&vm.run().unwrap());
}

#[test]
fn a_big_endian_device_holds_what_was_written() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let nor = folder.path().join("nor");
    std::fs::write(&nor, vec![0xff; 4 << 20]).unwrap();
    vm.nor_flash(&nor);
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=100 nandsim.badblocks=2,7");
    let flash = [(NAND, 128 << 10), ("mtdram test device", 64 << 10), ("User FS", 64 << 10)];
    let Some(trial) = Trial::steps(&mut vm, &flash, 2944 << 10, Endian::Little) else { return };
    trial.check(&vm.run().unwrap());
}
