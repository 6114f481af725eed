//! What other programs write or read of the same thing: bsdtar, GNU cpio, tar2sqfs, gensquashfs. Each test passes
//! over a program that is not there; `cargo xtask tools` brings them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use flashwright_manifest::SourceKind::{self, Cpio, Directory, PackFile, Tar};
use flashwright_manifest::{Policy, SourceSpec, XattrPolicy, build};
use flashwright_squashfs::reader::Image;
use flashwright_tree::{Kind, Timestamp, Tree, compare};

use crate::archives::special_cases;
use crate::common::{Folder, options, policy};
use crate::lists::library;

/// The time of all that is compared: not every format holds fractions of a second.
const TIME: i64 = 1_600_000_000;

fn load(kind: SourceKind, path: &Path, change: impl FnOnce(&mut Policy)) -> Tree {
    let policy = policy(|policy| {
        policy.mtime = Some(Timestamp::from_seconds(TIME));
        change(policy);
    });
    build(&[SourceSpec::new(kind, path)], &policy, &options(|_| ())).unwrap().tree
}

fn succeed(command: &mut Command) {
    let output = command.env("LC_ALL", "C").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn assert_same(what: &str, expected: &Tree, found: &Tree) {
    let differences: Vec<_> = compare(expected, found).unwrap().iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

fn squashfs(path: &Path) -> Tree {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    Image::open(Arc::new(file), len).unwrap().tree().unwrap()
}

#[test]
fn what_bsdtar_writes_is_the_directory() {
    let Some(bsdtar) = vmtest::find_program("bsdtar") else { return };
    let folder = special_cases();
    let root = folder.join("root");
    let directory = |xattrs| load(Directory, &root, |policy| policy.xattrs = xattrs);
    let cases: [(&str, SourceKind, &[&str], XattrPolicy); 8] = [
        ("pax", Tar, &["--xattrs"], XattrPolicy::Standard),
        ("pax", Tar, &["--xattrs", "--read-sparse", "-z"], XattrPolicy::Standard),
        ("pax", Tar, &["--no-read-sparse", "--no-xattrs", "-J"], XattrPolicy::None),
        ("rpax", Tar, &["--no-xattrs", "--zstd"], XattrPolicy::None),
        ("gnutar", Tar, &["--no-xattrs"], XattrPolicy::None),
        ("newc", Cpio, &["--no-xattrs"], XattrPolicy::None),
        ("newc", Cpio, &["--no-xattrs", "-z"], XattrPolicy::None),
        ("newc", Cpio, &["--no-xattrs", "--zstd"], XattrPolicy::None),
    ];
    for (format, kind, arguments, xattrs) in cases {
        let output = folder.join("archive");
        let mut command = Command::new(&bsdtar);
        command.args(["--format", format]).args(arguments).arg("-cf").arg(&output).arg("-C").arg(&root);
        succeed(command.arg("."));
        let found = load(kind, &output, |policy| policy.xattrs = xattrs);
        assert_same(&format!("{format} {arguments:?}"), &directory(xattrs), &found);
    }
}

/// GNU cpio with the names in that order; `find -depth` has directories after what is in them.
fn cpio(program: &Path, root: &Path, find: &str, format: &str, output: &Path) {
    let line = format!("cd \"$1\" && find . {find} -print0 | \"$2\" --null --quiet -o -H {format} > \"$3\"");
    let mut command = Command::new("sh");
    succeed(command.args(["-c", &line, "sh"]).args([root, program, output]).stdin(Stdio::null()));
}

#[test]
fn what_gnu_cpio_writes_is_the_directory() {
    let Some(program) = vmtest::find_program("cpio") else { return };
    let folder = special_cases();
    let root = folder.join("root");
    let expected = load(Directory, &root, |policy| policy.xattrs = XattrPolicy::None);
    for (find, format) in [("", "newc"), ("-depth", "newc"), ("", "crc"), ("-depth", "crc")] {
        let output = folder.join("archive");
        cpio(&program, &root, find, format, &output);
        assert_same(&format!("{find} {format}"), &expected, &load(Cpio, &output, |_| ()));
    }
}

#[test]
fn tar2sqfs_reads_archives_as_this_does() {
    let (Some(program), Some(tar)) = (vmtest::find_program("tar2sqfs"), vmtest::find_program("tar")) else {
        return;
    };
    let folder = special_cases();
    for arguments in
        [&["--format=gnu"][..], &["--format=posix"], &["--format=gnu", "-S"], &["--format=posix", "-S"]]
    {
        let (archive, image) = (folder.join("archive.tar"), folder.join("image"));
        let mut command = Command::new(&tar);
        succeed(command.args(arguments).arg("-cf").arg(&archive).arg("-C").arg(folder.join("root")).arg("."));
        let mut command = Command::new(&program);
        succeed(command.args(["--quiet", "--force"]).arg(&image).stdin(File::open(&archive).unwrap()));
        let expected = load(Tar, &archive, |_| ());
        let mut found = squashfs(&image);
        let ids: Vec<_> = found.walk().map(|entry| entry.id).collect();
        for id in ids {
            found.node_mut(id).metadata.mtime = Timestamp::from_seconds(TIME);
        }
        assert_same(&format!("{arguments:?}"), &expected, &found);
    }
}

/// The image that gensquashfs makes of a pack file.
fn packed(program: &Path, folder: &Folder, list: &Path) -> PathBuf {
    let image = folder.join("image");
    let mut command = Command::new(program);
    command.args(["--quiet", "--force", "--pack-dir"]).arg(folder.path()).arg("--pack-file").arg(list);
    succeed(
        command
            .arg("--defaults")
            .arg("mode=0755,uid=0,gid=0,mtime=0")
            .arg(&image)
            .env("SOURCE_DATE_EPOCH", "0"),
    );
    image
}

#[test]
fn gensquashfs_reads_pack_files_as_this_does() {
    let Some(program) = vmtest::find_program("gensquashfs") else { return };
    let cases = [
        "dir / 0711 3 4\nfile \"/opt/my \\\"app\\\"\\\\x\" 0600 1 2 lib/b.txt\nfile lib/b.txt 0644 0 0\nlink /second 0 0 0 /lib/b.txt",
        "slink /s 0777 3 4 some target here\npipe /p 0600 0 0\nsock /k 0600 0 0\nnod /c 0600 0 0 c 5 1\nnod /b 0600 7 0 B 8 17",
        "glob / 0640 1 2 -type f -type l lib",
        "glob /usr/lib 0640 1 2 -type f -name \"*.so\" ./lib",
        "dir /x/sub 0755 0 0\nglob /x 0640 1 2 -type f -name '*.so' lib",
        "glob / 0640 1 2 -nonrecursive lib",
        "glob / 0640 1 2 -type d lib",
        "glob / * 1 * -keeptime -type f lib",
        "glob /x 0640 1 2 -path x/*.so lib",
        "glob / 0640 1 2 -name [ab].* lib",
    ];
    for text in cases {
        let folder = library();
        let list = folder.file("list", text);
        let mut found = squashfs(&packed(&program, &folder, &list));
        // A symlink has no mode on Linux; gensquashfs gives it that of the line.
        let symlinks = found.walk().filter(|entry| entry.node.kind() == Kind::Symlink).map(|entry| entry.id);
        for id in symlinks.collect::<Vec<_>>() {
            found.node_mut(id).metadata.permissions = 0o777;
        }
        let spec = SourceSpec::new(PackFile, &list);
        // gensquashfs carries no hard links in.
        let policy = policy(|policy| policy.hard_links = !text.contains("glob"));
        let ours = build(&[spec], &policy, &options(|_| ())).unwrap().tree;
        assert_same(text, &found, &ours);
    }
}
