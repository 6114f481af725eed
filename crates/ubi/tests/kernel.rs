//! Images in a real kernel, on NAND and on flash with small eraseblocks, on a CPU of either byte order: attached without a
//! word of complaint, every volume as it was asked for, changed, dumped, and read again by the reader here.

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{filled, findings, image_of, noise, volume};
use flashwright_media::UbiGeometry;
use flashwright_tree::{Content as FileContent, Node, Timestamp, Tree};
use flashwright_ubi::format::VolumeType::{self, Dynamic, Static};
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Device, Options, Summary, Volume};
use sha2::{Digest, Sha256};
use vmtest::protocol::{Bytes, Step};
use vmtest::{Report, Rules, StepId, Visit, Vm};

const NEW: usize = 70_001;

fn sha256(bytes: &[u8]) -> Option<String> {
    Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata.mtime = Timestamp::from_seconds(1_000_000_000);
    for (number, len) in (0u32..).zip([0usize, 10, 4096, 100_000]) {
        let mut node = Node::file(0o640, FileContent::from_bytes(noise(len, number)));
        node.metadata.mtime = Timestamp::from_seconds(1_000_000_000 + i64::from(number));
        tree.insert(Tree::ROOT, format!("file{number}").as_bytes(), node).unwrap();
    }
    tree
}

fn squashfs() -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let options = flashwright_squashfs::Options::default();
    flashwright_squashfs::write(&tree(), &options, NonZeroUsize::MIN, &mut file, &mut |_| ()).unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

/// Flash of the machine.
struct Flash {
    mtd: &'static str,
    geometry: UbiGeometry,
    /// Told to the kernel, when it is not its own choice.
    vid_hdr_offset: Option<u32>,
    pebs: u32,
}

/// One image on one flash, and all that is done to it.
struct Trial {
    name: String,
    contents: Vec<(String, VolumeType, Vec<u8>)>,
    summary: Summary,
    attach: StepId,
    facts: StepId,
    /// Of mtd-utils, on the PC alone: BusyBox has no such applet.
    ubinfo: Option<StepId>,
    hashes: Vec<StepId>,
    visit: Visit,
    again: StepId,
    new_hash: StepId,
    cut: StepId,
    end: StepId,
    dumps: [PathBuf; 2],
}

fn contents() -> Vec<(String, VolumeType, Vec<u8>)> {
    vec![
        ("root".into(), Static, squashfs()),
        ("data".into(), Dynamic, noise(300_000, 1)),
        ("aligned".into(), Dynamic, noise(200_000, 2)),
        ("aligned, static".into(), Static, noise(150_001, 3)),
        ("n".repeat(127), Static, noise(100, 4)),
    ]
}

fn volumes(geometry: &UbiGeometry) -> Vec<Volume> {
    let mut volumes: Vec<_> =
        contents().into_iter().map(|(name, volume_type, bytes)| filled(&name, volume_type, bytes)).collect();
    volumes[0].skip_check = true;
    volumes[1].autoresize = true;
    volumes[2].alignment = geometry.min_io_size().max(512) * 4;
    volumes[3].alignment = geometry.min_io_size().max(512) * 5;
    volumes[4].id = Some(9);
    volumes.push(volume("empty", |volume| volume.size = Some(200_000)));
    volumes
}

/// How the image comes to the flash.
#[derive(Clone, Copy)]
enum Way {
    /// Eraseblock after eraseblock, without what is 0xFF at its end.
    Aware,
    /// Every byte, as a plain flasher does.
    Whole,
    /// By mtd-utils' `ubiformat`, to that MTD number.
    Ubiformat(u32),
}

