//! `build`: outputs, their names and their keys.

use std::fs;

use crate::common::Sandbox;

const IMAGE: &str = r#"
[nodes]
"/etc/motd" = { text = "hello\n" }
"/dev/console" = { type = "char", major = 5, minor = 1, mode = "0600" }
"/tmp" = { type = "directory", mode = "1777" }
"/bin/su" = { text = "x", mode = "4755" }
"/run/pipe" = { type = "fifo" }
"/sh" = { target = "bin/su" }

[[output]]
name = "rootfs"
file = "root.squashfs"
format = "squashfs"
compression = "gzip:9"
block-size = 4096
pad-to = "64K"
pad-byte = 0xff

[[output]]
file = "initramfs.cpio"
format = "cpio"
"#;

#[test]
fn every_output_is_written_from_one_tree() {
    let sandbox = Sandbox::new();
    sandbox.write("image.toml", IMAGE);
    let run = sandbox.line("build image.toml --json");
    run.assert_ok();
    let json = run.json();
    let names: Vec<_> = json["outputs"].as_array().unwrap().iter().map(|output| &output["name"]).collect();
    assert_eq!(names, ["rootfs", "initramfs.cpio"]);
    let info = sandbox.line("info --json root.squashfs").json();
    assert_eq!((&info["compression"], &info["block_size"]), (&"gzip".into(), &4096.into()));
    assert_eq!((&info["image_bytes"], &info["padding_byte"]), (&65536.into(), &"0xff".into()));
    let lists = ["root.squashfs", "initramfs.cpio"].map(|image| sandbox.run(["list", "-l", image]).stdout);
    assert_eq!(lists[0], lists[1]);
    let expected = "\
drwxr-xr-x         0/0            0 1970-01-01 00:00:00 /
drwxr-xr-x         0/0            0 1970-01-01 00:00:00 /bin
-rwsr-xr-x         0/0            1 1970-01-01 00:00:00 /bin/su
drwxr-xr-x         0/0            0 1970-01-01 00:00:00 /dev
crw-------         0/0          5,1 1970-01-01 00:00:00 /dev/console
drwxr-xr-x         0/0            0 1970-01-01 00:00:00 /etc
-rw-r--r--         0/0            6 1970-01-01 00:00:00 /etc/motd
drwxr-xr-x         0/0            0 1970-01-01 00:00:00 /run
prw-r--r--         0/0            0 1970-01-01 00:00:00 /run/pipe
lrwxrwxrwx         0/0            6 1970-01-01 00:00:00 /sh -> bin/su
drwxrwxrwt         0/0            0 1970-01-01 00:00:00 /tmp
";
    assert_eq!(lists[0], expected);
}

#[test]
fn only_chooses_and_out_places() {
    let sandbox = Sandbox::new();
    sandbox.write("recipes/image.toml", IMAGE);
    sandbox.line("build recipes/image.toml --only rootfs --out build").assert_ok();
    assert_eq!(sandbox.names(), ["build", "recipes"]);
    assert_eq!(crate::common::names_in(&sandbox.path("build")), ["root.squashfs"]);
    let run = sandbox.line("build recipes/image.toml --only rotfs");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("did you mean rootfs?"), "{}", run.stderr);
}

#[test]
fn the_same_flags_and_keys_give_the_same_image() {
    let sandbox = Sandbox::new();
    sandbox.write("image.toml", IMAGE);
    sandbox.line("build image.toml --only rootfs").assert_ok();
    sandbox
        .line("pack squashfs image.toml -o packed -c gzip:9 -b 4K --pad-to 0x10000 --pad-byte 255")
        .assert_ok();
    assert_eq!(fs::read(sandbox.path("root.squashfs")).unwrap(), fs::read(sandbox.path("packed")).unwrap());
}

#[test]
fn every_compressor_and_effort_gives_a_sound_image() {
    let sandbox = Sandbox::new();
    let text = "all work and no play makes a dull image\n".repeat(10_000);
    sandbox.write("root/text", &text);
    sandbox
        .write("root/program", fs::read(env!("CARGO_BIN_EXE_flashwright")).unwrap().get(..400_000).unwrap());
    for flags in [
        "gzip:12",
        "xz:0 --bcj all",
        "zstd:22",
        "lz4:12",
        "lz4",
        "lzo",
        "xz --effort max",
        "zstd --effort fast",
        "gzip --store all",
        "gzip --fragments never",
        "gzip --fragments small-files --no-export-table --no-duplicates",
    ] {
        let line = format!("pack squashfs root -o out -b 64K -c {flags}");
        sandbox.line(&line).assert_ok();
        let check = sandbox.line("check out");
        assert_eq!(check.code, 0, "{flags}: {}{}", check.stdout, check.stderr);
        let tree = sandbox.tree("out");
        let node = tree.node(tree.resolve(b"text").unwrap());
        assert_eq!(node.content().unwrap().to_vec().unwrap(), text.as_bytes(), "{flags}");
    }
}
