//! Pseudo files of mksquashfs 4.7.
//!
//! ```text
//! /dev/console c 600 0 0 5 1          name type mode uid gid …
//! etc/motd F 1700000000 644 0 0 cat x    upper case: a time before the mode
//! bin/sh R 0 755 0 0 1024 0 0           data in this file, after a marker line
//! ```
//!
//! What is accepted was found out by running mksquashfs 4.7.5 and unsquashfs 4.7.5. Where it is lenient (a second
//! definition ignored, a failing command taken as an empty file) this is an error; where it is strict without need
//! (parents must be defined, `L` must name an earlier line) this is not. It never asks the host who `nobody` is.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use flashwright_tree::Kind;

use crate::declaration::{Action, Data, Declaration, Meta};
use crate::fields::{Bad, Fields, Line, is_space, located, shown};
use crate::value::{self, BadValue};
use crate::{Document, Error};

/// The line that ends the definitions, with the comment lines around it.
pub(crate) const MARKER: &[u8] = b"# START OF DATA - DO NOT MODIFY\n#\n";

/// A parsed pseudo file.
#[derive(Debug)]
pub(crate) struct Pseudo {
    pub(crate) declarations: Vec<Declaration>,
    /// First byte of the data section, from the start of the file.
    pub(crate) data_start: Option<usize>,
    /// Suspicious lines: message and span.
    pub(crate) notes: Vec<(String, Range<usize>)>,
}

/// Start of the marker, at the start of a line.
fn find_marker(text: &[u8]) -> Option<usize> {
    if text.starts_with(MARKER) {
        return Some(0);
    }
    let at = text
        .windows(MARKER.len().saturating_add(1))
        .position(|w| w.first() == Some(&b'\n') && w.ends_with(MARKER));
    at.map(|newline| newline.saturating_add(1))
}

/// Whether the end of the definitions is in `text`.
pub(crate) fn has_marker(text: &[u8]) -> bool {
    find_marker(text).is_some()
}

/// The definitions, without the data section.
pub(crate) fn definitions(text: &[u8]) -> &[u8] {
    find_marker(text).and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Reads all definitions. The data section, if any, is only looked for.
///
/// # Errors
/// The first line that is none, with what was expected.
pub(crate) fn parse(text: &[u8], document: &Arc<Document>) -> Result<Pseudo, Error> {
    let marker = find_marker(text);
    let mut pseudo = Pseudo {
        declarations: Vec::new(),
        data_start: marker.map(|start| start.saturating_add(MARKER.len())),
        notes: Vec::new(),
    };
    let lines = Lines { text: definitions(text), offset: 0, machine_written: marker.is_some() };
    for line in lines {
        if line.is_blank() {
            continue;
        }
        if line.is_comment() {
            pseudo.notes.extend(forgotten_escape(&line, marker.is_some()));
            continue;
        }
        let bad = |(e, span): Bad| located(e, span, document);
        let declaration = definition(&line).map_err(bad)?;
        if matches!(declaration.action, Action::File(Data::Section { .. })) && marker.is_none() {
            let message = "R takes data from this file, but it has no line '# START OF DATA - DO NOT MODIFY'";
            return Err(located(
                BadValue::new(message).with_help("the file is cut short: write it again"),
                declaration.span,
                document,
            ));
        }
        pseudo.declarations.push(declaration);
    }
    Ok(pseudo)
}

/// unsquashfs -pf (4.7.5) writes a name that begins with `#` as it is, and mksquashfs reads the line as a comment.
fn forgotten_escape(line: &Line, machine_written: bool) -> Option<(String, Range<usize>)> {
    let name = definition(line).ok().filter(|d| machine_written && d.meta.mtime.is_some())?.path;
    let name = String::from_utf8_lossy(&name).into_owned();
    let message = format!(
        "taken as a comment, though it reads like a definition of {name:?}; write \\{name} to have that"
    );
    Some((message, line.span.clone()))
}

struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    /// The file has a data section, so unsquashfs wrote it: a name continued on the next line has a newline in it.
    /// In files that people write, a continuation leaves nothing behind.
    machine_written: bool,
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let start = self.offset;
        let mut text = Vec::new();
        let (mut verbatim, mut quotes) = (true, Quotes::default());
        loop {
            let rest = self.text.get(self.offset..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest else { break };
            let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            let (line, after) = rest.split_at(len);
            self.offset = self.offset.saturating_add(len).saturating_add(usize::from(!after.is_empty()));
            let backslashes = line.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 0 {
                text.extend_from_slice(line);
                if !quotes.feed(line) || !self.machine_written || after.is_empty() {
                    break;
                }
                // Extracting an image without root writes names with a newline so.
                verbatim = false;
                text.push(b'\n');
                quotes.feed(b"\n");
                continue;
            }
            verbatim = false;
            let next_starts_word = after.get(1).is_some_and(|&byte| !is_space(byte));
            let in_name = !line.iter().any(|&byte| is_space(byte)) || text.ends_with(b"\n");
            if self.machine_written && next_starts_word && in_name {
                // Keeps the backslash: the name's own escape makes a newline of the two.
                text.extend_from_slice(line);
                text.push(b'\n');
                quotes.feed(line);
                quotes.feed(b"\n");
            } else {
                let line = line.get(..len.saturating_sub(1)).unwrap_or_default();
                text.extend_from_slice(line);
                quotes.feed(line);
            }
        }
        let end = self.offset;
        (end > start).then_some(Line { text, span: start..end, verbatim }).map(trim_newline)
    }
}