fn trial(vm: &mut Vm, folder: &Path, name: &str, flash: &Flash, ubi: u32, way: Way) -> Trial {
    let mut options = Options::new(flash.geometry);
    options.device = Some(Device::new(flash.pebs));
    let (image, summary) = image_of(&volumes(&flash.geometry), &options);
    let file = |name: String, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mtd = || flash.mtd.to_owned();
    let attach =
        Step::UbiAttach { mtd: mtd(), ubi, vid_hdr_offset: flash.vid_hdr_offset, max_beb_per1024: None };
    match way {
        Way::Ubiformat(number) => ubiformat(vm, flash, number, &image),
        Way::Aware | Way::Whole => {
            let disk = vm.disk(&file(format!("{name}.ubi"), &image));
            let whole = matches!(way, Way::Whole);
            vm.step(Step::MtdWrite { from: disk.device(), len: image.len() as u64, mtd: mtd(), whole });
        }
    }
    let first = vm.step(attach.clone());
    let facts = vm.step(Step::UbiFacts { ubi });
    let ubinfo = if vm.is_pc() { vm.program("ubinfo").unwrap() } else { None };
    let ubinfo = ubinfo.map(|program| vm.run_program(&program, &["-d", &ubi.to_string(), "-a"]));
    let contents = contents();
    let hash = |(name, _, bytes): &(String, _, Vec<u8>)| Step::Hash {
        path: format!("ubivol:{ubi}:{name}"),
        len: bytes.len() as u64,
    };
    let hashes = contents.iter().map(|content| vm.step(hash(content))).collect();
    vm.step(Step::UbiBlock { ubi, name: "root".into() });
    let visit = vm.visit_device("squashfs", &format!("ubiblock:{ubi}:root"), "", true);
    vm.step(Step::UbiUnblock { ubi, name: "root".into() });

    let new = vm.disk(&file(format!("{name}.new"), &noise(NEW, 9))).device();
    let update =
        |name: &str, from: &str, len| Step::UbiUpdate { ubi, name: name.into(), from: from.into(), len };
    vm.step(update("data", &new, NEW as u64));
    vm.step(update("aligned, static", &new, NEW as u64));
    vm.step(Step::UbiDetach { ubi });
    let again = vm.step(attach);
    let new_hash = vm.step(Step::Hash { path: format!("ubivol:{ubi}:aligned, static"), len: 1 << 40 });
    let empty = vec![0; flash.pebs as usize * flash.geometry.peb_size() as usize];
    let dumps = ["used", "cut"].map(|which| file(format!("{name}.{which}"), &empty));
    let [used, cut] = dumps.each_ref().map(|dump| vm.writable_disk(dump).device());
    vm.step(Step::MtdDump { mtd: mtd(), to: used });
    // More bytes are announced than come: as when the power is cut in the middle.
    let cut_update = vm.step(update("empty", "/proc/version", 150_000));
    vm.step(Step::MtdDump { mtd: mtd(), to: cut });
    let end = vm.step(Step::UbiDetach { ubi });
    Trial {
        name: name.into(),
        contents,
        summary,
        attach: first,
        facts,
        ubinfo,
        hashes,
        visit,
        again,
        new_hash,
        cut: cut_update,
        end,
        dumps,
    }
}

fn ubiformat(vm: &mut Vm, flash: &Flash, number: u32, image: &[u8]) {
    let path = format!("/image{number}.ubi");
    vm.file(&path, Node::file(0o644, FileContent::from_bytes(image.to_vec()))).unwrap();
    let program = vm.program("ubiformat").unwrap().expect("mtd-utils are there, as the kernel is");
    let offset = flash.geometry.vid_hdr_offset().to_string();
    let device = format!("/dev/mtd{number}");
    vm.run_program(&program, &[&device, "-f", &path, "-O", &offset, "-y", "-e", "3"]);
}

