//! Host directories: everything a directory can hold arrives, and what cannot be read is an error.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use crate::common::{Folder, listing, options, policy};
use flashwright_manifest::{Class, Options, Policy, SourceKind, SourceSpec, XattrPolicy, build};
use flashwright_tree::{Kind, Source, Timestamp, Tree, Xattrs};
use rustix::fs::{CWD, FileType, Mode};

fn scanned(folder: &Folder, policy: &Policy, options: &Options) -> Tree {
    build(&[SourceSpec::new(SourceKind::Directory, folder.path())], policy, options).unwrap().tree
}

fn owner(folder: &Folder) -> (u32, u32) {
    let metadata = std::fs::metadata(folder.path()).unwrap();
    (metadata.uid(), metadata.gid())
}

fn sample() -> Folder {
    let folder = Folder::new();
    folder.file("bin/busybox", "#!");
    folder.mode("bin/busybox", 0o4755);
    std::fs::hard_link(folder.join("bin/busybox"), folder.join("bin/sh")).unwrap();
    symlink("busybox", folder.join("bin/ash")).unwrap();
    rustix::fs::mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    std::os::unix::net::UnixListener::bind(folder.join("sock")).unwrap();
    folder.dir("tmp");
    folder.mode("tmp", 0o1777);
    for path in ["bin", "fifo", "tmp", "."].map(|name| folder.join(name)) {
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 7, tv_nsec: 0 },
            last_modification: rustix::fs::Timespec { tv_sec: 7, tv_nsec: 5 },
        };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    folder
}

#[test]
fn every_kind_of_node_keeps_its_mode_owner_time_and_links() {
    let folder = sample();
    let tree = scanned(&folder, &Policy::default(), &Options::default());
    let (uid, gid) = owner(&folder);
    let list = listing(&tree).replace(&format!(" {uid}:{gid} "), " me ");
    let expected = [
        "/bin d 0755 me @7",
        "/bin/busybox - 4755 me @1000 \"#!\"",
        "/bin/sh - 4755 me @1000 (again)",
        "/fifo p 0600 me @7",
        "/tmp d 1777 me @7",
    ];
    for line in expected {
        assert!(list.lines().any(|l| l == line), "{line} in\n{list}");
    }
    assert!(list.contains("/bin/ash l 0777 me @") && list.contains(" -> busybox\n"), "{list}");
    assert_eq!(tree.node(tree.resolve(b"sock").unwrap()).kind(), Kind::Socket);
    assert_eq!(tree.root().metadata.mtime, Timestamp { seconds: 7, nanoseconds: 5 });
}

