//! A failed run leaves nothing behind, and an older output as it was.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::common::{Sandbox, noise};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("root/noise", noise(100_000));
    sandbox
}

#[test]
fn an_older_image_survives_a_failure_and_is_replaced_by_success() {
    let sandbox = sandbox();
    sandbox.write("out.squashfs", "the old one");
    let run = sandbox.line("pack squashfs root -o out.squashfs --max-size 4K");
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("but may take 4 KiB (4096 bytes)"), "{}", run.stderr);
    assert_eq!(fs::read(sandbox.path("out.squashfs")).unwrap(), b"the old one");
    assert_eq!(sandbox.names(), ["out.squashfs", "root"]);

    sandbox.line("pack squashfs root -o out.squashfs --max-size 200K").assert_ok();
    assert_eq!(&fs::read(sandbox.path("out.squashfs")).unwrap()[..4], b"hsqs");
    assert_eq!(sandbox.names(), ["out.squashfs", "root"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let sandbox = sandbox();
    sandbox.write("out.squashfs", "the old one");
    // The limit on file sizes stands for the disk: 16 KiB (a shell counts 512 bytes).
    let script = format!("ulimit -f 32; exec {} \"$@\"", env!("CARGO_BIN_EXE_flashwright"));
    for format in ["squashfs", "cpio"] {
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", "pack", format, "root", "-o", "out.squashfs"]);
        let output = command.current_dir(sandbox.path("")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("cannot write out.squashfs: File too large"), "{stderr}");
        assert!(stderr.contains("help: the file system or `ulimit -f`"), "{stderr}");
        assert_eq!(fs::read(sandbox.path("out.squashfs")).unwrap(), b"the old one");
        assert_eq!(sandbox.names(), ["out.squashfs", "root"]);
    }
}

/// Starts a run that takes long, and waits until its temporary file is there.
fn start_long_run(sandbox: &Sandbox, len: usize) -> Child {
    sandbox.write("long/noise", noise(len));
    let mut child = Command::new(env!("CARGO_BIN_EXE_flashwright"))
        .args(["pack", "squashfs", "long", "-o", "out.squashfs", "-j1", "-c", "xz:9"])
        .current_dir(sandbox.path(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !sandbox.names().iter().any(|name| name.ends_with(".tmp")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its temporary file was seen");
        sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn an_interrupted_run_leaves_nothing_and_dies_of_the_signal() {
    for signal in ["TERM", "INT"] {
        let sandbox = Sandbox::new();
        sandbox.write("out.squashfs", "the old one");
        let mut child = start_long_run(&sandbox, 64 << 20);
        assert!(
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success()
        );
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(if signal == "TERM" { 15 } else { 2 }));
        assert_eq!(fs::read(sandbox.path("out.squashfs")).unwrap(), b"the old one");
        assert_eq!(sandbox.names(), ["long", "out.squashfs"]);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_run() {
    use std::io::Write;
    let sandbox = Sandbox::new();
    let child = start_long_run(&sandbox, 16 << 20);
    let mut file = fs::File::options().append(true).open(sandbox.path("long/noise")).unwrap();
    file.write_all(b"more").unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("/noise: "), "{stderr}");
    assert!(
        stderr.contains("changed while it was read: it had 16777216 bytes, now it has 16777220"),
        "{stderr}"
    );
    assert_eq!(sandbox.names(), ["long"]);
}

#[test]
fn several_outputs_appear_together_or_not_at_all() {
    let sandbox = sandbox();
    let outputs = |limit: &str| {
        format!(
            "[[source]]\ndir = \"root\"\n\
             [[output]]\nfile = \"a/one.squashfs\"\nformat = \"squashfs\"\n\
             [[output]]\nfile = \"two.cpio\"\nformat = \"cpio\"\nmax-size = \"{limit}\"\n"
        )
    };
    sandbox.write("image.toml", outputs("64K"));
    let run = sandbox.line("build image.toml --out new/deep");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(sandbox.names(), ["image.toml", "root"]);

    sandbox.write("image.toml", outputs("128K"));
    sandbox.line("build image.toml --out new/deep").assert_ok();
    assert!(sandbox.path("new/deep/a/one.squashfs").is_file());
    assert!(sandbox.path("new/deep/two.cpio").is_file());
}

#[test]
fn the_umask_decides_the_permissions() {
    let sandbox = sandbox();
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("000", 0o666)] {
        let script =
            format!("umask {umask}; exec {} pack cpio root -o out", env!("CARGO_BIN_EXE_flashwright"));
        let status =
            Command::new("sh").args(["-c", &script]).current_dir(sandbox.path("")).output().unwrap().status;
        assert!(status.success());
        assert_eq!(fs::metadata(sandbox.path("out")).unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let sandbox = sandbox();
    let fifo = sandbox.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    for output in ["fifo", "/dev/null", "dangling"] {
        let run = sandbox.run(["pack", "squashfs", "root", "-o", output]);
        assert_eq!(run.code, 6, "{output}: {}", run.stderr);
    }
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    assert_eq!(sandbox.names(), ["dangling", "fifo", "root"]);
}

#[test]
fn a_symlink_to_an_image_stays_and_its_target_is_replaced() {
    let sandbox = sandbox();
    sandbox.write("images/1.squashfs", "old");
    symlink("images/1.squashfs", sandbox.path("current")).unwrap();
    sandbox.line("pack squashfs root -o current").assert_ok();
    assert!(fs::symlink_metadata(sandbox.path("current")).unwrap().is_symlink());
    assert_eq!(&fs::read(sandbox.path("images/1.squashfs")).unwrap()[..4], b"hsqs");
}

#[test]
fn inputs_are_not_replaced() {
    let sandbox = sandbox();
    sandbox.write("devices.txt", "/dev d 755 0 0\n");
    fs::hard_link(sandbox.path("root/noise"), sandbox.path("same")).unwrap();
    let inode = fs::metadata(sandbox.path("same")).unwrap().ino();
    let cases = [
        ("pack squashfs root -o same", "also an input (/noise of the image)"),
        ("pack squashfs root pseudo:devices.txt -o devices.txt", "also an input (devices.txt)"),
        ("pack squashfs root -o root/out", "lies inside the source root"),
        ("pack squashfs root -o ./root/../root/out", "lies inside the source root"),
        ("pack squashfs . -o out", "lies inside the source ."),
    ];
    for (line, message) in cases {
        let run = sandbox.line(line);
        assert_eq!(run.code, 6, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{line}: {}", run.stderr);
    }
    assert_eq!(fs::metadata(sandbox.path("same")).unwrap().ino(), inode);
    assert_eq!(sandbox.names(), ["devices.txt", "root", "same"]);

    let image = "[[source]]\ndir = \".\"\n[[output]]\nfile = \"out\"\nformat = \"squashfs\"\n";
    sandbox.write("image.toml", image);
    assert_eq!(sandbox.line("build image.toml").code, 6);
    // A folder that is left out of the image is a fine place.
    fs::create_dir(sandbox.path("build")).unwrap();
    sandbox.line("pack squashfs . -o build/out --exclude /build").assert_ok();
}
