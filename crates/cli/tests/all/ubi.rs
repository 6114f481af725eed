//! UBI images: made of files, of an ini file of ubinize, of outputs of the same image.toml; listed, taken apart, checked.

use crate::common::{Sandbox, noise};

const FLASH: &str = "--peb 16K --min-io 512";

fn volumes(sandbox: &Sandbox) {
    sandbox.write("root.img", noise(50_000));
    sandbox.write("data.img", noise(20_000));
}

#[test]
fn a_ubi_image_from_the_command_line_and_back() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    let line = format!(
        "pack ubi {FLASH} --peb-count 64 --volume name=root,image=root.img,type=static --volume \
         name=data,image=data.img,size=100K,autoresize -o flash.ubi --json"
    );
    let run = sandbox.line(&line);
    run.assert_ok();
    let output = &run.json()["outputs"][0];
    assert_eq!((&output["format"], &output["peb_count"]), (&"ubi".into(), &8.into()));
    assert_eq!((&output["leb_size"], &output["volumes"][1]["reserved_pebs"]), (&15_360.into(), &7.into()));
    assert!(output["sha256"].is_string() && output["image_seq"].is_number());

    assert_eq!(sandbox.line("list flash.ubi").stdout, "root\ndata\n");
    let long = sandbox.line("list -l flash.ubi").stdout;
    assert!(long.contains("0 static       4/4             50000 -        root\n"), "{long}");
    assert!(long.ends_with("data autoresize\n"), "{long}");
    assert_eq!(sandbox.line("list --json flash.ubi").json()["volumes"][0]["bytes"], 50_000);
    assert_eq!(sandbox.line("check flash.ubi").stdout, "flash.ubi: ubi: sound\n");
    let info = sandbox.line("info --json flash.ubi").json();
    assert_eq!((&info["peb_size"], &info["peb_count"]), (&16_384.into(), &8.into()));
    assert_eq!((&info["min_io_size"], &info["erase_count_max"]), (&512.into(), &0.into()));
    assert!(sandbox.line("info flash.ubi").stdout.contains("leb size"));

    sandbox.line("extract flash.ubi -o out").assert_ok();
    assert_eq!(std::fs::read(sandbox.path("out/root")).unwrap(), noise(50_000));
    assert!(std::fs::read(sandbox.path("out/data")).unwrap().starts_with(&noise(20_000)));
    assert_eq!(sandbox.line("extract flash.ubi -o out").code, 6);
    sandbox.line("extract flash.ubi -o one --volume root").assert_ok();
    assert_eq!(crate::common::names_in(&sandbox.path("one")), ["root"]);
    let unknown = sandbox.line("extract flash.ubi -o two --volume none");
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}

#[test]
fn damage_is_found() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    sandbox
        .line(&format!("pack ubi {FLASH} --volume name=r,image=root.img,type=static -o flash.ubi"))
        .assert_ok();
    let mut image = std::fs::read(sandbox.path("flash.ubi")).unwrap();
    image[3 * 16_384 + 5000] ^= 1;
    sandbox.write("flash.ubi", image);
    let check = sandbox.line("check flash.ubi");
    assert_eq!(check.code, 5);
    assert!(
        check.stdout.starts_with("error: PEB 3 (0x0000c400), volume 0 LEB 1: data CRC: expected 0x"),
        "{}",
        check.stdout
    );
    let finding = &sandbox.line("check --json flash.ubi").json()["findings"][0];
    assert_eq!(
        (&finding["peb"], &finding["leb"], &finding["offset"]),
        (&3.into(), &1.into(), &0xc400.into())
    );
    let extract = sandbox.line("extract flash.ubi -o out");
    assert_eq!(extract.code, 4, "{}", extract.stderr);
    assert!(extract.stderr.contains("data CRC"), "{}", extract.stderr);
    assert_eq!(crate::common::names_in(&sandbox.path("out")), [""; 0]);
}

#[test]
fn an_ini_file_of_ubinize() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    sandbox.write(
        "ubinize.ini",
        "[root]\nmode=ubi\nimage=root.img\nvol_id=2\nvol_type=static\nvol_name=root\n[data]\nmode=ubi\nvol_name=data\n\
         vol_size=1MiB\nvol_flags=autoresize\n",
    );
    sandbox.line(&format!("pack ubi {FLASH} ubinize.ini -o a.ubi")).assert_ok();
    let line = format!(
        "pack ubi {FLASH} --volume name=root,image=root.img,type=static,id=2 --volume name=data,size=1M,autoresize -o b.ubi"
    );
    sandbox.line(&line).assert_ok();
    assert_eq!(std::fs::read(sandbox.path("a.ubi")).unwrap(), std::fs::read(sandbox.path("b.ubi")).unwrap());
    sandbox.write("bad.ini", "[root]\nmode=ubi\nwhat=1\n");
    let bad = sandbox.line(&format!("pack ubi {FLASH} bad.ini -o c.ubi"));
    assert_eq!(bad.code, 4);
    assert!(bad.stderr.contains("bad.ini: line 3: what is not known"), "{}", bad.stderr);
}

