//! `pack jffs2`: flags and keys, the fit report, what is said and what is refused. The image itself is tested where it
//! is made.

use std::fs;
use std::sync::Arc;

use flashwright_jffs2::reader::{Image, ReadOptions};

use crate::common::{Run, Sandbox, noise};

const NODE: u16 = 0x1985;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("root/noise", noise(400_000));
    sandbox.write("root/text", "all work and no play makes a dull image\n".repeat(2000));
    sandbox
}

fn pack(sandbox: &Sandbox, flags: &str) -> Run {
    sandbox.line(&format!("pack jffs2 root -o out --all-time 5 {flags}"))
}

fn image(sandbox: &Sandbox, flags: &str) -> Vec<u8> {
    pack(sandbox, flags).assert_ok();
    fs::read(sandbox.path("out")).unwrap()
}

#[test]
fn endianness_and_eraseblock_are_the_devices() {
    let sandbox = sandbox();
    for (endian, magic) in [("big", NODE.to_be_bytes()), ("little", NODE.to_le_bytes())] {
        let bytes = image(&sandbox, &format!("--eraseblock 64K --endian {endian}"));
        assert!(bytes.chunks(0x1_0000).all(|eraseblock| eraseblock.starts_with(&magic)), "{endian}");
        assert!(bytes.len() > 400_000 && bytes.len() < 500_000, "{}", bytes.len());
    }
    for (flags, missing) in
        [("", "--eraseblock"), ("--endian big", "--eraseblock"), ("--eraseblock 64K", "--endian")]
    {
        let run = pack(&sandbox, flags);
        assert_eq!(run.code, 2, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(missing), "{flags}: {}", run.stderr);
    }
}

#[test]
fn flags_and_keys_give_the_same_image() {
    let sandbox = sandbox();
    let cases = [
        ("", ""),
        ("--no-summary", "no-summary = true"),
        ("--effort max", "effort = \"max\""),
        ("--compression lzo,rtime", "compression = \"lzo,rtime\""),
        ("-c none", "compression = \"none\""),
        ("--node-size 16K", "node-size = \"16K\""),
        ("--pad", "pad = true"),
        ("--pad=1M", "pad = \"1M\""),
        ("--pad=0x100000 --end-mark", "pad = 1048576\nend-mark = true"),
        ("", "pad = false"),
        ("--cleanmarker-size 16", "cleanmarker-size = 16"),
        ("--flash nand --page-size 2K", "flash = \"nand\"\npage-size = 2048"),
    ];
    let mut seen = Vec::new();
    for (flags, keys) in cases {
        let packed = image(&sandbox, &format!("--eraseblock 64K --endian little {flags}"));
        let toml = format!(
            "[time]\nset = 5\n[[source]]\ndir = \"root\"\n[[output]]\nfile = \"built\"\nformat = \"jffs2\"\neraseblock = \
             \"64K\"\nendian = \"little\"\n{keys}\n"
        );
        sandbox.write("image.toml", toml);
        sandbox.line("build image.toml").assert_ok();
        assert!(fs::read(sandbox.path("built")).unwrap() == packed, "{flags}");
        sandbox.line("check built").assert_ok();
        seen.push(packed);
    }
    let (first, others) = seen.split_first().unwrap();
    let same = others.iter().filter(|image| *image == first).count();
    assert_eq!(same, 1, "only pad = false changes nothing");
    let padded = &seen[7];
    assert_eq!(padded.len(), 1 << 20);
    let (cleanmarker, erased) = padded[0xf_0000..].split_at(12);
    assert_eq!(cleanmarker, [0x85, 0x19, 0x03, 0x20, 12, 0, 0, 0, 0xb1, 0xb0, 0x1e, 0xe4]);
    assert!(erased.iter().all(|&byte| byte == 0xff));
}

