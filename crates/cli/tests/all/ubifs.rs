//! `pack ubifs`: flags and keys, and what is refused; list, extract, check and info of what it writes. The image itself is
//! tested where it is made.

use std::fs;

use flashwright_ubifs::format::node::{node_crc, pad, seal};
use flashwright_ubifs::format::{NODE_MAGIC, NodeType};

use crate::common::{Run, Sandbox, noise};

const DEVICE: &str = "--min-io 2048 --leb 126976 --max-lebs 500";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("root/noise", noise(400_000));
    sandbox.write("root/text", "all work and no play makes a dull image\n".repeat(2000));
    let numbers: Vec<String> = (0..20_000u32).map(|number| (number * number % 7919).to_string()).collect();
    sandbox.write("root/numbers", numbers.join(" "));
    sandbox
}

fn pack(sandbox: &Sandbox, flags: &str) -> Run {
    sandbox.line(&format!("pack ubifs root -o out --all-time 5 {flags}"))
}

#[test]
fn flags_and_keys_give_the_same_image() {
    let sandbox = sandbox();
    let cases = [
        ("", ""),
        ("-c zlib --effort max", "compression = \"zlib\"\neffort = \"max\""),
        ("-c zstd", "compression = \"zstd\""),
        ("-c favor-lzo --favor-percent 10", "compression = \"favor-lzo\"\nfavor-percent = 10"),
        ("--journal-size 1M --fanout 5", "journal-size = \"1M\"\nfanout = 5"),
        ("--orphan-lebs 3 --space-fixup", "orphan-lebs = 3\nspace-fixup = true"),
        ("--reserved 1M --key-hash test", "reserved = \"1M\"\nkey-hash = \"test\""),
        ("--uuid 123e4567-e89b-42d3-a456-426614174000", "uuid = \"123e4567-e89b-42d3-a456-426614174000\""),
    ];
    let mut seen = Vec::new();
    for (flags, keys) in cases {
        pack(&sandbox, &format!("{DEVICE} {flags}")).assert_ok();
        let packed = fs::read(sandbox.path("out")).unwrap();
        let toml = format!(
            "[time]\nset = 5\n[flash]\nmin-io = 2048\npeb = \"128K\"\n[[source]]\ndir = \"root\"\n[[output]]\nfile = \
             \"built\"\nformat = \"ubifs\"\nmax-lebs = 500\n{keys}\n"
        );
        sandbox.write("image.toml", toml);
        sandbox.line("build image.toml").assert_ok();
        assert!(fs::read(sandbox.path("built")).unwrap() == packed, "{flags}");
        assert!(!seen.contains(&packed), "{flags} changes nothing");
        seen.push(packed);
    }
}