#[test]
fn names_and_targets_are_bytes() {
    let folder = Folder::new();
    let names: [&[u8]; 4] = [b"new\nline", b"\xff\xfe", b"back\\slash", b" space "];
    for name in names {
        std::fs::write(folder.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xff\n"), folder.join("link")).unwrap();
    let tree = scanned(&folder, &Policy::default(), &Options::default());
    for name in names {
        let node = tree.node(tree.resolve(name).unwrap());
        assert_eq!(node.content().unwrap().to_vec().unwrap(), name);
    }
    let link = tree.node(tree.resolve(b"link").unwrap());
    assert!(matches!(&link.kind, flashwright_tree::NodeKind::Symlink(target) if target == b"\xff\n"));
}

#[test]
fn holes_are_found_and_data_is_where_it_was() {
    let folder = Folder::new();
    let file = std::fs::File::create(folder.join("sparse")).unwrap();
    file.set_len(5 << 30).unwrap();
    file.write_all_at(b"middle", 1 << 30).unwrap();
    file.write_all_at(b"end", (5 << 30) - 3).unwrap();
    std::fs::File::create(folder.join("hole")).unwrap().set_len(1 << 20).unwrap();
    let tree = scanned(&folder, &Policy::default(), &Options::default());
    let sparse = tree.content(tree.resolve(b"sparse").unwrap()).unwrap();
    assert_eq!(sparse.len(), 5 << 30);
    let data: u64 =
        sparse.extents().iter().filter(|e| !matches!(e.source, Source::Hole)).map(|e| e.len).sum();
    assert!(data < 1 << 20, "{data} bytes of data");
    let mut buffer = [0; 6];
    sparse.reader().read_exact_at(1 << 30, &mut buffer).unwrap();
    assert_eq!(&buffer, b"middle");
    assert!(tree.node(tree.resolve(b"hole").unwrap()).content().unwrap().is_hole(0, 1 << 20));
}

#[test]
fn xattrs_are_read_unless_switched_off() {
    let folder = Folder::new();
    let file = folder.file("f", "");
    let big = vec![b'x'; 3000];
    let set =
        |name: &str, value: &[u8]| rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty());
    if set("user.short", b"\0\xff").is_err() {
        return; // This file system has none.
    }
    set("user.long", &big).unwrap();
    let read = |xattrs| {
        let tree = scanned(&folder, &policy(|p| p.xattrs = xattrs), &Options::default());
        tree.node(tree.resolve(b"f").unwrap()).metadata.xattrs.clone()
    };
    let expected = Xattrs::from([(b"user.short".to_vec(), b"\0\xff".to_vec()), (b"user.long".to_vec(), big)]);
    assert_eq!(read(XattrPolicy::Standard), expected);
    assert_eq!(read(XattrPolicy::None), Xattrs::new());
}

#[test]
fn policies_change_what_comes_in() {
    let folder = sample();
    let all_root = scanned(
        &folder,
        &policy(|p| {
            *p = p.clone().with_all_root();
            p.hard_links = false;
            p.file_mode.clear = 0o7022;
            p.directory_mode.set = 0o050;
            p.exclude = vec!["/tmp".into(), "ash".into(), "sock".into()];
            p.mtime = Some(Timestamp::from_seconds(3));
        }),
        &Options::default(),
    );
    let list = listing(&all_root);
    let rest: Vec<_> = list.lines().skip(1).collect();
    let expected = [
        "/bin d 0755 0:0 @3",
        "/bin/busybox - 0755 0:0 @3 \"#!\"",
        "/bin/sh - 0755 0:0 @3 \"#!\"",
        "/fifo p 0600 0:0 @3",
    ];
    assert_eq!(rest, expected);
}

#[test]
fn source_date_epoch_clamps_times_of_the_host() {
    let folder = sample();
    let tree = scanned(&folder, &Policy::default(), &options(|o| o.source_date_epoch = Some(500)));
    let time = |path: &[u8]| tree.node(tree.resolve(path).unwrap()).metadata.mtime;
    assert_eq!(time(b"bin/busybox"), Timestamp::from_seconds(500));
    assert_eq!(time(b"bin"), Timestamp { seconds: 7, nanoseconds: 5 });
}

#[test]
fn a_directory_can_be_grafted_anywhere() {
    let folder = Folder::new();
    folder.file("f", "x");
    let mut spec = SourceSpec::new(SourceKind::Directory, folder.path());
    spec.at = b"opt/app".to_vec();
    let loaded = build(
        &[spec],
        &policy(|p| *p = p.clone().with_all_root()),
        &options(|o| o.source_date_epoch = Some(9)),
    );
    let list = listing(&loaded.unwrap().tree);
    let names: Vec<_> = list.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["/", "/opt", "/opt/app", "/opt/app/f"]);
    assert!(list.contains("/opt d 0755 0:0 @9\n"));
}

#[test]
fn what_the_host_refuses_is_an_error_that_names_it() {
    let folder = Folder::new();
    let error = |path: &Path| {
        build(&[SourceSpec::new(SourceKind::Directory, path)], &Policy::default(), &Options::default())
            .unwrap_err()
    };
    let missing = error(&folder.join("missing"));
    assert_eq!(missing.class(), Class::Io);
    assert_eq!(
        folder.shown(&missing).lines().next().unwrap(),
        "Io (exit 1): cannot read missing: No such file or directory (os error 2)"
    );
    let file = error(&folder.file("file", ""));
    assert!(folder.shown(&file).starts_with("Invalid (exit 4): file is not a directory"), "{file:?}");
    folder.file("secret/key", "");
    folder.mode("secret/key", 0o000);
    if !rustix::process::geteuid().is_root() {
        assert_eq!(error(folder.path()).class(), Class::Io);
    }
}