/// Follows the quotes of one line, in the fields that are names.
#[derive(Debug, Default)]
struct Quotes {
    field: usize,
    /// Whether the field has begun.
    inside: bool,
    quoted: bool,
    escaped: bool,
    letter: u8,
}

impl Quotes {
    /// Takes more of the line. True when a quote is open after it.
    fn feed(&mut self, text: &[u8]) -> bool {
        text.iter().for_each(|&byte| self.byte(byte));
        self.quoted
    }

    fn byte(&mut self, byte: u8) {
        let is_name = self.field == 0 || (self.field == 2 && self.letter == b'L');
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' && is_name {
            self.quoted = !self.quoted;
        } else if is_space(byte) && !self.quoted {
            self.field = self.field.saturating_add(usize::from(self.inside));
            self.inside = false;
            return;
        } else if self.field == 1 {
            self.letter = byte;
        }
        self.inside = true;
    }
}

fn trim_newline(mut line: Line) -> Line {
    if line.verbatim {
        line.span.end = line.span.start.saturating_add(line.text.len());
    }
    line
}

/// Every type letter with what follows it, for messages.
const FORMS: [(u8, &str); 18] = [
    (b'd', "name d mode uid gid"),
    (b'D', "name D time mode uid gid"),
    (b'm', "name m mode uid gid"),
    (b'M', "name M time mode uid gid"),
    (b'b', "name b mode uid gid major minor"),
    (b'B', "name B time mode uid gid major minor"),
    (b'c', "name c mode uid gid major minor"),
    (b'C', "name C time mode uid gid major minor"),
    (b'i', "name i mode uid gid s|f"),
    (b'I', "name I time mode uid gid s|f"),
    (b's', "name s mode uid gid target"),
    (b'S', "name S time mode uid gid target"),
    (b'f', "name f mode uid gid command"),
    (b'F', "name F time mode uid gid command"),
    (b'h', "name h file-of-the-host"),
    (b'l', "name l file-of-the-host"),
    (b'L', "name L name-of-the-image"),
    (b'x', "name x attribute=value"),
];

fn definition(line: &Line) -> Result<Declaration, Bad> {
    let mut fields = Fields::new(line);
    let (name, name_span) = fields.name("the name")?;
    let path = value::image_path(&name).map_err(|bad| (bad, name_span))?;
    let (letter, letter_span) = fields.word("the type")?;
    let &[letter] = letter else {
        return Err((unknown_type(letter), letter_span));
    };
    let mut meta = Meta::default();
    let action = match letter {
        b'x' => xattr(&mut fields, &mut meta),
        b'l' | b'h' => host_link(&mut fields, letter),
        b'L' => image_link(&mut fields),
        b'R' | b'd' | b'D' | b'm' | b'M' | b'b' | b'B' | b'c' | b'C' | b'i' | b'I' | b's' | b'S' | b'f'
        | b'F' => node(&mut fields, letter, &mut meta),
        _ => return Err((unknown_type(&[letter]), letter_span)),
    };
    let action = action.map_err(|(bad, span)| (with_form(bad, letter), span))?;
    Ok(Declaration { path, span: line.span.clone(), action, meta })
}

fn unknown_type(letter: &[u8]) -> BadValue {
    let letters =
        FORMS.iter().map(|(letter, _)| char::from(*letter).to_string()).collect::<Vec<_>>().join(" ");
    let bad = BadValue::new(format!("unknown type {:?}", shown(letter)));
    bad.with_help(format!(
        "types are {letters} R; a name with spaces needs quotes, or a backslash before each space"
    ))
}

fn with_form(bad: BadValue, letter: u8) -> BadValue {
    if bad.help.is_some() {
        return bad;
    }
    let form = FORMS.iter().find(|(known, _)| *known == letter).map(|(_, form)| *form);
    bad.with_help(format!("expected: {}", form.unwrap_or("name R time mode uid gid length offset sparse")))
}

