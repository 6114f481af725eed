//! The words of a command line, taken apart as everywhere: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`, letters
//! together, and `--` before what is no option. A library for that took 4 KB on a device, and its errors show no values there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::vec::IntoIter;

use crate::exit::{Failure, Result};

/// Words that are left.
#[derive(Debug)]
pub(crate) struct Words {
    left: IntoIter<OsString>,
    /// What is left of a word.
    rest: Option<Rest>,
    /// After `--`.
    only_operands: bool,
}

#[derive(Debug)]
enum Rest {
    /// More letters, or the value of the one before.
    Letters(OsString),
    Value(OsString),
}

/// A word, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Option by its name, without dashes.
    Long(String),
    /// Option by its letter.
    Short(char),
    Operand(OsString),
}

impl Words {
    pub(crate) fn new(words: Vec<OsString>) -> Self {
        Words { left: words.into_iter(), rest: None, only_operands: false }
    }

    /// What comes next; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Word>> {
        if let Some(Rest::Letters(letters)) = self.rest.take() {
            return self.letter(&letters).map(Some);
        }
        let Some(word) = self.left.next() else { return Ok(None) };
        match word.as_bytes() {
            _ if self.only_operands => Ok(Some(Word::Operand(word))),
            b"--" => {
                self.only_operands = true;
                self.next()
            }
            [b'-', b'-', name @ ..] => self.long(name).map(Some),
            [b'-', letters @ ..] if !letters.is_empty() => self.letter(OsStr::from_bytes(letters)).map(Some),
            _ => Ok(Some(Word::Operand(word))),
        }
    }

    fn long(&mut self, word: &[u8]) -> Result<Word> {
        let end = word.iter().position(|&byte| byte == b'=');
        let (name, value) = word.split_at(end.unwrap_or(word.len()));
        self.rest =
            end.map(|_| Rest::Value(OsStr::from_bytes(value.get(1..).unwrap_or_default()).to_owned()));
        text(name).map(|name| Word::Long(name.to_owned()))
    }

    fn letter(&mut self, letters: &OsStr) -> Result<Word> {
        let letters = text(letters.as_bytes())?;
        let mut rest = letters.chars();
        // There is at least one.
        let letter = rest.next().unwrap_or('-');
        self.rest =
            Some(rest.as_str()).filter(|rest| !rest.is_empty()).map(|rest| match rest.strip_prefix('=') {
                Some(value) => Rest::Value(value.into()),
                None => Rest::Letters(rest.into()),
            });
        Ok(Word::Short(letter))
    }

    /// Fails when the option that came last, which is called `name`, was given a value with `=`.
    pub(crate) fn no_value(&self, name: &str) -> Result {
        match &self.rest {
            Some(Rest::Value(value)) => {
                Err(Failure::usage(format_args!("{name} takes no value, found {}", value.display())))
            }
            _ => Ok(()),
        }
    }

    /// The value of the option that came last, which is called `name`.
    pub(crate) fn value(&mut self, name: &str) -> Result<OsString> {
        match self.rest.take() {
            Some(Rest::Letters(value) | Rest::Value(value)) => Ok(value),
            None => {
                let missing = || Failure::usage(format_args!("{name}: its value is missing"));
                self.left.next().ok_or_else(missing)
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    let error =
        || Failure::usage(format_args!("an option that is no text: {}", OsStr::from_bytes(bytes).display()));
    OsStr::from_bytes(bytes).to_str().ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        Words::new(words.iter().map(OsString::from).collect())
    }

    fn long(name: &str) -> Word {
        Word::Long(name.into())
    }

    fn operand(word: &str) -> Word {
        Word::Operand(word.into())
    }

    #[test]
    fn words_are_taken_apart() {
        let cases: [(&[&str], &[Word]); 6] = [
            (&["a", "-", "", "b"], &[operand("a"), operand("-"), operand(""), operand("b")]),
            (&["--json", "-j"], &[long("json"), Word::Short('j')]),
            (&["-jqä", "x"], &[Word::Short('j'), Word::Short('q'), Word::Short('ä'), operand("x")]),
            (
                &["-j", "--", "-q", "--", "--json"],
                &[Word::Short('j'), operand("-q"), operand("--"), operand("--json")],
            ),
            (&["--ä"], &[long("ä")]),
            (&[], &[]),
        ];
        for (given, expected) in cases {
            let mut words = words(given);
            let found: Vec<_> = std::iter::from_fn(|| words.next().unwrap()).collect();
            assert_eq!(found, expected, "{given:?}");
        }
    }

    #[test]
    fn values_of_options() {
        for given in
            [&["--out", "-x", "end"][..], &["--out=-x", "end"], &["-o", "-x", "end"], &["-o-x", "end"]]
        {
            let mut words = words(given);
            words.next().unwrap().unwrap();
            assert_eq!(words.value("--out").unwrap(), "-x", "{given:?}");
            assert_eq!(words.next().unwrap(), Some(operand("end")));
        }
        let mut empty = words(&["--out=", "-o="]);
        for _ in 0..2 {
            empty.next().unwrap();
            assert_eq!(empty.value("--out").unwrap(), "");
        }
        let mut bytes = Words::new(vec![OsStr::from_bytes(b"--out=\xff").to_owned()]);
        bytes.next().unwrap();
        assert_eq!(bytes.value("--out").unwrap().as_bytes(), b"\xff");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut missing = words(&["--out"]);
        missing.next().unwrap();
        assert_eq!(missing.value("--out").unwrap_err().message, "--out: its value is missing");
        for given in ["--json=yes", "-j=yes"] {
            let mut words = words(&[given]);
            words.next().unwrap();
            assert_eq!(words.no_value("--json").unwrap_err().message, "--json takes no value, found yes");
        }
        for bytes in [&b"--\xff"[..], b"-\xff"] {
            let mut words = Words::new(vec![OsStr::from_bytes(bytes).to_owned()]);
            assert_eq!(words.next().unwrap_err().message, "an option that is no text: \u{fffd}");
        }
    }
}
