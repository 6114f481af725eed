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
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a whole number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|message| E::custom(format_args!("{text:?}: {message}")))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(Text(PhantomData)).map(Some)
}
