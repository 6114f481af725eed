//! Inputs that cannot become an image: the exit code, the path and line, and nothing left behind.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::Sandbox;

const OUTPUT: &str = "\n[[output]]\nfile = \"out\"\nformat = \"squashfs\"\n";

/// Node in an image.toml (line 2), exit code, what the message must have in it.
const NODES: [(&str, i32, &str); 14] = [
    ("\"/a\" = { text = \"\", mdoe = \"0644\" }", 4, "image.toml:2:21: unknown key \"mdoe\""),
    ("\"/a\" = { type = \"flie\" }", 4, "image.toml:2:17: unknown type \"flie\""),
    ("\"/a\" = { type = \"directory\", mode = \"0999\" }", 4, "image.toml:2:37: bad mode \"0999\""),
    ("\"/a\" = { type = \"char\", major = 5000, minor = 1 }", 4, "device number 5000:1 is too large"),
    ("\"/a\" = { host = \"nowhere\" }", 1, "image.toml:2:1: cannot read nowhere"),
    ("\"/a\" = { text = \"\" }\n\"/a/b\" = { text = \"\" }", 4, "image.toml:3:1: /a/b cannot be made"),
    ("\"/a\" = { type = \"hardlink\", target = \"/b\" }", 4, "image.toml:2:1: /a: hard link to /b"),
    ("\"/a\" = { type = \"hardlink\", target = \"/a\" }", 4, "image.toml:2:1: /a: a loop of hard links"),
    (
        "\"/a\" = { text = \"\", xattrs = { \"system.x\" = \"\" } }",
        4,
        "image.toml:2:1: /a: xattr \"system.x\"",
    ),
    ("\"/a\" = { text = \"\", mtime = -1 }", 4, "image.toml:2:1: /a: modification time -1 s"),
    ("\"/a\" = { text = \"\", mtime = 4294967296 }", 4, "image.toml:2:1: /a: modification time 4294967296 s"),
    ("\"/a\" = { text = \"\", uid = -1 }", 4, "image.toml:2:"),
    ("a = { text = \"\" }", 4, "image.toml:2:1: node \"a\" does not start with '/'"),
    ("\"/a\" = { text = \"\"", 4, "image.toml:"),
];

/// Keys of an output (line 5 on), what the message must have in it.
const KEYS: [(&str, &str); 9] = [
    (
        "compression = \"zstdd\"",
        "image.toml:5:15: output \"out\": \"zstdd\": no such compressor; did you mean zstd?",
    ),
    ("block-size = \"100K\"", "image.toml:5:14: output \"out\": \"100K\": a block has a power of two"),
    ("block_size = \"128K\"", "did you mean \"block-size\"?"),
    ("effort = \"mx\"", "did you mean \"max\"?"),
    ("max-size = true", "image.toml:5:12: "),
    ("compression = \"lz4\"\nbcj = \"all\"", "image.toml:6:7: bcj filters work with xz, not with lz4"),
    ("pad-to = 0", "image.toml:5:10: "),
    ("store = [\"dta\"]", "did you mean \"data\"?"),
    ("no-duplicates = 1", "image.toml:5:17: "),
];

#[track_caller]
fn assert_fails(sandbox: &Sandbox, code: i32, message: &str) {
    let before = sandbox.names();
    let run = sandbox.line("build image.toml");
    assert_eq!(run.code, code, "{message}: {}", run.stderr);
    assert!(run.stderr.contains(message), "expected {message}, found {}", run.stderr);
    assert_eq!(sandbox.names(), before, "{message}");
}

#[test]
fn nodes_that_cannot_be() {
    let sandbox = Sandbox::new();
    for (node, code, message) in NODES {
        sandbox.write("image.toml", format!("[nodes]\n{node}\n{OUTPUT}"));
        assert_fails(&sandbox, code, message);
    }
    let long = "n".repeat(257);
    sandbox.write("image.toml", format!("[nodes]\n\"/{long}\" = {{ text = \"\" }}\n{OUTPUT}"));
    assert_fails(
        &sandbox,
        4,
        &format!("image.toml:2:1: /{long}: the name has 257 bytes, SquashFS holds 256"),
    );
}

