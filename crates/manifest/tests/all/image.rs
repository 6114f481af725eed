//! `image.toml`: nodes, sources in order, policies, outputs.

use std::collections::BTreeMap;

use flashwright_manifest::{Policy, Severity, SourceKind, SourceSpec, build, parse_toml};
use serde::Deserialize;

use crate::common::{Folder, listing, options, policy};

fn tree_of(folder: &Folder, text: &str) -> String {
    let image = folder.image(text).unwrap_or_else(|e| panic!("{}", folder.shown(&e)));
    listing(&image.tree).lines().skip(1).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn every_type_of_node() {
    let folder = Folder::new();
    folder.file("files/init", "#!");
    folder.mode("files/init", 0o750);
    let list = tree_of(
        &folder,
        r#"
[nodes]
"/etc/hostname" = { text = "router\n" }
"/etc/key" = { hex = "6b 65\n79 0A", mode = "0400" }
"/etc/b64" = { base64 = "aGk=", mode = 0o640, uid = 3, gid = 4, mtime = 1970-01-01T00:00:09Z }
"/init" = { host = "files/init", mode = "host" }
"/init2" = { host = "files/init", mode = "4755", mtime = 5 }
"/bin/sh" = { target = "busybox", mtime = 8 }
"/init3" = { type = "hardlink", target = "/init" }
"/dev/console" = { type = "char", major = 5, minor = 1, mode = "0600" }
"/dev/sda" = { type = "block", major = 8, minor = 0 }
"/tmp" = { type = "directory", mode = "1777" }
"/run/p" = { type = "fifo" }
"/run/s" = { type = "socket", xattrs = { "user.a" = "text", "user.b" = { hex = "6162" }, "user.c" = { base64 = "aGk=" } } }
"/" = { type = "directory", mode = "0711" }
"/empty" = { type = "file", text = "" }
"#,
    );
    let expected = "\
/bin d 0755 0:0 @0
/bin/sh l 0777 0:0 @8 -> busybox
/dev d 0755 0:0 @0
/dev/console c 0600 0:0 @0 5:1
/dev/sda b 0644 0:0 @0 8:0
/empty - 0644 0:0 @0 \"\"
/etc d 0755 0:0 @0
/etc/b64 - 0640 3:4 @9 \"hi\"
/etc/hostname - 0644 0:0 @0 \"router\\n\"
/etc/key - 0400 0:0 @0 \"key\\n\"
/init - 0750 0:0 @0 \"#!\"
/init2 - 4755 0:0 @5 \"#!\"
/init3 - 0750 0:0 @0 (again)
/run d 0755 0:0 @0
/run/p p 0644 0:0 @0
/run/s s 0644 0:0 @0 user.a=\"text\" user.b=\"ab\" user.c=\"hi\"
/tmp d 1777 0:0 @0
";
    assert_eq!(list, expected);
}

#[test]
fn source_date_epoch_is_the_time_of_what_states_none() {
    let folder = Folder::new();
    let image =
        folder.image_with("[nodes]\n\"/a/b\" = { text = \"\" }", |o| o.source_date_epoch = Some(77)).unwrap();
    assert_eq!(listing(&image.tree), "/ d 0755 0:0 @77\n/a d 0755 0:0 @77\n/a/b - 0644 0:0 @77 \"\"\n");
}

fn two_sources() -> Folder {
    let folder = Folder::new();
    folder.file("base/etc/motd", "base");
    folder.file("base/etc/doc/x", "x");
    folder.file("base/lib/a.la", "");
    folder.file("overlay/etc/motd", "overlay");
    folder.file("overlay/etc/new", "new");
    folder.mode("overlay/etc", 0o700);
    for path in ["base", "base/etc", "base/etc/doc", "base/lib", "overlay", "overlay/etc"] {
        crate::common::set_time(&folder.join(path), 50);
    }
    folder
}

#[test]
fn later_sources_win_and_say_so() {
    let folder = two_sources();
    let image = folder
        .image(
            r#"
remove = ["*.la"]
[owner]
all-root = true
[[source]]
dir = "base"
[[source]]
dir = "overlay"
[nodes]
"/etc/new" = { text = "mine" }
"/etc/motd" = { uid = 5 }
"/etc/doc" = { type = "directory", mode = "0500" }
"#,
        )
        .unwrap();
    let expected = "/ d 0755 0:0 @50\n/etc d 0700 0:0 @50\n/etc/doc d 0500 0:0 @50\n/etc/doc/x - 0644 0:0 @1000 \"x\"\n\
                    /etc/motd - 0644 5:0 @1000 \"overlay\"\n/etc/new - 0644 0:0 @0 \"mine\"\n/lib d 0755 0:0 @50\n";
    assert_eq!(listing(&image.tree), expected);
    let root = format!("{}/", folder.path().display());
    let notes: Vec<_> = image.notes.iter().map(|note| note.to_string().replace(&root, "")).collect();
    assert_eq!(
        notes,
        [
            "overlay: /etc/motd: replaces the file from base",
            "image.toml:10:1: /etc/new: replaces the file from overlay"
        ]
    );
    assert!(image.notes.iter().all(|note| note.severity == Severity::Info));
}

#[test]
fn each_source_has_its_own_policy_and_place() {
    let folder = two_sources();
    folder.file("devices", "console c 600 0 0 5 1\n");
    folder.file("tree.json", r#"{"x": {"file": "y"}}"#);
    let list = tree_of(
        &folder,
        r#"
[[source]]
dir = "base"
at = "/opt"
exclude = ["/opt/etc", "*.la"]
owner = { uid = 7, gid = 8 }
time = { set = 3 }
mode = { directory-set = "0020" }
[[source]]
pseudo = "devices"
at = "/dev"
owner = { map-uid = { 0 = 4 }, offset = 10 }
[[source]]
liminix = "tree.json"
time = { set = 1970-01-01T00:00:05+00:00, clamp = 4 }
mode = { file-clear = 0o044 }
"#,
    );
    let expected = "/dev d 0755 4:10 @0\n/dev/console c 0600 4:10 @0 5:1\n/opt d 0775 7:8 @3\n/opt/lib d 0775 7:8 @3\n/x - 0600 0:0 @4 \"y\"\n";
    assert_eq!(list, expected);
}

#[test]
fn paths_come_in_where_they_are_on_the_host() {
    let folder = Folder::new();
    let file = folder.file("store/a/bin/x", "x");
    folder.file("store/b", "not listed");
    let list_file = folder.file("paths", format!("{}\n", folder.join("store/a").display()));
    let text = format!("[owner]\nall-root = true\n[[source]]\npaths = {list_file:?}\n");
    let list = tree_of(&folder, &text);
    assert!(list.contains(&format!("{} - 0644 0:0 @1000 \"x\"\n", file.display())), "{list}");
    assert!(!list.contains("/store/b "), "{list}");
}

#[test]
fn remove_makes_room_between_sources() {
    let folder = Folder::new();
    folder.file("base/lib/x", "");
    folder.dir("overlay");
    std::os::unix::fs::symlink("usr/lib", folder.join("overlay/lib")).unwrap();
    let text = "[[source]]\ndir = \"base\"\n[[source]]\ndir = \"overlay\"\n";
    let error = folder.image(text).unwrap_err();
    assert_eq!(
        folder.shown(&error),
        "Invalid (exit 4): overlay: /lib: a directory and a symlink at one path\n  \
         also: base: the directory comes from here\n  \
         help: take one of them out, or put remove = [\"/lib\"] before the second"
    );
    let list = tree_of(&folder, &format!("{text}remove = [\"/lib\"]\n"));
    assert!(list.contains("/lib l ") && !list.contains("/lib/x"), "{list}");
    let image = folder.image("remove = [\"/nothing\"]").unwrap();
    assert_eq!(image.notes[0].severity, Severity::Warning);
    assert!(image.notes[0].to_string().ends_with("image.toml:1:11: remove \"/nothing\" matches nothing"));
}

#[test]
fn an_image_can_include_another_but_not_itself() {
    let folder = two_sources();
    folder.file(
        "sub/base.toml",
        "[[source]]\ndir = \"../base\"\nexclude = [\"*.la\"]\n[nodes]\n\"/n\" = { text = \"n\" }\n",
    );
    let list = tree_of(
        &folder,
        "[owner]\nall-root = true\n[[source]]\nimage = \"sub/base.toml\"\n[nodes]\n\"/m\" = { host = \"base/etc/motd\" }\n",
    );
    assert!(
        list.contains("/etc/motd - 0644 0:0 @1000 \"base\"\n")
            && list.contains("/n - ")
            && list.contains("/m - "),
        "{list}"
    );
    let error = folder.image("[[source]]\nimage = \"image.toml\"\n").unwrap_err();
    assert!(
        folder.shown(&error).starts_with("Invalid (exit 4): image.toml:1:1: image.toml includes itself"),
        "{}",
        folder.shown(&error)
    );
}

#[test]
fn the_policy_of_the_caller_reaches_declared_nodes_too() {
    let folder = Folder::new();
    let file = folder.file("x.toml", "[nodes]\n\"/a\" = { text = \"\", uid = 5 }\n");
    let sources = [SourceSpec::new(SourceKind::Image, file)];
    let policy = policy(|p: &mut Policy| {
        p.map_uid = BTreeMap::from([(5, 6)]);
        p.exclude = vec!["/b".into()];
    });
    let loaded = build(&sources, &policy, &options(|_| ())).unwrap();
    assert!(listing(&loaded.tree).ends_with("/a - 0644 6:0 @0 \"\"\n"));
}

#[test]
fn a_program_that_loses_its_x_bits_gets_a_warning() {
    let folder = Folder::new();
    folder.file("init", "");
    folder.mode("init", 0o755);
    let image = folder.image("[nodes]\n\"/init\" = { host = \"init\" }").unwrap();
    let note = &image.notes[0];
    assert_eq!(note.severity, Severity::Warning);
    assert_eq!(note.message, "/init: mode 0644, though the host file has 0755; mode = \"host\" keeps that");
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    compression: String,
    block_size: Option<u32>,
    #[serde(default)]
    pad: bool,
}

const OUTPUTS: &str = r#"
[[output]]
file = "root.squashfs"
format = "squashfs"
compression = "xz"
block-size = 131072
[[output]]
name = "second"
file = "b/root.sqfs"
format = "sqashfs"
compresion = "xz"
[[output]]
file = "c"
format = "squashfs"
compression = 5
"#;

#[test]
fn outputs_keep_their_own_keys_for_the_format() {
    let (_, outputs) = parse_toml(OUTPUTS).unwrap();
    assert_eq!((outputs[0].name.as_str(), outputs[1].name.as_str()), ("root.squashfs", "second"));
    assert_eq!(outputs[0].keys().collect::<Vec<_>>(), ["block-size", "compression"]);
    let settings: Settings = outputs[0].settings().unwrap();
    assert_eq!(settings, Settings { compression: "xz".into(), block_size: Some(131_072), pad: false });
    let shown = |error: flashwright_manifest::Error| format!("{error:?}");
    assert_eq!(
        shown(outputs[1].settings::<Settings>().unwrap_err()),
        "Invalid (exit 4): image.toml:11:1: output \"second\": unknown key \"compresion\"\n  help: did you mean \"compression\"?"
    );
    assert_eq!(
        shown(outputs[1].unknown_format(&["squashfs", "jffs2"])),
        "Invalid (exit 4): image.toml:10:10: unknown format \"sqashfs\"\n  help: did you mean \"squashfs\"?"
    );
    let wrong = shown(outputs[2].settings::<Settings>().unwrap_err());
    assert!(
        wrong.starts_with("Invalid (exit 4): image.toml:15:15: output \"c\": invalid type: integer `5`"),
        "{wrong}"
    );
    assert_eq!(
        shown(outputs[0].error("block-size", "block-size 131072 is odd", "take another")),
        "Invalid (exit 4): image.toml:6:14: block-size 131072 is odd\n  help: take another"
    );
}

#[test]
fn the_examples_of_the_guide_are_right() {
    let guide = include_str!("../../../../docs/IMAGE_TOML.md");
    let examples: Vec<_> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        parse_toml(example).unwrap_or_else(|e| panic!("{e:?} in\n{example}"));
    }
}
