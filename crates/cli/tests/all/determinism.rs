//! The same input gives the same bytes, whatever the machine and its state.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::common::{Sandbox, noise};

/// Makes one tree, its names in that order, and returns the bytes of an image of it.
fn image(names: impl Iterator<Item = usize>, prefix: &str, flags: &str) -> Vec<u8> {
    let sandbox = Sandbox::new();
    for number in names {
        sandbox.write(format!("root/etc/{number}"), format!("file {}", number / 3));
        sandbox.write(format!("root/lib/{number}.so"), noise(number * 701));
        symlink(format!("{number}"), sandbox.path(format!("root/etc/link{number}"))).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_flashwright");
    let script = format!("{prefix} exec {program} pack $1 root -o out --all-time 5 --all-root {flags} $2");
    let mut image = Vec::new();
    let formats = [
        ("cpio", ""),
        ("squashfs", ""),
        ("jffs2", "--eraseblock=64K"),
        ("jffs2", "--eraseblock=8K"),
        ("ubifs", "--peb=128K"),
        ("ubifs", "--peb=16K"),
    ];
    for (format, more) in formats {
        let mut command = Command::new("sh");
        let script = match format {
            "jffs2" => format!("{script} --endian=big"),
            "ubifs" => format!("{script} --min-io=512 --max-lebs=2000"),
            _ => script.clone(),
        };
        command.args(["-c", &script, "sh", format, more]).env_remove("SOURCE_DATE_EPOCH");
        let output = command.current_dir(sandbox.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        image.extend(fs::read(sandbox.path("out")).unwrap());
    }
    image
}

#[test]
fn nothing_but_the_tree_and_the_options_matters() {
    let plain = image(0..60, "", "-j1");
    assert!(plain == image((0..60).rev(), "", "-j1"), "order of creation");
    assert!(plain == image(0..60, "", "-j2"), "threads");
    assert!(plain == image(0..60, "", "-j7"), "threads");
    assert!(plain == image(0..60, "umask 077; chmod 755 root root/*; chmod 644 root/*/*;", ""), "umask");
    assert!(plain == image(0..60, "TZ=Pacific/Chatham", ""), "time zone");
    assert!(plain == image(0..60, "LC_ALL=tr_TR.UTF-8 LANG=C", ""), "locale");
    assert!(plain == image(0..60, "HOME=/nowhere NO_COLOR=1 COLUMNS=20", ""), "environment");
    assert!(plain != image(0..61, "", "-j1"), "a test that cannot fail");
}

#[test]
fn source_date_epoch_is_the_time_of_all_that_has_none_and_the_latest() {
    let sandbox = Sandbox::new();
    sandbox.write("root/new", "x");
    sandbox.write("image.toml", "[[source]]\ndir = \"root\"\n[nodes]\n\"/declared\" = { text = \"\" }\n\"/dated\" = { text = \"\", mtime = 7 }\n[[output]]\nfile = \"out\"\nformat = \"squashfs\"\n");
    let times = |epoch: Option<&str>| {
        let mut command = sandbox.command();
        command.args(["build", "image.toml", "-q"]);
        epoch.map(|epoch| command.env("SOURCE_DATE_EPOCH", epoch));
        command.assert().success().stdout("").stderr("");
        let info = sandbox.line("info --json out").json();
        let list = sandbox.line("list --json out").json();
        let of = |path: &str| {
            let nodes = list["nodes"].as_array().unwrap();
            nodes.iter().find(|node| node["path"] == path).unwrap()["mtime"].as_u64().unwrap()
        };
        (info["mkfs_time"].as_u64().unwrap(), of("/new"), of("/declared"), of("/dated"))
    };
    assert_eq!(times(Some("1000")), (1000, 1000, 1000, 7));
    let (mkfs, new, declared, dated) = times(None);
    assert_eq!((mkfs, declared, dated), (new, 0, 7));
    assert!(new > 1_000_000_000);
    let (mkfs, new_with_later, declared, _) = times(Some("4294967295"));
    assert_eq!((mkfs, new_with_later, declared), (4_294_967_295, new, 4_294_967_295));
}
