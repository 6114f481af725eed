//! A TOML table read key by key, with errors that point at the key or value that is wrong.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use flashwright_tree::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value::{self, BadValue};
use crate::{Document, Error, Place};

pub(crate) type Value<'t> = Spanned<DeValue<'t>>;

/// A table and where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'t> {
    document: &'t Arc<Document>,
    entries: &'t DeTable<'t>,
    /// Where the table starts: its header, or its brace.
    start: usize,
    end: usize,
}

/// The TOML name of a value's type, with its article.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

impl<'t> Table<'t> {
    pub(crate) fn new(document: &'t Arc<Document>, entries: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Table { document, entries, start: span.start, end: span.end }
    }

    pub(crate) const fn document(&self) -> &'t Arc<Document> {
        self.document
    }

    pub(crate) const fn entries(&self) -> &'t DeTable<'t> {
        self.entries
    }

    /// The whole table as a place.
    pub(crate) fn place(&self) -> Place {
        self.document.at(self.span())
    }

    pub(crate) const fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    pub(crate) fn error(&self, bad: BadValue, span: Range<usize>) -> Error {
        Error::from(bad).at(self.document.at(span))
    }

    /// An error about the table as a whole.
    pub(crate) fn error_here(&self, message: impl Into<String>) -> Error {
        Error::invalid(message).at(self.place())
    }

    /// Refuses every key that is not one of `known`.
    pub(crate) fn allow(&self, what: &str, known: &[&str]) -> Result<(), Error> {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let help = match value::closest(name, known) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("known keys: {}", known.join(", ")),
                };
                let message = format!("unknown key {name:?} in {what}");
                return Err(self.error(BadValue::new(message).with_help(help), key.span()));
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'t Value<'t>> {
        self.entries.get(key)
    }

    /// Where a key's value is; the table where there is none.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or_else(|| self.span(), Spanned::span)
    }

    fn wrong_type(&self, key: &str, value: &Value<'_>, expected: &str) -> Error {
        let message = format!("{key} must be {expected}, not {}", type_name(value.get_ref()));
        self.error(BadValue::new(message), value.span())
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'t str>, Error> {
        self.get(key).map(|value| self.as_string(key, value)).transpose()
    }

    pub(crate) fn as_string(&self, key: &str, value: &'t Value<'t>) -> Result<&'t str, Error> {
        value.get_ref().as_str().ok_or_else(|| self.wrong_type(key, value, "a string"))
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        let read = |value: &Value<'_>| {
            value.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, value, "true or false"))
        };
        self.get(key).map(read).transpose()
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Error> {
        self.get(key).map(|value| self.as_integer(key, value)).transpose()
    }

    fn as_integer(&self, key: &str, value: &Value<'_>) -> Result<i64, Error> {
        let integer =
            value.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, value, "an integer"))?;
        i64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| self.error(BadValue::new(format!("{key} {integer} is out of range")), value.span()))
    }

    /// An integer from 0 to 4,294,967,295.
    pub(crate) fn owner(&self, key: &str) -> Result<Option<u32>, Error> {
        self.get(key).map(|value| self.as_owner(key, value)).transpose()
    }

    pub(crate) fn as_owner(&self, key: &str, value: &Value<'_>) -> Result<u32, Error> {
        if value.get_ref().is_str() {
            let help = "names mean other numbers on other machines: write the number";
            let bad = BadValue::new(format!("{key} must be a number")).with_help(help);
            return Err(self.error(bad, value.span()));
        }
        let number = self.as_integer(key, value)?;
        u32::try_from(number).map_err(|_| {
            self.error(BadValue::new(format!("{key} {number} is not within 0 to 4294967295")), value.span())
        })
    }

    /// Permission bits: `"0755"` or `0o755`.
    pub(crate) fn mode(&self, key: &str) -> Result<Option<u16>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bits = match value.get_ref() {
            DeValue::String(text) => value::mode(text),
            DeValue::Integer(integer) if integer.radix() == 8 => value::mode(integer.as_str()),
            DeValue::Integer(integer) => {
                let digits = integer.as_str();
                let message = format!("{key} {integer} is not octal");
                let help = format!(
                    "write {key} = \"{digits:0>4}\" or {key} = 0o{digits}: a plain {digits} is a decimal number, and never the bits that were meant"
                );
                Err(BadValue::new(message).with_help(help))
            }
            _ => return Err(self.wrong_type(key, value, "an octal string such as \"0755\"")),
        };
        bits.map(Some).map_err(|bad| self.error(bad, value.span()))
    }

    /// Seconds since 1970, or an RFC 3339 time.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Datetime(time) => {
                value::timestamp(time).map(Some).map_err(|bad| self.error(bad, value.span()))
            }
            DeValue::Integer(_) => Ok(Some(Timestamp::from_seconds(self.as_integer(key, value)?))),
            _ => {
                Err(self.wrong_type(key, value, "seconds since 1970, or a time such as 2024-01-31T12:00:00Z"))
            }
        }
    }

    /// A path of the image in normal form.
    pub(crate) fn image_path(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        value::image_path(text.as_bytes()).map(Some).map_err(|bad| self.error(bad, self.span_of(key)))
    }

    pub(crate) fn array(&self, key: &str) -> Result<&'t [Value<'t>], Error> {
        let Some(value) = self.get(key) else { return Ok(&[]) };
        let array = value.get_ref().as_array();
        array.map(|array| &**array).ok_or_else(|| self.wrong_type(key, value, "an array"))
    }

    /// An array of strings, each with its place.
    pub(crate) fn strings(&self, key: &str) -> Result<Vec<(String, Place)>, Error> {
        let read = |value: &'t Value<'t>| {
            let text = self.as_string(&format!("each of {key}"), value)?;
            Ok((text.to_owned(), self.document.at(value.span())))
        };
        self.array(key)?.iter().map(read).collect()
    }

    pub(crate) fn table(&self, key: &str) -> Result<Option<Table<'t>>, Error> {
        self.get(key).map(|value| self.as_table(key, value)).transpose()
    }

    pub(crate) fn as_table(&self, key: &str, value: &'t Value<'t>) -> Result<Table<'t>, Error> {
        let entries = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, value, "a table"))?;
        Ok(Table::new(self.document, entries, value.span()))
    }

    /// An array of tables: `[[key]]`.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Table<'t>>, Error> {
        if let Some(value) = self.get(key)
            && value.get_ref().is_table()
        {
            let bad = BadValue::new(format!("{key} comes as a list"))
                .with_help(format!("write [[{key}]] with two brackets"));
            return Err(self.error(bad, value.span()));
        }
        self.array(key)?.iter().map(|value| self.as_table(key, value)).collect()
    }
}
