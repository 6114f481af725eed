//! The one error of all codecs.

/// A codec that cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A setting out of its range.
    #[error("{codec} {setting} {value} is out of range: {range}")]
    Setting {
        /// Name of the codec.
        codec: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// The value given.
        value: i64,
        /// What is allowed.
        range: &'static str,
    },
    /// Compressed data that is damaged, or unpacks to more than there may be.
    #[error("{codec} data is corrupt: {what}")]
    Corrupt {
        /// Name of the codec.
        codec: &'static str,
        /// What the library found wrong.
        what: String,
    },
    /// The library failed for a reason that is not in the data.
    #[error("{codec} failed: {what}")]
    Library {
        /// Name of the codec.
        codec: &'static str,
        /// What the library said.
        what: String,
    },
}

impl CodecError {
    pub(crate) fn corrupt(codec: &'static str, what: impl ToString) -> Self {
        CodecError::Corrupt { codec, what: what.to_string() }
    }

    #[allow(dead_code, reason = "not every codec can fail, and each is a feature")]
    pub(crate) fn library(codec: &'static str, what: impl ToString) -> Self {
        CodecError::Library { codec, what: what.to_string() }
    }
}
