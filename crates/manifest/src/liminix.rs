//! The JSON tree of Liminix: what `builtins.toJSON config.filesystem.contents` writes.
//!
//! ```text
//! { "etc": { "type": "d", "contents": { "hostname": { "file": "router\n" } } },
//!   "dev": { "type": "d", "contents": { "tty": { "type": "c", "major": "5", "minor": "0", "mode": "0666" } } } }
//! ```
//!
//! A node without a type is a file with its text in `file`. `s` is a symlink to `target`, `l` the host file
//! `target` with its own metadata, `i` a fifo (a socket with `"subtype": "s"`). `mode` is octal, `0755` for
//! directories and `0644` otherwise when absent; `uid` and `gid` are 0.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use flashwright_tree::{Kind, display_path, join_path};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::declaration::{Action, Data, Declaration, Meta};
use crate::value::{self, BadValue};
use crate::{Document, Error};

/// Levels of directories that are read: each is scanned again with its parents, so that there must be a limit.
const MAX_DEPTH: usize = 256;

const KEYS: [&str; 10] =
    ["type", "mode", "target", "contents", "file", "major", "minor", "uid", "gid", "subtype"];

/// An object with its values as they stand in the text.
struct Object<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A directory of the JSON tree whose entries are still to be read.
struct Pending<'t> {
    path: Vec<u8>,
    contents: &'t RawValue,
    depth: usize,
}

/// Reads the tree.
///
/// # Errors
/// What is not JSON, has an unknown key or type, lacks what its type needs, or is declared twice.
pub(crate) fn parse(text: &[u8], document: &Arc<Document>) -> Result<Vec<Declaration>, Error> {
    let reader = Reader { text: utf8(text, document)?, document };
    let whole: &RawValue = serde_json::from_str(reader.text).map_err(|e| reader.json_error(&e, 0))?;
    let mut declarations = Vec::new();
    let mut pending = vec![Pending { path: Vec::new(), contents: reader.root(whole)?, depth: 0 }];
    while let Some(directory) = pending.pop() {
        if directory.depth > MAX_DEPTH {
            let message =
                format!("{}: more than {MAX_DEPTH} levels of directories", display_path(&directory.path));
            return Err(reader.error(BadValue::new(message), directory.contents));
        }
        for (name, node) in reader.object(directory.contents, "a directory's contents")? {
            let path = reader.path(&directory.path, &name, node)?;
            let (declaration, contents) = reader.node(path, node)?;
            let path = declaration.path.clone();
            declarations.push(declaration);
            let depth = directory.depth.saturating_add(1);
            pending.extend(contents.map(|contents| Pending { path, contents, depth }));
        }
    }
    Ok(declarations)
}

fn utf8<'t>(text: &'t [u8], document: &Arc<Document>) -> Result<&'t str, Error> {
    std::str::from_utf8(text).map_err(|e| {
        let at = e.valid_up_to();
        Error::invalid("not UTF-8, so not JSON").at(document.at(at..at.saturating_add(1)))
    })
}

/// The members of one node.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Members<'t> {
    fn get(&self, key: &str) -> Option<&'t RawValue> {
        self.0.iter().find(|(name, value)| name == key && value.get() != "null").map(|(_, value)| *value)
    }
}

struct Reader<'t, 'd> {
    text: &'t str,
    document: &'d Arc<Document>,
}

