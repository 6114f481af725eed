//! UBI images and volumes written by `flashw` on flash of a real kernel that was used before: every erase count is kept, what
//! is there already stays, and the kernel finds what was asked for.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{end_of, filled, json, noise, put, sha256, squashfs, tree, well};
use flashwright_media::UbiGeometry;
use flashwright_ubi::format::{EcHdr, HEADER_LEN, VolumeType};
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Device, Options, Volume};
use vmtest::protocol::Step;
use vmtest::{Program, Report, Rules, StepId, Visit, Vm};

const MTD: &str = "NAND simulator partition 0";
const TARGET: &str = "mtd:NAND simulator partition 0";
const PEB: usize = 128 << 10;
const PEBS: usize = 150;
const BAD: [usize; 2] = [3, 40];
/// Erase count that the flash has before.
const COUNT: u64 = 7;
const DATA: usize = 5_000_000;

fn data() -> Vec<u8> {
    noise(DATA, 1)
}

fn image(data: Vec<u8>) -> Vec<u8> {
    let geometry = UbiGeometry::new(128 << 10, 2048, Some(512), None).unwrap();
    let mut grows = Volume::new("grows");
    (grows.autoresize, grows.size) = (true, Some(1));
    let root = filled("root", VolumeType::Static, squashfs(&tree(300_000)));
    let volumes = [root, filled("data", VolumeType::Dynamic, data), grows];
    let mut options = Options::new(geometry);
    options.device = Some(Device::new(u32::try_from(PEBS).unwrap()));
    let mut bytes = Vec::new();
    flashwright_ubi::plan(&volumes, &options).unwrap().write_to(&mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// One byte of 5 million is another.
fn changed() -> Vec<u8> {
    let mut data = data();
    data[2_000_000] ^= 1;
    data
}

/// The steps, in the order they are done in.
struct Trial {
    formatted: StepId,
    written: StepId,
    again: StepId,
    attached: StepId,
    facts: StepId,
    hash: StepId,
    visit: Visit,
    busy: StepId,
    detached: StepId,
    updated: StepId,
    updated_hash: StepId,
    replaced: StepId,
    replaced_hash: StepId,
    in_place: StepId,
    in_place_hash: StepId,
    commands: Vec<StepId>,
    names: StepId,
    health: StepId,
    last: StepId,
    dumps: [PathBuf; 3],
}

fn hash(vm: &mut Vm, volume: &str, len: usize) -> StepId {
    common::hash(vm, &format!("ubivol:0:{volume}"), len)
}

fn dump(vm: &mut Vm, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, vec![0; PEB * PEBS]).unwrap();
    let to = vm.writable_disk(&path).device();
    vm.step(Step::MtdDump { mtd: MTD.into(), to });
    path
}

/// Attached by the kernel, a volume of other data, detached: flash with a past.
fn use_it(vm: &mut Vm) {
    vm.step(Step::UbiAttach { mtd: MTD.into(), ubi: 0, vid_hdr_offset: None, max_beb_per1024: None });
    let (name, ubi) = ("old".to_owned(), 0);
    let (id, bytes, alignment, is_static) = (Some(1), 3_000_000, 1, false);
    vm.step(Step::UbiMakeVolume { ubi, name: name.clone(), id, bytes, alignment, is_static });
    vm.step(Step::UbiUpdate { ubi, name, from: "/old".into(), len: 2_500_000 });
    vm.step(Step::UbiDetach { ubi });
}

impl Trial {
    fn steps(vm: &mut Vm, folder: &Path) -> Option<Self> {
        let flashw = vm.flashw().unwrap()?;
        let files =
            [("/old", noise(2_500_000, 9)), ("/image", image(data())), ("/changed", image(changed()))];
        let more = [("/new", noise(DATA, 2)), ("/small", changed()), ("/tiny", noise(1000, 3))];
        for (path, bytes) in files.into_iter().chain(more) {
            put(vm, path, &bytes);
        }
        let run = |vm: &mut Vm, words: &[&str]| json(vm, &flashw, words);
        let formatted = format(vm, &flashw);
        use_it(vm);
        let before = dump(vm, folder, "before");
        let written = run(vm, &["write", "/image", TARGET]);
        let after = dump(vm, folder, "after");
        let again = run(vm, &["write", "/image", TARGET]);
        let attached = run(vm, &["ubi", "attach", TARGET]);
        let facts = vm.step(Step::UbiFacts { ubi: 0 });
        let first_hash = hash(vm, "data", DATA);
        vm.step(Step::UbiBlock { ubi: 0, name: "root".into() });
        let visit = vm.visit_device("squashfs", "ubiblock:0:root", "", true);
        let busy = run(vm, &["write", "/changed", TARGET]);
        vm.step(Step::UbiUnblock { ubi: 0, name: "root".into() });
        let detached = run(vm, &["ubi", "detach", TARGET]);
        let updated = run(vm, &["write", "/changed", TARGET]);
        run(vm, &["ubi", "attach", TARGET]);
        let updated_hash = hash(vm, "data", DATA);
        // No room for a second volume, until the one that has grown to all there was is smaller.
        run(vm, &["ubi", "rsvol", "ubi:grows", "--lebs", "1"]);
        let replaced = run(vm, &["write", "/new", "ubi:data"]);
        let replaced_hash = hash(vm, "data", DATA);
        let in_place = run(vm, &["write", "/small", "ubi:data", "--in-place"]);
        let in_place_hash = hash(vm, "data", DATA);
        let commands = [
            &["ubi", "mkvol", "ubi0", "one", "--size", "300K"][..],
            &["ubi", "mkvol", "ubi0", "two", "--lebs", "2", "--static"],
            &["ubi", "rename", "ubi0", "one", "two", "two", "one"],
            &["write", "/tiny", "ubi0:one", "--plan"],
            &["ubi", "rmvol", "ubi:two"],
            &["info"],
        ];
        let commands = commands.iter().map(|words| run(vm, words)).collect();
        let names = vm.step(Step::UbiFacts { ubi: 0 });
        let health = run(vm, &["ubi", "health", TARGET, "--whole"]);
        let last = run(vm, &["ubi", "detach", "ubi0"]);
        let dumps = [before, after, dump(vm, folder, "end")];
        Some(Trial {
            formatted,
            written,
            again,
            attached,
            facts,
            hash: first_hash,
            visit,
            busy,
            detached,
            updated,
            updated_hash,
            replaced,
            replaced_hash,
            in_place,
            in_place_hash,
            commands,
            names,
            health,
            last,
            dumps,
        })
    }
}

/// An empty UBI with a past: by mtd-utils where they are, else by `flashw`.
fn format(vm: &mut Vm, flashw: &Program) -> StepId {
    if !vm.is_pc() {
        return vm.run_program(flashw, &["ubi", "format", TARGET, "--erase-counter", "6", "--json"]);
    }
    let ubiformat = vm.program("ubiformat").unwrap().expect("mtd-utils are there, as the kernel is");
    vm.run_program(&ubiformat, &["/dev/mtd0", "-e", "7", "-y", "-q"])
}

/// Erase counts by PEB; `None` for the bad ones, which a dump has as 0xFF.
fn counts(dump: &Path) -> Vec<Option<u64>> {
    let bytes = fs::read(dump).unwrap();
    let header = |peb: &[u8]| EcHdr::parse(peb.first_chunk::<HEADER_LEN>().unwrap()).ok();
    bytes.chunks(PEB).map(|peb| header(peb).map(|header| header.erase_count)).collect()
}

fn check_counts(trial: &Trial, erases: u64) {
    let [before, after, end] = trial.dumps.each_ref().map(|dump| counts(dump));
    for counts in [&before, &after, &end] {
        let unknown: Vec<_> = (0..PEBS).filter(|&peb| counts[peb].is_none()).collect();
        assert_eq!(unknown, BAD);
    }
    let sum = |counts: &[Option<u64>]| counts.iter().flatten().sum::<u64>();
    assert!(before.iter().flatten().all(|&count| count >= COUNT), "{before:?}");
    assert_eq!(sum(&after) - sum(&before), erases, "each erase is counted, and nothing is forgotten");
    let pairs = before.iter().zip(&after).chain(after.iter().zip(&end));
    assert!(pairs.clone().all(|(old, new)| old <= new), "a count never gets smaller");
    let image = Image::open(Arc::new(fs::read(&trial.dumps[1]).unwrap()), (PEB * PEBS) as u64, None).unwrap();
    let findings: Vec<_> = image.check().unwrap().findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

fn check(report: &Report, trial: &Trial) {
    let _ = report.outcome(trial.formatted);
    let written = end_of(report, trial.written, 0, "report");
    assert_eq!((&written["done"], &written["counts_lost"]), (&true.into(), &0.into()), "{written}");
    check_counts(trial, written["erases"].as_u64().unwrap());
    let again = end_of(report, trial.again, 0, "report");
    assert_eq!((&again["erases"], &again["programmed"]), (&0.into(), &0.into()), "{again}");

    assert_eq!(end_of(report, trial.attached, 0, "attached")["target"], "/dev/ubi0");
    let complaints = report.complaints(trial.attached, trial.facts, &["error"]);
    let complaints: Vec<_> = complaints.iter().filter(|line| !line.text.starts_with("gluebi ")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let ubi = report.outcome(trial.facts).ubi.clone().unwrap();
    assert_eq!(ubi.number("avail_eraseblocks"), Some(0), "one volume has grown to all that was free");
    assert_eq!(report.outcome(trial.hash).sha256, sha256(&data()));
    report.assert_visit(&trial.visit, &tree(300_000), &Rules::squashfs());

    let busy = end_of(report, trial.busy, 6, "error");
    assert!(busy["message"].as_str().unwrap().contains("UBI device 0 is attached"), "{busy}");
    end_of(report, trial.detached, 0, "detached");
    let updated = end_of(report, trial.updated, 0, "report");
    let erases = updated["erases"].as_u64().unwrap();
    // One LEB, both copies of the volume table, one that the kernel had moved or freed; and its fastmap, where it writes one.
    assert!(erases <= 5, "of {PEBS} PEBs: {updated}");
    assert_eq!(report.outcome(trial.updated_hash).sha256, sha256(&changed()));
    check_volumes(report, trial);
}

fn check_volumes(report: &Report, trial: &Trial) {
    let replaced = end_of(report, trial.replaced, 0, "report");
    assert_ne!(replaced["target"], "/dev/ubi0_1", "a new volume: {replaced}");
    assert_eq!(report.outcome(trial.replaced_hash).sha256, sha256(&noise(DATA, 2)));
    let in_place = end_of(report, trial.in_place, 0, "report");
    assert_eq!(in_place["target"], replaced["target"], "the same volume");
    assert_eq!(report.outcome(trial.in_place_hash).sha256, sha256(&changed()));
    for &step in &trial.commands {
        well(report, step);
    }
    let names = report.outcome(trial.names).ubi.clone().unwrap();
    let mut names: Vec<_> = names.volumes.values().map(|volume| volume["name"].clone()).collect();
    names.sort();
    assert_eq!(names, ["data", "grows", "one", "root"]);
    let health = end_of(report, trial.health, 0, "health");
    assert_eq!((&health["bad"], &health["unreadable"]), (&(BAD.len() as u64).into(), &0.into()), "{health}");
    end_of(report, trial.last, 0, "detached");
}

const NANDSIM: &str = "id_bytes=0x20,0xa1,0x00,0x15 parts=150 badblocks=3,40";

#[test]
fn a_pc_keeps_every_erase_count() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.module("nandsim", NANDSIM).unwrap();
    vm.module("ubi", "").unwrap();
    vm.module("squashfs", "").unwrap();
    let Some(trial) = Trial::steps(&mut vm, folder.path()) else { return };
    check(&vm.run().unwrap(), &trial);
}

#[test]
fn a_big_endian_device_keeps_every_erase_count() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let arguments: Vec<_> = NANDSIM.split(' ').map(|argument| format!("nandsim.{argument}")).collect();
    vm.kernel_arguments(&arguments.join(" "));
    let Some(trial) = Trial::steps(&mut vm, folder.path()) else { return };
    check(&vm.run().unwrap(), &trial);
}
