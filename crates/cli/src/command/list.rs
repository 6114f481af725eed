//! `list`: the names in an image, and with `-l` what they name.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use flashwright_tree::{Kind, Metadata, Node, NodeKind, Timestamp, WalkEntry, display_path};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::args::ListArgs;
use crate::command::ubi;
use crate::console::Console;
use crate::failure::Failure;
use crate::formats::{Image, Salvaged};

/// Bytes that are collected before they are written.
const BUFFER: usize = 64 * 1024;

pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    if let Some(volumes) = ubi::open(&args.image)? {
        return ubi::list(args, &volumes);
    }
    let image = Image::open(&args.image.image, &args.known)?;
    let Salvaged { tree, findings, missing } = (image.format.read)(&image, &args.read)?;
    Console::plain(false, args.image.json).missing(&args.image.image, &missing);
    Console::plain(false, args.image.json).findings(&findings);
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let names = tree.name_counts();
    let mut lines = tree.walk();
    let result = if args.image.json {
        let nodes: Vec<Value> = lines.map(|entry| object(&entry, names[entry.id.index()])).collect();
        let list = json!({ "format": image.format.name, "nodes": nodes, "missing": missing });
        writeln!(stdout, "{list:#}")
    } else {
        lines.try_for_each(|entry| {
            let path = display_path(&entry.path);
            if args.long {
                writeln!(stdout, "{} {path}{}", columns(&entry), arrow(&entry.node))
            } else {
                writeln!(stdout, "{path}")
            }
        })
    };
    result.and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// Mode, owner, size or device number, time: as `tar tv` has them, always numeric, always UTC.
fn columns(entry: &WalkEntry) -> String {
    let Metadata { uid, gid, mtime, .. } = entry.node.metadata;
    let owner = format!("{uid}/{gid}");
    format!("{} {owner:>11} {:>12} {}", mode_letters(&entry.node), size(&entry.node), show_time(mtime))
}

fn size(node: &Node) -> String {
    match &node.kind {
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            format!("{},{}", device.major, device.minor)
        }
        NodeKind::File(content) => content.len().to_string(),
        NodeKind::Symlink(target) => target.len().to_string(),
        _ => "0".into(),
    }
}

fn arrow(node: &Node) -> String {
    match &node.kind {
        NodeKind::Symlink(target) => format!(" -> {}", show_target(target)),
        _ => String::new(),
    }
}

/// A target as it is, made fit for a terminal as paths are.
fn show_target(target: &[u8]) -> String {
    let shown = display_path(target).to_string();
    // A path of the image gets its leading slash; a relative target has none.
    if target.starts_with(b"/") { shown } else { shown.trim_start_matches('/').to_owned() }
}

/// The ten letters of `ls -l`.
fn mode_letters(node: &Node) -> String {
    let bits = node.metadata.permissions;
    let mut letters = String::from(node.kind().letter());
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let of = bits >> shift;
        letters.push(if of & 4 != 0 { 'r' } else { '-' });
        letters.push(if of & 2 != 0 { 'w' } else { '-' });
        letters.push(match (bits & special != 0, of & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    letters
}

/// A time in UTC; the bare seconds for years that no calendar here shows.
pub(crate) fn show_time(mtime: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let time = OffsetDateTime::from_unix_timestamp(mtime.seconds).ok();
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| format!("@{}", mtime.seconds))
}

fn object(entry: &WalkEntry, nlink: u32) -> Value {
    let Node { metadata, kind } = &entry.node;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("path", display_path(&entry.path).to_string().into());
    put("type", entry.node.kind().name().into());
    put("mode", format!("{:04o}", metadata.permissions).into());
    put("uid", metadata.uid.into());
    put("gid", metadata.gid.into());
    put("mtime", metadata.mtime.seconds.into());
    match kind {
        NodeKind::File(content) => put("size", content.len().into()),
        NodeKind::Symlink(target) => put("target", show_target(target).into()),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            put("major", device.major.into());
            put("minor", device.minor.into());
        }
        _ => {}
    }
    if entry.node.kind() != Kind::Directory {
        put("names", nlink.into());
        put("inode", entry.id.index().into());
    }
    if !metadata.xattrs.is_empty() {
        let xattrs = metadata
            .xattrs
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), hex(value)));
        put(
            "xattrs_hex",
            xattrs.map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into(),
        );
    }
    object.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_ls_shows_them() {
        let cases = [
            (0o755, "drwxr-xr-x"),
            (0o1777, "drwxrwxrwt"),
            (0o6750, "drwsr-s---"),
            (0o7000, "d--S--S--T"),
            (0, "d---------"),
        ];
        for (bits, letters) in cases {
            assert_eq!(mode_letters(&Node::directory(bits)), letters);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(show_time(Timestamp::from_seconds(0)), "1970-01-01 00:00:00");
        assert_eq!(show_time(Timestamp::from_seconds(1_709_209_815)), "2024-02-29 12:30:15");
        assert_eq!(show_time(Timestamp::from_seconds(i64::MAX)), format!("@{}", i64::MAX));
    }

    #[test]
    fn targets_keep_their_form_and_forge_nothing() {
        let cases: [(&[u8], &str); 4] =
            [(b"../x", "../x"), (b"/bin/sh", "/bin/sh"), (b"a\nb", "a\\nb"), (b"//x", "//x")];
        for (target, shown) in cases {
            assert_eq!(show_target(target), shown);
        }
    }
}
