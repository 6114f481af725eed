//! `flashw` on files that stand for flash: what people type, and what they get.

mod common;

use std::fs;
use std::path::Path;

use common::cli::{command, flashw, folder, program, run};
use common::{events, noise, squashfs, tree};
use flashwright_media::UbiGeometry;
use flashwright_ubi::format::{EcHdr, HEADER_LEN};
use flashwright_ubi::{Content, Options, Volume};

const NOR: &str = "nor:64K";
const NAND: &str = "nand:16K:512";
const PEB: usize = 16 << 10;

#[test]
fn an_image_is_written_verified_and_read() {
    let image = squashfs(&tree(300_000));
    let folder = folder(1 << 20, &image);
    let at = folder.path();
    let (plan, _) = run(at, &["write", "image", "flash", "--geometry", NOR, "--plan"], 0);
    let plan = String::from_utf8(plan).unwrap();
    assert!(plan.starts_with("squashfs onto flash:\n  5 erases"), "{plan}");
    assert!(fs::read(at.join("flash")).unwrap().iter().all(|&byte| byte == 0xff), "a plan writes nothing");
    let (written, _) = run(at, &["write", "image", "flash", "--geometry", NOR], 0);
    assert!(String::from_utf8(written).unwrap().starts_with("flash: written; 5 erases"));
    assert!(fs::read(at.join("flash")).unwrap().starts_with(&image));
    run(at, &["verify", "image", "flash", "--geometry", NOR], 0);
    let (json, _) = run(at, &["write", "image", "flash", "--geometry", NOR, "--json"], 0);
    assert_eq!(events(&json, "report")[0]["erases"], 0);
    run(at, &["read", "flash", "--geometry", NOR, "--offset", "0x100", "--length", "1K", "-o", "part"], 0);
    assert_eq!(fs::read(at.join("part")).unwrap(), image[0x100..0x500]);
    fs::write(at.join("flash"), vec![0; 1 << 20]).unwrap();
    let (_, error) = run(at, &["verify", "image", "flash", "--geometry", NOR], 5);
    assert!(
        error.contains("5 eraseblocks differ, at 0x00000000 (eraseblock 0) expected 0x68, found 0x00"),
        "{error}"
    );
    run(at, &["erase", "flash", "--geometry", NOR, "--offset", "64K", "--length", "64K"], 0);
    let flash = fs::read(at.join("flash")).unwrap();
    assert!(flash[0x1_0000..0x2_0000].iter().all(|&byte| byte == 0xff) && flash[0x2_0000] == 0);
}

#[test]
fn a_pipe_is_taken_with_its_length() {
    let image = noise(200_000, 1);
    let folder = folder(1 << 20, &image);
    let write = |len: &str, sha: &str| {
        let words = ["write", "-", "flash", "--geometry", NOR, "--length", len, "--sha256", sha, "--json"];
        flashw(folder.path(), &words, &image)
    };
    let wrong = write("200000", &"0".repeat(64));
    assert_eq!(wrong.status.code(), Some(5), "{wrong:?}");
    let flash = fs::read(folder.path().join("flash")).unwrap();
    assert!(flash[..0x1_0000].iter().all(|&byte| byte == 0xff), "the first eraseblock is not written");
    use sha2::Digest;
    let digest: String = sha2::Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let right = write("200000", &digest);
    assert_eq!(right.status.code(), Some(0), "{right:?}");
    assert!(fs::read(folder.path().join("flash")).unwrap().starts_with(&image));
    let short = write("200001", &digest);
    assert_eq!(short.status.code(), Some(1));
    let report = &events(&short.stdout, "report")[0];
    assert_eq!((&report["done"], &report["kept"]), (&false.into(), &2.into()), "what was done is said");
    let error = &events(&short.stdout, "error")[0];
    assert!(error["message"].as_str().unwrap().contains("ends after 200000 bytes of 200001"), "{error}");
}

fn ubi_image(seed: u32) -> Vec<u8> {
    let mut volume = Volume::new("data");
    volume.content = Some(Content::from_bytes(noise(100_000, seed)));
    let options = Options::new(UbiGeometry::new(16 << 10, 512, None, None).unwrap());
    let mut bytes = Vec::new();
    flashwright_ubi::plan(&[volume], &options).unwrap().write_to(&mut bytes, &mut |_| ()).unwrap();
    bytes
}