#[test]
fn the_fit_is_told() {
    let sandbox = sandbox();
    let device = "--eraseblock 64K --endian big";
    // 7 eraseblocks of the image; of a device of 32, 2 MiB / 50 and 100 bytes each are one eraseblock, and two more.
    let run = pack(&sandbox, &format!("{device} --size 2M"));
    run.assert_ok();
    assert!(
        run.stderr.contains("7 of 32 eraseblocks used, 3 kept for garbage collection, "),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);

    let run = pack(&sandbox, &format!("{device} --size 576K"));
    run.assert_ok();
    let warning = "warning: out: 2 of 9 eraseblocks are free, garbage collection needs 3: ";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    let json = pack(&sandbox, &format!("{device} --size 576K --json")).json();
    assert!(json["warnings"][0].as_str().unwrap().contains("2 of 9 eraseblocks are free"), "{json}");
    let fit = &json["outputs"][0]["fit"];
    assert_eq!((&fit["verdict"], &fit["reserved_eraseblocks"]), (&"no-room-to-write".into(), &3.into()));
    fs::remove_file(sandbox.path("out")).unwrap();

    for (flags, message) in [
        ("--size 384K", "out: the image takes 7 eraseblocks, the device has 6: "),
        ("--size 64K --compression none", "the device has 1: "),
        ("--pad=384K", "out: the image needs at least "),
    ] {
        let run = pack(&sandbox, &format!("{device} {flags}"));
        assert_eq!(run.code, 3, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{flags}: {}", run.stderr);
        assert_eq!(sandbox.names(), ["root"], "{flags}");
    }
    sandbox.write("small/file", "x");
    let run = sandbox.line(&format!("pack jffs2 small -o out {device} --size 256K"));
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("Linux mounts JFFS2 from 5 on"), "{}", run.stderr);
}

#[test]
fn the_size_of_the_partition_comes_from_the_padding() {
    let sandbox = sandbox();
    let json = pack(&sandbox, "--eraseblock 64K --endian big --pad=2M --json").json();
    assert_eq!(json["outputs"][0]["bytes_out"], 2 << 20);
    assert_eq!(json["outputs"][0]["fit"]["device_eraseblocks"], 32);
    let json = pack(&sandbox, "--eraseblock 64K --endian big --json").json();
    assert_eq!(json["outputs"][0]["fit"], serde_json::Value::Null);
}

#[test]
fn fractions_of_seconds_are_mentioned_once() {
    let sandbox = sandbox();
    let line = "pack jffs2 root -o out --eraseblock 64K --endian big";
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
    for file in ["root/noise", "root/text", "root"] {
        fs::File::open(sandbox.path(file)).unwrap().set_modified(time).unwrap();
    }
    let run = sandbox.line(line);
    run.assert_ok();
    assert_eq!(run.stderr.matches("fractions of 3 nodes dropped").count(), 1, "{}", run.stderr);
    assert_eq!(sandbox.line(&format!("{line} --json")).json()["outputs"][0]["dropped_fractions"], 3);
    let run = sandbox.line(&format!("{line} --all-time 7"));
    assert!(!run.stderr.contains("fractions"), "{}", run.stderr);
}

#[test]
fn xattrs_and_acls_of_host_files_come_in() {
    use rustix::fs::{XattrFlags, setxattr};
    let sandbox = sandbox();
    let file = sandbox.path("root/text");
    // u::rw-, u:1000:rw-, g::r--, m::rw-, o::r--
    let none = [0xff; 4];
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1, 6, none), (2, 6, [0xe8, 3, 0, 0]), (4, 4, none), (16, 6, none), (32, 4, none)]
    {
        acl.extend([tag, 0, permissions, 0]);
        acl.extend(id);
    }
    let set = |name: &str, value: &[u8]| setxattr(&file, name, value, XattrFlags::empty());
    if set("user.name", b"value").and_then(|()| set("system.posix_acl_access", &acl)).is_err() {
        eprintln!("skipped: the host's temporary folder has no xattrs or no ACLs");
        return;
    }
    let device = "--eraseblock 64K --endian big";
    let xattrs = |flags: &str| {
        let run = pack(&sandbox, &format!("{device} {flags}"));
        run.assert_ok();
        let bytes = fs::read(sandbox.path("out")).unwrap();
        let len = bytes.len() as u64;
        let image = Image::open(Arc::new(bytes), len, &ReadOptions::default()).unwrap();
        let tree = image.tree().unwrap();
        let node = tree.node(tree.resolve(b"text").unwrap());
        let names: Vec<_> =
            node.metadata.xattrs.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        (names.join(" "), run.stderr)
    };
    let (all, said) = xattrs("");
    assert_eq!(all, "system.posix_acl_access user.name");
    assert!(said.contains("the kernel needs CONFIG_JFFS2_FS_XATTR"), "{said}");
    let (standard, said) = xattrs("--xattrs standard");
    assert_eq!(standard, "user.name");
    assert!(said.contains("warning: "), "{said}");
    let (none, _) = xattrs("--xattrs none");
    assert_eq!(none, "");
    sandbox.line("check out").assert_ok();
}

