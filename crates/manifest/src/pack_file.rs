//! Pack files of gensquashfs (squashfs-tools-ng).
//!
//! ```text
//! file "/opt/my app/data" 0600 0 0 data/app.bin      further: dir, nod, slink, link, pipe, sock
//! glob /usr/lib 0644 0 0 -type f -name "*.so.*" ./lib
//! ```
//!
//! Source of fact: gensquashfs(1) of squashfs-tools-ng 1.3.2, and the program run on pack files. A target or host path
//! is the rest of the line and knows no quotes. Paths of the host start at the folder of the pack file, unless the
//! source says otherwise.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use flashwright_tree::Kind;

use crate::declaration::{Action, Data, Declaration, Glob, Meta};
use crate::fields::{Bad, Fields, each_line, shown};
use crate::init_list::{device, host_path, mode_and_owner, unknown_keyword, with_form};
use crate::value::{self, BadValue};
use crate::{Document, Error};

/// Every keyword with what follows it, for messages.
const FORMS: [(&str, &str); 8] = [
    ("file", "file path mode uid gid [host-file]"),
    ("dir", "dir path mode uid gid"),
    ("nod", "nod path mode uid gid b|c major minor"),
    ("slink", "slink path mode uid gid target"),
    ("link", "link path 0 0 0 target"),
    ("pipe", "pipe path mode uid gid"),
    ("sock", "sock path mode uid gid"),
    ("glob", "glob path mode|* uid|* gid|* [options] host-directory"),
];

/// Options of `glob`, for messages.
const OPTIONS: [&str; 7] = ["-type", "-xdev", "-mount", "-keeptime", "-nonrecursive", "-name", "-path"];

/// Reads a pack file.
///
/// # Errors
/// The first line that is none.
pub(crate) fn parse(text: &[u8], document: &Arc<Document>) -> Result<Vec<Declaration>, Error> {
    each_line(text, document, line)
}

fn line(fields: &mut Fields<'_>) -> Result<Declaration, Bad> {
    let (keyword, span) = fields.word("the type")?;
    let keyword = shown(keyword);
    let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == keyword) else {
        return Err((unknown_keyword(&keyword, &FORMS.map(|(known, _)| known)), span));
    };
    entry(fields, &keyword).map_err(|(bad, span)| (with_form(bad, form), span))
}

fn entry(fields: &mut Fields<'_>, keyword: &str) -> Result<Declaration, Bad> {
    let (path, span) = fields.quoted("the path", b"\"")?;
    let path = value::contained_path(&path).map_err(|bad| (bad, span))?;
    let mut meta = match keyword {
        "glob" => glob_meta(fields)?,
        "link" => ignored(fields)?,
        _ => mode_and_owner(fields)?,
    };
    let action = match keyword {
        "file" => file(fields, &path)?,
        "dir" => Action::Directory,
        "nod" => device(fields)?,
        "slink" => {
            // Linux knows no mode of symlinks.
            meta.permissions = None;
            let (target, span) = rest(fields, "the target")?;
            Action::Symlink(value::target(target).map_err(|bad| (bad, span))?)
        }
        "link" => {
            let (target, span) = rest(fields, "the target")?;
            Action::HardLink(value::contained_path(target).map_err(|bad| (bad, span))?)
        }
        "pipe" => Action::Fifo,
        "sock" => Action::Socket,
        _ => Action::Glob(Box::new(glob(fields)?)),
    };
    fields.end()?;
    Ok(Declaration { path, span: fields.line_span(), action, meta })
}

fn rest<'l>(fields: &mut Fields<'l>, what: &str) -> Result<(&'l [u8], Range<usize>), Bad> {
    let missing = (BadValue::new(format!("{what} is missing")), fields.line_span());
    fields.rest_trimmed().ok_or(missing)
}

fn file(fields: &mut Fields<'_>, path: &[u8]) -> Result<Action, Bad> {
    let (location, span) = fields.rest_trimmed().unwrap_or_else(|| (path, fields.line_span()));
    host_path(location).map(|host| Action::File(Data::Host(host))).map_err(|bad| (bad, span))
}

/// Three fields that mean nothing.
fn ignored(fields: &mut Fields<'_>) -> Result<Meta, Bad> {
    ["the mode", "uid", "gid"].iter().try_for_each(|what| fields.word(what).map(drop))?;
    Ok(Meta::default())
}

fn glob_meta(fields: &mut Fields<'_>) -> Result<Meta, Bad> {
    let permissions = if fields.skip_star() { None } else { Some(fields.mode()?) };
    let uid = if fields.skip_star() { None } else { Some(fields.owner("uid")?) };
    let gid = if fields.skip_star() { None } else { Some(fields.owner("gid")?) };
    Ok(Meta { permissions, uid, gid, ..Meta::default() })
}

fn glob(fields: &mut Fields<'_>) -> Result<Glob, Bad> {
    let mut glob = Glob::default();
    while fields.next_begins_with(b'-') {
        let (option, span) = fields.word("an option")?;
        match option {
            b"--" => break,
            b"-type" => glob.kinds.push(kind(fields)?),
            b"-xdev" | b"-mount" => glob.one_file_system = true,
            b"-keeptime" => glob.keep_time = true,
            b"-nonrecursive" => glob.flat = true,
            b"-name" => pattern(fields, &mut glob.name, &span)?,
            b"-path" => pattern(fields, &mut glob.path, &span)?,
            _ => return Err((unknown_option(option), span)),
        }
    }
    let (host, span) = rest(fields, "the directory of the host")?;
    glob.host = host_path(host).map_err(|bad| (bad, span))?;
    Ok(glob)
}

fn unknown_option(option: &[u8]) -> BadValue {
    let option = shown(option);
    let bad = BadValue::new(format!("unknown option {option:?}"));
    match value::closest(&option, &OPTIONS) {
        Some(meant) => bad.with_help(format!("did you mean {meant}?")),
        None => bad
            .with_help(format!("options are {}, and -- before a path that begins with -", OPTIONS.join(" "))),
    }
}

fn kind(fields: &mut Fields<'_>) -> Result<Kind, Bad> {
    let (letter, span) = fields.word("the kind after -type")?;
    Ok(match letter {
        b"b" => Kind::BlockDevice,
        b"c" => Kind::CharDevice,
        b"d" => Kind::Directory,
        b"p" => Kind::Fifo,
        b"f" => Kind::File,
        b"l" => Kind::Symlink,
        b"s" => Kind::Socket,
        _ => {
            let bad = BadValue::new(format!("unknown kind {:?} after -type", shown(letter)));
            return Err((bad.with_help("one of b c d p f l s"), span));
        }
    })
}

fn pattern(fields: &mut Fields<'_>, pattern: &mut Option<Vec<u8>>, option: &Range<usize>) -> Result<(), Bad> {
    let (text, span) = fields.quoted("the pattern", b"\"'")?;
    crate::pack_glob::compile(&text).map_err(|bad| (bad, span))?;
    if pattern.replace(text).is_some() {
        let bad = BadValue::new("a pattern of this kind is given twice");
        return Err((bad.with_help("write two globs, or one pattern that matches both"), option.clone()));
    }
    Ok(())
}
