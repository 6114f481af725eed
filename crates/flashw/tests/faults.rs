//! NAND that fails, as the kernel's simulator does on demand: eraseblocks that do not take an erase or a program become bad and
//! the image ends up whole behind them, bits that flip are counted, and what cannot be read is named.

mod common;

use common::{
    end_of, events, events_of, filled, hash, json, nand_ubi, noise, put, run, sha256, squashfs, tree, well,
};
use flashwright_ubi::format::VolumeType;
use vmtest::protocol::{MtdReport, Step};
use vmtest::{Program, Report, Rules, StepId, Visit, Vm};

const PEB: usize = 128 << 10;
/// Pages of an eraseblock.
const PAGES: usize = 64;
/// Bytes of the raw images: 12 eraseblocks.
const RAW: usize = 12 * PEB - 1000;
const FILE: usize = 300_000;
const DATA: usize = 1_500_000;

/// Eraseblocks of the partitions, in order; the rest of the 1024 is one more.
const PARTITIONS: [usize; 6] = [20, 20, 80, 20, 60, 160];
const RAM: &str = "id_bytes=0x20,0xa1,0x00,0x15";

/// Name of a partition.
fn name(partition: usize) -> String {
    format!("NAND simulator partition {partition}")
}

fn target(partition: usize) -> String {
    format!("mtd:{}", name(partition))
}

/// Where a partition starts, in eraseblocks.
fn start(partition: usize) -> usize {
    PARTITIONS[..partition].iter().sum()
}

fn parts() -> String {
    format!("parts={}", PARTITIONS.map(|count| count.to_string()).join(","))
}

/// What fails, by partition, eraseblock in it, page, and how often it goes well.
fn faults() -> String {
    let peb = |partition: usize, peb: usize| start(partition) + peb;
    let page = |partition, eraseblock, page: usize| peb(partition, eraseblock) * PAGES + page;
    format!(
        "badblocks={},{} weakblocks={}:2,{}:1,{}:0,{}:1 weakpages={}:1,{}:1 gravepages={}:3,{}:3",
        peb(RAW_PART, 2),
        peb(UBI_PART, 1),
        peb(RAW_PART, 5),
        peb(FIRST_PART, 0),
        peb(UBI_PART, 5),
        peb(UBI_PART, 10),
        page(RAW_PART, 9, 3),
        page(UBI_PART, 15, 5),
        page(GRAVE_PART, 4, 10),
        page(GRAVE_UBI_PART, 6, 40),
    )
}

/// A raw image: eraseblocks that fail in the middle.
const RAW_PART: usize = 0;
/// A raw image: the first eraseblock fails.
const FIRST_PART: usize = 1;
/// A UBI image: eraseblocks that fail.
const UBI_PART: usize = 2;
/// A raw image: a page that loses its data.
const GRAVE_PART: usize = 3;
/// A UBI image: a page that loses its data.
const GRAVE_UBI_PART: usize = 4;

/// A raw image of many pages.
const BIG_PART: usize = 5;
const BIG: usize = 64 * PEB;

fn raw(seed: u32) -> Vec<u8> {
    noise(RAW, seed)
}

fn ubi(seed: u32) -> Vec<u8> {
    nand_ubi(&[
        filled("root", VolumeType::Static, squashfs(&tree(FILE + seed as usize))),
        filled("data", VolumeType::Dynamic, noise(DATA, seed)),
    ])
}

fn images(vm: &mut Vm) {
    put(vm, "/big", &noise(BIG, 7));
    for seed in [1, 2] {
        put(vm, &format!("/raw{seed}"), &raw(seed));
        put(vm, &format!("/ubi{seed}"), &ubi(seed));
    }
}

/// Writes both images in turn, `times` in all, the first one last.
fn writes(vm: &mut Vm, flashw: &Program, kind: &str, partition: usize, times: usize) -> Vec<StepId> {
    let write = |turn| json(vm, flashw, &["write", &format!("/{kind}{}", 2 - turn % 2), &target(partition)]);
    (0..times).map(|turn| turn + times).map(write).collect()
}

/// A raw image on a partition: what the kernel and others find there then.
struct RawEnd {
    verified: StepId,
    dumped: StepId,
    hash: StepId,
    facts: StepId,
}

