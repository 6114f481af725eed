//! `list`, `check`, `info`: of sound and of damaged images.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::common::{Sandbox, noise};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("root/a", noise(200_000));
    sandbox.write("root/b", "b");
    fs::hard_link(sandbox.path("root/b"), sandbox.path("root/c")).unwrap();
    sandbox.line("pack squashfs root -o out --all-root --all-time 0").assert_ok();
    sandbox
}

#[test]
fn a_list_as_json() {
    let sandbox = sandbox();
    let expected = serde_json::json!({ "format": "squashfs", "missing": [], "nodes": [
        { "path": "/", "type": "directory", "mode": "0755", "uid": 0, "gid": 0, "mtime": 0 },
        { "path": "/a", "type": "file", "mode": "0644", "uid": 0, "gid": 0, "mtime": 0, "size": 200_000, "names": 1, "inode": 1 },
        { "path": "/b", "type": "file", "mode": "0644", "uid": 0, "gid": 0, "mtime": 0, "size": 1, "names": 2, "inode": 2 },
        { "path": "/c", "type": "file", "mode": "0644", "uid": 0, "gid": 0, "mtime": 0, "size": 1, "names": 2, "inode": 2 },
    ]});
    assert_eq!(sandbox.line("list --json out").json(), expected);
}

#[test]
fn damage_is_found_with_exit_code_5() {
    let sandbox = sandbox();
    let sound = sandbox.line("check --json out").json();
    let expected = serde_json::json!({ "format": "squashfs", "sound": true, "count": 0, "findings": [], "unchecked": [] });
    assert_eq!(sound, expected);
    assert_eq!(sandbox.line("check -q out").stdout, "");

    let mut bytes = fs::read(sandbox.path("out")).unwrap();
    let end = bytes.len() - 5000;
    bytes[end] ^= 1;
    bytes[0x58] ^= 0x55;
    sandbox.write("damaged", &bytes);
    let run = sandbox.line("check damaged");
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.stdout.contains("error: ") && run.stdout.contains("expected"), "{}", run.stdout);
    assert!(run.stderr.contains("damaged: "), "{}", run.stderr);
    let json = sandbox.line("check --json damaged").json();
    assert_eq!(json["sound"], false);
    assert_eq!(json["count"].as_u64().unwrap(), json["findings"].as_array().unwrap().len() as u64);

    sandbox.write("short", &bytes[..20_000]);
    assert_eq!(sandbox.line("check short").code, 5);
    assert_eq!(sandbox.line("list short").code, 4);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut pseudo = String::new();
    (0..20_000).for_each(|number| pseudo += &format!("/directory{number} d 755 0 0\n"));
    sandbox.write("pseudo", pseudo);
    sandbox.line("pack squashfs pseudo:pseudo -o out -c lz4").assert_ok();
    for arguments in [&["list", "out"][..], &["list", "--json", "out"], &["man"], &["completions", "bash"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flashwright"))
            .args(arguments)
            .current_dir(sandbox.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

#[test]
fn a_full_standard_output_is_a_failure() {
    let sandbox = sandbox();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashwright"));
    let output = command.args(["list", "out"]).current_dir(sandbox.path("")).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write to standard output"));
}

#[test]
fn cpio_is_read_as_well() {
    let sandbox = sandbox();
    sandbox.line("pack cpio root -o out.cpio").assert_ok();
    assert_eq!(sandbox.line("list out.cpio").stdout, "/\n/a\n/b\n/c\n");
    assert_eq!(sandbox.line("check out.cpio").stdout, "out.cpio: cpio: sound\n");
    assert_eq!(sandbox.line("info --json out.cpio").json()["nodes"], 3);
    let mut file = fs::File::options().write(true).open(sandbox.path("out.cpio")).unwrap();
    file.write_all(b"070701zz").unwrap();
    assert_eq!(sandbox.line("check out.cpio").code, 5);
}

#[test]
fn an_image_is_taken_apart_and_put_together_again() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "image.toml",
        "[nodes]\n\"/a/b\" = { text = \"hello\", mode = \"4755\", uid = 7, gid = 8, mtime = 9 }\n\
         \"/c\" = { type = \"char\", major = 1, minor = 300, uid = 5 }\n\"/l\" = { target = \"/a/b\" }\n\
         \"/h\" = { type = \"hardlink\", target = \"/a/b\" }\n\
         [[output]]\nfile = \"first\"\nformat = \"squashfs\"\n",
    );
    sandbox.line("build image.toml").assert_ok();
    let run = sandbox.line("extract first -o out --unprivileged --json");
    run.assert_ok();
    assert_eq!((&run.json()["names"], &run.json()["manifest"]), (&5.into(), &"out.toml".into()));
    assert_eq!(fs::read(sandbox.path("out/a/b")).unwrap(), b"hello");
    sandbox.line("pack squashfs out.toml -o second").assert_ok();
    assert_eq!(fs::read(sandbox.path("first")).unwrap(), fs::read(sandbox.path("second")).unwrap());

    let again = sandbox.line("extract first -o out --unprivileged");
    assert_eq!(again.code, 6, "{}", again.stderr);
    assert!(again.stderr.contains("out.toml"), "{}", again.stderr);
    fs::remove_file(sandbox.path("out.toml")).unwrap();
    fs::remove_file(sandbox.path("out.pseudo")).unwrap();
    let again = sandbox.line("extract first -o out --unprivileged");
    assert_eq!(again.code, 6, "{}", again.stderr);
    assert!(
        again.stderr.contains("out is not empty") && again.stderr.contains("--into-existing"),
        "{}",
        again.stderr
    );
    assert_eq!(sandbox.line("extract first").code, 2);
    assert_eq!(sandbox.line("extract nowhere -o x").code, 1);
    let run = sandbox.line("extract first -o quiet -q");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
}

#[test]
fn damaged_data_fails_the_extraction_with_exit_code_4() {
    let sandbox = Sandbox::new();
    sandbox.write("root/text", "all work and no play\n".repeat(5000));
    sandbox.line("pack squashfs root -o out -c zstd --fragments never").assert_ok();
    let mut bytes = fs::read(sandbox.path("out")).unwrap();
    bytes[0x68] ^= 0xff;
    sandbox.write("out", bytes);
    let run = sandbox.line("extract out -o dir");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("/text: "), "{}", run.stderr);
}

