//! Values that are read the same from a flag and from a key of `image.toml`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};

use crate::size;

/// A setting that cannot be followed: found after all of them are known.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Name of the flag without `--`, which is the key in `image.toml`.
    pub(crate) key: &'static str,
    /// What is wrong, with the value and the limit.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// Bytes, as [`size::parse`] reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size::parse(text).map(Size)
    }
}

/// Reads a string or a whole number of `image.toml` as a flag's value would be read.
pub(crate) fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    deserializer.deserialize_any(Text { switch: None, kind: PhantomData })
}

/// As [`from_text`], for a flag that may stand without a value: `true` is what such a flag means, `false` none.
pub(crate) fn from_switch_or_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String> + OnItsOwn,
{
    deserializer.deserialize_any(Text { switch: Some(T::on_its_own), kind: PhantomData })
}

/// A value that a flag has when it stands without one.
pub(crate) trait OnItsOwn {
    /// That value.
    fn on_its_own() -> Self;
}

struct Text<T> {
    /// What `true` stands for, where it does for anything.
    switch: Option<fn() -> T>,
    kind: PhantomData<T>,
}

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.switch {
            Some(_) => "true, false, a string or a whole number",
            None => "a string or a whole number",
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        text.parse().map(Some).map_err(|message| E::custom(format_args!("{text:?}: {message}")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Option<T>, E> {
        match self.switch {
            Some(switch) => Ok(on.then(switch)),
            None => Err(E::invalid_type(de::Unexpected::Bool(on), &self)),
        }
    }
}
