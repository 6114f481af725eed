//! Lists as `gen_init_cpio` of the Linux kernel reads them.
//!
//! ```text
//! file <name> <file of the host> <mode> <uid> <gid> [<further names>]
//! dir <name> <mode> <uid> <gid>                     pipe, sock: the same
//! nod <name> <mode> <uid> <gid> <b|c> <major> <minor>
//! slink <name> <target> <mode> <uid> <gid>
//! ```
//!
//! Source of fact: Linux, `usr/gen_init_cpio.c`, its usage text. `${NAME}` in the host file stands for a variable;
//! the environment is not asked.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::declaration::{Action, Data, Declaration, Meta};
use crate::fields::{Bad, Fields, each_line, shown};
use crate::value::{self, BadValue};
use crate::{Document, Error};

/// Every keyword with what follows it, for messages.
const FORMS: [(&str, &str); 6] = [
    ("file", "file name host-file mode uid gid [further names]"),
    ("dir", "dir name mode uid gid"),
    ("nod", "nod name mode uid gid b|c major minor"),
    ("slink", "slink name target mode uid gid"),
    ("pipe", "pipe name mode uid gid"),
    ("sock", "sock name mode uid gid"),
];

/// Values of `${NAME}`.
pub(crate) type Variables = BTreeMap<String, String>;

/// Reads a list.
///
/// # Errors
/// The first line that is none; a variable that has no value.
pub(crate) fn parse(
    text: &[u8],
    document: &Arc<Document>,
    variables: &Variables,
) -> Result<Vec<Declaration>, Error> {
    let lines = each_line(text, document, |fields| line(fields, variables))?;
    Ok(lines.into_iter().flatten().collect())
}

fn line(fields: &mut Fields<'_>, variables: &Variables) -> Result<Vec<Declaration>, Bad> {
    let (keyword, span) = fields.word("the type")?;
    let keyword = shown(keyword);
    let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == keyword) else {
        return Err((unknown_keyword(&keyword, &FORMS.map(|(known, _)| known)), span));
    };
    let read = match &*keyword {
        "file" => file(fields, variables),
        "slink" => symlink(fields).map(|one| vec![one]),
        "nod" => node(fields, device).map(|one| vec![one]),
        "dir" => node(fields, |_| Ok(Action::Directory)).map(|one| vec![one]),
        "pipe" => node(fields, |_| Ok(Action::Fifo)).map(|one| vec![one]),
        _ => node(fields, |_| Ok(Action::Socket)).map(|one| vec![one]),
    };
    read.map_err(|(bad, span)| (with_form(bad, form), span))
}

pub(crate) fn unknown_keyword(keyword: &str, known: &[&str]) -> BadValue {
    let bad = BadValue::new(format!("unknown type {keyword:?}"));
    match value::closest(keyword, known) {
        Some(meant) => bad.with_help(format!("did you mean {meant}?")),
        None => bad.with_help(format!("types are {}", known.join(", "))),
    }
}

pub(crate) fn with_form(bad: BadValue, form: &str) -> BadValue {
    if bad.help.is_some() { bad } else { bad.with_help(format!("expected: {form}")) }
}

fn image_path(fields: &mut Fields<'_>) -> Result<Vec<u8>, Bad> {
    let (name, span) = fields.word("the name")?;
    value::contained_path(name).map_err(|bad| (bad, span))
}

pub(crate) fn mode_and_owner(fields: &mut Fields<'_>) -> Result<Meta, Bad> {
    let permissions = Some(fields.mode()?);
    let (uid, gid) = (Some(fields.owner("uid")?), Some(fields.owner("gid")?));
    Ok(Meta { permissions, uid, gid, ..Meta::default() })
}

fn node(
    fields: &mut Fields<'_>,
    action: impl FnOnce(&mut Fields<'_>) -> Result<Action, Bad>,
) -> Result<Declaration, Bad> {
    let path = image_path(fields)?;
    let meta = mode_and_owner(fields)?;
    let action = action(fields)?;
    fields.end()?;
    Ok(Declaration { path, span: fields.line_span(), action, meta })
}

/// Type letter, major and minor.
pub(crate) fn device(fields: &mut Fields<'_>) -> Result<Action, Bad> {
    use flashwright_tree::Kind::{BlockDevice, CharDevice};
    let kind = match fields.word("the kind of device")? {
        (b"b" | b"B", _) => BlockDevice,
        (b"c" | b"C", _) => CharDevice,
        (other, span) => {
            let bad = BadValue::new(format!("bad kind of device {:?}: b or c expected", shown(other)));
            return Err((bad, span));
        }
    };
    let (major, span) = fields.number("major")?;
    let (minor, end) = fields.number("minor")?;
    let device = value::device(major, minor);
    device
        .map(|device| Action::Device(kind, device))
        .map_err(|bad| (bad, span.start..end.end.max(span.start)))
}

fn symlink(fields: &mut Fields<'_>) -> Result<Declaration, Bad> {
    let path = image_path(fields)?;
    let (target, span) = fields.word("the target")?;
    let target = value::target(target).map_err(|bad| (bad, span))?;
    // Linux knows no mode of symlinks.
    let meta = Meta { permissions: None, ..mode_and_owner(fields)? };
    fields.end()?;
    Ok(Declaration { path, span: fields.line_span(), action: Action::Symlink(target), meta })
}

fn file(fields: &mut Fields<'_>, variables: &Variables) -> Result<Vec<Declaration>, Bad> {
    let path = image_path(fields)?;
    let (location, span) = fields.word("the file of the host")?;
    let location = host_path(&expand(location, &span, variables)?).map_err(|bad| (bad, span))?;
    let meta = mode_and_owner(fields)?;
    let span = fields.line_span();
    let action = Action::File(Data::Host(location));
    let mut all = vec![Declaration { path: path.clone(), span: span.clone(), action, meta }];
    while !fields.is_at_end() {
        let action = Action::HardLink(path.clone());
        all.push(Declaration {
            path: image_path(fields)?,
            span: span.clone(),
            action,
            meta: Meta::default(),
        });
    }
    Ok(all)
}

/// A path of the host.
pub(crate) fn host_path(path: &[u8]) -> Result<PathBuf, BadValue> {
    if path.is_empty() || path.contains(&0) {
        return Err(BadValue::new(format!("{:?} is not a path", shown(path))));
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// Replaces each `${NAME}`.
fn expand(text: &[u8], span: &Range<usize>, variables: &Variables) -> Result<Vec<u8>, Bad> {
    let mut expanded = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|two| two == b"${") {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        expanded.extend_from_slice(before);
        let end = from.iter().position(|&byte| byte == b'}');
        let Some(end) = end else {
            return Err((BadValue::new("${ without a }"), span.clone()));
        };
        let name = shown(from.get(2..end).unwrap_or_default());
        let value = variables.get(&name).ok_or_else(|| {
            let bad = BadValue::refused(format!(
                "variable {name:?} has no value, and the environment is not asked"
            ));
            let help = format!("in image.toml: [[source]] with variables = {{ {name} = \"…\" }}");
            (bad.with_help(help), span.clone())
        })?;
        expanded.extend_from_slice(value.as_bytes());
        rest = from.get(end.saturating_add(1)..).unwrap_or_default();
    }
    expanded.extend_from_slice(rest);
    Ok(expanded)
}
