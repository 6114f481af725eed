//! Memory and disks as flash: written with `flashw`, mounted, booted from.

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use common::{end_of, hash, json, noise, put, sha256, squashfs, tree, well};
use flashwright_media::Endian;
use flashwright_tree::{Content, Node, Tree};
use vmtest::protocol::{GUEST_PATH, JOB_PATH, Step};
use vmtest::{Program, Report, Rules, StepId, Visit, Vm};

const ERASEBLOCK: usize = 64 << 10;
const FILE: usize = 200_000;

fn jffs2() -> Vec<u8> {
    let options = flashwright_jffs2::Options::new(0x1_0000, Endian::Little);
    let mut bytes = Vec::new();
    flashwright_jffs2::write(&tree(FILE), &options, NonZeroUsize::MIN, &mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// A root file system: the guest program, which does the steps of `job` when there are any, and what it needs.
fn root(vm: &Vm, job: Option<Vec<u8>>) -> Tree {
    let mut root = tree(FILE);
    let file = |root: &mut Tree, name: &str, mode, bytes| {
        let node = Node::file(mode, Content::from_bytes(bytes));
        root.insert(Tree::ROOT, name.trim_start_matches('/').as_bytes(), node).unwrap();
    };
    file(&mut root, GUEST_PATH, 0o755, vm.guest_program().unwrap());
    if let Some(job) = job {
        file(&mut root, JOB_PATH, 0o644, job);
    }
    for name in ["dev", "proc", "sys", "tmp", "mnt"] {
        root.insert(Tree::ROOT, name.as_bytes(), Node::directory(0o755)).unwrap();
    }
    root
}

/// A file system written, verified, read and mounted.
struct Mounted {
    fs: &'static str,
    image: &'static str,
    bytes: Vec<u8>,
    written: StepId,
    verified: StepId,
    again: StepId,
    read: StepId,
    hash: StepId,
    visit: Visit,
}

impl Mounted {
    fn steps(vm: &mut Vm, flashw: &Program, name: &str, fs: &'static str, bytes: Vec<u8>) -> Self {
        let image = if fs == "jffs2" { "/jffs2" } else { "/squashfs" };
        let target = format!("mtd:{name}");
        // What is behind a JFFS2 would be read as its nodes.
        let erased = (fs == "jffs2").then(|| json(vm, flashw, &["erase", &target]));
        let written = json(vm, flashw, &["write", image, &target]);
        let verified = json(vm, flashw, &["verify", image, &target]);
        let again = json(vm, flashw, &["write", image, &target]);
        let len = bytes.len().to_string();
        let out = format!("/tmp/{name}.{fs}");
        let read = json(vm, flashw, &["read", &target, "--length", &len, "-o", &out]);
        let hash = hash(vm, &out, bytes.len());
        let visit = vm.visit_device(fs, &format!("mtdblock:{name}"), "", true);
        assert!(erased.is_none_or(|step| step < written));
        Mounted { fs, image, bytes, written, verified, again, read, hash, visit }
    }

    fn check(&self, report: &Report) {
        let all = self.bytes.len().div_ceil(ERASEBLOCK) as u64;
        let written = end_of(report, self.written, 0, "report");
        assert_eq!((&written["done"], &written["verified"]), (&true.into(), &all.into()), "{}", self.image);
        assert_eq!(end_of(report, self.verified, 0, "verdict")["equal"], true);
        assert_eq!(end_of(report, self.again, 0, "report")["erases"], 0);
        end_of(report, self.read, 0, "read");
        assert_eq!(report.outcome(self.hash).sha256, sha256(&self.bytes));
        if self.fs == "squashfs" {
            return report.assert_visit(&self.visit, &tree(FILE), &Rules::squashfs());
        }
        // It tells, with its name, that all is well.
        let complaints =
            report.complaints(self.visit.mount, self.visit.unmount, &["jffs2: error", "jffs2: warning"]);
        assert!(complaints.is_empty(), "{complaints:?}");
        let _ = (report.outcome(self.visit.mount), report.outcome(self.visit.unmount));
        report.assert_walk(self.visit.walk, &tree(FILE), &Rules::jffs2());
    }
}

/// Memory that the kernel leaves alone, and a disk as flash, on a PC; at last the root file system in that memory is
/// booted into, as an initramfs does it.
#[test]
fn a_pc_boots_from_memory() {
    let Some(mut vm) = Vm::amd64() else { return };
    let Some(flashw) = vm.flashw().unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::write(&disk, vec![0; 4 << 20]).unwrap();
    for module in ["phram", "block2mtd", "mtdblock", "squashfs", "jffs2"] {
        vm.module(module, "").unwrap();
    }
    vm.kernel_arguments("memmap=16M$0x18000000");
    let disk = vm.writable_disk(&disk).device();
    put(&mut vm, "/squashfs", &squashfs(&tree(FILE)));
    put(&mut vm, "/jffs2", &jffs2());
    let root = root(&vm, None);
    put(&mut vm, "/root.squashfs", &squashfs(&root));
    let add = |vm: &mut Vm, words: &[&str]| json(vm, &flashw, &[&["phram", "add"], words].concat());
    let added = add(&mut vm, &["memory", "0x18000000", "12M", "64K"]);
    let refused = [
        (add(&mut vm, &["a,b", "0x18000000", "4M"]), 2),
        (add(&mut vm, &["odd", "0x18000000", "65537", "64K"]), 2),
        (add(&mut vm, &["none", "x", "4M"]), 2),
        (json(&mut vm, &flashw, &["write", "/squashfs", &disk]), 1),
        (json(&mut vm, &flashw, &["write", "/squashfs", "/dev/vda"]), 6),
    ];
    vm.step(Step::MtdOfDisk { disk, eraseblock: 64 << 10, name: "disk".into() });
    let mut mounted = Vec::new();
    for name in ["memory", "disk"] {
        mounted.push(Mounted::steps(&mut vm, &flashw, name, "squashfs", squashfs(&tree(FILE))));
        mounted.push(Mounted::steps(&mut vm, &flashw, name, "jffs2", jffs2()));
    }
    let written = json(&mut vm, &flashw, &["write", "/root.squashfs", "mtd:memory"]);
    let (fs, device, options) = ("squashfs".into(), "mtdblock:memory".into(), String::new());
    vm.step(Step::Mount { fs, device, at: "/mnt".into(), options, read_only: true });
    let switched = vm.step(Step::SwitchRoot { at: "/mnt".into(), init: GUEST_PATH.into() });
    let inside = hash(&mut vm, "/file3", FILE);
    let report = vm.run().unwrap();

    assert_eq!(end_of(&report, added, 0, "added")["name"], "memory");
    for (step, code) in refused {
        end_of(&report, step, code, "error");
    }
    let disk = end_of(&report, refused[4].0, 6, "error");
    assert_eq!(disk["message"], "/dev/vda is a disk, no flash");
    mounted.iter().for_each(|mounted| mounted.check(&report));
    end_of(&report, written, 0, "report");
    let said = report.outcome(switched).data.clone().unwrap();
    assert_eq!(said.to_string(), "/init runs as process 1");
    assert_eq!(report.outcome(inside).sha256, sha256(&noise(FILE, 3)));
}

/// Where the root file system is in the memory of the device, and its room: the last quarter.
const START: &str = "0xc000000";
const ROOM: usize = 8 << 20;

/// As a device is tried over the network: a root file system goes into memory, and the next boot, which finds its memory as it
/// was, has it as its root.
#[test]
fn a_big_endian_device_boots_from_memory() {
    let Some(mut next) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("memory");
    next.memory(&memory);
    next.boots_itself();
    let arguments = format!(
        "mem=192M phram.phram=root,{START},{ROOM},65536 root=/dev/mtdblock4 rootfstype=squashfs init={GUEST_PATH}"
    );
    next.kernel_arguments(&arguments);
    let mounts = next.step(Step::Read { path: "/proc/mounts".into() });
    let inside = hash(&mut next, "/file3", FILE);
    let root = root(&next, Some(next.job().unwrap()));

    let Some(report) = write_to_memory(&memory, &squashfs(&root)) else { return };
    assert_eq!(report.0["erases"], squashfs(&root).len().div_ceil(ERASEBLOCK));
    assert_eq!(report.1, "root");
    let report = next.run().unwrap();
    let mounts = report.outcome(mounts).data.clone().unwrap().to_string();
    assert!(mounts.contains("/dev/root / squashfs ro"), "{mounts}");
    assert_eq!(report.outcome(inside).sha256, sha256(&noise(FILE, 3)));
}

/// What the first boot reports.
fn write_to_memory(memory: &Path, image: &[u8]) -> Option<(serde_json::Value, String)> {
    let mut vm = Vm::mips_be()?;
    let flashw = vm.flashw().unwrap()?;
    vm.memory(memory);
    vm.kernel_arguments(&format!("memmap=8M${START}"));
    put(&mut vm, "/root", image);
    let added = json(&mut vm, &flashw, &["phram", "add", "root", START, &ROOM.to_string(), "64K"]);
    let written = json(&mut vm, &flashw, &["write", "/root", "mtd:root"]);
    let info = vm.run_program(&flashw, &["info"]);
    let report = vm.run().unwrap();
    eprintln!("{}", well(&report, info));
    let name = end_of(&report, added, 0, "added")["name"].as_str().unwrap().to_owned();
    Some((end_of(&report, written, 0, "report"), name))
}
