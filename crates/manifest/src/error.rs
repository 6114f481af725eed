//! What is wrong with an input, where, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// A text that declarations come from, or a host directory that nodes come from.
#[derive(Debug)]
pub struct Document {
    name: String,
    /// Made fit for a terminal, byte for byte as long as the original; empty where there is no text to show.
    source: NamedSource<String>,
}

impl Document {
    /// A document of that name, usually its path on the host, without text.
    #[must_use]
    pub fn untitled(name: impl Into<String>) -> Arc<Self> {
        Document::new(name, b"")
    }

    /// A document with text. Bytes that are not UTF-8 and control characters are shown as `?`.
    #[must_use]
    pub fn new(name: impl Into<String>, text: &[u8]) -> Arc<Self> {
        let name = name.into();
        Arc::new(Document { source: NamedSource::new(&name, printable(text)), name })
    }

    pub(crate) fn of_path(path: &Path, text: &[u8]) -> Arc<Self> {
        Document::new(path.display().to_string(), text)
    }

    /// The name shown in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text as it may be shown; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.source.inner()
    }

    /// The whole document as a place, without a span.
    #[must_use]
    pub fn whole(self: &Arc<Self>) -> Place {
        Place { document: Arc::clone(self), span: None }
    }

    /// A range of bytes in the document.
    #[must_use]
    pub fn at(self: &Arc<Self>, span: Range<usize>) -> Place {
        Place { document: Arc::clone(self), span: Some(span) }
    }
}

/// Replaces what a terminal must not get, byte by byte, so that spans stay right.
fn printable(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let keep = !c.is_control() || c == '\n' || c == '\t';
            if keep { shown.push(c) } else { shown.extend(std::iter::repeat_n('?', c.len_utf8())) }
        }
        shown.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shown
}

/// Where something was said: a document and, where it has text, a range of bytes in it.
#[derive(Debug, Clone)]
pub struct Place {
    document: Arc<Document>,
    span: Option<Range<usize>>,
}

impl Place {
    /// The document.
    #[must_use]
    pub const fn document(&self) -> &Arc<Document> {
        &self.document
    }

    /// The bytes meant, from the start of the document.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// Line and column in characters, both from 1.
    #[must_use]
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start;
        let before = self.document.text().get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..)?.chars().count() + 1;
        Some((before.matches('\n').count() + 1, column))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.document.name)?;
        self.line_column().map_or(Ok(()), |(line, column)| write!(f, ":{line}:{column}"))
    }
}

/// What kind of failure this is, which decides the exit code of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The host refused: a file is missing, unreadable, or reading failed. Exit code 1.
    Io,
    /// The request itself makes no sense: an option out of range, an unknown source prefix. Exit code 2.
    Usage,
    /// An input file says something that cannot be. Exit code 4.
    Invalid,
    /// Possible but not allowed, or not without being asked for: running a command, a `..` in the path of an archive.
    /// Exit code 6.
    Refused,
}

impl Class {
    /// The exit code of the `flashwright` program for this class.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Class::Io => 1,
            Class::Usage => 2,
            Class::Invalid => 4,
            Class::Refused => 6,
        }
    }
}

/// An input that cannot become a tree.
///
/// Displays as one line, `file:line:column: message`; [`Error::help`] has the remedy. As a
/// [`miette::Diagnostic`] it brings the text with the place marked.
pub struct Error(Box<Inner>);

struct Inner {
    class: Class,
    message: String,
    help: Option<String>,
    place: Option<Place>,
    related: Vec<Error>,
    cause: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner { class, message, help: None, place: None, related: Vec::new(), cause: None }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(Class::Invalid, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Error::new(Class::Usage, message)
    }

    /// `cannot {doing} {path}: {cause}` with a remedy that fits the cause.
    pub(crate) fn io(doing: &str, path: &Path, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let mut error = Error::new(Class::Io, format!("cannot {doing} {}: {cause}", path.display()));
        error.0.help = match cause.kind() {
            io::ErrorKind::NotFound => Some("check the path; relative paths start at the folder of image.toml, or at the current directory for sources of the command line".into()),
            io::ErrorKind::PermissionDenied => Some("make it readable for the user who builds, or leave it out with an exclude glob".into()),
            _ => None,
        };
        error.0.cause = Some(cause);
        error
    }

    /// An error of class [`Class::Invalid`] about what `place` says: for limits that only a format knows, together with
    /// [`crate::Origins`].
    #[must_use]
    pub fn limit(message: impl Into<String>, help: Option<String>, place: Place) -> Self {
        let mut error = Error::invalid(message).at(place);
        error.0.help = help;
        error
    }

    /// The same error about what the caller asked for, not about a text.
    pub(crate) fn into_usage(mut self) -> Self {
        self.0.class = Class::Usage;
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Points at a second place that has a part in the error.
    pub(crate) fn and(mut self, message: impl Into<String>, place: Place) -> Self {
        self.0.related.push(Error::new(self.0.class, message).at(place));
        self
    }

    /// The kind of failure.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.0.class
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Where it is.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// Other places that have a part in it.
    #[must_use]
    pub fn related(&self) -> &[Error] {
        &self.0.related
    }
}

impl From<crate::value::BadValue> for Error {
    fn from(bad: crate::value::BadValue) -> Self {
        let class = if bad.refused { Class::Refused } else { Class::Invalid };
        let mut error = Error::new(class, bad.message);
        error.0.help = bad.help;
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

/// All there is to know, on several lines: for logs and tests.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (exit {}): {self}", self.0.class, self.0.class.exit_code())?;
        self.0.related.iter().try_for_each(|also| write!(f, "\n  also: {also}"))?;
        self.0.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| cause as _)
    }
}

impl Diagnostic for Error {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let code = match self.0.class {
            Class::Io => "io",
            Class::Usage => "usage",
            Class::Invalid => "invalid",
            Class::Refused => "refused",
        };
        Some(Box::new(format!("flashwright::input::{code}")))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let place = self.0.place.as_ref().filter(|place| place.span.is_some())?;
        Some(&place.document.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.0.place.as_ref()?.span()?;
        let label = LabeledSpan::new_with_span(None, SourceSpan::from(span));
        Some(Box::new(std::iter::once(label)))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.0.related.is_empty() {
            return None;
        }
        Some(Box::new(self.0.related.iter().map(|error| error as &dyn Diagnostic)))
    }
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// What `-v` shows: an override, a mount point left out.
    Info,
    /// What a person should see: something asked for had no effect, something was left behind.
    Warning,
}

/// Something worth saying about an input that is no error.
#[derive(Debug, Clone)]
pub struct Note {
    /// How much it matters.
    pub severity: Severity,
    /// What happened, with the path in the image.
    pub message: Cow<'static, str>,
    /// What made it happen.
    pub place: Option<Place>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.iter().try_for_each(|place| write!(f, "{place}: "))?;
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let document = Document::new("image.toml", "a\ncafé x".as_bytes());
        for (start, shown) in [(0, "image.toml:1:1"), (2, "image.toml:2:1"), (8, "image.toml:2:6")] {
            assert_eq!(document.at(start..start).to_string(), shown);
        }
        assert_eq!(document.whole().to_string(), "image.toml");
    }

    #[test]
    fn text_is_made_harmless_without_moving_a_byte() {
        let document = Document::new("x", b"a\x1b[31m\xff\xc3\xa9\xc2\x85\n");
        assert_eq!(document.text(), "a?[31m?é??\n");
    }
}
