//! Images in a real kernel, in UBI volumes on simulated NAND and NOR, with every self-check that UBIFS has: the kernel
//! sees the tree, takes changes, and has nothing to complain about.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{everything, image, text};
use flashwright_media::UbiGeometry;
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

    /// What UBI needs for itself, for NAND a reserve for PEBs that go bad, and a margin.
    fn volume_lebs(&self) -> u32 {
        let reserve = if self.min_io == 1 { 0 } else { 20 };
        self.pebs - 2 - 1 - 1 - reserve - 4
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

const MTD: &str = "NAND simulator partition 0";

/// Attaches a NAND with an empty volume "root" of `device`'s size, and turns all self-checks on.
fn empty_volume(vm: &mut Vm, device: &Device) -> Vec<StepId> {
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=150,150").unwrap();
    for module in ["lzo", "deflate", "zstd", "ubi", "ubifs"] {
        vm.module(module, "").unwrap();
    }
    let size = u64::from(device.volume_lebs()) * u64::from(device.geometry().leb_size);
    let name = || "root".to_owned();
    let mut steps = vec![
        vm.step(Step::UbiAttach { mtd: MTD.into(), ubi: 0, vid_hdr_offset: None, max_beb_per1024: None }),
        vm.step(Step::UbiMakeVolume {
            ubi: 0,
            name: name(),
            id: None,
            bytes: size,
            alignment: 1,
            is_static: false,
        }),
    ];
    steps.extend(checks(vm));
    steps
}

fn update(vm: &mut Vm, path: &Path, image: &[u8]) -> StepId {
    update_volume(vm, path, (0, "root"), image)
}

fn update_volume(vm: &mut Vm, path: &Path, (ubi, name): (u32, &str), image: &[u8]) -> StepId {
    fs::write(path, image).unwrap();
    let from = vm.disk(path).device();
    vm.step(Step::UbiUpdate { ubi, name: name.into(), from, len: image.len() as u64 })
}

/// Makes a volume of that many LEBs and puts an image into it.
fn filled_volume(
    vm: &mut Vm,
    folder: &Path,
    (ubi, name): (u32, &str),
    lebs: u32,
    (image, leb_size): (&[u8], u32),
) -> [StepId; 2] {
    let bytes = u64::from(lebs) * u64::from(leb_size);
    let make =
        Step::UbiMakeVolume { ubi, name: name.into(), id: None, bytes, alignment: 1, is_static: false };
    [vm.step(make), update_volume(vm, &folder.join(format!("{ubi}.{name}")), (ubi, name), image)]
}

fn reader_of(bytes: &[u8]) -> flashwright_ubifs::reader::Image {
    let len = bytes.len() as u64;
    flashwright_ubifs::reader::Image::open(std::sync::Arc::new(bytes.to_vec()), len).unwrap()
}

/// Offset and length of the node in the main area with the highest sequence number: what was written last.
fn last_node(image: &[u8], main: usize) -> (usize, usize) {
    let mut last = (0, 0, 0);
    for at in (main..image.len() - 24).step_by(8) {
        let magic = image[at..at + 4] == flashwright_ubifs::format::NODE_MAGIC.to_le_bytes();
        let len = u32::from_le_bytes(image[at + 16..at + 20].try_into().unwrap()) as usize;
        if magic && (24..5000).contains(&len) && at + len <= image.len() && image[at + 20] < 5 {
            let sqnum = u64::from_le_bytes(image[at + 8..at + 16].try_into().unwrap());
            last = last.max((sqnum, at, len));
        }
    }
    (last.1, last.2)
}

/// The page with what was written last, as a cut of power leaves it: begun and not ended, or nothing but noise.
fn cuts(image: &[u8], options: &Options) -> Vec<Vec<u8>> {
    let leb = options.geometry.leb_size as usize;
    let (at, len) = last_node(image, options.areas().unwrap().main_first as usize * leb);
    let in_leb = (at + len - 1) % leb;
    let page = at + len - 1 - in_leb + in_leb / 2048 * 2048;
    let with = |from: usize, fill: &dyn Fn(usize) -> u8| {
        let mut cut = image.to_vec();
        (from..page + 2048).for_each(|i| cut[i] = fill(i));
        cut
    };
    vec![
        with(page + 100, &|_| 0xff),
        with(page, &|_| 0xff),
        with(page + 8, &|i| [0x5a, 0x17, 0x81, 0x00, 0x3c][i * i % 5]),
    ]
}

/// A volume that was in use, dumped: in the middle of its use, after it, and after cuts of power, of which the kernel
/// recovers; the reader sees in each what the kernel sees.
#[test]
fn volumes_that_were_in_use_read_right() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    let device = Device { mtd: MTD, peb: 128 << 10, min_io: 2048, sub_page: 512, vid_offset: 512, pebs: 150 };
    let options = options(&device, |_| ());
    let tree = everything(true);
    let mut setup = empty_volume(&mut vm, &device);
    setup.push(update(&mut vm, &folder.path().join("image"), &image(&tree, &options).0));
    let len = u64::from(device.volume_lebs()) * u64::from(options.geometry.leb_size);
    let mut dump = |vm: &mut Vm, name: &str| {
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(len.next_multiple_of(512)).unwrap();
        let to = vm.writable_disk(&path).device();
        let from = "ubivol:0:root".to_owned();
        setup.push(vm.step(Step::Copy { from, to, block_size: options.geometry.leb_size as usize }));
        path
    };
    let mut changes = change(&mut vm, "ubi0:root");
    let clean = dump(&mut vm, "clean");
    // Once more, and dumped before it is unmounted.
    let (fs, device_name) = ("ubifs".to_owned(), "ubi0:root".to_owned());
    // What is written shall come to the journal soon; `sync` would make a commit of it.
    for file in ["dirty_expire_centisecs", "dirty_writeback_centisecs"] {
        let (path, data) = (format!("/proc/sys/vm/{file}"), Bytes(b"5".into()));
        changes.push(vm.step(Step::Write { path, offset: Some(0), data }));
    }
    let mount =
        Step::Mount { fs, device: device_name, at: AT.into(), options: String::new(), read_only: false };
    changes.push(vm.step(mount));
    for number in 0..40 {
        let path = format!("{AT}/many/again{}", number % 17);
        changes.push(vm.step(Step::Write { path, offset: None, data: Bytes(text(9000, number)) }));
    }
    changes.push(vm.step(Step::Remove { path: format!("{AT}/many/again3") }));
    // Which takes its time.
    vm.step(Step::Walk { at: AT.into(), hash_up_to: u64::MAX });
    let in_use = dump(&mut vm, "in use");
    vm.step(Step::Unmount { at: AT.into() });
    let report = vm.run().unwrap();
    setup.iter().chain(&changes).for_each(|&step| drop(report.outcome(step).clone()));

    let read = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(usize::try_from(len).unwrap());
        bytes
    };
    let (clean, in_use) = (read(&clean), read(&in_use));
    let image = reader_of(&clean);
    let differences = flashwright_tree::compare(&changed(&tree), &image.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
    let found = image.check().unwrap();
    assert!(found.is_clean(), "{:#?}", found.findings);
    let image = reader_of(&in_use);
    let info = image.info().unwrap();
    assert!(!info.clean && info.journal_nodes > 50, "{} nodes", info.journal_nodes);
    let mut cuts = cuts(&in_use, &options);
    cuts.push(in_use);
    for (number, cut) in cuts.into_iter().enumerate() {
        let image = reader_of(&cut);
        let found = image.check().unwrap();
        // What a cut of power leaves is no fault, and is told.
        assert!(!found.is_clean() && found.findings.faults() == 0, "cut {number}: {:#?}", found.findings);
        let Some(mut vm) = Vm::amd64() else { return };
        let mut steps = empty_volume(&mut vm, &device);
        steps.push(update(&mut vm, &folder.path().join("cut"), &cut));
        let visit = vm.visit_device("ubifs", "ubi0:root", "", false);
        let report = vm.run().unwrap();
        steps.iter().for_each(|&step| drop(report.outcome(step).clone()));
        let _ = report.outcome(visit.mount);
        report.assert_walk(visit.walk, &image.tree().unwrap(), &Rules::exact());
    }
}

