//! `pack ubifs`: flags and keys, and what is refused; list, extract, check and info of what it writes. The image itself is
//! tested where it is made.

use std::fs;

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
