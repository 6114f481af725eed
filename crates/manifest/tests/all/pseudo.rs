//! Pseudo files: each form of definition, in the spelling that mksquashfs 4.7.5 accepts.

use std::fmt::Write as _;

use flashwright_manifest::SourceKind::Pseudo;
use flashwright_manifest::{Action, Class, Data, Severity, parse_pseudo};

use crate::common::{Folder, listing};

/// The tree of a pseudo file, one line for each path below the root.
fn tree_of(text: impl AsRef<[u8]>) -> Vec<String> {
    let folder = Folder::new();
    folder.file("host", "from the host");
    std::os::unix::fs::symlink("host", folder.join("link")).unwrap();
    let loaded = folder.source(Pseudo, text).unwrap_or_else(|e| panic!("{}", folder.shown(&e)));
    listing(&loaded.tree).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn every_form_of_definition() {
    let cases = [
        ("a d 755 1 2", "/a d 0755 1:2 @0"),
        ("a D 7 0755 root root", "/a d 0755 0:0 @7"),
        ("/a d 1777 0 0", "/a d 1777 0:0 @0"),
        ("a c 600 0 0 5 1", "/a c 0600 0:0 @0 5:1"),
        ("a C 7 600 0 0 5 1", "/a c 0600 0:0 @7 5:1"),
        ("a b 660 0 6 259 65536", "/a b 0660 0:6 @0 259:65536"),
        ("a B 7 660 0 6 8 0", "/a b 0660 0:6 @7 8:0"),
        ("a i 600 0 0 f", "/a p 0600 0:0 @0"),
        ("a I 7 600 0 0 s", "/a s 0600 0:0 @7"),
        ("a s 644 1 2 some where", "/a l 0777 1:2 @0 -> some where"),
        ("a S 7 644 1 2   \"q\\x\" ", "/a l 0777 1:2 @7 -> \"q\\x\" "),
        ("\"a b\" d 755 0 0", "/a b d 0755 0:0 @0"),
        ("a\\ b d 755 0 0", "/a b d 0755 0:0 @0"),
        ("a\" b\"c d 755 0 0", "/a bc d 0755 0:0 @0"),
        ("\"a\\\"b\\n\" d 755 0 0", "/a\"bn d 0755 0:0 @0"),
        ("\\#a d 755 0 0", "/#a d 0755 0:0 @0"),
        ("a d 755\\\n 0 0", "/a d 0755 0:0 @0"),
        ("a\\\n d 755 0 0", "/a d 0755 0:0 @0"),
        ("a s 777 0 0 a\\\nb", "/a l 0777 0:0 @0 -> ab"),
        ("a s 777 0 0 a\\\\\n#b", "/a l 0777 0:0 @0 -> a\\\\"),
        ("  # comment\n\n \t a\td\t755\t0\t0  \r\n#", "/a d 0755 0:0 @0"),
        ("a D -5 755 0 0", "/a d 0755 0:0 @-5"),
        ("a D @77 755 0 0", "/a d 0755 0:0 @77"),
        ("a D \"2024-02-29 12:30:15Z\" 755 0 0", "/a d 0755 0:0 @1709209815"),
        ("a d 755 4294967295 +5", "/a d 0755 4294967295:5 @0"),
    ];
    for (text, expected) in cases {
        assert_eq!(tree_of(text), [expected], "{text}");
    }
}

#[test]
fn order_of_lines_does_not_matter_and_parents_are_made() {
    let text = "a/b/c L /a/f\na/f x user.k=v\na/f i 600 0 0 f\na d 700 3 4\n/ d 711 5 6\na/b m 750 1 1";
    let folder = Folder::new();
    let list = listing(&folder.source(Pseudo, text).unwrap().tree);
    let expected = "/ d 0711 5:6 @0\n/a d 0700 3:4 @0\n/a/b d 0750 1:1 @0\n\
                    /a/b/c p 0600 0:0 @0 user.k=\"v\"\n/a/f p 0600 0:0 @0 user.k=\"v\"\n";
    assert_eq!(list, expected);
}

#[test]
fn host_files_come_with_their_own_metadata() {
    let lines = tree_of("a l host\nb h link\nc l link\nd m 4755 9 9\nd l \"host\"\ne L a");
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("/a - 0644 ") && lines[0].ends_with(" @1000 \"from the host\""),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("/b - 0644 ") && lines[1].ends_with(" @1000 \"from the host\""),
        "{}",
        lines[1]
    );
    assert!(lines[2].starts_with("/c l 0777 ") && lines[2].ends_with(" -> host"), "{}", lines[2]);
    assert_eq!(lines[3], "/d - 4755 9:9 @1000 \"from the host\"");
    assert!(lines[4].ends_with(" @1000 (again)"), "{}", lines[4]);
}