fn counts(flash: &Path) -> Vec<u64> {
    let bytes = fs::read(flash).unwrap();
    let count = |peb: &[u8]| EcHdr::parse(peb.first_chunk::<HEADER_LEN>().unwrap()).unwrap().erase_count;
    bytes.chunks(PEB).map(count).collect()
}

#[test]
fn a_ubi_keeps_its_erase_counts() {
    let folder = folder(20 * PEB, &ubi_image(1));
    let at = folder.path();
    let words = |words: &[&'static str]| {
        words.iter().copied().chain(["--geometry", NAND, "--json"]).collect::<Vec<_>>()
    };
    run(at, &words(&["ubi", "format", "flash", "--erase-counter", "9"]), 0);
    assert_eq!(counts(&at.join("flash")), [10; 20]);
    let (plan, _) = run(at, &["write", "image", "flash", "--geometry", NAND, "--plan"], 0);
    let plan = String::from_utf8(plan).unwrap();
    assert!(
        plan.starts_with("UBI onto flash:\n") && plan.contains("\n  about 1 s, as typical chips go\n"),
        "{plan}"
    );
    let (json, _) = run(at, &words(&["write", "image", "flash"]), 0);
    assert_eq!(events(&json, "plan")[0]["estimated_seconds"], 1);
    let report = &events(&json, "report")[0];
    let erases = report["erases"].as_u64().unwrap();
    assert_eq!(counts(&at.join("flash")).iter().sum::<u64>(), 200 + erases, "{report}");
    run(at, &words(&["verify", "image", "flash"]), 0);
    let (json, _) = run(at, &words(&["write", "image", "flash"]), 0);
    assert_eq!(events(&json, "report")[0]["erases"], 0);
    let (json, _) = run(at, &words(&["ubi", "health", "flash"]), 0);
    assert_eq!(events(&json, "health")[0]["known"], 20);
    // What would lose the counts is refused, and what would be ignored.
    fs::write(at.join("other"), ubi_image(2)).unwrap();
    run(at, &words(&["verify", "other", "flash"]), 5);
    fs::write(at.join("raw"), noise(1000, 3)).unwrap();
    let (json, _) = run(at, &words(&["write", "raw", "flash"]), 6);
    let error = &events(&json, "error")[0];
    assert!(error["help"].as_str().unwrap().contains("--force erase-counts"), "{error}");
    run(at, &words(&["erase", "flash"]), 6);
    run(at, &words(&["write", "image", "flash", "--in-place"]), 2);
    run(at, &words(&["write", "raw", "flash", "--erase-counter", "1"]), 2);
    run(at, &words(&["write", "image", "flash", "--offset", "16K"]), 2);
    run(at, &words(&["write", "image", "flash", "--sha256", "x"]), 2);
    let before = fs::read(at.join("flash")).unwrap();
    run(at, &words(&["write", "raw", "flash", "--force", "erase-counts"]), 0);
    assert_ne!(fs::read(at.join("flash")).unwrap(), before);
}

#[test]
fn help_is_there_for_everything() {
    let at = tempfile::tempdir().unwrap();
    let (help, _) = run(at.path(), &["help"], 0);
    let help = String::from_utf8(help).unwrap();
    let section = help.split("\n\n").find(|section| section.starts_with("Commands:")).unwrap();
    let names: Vec<_> = section.lines().skip(1).map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert!(names.len() > 15 && names.contains(&"ubi update"), "{names:?}");
    for name in names {
        let words: Vec<_> = name.split(' ').chain(["--help"]).collect();
        let (text, _) = run(at.path(), &words, 0);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("Usage: flashw {name}")) && text.contains("Example"), "{text}");
    }
    let (_, error) = run(at.path(), &["frob"], 2);
    assert_eq!(error, "flashw: there is no command frob\nhelp: `flashw help` lists all\n");
    let (_, error) = run(at.path(), &["wirte", "a", "b"], 2);
    assert_eq!(
        error,
        "flashw: there is no command wirte\nhelp: did you mean write? `flashw help` lists all\n"
    );
    let (_, error) = run(at.path(), &["write", "--verfy-no", "a", "b"], 2);
    assert_eq!(
        error,
        "flashw: write: there is no option --verfy-no\nhelp: `flashw write --help` lists what it takes\n"
    );
}

#[test]
fn links_by_other_names_take_other_options() {
    let folder = folder(1 << 20, &noise(1000, 1));
    let link = folder.path().join("flashcp");
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let output = command(&link).args(["-v", "image", "/dev/null"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("/dev/null is no MTD"), "{error}");
}
