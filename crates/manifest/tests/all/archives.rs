//! tar and cpio archives: every form of every kind arrives, and what is damaged is an error.

use std::fs::File;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use flashwright_manifest::SourceKind::{self, Cpio, Tar};
use flashwright_manifest::{Class, Policy, SourceSpec, build, read_tar};
use flashwright_tree::{Content, Kind, Node, Source, Timestamp, Tree, compare};
use rustix::fs::{CWD, FileType, Mode};

use crate::common::{Folder, listing, options, policy, set_time};
use crate::tarball::Tarball;

fn tree_of(archive: Vec<u8>) -> Tree {
    read_tar(archive).unwrap().tree
}

fn node(tree: &Tree, path: &[u8]) -> Node {
    tree.node(tree.resolve(path).unwrap())
}

#[test]
fn every_kind_of_entry_arrives() {
    let archive = Tarball::default()
        .bare(b'5', "./", |h| h.mode(0o711).mtime(7))
        .bare(b'5', "dev/", |h| h.mode(0o1777))
        .bare(b'3', "dev/console", |h| h.mode(0o600).device(5, 1))
        .bare(b'4', "dev/mtd", |h| h.mode(0o640).owner(0, 6).device(259, 70_000))
        .bare(b'6', "dev/log", |h| h.mode(0o622))
        .entry(b'0', "bin/busybox", b"#!", |h| h.mode(0o4755).mtime(1_234_567_890))
        .bare(b'1', "bin/sh", |h| h.link("./bin/busybox"))
        .bare(b'2', "bin/ash", |h| h.link("../bin/busybox"))
        .entry(0, "old", b"before ustar", |h| h.put(257, &[0; 8]))
        .bare(0, "olddir/", |h| h.put(257, &[0; 8]))
        .entry(b'7', "/absolute", b"from the root", |h| h)
        .bare(b'0', "name", |h| h.put(345, b"a/long/prefix"))
        .done();
    let expected = r##"/ d 0711 0:0 @7
/a d 0755 0:0 @0
/a/long d 0755 0:0 @0
/a/long/prefix d 0755 0:0 @0
/a/long/prefix/name - 0644 0:0 @0 ""
/absolute - 0644 0:0 @0 "from the root"
/bin d 0755 0:0 @0
/bin/ash l 0777 0:0 @0 -> ../bin/busybox
/bin/busybox - 4755 0:0 @1234567890 "#!"
/bin/sh - 4755 0:0 @1234567890 (again)
/dev d 1777 0:0 @0
/dev/console c 0600 0:0 @0 5:1
/dev/log p 0622 0:0 @0
/dev/mtd b 0640 0:6 @0 259:70000
/old - 0644 0:0 @0 "before ustar"
/olddir d 0644 0:0 @0
"##;
    assert_eq!(listing(&tree_of(archive)), expected);
}

#[test]
fn numbers_may_be_binary_and_negative() {
    let archive = Tarball::default()
        .bare(b'0', "f", |h| {
            h.put(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
                .put(136, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe])
        })
        .done();
    assert!(listing(&tree_of(archive)).ends_with("/f - 0644 4294967295:0 @-2 \"\"\n"));
}