fn assert_trial(report: &Report, trial: &Trial) {
    let name = &trial.name;
    let _ = report.outcome(trial.attach);
    let mut complaints = report.complaints(trial.attach, trial.again, &["error"]);
    // A driver that shows volumes as MTDs hears of a volume that grows before it hears of the device.
    complaints.retain(|message| !message.text.starts_with("gluebi "));
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
    let ubi = report.outcome(trial.facts).ubi.clone().unwrap();
    assert_eq!(ubi.number("avail_eraseblocks"), Some(0), "{name}: one volume has grown to all that was free");
    for volume in &trial.summary.volumes {
        let found = ubi.volume(&volume.name).unwrap();
        let fact = |key: &str| found.get(key).map(String::as_str);
        assert_eq!(fact("type"), Some(volume.volume_type.name()), "{name}: {}", volume.name);
        assert_eq!(fact("usable_eb_size"), Some(volume.usable_leb_size.to_string().as_str()));
        assert_eq!(fact("corrupted"), Some("0"));
        let reserved: u32 = fact("reserved_ebs").unwrap().parse().unwrap();
        assert!(reserved == volume.reserved_pebs || volume.autoresize() && reserved > volume.reserved_pebs);
        if volume.volume_type == Static {
            assert_eq!(fact("data_bytes"), Some(volume.content_len.to_string().as_str()));
        }
    }
    if let Some(step) = trial.ubinfo {
        let run = report.outcome(step).run.clone().unwrap();
        let said = String::from_utf8_lossy(&run.stdout.0).into_owned();
        assert_eq!(run.code, Some(0), "{name}: {said}");
        for volume in &trial.summary.volumes {
            assert!(said.contains(&format!("Name:        {}", volume.name)), "{name}: {said}");
        }
    }
    for ((volume, _, bytes), step) in trial.contents.iter().zip(&trial.hashes) {
        assert_eq!(report.outcome(*step).sha256, sha256(bytes), "{name}: {volume}");
    }
    report.assert_visit(&trial.visit, &tree(), &Rules::squashfs());
    assert_eq!(report.outcome(trial.new_hash).sha256, sha256(&noise(NEW, 9)), "{name}");
    assert!(report.step(trial.cut).outcome.as_ref().unwrap().error.is_some());
    let _ = report.outcome(trial.end);
    assert_dumps(trial);
}

/// What the kernel has written is read here as it was meant, by all rules.
fn assert_dumps(trial: &Trial) {
    let name = &trial.name;
    let [used, cut] = trial.dumps.each_ref().map(|dump| {
        let bytes = fs::read(dump).unwrap();
        let len = bytes.len() as u64;
        Image::open(Arc::new(bytes), len, None).unwrap()
    });
    assert_eq!(findings(&used), [""; 0], "{name}");
    for (volume, volume_type, bytes) in &trial.contents {
        let bytes = if volume == "data" || volume == "aligned, static" { &noise(NEW, 9) } else { bytes };
        let found = common::content(&used, volume);
        assert!(found.starts_with(bytes), "{name}: {volume}");
        assert!(*volume_type == Dynamic || found.len() == bytes.len(), "{name}: {volume}");
    }
    let found = findings(&cut);
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    assert!(found[0].contains("update marker: expected none, found one"), "{name}: {found:#?}");
    for volume in ["root", "aligned"] {
        assert_eq!(common::content(&cut, volume), common::content(&used, volume), "{name}");
    }
}

fn nand(mtd: &'static str, sub_page: Option<u32>) -> Flash {
    let geometry = UbiGeometry::new(128 << 10, 2048, sub_page, None).unwrap();
    Flash { mtd, geometry, vid_hdr_offset: sub_page.is_none().then_some(2048), pebs: 100 }
}

/// Flash without pages.
fn nor(mtd: &'static str, peb_size: u32, pebs: u32) -> Flash {
    let geometry = UbiGeometry::new(peb_size, 1, None, None).unwrap();
    Flash { mtd, geometry, vid_hdr_offset: None, pebs }
}

const PARTS: [&str; 3] =
    ["NAND simulator partition 0", "NAND simulator partition 1", "NAND simulator partition 2"];

