//! Whatever the text, the parsers answer.

use flashwright_manifest::{Error, parse_liminix, parse_paths, parse_pseudo, parse_toml};
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
        let _ = parse_toml(&String::from_utf8_lossy(&text)).map_err(rendered);
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
