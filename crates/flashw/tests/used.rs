//! File systems that were in use, read from flash and written again: nothing of what a kernel leaves behind is taken for damage.

mod common;

use common::{end_of, json, noise};
use vmtest::protocol::{Bytes, NodeReport, Step};
use vmtest::{Program, Report, StepId, Visit, Vm};

const AT: &str = "/mnt/used";

/// Mounts what the kernel finds, or makes, and leaves traces of many kinds: files written, written into, cut, renamed and
/// removed.
fn use_it(vm: &mut Vm, fs: &str, device: &str) {
    let (fs, device) = (fs.to_owned(), device.to_owned());
    let at = |name: usize| format!("{AT}/file{name}");
    vm.step(Step::Mount { fs, device, at: AT.into(), options: String::new(), read_only: false });
    for round in 0..4 {
        for file in 0..12 {
            let data = Bytes(noise(20_000 + 7000 * file, u32::try_from(file + round).unwrap()));
            let offset = (round % 2 == 1).then_some(5000);
            vm.step(Step::Write { path: at(file), offset, data });
        }
        vm.step(Step::Sync);
        vm.step(Step::Remove { path: at(round) });
        vm.step(Step::Rename { from: at(round + 6), to: at(round) });
    }
    vm.step(Step::MakeDirectory { path: format!("{AT}/directory") });
    vm.step(Step::Unmount { at: AT.into() });
}

/// A target in use, what is read from it, and another target that gets it.
struct Copied {
    before: Visit,
    read: StepId,
    written: StepId,
    after: Visit,
}

impl Copied {
    fn steps(vm: &mut Vm, flashw: &Program, fs: &str, names: [(&str, &str); 2]) -> Self {
        let [(from, used), (to, other)] = names;
        use_it(vm, fs, used);
        let before = vm.visit_device(fs, used, "", true);
        let out = format!("/tmp/{fs}");
        let read = json(vm, flashw, &["read", from, "-o", &out]);
        let written = json(vm, flashw, &["write", &out, to]);
        Copied { before, read, written, after: vm.visit_device(fs, other, "", true) }
    }

    fn check(&self, report: &Report) {
        end_of(report, self.read, 0, "read");
        assert_eq!(end_of(report, self.written, 0, "report")["done"], true);
        let [before, after] = [&self.before, &self.after].map(|visit| nodes(report, visit));
        assert!(before.len() > 8, "{before:?}");
        assert_eq!(before, after);
    }
}

fn nodes(report: &Report, visit: &Visit) -> Vec<NodeReport> {
    let _ = report.outcome(visit.mount);
    let mut nodes = report.step(visit.walk).nodes.clone();
    nodes.sort_by(|one, other| one.path.cmp(&other.path));
    nodes
}

#[test]
fn a_volume_that_was_in_use_is_copied() {
    let Some(mut vm) = Vm::amd64() else { return };
    let Some(flashw) = vm.flashw().unwrap() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=400").unwrap();
    for module in ["lzo", "deflate", "zstd", "ubi", "ubifs"] {
        vm.module(module, "").unwrap();
    }
    json(&mut vm, &flashw, &["ubi", "format", "mtd:NAND simulator partition 0"]);
    json(&mut vm, &flashw, &["ubi", "attach", "mtd:NAND simulator partition 0"]);
    for name in ["used", "other"] {
        json(&mut vm, &flashw, &["ubi", "mkvol", "ubi0", name, "--size", "12M"]);
    }
    let names = [("ubi:used", "ubi0:used"), ("ubi:other", "ubi0:other")];
    let copied = Copied::steps(&mut vm, &flashw, "ubifs", names);
    copied.check(&vm.run().unwrap());
}

#[test]
fn a_jffs2_that_was_in_use_is_written_again() {
    let Some(mut vm) = Vm::amd64() else { return };
    let Some(flashw) = vm.flashw().unwrap() else { return };
    vm.module("mtdram", "total_size=4096 erase_size=64").unwrap();
    for module in ["mtdblock", "jffs2"] {
        vm.module(module, "").unwrap();
    }
    let names = [("mtd:mtdram test device", "mtdblock:mtdram test device"); 2];
    let copied = Copied::steps(&mut vm, &flashw, "jffs2", names);
    copied.check(&vm.run().unwrap());
}