#[test]
fn what_the_kernel_needs_is_told() {
    let sandbox = sandbox();
    let device = "--eraseblock 64K --endian big";
    let run = pack(&sandbox, device);
    assert!(!run.stderr.contains("CONFIG"), "{}", run.stderr);
    let run = pack(&sandbox, &format!("{device} -c lzo"));
    assert!(run.stderr.contains("the kernel needs CONFIG_JFFS2_LZO"), "{}", run.stderr);
    let json = pack(&sandbox, &format!("{device} --json")).json();
    assert_eq!(json["outputs"][0]["kernel_needs"], serde_json::json!(["CONFIG_JFFS2_ZLIB"]));
}

/// Flags, exit code, what the message must have in it.
const REFUSED: [(&str, i32, &str); 16] = [
    ("--eraseblock 4K --endian big", 3, "powers of two from 8192 (8K) to 16777216 (16M)"),
    ("--eraseblock 100K --endian big", 3, "--eraseblock: eraseblock 102400 bytes"),
    ("--eraseblock 32M --endian big", 3, "/proc/mtd"),
    ("--eraseblock 5G --endian big", 3, "out of all range"),
    ("--eraseblock 64K --endian big --page-size 3", 3, "page size 3 bytes"),
    ("--eraseblock 64K --endian big --cleanmarker-size 10", 3, "cleanmarker of 10 bytes"),
    ("--eraseblock 64K --endian big --flash nand", 2, "--page-size <SIZE>"),
    ("--eraseblock 64K --endian middle", 2, "big, little"),
    ("--eraseblock 64KB --endian big", 2, "write K or KiB"),
    ("--eraseblock 64K --endian big --node-size 2K", 2, "powers of two from 4096 (4K) to 65536 (64K)"),
    ("--eraseblock 64K --endian big --node-size 64K", 2, "at most half an eraseblock"),
    ("--eraseblock 64K --endian big --pad=100K", 2, "a multiple of the eraseblock"),
    ("--eraseblock 64K --endian big --pad=8G", 2, "below 4 GiB"),
    ("--eraseblock 64K --endian big -c zlb", 2, "did you mean zlib?"),
    ("--eraseblock 64K --endian big -c xz", 2, "there are zlib, lzo, rtime, none"),
    ("--eraseblock 64K --endian big --flash nor2", 2, "nor, nand, ubi, dataflash"),
];

