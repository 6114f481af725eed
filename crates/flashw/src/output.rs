//! What a run prints: lines for people, one JSON object per line for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use crate::exit::{Details, Failure, Result};

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result {
    match io::stdout().write_all(text.as_bytes()) {
        // Who reads has seen enough: `flashw info | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => {
            result.map_err(|error| Failure::io(format_args!("cannot write to standard output: {error}")))
        }
    }
}

/// Whether somebody is watching: then there is progress.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Prints a line to standard error, where messages go.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when that fails.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Shows how far it is, in place of what was shown before; an empty text clears it.
pub(crate) fn show_progress(text: &str) {
    // As `say`.
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

/// Version of the events that `--json` prints: grows when a field changes its meaning or goes.
const EVENTS: u32 = 1;

/// One JSON object. Its methods are called in many places, and stay out of them to keep the program small.
#[derive(Debug)]
pub(crate) struct Json(String);

impl Json {
    /// An event: an object with the version and its name.
    #[inline(never)]
    pub(crate) fn event(name: &str) -> Self {
        Json(format!("{{\"version\":{EVENTS}")).text("event", name)
    }

    #[inline(never)]
    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }

    #[inline(never)]
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        quote(value, &mut self.0);
        self
    }

    pub(crate) fn number(self, key: &str, value: impl Into<u64>) -> Self {
        self.long_number(key, value.into())
    }

    #[inline(never)]
    fn long_number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    #[inline(never)]
    pub(crate) fn flag(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        self.0.push_str(if value { "true" } else { "false" });
        self
    }

    /// A list of texts.
    pub(crate) fn texts(self, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        let quoted = |value: String| {
            let mut text = String::new();
            quote(&value, &mut text);
            text
        };
        self.list(key, values.into_iter().map(quoted))
    }

    /// A list of numbers.
    pub(crate) fn numbers(self, key: &str, values: impl IntoIterator<Item = u64>) -> Self {
        self.list(key, values.into_iter().map(|value| value.to_string()))
    }

    fn list(mut self, key: &str, values: impl Iterator<Item = String>) -> Self {
        self.key(key);
        self.0.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.0.push_str(&value);
        }
        self.0.push(']');
        self
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// Prints it as a line of standard output.
    #[inline(never)]
    pub(crate) fn print(self) -> Result {
        print(&(self.finish() + "\n"))
    }
}

/// A text as JSON has it.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{20}'.. => out.push(character),
            control => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
        }
    }
    out.push('"');
}

/// Tells of a failure, on standard error for people, on standard output for programs.
pub(crate) fn report(failure: &Failure, json: bool) {
    if json {
        let Details { exit, message, help } = &**failure;
        let event = Json::event("error").text("kind", exit.word()).number("exit_code", exit.code());
        // Nobody is left to tell when that fails.
        let _ = event.text("message", message).text("help", help).print();
        return;
    }
    say(&format!("flashw: {}", failure.message));
    if !failure.help.is_empty() {
        say(&format!("help: {}", failure.help));
    }
}

/// Bytes in words: `126976 bytes (124 KiB)`.
pub(crate) fn bytes(len: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| len >= 1 << shift && len.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{} {unit}", len >> shift),
        None => format!("{len} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        let event = Json::event("x").text("t", "a\"\\\n\u{1}ä").flag("b", false).numbers("n", [1, 2]);
        assert_eq!(
            event.finish(),
            "{\"version\":1,\"event\":\"x\",\"t\":\"a\\\"\\\\\\u000a\\u0001ä\",\"b\":false,\"n\":[1,2]}"
        );
        let texts = Json::event("y").texts("t", [String::from("a"), "b".into()]);
        assert_eq!(texts.finish(), "{\"version\":1,\"event\":\"y\",\"t\":[\"a\",\"b\"]}");
    }

    #[test]
    fn sizes_in_words() {
        let cases =
            [(0, "0 bytes"), (100, "100 bytes"), (1024, "1 KiB"), (1 << 20, "1 MiB"), (126_976, "124 KiB")];
        for (len, words) in cases {
            assert_eq!(bytes(len), words);
        }
    }
}