#[test]
fn extended_headers_win() {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(255));
    let archive = Tarball::default()
        .pax(b'g', &[("comment", b"a commit"), ("uid", b"77"), ("gid", b"5")])
        .pax(
            b'x',
            &[
                ("path", long.as_bytes()),
                ("size", b"5"),
                ("uid", b"4000000000"),
                ("mtime", b"-1.75"),
                ("SCHILY.xattr.user.raw", b"\0=\n\xff"),
                ("LIBARCHIVE.xattr.user.a%20b", b"aGVsbG8"),
                ("LIBARCHIVE.xattr.user.raw", b"bm8"),
                ("SCHILY.acl.access", b"user::rw-"),
            ],
        )
        .entry(b'0', "short", b"12345", |h| h.size(0))
        .pax(b'x', &[("linkpath", long.as_bytes()), ("path", b"hard")])
        .bare(b'1', "x", |h| h.link("nothing"))
        .pax(b'x', &[("linkpath", "\u{e9}/t".as_bytes())])
        .bare(b'2', "sym", |h| h)
        .pax(b'x', &[("uid", b""), ("RHT.security.selinux", b"system_u:object_r:etc_t:s0")])
        .bare(b'0', "own", |h| h.owner(3, 4))
        .done();
    let loaded = read_tar(archive).unwrap();
    let tree = &loaded.tree;
    let file = node(tree, long.as_bytes());
    assert_eq!(file.content().unwrap().to_vec().unwrap(), b"12345");
    let m = &file.metadata;
    assert_eq!((m.uid, m.gid), (4_000_000_000, 5));
    assert_eq!(m.mtime, Timestamp { seconds: -2, nanoseconds: 250_000_000 });
    assert_eq!(m.xattrs.len(), 2);
    assert_eq!(m.xattrs[&b"user.raw"[..]], b"\0=\n\xff");
    assert_eq!(m.xattrs[&b"user.a b"[..]], b"hello");
    assert_eq!(tree.resolve(b"hard"), tree.resolve(long.as_bytes()));
    let list = listing(tree);
    assert!(list.contains("/sym l 0777 77:5 @0 -> \u{e9}/t\n"), "{list}");
    assert!(
        list.contains("/own - 0644 3:5 @0 \"\" security.selinux=\"system_u:object_r:etc_t:s0\\0\"\n"),
        "{list}"
    );
    let notes: Vec<_> = loaded.notes.iter().map(|note| note.message.to_string()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("POSIX ACLs left behind on 1 entries, first /ddd"), "{notes:?}");
}

#[test]
fn a_link_may_have_data_or_only_a_length() {
    let with_length = Tarball::default()
        .file("f", b"data")
        .bare(b'1', "g", |h| h.link("f").size(4))
        .file("h", b"more")
        .done();
    let with_data = Tarball::default()
        .file("f", b"data")
        .entry(b'1', "g", b"data", |h| h.link("f"))
        .file("h", b"more")
        .done();
    assert_eq!(compare(&tree_of(with_length), &tree_of(with_data)).unwrap(), []);
}

#[test]
fn a_later_entry_of_a_path_replaces_the_earlier() {
    let archive = Tarball::default()
        .file("f", b"old")
        .bare(b'1', "g", |h| h.link("f"))
        .file("f", b"new")
        .bare(b'1', "h", |h| h.link("f"))
        .done();
    let list = listing(&tree_of(archive));
    assert!(
        list.ends_with("/f - 0644 0:0 @0 \"new\"\n/g - 0644 0:0 @0 \"old\"\n/h - 0644 0:0 @0 (again)\n"),
        "{list}"
    );
}