#[test]
fn refusals_help() {
    let sandbox = sandbox();
    for (flags, code, message) in REFUSED {
        let run = pack(&sandbox, flags);
        assert_eq!(run.code, code, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{flags}: {}", run.stderr);
        assert_eq!(sandbox.names(), ["root"], "{flags}");
    }
}

/// Node in an image.toml (line 2), what the message must have in it.
const NODES: [(&str, &str); 8] = [
    ("\"/a\" = { text = \"\", uid = 65536 }", "image.toml:2:1: /a: owner 65536, JFFS2 holds 0 to 65535"),
    ("\"/a\" = { text = \"\", gid = 70000 }", "image.toml:2:1: /a: group 70000"),
    ("\"/a\" = { text = \"\", mtime = -1 }", "image.toml:2:1: /a: modification time -1 s"),
    ("\"/a\" = { text = \"\", mtime = 4294967296 }", "(1970 to 2106)"),
    ("\"/a\" = { target = \"LONG\" }", "the symlink's target has 255 bytes, JFFS2 holds 1 to 254"),
    ("\"/LONG\" = { text = \"\" }", "the name has 255 bytes, JFFS2 holds 254"),
    ("\"/a\" = { text = \"\", xattrs = { \"system.x\" = \"\" } }", "image.toml:2:1: /a: xattr \"system.x\""),
    ("\"/a\" = { text = \"\", xattrs = { \"system.posix_acl_access\" = \"x\" } }", "no POSIX ACL"),
];

#[test]
fn what_jffs2_cannot_hold_names_the_line() {
    let sandbox = Sandbox::new();
    let output = "[[output]]\nfile = \"out\"\nformat = \"jffs2\"\neraseblock = \"64K\"\nendian = \"big\"\n";
    for (node, message) in NODES {
        let node = node.replace("LONG", &"n".repeat(255));
        sandbox.write("image.toml", format!("[nodes]\n{node}\n{output}"));
        let run = sandbox.line("build image.toml");
        assert_eq!(run.code, 4, "{node}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{node}: {}", run.stderr);
        assert_eq!(sandbox.names(), ["image.toml"]);
    }
    for (key, message) in [
        ("eraseblock = \"100K\"\nendian = \"big\"", "image.toml:4:14: eraseblock 102400 bytes"),
        ("endian = \"big\"", "eraseblock is missing, which the device decides"),
        ("eraseblock = \"64K\"", "endian is missing, which the device decides"),
        ("eraseblock = \"64K\"\nendian = \"bg\"", "did you mean \"big\"?"),
        ("eraseblock = \"64K\"\nendian = \"big\"\nflash = \"nand\"", "page-size is missing"),
        ("eraseblock = \"64K\"\nendian = \"big\"\nno-summary = 1", "image.toml:6:14: "),
        ("eraseblock = \"64K\"\nendian = \"big\"\npad = \"x\"", "image.toml:6:7: "),
        ("eraseblock = \"64K\"\nendian = \"big\"\nmax-size = 1", "unknown key \"max-size\""),
    ] {
        sandbox.write("image.toml", format!("[[output]]\nfile = \"out\"\nformat = \"jffs2\"\n{key}\n"));
        let run = sandbox.line("build image.toml");
        assert_eq!(run.code, 4, "{key}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{key}: {}", run.stderr);
        assert_eq!(sandbox.names(), ["image.toml"]);
    }
}

#[test]
fn a_file_of_4_gib_is_refused() {
    let sandbox = Sandbox::new();
    let file = fs::File::create(sandbox.write("root/file", "")).unwrap();
    file.set_len(1 << 32).unwrap();
    let run = sandbox.line("pack jffs2 root -o out --eraseblock 64K --endian big");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr.contains("/file: 4294967296 bytes, in JFFS2 a file has at most 4294967295"),
        "{}",
        run.stderr
    );
    file.set_len((1 << 32) - 1).unwrap();
    sandbox.line("pack jffs2 root -o out --eraseblock 64K --endian big").assert_ok();
    assert!(fs::metadata(sandbox.path("out")).unwrap().len() < 1000);
}

#[test]
fn a_writable_remainder_after_squashfs() {
    let sandbox = sandbox();
    let squashfs = |flags: &str| {
        let run = sandbox.line(&format!("pack squashfs root -o out --all-time 5 {flags}"));
        run.assert_ok();
        (fs::read(sandbox.path("out")).unwrap(), run.stderr)
    };
    let (plain, _) = squashfs("");
    let (marked, said) = squashfs("--jffs2-end-marks 64K,256K");
    assert!(said.contains("JFFS2 end marks for eraseblocks of 64 KiB (65536 bytes), 256 KiB"), "{said}");
    let first = plain.len().next_multiple_of(0x1_0000);
    let second = (first + 4).next_multiple_of(0x4_0000);
    assert!(marked.starts_with(&plain));
    assert_eq!(marked.len(), second + 4);
    for position in [first, second] {
        assert_eq!(marked[position..position + 4], [0xde, 0xad, 0xc0, 0xde]);
    }
    let between = marked[plain.len()..first].iter().chain(&marked[first + 4..second]);
    assert!(between.into_iter().all(|&byte| byte == 0xff));
    sandbox.line("check out").assert_ok();
    let limit = marked.len() - 1;
    let run =
        sandbox.line(&format!("pack squashfs root -o out --jffs2-end-marks 64K,256K --max-size {limit}"));
    assert_eq!(run.code, 3, "{}", run.stderr);
    sandbox.write(
        "image.toml",
        "[time]\nset = 5\n[[source]]\ndir = \"root\"\n[[output]]\nfile = \"built\"\nformat = \
         \"squashfs\"\njffs2-end-marks = \"64K,256K\"\n",
    );
    sandbox.line("build image.toml").assert_ok();
    assert!(fs::read(sandbox.path("built")).unwrap() == marked);
}