impl RawEnd {
    fn steps(vm: &mut Vm, flashw: &Program, nanddump: &Program, partition: usize) -> Self {
        let verified = json(vm, flashw, &["verify", "/raw1", &target(partition)]);
        let (device, file) = (format!("/dev/mtd{partition}"), format!("/tmp/dump{partition}"));
        let words = ["--bb=skipbad", "-q", "-l", &RAW.to_string(), "-f", &file, &device];
        let dumped = vm.run_program(nanddump, &words);
        let hash = hash(vm, &file, RAW);
        RawEnd { verified, dumped, hash, facts: vm.step(Step::MtdFacts { mtd: name(partition) }) }
    }

    fn check(&self, report: &Report, bad: &[usize]) {
        assert_eq!(end_of(report, self.verified, 0, "verdict")["equal"], true);
        well(report, self.dumped);
        assert_eq!(report.outcome(self.hash).sha256, sha256(&raw(1)));
        assert_eq!(bad_of(report, self.facts), bad);
    }
}

/// Bad eraseblocks, as the kernel has them.
fn bad_of(report: &Report, facts: StepId) -> Vec<usize> {
    let MtdReport { bad, .. } = report.outcome(facts).mtd.clone().unwrap();
    bad.into_iter().map(|offset| usize::try_from(offset).unwrap() / PEB).collect()
}

/// Eraseblocks that went bad in each run; all of them ended well.
fn went_bad(report: &Report, writes: &[StepId]) -> Vec<Vec<u64>> {
    let of_run = |&step: &StepId| {
        let end = end_of(report, step, 0, "report");
        let list: Vec<u64> = serde_json::from_value(end["went_bad"].clone()).unwrap();
        let told: Vec<_> = events_of(report, step, 0, "went-bad");
        assert!(told.iter().map(|event| event["eraseblock"].as_u64().unwrap()).eq(list.clone()), "{told:?}");
        assert_eq!(events_of(report, step, 0, "torture-failed").len(), list.len());
        list
    };
    writes.iter().map(of_run).collect()
}

/// What happens on a UBI partition after the last write.
struct UbiEnd {
    verified: StepId,
    attached: StepId,
    facts: StepId,
    data: StepId,
    visit: Visit,
    detached: StepId,
    health: StepId,
}

impl UbiEnd {
    fn steps(vm: &mut Vm, flashw: &Program, partition: usize) -> Self {
        let target = target(partition);
        let verified = json(vm, flashw, &["verify", "/ubi1", &target]);
        let attached = json(vm, flashw, &["ubi", "attach", &target]);
        let facts = vm.step(Step::UbiFacts { ubi: 0 });
        let data = hash(vm, "ubivol:0:data", DATA);
        vm.step(Step::UbiBlock { ubi: 0, name: "root".into() });
        let visit = vm.visit_device("squashfs", "ubiblock:0:root", "", true);
        vm.step(Step::UbiUnblock { ubi: 0, name: "root".into() });
        let detached = json(vm, flashw, &["ubi", "detach", "ubi0"]);
        let health = json(vm, flashw, &["ubi", "health", &target]);
        UbiEnd { verified, attached, facts, data, visit, detached, health }
    }

    fn check(&self, report: &Report, bad: u64) {
        assert_eq!(end_of(report, self.verified, 0, "verdict")["equal"], true);
        end_of(report, self.attached, 0, "attached");
        let facts = report.outcome(self.facts).ubi.clone().unwrap();
        assert_eq!(facts.number("bad_peb_count"), Some(bad));
        assert_eq!(report.outcome(self.data).sha256, sha256(&noise(DATA, 1)));
        // Not that nobody complains: the simulator does so about each bit that it turns round.
        report.assert_walk(self.visit.walk, &tree(FILE + 1), &Rules::squashfs());
        end_of(report, self.detached, 0, "detached");
        let health = end_of(report, self.health, 0, "health");
        assert_eq!((&health["bad"], &health["unreadable"]), (&bad.into(), &0.into()), "{health}");
    }
}

/// Calls that old kernels do not know: `MEMERASE64` (Linux 2.6.31), `MEMREAD` (6.1), `MEMWRITE` (3.1).
const NEW_CALLS: [u32; 3] = [0x4010_4d14, 0xc040_4d1a, 0xc030_4d18];

/// A page that cannot be read any more, in a raw image.
struct Grave {
    wrote: StepId,
    /// The last one without those calls.
    verifies: [StepId; 4],
    read: StepId,
    damaged: StepId,
    again: StepId,
    end: RawEnd,
}

