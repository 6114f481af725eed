//! Images in a real kernel, on flash as it is simulated there: NOR-like RAM, NAND, and real NOR commands on a
//! big-endian device. The kernel sees the tree, takes changes, and has nothing to complain about.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{everything, image, text};
use flashwright_jffs2::reader::{Image, ReadOptions};
use flashwright_jffs2::{Compressors, Flash, Options, Padding, fit};
use flashwright_media::Endian;
use flashwright_tree::{Content, Node, Timestamp, Tree, compare};
use vmtest::protocol::{Bytes, Step};
use vmtest::{Report, Rules, StepId, Visit, Vm};

const AT: &str = "/mnt";
const TIME: i64 = 1_700_000_000;

/// An MTD of the guest.
struct Device {
    name: &'static str,
    len: u64,
    eraseblock: u32,
    /// Whether it has to be erased before it is written, and is so once; else what is written replaces what was there.
    nand: bool,
}

/// One image on one device: looked at, changed, looked at again.
struct Trial {
    name: String,
    tree: Tree,
    changed: Tree,
    first: Visit,
    second: Visit,
    expected_free: u64,
    changes: Vec<StepId>,
    /// What the flash holds at the end, and that it was read: for some.
    dump: Option<(PathBuf, StepId)>,
    eraseblock: u32,
}

/// Trials whose flash is read at the end: each kind of flash once.
const DUMPED: [&str; 3] = ["nor", "nand", "cfi nor"];

fn rules() -> Rules {
    Rules::jffs2()
}

/// The image as flash has it that was erased before: up to the device's end, when that is needed.
fn on_flash(mut image: Vec<u8>, device: &Device) -> Vec<u8> {
    assert!(image.len() as u64 <= device.len);
    if !device.nand {
        image.resize(usize::try_from(device.len).unwrap(), 0xff);
    }
    image
}

fn trial(vm: &mut Vm, folder: &Path, name: &str, device: &Device, tree: Tree, options: &Options) -> Trial {
    let (bytes, summary) = image(&tree, options);
    let expected_free = fit(&summary, options, device.len).free_bytes;
    let path = folder.join(name);
    fs::write(&path, on_flash(bytes, device)).unwrap();
    let disk = vm.disk(&path);
    let class = if device.nand { "mtd" } else { "mtdblock" };
    let (from, to) = (disk.device(), format!("{class}:{}", device.name));
    vm.step(Step::Copy { from, to, block_size: device.eraseblock as usize });

    let mount = format!("mtdblock:{}", device.name);
    let first = vm.visit_device("jffs2", &mount, "", false);
    let changed = changed(&tree);
    let changes = change(vm, &mount);
    let second = vm.visit_device("jffs2", &mount, "", false);
    let dump = DUMPED.contains(&name).then(|| dump(vm, folder, device));
    Trial {
        name: name.into(),
        tree,
        changed,
        first,
        second,
        expected_free,
        changes,
        dump,
        eraseblock: options.eraseblock,
    }
}

fn dump(vm: &mut Vm, folder: &Path, device: &Device) -> (PathBuf, StepId) {
    let path = folder.join(format!("{} dump", device.name));
    fs::File::create(&path).unwrap().set_len(device.len).unwrap();
    let to = vm.writable_disk(&path).device();
    let step = vm.step(Step::MtdDump { mtd: device.name.into(), to });
    (path, step)
}