/// All types that have a mode and an owner.
fn node(fields: &mut Fields<'_>, letter: u8, meta: &mut Meta) -> Result<Action, Bad> {
    if letter.is_ascii_uppercase() {
        meta.mtime = Some(fields.time()?);
    }
    let (mode, span) = fields.word("the mode")?;
    meta.permissions = Some(value::mode(&shown(mode)).map_err(|bad| (bad, span))?);
    meta.uid = Some(fields.owner("uid")?);
    meta.gid = Some(fields.owner("gid")?);
    let action = match letter.to_ascii_lowercase() {
        b'd' => Action::Directory,
        b'm' => Action::Modify,
        b's' => {
            let (target, span) = fields.rest("the target")?;
            // mksquashfs ignores the mode: Linux knows none for symlinks.
            meta.permissions = None;
            return value::target(target).map(Action::Symlink).map_err(|bad| (bad, span));
        }
        b'f' => return Ok(Action::File(Data::Command(fields.rest("the command")?.0.to_vec()))),
        b'r' => section(fields)?,
        b'i' => special(fields)?,
        kind => device(fields, kind)?,
    };
    fields.end()?;
    Ok(action)
}

fn section(fields: &mut Fields<'_>) -> Result<Action, Bad> {
    let (len, _) = fields.number("length")?;
    let (offset, _) = fields.number("offset")?;
    let (sparse, span) = fields.number("sparse")?;
    if sparse > 1 {
        return Err((BadValue::new(format!("bad sparse {sparse}: 0 or 1 expected")), span));
    }
    Ok(Action::File(Data::Section { offset, len, sparse: sparse == 1 }))
}

fn special(fields: &mut Fields<'_>) -> Result<Action, Bad> {
    match fields.word("s or f")? {
        (b"s", _) => Ok(Action::Socket),
        (b"f", _) => Ok(Action::Fifo),
        (other, span) => Err((
            BadValue::new(format!("bad kind {:?}: s (socket) or f (fifo) expected", shown(other))),
            span,
        )),
    }
}

fn device(fields: &mut Fields<'_>, letter: u8) -> Result<Action, Bad> {
    let (major, span) = fields.number("major")?;
    let (minor, end) = fields.number("minor")?;
    let device = value::device(major, minor).map_err(|bad| {
        let meant = value::unsplit_device(major, minor);
        let hint = |d: flashwright_tree::Device| {
            format!(
                "if unsquashfs -pf wrote this, {} {} was meant: it gets minors above 255 wrong",
                d.major, d.minor
            )
        };
        let bad = BadValue { help: meant.map(hint), ..bad };
        (bad, span.start..end.end.max(span.start))
    })?;
    Ok(Action::Device(if letter == b'b' { Kind::BlockDevice } else { Kind::CharDevice }, device))
}

fn host_link(fields: &mut Fields<'_>, letter: u8) -> Result<Action, Bad> {
    let (path, span) = fields.name("the file of the host")?;
    if path.contains(&0) {
        return Err((BadValue::new("a path cannot have a NUL byte"), span));
    }
    fields.end()?;
    let path = PathBuf::from(OsStr::from_bytes(&path));
    Ok(Action::Host { path, follow: letter == b'h', directories: false })
}

fn image_link(fields: &mut Fields<'_>) -> Result<Action, Bad> {
    let (name, span) = fields.name("the name of the image")?;
    fields.end()?;
    value::image_path(&name).map(Action::HardLink).map_err(|bad| (bad, span))
}

fn xattr(fields: &mut Fields<'_>, meta: &mut Meta) -> Result<Action, Bad> {
    let (rest, span) = fields.rest("attribute=value")?;
    let Some(equals) = rest.iter().position(|&byte| byte == b'=') else {
        return Err((BadValue::new("attribute=value has no '='"), span));
    };
    let (name, value) = rest.split_at(equals);
    let name = value::xattr_name(name).map_err(|bad| (bad, span.clone()))?;
    let value = xattr_value(value.get(1..).unwrap_or_default()).map_err(|bad| (bad, span))?;
    meta.xattrs.insert(name, value);
    Ok(Action::Modify)
}

/// Text as it stands, or after `0x` hexadecimal, after `0s` base64, after `0t` text with octal escapes.
fn xattr_value(value: &[u8]) -> Result<Vec<u8>, BadValue> {
    let Some((prefix, rest)) = value.split_at_checked(2) else {
        return Ok(value.to_vec());
    };
    match prefix {
        b"0x" | b"0X" => value::hex(&shown(rest)),
        b"0s" | b"0S" => value::base64(&shown(rest)),
        b"0t" | b"0T" => unescape_octal(rest),
        _ => Ok(value.to_vec()),
    }
}

fn unescape_octal(text: &[u8]) -> Result<Vec<u8>, BadValue> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..3).filter(|digits| digits.iter().all(|digit| matches!(digit, b'0'..=b'7')));
        let value = digits.and_then(|digits| u8::from_str_radix(&shown(digits), 8).ok());
        bytes.push(value.ok_or_else(|| {
            BadValue::new("a backslash without three octal digits")
                .with_help("write \\134 for a backslash itself")
        })?);
        rest = after.get(3..).unwrap_or_default();
    }
    Ok(bytes)
}
