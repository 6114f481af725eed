//! One tree said in every way there is: the images have the same bytes.

use std::fs::File;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, symlink};

use flashwright_manifest::{Options, Policy, SourceKind, SourceSpec, build};
use flashwright_media::Endian;
use flashwright_tree::{Tree, compare};

use crate::common::{Folder, listing, options};
use crate::tarball::{Header, Tarball};

const TIME: u64 = 1_234_567_890;

fn epoch(options: &mut Options) {
    options.source_date_epoch = Some(1_234_567_890);
}

const IMAGE: &str = r##"
[nodes]
"/" = { type = "directory", mode = "0711", gid = 3 }
"/bin" = { type = "directory" }
"/bin/busybox" = { text = "#!program", mode = "4755" }
"/bin/sh" = { type = "hardlink", target = "/bin/busybox" }
"/bin/ash" = { target = "busybox" }
"/dev/console" = { type = "char", mode = "0600", major = 5, minor = 1 }
"/dev/mtdblock0" = { type = "block", mode = "0640", gid = 6, major = 31, minor = 300 }
"/dev/log" = { type = "fifo", mode = "0622" }
"/etc/key" = { text = "secret", mode = "0600", uid = 100, gid = 60000 }
"##;

const PSEUDO: &str = "\
/ d 711 0 3
bin d 755 0 0
bin/busybox l root/bin/busybox
bin/busybox m 4755 0 0
bin/sh L bin/busybox
bin/ash s 777 0 0 busybox
dev d 755 0 0
dev/console c 600 0 0 5 1
dev/mtdblock0 b 640 0 6 31 300
dev/log i 622 0 0 f
etc d 755 0 0
etc/key l root/etc/key
etc/key m 600 100 60000
";

const LIMINIX: &str = r##"{
"bin": { "type": "d", "contents": {
  "busybox": { "file": "#!program", "mode": "4755" }, "ash": { "type": "s", "target": "busybox" } } },
"dev": { "type": "d", "contents": {
  "console": { "type": "c", "mode": "0600", "major": "5", "minor": "1" },
  "mtdblock0": { "type": "b", "mode": "0640", "gid": 6, "major": "31", "minor": "300" },
  "log": { "type": "i", "mode": "0622" } } },
"etc": { "type": "d", "contents": {
  "key": { "file": "secret", "mode": "0600", "uid": 100, "gid": 60000 } } } }"##;

/// What Liminix cannot say.
const LIMINIX_REST: &str = r#"
[[source]]
liminix = "liminix.json"
[nodes]
"/" = { type = "directory", mode = "0711", gid = 3 }
"/bin/sh" = { type = "hardlink", target = "/bin/busybox" }
"#;

const DEVICE_TABLE: &str = "\
/ d 711 0 3 - - - - -
/bin/busybox f 4755 0 0 - - - - -
/dev d 755 0 0 - - - - -
/dev/console c 600 0 0 5 1 - - -
/dev/mtdblock b 640 0 6 31 300 0 0 1
/dev/log p 622 0 0
/etc/key f 600 100 60000
";

const PACK_FILE: &str = "\
dir / 711 0 3
glob /bin * 0 0 root/bin
file /etc/key 0600 100 60000 root/etc/key
nod /dev/console 0600 0 0 c 5 1
nod /dev/mtdblock0 0640 0 6 b 31 300
pipe /dev/log 0622 0 0
";

const INIT_LIST: &str = "\
dir / 0711 0 3
dir /bin 0755 0 0
file /bin/busybox root/bin/busybox 4755 0 0 /bin/sh
slink /bin/ash busybox 0777 0 0
nod /dev/console 0600 0 0 c 5 1
nod /dev/mtdblock0 0640 0 6 b 31 300
pipe /dev/log 0622 0 0
file /etc/key root/etc/key 0600 100 60000
";

fn tar() -> Vec<u8> {
    let at = |h: Header, mode| h.mode(mode).mtime(TIME);
    Tarball::default()
        .bare(b'5', "./", |h| at(h.owner(0, 3), 0o711))
        .bare(b'5', "./bin/", |h| at(h, 0o755))
        .entry(b'0', "./bin/busybox", b"#!program", |h| at(h, 0o4755))
        .bare(b'1', "./bin/sh", |h| at(h.link("./bin/busybox"), 0o4755))
        .bare(b'2', "./bin/ash", |h| at(h.link("busybox"), 0o777))
        .bare(b'3', "./dev/console", |h| at(h.device(5, 1), 0o600))
        .bare(b'4', "./dev/mtdblock0", |h| at(h.device(31, 300).owner(0, 6), 0o640))
        .bare(b'6', "./dev/log", |h| at(h, 0o622))
        .entry(b'0', "./etc/key", b"secret", |h| at(h.owner(100, 60_000), 0o600))
        .done()
}

/// The tree in every format.
fn bytes(tree: &Tree) -> [Vec<u8>; 3] {
    let one = NonZeroUsize::MIN;
    let (mut cpio, mut jffs2, mut squashfs) = (Vec::new(), Vec::new(), Cursor::new(Vec::new()));
    let mut options = flashwright_cpio::Options::default();
    options.xattrs = flashwright_cpio::XattrPolicy::Drop;
    flashwright_cpio::write(tree, &options, &mut cpio).unwrap();
    let options = flashwright_squashfs::Options::default();
    flashwright_squashfs::write(tree, &options, one, &mut squashfs, &mut |_| ()).unwrap();
    let options = flashwright_jffs2::Options::new(0x10000, Endian::Big);
    flashwright_jffs2::write(tree, &options, one, &mut jffs2, &mut |_| ()).unwrap();
    [cpio, jffs2, squashfs.into_inner()]
}