/// Numbers on flash are little-endian whatever the CPU.
#[test]
fn a_big_endian_device_reads_and_writes_what_we_wrote() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let flash = folder.path().join("flash");
    fs::write(&flash, vec![0xff; 4 << 20]).unwrap();
    vm.nor_flash(&flash);
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=150,150,150,150");
    // The first disk after that of the report, as flash with eraseblocks of 16 KiB: those of mtdram have 64.
    let small_flash = folder.path().join("small flash");
    fs::write(&small_flash, vec![0xff; 8 << 20]).unwrap();
    vm.writable_disk(&small_flash);
    let path = "/sys/module/block2mtd/parameters/block2mtd".into();
    let made = vm.step(Step::Write { path, offset: None, data: Bytes(b"/dev/vdb,16384".into()) });
    let nand =
        |mtd, vid_offset| Device { mtd, peb: 128 << 10, min_io: 2048, sub_page: 512, vid_offset, pebs: 150 };
    let nor = |mtd, peb, pebs| Device { mtd, peb, min_io: 1, sub_page: 1, vid_offset: 64, pebs };
    let cases = [
        (nand("NAND simulator partition 0", 512), Compression::Lzo),
        (nand("NAND simulator partition 1", 2048), Compression::Zlib),
        (nand("NAND simulator partition 2", 512), Compression::None),
        (nand("NAND simulator partition 3", 512), Compression::Zstd),
        (nor("block2mtd: /dev/vdb", 16 << 10, 512), Compression::Lzo),
        // Real NOR, by the commands of its chips.
        (nor("User FS", 64 << 10, 46), Compression::Zstd),
    ];
    let mut steps = checks(&mut vm);
    steps.push(made);
    let mut trials = Vec::new();
    for (ubi, (device, compression)) in (0..).zip(&cases) {
        let options = options(device, |options| options.compression = *compression);
        let vid_hdr_offset = (device.vid_offset == 2048).then_some(2048);
        let mtd = device.mtd.to_owned();
        steps.push(vm.step(Step::UbiAttach { mtd, ubi, vid_hdr_offset, max_beb_per1024: None }));
        let (bytes, _) = image(&everything(true), &options);
        let of_leb = (&bytes[..], options.geometry.leb_size);
        steps.extend(filled_volume(&mut vm, folder.path(), (ubi, "root"), device.volume_lebs(), of_leb));
        let name = format!("big-endian, {}, {compression:?}", device.mtd);
        trials.push(trial(&mut vm, &name, &format!("ubi{ubi}:root"), everything(true)));
    }
    let report = vm.run().unwrap();
    steps.iter().for_each(|&step| drop(report.outcome(step).clone()));
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

