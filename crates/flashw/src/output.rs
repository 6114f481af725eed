//! What a run prints: lines for people, one JSON object per line for programs.

use std::fmt::{self, Display, Write as _};
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::stdio::{stderr, stdout};

use crate::exit::{Details, Failure, Result};

/// Writes all of it, as it is: what buffers would do is done by those who build a text first.
fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Prints to standard output.
pub(crate) fn print_text(text: &str) -> Result {
    match write_all(stdout(), text.as_bytes()) {
        // Who reads has seen enough: `flashw info | head`.
        Ok(()) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(Failure::io(format_args!("cannot write to standard output: {error}"))),
    }
}

/// The same.
#[inline(never)]
pub(crate) fn print(text: fmt::Arguments<'_>) -> Result {
    print_text(&fmt::format(text))
}

/// Whether somebody is watching: then there is progress.
pub(crate) fn is_watched() -> bool {
    stderr().is_terminal()
}

/// Prints a line to standard error, where messages go.
#[inline(never)]
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut text = fmt::format(line);
    text.push('\n');
    // Nobody is left to tell when that fails.
    let _ = write_all(stderr(), text.as_bytes());
}

/// Shows how far it is, in place of what was shown before; an empty text clears it.
pub(crate) fn show_progress(text: fmt::Arguments<'_>) {
    let line = format!("\r\x1b[K{text}");
    // As `say`.
    let _ = write_all(stderr(), line.as_bytes());
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
        let mut json = Json(format!("{{\"version\":{EVENTS}"));
        json.text("event", name);
        json
    }

    /// An event that something on flash is the subject of.
    #[inline(never)]
    pub(crate) fn of(name: &str, target: &dyn Display) -> Self {
        let mut json = Json::event(name);
        json.show("target", target);
        json
    }

    #[inline(never)]
    fn key(&mut self, key: &str) -> &mut String {
        // Keys are words of this program.
        let _ = write!(self.0, ",\"{key}\":");
        &mut self.0
    }

    /// A text.
    #[inline(never)]
    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.show(key, &value)
    }

    /// What that reads as, as a text.
    #[inline(never)]
    pub(crate) fn show(&mut self, key: &str, value: &dyn Display) -> &mut Self {
        quote(value, self.key(key));
        self
    }

    pub(crate) fn number(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        self.long_number(key, value.into())
    }

    #[inline(never)]
    fn long_number(&mut self, key: &str, value: u64) -> &mut Self {
        let _ = write!(self.key(key), "{value}");
        self
    }

    #[inline(never)]
    pub(crate) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).push_str(if value { "true" } else { "false" });
        self
    }

    /// A list of what reads as a text.
    pub(crate) fn texts<T: Display>(&mut self, key: &str, values: &[T]) -> &mut Self {
        let mut start = '[';
        self.key(key);
        for value in values {
            self.0.push(start);
            quote(value, &mut self.0);
            start = ',';
        }
        self.end_list(start)
    }

    /// A list of numbers.
    pub(crate) fn numbers<T: Display>(&mut self, key: &str, values: &[T]) -> &mut Self {
        let mut start = '[';
        self.key(key);
        for value in values {
            let _ = write!(self.0, "{start}{value}");
            start = ',';
        }
        self.end_list(start)
    }

    fn end_list(&mut self, start: char) -> &mut Self {
        self.0.push_str(if start == '[' { "[]" } else { "]" });
        self
    }

    /// Prints it as a line of standard output.
    #[inline(never)]
    pub(crate) fn print(&mut self) -> Result {
        self.0.push_str("}\n");
        print_text(&self.0)
    }
}

/// Takes a text as JSON has it.
struct Quoted<'a>(&'a mut String);

impl fmt::Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                '\u{20}'.. => self.0.push(character),
                control => write!(self.0, "\\u{:04x}", u32::from(control))?,
            }
        }
        Ok(())
    }
}

fn quote(value: &dyn Display, out: &mut String) {
    out.push('"');
    // A String takes everything.
    let _ = write!(Quoted(out), "{value}");
    out.push('"');
}

/// Tells of a failure, on standard error for people, on standard output for programs.
pub(crate) fn report(failure: &Failure, json: bool) {
    let Details { exit, message, help } = &**failure;
    if json {
        let mut event = Json::event("error");
        event.text("kind", exit.word()).number("exit_code", exit.code());
        // Nobody is left to tell when that fails.
        let _ = event.text("message", message).text("help", help).print();
        return;
    }
    say(format_args!("flashw: {message}"));
    if !help.is_empty() {
        say(format_args!("help: {help}"));
    }
}

/// Bytes in words: `126976 bytes`, `124 KiB`.
pub(crate) fn bytes(len: u64) -> impl Display {
    struct Bytes(u64);

    impl Display for Bytes {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let units = [(30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "bytes")];
            let whole = |shift: u32| shift == 0 || self.0 >= 1 << shift && self.0.trailing_zeros() >= shift;
            let unit = units.into_iter().find(|(shift, _)| whole(*shift));
            // The last one takes everything.
            unit.map_or(Ok(()), |(shift, unit)| write!(f, "{} {unit}", self.0 >> shift))
        }
    }

    Bytes(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        let mut event = Json::event("x");
        event.text("t", "a\"\\\n\u{1}ä").flag("b", false).numbers("n", &[1, 2]);
        assert_eq!(
            event.0,
            "{\"version\":1,\"event\":\"x\",\"t\":\"a\\\"\\\\\\u000a\\u0001ä\",\"b\":false,\"n\":[1,2]"
        );
        let mut texts = Json::of("y", &1);
        texts.texts("t", &["a", "b"]).texts::<&str>("n", &[]);
        assert_eq!(texts.0, "{\"version\":1,\"event\":\"y\",\"target\":\"1\",\"t\":[\"a\",\"b\"],\"n\":[]");
    }

    #[test]
    fn sizes_in_words() {
        let cases =
            [(0, "0 bytes"), (100, "100 bytes"), (1024, "1 KiB"), (1 << 20, "1 MiB"), (126_976, "124 KiB")];
        for (len, words) in cases {
            assert_eq!(bytes(len).to_string(), words);
        }
    }
}