#[test]
fn every_form_gives_the_same_images() {
    let folder = Folder::new();
    folder.file("root/bin/busybox", "#!program");
    folder.mode("root/bin/busybox", 0o4755);
    std::fs::hard_link(folder.join("root/bin/busybox"), folder.join("root/bin/sh")).unwrap();
    symlink("busybox", folder.join("root/bin/ash")).unwrap();
    folder.file("root/etc/key", "secret");
    for path in ["root/bin/busybox", "root/etc/key", "root/bin", "root/etc"] {
        crate::common::set_time(&folder.join(path), 2 * TIME);
    }
    let image = folder.image_with(IMAGE, epoch).unwrap().tree;
    let mut cpio = Vec::new();
    flashwright_cpio::write(&image, &flashwright_cpio::Options::default(), &mut cpio).unwrap();
    folder.file("liminix.json", LIMINIX);
    let of = |kind: SourceKind, name: &str, data: &[u8]| SourceSpec::new(kind, folder.file(name, data));
    let image_of = |name, text: &str| of(SourceKind::Image, name, text.as_bytes());
    let forms: Vec<(&str, Vec<SourceSpec>)> = vec![
        ("pseudo", vec![of(SourceKind::Pseudo, "pseudo", PSEUDO.as_bytes())]),
        ("liminix", vec![image_of("liminix.toml", LIMINIX_REST)]),
        ("tar", vec![of(SourceKind::Tar, "x.tar", &tar())]),
        ("cpio", vec![of(SourceKind::Cpio, "x.cpio", &cpio)]),
        ("pack file", vec![of(SourceKind::PackFile, "pack", PACK_FILE.as_bytes())]),
        ("init list", vec![of(SourceKind::InitList, "list", INIT_LIST.as_bytes())]),
        (
            "device table",
            vec![
                image_of("dir.toml", "[[source]]\ndir = \"root\"\nowner = { all-root = true }\n"),
                of(SourceKind::DeviceTable, "table", DEVICE_TABLE.as_bytes()),
            ],
        ),
    ];
    let expected = bytes(&image);
    for (name, sources) in forms {
        let options = options(|o| {
            epoch(o);
            o.base_dir = folder.path().to_owned();
        });
        let tree =
            build(&sources, &Policy::default(), &options).unwrap_or_else(|e| panic!("{name}: {e:?}")).tree;
        assert_eq!(compare(&image, &tree).unwrap(), [], "{name}:\n{}", listing(&tree));
        assert!(bytes(&tree) == expected, "{name}: images differ");
    }
}

/// What not every form can say: extended attributes, and holes.
#[test]
fn xattrs_and_holes_give_the_same_images() {
    let folder = Folder::new();
    let large = folder.file("root/large", "");
    let file = File::create(&large).unwrap();
    file.write_all_at(b"middle", 300_000).unwrap();
    file.set_len(1_000_000).unwrap();
    let mut data = vec![0; 1_000_000];
    data[300_000..300_006].copy_from_slice(b"middle");
    crate::common::set_time(&folder.file("plain", &data), TIME);
    let xattr = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&large, "user.a", b"\0value", xattr).is_err() {
        return; // a file system without xattrs
    }
    folder.mode("root", 0o755);
    [large, folder.join("root")].iter().for_each(|path| crate::common::set_time(path, TIME));
    let root = |h: Header| h.mode(0o755).mtime(TIME);
    let entry = |h: Header| h.mode(0o644).mtime(TIME);
    let sparse = |attribute: (&str, &[u8]), map: &[(&str, &[u8])], data: &[u8]| {
        let records = [&[attribute], map].concat();
        Tarball::default().bare(b'5', ".", root).pax(b'x', &records).entry(b'0', "large", data, entry).done()
    };
    let map: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"1000000"), ("GNU.sparse.map", b"300000,6")];
    let of = |kind: SourceKind, name: &str, data: &[u8]| SourceSpec::new(kind, folder.file(name, data));
    let toml = "[owner]\nall-root = true\n[nodes]\n\"/\" = { type = \"directory\" }\n\
                \"/large\" = { host = \"plain\", xattrs = { \"user.a\" = { hex = \"00 76616c7565\" } } }\n";
    let pseudo = "/ d 755 0 0\nlarge l plain\nlarge m 644 0 0\nlarge x user.a=0sAHZhbHVl\n";
    let forms = [
        ("directory", SourceSpec::new(SourceKind::Directory, folder.join("root"))),
        ("image.toml", of(SourceKind::Image, "image.toml", toml.as_bytes())),
        ("pseudo", of(SourceKind::Pseudo, "pseudo", pseudo.as_bytes())),
        ("tar", of(SourceKind::Tar, "1.tar", &sparse(("SCHILY.xattr.user.a", b"\0value"), &[], &data))),
        (
            "sparse tar",
            of(SourceKind::Tar, "2.tar", &sparse(("SCHILY.xattr.user.a", b"\0value"), &map, b"middle")),
        ),
        (
            "libarchive's",
            of(SourceKind::Tar, "3.tar", &sparse(("LIBARCHIVE.xattr.user.a", b"AHZhbHVl"), &[], &data)),
        ),
    ];
    let mut images = forms.map(|(name, source)| {
        let options = options(|o| {
            epoch(o);
            o.base_dir = folder.path().to_owned();
        });
        let policy = Policy::default().with_all_root();
        (name, bytes(&build(&[source], &policy, &options).unwrap_or_else(|e| panic!("{name}: {e:?}")).tree))
    });
    let expected = images[0].1.clone();
    for (name, found) in &mut images {
        for (format, (expected, found)) in
            ["cpio", "jffs2", "squashfs"].iter().zip(expected.iter().zip(found))
        {
            assert!(expected == found, "{name} as {format}: the images differ");
        }
    }
}
