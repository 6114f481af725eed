//! Images in a real kernel, in UBI volumes on simulated NAND and NOR, with every self-check that UBIFS has: the kernel
//! sees the tree, takes changes, and has nothing to complain about.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{everything, image, text};
use flashwright_tree::{Content, Node, Timestamp, Tree};
use flashwright_ubifs::format::KeyHash;
use flashwright_ubifs::{Compression, Geometry, Options};
use vmtest::protocol::{Bytes, Step};
use vmtest::{Report, Rules, StepId, Visit, Vm};

const AT: &str = "/mnt";
const TIME: i64 = 1_700_000_000;

/// An MTD of the guest, with UBI's geometry on it.
struct Device {
    mtd: &'static str,
    peb: u32,
    min_io: u32,
    sub_page: u32,
    vid_offset: u32,
    pebs: u32,
}

impl Device {
    fn geometry(&self) -> Geometry {
        let data = (self.vid_offset + 64).next_multiple_of(self.min_io);
        Geometry { leb_size: self.peb - data, min_io_size: self.min_io }
    }

    /// What UBI needs for itself, and a margin.
    fn volume_lebs(&self) -> u32 {
        self.pebs - 2 - 1 - 1 - (20 * 1024 / 1024) - 4
    }
}

/// One image on one device: looked at, changed, looked at again.
struct Trial {
    name: String,
    tree: Tree,
    changed: Tree,
    first: Visit,
    second: Visit,
    third: Visit,
    changes: Vec<StepId>,
}

/// A UBI image with one volume.
fn ubinize(folder: &Path, device: &Device, image: &[u8]) -> Option<Vec<u8>> {
    let program = vmtest::find_program("ubinize")?;
    let [volume, ini, ubi] = ["volume", "ini", "ubi"].map(|name| folder.join(name));
    fs::write(&volume, image).unwrap();
    let lebs = device.volume_lebs();
    let size = u64::from(lebs) * u64::from(device.geometry().leb_size);
    let text = format!(
        "[v]\nmode=ubi\nimage={}\nvol_id=0\nvol_size={size}\nvol_type=dynamic\nvol_name=root\n",
        volume.display()
    );
    fs::write(&ini, text).unwrap();
    let number = |value: u32| value.to_string();
    let status = Command::new(program)
        .args(["-Q", "1", "-p", &number(device.peb), "-m", &number(device.min_io)])
        .args(["-s", &number(device.sub_page), "-O", &number(device.vid_offset), "-o"])
        .args([&ubi, &ini])
        .status()
        .unwrap();
    assert!(status.success());
    Some(fs::read(ubi).unwrap())
}

/// Writes the image to its MTD. To be called before UBI is loaded.
fn flash(vm: &mut Vm, folder: &Path, name: &str, device: &Device, image: &[u8]) {
    let ubi = ubinize(folder, device, image).expect("ubinize comes with what the machine needs");
    let path = folder.join(name);
    fs::write(&path, ubi).unwrap();
    let disk = vm.disk(&path);
    vm.step(Step::Copy { from: disk.device(), to: device.mtd.into(), block_size: device.peb as usize });
}

/// Turns all self-checks on.
fn checks(vm: &mut Vm) -> Vec<StepId> {
    let mut steps = Vec::new();
    for check in ["general", "index", "orphans", "lprops", "fs"] {
        let path = format!("/sys/kernel/debug/ubifs/chk_{check}");
        steps.push(vm.step(Step::Write { path, offset: Some(0), data: Bytes(b"1".into()) }));
    }
    steps
}

fn trial(vm: &mut Vm, name: &str, volume: &str, tree: Tree) -> Trial {
    let first = vm.visit_device("ubifs", volume, "", true);
    let changed = changed(&tree);
    let changes = change(vm, volume);
    let second = vm.visit_device("ubifs", volume, "", false);
    let third = vm.visit_device("ubifs", volume, "", true);
    Trial { name: name.into(), tree, changed, first, second, third, changes }
}

/// Data that [`change`] writes.
fn new_data() -> Vec<u8> {
    text(30_000, 77).into_iter().map(|byte| byte & 0x7f).collect()
}

