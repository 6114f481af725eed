//! Device tables, pack files and init lists.

use std::os::unix::fs::symlink;

use flashwright_manifest::SourceKind::{self, DeviceTable, InitList, PackFile};
use flashwright_manifest::{Class, Options, Policy, SourceSpec, build};

use crate::common::{Folder, listing, options};

fn tree_of(kind: SourceKind, text: &str) -> String {
    let folder = Folder::new();
    folder.file("host", "h");
    folder.mode("host", 0o600);
    folder.file("my file", "spaces");
    let loaded = folder.source(kind, text).unwrap_or_else(|e| panic!("{}", folder.shown(&e)));
    listing(&loaded.tree)
}

#[test]
fn device_tables_make_devices_and_ranges() {
    let table = "\
# name type mode uid gid major minor start inc count
/dev        d 755 0 0 - - - - -
/dev/mem    c 640 0 9 1 1 0 0 -
/dev/hda    b 640 root 6 3 0 0 0 -   # the whole disk
/dev/hda    b 640 0 6 3 1 1 1 3
/dev/tty    c 666 0 0 4 64 5 2 2
/dev/one    c 600 0 0 5 1 0 0 1
/run/fifo   p 622 1 2 # pipe
  /new d 700 1 2
";
    let expected = "\
/ d 0755 0:0 @0
/dev d 0755 0:0 @0
/dev/hda b 0640 0:6 @0 3:0
/dev/hda1 b 0640 0:6 @0 3:1
/dev/hda2 b 0640 0:6 @0 3:2
/dev/hda3 b 0640 0:6 @0 3:3
/dev/mem c 0640 0:9 @0 1:1
/dev/one0 c 0600 0:0 @0 5:1
/dev/tty5 c 0666 0:0 @0 4:64
/dev/tty6 c 0666 0:0 @0 4:66
/new d 0700 1:2 @0
/run d 0755 0:0 @0
/run/fifo p 0622 1:2 @0
";
    assert_eq!(tree_of(DeviceTable, table), expected);
}

#[test]
fn device_tables_change_what_is_there() {
    let folder = Folder::new();
    for file in ["etc/shadow", "etc/ssl/key", "bin/su", "home/x/f"] {
        folder.file(&format!("root/{file}"), "x");
    }
    symlink("su", folder.join("root/bin/link")).unwrap();
    folder.file(
        "table",
        "/bin/su f 4755 0 0 - - - - -\n/bin/none F 755 0 0 - - - - -\n/etc r -1 5 6 - - - - -\n\
         /etc/shadow f 600 0 0 - - - - -\n/home r 700 7 8 - - - - -\n/home/x d 711 9 9 - - - - -\n\
         /home/tty c 620 0 5 4 0 0 1 2\n/bin/link f 600 3 3 - - - - -\n",
    );
    let text = "[[source]]\ndir = \"root\"\nowner = { all-root = true }\ntime = { set = 1 }\n\
                [[source]]\ndevice-table = \"table\"\n";
    let list = listing(&folder.image(text).unwrap().tree);
    let expected = "\
/bin d 0755 0:0 @1
/bin/link l 0777 3:3 @1 -> su
/bin/su - 4755 0:0 @1 \"x\"
/etc d 0755 5:6 @1
/etc/shadow - 0600 0:0 @1 \"x\"
/etc/ssl d 0755 5:6 @1
/etc/ssl/key - 0644 5:6 @1 \"x\"
/home d 0700 7:8 @1
/home/tty0 c 0620 0:5 @0 4:0
/home/tty1 c 0620 0:5 @0 4:1
/home/x d 0711 9:9 @1
/home/x/f - 0700 7:8 @1 \"x\"
";
    assert_eq!(list.split_once('\n').unwrap().1, expected);
}

#[test]
fn pack_files_have_quotes_links_and_host_files() {
    let text = r#"
  # a comment
dir / 0711 3 4
file "/opt/my \"app\"\\x" 0600 1 2 my file
file host 0755 0 0
link /second 0 0 0 /host
slink /s 0 3 4 some target here
pipe /p 600 0 0
sock /k 600 0 0
nod /c 600 0 0 c 5 1
nod /b 600 0 0 B 8 17
"#;
    let expected = r#"/ d 0711 3:4 @0
/b b 0600 0:0 @0 8:17
/c c 0600 0:0 @0 5:1
/host - 0755 0:0 @0 "h"
/k s 0600 0:0 @0
/opt d 0755 0:0 @0
/opt/my "app"\\x - 0600 1:2 @0 "spaces"
/p p 0600 0:0 @0
/s l 0777 3:4 @0 -> some target here
/second - 0755 0:0 @0 (again)
"#;
    assert_eq!(tree_of(PackFile, text), expected);
}

