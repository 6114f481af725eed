//! Lines of text read field by field, with the place of each field for errors.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use flashwright_tree::Timestamp;

use crate::value::{self, BadValue};
use crate::{Document, Error};

/// What is wrong, and where in the text.
pub(crate) type Bad = (BadValue, Range<usize>);

pub(crate) fn located(bad: BadValue, span: Range<usize>, document: &Arc<Document>) -> Error {
    Error::from(bad).at(document.at(span))
}

/// Reads a text of one definition a line, `#` before comments, with `read`.
///
/// # Errors
/// The first line that is none, with its place.
pub(crate) fn each_line<T>(
    text: &[u8],
    document: &Arc<Document>,
    mut read: impl FnMut(&mut Fields<'_>) -> Result<T, Bad>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    let mut start = 0_usize;
    for text in text.split(|&byte| byte == b'\n') {
        let span = start..start.saturating_add(text.len());
        start = span.end.saturating_add(1);
        let line = Line { text: text.to_vec(), span, verbatim: true };
        if !line.is_blank() && !line.is_comment() {
            let mut fields = Fields::new(&line);
            all.push(read(&mut fields).map_err(|(bad, span)| located(bad, span, document))?);
        }
    }
    Ok(all)
}

/// A line, continuations joined.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: Vec<u8>,
    /// Where it is in the document, continuations included.
    pub(crate) span: Range<usize>,
    /// Whether an offset in `text` is one in the document, less the start of the span.
    pub(crate) verbatim: bool,
}

impl Line {
    pub(crate) fn is_blank(&self) -> bool {
        self.text.iter().all(|&byte| is_space(byte))
    }

    pub(crate) fn is_comment(&self) -> bool {
        self.text.iter().find(|&&byte| !is_space(byte)) == Some(&b'#')
    }

    /// The span of a part of the text, or of all of it where bytes have moved.
    pub(crate) fn part(&self, part: Range<usize>) -> Range<usize> {
        if !self.verbatim {
            return self.span.clone();
        }
        self.span.start.saturating_add(part.start)..self.span.start.saturating_add(part.end)
    }
}

/// White space as C's `isspace` has it in the C locale.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads the fields of one line from left to right.
pub(crate) struct Fields<'l> {
    line: &'l Line,
    at: usize,
}

impl<'l> Fields<'l> {
    pub(crate) fn new(line: &'l Line) -> Self {
        Fields { line, at: 0 }
    }

    /// The whole line as a place.
    pub(crate) fn line_span(&self) -> Range<usize> {
        self.line.span.clone()
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest_raw().iter().all(|&byte| is_space(byte))
    }

    /// The next word, or what is in quotes when it begins with one; in quotes, a backslash stands before a quote or
    /// another backslash.
    pub(crate) fn quoted(&mut self, what: &str, quotes: &[u8]) -> Result<(Vec<u8>, Range<usize>), Bad> {
        self.skip_space();
        let Some(&quote) = self.rest_raw().first().filter(|first| quotes.contains(first)) else {
            return self.word(what).map(|(word, span)| (word.to_vec(), span));
        };
        let start = self.at;
        let (mut text, mut escaped) = (Vec::new(), false);
        for &byte in self.rest_raw().get(1..).unwrap_or_default() {
            self.at = self.at.saturating_add(1);
            if escaped && !matches!(byte, b'"' | b'\'' | b'\\') {
                let bad =
                    BadValue::new("a backslash in quotes before something else than a quote or a backslash");
                return Err((bad.with_help("write \\\\ for a backslash"), self.span_from(start)));
            }
            if !escaped && byte == quote {
                self.at = self.at.saturating_add(1);
                return self.after_quote(text, start);
            }
            escaped = !escaped && byte == b'\\';
            if !escaped {
                text.push(byte);
            }
        }
        let bad = BadValue::new("a quote that is not closed");
        Err((bad.with_help("write \\\" for a quote in a name"), self.line.part(start..self.line.text.len())))
    }

    fn after_quote(&self, text: Vec<u8>, start: usize) -> Result<(Vec<u8>, Range<usize>), Bad> {
        let span = self.span_from(start);
        if self.rest_raw().first().is_some_and(|&byte| !is_space(byte)) {
            return Err((BadValue::new("something follows the closing quote without a space"), span));
        }
        Ok((text, span))
    }

    /// All the rest without the white space around it; `None` when there is none.
    pub(crate) fn rest_trimmed(&mut self) -> Option<(&'l [u8], Range<usize>)> {
        self.skip_space();
        let (start, rest) = (self.at, self.rest_raw());
        let trailing = rest.iter().rev().take_while(|&&byte| is_space(byte)).count();
        let rest = rest.get(..rest.len().saturating_sub(trailing)).unwrap_or_default();
        self.at = start.saturating_add(rest.len());
        let span = self.span_from(start);
        self.at = self.line.text.len();
        (!rest.is_empty()).then_some((rest, span))
    }

    /// Whether the next word begins with that byte.
    pub(crate) fn next_begins_with(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.rest_raw().first() == Some(&byte)
    }