#[test]
fn a_pc_attaches_what_we_wrote() {
    let Some(mut vm) = Vm::amd64() else { return };
    let folder = tempfile::tempdir().unwrap();
    // First, so that its partitions have the numbers 0 to 3.
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=100,100,100").unwrap();
    vm.module("mtdram", "total_size=4096 erase_size=16").unwrap();
    vm.module("ubi", "").unwrap();
    vm.module("squashfs", "").unwrap();
    let mut trial =
        |name: &str, flash: &Flash, ubi, way| trial(&mut vm, folder.path(), name, flash, ubi, way);
    let trials = [
        trial("sub-pages, ubiformat", &nand(PARTS[0], Some(512)), 0, Way::Ubiformat(0)),
        trial("no sub-pages, ubiformat", &nand(PARTS[1], None), 1, Way::Ubiformat(1)),
        trial("sub-pages, every byte", &nand(PARTS[2], Some(512)), 2, Way::Whole),
        trial("nor", &nor("mtdram test device", 16 << 10, 256), 3, Way::Aware),
    ];
    let report = vm.run().unwrap();
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

#[test]
fn a_big_endian_device_attaches_what_we_wrote() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=100,100,100");
    let mut trial =
        |name: &str, flash: &Flash, ubi, way| trial(&mut vm, folder.path(), name, flash, ubi, way);
    let trials = [
        trial("sub-pages", &nand(PARTS[0], Some(512)), 0, Way::Aware),
        trial("no sub-pages", &nand(PARTS[1], None), 1, Way::Aware),
    ];
    let report = vm.run().unwrap();
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

#[test]
fn a_big_endian_device_attaches_what_we_wrote_to_nor() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [flash, small_flash] = ["flash", "small flash"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, vec![0xff; 4 << 20]).unwrap();
        path
    });
    vm.nor_flash(&flash);
    // The first disk after that of the report, as flash with eraseblocks of 16 KiB.
    vm.writable_disk(&small_flash);
    let path = "/sys/module/block2mtd/parameters/block2mtd".into();
    let made = vm.step(Step::Write { path, offset: None, data: Bytes(b"/dev/vdb,16384".into()) });
    let mut trial =
        |name: &str, flash: &Flash, ubi, way| trial(&mut vm, folder.path(), name, flash, ubi, way);
    let trials = [
        trial("nor", &nor("block2mtd: /dev/vdb", 16 << 10, 256), 0, Way::Aware),
        trial("cfi nor", &nor("User FS", 64 << 10, 46), 1, Way::Whole),
    ];
    let report = vm.run().unwrap();
    let _ = report.outcome(made);
    trials.iter().for_each(|trial| assert_trial(&report, trial));
}

/// The kernel writes a fastmap when it detaches; it is found, and says what all headers say.
#[test]
fn a_fastmap_of_the_kernel_is_read_and_verified() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=100 ubi.fm_autoconvert=1");
    let flash = nand(PARTS[0], Some(512));
    let trial = trial(&mut vm, folder.path(), "fastmap", &flash, 0, Way::Aware);
    let dump = folder.path().join("end");
    fs::write(&dump, vec![0; 100 * (128 << 10)]).unwrap();
    let to = vm.writable_disk(&dump).device();
    let step = vm.step(Step::MtdDump { mtd: flash.mtd.into(), to });
    let report = vm.run().unwrap();
    let _ = (report.outcome(step), report.outcome(trial.again));
    let bytes = fs::read(&dump).unwrap();
    let len = bytes.len() as u64;
    let mut broken = bytes.clone();
    let image = Image::open(Arc::new(bytes), len, None).unwrap();
    let fastmap = image.fastmap().unwrap().expect("there is one").unwrap();
    assert_eq!(fastmap.volume_ids(), [0, 1, 2, 3, 4, 9, 0x7fff_efff]);
    let found = findings(&image);
    assert_eq!(found.len(), 1, "the update marker: {found:#?}");
    // A bit in it, and it is no use any more.
    let at = fastmap.anchor as usize * (128 << 10) + flash.geometry.data_offset() as usize;
    broken[at + 400] ^= 1;
    let broken = Image::open(Arc::new(broken), len, None).unwrap();
    let finding = broken.fastmap().unwrap().unwrap().unwrap_err();
    assert!(finding.to_string().contains("fastmap: expected CRC 0x"), "{finding}");
}