#[test]
fn names_of_one_host_inode_become_hard_links() {
    let folder = Folder::new();
    folder.file("one", "1");
    std::fs::hard_link(folder.join("one"), folder.join("two")).unwrap();
    let list = listing(&folder.source(Pseudo, "a l one\nb l two").unwrap().tree);
    assert!(list.lines().nth(2).unwrap().ends_with("(again)"), "{list}");
}

#[test]
fn xattr_values_have_four_spellings() {
    let text = "a i 600 0 0 f\na x user.a=bar baz \na x user.b=\"x y\"\na x user.c=0xdeadBEEF\n\
                a x user.d=0saGVsbG8=\na x user.e=0ta\\101\\134z\na x user.f=a\\nb\na x user.g=\na x security.h=0";
    let declarations = parse_pseudo(text.as_bytes()).unwrap();
    let values: Vec<_> =
        declarations[1..].iter().map(|d| d.meta.xattrs.values().next().unwrap().clone()).collect();
    let expected: [&[u8]; 8] =
        [b"bar baz ", b"\"x y\"", &[0xde, 0xad, 0xbe, 0xef], b"hello", b"aA\\z", b"a\\nb", b"", b"0"];
    assert_eq!(values, expected);
}

#[test]
fn commands_run_only_when_allowed() {
    let folder = Folder::new();
    folder.file("data", "from a file");
    let text = "a f 644 0 0 cat data | tr a-z A-Z; printf '%s' \"\\\\n\"\nb F 7 600 1 1 true";
    let refused = folder.source(Pseudo, text).unwrap_err();
    assert_eq!((refused.class(), refused.class().exit_code()), (Class::Refused, 6));
    assert!(folder.shown(&refused).contains("source:1:1: /a: command"), "{}", folder.shown(&refused));
    let run = folder.source_with(Pseudo, text, |o| o.allow_commands = true).unwrap();
    let expected = "/a - 0644 0:0 @0 \"FROM A FILE\\\\n\"\n/b - 0600 1:1 @7 \"\"\n";
    assert!(listing(&run.tree).ends_with(expected), "{}", listing(&run.tree));
    let failed = folder.source_with(Pseudo, "a f 644 0 0 exit 3", |o| o.allow_commands = true).unwrap_err();
    assert!(failed.message().ends_with("failed: exit status: 3"), "{failed}");
    let endless = folder.source_with(Pseudo, "a f 644 0 0 yes", |o| o.allow_commands = true).unwrap_err();
    assert!(endless.message().ends_with("writes more than 64 MiB"), "{endless}");
}

const MARKER: &str = "#\n# START OF DATA - DO NOT MODIFY\n#\n";

#[test]
fn a_data_section_holds_files_and_holes() {
    let mut data = vec![b'x'; 4096];
    data.resize(4096 + 8192, 0);
    data.extend_from_slice(b"tail");
    let mut text =
        format!("a R 5 644 0 0 3 0 0\nb R 5 4755 1 1 {} 3 1\nc R 5 644 0 0 0 9 0\n{MARKER}abc", data.len())
            .into_bytes();
    text.extend_from_slice(&data);
    let folder = Folder::new();
    let tree = folder.source(Pseudo, &text).unwrap().tree;
    let list = listing(&tree);
    assert!(
        list.contains(
            "/a - 0644 0:0 @5 \"abc\"\n/b - 4755 1:1 @5 12292 bytes 1 holes\n/c - 0644 0:0 @5 \"\"\n"
        ),
        "{list}"
    );
    let b = tree.content(tree.resolve(b"b").unwrap()).unwrap();
    assert_eq!(b.to_vec().unwrap(), data);
    assert!(b.is_hole(4096, 8192));
}