#[test]
fn images_of_other_kinds_are_named_and_read_when_asked() {
    let sandbox = sandbox();
    let mut bytes = fs::read(sandbox.path("out")).unwrap();
    // Byte 28: the version.
    bytes[28] = 2;
    sandbox.write("old", bytes);
    for command in ["list old", "extract old -o dir", "check old", "info old"] {
        let run = sandbox.line(command);
        assert_eq!(run.code, 4, "{command}: {}", run.stderr);
        assert!(run.stderr.contains("--foreign"), "{command}: {}", run.stderr);
    }
    for command in ["list old", "extract old -o dir", "check old", "info old"] {
        let run = sandbox.line(&format!("{command} --foreign"));
        assert_eq!(run.code, 4, "{command}: {}", run.stderr);
        assert!(run.stderr.contains("nothing here reads this"), "{command}: {}", run.stderr);
    }
    for command in ["list out", "check out", "info out"] {
        let (plain, foreign) = (sandbox.line(command), sandbox.line(&format!("{command} --foreign")));
        assert_eq!((plain.stdout, plain.stderr), (foreign.stdout, foreign.stderr), "{command}");
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/squashfs");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn version_3_is_read_by_every_command_and_says_what_it_cannot() {
    let sandbox = Sandbox::new();
    for (name, kind, order) in
        [("v3-le.sqfs", "SquashFS 3", "little"), ("v3-be.sqfs", "big-endian SquashFS 3", "big")]
    {
        sandbox.write("old", fixture(name));
        let list = sandbox.line("list -l old --foreign");
        list.assert_ok();
        assert!(list.stdout.contains("/etc/link -> small\n"), "{}", list.stdout);
        let warning = "warning: old: not read, since nothing here can: extended attributes; hard links";
        assert!(list.stderr.starts_with(warning) && list.stderr.contains("owners"), "{}", list.stderr);
        let json = sandbox.line("list old --foreign --json").json();
        assert_eq!(
            (json["nodes"].as_array().unwrap().len(), json["missing"].as_array().unwrap().len()),
            (12, 4)
        );

        let out = format!("out-{order}");
        let run = sandbox.line(&format!("extract old -o {out} --foreign --unprivileged"));
        run.assert_ok();
        assert!(run.stderr.starts_with(warning), "{}", run.stderr);
        assert_eq!(fs::read(sandbox.path(format!("{out}/etc/small"))).unwrap(), b"tail");
        let large = fs::read(sandbox.path(format!("{out}/etc/large"))).unwrap();
        assert!(large == b"big end first ".repeat(40_000));
        let quiet = sandbox.line(&format!("extract old -o quiet-{order} --foreign --unprivileged -q"));
        assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));

        let info = sandbox.line("info old --foreign --json").json();
        let facts = [&info["read_as"], &info["byte_order"], &info["version"], &info["format"]];
        assert_eq!(facts, [kind, order, "3.0", "squashfs"]);

        let check = sandbox.line("check old --foreign");
        check.assert_ok();
        let verdict = "old: squashfs: nothing wrong found, but not checked: extended attributes; ";
        assert!(check.stdout.starts_with(verdict) && check.stdout.contains("padding"), "{}", check.stdout);
        let json = sandbox.line("check old --foreign --json").json();
        assert_eq!(json["sound"], true);
        assert_eq!(json["unchecked"].as_array().unwrap().len(), 7);
    }
}

#[test]
fn damage_in_the_data_of_version_3_is_found() {
    let sandbox = Sandbox::new();
    let mut bytes = fixture("v3-le.sqfs");
    // The second block of /etc/noise.
    bytes[10_620..10_640].fill(0xff);
    sandbox.write("old", bytes);
    let check = sandbox.line("check old --foreign");
    assert_eq!((check.code, check.stdout.lines().count()), (5, 1), "{check:?}");
    assert!(
        check.stdout.starts_with("error: /etc/noise: data: expected all of it to be read, found "),
        "{}",
        check.stdout
    );
    assert_eq!(sandbox.line("extract old -o dir --foreign").code, 4);
}
