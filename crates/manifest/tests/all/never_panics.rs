//! Whatever the text, the parsers answer.

use std::collections::BTreeMap;

use flashwright_manifest::{
    Error, parse_device_table, parse_init_list, parse_liminix, parse_pack_file, parse_paths, parse_pseudo,
    parse_toml, read_tar,
};
use proptest::prelude::*;

/// The error as a program shows it, with the text around it.
fn rendered(error: Error) -> String {
    let mut shown = format!("{error:?}");
    miette::NarratableReportHandler::new().render_report(&mut shown, &error).unwrap();
    assert!(!shown.contains("Failed to read contents"), "{shown}");
    shown
}

/// Fragments that the grammars are made of, so that random texts get past the first byte.
fn pseudo_text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-z/\"\\\\# .]{1,6}",
        prop::sample::select(vec![
            " ",
            "\n",
            "\\\n",
            "\\",
            "\"",
            " d 755 0 0",
            " R 0 644 0 0 5 0 1",
            " s 777 0 0 t",
            " x user.a=0x1",
            " x user.b=0t\\1",
            " c 600 0 0 1 99999999",
            "\n# START OF DATA - DO NOT MODIFY\n#\n",
            " D \"2024-01-01\" 755 0 0",
            "\r",
            "\t",
            "\u{e9}",
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat().into_bytes())
}

/// Fragments of device tables, pack files and init lists.
fn list_text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-z/\"'\\\\# .${}*-]{1,6}",
        prop::sample::select(vec![
            " ",
            "\n",
            "file /a 644 0 0",
            "dir ",
            "nod /d 600 0 0 c 5 1",
            "glob /x * * *",
            " -name ",
            " -type f",
            " -path \"*\"",
            " -- ",
            "slink /s 777 0 0 t",
            "slink /s t 777 0 0",
            "link /l 0 0 0 /a",
            "/dev/x c 600 0 0 ",
            "5 1 0 1 9",
            " 4294967295",
            "18446744073709551615 ",
            " r -1 0 0",
            " - - -",
            "${",
            "}",
            "\t",
            "\r",
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat().into_bytes())
}

/// An archive with one of each kind of header, to be damaged.
fn archive() -> Vec<u8> {
    let v1: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    crate::tarball::Tarball::default()
        .bare(b'5', "./d/", |h| h)
        .pax(b'g', &[("uid", b"5")])
        .pax(b'x', &[("path", b"d/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("f", b"data")
        .entry(b'L', "././@LongLink", b"d/name\0", |h| h)
        .bare(b'1', "x", |h| h.link("d/long"))
        .entry(b'S', "s", b"12", |h| h.put(386, b"000\0........2\0").put(386, &[b'0'; 12]).put(483, b"7"))
        .pax(b'x', &v1)
        .entry(b'0', "v1", b"1\n3\n2\n", |h| h)
        .bare(b'2', "y", |h| h.link("t"))
        .bare(b'3', "z", |h| h.device(1, 2))
        .done()
}

fn toml_text() -> impl Strategy<Value = String> {
    let keys = [
        "type", "mode", "uid", "mtime", "xattrs", "target", "text", "hex", "host", "major", "minor", "at",
        "dir", "file", "format", "owner", "time", "exclude", "xattrs",
    ];
    let values = [
        "1",
        "-1",
        "0o755",
        "755",
        "\"0755\"",
        "\"x\"",
        "{}",
        "[]",
        "[\"**\"]",
        "true",
        "1.5",
        "1979-05-27",
        "9999-12-31T23:59:59-23:59",
        "\"\"",
        "9223372036854775807",
        "{ set = 5 }",
    ];
    let heads = [
        "[nodes.\"/a\"]",
        "[nodes.\"/a/../b\"]",
        "[[source]]",
        "[[output]]",
        "[owner]",
        "[nodes]",
        "[time]",
        "[[nodes]]",
        "remove = 1",
        "[unknown]",
    ];
    let line = prop_oneof![
        prop::sample::select(heads.to_vec()).prop_map(String::from),
        (prop::sample::select(keys.to_vec()), prop::sample::select(values.to_vec()))
            .prop_map(|(k, v)| format!("{k} = {v}")),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn json_text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{",
        "}",
        "[",
        ",",
        ":",
        "\"type\"",
        "\"d\"",
        "\"f\"",
        "\"contents\"",
        "\"file\"",
        "\"major\"",
        "\"..\"",
        "5",
        "null",
        "\"c\"",
        "\"\\u0000\"",
        " ",
        "\"a\":{\"type\":\"d\",\"contents\":{",
        "}}",
    ]);
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pseudo_files(text in pseudo_text()) {
        let _ = parse_pseudo(&text).map_err(rendered);
        let _ = parse_paths(&text).map_err(rendered);
    }

    #[test]
    fn arbitrary_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_pseudo(&text).map_err(rendered);
        let _ = parse_paths(&text).map_err(rendered);
        let _ = parse_liminix(&text).map_err(rendered);
        let _ = parse_device_table(&text).map_err(rendered);
        let _ = parse_pack_file(&text).map_err(rendered);
        let _ = parse_init_list(&text, &BTreeMap::new()).map_err(rendered);
        let _ = parse_toml(&String::from_utf8_lossy(&text)).map_err(rendered);
    }

    #[test]
    fn lists(text in list_text()) {
        let _ = parse_device_table(&text).map_err(rendered);
        let _ = parse_pack_file(&text).map_err(rendered);
        let variables = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let _ = parse_init_list(&text, &variables).map_err(rendered);
    }

    #[test]
    fn archives_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read_tar(bytes).map_err(rendered);
    }

    /// Bytes changed with the checksums made right again, and the end cut off.
    #[test]
    fn damaged_archives(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = archive();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let header = at / 512 * 512;
            let block = crate::tarball::Header([0; 512]).put(0, &bytes[header..header + 512]);
            bytes[header..header + 512].copy_from_slice(&block.finished());
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(loaded) = read_tar(bytes).map_err(rendered) {
            for entry in loaded.tree.walk() {
                let content = entry.node.into_content().filter(|content| content.len() < 1 << 20);
                prop_assert!(content.is_none_or(|content| content.to_vec().is_ok()));
            }
        }
    }

    #[test]
    fn toml(text in toml_text()) {
        let _ = parse_toml(&text).map_err(rendered);
    }

    #[test]
    fn json(text in json_text()) {
        let _ = parse_liminix(text.as_bytes()).map_err(rendered);
    }
}

#[test]
fn depth_of_nesting_is_bounded() {
    let deep = |open: &str, close: &str, n: usize| open.repeat(n) + &close.repeat(n);
    assert!(parse_liminix(deep("{\"a\":{\"type\":\"d\",\"contents\":", "}}", 100_000).as_bytes()).is_err());
    assert!(parse_liminix(deep("[", "]", 1_000_000).as_bytes()).is_err());
    let nested = |n: usize| deep("{\"a\":{\"type\":\"d\",\"contents\":", "}}", n).replace("\":}", "\":{}}");
    assert_eq!(parse_liminix(nested(200).as_bytes()).unwrap().len(), 200);
    let error = parse_liminix(nested(5000).as_bytes()).unwrap_err();
    assert!(error.message().contains("more than 256 levels"), "{error}");
    assert!(parse_toml(&format!("x = {}", deep("[", "]", 100_000))).is_err());
}