#[test]
fn what_unsquashfs_writes_for_a_newline_is_a_newline() {
    let text = format!("new\\\nline R 5 644 0 0 1 0 0\nx R 5 644 0 0 1 0 0\n{MARKER}n");
    assert_eq!(tree_of(&text), ["/new\\nline - 0644 0:0 @5 \"n\"", "/x - 0644 0:0 @5 \"n\""]);
}

#[test]
fn names_of_machine_written_files_go_on_in_quotes() {
    let text = format!(
        "\"/a b\n c\" F 5 644 0 0 true\n\"d\n\" L \"/a b\n c\"\ns S 5 777 0 0 an \"open quote\nx I 5 644 0 0 f\n{MARKER}"
    );
    let paths: Vec<_> = parse_pseudo(text.as_bytes()).unwrap().into_iter().map(|d| d.path).collect();
    assert_eq!(paths, [&b"a b\n c"[..], b"d\n", b"s", b"x"]);
    let by_hand = parse_pseudo(b"\"/a\nb\" D 5 755 0 0\n").unwrap_err();
    assert!(by_hand.to_string().contains("a quote that is not closed"), "{by_hand}");
}

#[test]
fn a_name_that_unsquashfs_failed_to_escape_is_pointed_out() {
    let folder = Folder::new();
    let loaded = folder.source(Pseudo, format!("#hash R 5 644 0 0 1 0 0\n# other\n{MARKER}n")).unwrap();
    let notes: Vec<_> = loaded.notes.iter().map(|note| (note.severity, note.to_string())).collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].0, Severity::Warning);
    assert!(notes[0].1.ends_with("source:1:1: taken as a comment, though it reads like a definition of \"#hash\"; write \\#hash to have that"));
}

#[test]
fn large_files_of_definitions_are_read_in_steps() {
    let mut text = String::new();
    for i in 0..60_000 {
        writeln!(text, "directory/with/a/long/name/{i:06} D 0 755 0 0").unwrap();
    }
    assert!(text.len() > 2 << 20);
    let text = format!("{text}z R 5 644 0 0 3 0 0\n{MARKER}abc");
    let folder = Folder::new();
    let tree = folder.source(Pseudo, &text).unwrap().tree;
    assert_eq!(tree.walk().count(), 60_000 + 7);
    assert!(listing(&tree).ends_with("/z - 0644 0:0 @5 \"abc\"\n"));
}

#[test]
fn parsing_touches_no_host_file() {
    let declarations = parse_pseudo(b"a f 644 0 0 rm -rf /\nb l /nonexistent").unwrap();
    assert!(
        matches!(&declarations[0].action, Action::File(Data::Command(command)) if command == b"rm -rf /")
    );
    assert!(matches!(&declarations[1].action, Action::Host { follow: false, .. }));
}

/// Written by `unsquashfs -pf` (squashfs-tools 4.7.5) from an image of one node of each kind.
const WRITTEN: &[u8] = include_bytes!("fixtures/unsquashfs-4.7.5.pf");

#[test]
fn what_unsquashfs_writes_is_read_right() {
    let time = "@1700000000";
    let expected = format!(
        r#"/ d 0755 0:0 {time}
/a - 4755 0:0 {time} "hello\n" user.bin="b\u{{1}}\\\"a�r\n0x" user.text="plain text"
/b b 0644 5:6 {time} 8:17
/c c 0644 0:0 {time} 1:3
/d d 1777 0:0 {time}
/d/b - 4755 0:0 {time} (again) user.bin="b\u{{1}}\\\"a�r\n0x" user.text="plain text"
/empty - 0644 0:0 {time} ""
/ff p 0644 0:0 {time}
/new\nline - 0644 0:0 {time} "n"
/sock s 0755 0:0 {time}
/sp ace"q\\b - 0644 0:0 {time} "q"
/sparse - 0644 0:0 {time} 20481 bytes
/sy m l 0777 0:0 {time} -> a b
/\xff - 0644 0:0 {time} "n"
"#
    );
    let folder = Folder::new();
    assert_eq!(listing(&folder.source(Pseudo, WRITTEN).unwrap().tree), expected);
}
