//! The erases that `flashw` reports, and the erase counts that it writes, are those that the simulated NAND has counted.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{end_of, filled, hash, json, nand_ubi, noise, put, sha256, squashfs, tree, well};
use flashwright_ubi::format::{EcHdr, HEADER_LEN, VolumeType};
use vmtest::protocol::Step;
use vmtest::{Report, Rules, StepId, Visit, Vm};

const PEB: usize = 128 << 10;
/// PEBs of each of both partitions.
const PEBS: usize = 40;
const RAW: usize = 0;
const UBI: usize = 1;
/// Bytes of raw image and volume.
const LEN: usize = 16 * PEB;

fn target(partition: usize) -> String {
    format!("mtd:NAND simulator partition {partition}")
}

/// The same with less than a hundredth changed.
fn changed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[7 * PEB..7 * PEB + 10_000].fill(0x5a);
    bytes
}

fn ubi(data: Vec<u8>) -> Vec<u8> {
    let root = filled("root", VolumeType::Static, squashfs(&tree(300_000)));
    nand_ubi(&[root, filled("data", VolumeType::Dynamic, data)])
}

/// How the simulator tells its erases.
enum Teller {
    /// Each in the kernel's log.
    Log,
    /// Their number in a file of debugfs, read after each step.
    Report,
}

struct Trial {
    teller: Teller,
    /// What came before the first write, and the writes, each with the step after it that reads the number.
    steps: Vec<(StepId, Option<StepId>)>,
    /// The UBI partition before the first UBI image and after each.
    dumps: Vec<PathBuf>,
    /// What the kernel finds at the end: content of the volume `data`, and the file system of `root`.
    found: Option<(StepId, Visit)>,
}

impl Trial {
    fn step(&mut self, vm: &mut Vm, step: StepId) {
        let number = match self.teller {
            Teller::Log => None,
            Teller::Report => {
                let busybox = vm.program("sh").unwrap().expect("BusyBox is there, as the kernel is");
                let words = ["-c", "/peers/busybox cat /sys/kernel/debug/mtd/*/nandsim_wear_report"];
                Some(vm.run_program(&busybox, &words))
            }
        };
        self.steps.push((step, number));
    }

    fn dump(&mut self, vm: &mut Vm, folder: &Path) {
        let path = folder.join(self.dumps.len().to_string());
        fs::write(&path, vec![0; PEB * PEBS]).unwrap();
        let to = vm.writable_disk(&path).device();
        vm.step(Step::MtdDump { mtd: target(UBI)[4..].into(), to });
        self.dumps.push(path);
    }

    fn steps(vm: &mut Vm, folder: &Path, teller: Teller) -> Option<Self> {
        let flashw = vm.flashw().unwrap()?;
        let data = noise(LEN, 1);
        let files = [("/raw", data.clone()), ("/raw2", changed(data.clone()))];
        let more = [("/ubi", ubi(data.clone())), ("/ubi2", ubi(changed(data)))];
        for (path, bytes) in files.into_iter().chain(more) {
            put(vm, path, &bytes);
        }
        let mut trial = Trial { teller, steps: Vec::new(), dumps: Vec::new(), found: None };
        let before = json(vm, &flashw, &["info"]);
        trial.step(vm, before);
        for image in ["/raw", "/raw", "/raw2"] {
            let step = json(vm, &flashw, &["write", image, &target(RAW)]);
            trial.step(vm, step);
        }
        let format = json(vm, &flashw, &["ubi", "format", &target(UBI), "--erase-counter", "4"]);
        trial.step(vm, format);
        trial.dump(vm, folder);
        // The last one reads headers and last pages only, to put back what the one before it has changed.
        for words in [&["/ubi"][..], &["/ubi"], &["/ubi2"], &["/ubi", "--trust-crc"]] {
            let step = json(vm, &flashw, &[&["write"], words, &[&target(UBI)]].concat());
            trial.step(vm, step);
            trial.dump(vm, folder);
        }
        json(vm, &flashw, &["ubi", "attach", &target(UBI)]);
        let data = hash(vm, "ubivol:0:data", LEN);
        vm.step(Step::UbiBlock { ubi: 0, name: "root".into() });
        trial.found = Some((data, vm.visit_device("squashfs", "ubiblock:0:root", "", true)));
        Some(trial)
    }

