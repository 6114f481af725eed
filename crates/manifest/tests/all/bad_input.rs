//! Every kind of bad input is an error that names the place, the limit and the remedy.

use flashwright_manifest::SourceKind::{self, Liminix, Paths, Pseudo};

use crate::common::Folder;

/// First line and help of the error that this image.toml makes.
fn image_error(text: &str) -> String {
    let folder = Folder::new();
    folder.file("base/etc/f", "");
    std::os::unix::fs::symlink("etc", folder.join("base/link")).unwrap();
    folder.shown(&folder.image(text).unwrap_err())
}

fn source_error(kind: SourceKind, text: &str) -> String {
    let folder = Folder::new();
    folder.dir("dir");
    folder.shown(&folder.source(kind, text).unwrap_err())
}

/// Inputs with their errors, as text to be read.
fn report(cases: &[&str], error: impl Fn(&str) -> String) -> String {
    cases
        .iter()
        .map(|text| {
            format!(
                "{}\n => {}\n\n",
                text.escape_debug()
                    .to_string()
                    .replace("\\n", "\n")
                    .replace("\\\"", "\"")
                    .replace("\\\\", "\\"),
                error(text)
            )
        })
        .collect()
}

#[test]
fn image_toml() {
    let cases = [
        "nodes = 5",
        "[node]\n",
        "[[sources]]\ndir = \"x\"",
        "[source]\ndir = \"x\"",
        "x = [",
        "[nodes]\n\"/a\" = { text = \"\" }\n\"/a\" = { text = \"\" }",
        "[nodes]\n\"/a\" = { text = \"\" }\n\"/a/\" = { text = \"\" }",
        "[nodes]\netc = { text = \"\" }",
        "[nodes]\n\"/a/../b\" = { text = \"\" }",
        "[nodes]\n\"/a\" = { text = \"\", mdoe = \"0755\" }",
        "[nodes]\n\"/a\" = { text = \"\", mode = 755 }",
        "[nodes]\n\"/a\" = { text = \"\", mode = \"0888\" }",
        "[nodes]\n\"/a\" = { text = \"\", mode = \"10755\" }",
        "[nodes]\n\"/a\" = { text = \"\", mode = true }",
        "[nodes]\n\"/a\" = { text = \"\", uid = \"root\" }",
        "[nodes]\n\"/a\" = { text = \"\", uid = -1 }",
        "[nodes]\n\"/a\" = { text = \"\", gid = 4294967296 }",
        "[nodes]\n\"/a\" = { text = \"\", mtime = 2024-01-01 }",
        "[nodes]\n\"/a\" = { text = \"\", xattrs = { foo = \"x\" } }",
        "[nodes]\n\"/a\" = { text = \"\", xattrs = { \"user.x\" = { hex = \"1\" } } }",
        "[nodes]\n\"/a\" = { type = \"fife\" }",
        "[nodes]\n\"/a\" = { type = \"file\" }",
        "[nodes]\n\"/a\" = { text = \"\", host = \"x\" }",
        "[nodes]\n\"/a\" = { host = \"missing\" }",
        "[nodes]\n\"/a\" = { host = \"base\" }",
        "[nodes]\n\"/a\" = {}",
        "[nodes]\n\"/a\" = { mode = \"0600\" }",
        "[nodes]\n\"/a\" = { target = \"x\", mode = \"0600\" }",
        "[nodes]\n\"/a\" = { target = \"\" }",
        "[nodes]\n\"/a\" = { type = \"char\", major = 4096, minor = 0 }",
        "[nodes]\n\"/a\" = { type = \"block\", major = 8 }",
        "[nodes]\n\"/a\" = { major = 8, minor = 1 }",
        "[nodes]\n\"/a\" = { type = \"fifo\", text = \"x\" }",
        "[nodes]\n\"/a\" = { type = \"hardlink\", target = \"/b\" }",
        "[nodes]\n\"/a\" = { type = \"hardlink\", target = \"/b\", uid = 5 }",
        "[nodes]\n\"/a\" = { type = \"hardlink\", target = \"/b\" }\n\"/b\" = { type = \"hardlink\", target = \"/a\" }",
        "[nodes]\n\"/a\" = { type = \"hardlink\", target = \"/\" }",
        "[nodes]\n\"/a\" = { text = \"\" }\n\"/a/b\" = { text = \"\" }",
        "[[source]]\ndir = \"base\"\n[nodes]\n\"/etc\" = { text = \"\" }",
        "[[source]]\ndir = \"base\"\n[nodes]\n\"/etc/f\" = { type = \"directory\" }",
        "[[source]]\ndir = \"base\"\n[nodes]\n\"/link/x\" = { text = \"\" }",
        "[nodes]\n\"/\" = { text = \"\" }",
        "[[source]]\ndir = \"missing\"",
        "[[source]]\ndir = \"base/etc/f\"",
        "[[source]]\ndir = \"base\"\npseudo = \"x\"",
        "[[source]]\nat = \"/x\"",
        "[[source]]\npaths = \"x\"\nat = \"/x\"",
        "[[source]]\ndir = \"base\"\nexclude = [\"a[\"]",
        "[[source]]\ndir = \"base\"\none_file_system = true",
        "[[source]]\ndir = \"base\"\nowner = { offset = -5 }\n[[source]]\nremove = [\"/\"]",
        "[[source]]\npseudo = \"base/etc/f\"\n[owner]\noffset = -5\nall-root = true\nuid = 1",
        "[[output]]\nfile = \"x\"",
        "[[output]]\nfile = \"../x\"\nformat = \"squashfs\"",
        "[[output]]\nfile = \"x\"\nformat = \"squashfs\"\n[[output]]\nfile = \"x\"\nformat = \"squashfs\"",
    ];
    insta::assert_snapshot!(report(&cases, image_error));
}