#[test]
fn what_is_written_is_listed_checked_and_unpacked() {
    let sandbox = sandbox();
    let run = pack(&sandbox, &format!("{DEVICE} --json"));
    run.assert_ok();
    assert_eq!(sandbox.line("list out").stdout, "/\n/noise\n/numbers\n/text\n");
    sandbox.line("check out").assert_ok();
    let info = sandbox.line("info --json out").json();
    assert_eq!((&info["format"], &info["leb_size"]), (&"ubifs".into(), &126_976.into()));
    assert_eq!((&info["compression"], &info["max_lebs"]), (&"lzo".into(), &500.into()));
    sandbox.line("extract out -o unpacked").assert_ok();
    assert_eq!(fs::read(sandbox.path("unpacked/noise")).unwrap(), noise(400_000));

    let mut bytes = fs::read(sandbox.path("out")).unwrap();
    let start = &noise(400_000)[..8];
    let at = bytes.windows(8).position(|part| part == start).unwrap();
    bytes[at] ^= 1;
    fs::write(sandbox.path("out"), bytes).unwrap();
    let run = sandbox.line("check out");
    assert_eq!(run.code, 5);
    assert!(run.stdout.contains("/noise: inode 64 at 0x"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_is_refused() {
    let sandbox = sandbox();
    let cases = [
        ("--leb 126976 --max-lebs 500", 2, "--min-io"),
        ("--min-io 2048 --max-lebs 500", 2, "--leb"),
        ("--min-io 2048 --leb 126976", 2, "--max-lebs"),
        ("--min-io 1 --peb 4K --max-lebs 500", 3, "LEBs of 3968 bytes: UBIFS takes 15360"),
        ("--min-io 1 --leb 3968 --max-lebs 500", 3, "this flash needs JFFS2"),
        ("--min-io 2048 --leb 126976 --max-lebs 10", 3, "UBIFS needs 17 (2158592 bytes)"),
        ("--min-io 2000 --leb 126976 --max-lebs 500", 2, "power of two"),
        ("--min-io 2048 --leb 126976 --max-lebs 18 --effort fast", 0, ""),
        (
            "--min-io 2048 --leb 126976 --max-lebs 500 --cipher AES-256-XTS",
            2,
            "encrypted UBIFS images are not",
        ),
        ("--min-io 2048 --leb 126976 --max-lebs 500 --auth-key k", 2, "authenticated UBIFS images are not"),
        ("--min-io 2048 --leb 126976 --max-lebs 500 -c xz", 2, "there are none, lzo, zlib, zstd, favor-lzo"),
        ("--min-io 2048 --leb 126976 --max-lebs 500 --max-size 1K", 3, "max"),
    ];
    for (flags, code, message) in cases {
        let run = pack(&sandbox, flags);
        assert_eq!(run.code, code, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{flags}: {}", run.stderr);
    }
    sandbox.write("root/large", noise(3_000_000));
    let run = pack(&sandbox, "--min-io 2048 --leb 126976 --max-lebs 20");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("the volume has at most 20"), "{}", run.stderr);
}

/// LEB and page of [`DEVICE`].
const LEB: usize = 126_976;
const PAGE: usize = 2048;

/// Sets the flag in both master nodes that says that the file system is mounted.
fn mounted(image: &mut [u8]) {
    for lnum in [1, 2] {
        let node = &mut image[lnum * LEB..][..512];
        node[40] |= 1;
        let crc = node_crc(node);
        node[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Takes the last LEB into the journal and puts `bytes` there.
fn journal(image: &mut [u8], bytes: &[u8]) {
    let last = image.len() / LEB - 1;
    let start = last * LEB;
    assert!(image[start..].iter().all(|&byte| byte == 0xff), "a LEB without anything in it");
    image[start..start + bytes.len()].copy_from_slice(bytes);
    let mut page = vec![0; PAGE];
    page[..4].copy_from_slice(&NODE_MAGIC.to_le_bytes());
    page[20] = NodeType::Ref.number();
    page[24..28].copy_from_slice(&u32::try_from(last).unwrap().to_le_bytes());
    seal(&mut page[..64], 1 << 20);
    pad(&mut page[64..]);
    image[3 * LEB + PAGE..][..PAGE].copy_from_slice(&page);
}

/// What a cut of power leaves is no damage, and nothing else passes for it.
#[test]
fn a_file_system_that_was_not_unmounted_is_sound() {
    let sandbox = sandbox();
    pack(&sandbox, DEVICE).assert_ok();
    let image = fs::read(sandbox.path("out")).unwrap();
    let mut torn = vec![0x5a; 700];
    torn[..4].copy_from_slice(&NODE_MAGIC.to_le_bytes());
    let mut followed = torn.clone();
    followed.resize(5 * PAGE, 0xff);
    followed.push(0);
    type Case<'a> = (&'a str, bool, &'a [u8], i32, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("unmounted", false, b"", 0, &["ubifs: sound\n"]),
        (
            "mounted",
            true,
            b"",
            0,
            &["note: file system: expected unmounted in order", "sound, as a file system in use is"],
        ),
        ("cut in the first write", true, &torn, 0, &["note: ", "Linux sets it right at the next mount"]),
        ("cut, and more behind it", true, &followed, 5, &["error: ", "the image is damaged"]),
        ("a cut that cannot be", false, &torn, 5, &["error: ", "the image is damaged"]),
        ("nothing but 0", true, &[0; PAGE], 0, &["note: "]),
    ];
    for (name, is_mounted, bytes, code, said) in cases {
        let mut image = image.clone();
        if is_mounted {
            mounted(&mut image);
        }
        if !bytes.is_empty() {
            journal(&mut image, bytes);
        }
        sandbox.write("used", &image);
        let run = sandbox.line("check used");
        assert_eq!(run.code, code, "{name}: {run:?}");
        said.iter().for_each(|words| assert!(run.stdout.contains(words), "{name}: {run:?}"));
        let json = sandbox.line("check --json used").json();
        assert_eq!(json["sound"], code == 0, "{name}");
        let severities = json["findings"].as_array().unwrap().iter().map(|finding| &finding["severity"]);
        assert_eq!(severities.clone().any(|severity| severity == "note"), is_mounted, "{name}");
        assert_eq!(severities.clone().any(|severity| severity == "error"), code == 5, "{name}");
    }
}

/// The newer of two different copies counts, as with Linux, when power can have been cut between them.
#[test]
fn copies_of_the_master_are_judged_as_linux_does() {
    let sandbox = sandbox();
    pack(&sandbox, DEVICE).assert_ok();
    let image = fs::read(sandbox.path("out")).unwrap();
    let next = |image: &mut [u8], lnum: usize, page: usize| {
        let mut node = image[lnum * LEB..][..512].to_vec();
        node[40] |= 1;
        seal(&mut node, 1 << 21);
        image[lnum * LEB + page * PAGE..][..512].copy_from_slice(&node);
        pad(&mut image[lnum * LEB + page * PAGE + 512..][..PAGE - 512]);
    };
    type Change<'a> = &'a dyn Fn(&mut [u8]);
    let cases: [(&str, i32, Change<'_>); 5] = [
        ("the second is not written yet", 0, &|image| next(image, 1, 1)),
        ("the second is half written", 0, &|image| {
            next(image, 1, 1);
            image[2 * LEB + PAGE..][..300].fill(0x31);
        }),
        ("the first is half written", 0, &|image| image[LEB + PAGE..][..300].fill(0x31)),
        ("the first is missing a write", 5, &|image| next(image, 2, 1)),
        ("the second is damaged", 5, &|image| image[2 * LEB + 100] ^= 1),
    ];
    for (name, code, change) in cases {
        let mut image = image.clone();
        change(&mut image);
        sandbox.write("used", &image);
        let run = sandbox.line("check used");
        assert_eq!(run.code, code, "{name}: {run:?}");
        assert!(run.stdout.contains(if code == 0 { "note: " } else { "error: " }), "{name}: {run:?}");
        sandbox.line("list used").assert_ok();
    }
}
