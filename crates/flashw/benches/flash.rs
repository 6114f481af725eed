//! `flashw` against the programs of mtd-utils, in the amd64 guest: 16 MiB of NOR (mtdram), 128 MiB of NAND (nandsim with the
//! delays of real NAND). `cargo xtask bench flash` builds what it needs and runs it.
//!
//! With NOR, which has no delays here, the guest's clock counts instructions: it shows what the programs and the kernel do, the
//! same in every run. NAND waits as long as the real one, by the host's clock.
//!
//! Every job starts from a device that `flashw` has just filled with another image, or with the one that is changed.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use flashwright_media::UbiGeometry;
use flashwright_tree::{Content as FileContent, Node, Tree};
use flashwright_ubi::{Content, Device, Options, Volume};
use vmtest::protocol::Step;
use vmtest::{Program, Report, StepId, Vm};

/// A kind of flash, and what is written to it.
struct Flash {
    /// What the command line calls it.
    short: &'static str,
    name: &'static str,
    /// Module of the kernel, and its parameters.
    module: (&'static str, &'static str),
    eraseblocks: u32,
    /// Bytes of content, which is noise.
    len: usize,
    /// Whether the clock counts instructions: waiting would take for ever then.
    instructions: bool,
    /// Whether the image is one of UBI with that content as its volume, or the content itself.
    ubi: bool,
}

const NAND: (&str, &str) = ("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 do_delays=1");
const FLASHES: [Flash; 3] = [
    Flash {
        short: "nor",
        name: "NOR of 16 MiB, raw image of 15 MiB",
        module: ("mtdram", "total_size=16384 erase_size=64"),
        eraseblocks: 256,
        len: 15 << 20,
        instructions: true,
        ubi: false,
    },
    Flash {
        short: "nand",
        name: "NAND of 128 MiB, raw image of 100 MiB",
        module: NAND,
        eraseblocks: 1024,
        len: 100 << 20,
        instructions: false,
        ubi: false,
    },
    Flash {
        short: "ubi",
        name: "NAND of 128 MiB, UBI image with a volume of 100 MiB",
        module: NAND,
        eraseblocks: 1024,
        len: 100 << 20,
        instructions: false,
        ubi: true,
    },
];

/// Where the images are in the guest.
const IMAGES: &str = "/images";
const DEVICE: &str = "/dev/mtd0";
/// Most of theirs that a full write may take, verification included; and of `ubiformat`, when 1 % has changed.
const FULL: f64 = 1.0;
const CHANGED: f64 = 0.1;
/// Of 100 eraseblocks, how many are erased at most when 1 % has changed.
const CHANGED_ERASES: u64 = 2;