/// From a tree to a device as a user does it: UBIFS in a UBI image, both of ours, which mtd-utils' `ubiformat` writes; the
/// volume grows to all of the device, and the file system with it.
#[test]
fn a_pc_mounts_ubifs_from_our_ubi_image_that_ubiformat_wrote() {
    let Some(mut vm) = Vm::amd64() else { return };
    // First, so that its partitions have the numbers 0 to 2, and the next MTD 3.
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=150,150").unwrap();
    vm.module("mtdram", "total_size=8192 erase_size=64").unwrap();
    for module in ["lzo", "deflate", "zstd", "ubi", "ubifs"] {
        vm.module(module, "").unwrap();
    }
    let ubiformat = vm.program("ubiformat").unwrap().expect("mtd-utils are there, as the kernel is");
    let mut steps = checks(&mut vm);
    let mut trials = Vec::new();
    let cases = [
        (0, 0, (128 << 10, 2048, Some(512)), "NAND simulator partition 0", Compression::Zstd),
        (1, 1, (128 << 10, 2048, None), "NAND simulator partition 1", Compression::Lzo),
        (2, 3, (64 << 10, 1, None), "mtdram test device", Compression::Zlib),
    ];
    for (ubi, number, (peb, min_io, sub_page), mtd, compression) in cases {
        let geometry = UbiGeometry::new(peb, min_io, sub_page, None).unwrap();
        let leb = Geometry { leb_size: geometry.leb_size(), min_io_size: min_io };
        let mut options = Options::new(leb, 140);
        options.compression = compression;
        let mut volume = flashwright_ubi::Volume::new("root");
        volume.content = Some(flashwright_ubi::Content::from_bytes(image(&everything(true), &options).0));
        volume.autoresize = true;
        let mut bytes = Vec::new();
        let plan = flashwright_ubi::plan(&[volume], &flashwright_ubi::Options::new(geometry)).unwrap();
        plan.write_to(&mut bytes, &mut |_| ()).unwrap();
        let path = format!("/image{number}.ubi");
        vm.file(&path, Node::file(0o644, Content::from_bytes(bytes))).unwrap();
        let (device, offset) = (format!("/dev/mtd{number}"), geometry.vid_hdr_offset().to_string());
        let arguments = [&device, "-f", &path, "-O", &offset, "-y", "-q", "-e", "3"];
        steps.push(vm.run_program(&ubiformat, &arguments));
        let vid_hdr_offset = Some(geometry.vid_hdr_offset());
        steps.push(vm.step(Step::UbiAttach { mtd: mtd.into(), ubi, vid_hdr_offset, max_beb_per1024: None }));
        trials.push(trial(&mut vm, mtd, &format!("ubi{ubi}:root"), everything(true)));
    }
    let report = vm.run().unwrap();
    steps.iter().for_each(|&step| drop(report.outcome(step).clone()));
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

/// A volume as small as the writer says is enough, one LEB less is not; with the journal that small volumes get unasked.
/// And the kernel holds masters for damaged where the check does.
#[test]
fn volumes_may_be_as_small_as_is_said() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=400").unwrap();
    for module in ["lzo", "deflate", "zstd", "ubi", "ubifs"] {
        vm.module(module, "").unwrap();
    }
    let mut steps = checks(&mut vm);
    let attach = Step::UbiAttach { mtd: MTD.into(), ubi: 0, vid_hdr_offset: None, max_beb_per1024: None };
    steps.push(vm.step(attach));
    let geometry = nand(MTD, 512).geometry();
    let mut tree = Tree::new();
    tree.insert(Tree::ROOT, b"file", Node::file(0o644, Content::from_bytes(text(50_000, 1)))).unwrap();
    let mut changed = tree.clone();
    for number in 1..5 {
        let mut node = Node::file(0o644, Content::from_bytes(new_data()));
        node.metadata.mtime = Timestamp::from_seconds(TIME);
        changed.insert(Tree::ROOT, format!("new{number}").as_bytes(), node).unwrap();
    }
    changed.node_mut(Tree::ROOT).metadata.mtime = Timestamp::from_seconds(TIME);
    let mut mounted = Vec::new();
    let mut refused = Vec::new();
    // Most LEBs of the file system, which decide about the journal, and LEBs of the volume.
    for (max_leb_cnt, lebs) in [(17, 17), (18, 18), (25, 25), (26, 26), (2048, 0), (2048, 1)] {
        let (bytes, summary) = image(&tree, &Options::new(geometry, max_leb_cnt));
        let is_too_small = lebs == 1;
        let lebs = if lebs < 17 { summary.min_volume_lebs - lebs } else { lebs };
        let name = format!("v{max_leb_cnt}in{lebs}");
        steps.extend(filled_volume(&mut vm, folder.path(), (0, &name), lebs, (&bytes, geometry.leb_size)));
        let device = format!("ubi0:{name}");
        let mount = |device: &str| Step::Mount {
            fs: "ubifs".into(),
            device: device.into(),
            at: AT.into(),
            options: String::new(),
            read_only: false,
        };
        if is_too_small {
            refused.push((name, vm.step(mount(&device))));
            continue;
        }
        steps.push(vm.step(mount(&device)));
        let data = Bytes(new_data());
        for number in 0..5 {
            let path = format!("{AT}/new{number}");
            steps.push(vm.step(Step::Write { path: path.clone(), offset: None, data: data.clone() }));
            steps.push(vm.step(Step::SetTime { path, seconds: TIME }));
        }
        steps.push(vm.step(Step::Remove { path: format!("{AT}/new0") }));
        steps.push(vm.step(Step::SetTime { path: AT.into(), seconds: TIME }));
        steps.push(vm.step(Step::Unmount { at: AT.into() }));
        mounted.push((name, vm.visit_device("ubifs", &device, "", true)));
    }
    let (mut bytes, _) = image(&tree, &Options::new(geometry, 17));
    bytes[geometry.leb_size as usize + 100] ^= 1;
    assert!(!reader_of(&bytes).check().unwrap().is_usable());
    let of_leb = (&bytes[..], geometry.leb_size);
    steps.extend(filled_volume(&mut vm, folder.path(), (0, "damaged"), 17, of_leb));
    let (fs, device, at, options) = ("ubifs".into(), "ubi0:damaged".into(), AT.into(), String::new());
    refused.push(("damaged".into(), vm.step(Step::Mount { fs, device, at, options, read_only: false })));
    let report = vm.run().unwrap();
    steps.iter().for_each(|&step| drop(report.outcome(step).clone()));
    for (name, visit) in &mounted {
        let complaints = report.complaints(visit.mount, visit.unmount, &[]);
        assert!(complaints.is_empty(), "{name}: {complaints:#?}");
        report.assert_walk(visit.walk, &changed, &Rules::exact());
    }
    for (name, mount) in &refused {
        assert!(report.step(*mount).outcome.as_ref().unwrap().error.is_some(), "{name} is mounted");
    }
}