/// A folder `lib` with files, a symlink, a hard link and a directory.
pub(crate) fn library() -> Folder {
    let folder = Folder::new();
    folder.file("lib/a.so", "a");
    folder.file("lib/b.txt", "b");
    folder.file("lib/sub/c.so", "c");
    symlink("a.so", folder.join("lib/l.so")).unwrap();
    std::fs::hard_link(folder.join("lib/a.so"), folder.join("lib/sub/a2.so")).unwrap();
    folder
}

#[test]
fn globs_choose_by_kind_name_and_path() {
    let cases: [(&str, &[&str]); 12] = [
        ("glob / 0640 1 2 lib", &["/a.so", "/b.txt", "/l.so", "/sub", "/sub/a2.so", "/sub/c.so"]),
        ("glob /usr/lib 0640 1 2 -type f -name \"*.so\" ./lib", &["/usr", "/usr/lib", "/usr/lib/a.so"]),
        (
            "dir /x/sub 755 0 0\nglob /x 640 1 2 -type f -name '*.so' lib",
            &["/x", "/x/a.so", "/x/sub", "/x/sub/a2.so", "/x/sub/c.so"],
        ),
        ("glob / 640 1 2 -nonrecursive lib", &["/a.so", "/b.txt", "/l.so", "/sub"]),
        ("glob / 640 1 2 -type d lib", &["/sub"]),
        ("glob / 640 1 2 -type d -type l -- lib", &["/l.so", "/sub"]),
        ("glob /x 640 1 2 -path x/*.so lib", &["/x", "/x/a.so", "/x/l.so"]),
        ("glob /x 640 1 2 -path * lib", &["/x"]),
        ("glob / 640 1 2 -name [ab].* lib", &["/a.so", "/b.txt"]),
        ("glob / 640 1 2 -name {a,b}.so lib", &[]),
        ("glob / 640 1 2 -xdev -name s* lib", &["/sub"]),
        ("glob / 640 1 2 -name ? lib", &[]),
    ];
    let folder = library();
    for (text, expected) in cases {
        let loaded = folder.source(PackFile, text).unwrap();
        let list = listing(&loaded.tree);
        let names: Vec<_> = list.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, expected, "{text}");
        let matched = list.contains(" 0640 ") || list.contains(" -> ");
        assert_eq!(loaded.notes.iter().any(|note| note.to_string().contains("matches")), !matched, "{text}");
    }
}

#[test]
fn globs_state_metadata_or_keep_it() {
    let folder = library();
    folder.mode("lib/a.so", 0o4755);
    let epoch = |o: &mut Options| o.source_date_epoch = Some(1_000_000);
    let stated = folder.source_with(PackFile, "glob / 0640 1 2 lib", epoch).unwrap();
    let expected = "\
/a.so - 0640 1:2 @1000000 \"a\"
/b.txt - 0640 1:2 @1000000 \"b\"
/l.so l 0777 1:2 @1000000 -> a.so
/sub d 0640 1:2 @1000000
/sub/a2.so - 0640 1:2 @1000000 (again)
/sub/c.so - 0640 1:2 @1000000 \"c\"
";
    assert_eq!(listing(&stated.tree).split_once('\n').unwrap().1, expected);
    let kept = folder.source_with(PackFile, "glob / * 1 * -keeptime -type f lib", epoch).unwrap();
    let list = listing(&kept.tree);
    assert!(list.contains("/a.so - 4755 1:") && list.contains(" @1000 \"a\"\n"), "{list}");
    let twice = folder.source(PackFile, "file /a.so 644 0 0 lib/b.txt\nglob / * * * lib").unwrap_err();
    assert_eq!(twice.message(), "/a.so is declared twice");
}

#[test]
fn pack_files_start_at_their_own_folder_unless_told() {
    let folder = Folder::new();
    folder.file("a/x", "beside the list");
    folder.file("b/x", "elsewhere");
    folder.file("a/list", "file /x 644 0 0");
    let near = folder.image("[[source]]\npack-file = \"a/list\"").unwrap();
    assert!(listing(&near.tree).ends_with("\"beside the list\"\n"));
    let far = folder.image("[[source]]\npack-file = \"a/list\"\nbase = \"b\"\nat = \"/y\"").unwrap();
    assert!(listing(&far.tree).ends_with("/y/x - 0644 0:0 @0 \"elsewhere\"\n"));
}