#[test]
fn outputs_that_cannot_be() {
    let sandbox = Sandbox::new();
    for (key, message) in KEYS {
        sandbox.write("image.toml", format!("{OUTPUT}{key}\n"));
        assert_fails(&sandbox, 4, message);
    }
    sandbox.write("image.toml", OUTPUT.replace("squashfs", "squashf"));
    assert_fails(&sandbox, 4, "image.toml:4:10: unknown format \"squashf\"");
    sandbox.write("image.toml", "");
    assert_fails(&sandbox, 4, "image.toml describes no output");
    sandbox.write("image.toml", OUTPUT.replace("\"out\"", "\"../out\""));
    assert_fails(&sandbox, 4, "image.toml:3:8: ");
    let run = sandbox.line("build image.toml --only nothing");
    assert_eq!(run.code, 4, "{}", run.stderr);
}

#[test]
fn more_owners_than_the_format_holds() {
    let sandbox = Sandbox::new();
    let mut pseudo = String::new();
    for uid in 0..=65_536 {
        writeln!(pseudo, "/{uid} d 755 {uid} 0").unwrap();
    }
    sandbox.write("pseudo", pseudo);
    let run = sandbox.line("pack squashfs pseudo:pseudo -o out");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("owners"), "{}", run.stderr);
    assert_eq!(sandbox.names(), ["pseudo"]);
}

#[test]
fn limits_of_cpio_name_the_line() {
    let sandbox = Sandbox::new();
    let node = "\"/a\" = { text = \"\", xattrs = { \"user.x\" = \"y\" } }";
    sandbox.write("image.toml", format!("[nodes]\n{node}\n{}", OUTPUT.replace("squashfs", "cpio")));
    assert_fails(&sandbox, 4, "image.toml:2:1: /a: ");
}

#[test]
fn bad_pseudo_files_name_the_line() {
    let sandbox = Sandbox::new();
    for (line, message) in [
        ("/a z 644 0 0", "pseudo:2:"),
        ("/a d 999 0 0", "pseudo:2:"),
        ("/a b 644 0 0 5000 0", "pseudo:2:"),
        ("/a f 644 0 0 echo hello", "--allow-commands"),
    ] {
        sandbox.write("pseudo", format!("/ d 755 0 0\n{line}\n"));
        let run = sandbox.line("pack squashfs pseudo:pseudo -o out");
        let expected = if line.contains("echo") { 6 } else { 4 };
        assert_eq!(run.code, expected, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{line}: {}", run.stderr);
        assert_eq!(sandbox.names(), ["pseudo"]);
    }
    sandbox.line("pack squashfs pseudo:pseudo -o out --allow-commands").assert_ok();
    assert_eq!(
        sandbox
            .tree("out")
            .node(sandbox.tree("out").resolve(b"/a").unwrap())
            .content()
            .unwrap()
            .to_vec()
            .unwrap(),
        b"hello\n"
    );
}

#[test]
fn an_unreadable_file_fails_the_run() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let secret = sandbox.write("root/secret", "x");
    std::fs::set_permissions(secret, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(sandbox.path(""), PermissionsExt::from_mode(0o777)).unwrap();
    let program = sandbox.path("flashwright");
    // Not by this process: another test's child could hold the copy open for a moment, and what is open for writing does not
    // run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_flashwright")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(program);
    command.args(["pack", "squashfs", "root", "-o", "out"]).current_dir(sandbox.path(""));
    if rustix::process::geteuid().is_root() {
        // Root reads everything: this has to be somebody else.
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot read root/secret: Permission denied"), "{stderr}");
    assert!(stderr.contains("help: make it readable"), "{stderr}");
    assert_eq!(sandbox.names(), ["flashwright", "root"]);
}

#[test]
fn images_that_are_none() {
    let sandbox = Sandbox::new();
    sandbox.write("empty", "");
    sandbox.write("text", "hello, world");
    sandbox.write("cut", b"hsqs");
    for command in ["list", "check", "info"] {
        for (file, code, message) in [
            ("empty", 4, "empty is empty, and no image"),
            ("text", 4, "text is no image of a known format: it starts with 68 65 6c 6c 6f 2c 20 77"),
            ("nowhere", 1, "cannot read nowhere"),
        ] {
            let run = sandbox.run([command, file]);
            assert_eq!(run.code, code, "{command} {file}: {}", run.stderr);
            assert!(run.stderr.contains(message), "{command} {file}: {}", run.stderr);
        }
        let cut = sandbox.run([command, "cut"]);
        assert!(cut.code == 4 || (command == "check" && cut.code == 5), "{command}: {cut:?}");
    }
}
