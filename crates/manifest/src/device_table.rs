//! Device tables of makedevs (BusyBox, Buildroot) and of `mkfs.jffs2 -D`.
//!
//! ```text
//! /dev/hda   b 640 0 0  3 1 1 1 15      name type mode uid gid major minor start inc count: hda1 … hda15
//! /etc/key   f 600 0 0  - - - - -       changes what another source brought
//! ```
//!
//! Sources of fact: Buildroot's manual, chapter "Makedev syntax documentation", and mkfs.jffs2 2.3.1 run on tables.
//! Where mkfs.jffs2 skips an entry without a parent and goes on, parents are made here.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use flashwright_tree::Kind;

use crate::declaration::{Action, Declaration, Meta};
use crate::fields::{Bad, Fields, each_line, shown};
use crate::value::{self, BadValue};
use crate::{Document, Error};

/// Nodes that one table may make with ranges: all the minors of one driver.
const MAX_NODES: u64 = 1 << 20;

const FORM: &str = "name type mode uid gid major minor start inc count, with '-' for what does not apply";

/// Reads a table.
///
/// # Errors
/// The first line that is none.
pub(crate) fn parse(text: &[u8], document: &Arc<Document>) -> Result<Vec<Declaration>, Error> {
    let mut table = Table { declarations: Vec::new(), recursive: false };
    each_line(text, document, |fields| table.line(fields))?;
    Ok(table.declarations)
}

struct Table {
    declarations: Vec<Declaration>,
    /// An `r` line came: what later lines say must be said again after it.
    recursive: bool,
}

/// What follows the owner.
struct Numbers {
    major: u64,
    minor: u64,
    start: u64,
    step: u64,
    count: u64,
}

impl Table {
    fn line(&mut self, fields: &mut Fields<'_>) -> Result<(), Bad> {
        let (name, name_span) = fields.word("the name")?;
        if name.starts_with(b"|") {
            return Err((attribute_line(), name_span));
        }
        let path = value::contained_path(name).map_err(|bad| (bad, name_span))?;
        let (letter, span) = fields.word("the type")?;
        let &[letter] = letter else { return Err((unknown_type(letter), span)) };
        if !b"fFdrpcb".contains(&letter) {
            return Err((unknown_type(&[letter]), span));
        }
        let meta = meta(fields, letter).map_err(|(bad, span)| (with_form(bad), span))?;
        let (numbers, numbers_span) = numbers(fields)?;
        let mut declare = |path, action| {
            let span = fields.line_span();
            self.declarations.push(Declaration { path, span, action, meta: meta.clone() });
        };
        match letter {
            b'f' => declare(path, Action::Modify),
            b'F' => declare(path, Action::ModifyIfThere),
            b'r' => {
                declare(path, Action::ModifyBelow);
                self.recursive = true;
            }
            b'd' | b'p' => {
                declare(path.clone(), if letter == b'd' { Action::Directory } else { Action::Fifo });
                if self.recursive {
                    declare(path, Action::Modify);
                }
            }
            _ => self.devices(fields, &path, letter, &meta, (&numbers, numbers_span))?,
        }
        Ok(())
    }

    fn devices(
        &mut self,
        fields: &Fields<'_>,
        path: &[u8],
        letter: u8,
        meta: &Meta,
        (numbers, span): (&Numbers, Range<usize>),
    ) -> Result<(), Bad> {
        let kind = if letter == b'b' { Kind::BlockDevice } else { Kind::CharDevice };
        let so_far = u64::try_from(self.declarations.len()).unwrap_or(u64::MAX);
        if numbers.count > MAX_NODES.saturating_sub(so_far) {
            let bad = BadValue::new(format!("more than {MAX_NODES} nodes in one table"));
            return Err((bad.with_help("is the count right?"), span));
        }
        for index in 0..numbers.count.max(1) {
            let minor = numbers.minor.saturating_add(index.saturating_mul(numbers.step));
            let device = value::device(numbers.major, minor).map_err(|bad| (bad, span.clone()))?;
            let mut path = path.to_vec();
            if numbers.count > 0 {
                path.extend(numbers.start.saturating_add(index).to_string().bytes());
            }
            let mut declare = |path, action| {
                let (span, meta) = (fields.line_span(), meta.clone());
                self.declarations.push(Declaration { path, span, action, meta });
            };
            declare(path.clone(), Action::Device(kind, device));
            if self.recursive {
                declare(path, Action::Modify);
            }
        }
        Ok(())
    }
}

fn unknown_type(letter: &[u8]) -> BadValue {
    let bad = BadValue::new(format!("unknown type {:?}", shown(letter)));
    bad.with_help(
        "types are f (file that exists), F (file, if it exists), d (directory), r (directory with all in it), c, b, p (fifo)",
    )
}

/// Buildroot has lines about the attributes of the file in the line before.
fn attribute_line() -> BadValue {
    let bad = BadValue::new("lines that begin with '|' are not known");
    bad.with_help("state attributes in image.toml, as xattrs of [nodes], with security.capability in hex")
}

fn with_form(bad: BadValue) -> BadValue {
    if bad.help.is_some() { bad } else { bad.with_help(format!("expected: {FORM}")) }
}

/// Mode and owner. `-1` as a mode keeps the one that is there.
fn meta(fields: &mut Fields<'_>, letter: u8) -> Result<Meta, Bad> {
    let (mode, span) = fields.word("the mode")?;
    let keeps = mode == b"-1" && matches!(letter, b'f' | b'F' | b'r');
    let permissions = if keeps { None } else { Some(value::mode(&shown(mode)).map_err(|bad| (bad, span))?) };
    let (uid, gid) = (Some(fields.owner("uid")?), Some(fields.owner("gid")?));
    Ok(Meta { permissions, uid, gid, ..Meta::default() })
}

/// The last five fields; those that are missing or `-` are 0.
fn numbers(fields: &mut Fields<'_>) -> Result<(Numbers, Range<usize>), Bad> {
    let mut all = [0_u64; 5];
    let mut span: Option<Range<usize>> = None;
    for (number, what) in all.iter_mut().zip(["major", "minor", "start", "inc", "count"]) {
        if fields.is_at_end() || fields.next_begins_with(b'#') {
            break;
        }
        let (word, at) = fields.word(what)?;
        span = Some(span.map_or_else(|| at.clone(), |span| span.start..at.end.max(span.start)));
        if word == b"-" {
            continue;
        }
        let parsed = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        *number = parsed.ok_or_else(|| {
            let bad =
                BadValue::new(format!("bad {what} {:?}: a decimal number or '-' expected", shown(word)));
            (with_form(bad), at)
        })?;
    }
    if fields.next_begins_with(b'#') {
        let _comment = fields.rest_trimmed();
    }
    fields.end().map_err(|(bad, at)| (BadValue { help: Some(format!("expected: {FORM}")), ..bad }, at))?;
    let [major, minor, start, step, count] = all;
    Ok((Numbers { major, minor, start, step, count }, span.unwrap_or_else(|| fields.line_span())))
}
