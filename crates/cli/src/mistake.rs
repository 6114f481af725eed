//! Command lines that make no sense: what clap says of them, and what was probably meant.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::WRITABLE;

/// Words of other programs for what is here a format of `pack`.
const FORMATS: [(&str, &str); 12] = [
    ("squashfs", "squashfs"),
    ("mksquashfs", "squashfs"),
    ("sqfs", "squashfs"),
    ("jffs2", "jffs2"),
    ("mkfs.jffs2", "jffs2"),
    ("ubifs", "ubifs"),
    ("mkfs.ubifs", "ubifs"),
    ("cpio", "cpio"),
    ("initramfs", "cpio"),
    ("newc", "cpio"),
    ("ubi", "ubi"),
    ("ubinize", "ubi"),
];

/// Prints what clap found, which may be the help that was asked for.
pub(crate) fn report(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let meant = meant(error, &arguments);
    if arguments.iter().any(|argument| argument == "--json") {
        let failure = Failure::new(Exit::Usage, message(error));
        let failure = match meant {
            Some(meant) => failure.help(meant),
            None => failure.help("see flashwright help"),
        };
        failure.report(true);
        return Exit::Usage;
    }
    let _ = error.print();
    if let Some(meant) = meant {
        let _ = writeln!(std::io::stderr(), "\n  help: {meant}");
    }
    Exit::Usage
}

/// clap's text without usage and colours: its first paragraph in one line.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

/// What was probably meant, where clap has no better idea.
fn meant(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
                return None;
            };
            for_word(word, arguments.first().is_some_and(|first| first == "pack"))
        }
        ErrorKind::UnknownArgument if arguments.first().is_some_and(|first| first == "pack") => {
            let in_order = arguments.get(1).is_some_and(|second| !second.to_string_lossy().starts_with('-'));
            (!in_order).then(|| "the format comes first: flashwright pack squashfs SOURCE… -o FILE".into())
        }
        ErrorKind::MissingRequiredArgument if arguments.first().is_some_and(|first| first == "pack") => {
            let format = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
            Some(format!("for example: flashwright pack {}", example(format)))
        }
        _ => None,
    }
}

/// What follows `pack` for that format, with all that it cannot do without.
fn example(format: &str) -> &'static str {
    match format {
        "jffs2" => "jffs2 rootfs/ -o root.jffs2 --endian big --eraseblock 64K",
        "ubifs" => "ubifs rootfs/ -o root.ubifs --min-io 2048 --leb 126976 --max-lebs 2048",
        "cpio" => "cpio rootfs/ -o initramfs.cpio",
        _ => "squashfs rootfs/ -o root.squashfs",
    }
}

fn for_word(word: &str, after_pack: bool) -> Option<String> {
    if let Some((_, format)) = FORMATS.iter().find(|(known, _)| *known == word) {
        return Some(format!("flashwright pack {format} SOURCE… -o FILE"));
    }
    let path = Path::new(word);
    if after_pack && (path.exists() || word.contains(['/', ':', '.'])) {
        return Some(format!("the format comes first: flashwright pack squashfs {word} … -o FILE"));
    }
    if after_pack {
        return Some(format!("formats: {}", WRITABLE.join(", ")));
    }
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Some(format!("flashwright build {word}"));
    }
    if path.is_dir() {
        return Some(format!("flashwright pack squashfs {word} -o FILE"));
    }
    path.is_file().then(|| format!("flashwright list {word}, or extract, check, info"))
}
