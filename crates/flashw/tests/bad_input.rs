//! What cannot end well is refused with its exit code, the reason and what to do, and the flash stays as it was.

mod common;

use std::fs::{self, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::cli::{flashw, folder, program};
use common::{filled, noise, squashfs, tree};
use flashwright_media::{Endian, UbiGeometry};
use flashwright_ubi::Options;
use flashwright_ubi::format::VolumeType;

const PEB: usize = 16 << 10;
const FLASH: usize = 20 * PEB;
const NAND: &str = "nand:16K:512";

/// A UBI image with that sequence number.
fn ubi(peb: u32, page: u32, image_seq: u32, bytes: Vec<u8>) -> Vec<u8> {
    let mut options = Options::new(UbiGeometry::new(peb, page, None, None).unwrap());
    options.image_seq = Some(image_seq);
    let volume = filled("root", VolumeType::Static, bytes);
    let mut image = Vec::new();
    flashwright_ubi::plan(&[volume], &options).unwrap().write_to(&mut image, &mut |_| ()).unwrap();
    image
}

fn sound_ubi(image_seq: u32) -> Vec<u8> {
    ubi(16 << 10, 512, image_seq, noise(100_000, 1))
}

/// PEBs of two images, of which the last one comes from the other.
fn mixed_ubi() -> Vec<u8> {
    let (mut image, other) = (sound_ubi(7), sound_ubi(8));
    let last = image.len() - PEB;
    image[last..].copy_from_slice(&other[last..]);
    image
}

/// Without its last PEB.
fn cut_ubi() -> Vec<u8> {
    let mut image = sound_ubi(7);
    image.truncate(image.len() - PEB);
    image
}

fn jffs2(endian: Endian, eraseblock: u32) -> Vec<u8> {
    let options = flashwright_jffs2::Options::new(eraseblock, endian);
    let mut bytes = Vec::new();
    flashwright_jffs2::write(&tree(5000), &options, NonZeroUsize::MIN, &mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// The byte order that this machine has not, nor one that is emulated as little-endian.
const FOREIGN: Endian = Endian::Big;

/// No file's SHA-256.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What is wrong, the image, more words, exit code, and what the message has.
type Case = (&'static str, Vec<u8>, &'static [&'static str], i32, &'static str);

#[test]
fn bad_images_are_refused() {
    let mut damaged = squashfs(&tree(100_000));
    damaged.truncate(50_000);
    let mut broken = sound_ubi(7);
    broken[3 * PEB + 5000] ^= 1;
    let cases: [Case; 11] = [
        ("empty", Vec::new(), &[], 4, "the image has no bytes at all"),
        (
            "shorter than it is said",
            noise(1000, 1),
            &["--length", "1001"],
            4,
            "has 1000 bytes, --length asks for 1001",
        ),
        ("cut off", damaged, &[], 4, "cut off"),
        ("too large", noise(FLASH + 1, 1), &[], 3, "which take 21 eraseblocks of 16384 bytes"),
        ("of another byte order", jffs2(FOREIGN, 16 << 10), &[], 4, "big-endian"),
        (
            "of larger eraseblocks",
            ubi(32 << 10, 512, 7, noise(9000, 1)),
            &[],
            3,
            "PEBs of 32768 bytes, this flash has 16384",
        ),
        ("of larger pages", ubi(16 << 10, 2048, 7, noise(9000, 1)), &[], 3, "VID header"),
        ("of several UBIs", mixed_ubi(), &[], 4, "sequence number"),
        ("a static volume without its end", cut_ubi(), &[], 4, "static volume 0: 6 LEBs, it has 7"),
        ("a UBI with a wrong bit", broken, &[], 4, "CRC"),
        ("not the one meant", noise(1000, 1), &["--sha256", ZEROS], 5, "SHA-256"),
    ];
    for (what, image, more, code, words) in cases {
        let folder = folder(FLASH, &image);
        let all = [&["write", "image", "flash", "--geometry", NAND][..], more].concat();
        let output = flashw(folder.path(), &all, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{what}: {said}");
        assert!(said.starts_with("flashw: ") && said.contains(words), "{what}: {said}");
        let flash = fs::read(folder.path().join("flash")).unwrap();
        assert!(flash.iter().all(|&byte| byte == 0xff), "{what}: the flash is as it was");
    }
}

#[test]
fn bad_words_are_refused() {
    let cases: [(&[&str], i32, &str, &str); 12] = [
        (&["write", "image", "flash"], 6, "flash is a file, no flash", "--geometry nand:128K:2K"),
        (&["write", "image", "/dev/null"], 2, "/dev/null is no MTD and no UBI volume", ""),
        (&["write", "image", "."], 2, ". is no device", ""),
        (&["write", "image", "mtd:none"], 1, "there is no mtd:none", ""),
        (
            &["write", "mtd:none", "flash", "--geometry", NAND],
            1,
            "cannot open mtd:none",
            "the image comes first",
        ),
        (&["write", "none", "flash", "--geometry", NAND], 1, "cannot open none", ""),
        (&["write", ".", "flash", "--geometry", NAND], 2, ". is no regular file", "pipe it"),
        (
            &["write", "-", "flash", "--geometry", NAND],
            2,
            "the length of a pipe is not known",
            "--length BYTES",
        ),
        (
            &["write", "image", "flash", "--geometry", NAND, "--force", "all"],
            2,
            "--force all: there is no such refusal",
            "one of in-use, erase-counts",
        ),
        (&["write", "image", "flash", "--geometry", NAND, "--offset", "1G"], 3, "0x40000000", ""),
        (&["erase", "flash", "--geometry", NAND, "--length", "1"], 3, "is inside the eraseblock", ""),
        (&["read", "flash", "--geometry", NAND, "-o", "none/out"], 1, "cannot create none/out.part", ""),
    ];
    let folder = folder(FLASH, &noise(1000, 1));
    for (words, code, message, help) in cases {
        let output = flashw(folder.path(), words, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        let (first, rest) = said.split_once('\n').unwrap();
        assert!(first.contains(message) && rest.contains(help), "{words:?}: {said}");
    }
}

#[test]
fn who_may_not_is_told_so() {
    let folder = folder(FLASH, &noise(1000, 1));
    let at = folder.path();
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(at.join("flash"), Permissions::from_mode(0o444)).unwrap();
    // Where anybody may run it.
    fs::copy(program(), at.join("flashw")).unwrap();
    let mut command = Command::new(common::cli::command(&at.join("flashw")).get_program());
    if command.get_program() != at.join("flashw") {
        command.arg(at.join("flashw"));
    }
    command.args(["write", "image", "flash", "--geometry", NAND]).current_dir(at);
    if fs::read("/proc/self/status")
        .is_ok_and(|status| String::from_utf8_lossy(&status).contains("Uid:\t0\t0"))
    {
        // Nobody.
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Permission denied") && said.contains("help: run it as root"), "{said}");
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let folder = folder(FLASH, b"");
    symlink("/dev/null", folder.path().join("null")).unwrap();
    let words = ["read", "flash", "--geometry", NAND, "-o", "null"];
    assert_eq!(flashw(folder.path(), &words, b"").status.code(), Some(0));
    assert!(fs::symlink_metadata(folder.path().join("null")).unwrap().is_symlink());
    assert!(!folder.path().join("null.part").exists());
}
