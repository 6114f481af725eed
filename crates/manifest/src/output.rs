//! Outputs of an `image.toml`: the keys that all formats share, and the rest for whoever knows the format.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::table::Table;
use crate::value::{self, BadValue};
use crate::{Document, Error, Place};

/// Keys that every output has.
const KEYS: [&str; 3] = ["name", "file", "format"];
/// Lists of outputs: images of the tree, and images of volumes, whose format is UBI.
const LISTS: [&str; 2] = ["output", UBI];
const UBI: &str = "ubi";

/// One image to write.
#[derive(Debug, Clone)]
pub struct Output {
    /// Name for messages and `--only`; default: the file's name.
    pub name: String,
    /// Where it goes, relative to the output directory.
    pub file: PathBuf,
    /// The format, as written: `squashfs`, …
    pub format: String,
    document: Arc<Document>,
    format_span: std::ops::Range<usize>,
    span: std::ops::Range<usize>,
    /// Keys of the format, each with the span of its value.
    keys: Vec<(String, std::ops::Range<usize>)>,
    /// The whole image.toml: values borrow from it, so that it is read again when they are asked for.
    text: Arc<str>,
    /// The list that it is in, and which of them it is.
    list: &'static str,
    index: usize,
}

impl Output {
    /// Where the output is described.
    #[must_use]
    pub fn place(&self) -> Place {
        self.document.at(self.span.clone())
    }

    /// True for a `[[ubi]]`, whose volumes are outputs or files; its format is `ubi`.
    #[must_use]
    pub fn is_ubi(&self) -> bool {
        self.list == UBI
    }

    /// The keys that belong to the format, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(key, _)| key.as_str())
    }

    /// The keys that belong to the format, as a type that knows them. The type should refuse unknown fields
    /// (`#[serde(deny_unknown_fields)]`): the error then names the key and what was meant.
    ///
    /// # Errors
    /// [`crate::Class::Invalid`] at the key or value that does not fit.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.settings_on_flash(&[])
    }

    /// As [`Output::settings`]; keys of `[flash]` that are in `shared`, which the format takes too, hold where the output
    /// has none of its own.
    ///
    /// # Errors
    /// As [`Output::settings`].
    pub fn settings_on_flash<T: DeserializeOwned>(&self, shared: &[&str]) -> Result<T, Error> {
        let document = DeTable::parse(&self.text).map_err(|e| self.serde_error(&e))?.into_inner();
        let output = document.get(self.list).and_then(|outputs| outputs.get_ref().get(self.index)).cloned();
        let mut settings = output.map(Spanned::into_inner).unwrap_or_else(|| DeValue::Table(DeTable::new()));
        if let DeValue::Table(table) = &mut settings {
            KEYS.iter().for_each(|key| drop(table.remove(*key)));
            let flash = document.get("flash").and_then(|flash| flash.get_ref().as_table());
            for (key, value) in flash.into_iter().flatten() {
                if shared.contains(&key.get_ref().as_ref()) && !table.contains_key(key.get_ref().as_ref()) {
                    table.insert(key.clone(), value.clone());
                }
            }
        }
        let settings = Spanned::new(self.span.clone(), settings);
        T::deserialize(ValueDeserializer::from(settings)).map_err(|e| self.serde_error(&e))
    }

    /// An error about one key of this output: for checks that come after [`Output::settings`].
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>, help: impl Into<String>) -> Error {
        let found = self.keys.iter().find(|(name, _)| name == key);
        let span = found.map_or_else(|| self.span.clone(), |(_, span)| span.clone());
        Error::invalid(message).at(self.document.at(span)).with_help(help)
    }

    /// The error for a format that the caller does not know.
    #[must_use]
    pub fn unknown_format(&self, known: &[&str]) -> Error {
        let help = match value::closest(&self.format, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known formats: {}", known.join(", ")),
        };
        let place = self.document.at(self.format_span.clone());
        Error::invalid(format!("unknown format {:?}", self.format)).at(place).with_help(help)
    }

    fn serde_error(&self, error: &toml::de::Error) -> Error {
        let message = error.message().lines().next().unwrap_or("does not fit").to_owned();
        let (message, help) = unknown_field(&message).unwrap_or((message, None));
        let span = error.span().unwrap_or_else(|| self.span.clone());
        let error = Error::invalid(format!("output {:?}: {message}", self.name)).at(self.document.at(span));
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

/// Makes a sentence and a suggestion of serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Option<String>)> {
    let known_as = [("unknown field `", "key"), ("unknown variant `", "value")];
    let (rest, what) =
        known_as.iter().find_map(|(prefix, what)| Some((message.strip_prefix(prefix)?, *what)))?;
    let (name, expected) = rest.split_once('`')?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let help = match value::closest(name, &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("known: {}", known.join(", ")),
    };
    Some((format!("unknown {what} {name:?}"), Some(help).filter(|_| !known.is_empty())))
}

/// Keys of `[flash]`, which describes the device.
const FLASH_KEYS: [&str; 4] = ["peb", "min-io", "sub-page", "peb-count"];

/// Reads all `[[output]]` tables, and checks the keys of `[flash]`, whose values the outputs read.
pub(crate) fn read(root: &Table<'_>, text: &Arc<str>) -> Result<Vec<Output>, Error> {
    if let Some(flash) = root.table("flash")? {
        flash.allow("[flash]", &FLASH_KEYS)?;
    }
    let mut outputs = Vec::new();
    for list in LISTS {
        for (index, table) in root.tables(list)?.iter().enumerate() {
            outputs.push(output(table, text, list, index)?);
        }
    }
    let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
    for output in &outputs {
        let taken = if !names.insert(&output.name) {
            format!("two outputs are called {:?}", output.name)
        } else if !files.insert(&output.file) {
            format!("two outputs go to the file {}", output.file.display())
        } else {
            continue;
        };
        return Err(Error::invalid(taken).at(output.place()).with_help("give each its own name and file"));
    }
    Ok(outputs)
}

fn output(table: &Table<'_>, text: &Arc<str>, list: &'static str, index: usize) -> Result<Output, Error> {
    let need = |key: &str| {
        table.string(key)?.filter(|text| !text.is_empty()).ok_or_else(|| {
            table
                .error_here(format!("an output needs {key}"))
                .with_help("for example: file = \"root.squashfs\", format = \"squashfs\"")
        })
    };
    let file = need("file")?;
    let format = if list == UBI { UBI } else { need("format")? };
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if !Path::new(file).components().all(plain) || file.ends_with('/') || file.contains('\0') {
        let bad = BadValue::new(format!("file {file:?} leads out of the output directory"));
        let help = "write a path below it; --out chooses the directory";
        return Err(table.error(bad.with_help(help), table.span_of("file")));
    }
    if list == UBI && table.entries().iter().any(|(key, _)| key.get_ref() == "format") {
        let bad = BadValue::new("a [[ubi]] has no format: it is UBI").with_help("leave format out");
        return Err(table.error(bad, table.span_of("format")));
    }
    let own = table.entries().iter().filter(|(key, _)| !KEYS.contains(&key.get_ref().as_ref()));
    Ok(Output {
        name: table.string("name")?.unwrap_or(file).to_owned(),
        file: file.into(),
        format: format.to_owned(),
        document: Arc::clone(table.document()),
        format_span: table.span_of("format"),
        span: table.span(),
        keys: own.map(|(key, value)| (key.get_ref().to_string(), value.span())).collect(),
        text: Arc::clone(text),
        list,
        index,
    })
}