/// Our reader sees in a dump of used flash what the kernel sees.
fn assert_dump(report: &Report, trial: &Trial) {
    let Some((path, step)) = &trial.dump else { return };
    let name = &trial.name;
    let _ = report.outcome(*step);
    let len = fs::metadata(path).unwrap().len();
    let image = Image::open(Arc::new(fs::File::open(path).unwrap()), len, &ReadOptions::default()).unwrap();
    let findings: Vec<_> = image.check().unwrap().findings.list.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{name}: {findings:#?}");
    let differences = compare(&trial.changed, &image.tree().unwrap()).unwrap();
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{name}: {differences:#?}");
    assert_eq!(image.geometry().eraseblock, Some(trial.eraseblock), "{name}");
}

/// Data that [`change`] writes.
fn new_data() -> Vec<u8> {
    text(30_000, 77).into_iter().map(|byte| byte & 0x7f).collect()
}

/// Writes a file, writes into one, replaces one, removes and renames, syncs and unmounts.
fn change(vm: &mut Vm, device: &str) -> Vec<StepId> {
    let (fs, device) = ("jffs2".to_owned(), device.to_owned());
    let at = |path: &str| format!("{AT}/{path}");
    let data = Bytes(new_data());
    let mut steps = vec![
        Step::Mount { fs, device, at: AT.into(), options: String::new(), read_only: false },
        Step::Write { path: at("empty/new"), offset: None, data: data.clone() },
        Step::Write { path: at("data/text70000"), offset: Some(5000), data: data.clone() },
        Step::Write { path: at("data/holes"), offset: Some(100_000), data },
        Step::Write { path: at("data/deep/noise200000"), offset: None, data: Bytes(b"short".into()) },
        Step::Remove { path: at("data/deep/er/large") },
        Step::Remove { path: at("links/second") },
        Step::Rename { from: at("data/zeros"), to: at("data/null") },
        Step::MakeDirectory { path: at("many/directory") },
    ];
    steps.extend(TOUCHED.map(|path| Step::SetTime { path: at(path), seconds: TIME }));
    steps.extend([Step::Sync, Step::Unmount { at: AT.into() }]);
    steps.into_iter().map(|step| vm.step(step)).collect()
}

/// What [`change`] gives a new time, its directories after what is in them.
const TOUCHED: [&str; 10] = [
    "empty/new",
    "data/text70000",
    "data/holes",
    "data/deep/noise200000",
    "many/directory",
    "empty",
    "data/deep/er",
    "links",
    "data",
    "many",
];

/// What [`change`] makes of a tree.
fn changed(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    let id = |tree: &Tree, path: &str| tree.resolve(path.as_bytes()).unwrap();
    let set = |tree: &mut Tree, path: &str, bytes: Vec<u8>| {
        let id = id(tree, path);
        tree.node_mut(id).kind = flashwright_tree::NodeKind::File(Content::from_bytes(bytes));
    };
    let over = |tree: &mut Tree, path: &str, offset: usize| {
        let mut bytes = tree.node(id(tree, path)).content().unwrap().to_vec().unwrap();
        bytes[offset..offset + new_data().len()].copy_from_slice(&new_data());
        set(tree, path, bytes);
    };
    let empty = id(&tree, "empty");
    tree.insert(empty, b"new", Node::file(0o644, Content::from_bytes(new_data()))).unwrap();
    over(&mut tree, "data/text70000", 5000);
    over(&mut tree, "data/holes", 100_000);
    set(&mut tree, "data/deep/noise200000", b"short".to_vec());
    let (deeper, links, data) = (id(&tree, "data/deep/er"), id(&tree, "links"), id(&tree, "data"));
    tree.unlink(deeper, b"large").unwrap();
    tree.unlink(links, b"second").unwrap();
    let zeros = tree.unlink(data, b"zeros").unwrap();
    tree.link(data, b"null", zeros).unwrap();
    let many = id(&tree, "many");
    tree.insert(many, b"directory", Node::directory(0o755)).unwrap();
    for path in TOUCHED {
        let touched = id(&tree, path);
        tree.node_mut(touched).metadata.mtime = Timestamp::from_seconds(TIME);
    }
    tree
}

fn assert_trial(report: &Report, trial: &Trial) {
    let name = &trial.name;
    let _ = report.outcome(trial.first.mount);
    let complaints = report.complaints(trial.first.mount, trial.second.unmount, &[]);
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
    report.assert_walk(trial.first.walk, &trial.tree, &rules());
    for &step in &trial.changes {
        let _ = report.outcome(step);
    }
    report.assert_walk(trial.second.walk, &trial.changed, &rules());
    assert_dump(report, trial);
    let statfs = report.outcome(trial.first.statfs).statfs.unwrap();
    let (free, expected) = (statfs.free_blocks * statfs.block_size, trial.expected_free);
    eprintln!("{name}: mounted in {} us", report.outcome(trial.first.mount).nanoseconds / 1000);
    assert!(
        free.abs_diff(expected) <= 2 * statfs.block_size,
        "{name}: {free} bytes free, {expected} expected"
    );
}

fn nor(endian: Endian) -> Options {
    Options::new(64 << 10, endian)
}

fn nand(endian: Endian) -> Options {
    let mut options = Options::new(128 << 10, endian);
    options.flash = Flash::Nand;
    options.page_size = 2048;
    options
}

fn changed_options(mut options: Options, change: impl FnOnce(&mut Options)) -> Options {
    change(&mut options);
    options
}

const RAM: Device = Device { name: "mtdram test device", len: 16 << 20, eraseblock: 64 << 10, nand: false };

/// What is free of the big-endian device's real NOR.
const CFI: Device = Device { name: "User FS", len: 2944 << 10, eraseblock: 64 << 10, nand: false };

fn nand_partition(name: &'static str) -> Device {
    Device { name, len: 100 * (128 << 10), eraseblock: 128 << 10, nand: true }
}

fn trials(vm: &mut Vm, folder: &Path, endian: Endian) -> Vec<Trial> {
    let nor = nor(endian);
    let mut trials = Vec::new();
    let mut ram = |vm: &mut Vm, name: &str, xattrs, options: &Options| {
        trials.push(trial(vm, folder, name, &RAM, everything(xattrs), options));
    };
    ram(vm, "nor", true, &nor);
    ram(vm, "nor without summary", false, &changed_options(nor.clone(), |o| o.summary = false));
    ram(vm, "nor padded", true, &changed_options(nor.clone(), |o| o.padding = Padding::Size(RAM.len)));
    let lzo = Compressors::from_names(["lzo", "rtime"]).unwrap();
    ram(vm, "nor lzo", false, &changed_options(nor.clone(), |o| o.compressors = lzo));
    let rtime = Compressors::from_names(["rtime"]).unwrap();
    ram(vm, "nor rtime", false, &changed_options(nor.clone(), |o| o.compressors = rtime));
    ram(vm, "nor nodes of 8K", false, &changed_options(nor.clone(), |o| o.node_size = 8 << 10));
    ram(vm, "nor nodes of 16K", false, &changed_options(nor.clone(), |o| o.node_size = 16 << 10));
    ram(vm, "nor nodes of 32K", false, &changed_options(nor, |o| o.node_size = 32 << 10));
    let nand = nand(endian);
    let nands = [
        ("nand", nand.clone()),
        ("nand without summary", changed_options(nand.clone(), |o| o.summary = false)),
        ("nand nodes of 64K", changed_options(nand, |o| o.node_size = 64 << 10)),
    ];
    let partitions =
        ["NAND simulator partition 0", "NAND simulator partition 1", "NAND simulator partition 2"];
    for ((name, options), partition) in nands.into_iter().zip(partitions) {
        trials.push(trial(vm, folder, name, &nand_partition(partition), everything(true), &options));
    }
    trials
}

#[test]
fn a_pc_reads_and_writes_what_we_wrote() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.module("jffs2", "").unwrap();
    vm.module("mtdblock", "").unwrap();
    vm.module("mtdram", "total_size=16384 erase_size=64").unwrap();
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=100,100,100").unwrap();
    let trials = trials(&mut vm, folder.path(), Endian::Little);
    let report = vm.run().unwrap();
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

#[test]
fn a_big_endian_device_reads_and_writes_what_we_wrote() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let flash = folder.path().join("flash");
    fs::write(&flash, vec![0xff; 4 << 20]).unwrap();
    vm.nor_flash(&flash);
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=100,100,100");
    let mut trials = trials(&mut vm, folder.path(), Endian::Big);
    trials.push(trial(&mut vm, folder.path(), "cfi nor", &CFI, everything(true), &nor(Endian::Big)));
    let report = vm.run().unwrap();
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

/// A root file system with an init of its own.
fn bootable(vm: &Vm) -> Tree {
    let mut tree = Tree::new();
    for name in ["dev", "proc", "sys", "tmp", "sbin", "etc"] {
        tree.insert(Tree::ROOT, name.as_bytes(), Node::directory(0o755)).unwrap();
    }
    let mut file = |path: &str, permissions, bytes: Vec<u8>| {
        let (folder, name) = path.split_once('/').unwrap();
        let folder = tree.resolve(folder.as_bytes()).unwrap();
        tree.insert(folder, name.as_bytes(), Node::file(permissions, Content::from_bytes(bytes))).unwrap();
    };
    file("sbin/init", 0o755, vm.guest_program().unwrap());
    file("etc/motd", 0o644, b"a root of ours\n".to_vec());
    tree
}

/// The kernel starts an initramfs of ours, which mounts a root of ours and becomes its init; that one writes to it.
fn boot(mut vm: Vm, device: &Device, endian: Endian) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    let (bytes, _) = image(&bootable(&vm), &nor(endian));
    fs::write(&path, on_flash(bytes, device)).unwrap();
    let disk = vm.disk(&path);
    let root = format!("mtdblock:{}", device.name);
    vm.step(Step::Copy { from: disk.device(), to: root.clone(), block_size: device.eraseblock as usize });
    let (fs, at, options) = ("jffs2".to_owned(), "/root".to_owned(), String::new());
    let mount = vm.step(Step::Mount { fs, device: root, at: at.clone(), options, read_only: false });
    let init = vm.step(Step::SwitchRoot { at, init: "/sbin/init".into() });
    let mounts = vm.step(Step::Read { path: "/proc/mounts".into() });
    let read = vm.step(Step::Read { path: "/etc/motd".into() });
    vm.step(Step::Write { path: "/etc/said".into(), offset: None, data: Bytes(new_data()) });
    vm.step(Step::Sync);
    let said = vm.step(Step::Read { path: "/etc/said".into() });
    let report = vm.run().unwrap();
    let data = |step| String::from_utf8(report.outcome(step).data.clone().unwrap().0).unwrap();
    assert_eq!(data(init), "/sbin/init runs as process 1");
    let root = data(mounts).lines().rfind(|line| line.split(' ').nth(1) == Some("/")).unwrap().to_owned();
    assert!(root.starts_with("/dev/mtdblock") && root.contains(" jffs2 rw"), "{root}");
    assert_eq!(data(read), "a root of ours\n");
    assert_eq!(data(said).into_bytes(), new_data());
    let complaints = report.complaints(mount, said, &[]);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_pc_boots_from_it() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("jffs2", "").unwrap();
    vm.module("mtdblock", "").unwrap();
    vm.module("mtdram", "total_size=16384 erase_size=64").unwrap();
    boot(vm, &RAM, Endian::Little);
}

#[test]
fn a_big_endian_device_boots_from_its_flash() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let flash = folder.path().join("flash");
    fs::write(&flash, vec![0xff; 4 << 20]).unwrap();
    vm.nor_flash(&flash);
    boot(vm, &CFI, Endian::Big);
}

