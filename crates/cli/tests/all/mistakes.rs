//! Every slip of a tired person: exit code 2 (or what fits), and a message that says what to write instead.

use crate::common::Sandbox;

/// Command line, exit code, what the message must have in it.
const CASES: [(&str, i32, &str); 49] = [
    ("", 2, "Usage: flashwright <COMMAND>"),
    ("image.toml", 2, "help: flashwright build image.toml"),
    ("root", 2, "help: flashwright pack squashfs root -o FILE"),
    ("squashfs root", 2, "help: flashwright pack squashfs SOURCE… -o FILE"),
    ("mksquashfs root out", 2, "help: flashwright pack squashfs SOURCE… -o FILE"),
    ("biuld image.toml", 2, "a similar subcommand exists: 'build'"),
    ("pack", 2, "squashfs"),
    ("pack root -o out", 2, "the format comes first: flashwright pack squashfs root … -o FILE"),
    ("pack -o out squashfs root", 2, "the format comes first"),
    ("pack jffs3 root -o out", 2, "formats: squashfs, jffs2, ubifs, cpio"),
    ("pack squashfs", 2, "for example: flashwright pack squashfs rootfs/ -o root.squashfs"),
    (
        "pack jffs2 root -o out --endian big",
        2,
        "for example: flashwright pack jffs2 rootfs/ -o root.jffs2 --endian",
    ),
    ("pack ubifs root -o out", 2, "for example: flashwright pack ubifs rootfs/ -o root.ubifs --min-io 2048"),
    ("pack cpio", 2, "for example: flashwright pack cpio rootfs/ -o initramfs.cpio"),
    ("pack squashfs -o out", 2, "<SOURCE>..."),
    ("pack squashfs root", 2, "no output: -o FILE is missing"),
    ("pack squashfs root out.squashfs", 2, "did you mean -o out.squashfs?"),
    ("pack squashfs root -o", 2, "a value is required for '--output <FILE>'"),
    ("pack squashfs root -o -", 2, "must be a file, not standard output"),
    ("pack squashfs root -o root", 2, "the output root is a directory"),
    ("pack squashfs root -o nowhere/out", 1, "mkdir -p nowhere"),
    ("pack squashfs root -o root/file/out", 1, "root/file"),
    ("pack squashfs nowhere -o out", 1, "cannot read nowhere"),
    (
        "pack squashfs root/file -o out",
        2,
        "pack-file:root/file or init-list:root/file; an image.toml ends in .toml",
    ),
    ("pack squashfs psuedo:root/file -o out", 2, "did you mean pseudo:?"),
    ("pack squashfs pseudo: -o out", 2, "write pseudo:FILE"),
    ("pack squashfs root -o out -c zstdd", 2, "did you mean zstd?"),
    ("pack squashfs root -o out -c brotli", 2, "there are gzip, xz, zstd, lz4, lzo"),
    ("pack squashfs root -o out -c zstd:30", 2, "zstd has levels 1 to 22, not \"30\""),
    ("pack squashfs root -o out -c none", 2, "take --store all"),
    ("pack squashfs root -o out -b 100K", 2, "next to it are 64K and 128K"),
    ("pack squashfs root -o out -b 128", 2, "did you mean 128K?"),
    ("pack squashfs root -o out -b 2M", 2, "4K (4096 bytes) to 1M (1048576 bytes)"),
    ("pack squashfs root -o out --max-size 14MB", 2, "write M or MiB"),
    ("pack squashfs root -o out --pad-byte 0x20", 2, "0x00 or 0xff"),
    ("pack squashfs root -o out --pad-to 0", 2, "give 1 for no padding"),
    ("pack squashfs root -o out -c gzip --bcj arm", 2, "bcj filters work with xz, not with gzip"),
    ("pack squashfs root -o out --bcj amr", 2, "did you mean arm?"),
    ("pack squashfs root -o out --compresion xz", 2, "a similar argument exists: '--compression'"),
    ("pack squashfs root -o out --effort maximum", 2, "fast, default, max"),
    ("pack squashfs root -o out -j 0", 2, "1 to 1024"),
    ("pack squashfs root -o out --force-uid root", 2, "invalid value 'root'"),
    ("pack squashfs root -o out --map-uid 1000", 2, "FROM:TO"),
    ("pack squashfs root -o out --exclude [", 2, "["),
    ("pack cpio root -o out --pad-to 3", 2, "power of two from 4"),
    ("build root", 2, "name the file: root/image.toml"),
    ("mkfs.jffs2 root", 2, "help: flashwright pack jffs2 SOURCE… -o FILE"),
    ("pack squashfs root -o out --jffs2-end-marks 4K", 2, "a power of two from 8K to 16M"),
    ("list root", 2, "is a directory, not an image"),
];

#[test]
fn messages_help() {
    let sandbox = Sandbox::new();
    sandbox.write("root/file", "x");
    for (line, code, message) in CASES {
        let run = sandbox.line(line);
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{line}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{line}");
        assert_eq!(sandbox.names(), ["root"], "{line}");
    }
}

#[test]
fn a_bad_source_date_epoch_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("root/file", "x");
    for value in ["", "yesterday", "-1", "1.5", " 1", "4294967296"] {
        let mut command = sandbox.command();
        command.args(["pack", "squashfs", "root", "-o", "out"]).env("SOURCE_DATE_EPOCH", value);
        let run = crate::common::Run::from(command.output().unwrap());
        assert_eq!(run.code, 2, "{value}");
        assert!(run.stderr.contains("bad SOURCE_DATE_EPOCH in the environment"), "{}", run.stderr);
        assert_eq!(sandbox.names(), ["root"]);
        // A flag wins, and the variable is not looked at.
        command.arg("--source-date-epoch=1").assert().success();
        std::fs::remove_file(sandbox.path("out")).unwrap();
    }
}

#[test]
fn errors_are_objects_with_json() {
    let sandbox = Sandbox::new();
    sandbox.write("root/file", "x");
    sandbox.write("image.toml", "[nodes]\n\"/a\" = { text = \"\", mdoe = \"0755\" }\n");
    let cases = [
        ("build image.toml --json", 4, "invalid"),
        ("pack squashfs root -o nowhere/out --json", 1, "io"),
        ("pack squashfs root -o out -c foo --json", 2, "usage"),
        ("pack squashfs root -o out --max-size 1 --json", 3, "does-not-fit"),
        ("pack squashfs root -o /dev/null --json", 6, "refused"),
    ];
    for (line, code, class) in cases {
        let run = sandbox.line(line);
        assert_eq!(run.code, code, "{line}");
        let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
        let error = &error["error"];
        assert_eq!(error["exit_code"], code, "{line}");
        assert_eq!(error["class"], class, "{line}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty() && !text.contains('\n')));
        assert!(error["help"].is_string(), "{line}: {error}");
        assert_eq!(run.stdout, "");
    }
    let run = sandbox.line("build image.toml --json");
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    let expected = serde_json::json!({ "error": {
        "exit_code": 4,
        "class": "invalid",
        "message": "unknown key \"mdoe\" in a node",
        "help": "did you mean \"mode\"?",
        "file": "image.toml",
        "line": 2,
        "column": 21,
        "related": [],
    }});
    assert_eq!(error, expected);
}