fn main() -> ExitCode {
    let mut misses = Vec::new();
    println!(
        "NOR: a CPU of 500 million instructions a second; NAND: nandsim's own delays, by the host's clock"
    );
    let only = std::env::args().find(|argument| argument == "nor" || argument == "nand" || argument == "ubi");
    let chosen = |flash: &&Flash| only.as_deref().is_none_or(|only| only == flash.short);
    for flash in FLASHES.iter().filter(chosen) {
        let Some(bench) = Bench::new(flash) else { return ExitCode::FAILURE };
        bench.run(&mut misses);
    }
    misses.iter().for_each(|miss| println!("\nMissed: {miss}"));
    if misses.is_empty() || !std::env::args().any(|argument| argument == "--check") {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

impl Flash {
    fn image(&self, content: Vec<u8>) -> Vec<u8> {
        if !self.ubi {
            return content;
        }
        let mut volume = Volume::new("rootfs");
        volume.content = Some(Content::from_bytes(content));
        let mut options = Options::new(UbiGeometry::new(128 << 10, 2048, Some(512), None).unwrap());
        options.device = Some(Device::new(self.eraseblocks));
        let mut image = Vec::new();
        flashwright_ubi::plan(&[volume], &options).unwrap().write_to(&mut image, &mut |_| ()).unwrap();
        image
    }

    /// A file system with the images: `other`, `new`, and `changed`, of which 1 % is not as in `new`.
    fn images(&self, at: &Path) {
        let new = noise(self.len, 1);
        let mut changed = new.clone();
        let start = self.len / 2;
        changed[start..start + self.len / 100].iter_mut().for_each(|byte| *byte ^= 0x55);
        let mut tree = Tree::new();
        for (name, content) in [("other", noise(self.len, 2)), ("new", new), ("changed", changed)] {
            let image = FileContent::from_bytes(self.image(content));
            tree.insert(Tree::ROOT, name.as_bytes(), Node::file(0o644, image)).unwrap();
        }
        let mut options = flashwright_squashfs::Options::default();
        options.method = flashwright_squashfs::Method::Gzip { level: None };
        let mut file = File::create(at).unwrap();
        flashwright_squashfs::write(&tree, &options, NonZeroUsize::MIN, &mut file, &mut |_| ()).unwrap();
    }
}

/// A way to write an image: programs that run one after the other, each with its arguments; `IMAGE` stands for the image.
struct Way {
    name: &'static str,
    programs: Vec<(Program, Vec<&'static str>)>,
}

impl Way {
    fn steps(&self, vm: &mut Vm, image: &str) -> Vec<StepId> {
        let image = format!("{IMAGES}/{image}");
        let step = |(program, arguments): &(Program, Vec<&'static str>)| {
            let words = arguments.iter().map(|&word| if word == "IMAGE" { image.as_str() } else { word });
            vm.run_program(program, &words.collect::<Vec<_>>())
        };
        self.programs.iter().map(step).collect()
    }
}

/// The steps of one way.
struct Jobs {
    name: &'static str,
    full: Vec<StepId>,
    same: Vec<StepId>,
    changed: Vec<StepId>,
    /// Back again, without reading what the headers vouch for; for a UBI image.
    trusting: Vec<StepId>,
}

struct Bench<'a> {
    flash: &'a Flash,
    vm: Vm,
    folder: tempfile::TempDir,
    ours: Way,
    /// The same, trusting CRCs; taken once.
    trusting: Option<Way>,
    theirs: Vec<Way>,
}

impl<'a> Bench<'a> {
    fn new(flash: &'a Flash) -> Option<Self> {
        let mut vm = Vm::amd64()?;
        vm.timeout(Duration::from_secs(3600));
        vm.memory_size(1024);
        if flash.instructions {
            vm.instruction_clock();
        }
        vm.module(flash.module.0, flash.module.1).unwrap();
        vm.module("squashfs", "").unwrap();
        let flashw = vm.flashw().unwrap()?;
        let words = ["write", "IMAGE", DEVICE];
        let trusting = words.iter().copied().chain(["--trust-crc"]).collect();
        let trusting = Way { name: "flashw --trust-crc", programs: vec![(flashw.clone(), trusting)] };
        let ours = Way { name: "flashw", programs: vec![(flashw, words.to_vec())] };
        let theirs: &[(&str, &[&[&str]])] = if flash.ubi {
            let format: &[&str] = &["ubiformat", DEVICE, "-f", "IMAGE", "-y", "-q"];
            // Verifies nothing, so what is on the flash is read after it, which is the least that a verification does.
            let read: &[&str] = &["nanddump", DEVICE, "-q", "-f", "/dev/null", "-l", "106954752"];
            &[("ubiformat", &[format]), ("ubiformat, nanddump", &[format, read])]
        } else {
            &[
                ("flashcp -v", &[&["flashcp", "-v", "IMAGE", DEVICE]]),
                ("flashcp -p", &[&["flashcp", "-p", "IMAGE", DEVICE]]),
            ]
        };
        let mut ways = Vec::new();
        for (name, programs) in theirs {
            let mut way = Way { name, programs: Vec::new() };
            for words in *programs {
                way.programs.push((vm.program(words[0]).unwrap()?, words[1..].to_vec()));
            }
            ways.push(way);
        }
        let trusting = flash.ubi.then_some(trusting);
        Some(Bench { flash, vm, folder: tempfile::tempdir().unwrap(), ours, trusting, theirs: ways })
    }

    fn run(mut self, misses: &mut Vec<String>) {
        eprintln!("bench: {}", self.flash.name);
        let disk = self.folder.path().join("images");
        self.flash.images(&disk);
        let device = self.vm.disk(&disk).device();
        let (fs, at, options) = ("squashfs".to_owned(), IMAGES.to_owned(), String::new());
        self.vm.step(Step::Mount { fs, device, at, options, read_only: true });
        for name in ["other", "new", "changed"] {
            // From now on they are in memory.
            self.vm.step(Step::Hash { path: format!("{IMAGES}/{name}"), len: u64::MAX });
        }
        let mut jobs = Vec::new();
        for way in std::iter::once(&self.ours).chain(&self.theirs) {
            self.ours.steps(&mut self.vm, "other");
            let full = way.steps(&mut self.vm, "new");
            let same = way.steps(&mut self.vm, "new");
            let changed = way.steps(&mut self.vm, "changed");
            let trusting = self.trusting.iter().flat_map(|way| way.steps(&mut self.vm, "new")).collect();
            self.trusting = None;
            jobs.push(Jobs { name: way.name, full, same, changed, trusting });
        }
        let report = self.vm.run().unwrap();
        print(self.flash, &report, &jobs, misses);
    }
}

/// Seconds in the guest; every program must have ended well.
fn seconds(report: &Report, steps: &[StepId]) -> f64 {
    let second = |&step: &StepId| {
        let outcome = report.outcome(step);
        let run = outcome.run.as_ref().unwrap();
        assert_eq!(run.code, Some(0), "{run:?}");
        Duration::from_nanos(outcome.nanoseconds).as_secs_f64()
    };
    steps.iter().map(second).sum()
}

/// Erases, as ours reports them: `…: written; 4 erases, …`.
fn erases(report: &Report, steps: &[StepId]) -> u64 {
    let run = report.outcome(steps[0]).run.as_ref().unwrap();
    let text = String::from_utf8_lossy(&run.stdout.0).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    let erases = words.windows(2).find(|pair| pair[1] == "erases,").unwrap_or_else(|| panic!("{text}"));
    erases[0].parse().unwrap()
}

/// What happened, and the steps of ours and of others that did it.
type Row = (&'static str, fn(&Jobs) -> &[StepId], fn(&Jobs) -> &[StepId]);

fn print(flash: &Flash, report: &Report, jobs: &[Jobs], misses: &mut Vec<String>) {
    let [ours, theirs @ ..] = jobs else { return };
    let heads = theirs.iter().map(|way| format!(" {} | ours / that |", way.name)).collect::<String>();
    println!("\n**{}**\n\n| | flashw | erases |{heads}", flash.name);
    println!("|---|---|---|{}", "---|---|".repeat(theirs.len()));
    let rows: [Row; 4] = [
        ("another image was there", |jobs| &jobs.full, |jobs| &jobs.full),
        ("the same image was there", |jobs| &jobs.same, |jobs| &jobs.same),
        ("1 % of it had changed", |jobs| &jobs.changed, |jobs| &jobs.changed),
        ("1 % of it had changed, --trust-crc", |jobs| &jobs.trusting, |jobs| &jobs.changed),
    ];
    for (index, (name, own, steps)) in rows.into_iter().enumerate().filter(|(_, row)| !row.1(ours).is_empty())
    {
        let (mine, erased) = (seconds(report, own(ours)), erases(report, own(ours)));
        let mut cells = String::new();
        for way in theirs {
            let other = seconds(report, steps(way));
            let ratio = mine / other;
            cells.push_str(&format!(" {other:.2} s | {ratio:.3} |"));
            let limit = match (index, flash.ubi) {
                (0, _) => Some(FULL),
                (3, _) => Some(CHANGED),
                _ => None,
            };
            if let Some(limit) = limit.filter(|&limit| ratio > limit) {
                misses.push(format!("{}, {name}: {ratio:.3} of {}, at most {limit}", flash.name, way.name));
            }
        }
        println!("| {name} | {mine:.2} s | {erased} |{cells}");
        let few = u64::from(flash.eraseblocks) * CHANGED_ERASES / 100;
        let most = [u64::MAX, 0, few, few][index];
        if erased > most {
            misses.push(format!("{}, {name}: {erased} erases, at most {most}", flash.name));
        }
    }
}