/// Mounts an image from flash that is a disk, since disks count what is read; returns the steps that tell.
fn count_scan(vm: &mut Vm, folder: &Path, name: &str, tree: &Tree, options: &Options) -> [StepId; 3] {
    let (mut bytes, _) = image(tree, options);
    // Hardly any free eraseblocks: at each the kernel looks for a summary too, a page at the end, which is 16 KiB on the
    // big-endian device.
    let eraseblock = options.eraseblock as usize;
    bytes.resize(bytes.len().next_multiple_of(eraseblock) + 2 * eraseblock, 0xff);
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    let disk = vm.writable_disk(&path).device();
    vm.step(Step::MtdOfDisk { disk: disk.clone(), eraseblock: options.eraseblock, name: name.into() });
    let before = vm.step(Step::BytesRead { disk: disk.clone() });
    let (fs, device, at) = ("jffs2".to_owned(), format!("mtdblock:{name}"), AT.to_owned());
    // Read-only: nothing but the scan is done.
    let mount = vm.step(Step::Mount { fs, device, at, options: String::new(), read_only: true });
    let after = vm.step(Step::BytesRead { disk });
    vm.step(Step::Unmount { at: AT.into() });
    [before, mount, after]
}

fn the_scan_reads_less_with_summary(mut vm: Vm, endian: Endian) {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = everything(false);
    tree.insert(Tree::ROOT, b"more", Node::file(0o644, Content::from_bytes(text(6_000_000, 4)))).unwrap();
    let with = nor(endian);
    let without = changed_options(with.clone(), |options| options.summary = false);
    let counts = [("with", with), ("without", without)]
        .map(|(name, options)| count_scan(&mut vm, folder.path(), name, &tree, &options));
    let report = vm.run().unwrap();
    let [with, without] = counts.map(|[before, mount, after]| {
        let _ = report.outcome(mount);
        assert_eq!(report.complaints(mount, after, &[]).len(), 0);
        let bytes = |step| report.outcome(step).bytes_read.unwrap();
        (bytes(after) - bytes(before), report.outcome(mount).nanoseconds)
    });
    for (name, (bytes, nanoseconds)) in [("with", with), ("without", without)] {
        eprintln!("{name} summary: {bytes} bytes read by the mount, {} us", nanoseconds / 1000);
    }
    assert!(with.0 * 2 < without.0, "{} bytes read with summary, {} without", with.0, without.0);
}

#[test]
fn a_pc_reads_less_when_there_is_a_summary() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("jffs2", "").unwrap();
    vm.module("mtdblock", "").unwrap();
    vm.module("block2mtd", "").unwrap();
    the_scan_reads_less_with_summary(vm, Endian::Little);
}

#[test]
fn a_big_endian_device_reads_less_when_there_is_a_summary() {
    let Some(vm) = Vm::mips_be() else { return };
    the_scan_reads_less_with_summary(vm, Endian::Big);
}