    /// Skips the next word when it is `*`.
    pub(crate) fn skip_star(&mut self) -> bool {
        self.skip_space();
        let is_star = matches!(self.rest_raw(), [b'*'] | [b'*', b' ' | b'\t' | b'\r', ..]);
        self.at = self.at.saturating_add(usize::from(is_star));
        is_star
    }

    /// An octal mode, 0 to 7777.
    pub(crate) fn mode(&mut self) -> Result<u16, Bad> {
        let (word, span) = self.word("the mode")?;
        value::mode(&shown(word)).map_err(|bad| (bad, span))
    }

    pub(crate) fn rest_raw(&self) -> &'l [u8] {
        self.line.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn skip_space(&mut self) {
        let spaces = self.rest_raw().iter().take_while(|&&byte| is_space(byte)).count();
        self.at = self.at.saturating_add(spaces);
    }

    pub(crate) fn span_from(&self, start: usize) -> Range<usize> {
        self.line.part(start..self.at.max(start))
    }

    /// The next word, up to white space.
    pub(crate) fn word(&mut self, what: &str) -> Result<(&'l [u8], Range<usize>), Bad> {
        self.skip_space();
        let start = self.at;
        let word = self.rest_raw();
        let len = word.iter().position(|&byte| is_space(byte)).unwrap_or(word.len());
        self.at = start.saturating_add(len);
        if len == 0 {
            return Err((BadValue::new(format!("{what} is missing")), self.line.part(0..start)));
        }
        Ok((word.get(..len).unwrap_or_default(), self.span_from(start)))
    }

    /// The next word, in which quotes and backslashes keep white space.
    pub(crate) fn name(&mut self, what: &str) -> Result<(Vec<u8>, Range<usize>), Bad> {
        self.skip_space();
        let start = self.at;
        let (mut name, mut quoted, mut escaped) = (Vec::new(), false, false);
        for &byte in self.rest_raw() {
            if escaped {
                name.push(byte);
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                quoted = !quoted;
            } else if is_space(byte) && !quoted {
                break;
            } else {
                name.push(byte);
            }
            self.at = self.at.saturating_add(1);
        }
        let span = self.span_from(start);
        if quoted {
            return Err((
                BadValue::new("a quote that is not closed").with_help("write \\\" for a quote in a name"),
                span,
            ));
        }
        if self.at == start {
            return Err((BadValue::new(format!("{what} is missing")), self.line.part(0..start)));
        }
        Ok((name, span))
    }

    /// All the rest, white space before it skipped, as it stands.
    pub(crate) fn rest(&mut self, what: &str) -> Result<(&'l [u8], Range<usize>), Bad> {
        self.skip_space();
        let (start, rest) = (self.at, self.rest_raw());
        self.at = self.line.text.len();
        if rest.is_empty() {
            return Err((BadValue::new(format!("{what} is missing")), self.line.part(0..start)));
        }
        Ok((rest, self.span_from(start)))
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<(u64, Range<usize>), Bad> {
        let (word, span) = self.word(what)?;
        let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        let number = number.ok_or_else(|| {
            (BadValue::new(format!("bad {what} {:?}: not a decimal number", shown(word))), span.clone())
        });
        Ok((number?, span))
    }

    pub(crate) fn owner(&mut self, what: &str) -> Result<u32, Bad> {
        let (word, span) = self.word(what)?;
        if word == b"root" {
            return Ok(0);
        }
        std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).ok_or_else(|| {
            let bad = BadValue::new(format!("bad {what} {:?}: not a number from 0 to 4294967295", shown(word)));
            (bad.with_help("names mean other numbers on other machines: write the number (root is the one name known)"), span)
        })
    }

    pub(crate) fn end(&mut self) -> Result<(), Bad> {
        self.skip_space();
        if self.rest_raw().is_empty() {
            return Ok(());
        }
        let span = self.line.part(self.at..self.line.text.len());
        let bad = BadValue::new(format!("more than expected: {:?}", shown(self.rest_raw())));
        Err((bad.with_help("quote names that have spaces; a comment needs a line of its own"), span))
    }

    /// Seconds since 1970, or a quoted RFC 3339 time.
    pub(crate) fn time(&mut self) -> Result<Timestamp, Bad> {
        let (word, span) = self.name("the time")?;
        let text = String::from_utf8_lossy(&word).into_owned();
        let digits = text.strip_prefix('@').unwrap_or(&text);
        if let Ok(seconds) = digits.parse() {
            return Ok(Timestamp::from_seconds(seconds));
        }
        let date = text.parse::<toml::value::Datetime>().map_err(|_| {
            let bad = BadValue::new(format!("bad time {text:?}"));
            let help = format!("write seconds since 1970 (date -u -d {text:?} +%s gives them), or a whole UTC time in quotes, such as \"2024-01-31T12:00:00Z\"");
            (bad.with_help(help), span.clone())
        })?;
        value::timestamp(&date).map_err(|bad| (bad, span))
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