impl Grave {
    fn steps(vm: &mut Vm, flashw: &Program, nanddump: &Program) -> Self {
        let target = target(GRAVE_PART);
        let wrote = json(vm, flashw, &["write", "/raw1", &target]);
        let old = flashw.without(&NEW_CALLS);
        let programs = [flashw, flashw, flashw, &old];
        let verifies = programs.map(|flashw| json(vm, flashw, &["verify", "/raw1", &target]));
        let read = json(vm, flashw, &["read", &target, "-o", "/tmp/read"]);
        let damaged = json(vm, flashw, &["read", &target, "-o", "/tmp/damaged", "--damaged"]);
        let again = json(vm, flashw, &["write", "/raw1", &target]);
        Grave { wrote, verifies, read, damaged, again, end: RawEnd::steps(vm, flashw, nanddump, GRAVE_PART) }
    }

    fn check(&self, report: &Report) {
        let at = 4 * PEB + 10 * 2048;
        end_of(report, self.wrote, 0, "report");
        // The write read it back, once.
        for &step in &self.verifies[..2] {
            assert_eq!(end_of(report, step, 0, "verdict")["equal"], true);
        }
        for &step in &self.verifies[2..] {
            let verdict = end_of(report, step, 5, "verdict");
            let first = verdict["first"].as_str().unwrap();
            assert_eq!(first, format!("at {at:#010x} (eraseblock 4) the error correction gave up"));
        }
        let error = end_of(report, self.read, 5, "error");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("{at:#010x}")) && error["help"] == "--damaged reads on", "{error}");
        let read = end_of(report, self.damaged, 5, "read");
        assert_eq!(read["damaged"], serde_json::json!([at]));
        assert_eq!(went_bad(report, &[self.again]), [[4]]);
        self.end.check(report, &[4]);
    }
}

/// The same in a UBI image.
struct GraveUbi {
    wrote: StepId,
    verifies: [StepId; 4],
    health: StepId,
    said: StepId,
    again: StepId,
    end: UbiEnd,
}

impl GraveUbi {
    fn steps(vm: &mut Vm, flashw: &Program) -> Self {
        let target = target(GRAVE_UBI_PART);
        let wrote = json(vm, flashw, &["write", "/ubi1", &target]);
        let verifies = [(); 4].map(|()| json(vm, flashw, &["verify", "/ubi1", &target]));
        let health = json(vm, flashw, &["ubi", "health", &target, "--whole"]);
        let said = vm.run_program(flashw, &["ubi", "health", &target, "--whole"]);
        let again = json(vm, flashw, &["write", "/ubi1", &target]);
        GraveUbi { wrote, verifies, health, said, again, end: UbiEnd::steps(vm, flashw, GRAVE_UBI_PART) }
    }

    fn check(&self, report: &Report) {
        end_of(report, self.wrote, 0, "report");
        let verdict = end_of(report, self.verifies[3], 5, "verdict");
        // The LEB there, and both copies of the volume table, which come after it.
        assert_eq!((&verdict["equal"], &verdict["different"]), (&false.into(), &3.into()), "{verdict}");
        let health = end_of(report, self.health, 0, "health");
        assert_eq!(health["uncorrectable"], serde_json::json!([6]), "{health}");
        let text = well(report, self.said);
        assert!(text.contains("not correctable: PEB 6"), "{text}");
        // The LEB goes elsewhere; the PEB is erased, and takes the header that it gets.
        assert!(went_bad(report, &[self.again]).concat().is_empty());
        self.end.check(report, 0);
    }
}

/// Bits that flip at random: one in about a thousand reads of a page that was programmed.
struct Flips {
    big: Vec<StepId>,
    raw: Vec<StepId>,
    verified: StepId,
    ubi: Vec<StepId>,
    end: UbiEnd,
}

impl Flips {
    fn steps(vm: &mut Vm, flashw: &Program) -> Self {
        let big = target(BIG_PART);
        let words = ["write", "verify", "verify", "verify", "verify"];
        let big = words.into_iter().map(|word| json(vm, flashw, &[word, "/big", &big])).collect();
        let raw = writes(vm, flashw, "raw", RAW_PART, 3);
        let verified = json(vm, flashw, &["verify", "/raw1", &target(RAW_PART)]);
        let ubi = writes(vm, flashw, "ubi", UBI_PART, 3);
        Flips { big, raw, verified, ubi, end: UbiEnd::steps(vm, flashw, UBI_PART) }
    }

