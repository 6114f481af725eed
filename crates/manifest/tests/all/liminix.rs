//! The JSON tree of Liminix.

use flashwright_manifest::SourceKind::Liminix;

use crate::common::{Folder, listing};

fn tree_of(text: &str) -> String {
    let folder = Folder::new();
    folder.file("host", "h");
    folder.mode("host", 0o600);
    let text = text.replace("HOST", folder.join("host").to_str().unwrap());
    let loaded = folder.source(Liminix, text).unwrap_or_else(|e| panic!("{}", folder.shown(&e)));
    listing(&loaded.tree).lines().skip(1).map(|line| line.to_owned() + "\n").collect()
}

const SAMPLE: &str = r#"{
  "bin": { "type": "d", "contents": {
      "sh": { "type": "s", "target": "/nix/store/abc-busybox/bin/sh" },
      "init": { "type": "l", "target": "HOST" } } },
  "dev": { "type": "d", "contents": {
      "null": { "type": "c", "major": "1", "minor": "3", "mode": "0666" },
      "sda": { "type": "b", "major": "8", "minor": "0", "mode": "0600", "uid": 0, "gid": 6 },
      "log": { "type": "i", "subtype": "s" },
      "pts": { "type": "d", "contents": {}, "mode": "0755" },
      "initctl": { "type": "i", "mode": "0600" } } },
  "etc": { "type": "d", "mode": "0711", "contents": {
      "hostname": { "file": "a=\"$x\"\n" },
      "shadow": { "type": "f", "mode": "0400", "file": "", "target": null } } }
}"#;

#[test]
fn every_type_of_node() {
    let list = tree_of(SAMPLE);
    let (init, rest): (Vec<_>, Vec<_>) = list.lines().partition(|line| line.starts_with("/bin/init "));
    assert!(init[0].starts_with("/bin/init - 0600 ") && init[0].ends_with(" @1000 \"h\""), "{init:?}");
    let expected = [
        "/bin d 0755 0:0 @0",
        "/bin/sh l 0777 0:0 @0 -> /nix/store/abc-busybox/bin/sh",
        "/dev d 0755 0:0 @0",
        "/dev/initctl p 0600 0:0 @0",
        "/dev/log s 0644 0:0 @0",
        "/dev/null c 0666 0:0 @0 1:3",
        "/dev/pts d 0755 0:0 @0",
        "/dev/sda b 0600 0:6 @0 8:0",
        "/etc d 0711 0:0 @0",
        r#"/etc/hostname - 0644 0:0 @0 "a=\"$x\"\n""#,
        r#"/etc/shadow - 0400 0:0 @0 """#,
    ];
    assert_eq!(rest, expected);
}

#[test]
fn the_node_of_the_root_is_taken_for_its_contents() {
    let contents = r#"{"type": {"file": "odd name"}, "a": {"type": "d", "contents": {}}}"#;
    let expected = "/a d 0755 0:0 @0\n/type - 0644 0:0 @0 \"odd name\"\n";
    assert_eq!(tree_of(contents), expected);
    assert_eq!(tree_of(&format!(r#"{{"type": "d", "contents": {contents}}}"#)), expected);
}