/// A folder with what tar makes special cases of.
pub(crate) fn special_cases() -> Folder {
    let folder = Folder::new();
    let deep = format!("root/{}/{}", "d".repeat(120), "e".repeat(150));
    folder.file(&format!("{deep}/{}", "f".repeat(200)), "deep");
    folder.file("root/plain", "text");
    folder.mode("root/plain", 0o4711);
    std::fs::hard_link(folder.join("root/plain"), folder.join(&format!("{deep}/hard"))).unwrap();
    symlink("t".repeat(180), folder.join("root/long-target")).unwrap();
    folder.file("root/new\nline \\ \u{e9}", "");
    rustix::fs::mknodat(CWD, folder.join("root/fifo"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    for (name, pieces) in [("few", 3_u64), ("many", 60)] {
        let file = File::create(folder.join(&format!("root/{name}"))).unwrap();
        file.set_len((pieces + 1) << 20).unwrap();
        for piece in 0..pieces {
            file.write_all_at(format!("piece {piece}").as_bytes(), (piece << 20) + 65_536).unwrap();
        }
    }
    File::create(folder.join("root/hole")).unwrap().set_len(3 << 20).unwrap();
    folder.file("root/empty", "");
    let xattr = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(folder.join("root/plain"), "user.bin", b"\0\xff=\n", xattr);
    for name in ["plain", "few", "many", "hole", "empty", "new\nline \\ \u{e9}", "."] {
        set_time(&folder.join("root").join(name), 1_600_000_000);
    }
    folder
}

fn tar(folder: &Folder, arguments: &[&str]) -> Option<std::path::PathBuf> {
    let output = folder.join("out.tar");
    let mut command = Command::new("tar");
    command.args(arguments).args(["--mtime=@1600000000", "--sort=name", "-cf"]).arg(&output);
    command.arg("-C").arg(folder.join("root")).arg(".").env("LC_ALL", "C");
    let result = command.output().ok()?;
    assert!(result.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&result.stderr));
    Some(output)
}

fn from(kind: SourceKind, path: &Path, change: impl FnOnce(&mut Policy)) -> Tree {
    build(&[SourceSpec::new(kind, path)], &policy(change), &options(|_| ())).unwrap().tree
}

#[test]
fn what_gnu_tar_writes_is_the_directory() {
    let gnu =
        Command::new("tar").arg("--version").output().is_ok_and(|o| o.stdout.starts_with(b"tar (GNU tar)"));
    if !gnu {
        return;
    }
    let folder = special_cases();
    let time = Some(Timestamp::from_seconds(1_600_000_000));
    let with_xattrs = from(SourceKind::Directory, &folder.join("root"), |p| p.mtime = time);
    let without = from(SourceKind::Directory, &folder.join("root"), |p| {
        p.mtime = time;
        p.xattrs = flashwright_manifest::XattrPolicy::None;
    });
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    let pax = |more: &[&'static str]| [&["--format=pax"], &xattrs[..], more].concat();
    let cases: Vec<(Vec<&str>, bool)> = vec![
        (vec!["--format=gnu"], false),
        (vec!["--format=gnu", "-S"], false),
        (pax(&[]), true),
        (pax(&["-S", "--sparse-version=0.0"]), true),
        (pax(&["-S", "--sparse-version=0.1"]), true),
        (pax(&["-S", "--sparse-version=1.0"]), true),
        (pax(&["-S", "-z"]), true),
        (pax(&["-J"]), true),
        (vec!["--format=gnu", "-S", "--zstd"], false),
        (vec!["--format=gnu", "-b1", "-S"], false),
    ];
    for (arguments, has_xattrs) in cases {
        if arguments.contains(&"--zstd") && Command::new("zstd").arg("--version").output().is_err() {
            continue;
        }
        let Some(archive) = tar(&folder, &arguments) else { return };
        let found = from(Tar, &archive, |_| ());
        let expected = if has_xattrs { &with_xattrs } else { &without };
        assert_eq!(compare(expected, &found).unwrap(), [], "{arguments:?}");
        let many = node(&found, b"many").into_content().unwrap();
        let holes = many.extents().iter().filter(|extent| matches!(extent.source, Source::Hole)).count();
        assert_eq!(holes > 50, arguments.contains(&"-S"), "{arguments:?}: {holes} holes");
    }
}

#[test]
fn data_of_a_plain_archive_stays_where_it_is() {
    let folder = Folder::new();
    let archive = Tarball::default().file("a", b"first").file("b", b"second").done();
    let path = folder.file("x.tar", &archive);
    let tree = from(Tar, &path, |_| ());
    let b = node(&tree, b"b").into_content().unwrap();
    let extents = b.extents();
    assert_eq!((extents.len(), extents[0].source_offset), (1, 1536));
    assert!(matches!(&extents[0].source, Source::Host(host) if host.path() == path));
    folder.file("x.tar", &archive[1..]);
    let error = node(&tree, b"b").content().unwrap().to_vec().unwrap_err();
    assert!(error.to_string().contains("changed while it was read"), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_archives_are_unpacked_into_memory_or_a_file() {
    let folder = Folder::new();
    let small = Tarball::default().file("f", b"data").done();
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let large = Tarball::default().file("f", &large).done();
    for (archive, in_file) in [(small, false), (large, true)] {
        let expected = tree_of(archive.clone());
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            std::io::Write::write_all(&mut encoder, &archive).unwrap();
            encoder.finish().unwrap()
        };
        // Two members one after the other are one archive, as the programs have it.
        let (start, end) = archive.split_at(600);
        let packed = [
            gzip(&archive),
            [gzip(&archive), vec![0; 20]].concat(),
            [zstd::encode_all(&archive[..], 1).unwrap(), vec![0; 20]].concat(),
            [gzip(start), gzip(end)].concat(),
            xz,
            zstd::encode_all(&archive[..], 1).unwrap(),
            [zstd::encode_all(start, 1).unwrap(), zstd::encode_all(end, 1).unwrap()].concat(),
        ];
        for bytes in packed {
            let path = folder.file("packed", &bytes);
            let tree = from(Tar, &path, |_| ());
            assert_eq!(compare(&expected, &tree).unwrap(), []);
            let content = node(&tree, b"f").into_content().unwrap();
            let source = &content.extents()[0].source;
            assert_eq!(matches!(source, Source::Reader(_)), in_file);
            let padded = bytes.ends_with(&[0; 20]);
            let cut = folder.file("packed", &bytes[..bytes.len() - if padded { 29 } else { 9 }]);
            let error =
                build(&[SourceSpec::new(Tar, cut)], &Policy::default(), &options(|_| ())).unwrap_err();
            assert_eq!(error.class(), Class::Invalid, "{error}");
            assert!(error.message().starts_with("cannot unpack "), "{error}");
        }
    }
}

#[test]
fn an_archive_can_be_a_pipe() {
    let folder = Folder::new();
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let archive = Tarball::default().file("f", b"data").done();
    let writer = std::thread::spawn({
        let (fifo, archive) = (fifo.clone(), archive.clone());
        move || std::fs::write(fifo, archive).unwrap()
    });
    assert_eq!(compare(&tree_of(archive), &from(Tar, &fifo, |_| ())).unwrap(), []);
    writer.join().unwrap();
}

#[test]
fn policies_apply_to_what_an_archive_brings() {
    let folder = Folder::new();
    let archive = Tarball::default()
        .bare(b'5', ".", |h| h.mode(0o700))
        .entry(b'0', "a", b"x", |h| h.mode(0o755).owner(1000, 1000).mtime(99))
        .bare(b'1', "b", |h| h.link("a"))
        .bare(b'1', "c", |h| h.link("a"))
        .pax(b'x', &[("SCHILY.xattr.com.apple.x", b"1"), ("SCHILY.xattr.system.posix_acl_access", b"2")])
        .bare(b'0', "d", |h| h)
        .done();
    folder.file("x.tar", archive);
    let text = "[[source]]\ntar = \"x.tar\"\nat = \"/opt\"\nexclude = [\"/opt/a\"]\nowner = { all-root = true }\n\
                time = { set = 5 }\nmode = { file-clear = \"0111\" }\n";
    let image = folder.image(text).unwrap();
    let expected = "/ d 0755 0:0 @0\n/opt d 0700 0:0 @5\n/opt/b - 0644 0:0 @5 \"x\"\n\
                    /opt/c - 0644 0:0 @5 (again)\n/opt/d - 0644 0:0 @5 \"\"\n";
    assert_eq!(listing(&image.tree), expected);
    let notes: Vec<_> = image.notes.iter().map(|note| note.message.to_string()).collect();
    let expected = [
        "xattr com.apple.x left behind on 1 nodes, first /opt/d",
        "xattr system.posix_acl_access left behind on 1 nodes, first /opt/d; xattrs = \"acl\" keeps them",
    ];
    assert_eq!(notes, expected);
    let copies = folder.image("[[source]]\ntar = \"x.tar\"\nhard-links = false\nxattrs = false").unwrap();
    assert!(!listing(&copies.tree).contains("(again)"));
    assert!(copies.notes.is_empty());
    let acl = folder.image("[[source]]\ntar = \"x.tar\"\nxattrs = \"acl\"").unwrap();
    assert_eq!(node(&acl.tree, b"d").metadata.xattrs.len(), 1);
}

#[test]
fn cpio_archives_come_in() {
    let folder = Folder::new();
    let source = read_tar(
        Tarball::default()
            .bare(b'5', ".", |h| h.mode(0o700))
            .bare(b'5', "dev", |h| h.mode(0o755))
            .bare(b'3', "dev/console", |h| h.device(5, 1))
            .file("f", b"data")
            .bare(b'1', "dev/g", |h| h.link("f"))
            .bare(b'2', "s", |h| h.link("t"))
            .done(),
    );
    let tree = source.unwrap().tree;
    let mut archive = Vec::new();
    flashwright_cpio::write(&tree, &flashwright_cpio::Options::default(), &mut archive).unwrap();
    let plain = folder.file("x.cpio", &archive);
    assert_eq!(compare(&tree, &from(Cpio, &plain, |_| ())).unwrap(), []);
    let packed = folder.file("x.cpio.gz", gzip(&archive));
    assert_eq!(compare(&tree, &from(Cpio, &packed, |_| ())).unwrap(), []);
    // Without an entry for the root, nobody said anything about it: 112 bytes of header and name.
    let rootless = folder.file("y.cpio", &archive[112..]);
    let found = from(Cpio, &rootless, |_| ());
    assert_eq!(found.root().metadata.permissions, 0o755);
    assert_eq!(node(&found, b"dev/console").kind(), Kind::CharDevice);
    let content: Content = node(&found, b"f").into_content().unwrap();
    assert!(matches!(content.extents()[0].source, Source::Host(_)));
}

/// Archives that are wrong, with what is said about them.
#[test]
fn what_is_wrong_is_named_with_its_place() {
    let t = Tarball::default;
    let sparse =
        |records: &[(&str, &[u8])], data: &[u8]| t().pax(b'x', records).entry(b'0', "s", data, |h| h).done();
    let v1: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("not tar", b"#!/bin/sh\n".repeat(99)),
        ("short", vec![b'x'; 100]),
        ("cpio", b"070701".repeat(99)),
        ("Debian package", b"!<arch>\n".repeat(99)),
        ("'..' in a name", t().file("a/../../b", b"").done()),
        ("'..' in a hard link", t().bare(b'1', "a", |h| h.link("../../etc/passwd")).done()),
        ("link to nothing", t().bare(b'1', "a", |h| h.link("b")).done()),
        ("link to a directory", t().bare(b'5', "d", |h| h).bare(b'1', "a", |h| h.link("d")).done()),
        ("symlink to nothing", t().bare(b'2', "a", |h| h).done()),
        ("file below a file", t().file("a", b"").file("a/b", b"").done()),
        ("file over a directory", t().bare(b'5', "a", |h| h).file("a", b"").done()),
        ("file as root", t().file("./", b"").bare(b'2', "/", |h| h.link("x")).done()),
        ("data cut", t().file("a", b"12345").0[..514].to_vec()),
        ("header cut", t().file("a", b"12345").file("b", b"").0[..1100].to_vec()),
        ("lone zero block", [vec![0; 512], t().file("a", b"").done()].concat()),
        ("type", t().bare(b'Z', "a", |h| h).done()),
        ("volume", t().bare(b'M', "a", |h| h).done()),
        ("size", t().bare(b'0', "a", |h| h.put(124, b"12x")).done()),
        ("negative size", t().bare(b'0', "a", |h| h.put(124, &[0xff; 12])).done()),
        ("uid", t().bare(b'0', "a", |h| h.put(108, &[0xff; 8])).done()),
        ("device", t().bare(b'3', "a", |h| h.device(4096, 0)).done()),
        ("pax record", t().entry(b'x', "p", b"99 path=x\n", |h| h).file("a", b"").done()),
        ("pax without =", t().entry(b'x', "p", b"7 path\n", |h| h).file("a", b"").done()),
        ("pax number", t().pax(b'x', &[("uid", b"1.5")]).file("a", b"").done()),
        ("pax uid", t().pax(b'x', &[("uid", b"4294967296")]).file("a", b"").done()),
        ("pax NUL", t().pax(b'x', &[("path", b"a\0b")]).file("a", b"").done()),
        ("pax huge", t().bare(b'x', "p", |h| h.size(1 << 30)).done()),
        ("pax at the end", t().pax(b'x', &[("path", b"a")]).done()),
        ("path too long", t().pax(b'x', &[("path", "a/".repeat(40_000).as_bytes())]).file("a", b"").done()),
        ("sparse overlap", sparse(&[("GNU.sparse.map", b"0,5,3,2"), ("GNU.sparse.size", b"9")], b"1234567")),
        ("sparse beyond", sparse(&[("GNU.sparse.map", b"8,5"), ("GNU.sparse.size", b"9")], b"12345")),
        ("sparse data", sparse(&[("GNU.sparse.map", b"0,5"), ("GNU.sparse.size", b"9")], b"123")),
        ("sparse pair", sparse(&[("GNU.sparse.map", b"0,5,1"), ("GNU.sparse.size", b"9")], b"123")),
        ("sparse map", sparse(&v1, b"1\n0\nx\n")),
        ("sparse map end", sparse(&v1, b"9\n0\n1\n")),
        ("sparse map size", sparse(&v1, b"99999999999\n")),
        ("old sparse", t().bare(b'S', "a", |h| h.put(386, b"x").put(483, b"5")).done()),
    ];
    let mut wrong = t().file("a", b"").done();
    wrong[3] ^= 1;
    cases.push(("checksum", wrong));
    let report: String = cases
        .into_iter()
        .map(|(name, archive)| match read_tar(archive) {
            Ok(loaded) => panic!("{name}: {}", listing(&loaded.tree)),
            Err(error) => format!("{name}\n => {error:?}\n\n"),
        })
        .collect();
    insta::assert_snapshot!(report);
}

#[test]
fn other_archives_are_told_what_they_are() {
    let folder = Folder::new();
    let say = |kind: SourceKind, bytes: &[u8]| {
        let path = folder.file("x", bytes);
        let spec = SourceSpec::new(kind, path);
        folder.shown(&build(&[spec], &Policy::default(), &options(|_| ())).unwrap_err())
    };
    let escape = {
        let mut tree = Tree::new();
        tree.insert(Tree::ROOT, b"xx", Node::symlink(*b"t")).unwrap();
        let mut archive = Vec::new();
        flashwright_cpio::write(&tree, &flashwright_cpio::Options::default(), &mut archive).unwrap();
        let at = archive.windows(3).position(|bytes| bytes == b"xx\0").unwrap();
        archive[at..at + 2].copy_from_slice(b"..");
        archive
    };
    let report = [
        say(Tar, b"BZh91AY&SY"),
        say(Tar, b"\x1f\x8bnothing"),
        say(Tar, b"070701"),
        say(Cpio, b"070707"),
        say(Cpio, &escape),
        say(Cpio, &gzip(b"070701")),
        {
            let spec = SourceSpec::new(Tar, folder.path());
            let error = build(&[spec], &Policy::default(), &options(|_| ())).unwrap_err();
            format!("{error:?}").replace(&folder.path().display().to_string(), "DIR")
        },
    ];
    insta::assert_snapshot!(report.join("\n\n"));
}

#[test]
fn an_archive_without_an_end_is_pointed_out() {
    let loaded = read_tar(Tarball::default().file("a", b"x").0).unwrap();
    assert_eq!(loaded.notes.len(), 1);
    assert!(loaded.notes[0].to_string().contains("two blocks of zeros"));
}
