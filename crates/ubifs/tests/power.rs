//! The power of a real device is cut at many moments while its kernel writes: what is left on the flash is no fault to the
//! check, and the tree that the reader finds is the one that the kernel finds when it mounts.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{everything, image, text};
use flashwright_tree::Tree;
use flashwright_ubifs::reader::Image;
use flashwright_ubifs::{Geometry, Options};
use vmtest::protocol::{Bytes, Step};
use vmtest::{Rules, Vm};

const MTD: &str = "User FS";
/// Where that MTD is in the flash, bytes.
const MTD_START: usize = 1 << 20;
const MTD_LEN: usize = 46 * PEB as usize;
const PEB: u32 = 64 << 10;
const LEBS: u32 = 38;
const AT: &str = "/mnt";
const CUTS: u32 = 12;

fn machine(flash: &Path) -> Option<Vm> {
    let mut vm = Vm::mips_be()?;
    vm.nor_flash(flash);
    Some(vm)
}

fn attach(vm: &mut Vm) {
    let (mtd, ubi) = (MTD.to_owned(), 0);
    vm.step(Step::UbiAttach { mtd, ubi, vid_hdr_offset: None, max_beb_per1024: None });
}

fn mount(vm: &mut Vm) {
    let (fs, device, at) = ("ubifs".into(), "ubi0:root".into(), AT.into());
    vm.step(Step::Mount { fs, device, at, options: String::new(), read_only: false });
}

/// Makes a flash with a volume that was mounted and unmounted once.
fn used(folder: &Path, flash: &Path) -> Option<()> {
    let geometry = Geometry { leb_size: PEB - 128, min_io_size: 1 };
    let (bytes, _) = image(&everything(true), &Options::new(geometry, LEBS));
    let path = folder.join("image");
    fs::write(&path, &bytes).unwrap();
    fs::write(flash, vec![0xff; 4 << 20]).unwrap();
    let mut vm = machine(flash)?;
    attach(&mut vm);
    let (ubi, name) = (0, || "root".to_owned());
    let size = u64::from(LEBS) * u64::from(geometry.leb_size);
    vm.step(Step::UbiMakeVolume { ubi, name: name(), id: None, bytes: size, alignment: 1, is_static: false });
    let from = vm.disk(&path).device();
    vm.step(Step::UbiUpdate { ubi, name: name(), from, len: bytes.len() as u64 });
    mount(&mut vm);
    vm.step(Step::Unmount { at: AT.into() });
    vm.step(Step::UbiDetach { ubi });
    vm.run().unwrap();
    Some(())
}

/// A machine that is going to write, replace and rename.
fn at_work(flash: &Path) -> Option<Vm> {
    let mut vm = machine(flash)?;
    attach(&mut vm);
    mount(&mut vm);
    work(&mut vm);
    Some(vm)
}

fn work(vm: &mut Vm) {
    for number in 0..3000 {
        let path = format!("{AT}/many/again{}", number * 7 % 23);
        let write = Step::Write { path: path.clone(), offset: None, data: Bytes(text(4000, number)) };
        vm.step(if number % 11 == 10 {
            Step::Rename { from: path, to: format!("{AT}/empty/moved") }
        } else {
            write
        });
        if number % 5 == 4 {
            vm.step(Step::Sync);
        }
    }
}

/// The volume in the flash.
fn volume(flash: &Path) -> Vec<u8> {
    let mtd = fs::read(flash).unwrap()[MTD_START..][..MTD_LEN].to_vec();
    let len = mtd.len() as u64;
    let ubi = flashwright_ubi::reader::Image::open(Arc::new(mtd), len, None).unwrap();
    let mut bytes = Vec::new();
    ubi.extract(ubi.volume("root").unwrap(), &mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// What the reader has of a volume that the check finds no fault with, and what it says is left to be set right.
fn read(bytes: Vec<u8>) -> (Tree, Vec<String>) {
    let len = bytes.len() as u64;
    let image = Image::open(Arc::new(bytes), len).unwrap();
    let report = image.check().unwrap();
    // Volumes come out up to the last LEB that has something.
    let left = report.findings.list.iter().filter(|finding| finding.what != "image");
    let left: Vec<_> = left.map(ToString::to_string).collect();
    assert_eq!(report.findings.faults(), 0, "{left:#?}");
    (image.tree().unwrap(), left)
}

#[test]
#[ignore = "for the long run: cargo test -p flashwright-ubifs --test power -- --ignored"]
fn power_cuts_are_no_faults() {
    let folder = tempfile::tempdir().unwrap();
    let (clean, flash) = (folder.path().join("clean"), folder.path().join("flash"));
    let Some(()) = used(folder.path(), &clean) else { return };
    assert_eq!(read(volume(&clean)).1, [""; 0], "unmounted in order");
    // How long it takes tells when there is something to cut.
    fs::copy(&clean, &flash).unwrap();
    let Some(vm) = at_work(&flash) else { return };
    let start = Instant::now();
    let _ = vm.run().unwrap();
    let whole = start.elapsed();
    let mut in_the_middle = 0;
    for number in 0..CUTS {
        fs::copy(&clean, &flash).unwrap();
        let Some(mut vm) = at_work(&flash) else { return };
        let after = whole * (2 * CUTS + number) / (3 * CUTS);
        vm.timeout(after.max(Duration::from_secs(1)));
        let _ = vm.run();
        let (tree, left) = read(volume(&flash));
        in_the_middle += u32::from(!left.is_empty());
        eprintln!("cut {number}: {left:#?}");
        let Some(mut vm) = machine(&flash) else { return };
        attach(&mut vm);
        let visit = vm.visit_device("ubifs", "ubi0:root", "", false);
        let report = vm.run().unwrap();
        let _ = report.outcome(visit.mount);
        report.assert_walk(visit.walk, &tree, &Rules::exact());
        assert_eq!(read(volume(&flash)).1, [""; 0], "cut {number}: mounted and unmounted again");
    }
    assert!(in_the_middle > 0, "every cut came before the mount: the machine was too slow");
}