#[test]
fn init_lists_are_read_as_the_kernel_does() {
    let text = "\
# a comment
dir /dev 0755 0 0
nod /dev/console 0600 0 0 c 5 1
nod /dev/ram 0640 0 6 b 1 0
file /init host 0755 0 0 /sbin/init /linuxrc
slink /bin /usr/bin 0777 3 4
pipe /p 600 1 2
sock /s 755 1 2
";
    let expected = "\
/ d 0755 0:0 @0
/bin l 0777 3:4 @0 -> /usr/bin
/dev d 0755 0:0 @0
/dev/console c 0600 0:0 @0 5:1
/dev/ram b 0640 0:6 @0 1:0
/init - 0755 0:0 @0 \"h\"
/linuxrc - 0755 0:0 @0 (again)
/p p 0600 1:2 @0
/s s 0755 1:2 @0
/sbin d 0755 0:0 @0
/sbin/init - 0755 0:0 @0 (again)
";
    assert_eq!(tree_of(InitList, text), expected);
}

#[test]
fn variables_are_given_or_refused() {
    let folder = Folder::new();
    folder.file("obj/init", "i");
    folder.file("list", "file /init ${O}/${NAME} 0755 0 0");
    let text = "[[source]]\ninit-list = \"list\"\nvariables = { O = \"obj\", NAME = \"init\" }";
    assert!(listing(&folder.image(text).unwrap().tree).ends_with("/init - 0755 0:0 @0 \"i\"\n"));
    let spec = SourceSpec::new(InitList, folder.join("list"));
    let error = build(&[spec], &Policy::default(), &options(|_| ())).unwrap_err();
    assert_eq!((error.class(), error.class().exit_code()), (Class::Refused, 6));
    assert!(folder.shown(&error).starts_with("Refused (exit 6): list:1:12: variable \"O\" has no value"));
}

fn report(kind: SourceKind, cases: &[&str]) -> String {
    let say = |text: &&str| {
        let folder = library();
        folder.file("host", "");
        let shown = folder.shown(&folder.source(kind, text).unwrap_err());
        format!("{text}\n => {shown}\n\n")
    };
    cases.iter().map(say).collect()
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let device_tables = [
        "/a",
        "/a x 600 0 0",
        "/a bc 600 0 0",
        "/a d 888 0 0",
        "/a d -1 0 0",
        "/a c 600 user 0 1 1",
        "/a c 600 0 0 x 1",
        "/a c 600 0 0 1 1 0 1 -5",
        "/a c 600 0 0 1 1 0 1 99999999999",
        "/a c 600 0 0 1 1048570 0 1 9",
        "/a c 600 0 0 4096 1",
        "/a c 600 0 0 1 1 0 1 5 6",
        "/missing f 600 0 0",
        "/missing r 600 0 0",
        "/ c 600 0 0 1 1",
        "/a/../b d 600 0 0",
        "/a d 700 0 0\n|xattr cap_sys_admin+eip",
        "/a c 600 0 0 1 1\n/a c 600 0 0 1 2",
    ];
    let pack_files = [
        "fiel /a 644 0 0 host",
        "file",
        "file /a",
        "file /a 0x44 0 0 host",
        "file /a 644 root root missing",
        "file \"/a 644 0 0",
        "file \"/a\\n\" 644 0 0 host",
        "file \"/a\"b 644 0 0 host",
        "dir /a 755 0 0 more",
        "nod /a 600 0 0 x 1 1",
        "nod /a 600 0 0 c 1",
        "slink /a 777 0 0",
        "link /a 0 0 0 /missing",
        "link /a 0 0 0 ../x",
        "dir /../a 755 0 0",
        "glob / 644 0 0",
        "glob / 644 0 0 missing",
        "glob / 644 0 0 host",
        "glob / 644 0 0 -tpye f lib",
        "glob / 644 0 0 -type x lib",
        "glob / 644 0 0 -name [a lib",
        "glob / 644 0 0 -name a -name b lib",
        "glob / 644 0 0 -depth lib",
    ];
    let init_lists = [
        "file /a host 644 0",
        "file /a missing 644 0 0",
        "file /a ${X 644 0 0",
        "file /a host 644 0 0 /../b",
        "slink /a",
        "slonk /a b 777 0 0",
        "nod /a 600 0 0 c 5",
        "nod /a 600 0 0 c 5 1 7",
        "dir /a 755 0",
    ];
    let all = [(DeviceTable, &device_tables[..]), (PackFile, &pack_files), (InitList, &init_lists)];
    let all: String = all.iter().map(|(kind, cases)| report(*kind, cases)).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let folder = Folder::new();
    for (text, message) in [
        ("tar = \"x\"\nbase = \"y\"", "base has no meaning for tar"),
        ("pack-file = \"x\"\nvariables = { A = \"b\" }", "variables has no meaning for pack-file"),
        ("init-list = \"x\"\nvariables = { A = 5 }", "A must be a string"),
    ] {
        let error = folder.image(&format!("[[source]]\n{text}")).unwrap_err();
        assert!(error.message().starts_with(message), "{error}");
    }
}