/// Writes a file, writes into one, replaces one, removes and renames, syncs and unmounts.
fn change(vm: &mut Vm, device: &str) -> Vec<StepId> {
    let (fs, device) = ("ubifs".to_owned(), device.to_owned());
    let at = |path: &str| format!("{AT}/{path}");
    let data = Bytes(new_data());
    let mut steps = vec![
        Step::Mount { fs, device, at: AT.into(), options: String::new(), read_only: false },
        Step::Write { path: at("empty/new"), offset: None, data: data.clone() },
        Step::Write { path: at("data/text70000"), offset: Some(5000), data: data.clone() },
        Step::Write { path: at("data/holes"), offset: Some(100_000), data },
        Step::Write { path: at("data/deep/noise200000"), offset: None, data: Bytes(b"short".into()) },
        Step::Sync,
        Step::Remove { path: at("data/deep/er/large") },
        Step::Remove { path: at("links/second") },
        Step::Remove { path: at("data/text127") },
        Step::Remove { path: at("empty/same2") },
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
    tree.unlink(data, b"text127").unwrap();
    tree.unlink(empty, b"same2").unwrap();
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
    let complaints = report.complaints(trial.first.mount, trial.third.unmount, &[]);
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
    let _ = report.outcome(trial.first.mount);
    report.assert_walk(trial.first.walk, &trial.tree, &Rules::exact());
    for &step in &trial.changes {
        let _ = report.outcome(step);
    }
    report.assert_walk(trial.second.walk, &trial.changed, &Rules::exact());
    report.assert_walk(trial.third.walk, &trial.changed, &Rules::exact());
    eprintln!("{name}: mounted in {} us", report.outcome(trial.first.mount).nanoseconds / 1000);
}

fn options(device: &Device, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(device.geometry(), device.volume_lebs());
    change(&mut options);
    options
}

/// A NAND with pages of 2 KiB, in partitions.
fn nand(mtd: &'static str, sub_page: u32) -> Device {
    Device { mtd, peb: 128 << 10, min_io: 2048, sub_page, vid_offset: sub_page.max(64), pebs: 150 }
}

type Case = (&'static str, Device, Options);

fn run(mut vm: Vm, cases: Vec<Case>) {
    let folder = tempfile::tempdir().unwrap();
    let mut attach = Vec::new();
    for (number, (name, device, options)) in cases.iter().enumerate() {
        let (bytes, _) = image(&everything(true), options);
        flash(&mut vm, folder.path(), name, device, &bytes);
        let offset = if device.sub_page == device.min_io { device.vid_offset } else { 0 };
        attach.push(format!("mtd={number},{offset}"));
    }
    for module in ["lzo", "deflate", "zstd"] {
        vm.load_module(module, "").unwrap();
    }
    let mut setup =
        vec![vm.load_module("ubi", &attach.join(" ")).unwrap(), vm.load_module("ubifs", "").unwrap()];
    setup.extend(checks(&mut vm));
    let trials: Vec<_> = (0..)
        .zip(&cases)
        .map(|(number, (name, ..))| trial(&mut vm, name, &format!("ubi{number}:root"), everything(true)))
        .collect();
    let report = vm.run().unwrap();
    for step in setup {
        let _ = report.outcome(step);
    }
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

#[test]
fn a_pc_reads_and_writes_what_we_wrote_to_nand() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=150,150,150,150,150,150").unwrap();
    let cases = [
        ("lzo", "mtd:NAND simulator partition 0", 2048, Compression::Lzo),
        ("zlib", "mtd:NAND simulator partition 1", 2048, Compression::Zlib),
        ("zstd", "mtd:NAND simulator partition 2", 2048, Compression::Zstd),
        ("none", "mtd:NAND simulator partition 3", 512, Compression::None),
        ("favor-lzo", "mtd:NAND simulator partition 4", 512, Compression::FavorLzo(20)),
        ("small fanout, test hash, fixup", "mtd:NAND simulator partition 5", 512, Compression::Lzo),
    ];
    let cases = cases.map(|(name, mtd, sub_page, compression)| {
        let device = nand(mtd, sub_page);
        let options = options(&device, |options| {
            options.compression = compression;
            if name.contains("fanout") {
                options.fanout = 3;
                options.key_hash = KeyHash::Test;
                options.space_fixup = true;
                options.journal_size = Some(3 * u64::from(options.geometry.leb_size));
                options.orphan_lebs = 3;
                options.reserved = 1 << 20;
            }
        });
        (name, device, options)
    });
    run(vm, cases.into());
}

#[test]
fn a_pc_reads_and_writes_what_we_wrote_to_large_pages() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x26 parts=100,100").unwrap();
    let mtd = "mtd:NAND simulator partition 0";
    let device = Device { mtd, peb: 256 << 10, min_io: 4096, sub_page: 4096, vid_offset: 4096, pebs: 100 };
    let options = options(&device, |_| ());
    run(vm, vec![("256K", device, options)]);
}

#[test]
fn a_pc_reads_and_writes_what_we_wrote_to_small_nor() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("mtdram", "total_size=16384 erase_size=16").unwrap();
    let mtd = "mtd:mtdram test device";
    let device = Device { mtd, peb: 16 << 10, min_io: 1, sub_page: 1, vid_offset: 448, pebs: 1024 };
    // The LPT is made for a volume that is much larger, so it is of the big model.
    let options = options(&device, |options| options.max_leb_cnt = 20_000);
    assert!(options.areas().unwrap().big_lpt);
    run(vm, vec![("16K NOR, big LPT", device, options)]);
}

#[test]
fn a_pc_reads_and_writes_what_we_wrote_to_large_nor() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("mtdram", "total_size=98304 erase_size=1024").unwrap();
    let mtd = "mtd:mtdram test device";
    let device = Device { mtd, peb: 1 << 20, min_io: 1, sub_page: 1, vid_offset: 8128, pebs: 96 };
    assert_eq!(device.geometry().leb_size, 1_040_384);
    let options = options(&device, |options| options.compression = Compression::Zstd);
    run(vm, vec![("1M NOR", device, options)]);
}