#[test]
fn pseudo_files() {
    let cases = [
        "a",
        "a z 644 0 0",
        "a dd 755 0 0",
        "a b c 600 0 0 5 1",
        "\"a d 755 0 0",
        "a d",
        "a d 899 0 0",
        "a d 12345 0 0",
        "a m u+s 0 0",
        "a d 755 nobody 0",
        "a d 755 0 -1",
        "a d 755 0 0 # comment",
        "a c 600 0 0 4096 1",
        "x d 755 0 0\na b 600 0 0 1118467 112",
        "a c 600 0 0 0x5 1",
        "a i 600 0 0 p",
        "a i 600 0 0",
        "a s 777 0 0",
        "a D \"1 Jan 2020\" 755 0 0",
        "../a d 755 0 0",
        "a x user.b",
        "a x b=c",
        "a x user.b=0xabc",
        "a x user.b=0tq\\8",
        "a x user.b=c",
        "a m 644 0 0",
        "a l missing",
        "a l dir",
        "a f 644 0 0 date",
        "a L b",
        "a L a",
        "a L b\nb L c\nc L b",
        "a L d\nd d 755 0 0",
        "a i 600 0 0 f\nb i 600 0 0 f\n/a i 644 0 0 s",
        "a d 755 0 0\na d 700 0 0",
        "a d 755 0 0\na i 600 0 0 f",
        "a i 600 0 0 f\na/b d 755 0 0",
        "a R 5 644 0 0 3 0 0",
        "a R 5 644 0 0 3 0 0\n# START OF DATA - DO NOT MODIFY\n#\nab",
        "a R 5 644 0 0 3 0\n# START OF DATA - DO NOT MODIFY\n#\nabc",
        "a R 5 644 0 0 3 0 7\n# START OF DATA - DO NOT MODIFY\n#\nabc",
        "/ i 600 0 0 f",
    ];
    insta::assert_snapshot!(report(&cases, |text| source_error(Pseudo, text)));
}

#[test]
fn other_texts() {
    let liminix = [
        "",
        "[]",
        "{\"a\": 5}",
        "{\"a\": {\"type\": \"d\",\n \"contents\": {\"b\": {\"file\": \"x\", \"mode\": \"9\"}}}}",
        "{\"a\": {\"type\": \"q\"}}",
        "{\"a\": {\"type\": \"s\"}}",
        "{\"a\": {\"fiel\": \"x\"}}",
        "{\"a\": {\"file\": 5}}",
        "{\"a\": {\"file\": \"x\", \"file\": \"y\"}}",
        "{\"a\": {\"file\": \"x\"},\n \"a\": {\"file\": \"y\"}}",
        "{\"a/b\": {\"file\": \"x\"}}",
        "{\"..\": {\"file\": \"x\"}}",
        "{\"a\": {\"type\": \"c\", \"major\": \"70000\", \"minor\": \"0\"}}",
        "{\"a\": {\"type\": \"c\", \"major\": \"x\", \"minor\": \"0\"}}",
        "{\"a\": {\"file\": \"x\", \"uid\": -1}}",
        "{\"a\": {\"type\": \"l\", \"target\": \"missing\"}}",
    ];
    let mut all = report(&liminix, |text| source_error(Liminix, text));
    all += &report(&["/nonexistent/path\n", "relative\n", "/a/../b\n"], |text| source_error(Paths, text));
    insta::assert_snapshot!(all);
}
