//! Large trees, large directories, large files, odd names: they work, and quickly.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use crate::common::Sandbox;

#[test]
fn two_hundred_thousand_files_half_of_them_in_one_directory() {
    let sandbox = Sandbox::new();
    let mut pseudo = String::from("/ d 755 0 0\n/one d 755 0 0\n");
    for number in 0..100_000 {
        writeln!(pseudo, "/one/{number} R 0 644 0 0 {} 0 0", number % 5).unwrap();
    }
    for directory in 0..100 {
        writeln!(pseudo, "/{directory} d 755 0 0").unwrap();
        for number in 0..1000 {
            writeln!(pseudo, "/{directory}/{number} R 0 644 0 0 {} 0 0", number % 5).unwrap();
        }
    }
    pseudo += "#\n# START OF DATA - DO NOT MODIFY\n#\nabcde";
    sandbox.write("pseudo", pseudo);
    let run = sandbox.line("pack squashfs pseudo:pseudo -o out -c zstd:1 --json");
    run.assert_ok();
    assert_eq!(run.json()["outputs"][0]["nodes"], 200_102);
    let check = sandbox.line("check out");
    assert_eq!((check.code, check.stdout.as_str()), (0, "out: squashfs: sound\n"), "{}", check.stderr);
    let list = sandbox.line("list out");
    assert_eq!(list.stdout.lines().count(), 200_102);
    assert!(list.stdout.contains("\n/one/99999\n"));
}

#[test]
fn a_sparse_file_of_five_gibibytes() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let len = 5_u64 << 30;
    let file = File::create(sandbox.path("root/sparse")).unwrap();
    file.set_len(len).unwrap();
    file.write_all_at(b"here", len - 4).unwrap();
    let run = sandbox.line("pack squashfs root -o out -c zstd:1 --json");
    run.assert_ok();
    let output = &run.json()["outputs"][0];
    assert_eq!(output["bytes_in"], len);
    assert!(output["hole_bytes"].as_u64().unwrap() > len - (1 << 20));
    assert!(output["bytes_out"].as_u64().unwrap() <= 64 << 10);
    let tree = sandbox.tree("out");
    let content = tree.content(tree.resolve(b"sparse").unwrap()).unwrap();
    assert_eq!(content.len(), len);
    let mut end = [0; 8];
    content.reader().read_exact_at(len - 8, &mut end).unwrap();
    assert_eq!(&end, b"\0\0\0\0here");
}

#[test]
fn names_with_newlines_and_bytes_that_are_no_text() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let names: [&[u8]; 4] = [b"new\nline", b"\xff\xfe", b"\x1b[31mred", b"back\\slash"];
    for name in names {
        fs::write(sandbox.path("root").join(OsStr::from_bytes(name)), name).unwrap();
    }
    for format in ["squashfs", "cpio"] {
        sandbox.run(["pack", format, "root", "-o", "out"]).assert_ok();
        let list = sandbox.line("list out");
        assert_eq!(list.stdout, "/\n/\\x1b[31mred\n/back\\\\slash\n/new\\nline\n/\\xff\\xfe\n");
    }
    sandbox.run(["pack", "squashfs", "root", "-o", "out"]).assert_ok();
    let tree = sandbox.tree("out");
    for name in names {
        assert_eq!(tree.node(tree.resolve(name).unwrap()).content().unwrap().to_vec().unwrap(), name);
    }
}