    /// Erases of a write, as the simulator counted them.
    fn counted(&self, report: &Report, index: usize) -> u64 {
        match self.teller {
            Teller::Log => sectors(report, self.steps[index].0).len() as u64,
            Teller::Report => self.total(report, index) - self.total(report, index - 1),
        }
    }

    fn total(&self, report: &Report, index: usize) -> u64 {
        let text = well(report, self.steps[index].1.unwrap());
        let line = text.lines().find_map(|line| line.strip_prefix("Total numbers of erases:"));
        line.expect(&text).trim().parse().unwrap()
    }

    fn check(&self, report: &Report) {
        let mut erases = Vec::new();
        for (index, (step, _)) in self.steps.iter().enumerate().skip(1) {
            let end = end_of(report, *step, 0, "report");
            assert_eq!(end["erases"], self.counted(report, index), "step {index}: {end}");
            erases.push(end["erases"].as_u64().unwrap());
        }
        // What differs and the first eraseblock, which is erased first and written last; with UBI, both copies of the volume
        // table.
        assert_eq!(erases[..4], [16, 0, 2, PEBS as u64]);
        assert!(erases[4] > 0 && erases[5] == 0 && (1..=4).contains(&erases[6]), "{erases:?}");
        assert_eq!(erases[7], erases[6], "there and back");
        let counts: Vec<_> = self.dumps.iter().map(|dump| counts(dump)).collect();
        assert_eq!(counts[0], [5; PEBS]);
        for (index, pair) in counts.windows(2).enumerate() {
            let [before, after] = pair else { unreachable!() };
            let added: Vec<_> = before.iter().zip(after).map(|(before, after)| after - before).collect();
            assert_eq!(added.iter().sum::<u64>(), erases[4 + index]);
            if let Teller::Log = self.teller {
                assert_eq!(added, by_peb(&sectors(report, self.steps[5 + index].0)));
            }
        }
        let (data, visit) = self.found.as_ref().unwrap();
        assert_eq!(report.outcome(*data).sha256, sha256(&noise(LEN, 1)));
        report.assert_visit(visit, &tree(300_000), &Rules::squashfs());
    }
}

/// Eraseblocks that were erased during a step, from the start of the whole flash.
fn sectors(report: &Report, step: StepId) -> Vec<usize> {
    let log = report.step(step).log.iter();
    let number = |text: &str| text.split("log: erase sector ").nth(1).map(|number| number.parse().unwrap());
    log.filter_map(|message| number(message.text.trim_end())).collect()
}

/// How often each PEB of the UBI partition is in a list.
fn by_peb(sectors: &[usize]) -> Vec<u64> {
    (PEBS..2 * PEBS).map(|peb| sectors.iter().filter(|&&sector| sector == peb).count() as u64).collect()
}

fn counts(dump: &Path) -> Vec<u64> {
    let bytes = fs::read(dump).unwrap();
    let count = |peb: &[u8]| EcHdr::parse(peb.first_chunk::<HEADER_LEN>().unwrap()).unwrap().erase_count;
    bytes.chunks(PEB).map(count).collect()
}

const NANDSIM: &str = "id_bytes=0x20,0xa1,0x00,0x15 parts=40,40";

#[test]
fn a_pc_counts_the_erases_that_are_reported() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.module("nandsim", &format!("{NANDSIM} log=1 dyndbg=+p")).unwrap();
    vm.module("ubi", "").unwrap();
    vm.module("squashfs", "").unwrap();
    let Some(trial) = Trial::steps(&mut vm, folder.path(), Teller::Log) else { return };
    trial.check(&vm.run().unwrap());
}

#[test]
fn a_big_endian_device_counts_the_erases_that_are_reported() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let arguments: Vec<_> = NANDSIM.split(' ').map(|argument| format!("nandsim.{argument}")).collect();
    vm.kernel_arguments(&arguments.join(" "));
    let Some(trial) = Trial::steps(&mut vm, folder.path(), Teller::Report) else { return };
    trial.check(&vm.run().unwrap());
}