impl<'t> Reader<'t, '_> {
    /// Where a value is: it is a part of the text, so its address tells.
    fn span(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        start..start.saturating_add(value.get().len())
    }

    fn error(&self, bad: BadValue, value: &RawValue) -> Error {
        Error::from(bad).at(self.document.at(self.span(value)))
    }

    fn json_error(&self, error: &serde_json::Error, base: usize) -> Error {
        let part = self.text.get(base..).unwrap_or_default();
        let line = error.line().saturating_sub(1);
        let line_start: usize = part.split_inclusive('\n').take(line).map(str::len).sum();
        let at = base
            .saturating_add(line_start)
            .saturating_add(error.column().saturating_sub(1))
            .min(self.text.len());
        let mut message = error.to_string();
        if let Some(end) = message.find(" at line ") {
            message.truncate(end);
        }
        Error::invalid(format!("bad JSON: {message}")).at(self.document.at(at..at))
    }

    /// Members of an object, each name once.
    fn object(&self, value: &'t RawValue, what: &str) -> Result<Vec<(String, &'t RawValue)>, Error> {
        if !value.get().starts_with('{') {
            return Err(self.error(BadValue::new(format!("{what} must be an object {{…}}")), value));
        }
        let Object(members) =
            serde_json::from_str(value.get()).map_err(|e| self.json_error(&e, self.span(value).start))?;
        let mut seen = std::collections::HashMap::new();
        for (name, value) in &members {
            if let Some(first) = seen.insert(name, *value) {
                let error = self.error(BadValue::new(format!("{name:?} is given twice")), value);
                return Err(error.and("first here", self.document.at(self.span(first))));
            }
        }
        Ok(members)
    }

    /// The contents of the root: the whole text, or what is in it when it is `config.filesystem` itself.
    fn root(&self, whole: &'t RawValue) -> Result<&'t RawValue, Error> {
        let members = Members(self.object(whole, "the tree")?);
        let is_node = members.get("type").is_some_and(|value| value.get() == "\"d\"");
        Ok(members.get("contents").filter(|_| is_node).unwrap_or(whole))
    }

    fn path(&self, directory: &[u8], name: &str, node: &RawValue) -> Result<Vec<u8>, Error> {
        flashwright_tree::check_name(name.as_bytes())
            .map_err(|e| self.error(BadValue::new(e.to_string()), node))?;
        Ok(join_path(directory, name.as_bytes()))
    }

    fn node(&self, path: Vec<u8>, node: &'t RawValue) -> Result<(Declaration, Option<&'t RawValue>), Error> {
        let members = Members(self.object(node, "a node")?);
        for (name, value) in &members.0 {
            if !KEYS.contains(&name.as_str()) {
                let bad = BadValue::new(format!("{}: unknown key {name:?}", display_path(&path)));
                let help = match value::closest(name, &KEYS) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("known keys: {}", KEYS.join(", ")),
                };
                return Err(self.error(bad.with_help(help), value));
            }
        }
        let letter = members.get("type").map_or(Ok("f".into()), |value| self.string(value, "type"))?;
        let action = self.action(&letter, &members, node, &path)?;
        let meta = self.meta(&members, &action)?;
        let contents = members.get("contents").filter(|_| matches!(action, Action::Directory));
        Ok((Declaration { path, span: self.span(node), action, meta }, contents))
    }

    fn action(
        &self,
        letter: &str,
        members: &Members<'t>,
        node: &RawValue,
        path: &[u8],
    ) -> Result<Action, Error> {
        let need = |key: &str| {
            members.get(key).ok_or_else(|| {
                let message = format!("{}: type {letter:?} needs {key:?}", display_path(path));
                self.error(BadValue::new(message), node)
            })
        };
        let text = |key: &str| self.string(need(key)?, key);
        Ok(match letter {
            "f" => Action::File(Data::Bytes(text("file")?.into_bytes().into())),
            "d" => Action::Directory,
            "c" | "b" => {
                let (major, minor) = (need("major")?, need("minor")?);
                let device = value::device(self.number(major, "major")?, self.number(minor, "minor")?);
                let kind = if letter == "b" { Kind::BlockDevice } else { Kind::CharDevice };
                Action::Device(kind, device.map_err(|bad| self.error(bad, major))?)
            }
            "s" => {
                let target = value::target(text("target")?.as_bytes());
                Action::Symlink(target.map_err(|bad| self.error(bad, node))?)
            }
            "l" => Action::Host { path: PathBuf::from(text("target")?), follow: false, directories: false },
            "i" if self.is_socket(members)? => Action::Socket,
            "i" => Action::Fifo,
            other => {
                let bad = BadValue::new(format!("{}: unknown type {other:?}", display_path(path)));
                let help =
                    "types are f (file), d (directory), c, b (devices), s (symlink), l (host file), i (fifo)";
                return Err(self.error(bad.with_help(help), node));
            }
        })
    }

    fn is_socket(&self, members: &Members<'t>) -> Result<bool, Error> {
        let Some(value) = members.get("subtype") else { return Ok(false) };
        match self.string(value, "subtype")?.as_str() {
            "s" => Ok(true),
            "f" => Ok(false),
            other => Err(self.error(BadValue::new(format!("bad subtype {other:?}: s or f expected")), value)),
        }
    }

    fn meta(&self, members: &Members<'t>, action: &Action) -> Result<Meta, Error> {
        let mut meta = Meta::default();
        if let Some(value) = members.get("mode") {
            let mode = value::mode(&self.string(value, "mode")?).map_err(|bad| self.error(bad, value))?;
            // mksquashfs, which Liminix runs, ignores the mode of a symlink: Linux knows none.
            meta.permissions = (!matches!(action, Action::Symlink(_))).then_some(mode);
        }
        let id = |key: &str| {
            members.get(key).map(|value| {
                let number = self.number(value, key)?;
                u32::try_from(number).map_err(|_| {
                    self.error(BadValue::new(format!("{key} {number} is above 4294967295")), value)
                })
            })
        };
        meta.uid = id("uid").transpose()?;
        meta.gid = id("gid").transpose()?;
        Ok(meta)
    }

    fn string(&self, value: &RawValue, what: &str) -> Result<String, Error> {
        serde_json::from_str(value.get())
            .map_err(|_| self.error(BadValue::new(format!("{what} must be a string")), value))
    }

    /// A number, or a string of digits as Liminix has it.
    fn number(&self, value: &RawValue, what: &str) -> Result<u64, Error> {
        let text = serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned());
        text.parse().map_err(|_| {
            let bad = BadValue::new(format!("bad {what} {text:?}: not a decimal number"));
            self.error(bad.with_help("write a number, or a string of digits"), value)
        })
    }
}