const TOML: &str = r#"
[nodes]
"/etc/hostname" = { text = "router\n" }
"/etc" = { type = "directory" }

[[output]]
file = "root.squashfs"
format = "squashfs"

[[output]]
file = "other.squashfs"
format = "squashfs"

[[ubi]]
file = "firmware.ubi"
peb = "16K"
min-io = 512
peb-count = 64
flashable = true
volume = [
  { name = "rootfs", output = "root.squashfs", type = "static" },
  { name = "raw", image = "root.img" },
  { name = "data", size = "64K", autoresize = true },
]
"#;

#[test]
fn volumes_are_outputs_of_the_same_file() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    sandbox.write("image.toml", TOML);
    let run = sandbox.line("build image.toml --out out --only firmware.ubi --json");
    run.assert_ok();
    let names = crate::common::names_in(&sandbox.path("out"));
    assert_eq!(names, ["README.txt", "firmware.raw", "firmware.ubi", "root.squashfs"]);
    sandbox.line("extract out/firmware.ubi -o volumes").assert_ok();
    let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert_eq!(read("volumes/rootfs"), read("out/root.squashfs"));
    assert!(read("volumes/raw").starts_with(&noise(50_000)));
    let (raw, image) = (read("out/firmware.raw"), read("out/firmware.ubi"));
    // 64 PEBs less 2 for bad ones.
    assert_eq!(raw.len(), 62 * 16_384);
    assert!(raw.starts_with(&image) && raw[image.len()..].iter().all(|&byte| byte == 0xff));
    let readme = String::from_utf8(read("out/README.txt")).unwrap();
    assert!(readme.contains("ubiformat /dev/mtdX -O 512 -f firmware.ubi"), "{readme}");
    assert!(readme.contains("costs the erase counters"), "{readme}");
    assert_eq!(sandbox.line("check out/firmware.raw").code, 0);
    // A second time over its own files, and the same bytes.
    sandbox.line("build image.toml --out out").assert_ok();
    assert_eq!((raw, image), (read("out/firmware.raw"), read("out/firmware.ubi")));
}

#[test]
fn a_readme_of_somebody_else_is_not_replaced() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    sandbox.write("README.txt", "mine");
    let line =
        format!("pack ubi {FLASH} --peb-count 64 --flashable --volume name=a,image=root.img -o flash.ubi");
    let run = sandbox.line(&line);
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert_eq!(std::fs::read(sandbox.path("README.txt")).unwrap(), b"mine");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    volumes(&sandbox);
    let volume = "--volume name=a,image=root.img -o flash.ubi";
    let cases = [
        (format!("--min-io 512 {volume}"), 2, "--peb: it is missing"),
        (format!("--peb 16K {volume}"), 2, "--min-io: it is missing"),
        (format!("--peb 16K --min-io 500 {volume}"), 3, "min I/O of 500 bytes: UBI takes powers of two"),
        (format!("{FLASH} --leb 16K {volume}"), 3, "a LEB of 16384 bytes does not match the PEB"),
        (format!("{FLASH} --peb-count 8 {volume}"), 3, "= 9 PEBs, of 8; 1 too many"),
        (
            format!("{FLASH} --bad-pebs 8 {volume}"),
            2,
            "--bad-pebs: it means nothing without the number of PEBs",
        ),
        (
            format!("{FLASH} --flashable {volume}"),
            2,
            "--flashable: the raw image is as large as the partition",
        ),
        (
            format!("{FLASH} --max-size 64K {volume}"),
            3,
            "would take 96 KiB (98304 bytes), but may take 64 KiB",
        ),
        (
            format!("{FLASH} --volume name=a,type=static -o f"),
            2,
            "volume a: a static volume without an image",
        ),
        (format!("{FLASH} --volume name=a,type=fast -o f"), 2, "unknown type \"fast\""),
        (format!("{FLASH} --volume name=a,image=none -o f"), 1, "cannot read none"),
        (format!("{FLASH} --volume name=a,image=root.img -o root.img"), 6, "is also an input"),
        (format!("{FLASH} -o f"), 2, "no volume"),
        (format!("{FLASH} --volume name=a,image=root.img"), 2, "no output"),
    ];
    for (line, code, message) in cases {
        let run = sandbox.line(&format!("pack ubi {line}"));
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{line}: {}", run.stderr);
    }
    let toml = [
        ("output = \"root.squashfs\"", "output = \"rot\"", "no [[output]] is called \"rot\""),
        ("peb = \"16K\"", "peb = \"16Q\"", "16Q"),
        ("autoresize = true", "autosize = true", "autosize"),
        ("min-io = 512", "format = \"ubi\"", "a [[ubi]] has no format"),
    ];
    for (from, to, message) in toml {
        sandbox.write("bad.toml", TOML.replace(from, to));
        let run = sandbox.line("build bad.toml --out out");
        assert_eq!(run.code, 4, "{}", run.stderr);
        assert!(run.stderr.contains(message), "{message}: {}", run.stderr);
    }
    assert_eq!(sandbox.names(), ["bad.toml", "data.img", "root.img"]);
}