    fn check(&self, report: &Report) {
        // Read five times, 4096 pages: that none flips comes once in 10^8 runs.
        let bits = |&step: &StepId| {
            let (end, told) = ("report", events_of(report, step, 0, "corrected"));
            let end = if step == self.big[0] { end } else { "verdict" };
            let bits = end_of(report, step, 0, end)["corrected_bits"].as_u64().unwrap();
            assert_eq!(bits > 0, !told.is_empty(), "{told:?}");
            bits
        };
        assert!(self.big.iter().map(bits).sum::<u64>() > 0);
        for &step in self.raw.iter().chain(&self.ubi) {
            let run = run(report, step);
            let told = events(&run.stdout.0, "corrected");
            let end = end_of(report, step, 0, "report");
            let bits = told.iter().map(|event| event["bits"].as_u64().unwrap()).sum::<u64>();
            assert!(bits >= end["corrected_bits"].as_u64().unwrap(), "each is told: {end}, {told:?}");
        }
        assert!(went_bad(report, &self.raw).concat().is_empty());
        assert_eq!(end_of(report, self.verified, 0, "verdict")["equal"], true);
        assert!(went_bad(report, &self.ubi).concat().is_empty());
        self.end.check(report, 0);
    }
}

/// The same on a kernel that is old.
struct Old {
    big: Vec<StepId>,
    raw: Vec<StepId>,
    ubi: Vec<StepId>,
    erased: StepId,
    end: UbiEnd,
}

impl Old {
    fn steps(vm: &mut Vm, flashw: &Program) -> Self {
        let old = &flashw.without(&NEW_CALLS);
        let big = (0..4).map(|_| json(vm, old, &["verify", "/big", &target(BIG_PART)])).collect();
        let raw = writes(vm, old, "raw", FIRST_PART, 2);
        let ubi = writes(vm, old, "ubi", GRAVE_UBI_PART, 3);
        let end = UbiEnd::steps(vm, old, GRAVE_UBI_PART);
        Old { big, raw, ubi, erased: json(vm, old, &["erase", &target(RAW_PART)]), end }
    }

    fn check(&self, report: &Report) {
        let bits = |&step: &StepId| end_of(report, step, 0, "verdict")["corrected_bits"].as_u64().unwrap();
        // Four times 4096 pages.
        assert!(self.big.iter().map(bits).sum::<u64>() > 0);
        for writes in [&self.raw, &self.ubi] {
            assert!(went_bad(report, writes).concat().is_empty());
            assert!(end_of(report, writes[1], 0, "report")["erases"].as_u64().unwrap() > 0);
        }
        assert_eq!(end_of(report, self.erased, 0, "report")["erases"], PARTITIONS[RAW_PART]);
        self.end.check(report, 0);
    }
}

#[test]
fn flash_that_fails_holds_what_was_written() {
    let Some(mut vm) = Vm::amd64() else { return };
    let Some(flashw) = vm.flashw().unwrap() else { return };
    let nanddump = vm.program("nanddump").unwrap().expect("mtd-utils are there, as the kernel is");
    vm.module("ubi", "").unwrap();
    vm.module("squashfs", "").unwrap();
    vm.module("nandsim", &format!("{RAM} {} {}", parts(), faults())).unwrap();
    images(&mut vm);
    let raw = writes(&mut vm, &flashw, "raw", RAW_PART, 3);
    let raw_end = RawEnd::steps(&mut vm, &flashw, &nanddump, RAW_PART);
    let first = writes(&mut vm, &flashw, "raw", FIRST_PART, 3);
    let first_end = RawEnd::steps(&mut vm, &flashw, &nanddump, FIRST_PART);
    let ubi = writes(&mut vm, &flashw, "ubi", UBI_PART, 7);
    let ubi_end = UbiEnd::steps(&mut vm, &flashw, UBI_PART);
    let grave = Grave::steps(&mut vm, &flashw, &nanddump);
    let grave_ubi = GraveUbi::steps(&mut vm, &flashw);
    let unloaded = vm.step(Step::Unload { module: "nandsim".into() });
    let loaded = vm.load_module("nandsim", &format!("{RAM} {} bitflips=1", parts())).unwrap();
    let flips = Flips::steps(&mut vm, &flashw);
    let old = Old::steps(&mut vm, &flashw);
    let report = vm.run().unwrap();

    assert_eq!(went_bad(&report, &raw), [vec![], vec![9], vec![5]]);
    raw_end.check(&report, &[2, 5, 9]);
    assert_eq!(went_bad(&report, &first), [vec![], vec![0], vec![]]);
    first_end.check(&report, &[0]);
    let mut bad = went_bad(&report, &ubi).concat();
    bad.sort_unstable();
    assert_eq!(bad, [5, 10, 15]);
    ubi_end.check(&report, 4);
    grave.check(&report);
    grave_ubi.check(&report);
    let _ = (report.outcome(unloaded), report.outcome(loaded));
    flips.check(&report);
    old.check(&report);
}