#[test]
fn an_image_is_listed_checked_extracted_and_described() {
    let sandbox = sandbox();
    image(&sandbox, "--eraseblock 64K --endian big --effort fast");
    assert_eq!(sandbox.line("list out").stdout, "/\n/noise\n/text\n");
    assert_eq!(sandbox.line("check out").stdout, "out: jffs2: sound\n");
    let info = sandbox.line("info --json out").json();
    assert_eq!((&info["format"], &info["endian"]), (&"jffs2".into(), &"big".into()));
    assert_eq!((&info["eraseblock"], &info["start"]), (&65_536.into(), &0.into()));
    sandbox.line("extract out -o dir --unprivileged").assert_ok();
    assert!(fs::read(sandbox.path("dir/noise")).unwrap() == noise(400_000));
    let run = sandbox.line("list out --endian little");
    assert_eq!(run.code, 4, "{run:?}");
}

#[test]
fn a_file_system_within_a_dump_is_found() {
    let sandbox = sandbox();
    let bytes = image(&sandbox, "--eraseblock 64K --endian little --effort fast");
    sandbox.write("dump", [vec![0x17; 0x4_0100], bytes].concat());
    assert_eq!(sandbox.line("list dump").stdout, "/\n/noise\n/text\n");
    assert_eq!(sandbox.line("info --json dump").json()["start"], 0x4_0100);
    sandbox.write("none", vec![0x17; 100_000]);
    let run = sandbox.line("list none");
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("known formats: squashfs, ubifs, cpio, jffs2"), "{}", run.stderr);
}

#[test]
fn damage_is_named_and_the_rest_salvaged() {
    let sandbox = sandbox();
    let mut bytes = image(&sandbox, "--eraseblock 64K --endian big -c none");
    // The node of the text's start: a header, a record, 68 bytes in all, then data.
    let starts = |node: &[u8]| node.starts_with(&NODE.to_be_bytes()) && node[68..].starts_with(b"all work");
    let at = bytes.windows(80).position(|node| starts(node) && node[44..48] == [0; 4]).unwrap() + 68;
    bytes[at] ^= 1;
    sandbox.write("bad", bytes);
    let run = sandbox.line("check bad");
    assert_eq!(run.code, 5, "{run:?}");
    let node = format!("at {:#x}: data CRC of the inode node: expected 0x", at - 68);
    assert!(run.stdout.contains(&node), "{node}: {}", run.stdout);
    let run = sandbox.line("extract bad -o dir");
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.stderr.contains("--salvage"), "{}", run.stderr);
    assert!(!sandbox.path("dir").exists());
    let run = sandbox.line("extract bad -o dir --salvage --unprivileged");
    run.assert_ok();
    assert!(run.stderr.contains(&format!("warning: inode 3 {node}")), "{}", run.stderr);
    assert!(fs::read(sandbox.path("dir/noise")).unwrap() == noise(400_000));
    let mut text = fs::read(sandbox.path("root/text")).unwrap();
    text[..4096].fill(0);
    assert!(fs::read(sandbox.path("dir/text")).unwrap() == text);
    sandbox.line("pack squashfs root -o squashfs").assert_ok();
    assert_eq!(sandbox.line("list squashfs --salvage").code, 2);
}
