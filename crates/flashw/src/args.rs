//! The command line: what a command takes stands in a table, from which parsing, help, man pages and completions come.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use flashwright_mtd::text::pieces;

use crate::exit::{Failure, Result};
use crate::words::{Word, Words};

/// An option of a command.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Name after `--`; empty when it has a letter only.
    pub long: &'static str,
    /// Letter after `-`; a space when it has none.
    pub short: char,
    /// What its value is; empty when it takes none.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// An option without a value.
pub(crate) const fn switch(long: &'static str, short: char, help: &'static str) -> Flag {
    Flag { long, short, value: "", help }
}

/// An option with a value.
pub(crate) const fn option(long: &'static str, short: char, value: &'static str, help: &'static str) -> Flag {
    Flag { long, short, value, help }
}

/// A command, or a program of other names that this one stands in for.
#[derive(Debug)]
pub struct Command {
    /// Its words: `write`, `ubi format`.
    pub name: &'static str,
    /// What it takes besides options, in order: `IMAGE TARGET`; `[…]` for what may be left out, `…` for more of the last.
    pub operands: &'static str,
    /// One line.
    pub about: &'static str,
    /// What else there is to know; examples.
    pub more: &'static str,
    /// Its options, besides `--help`.
    pub flags: &'static [Flag],
    pub(crate) run: fn(&Args) -> Result,
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Args {
    given: Vec<Given>,
    pub(crate) operands: Vec<OsString>,
}

/// An option that was given.
#[derive(Debug)]
struct Given {
    flag: &'static Flag,
    /// Empty when it takes none.
    value: OsString,
}

impl Given {
    /// Whether it has that long name, or that letter.
    fn is(&self, name: &str) -> bool {
        self.flag.long == name || name.chars().eq([self.flag.short])
    }
}

impl Args {
    /// Options by their long names, of those that the command has, and operands.
    pub(crate) fn made(command: &'static Command, given: &[(&str, OsString)], operands: &[OsString]) -> Self {
        let find = |(name, value): &(&str, OsString)| {
            let flag = command.flags.iter().find(|flag| flag.long == *name)?;
            Some(Given { flag, value: value.clone() })
        };
        Args { given: given.iter().filter_map(find).collect(), operands: operands.to_vec() }
    }

    /// Whether an option was given, by its long name or its letter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Value of an option, the last one where it was given more than once.
    pub(crate) fn value(&self, name: &str) -> Option<&OsStr> {
        self.given.iter().rev().find(|given| given.is(name)).map(|given| given.value.as_os_str())
    }

    /// Every value of an option.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.given.iter().filter(move |given| given.is(name)).map(|given| given.value.as_os_str())
    }

    /// Value of an option as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let error = || Failure::usage(format_args!("--{name} {}: that is no text", value.display()));
        value.to_str().map(Some).ok_or_else(error)
    }

    /// Value of an option in bytes, or as a number: `0x1000`, `64K`, `16M`.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>> {
        self.text(name)?.map(|text| parse_size(text).ok_or_else(|| not_a_size(name, text))).transpose()
    }

    /// The same, below 4 GiB.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>> {
        let short = |value| {
            u32::try_from(value).map_err(|_| Failure::usage(format_args!("--{name} {value}: too large")))
        };
        self.size(name)?.map(short).transpose()
    }

    /// The operand at that place.
    pub(crate) fn operand(&self, index: usize) -> Option<&OsStr> {
        self.operands.get(index).map(OsString::as_os_str)
    }
}

fn not_a_size(name: &str, text: &str) -> Failure {
    Failure::usage(format_args!("--{name} {text}: expected bytes, as in 4096, 0x1000, 64K or 16M"))
}

/// Bytes: decimal or hexadecimal digits, with K, M or G for 1024, 1024^2, 1024^3; `KiB` and so on as well.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.strip_suffix("iB").unwrap_or(text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' => (text.get(..text.len() - 1)?, 20),
        b'G' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        // `from_str_radix` takes a sign.
        Some(hex) if !hex.starts_with(['+', '-']) => u64::from_str_radix(hex, 16).ok()?,
        None if !digits.starts_with('+') => digits.parse().ok()?,
        _ => return None,
    };
    value.checked_mul(1 << shift)
}

impl Command {
    /// Parses what comes after the command's name and runs it.
    pub(crate) fn run(&self, words: Vec<OsString>) -> Result {
        match self.parse(words)? {
            Some(args) => (self.run)(&args),
            None => crate::output::print_text(&self.help()),
        }
    }

    /// `None` when help is asked for.
    pub(crate) fn parse(&self, words: Vec<OsString>) -> Result<Option<Args>> {
        let (mut args, mut words) = (Args::default(), Words::new(words));
        while let Some(word) = words.next()? {
            let (name, flag) = match word {
                Word::Operand(operand) => {
                    args.operands.push(operand);
                    continue;
                }
                Word::Long(name) if name == "help" => return Ok(None),
                Word::Long(name) => {
                    let flag = self.flags.iter().find(|flag| flag.long == name && !name.is_empty());
                    (format!("--{name}"), flag)
                }
                Word::Short(letter) => {
                    let flag = self.flags.iter().find(|flag| flag.short == letter);
                    if letter == 'h' && flag.is_none() {
                        return Ok(None);
                    }
                    (format!("-{letter}"), flag)
                }
            };
            let flag = flag.ok_or_else(|| self.unknown(&name))?;
            let value = if flag.value.is_empty() {
                words.no_value(&name)?;
                OsString::new()
            } else {
                words.value(&name)?
            };
            args.given.push(Given { flag, value });
        }
        self.check_operands(args.operands.len())?;
        Ok(Some(args))
    }

    fn unknown(&self, name: &str) -> Failure {
        let near = nearest(name.get(2..).unwrap_or_default(), self.flags.iter().map(|flag| flag.long));
        let failure = Failure::usage(format_args!("{}: there is no option {name}", self.name));
        match near {
            Some(option) => {
                let command = self.name;
                failure.help(format_args!("did you mean --{option}? `flashw {command} --help` lists all"))
            }
            None => failure.help(format_args!("`flashw {} --help` lists what it takes", self.name)),
        }
    }

    fn check_operands(&self, found: usize) -> Result {
        // What may be left out comes last.
        let count = |words: &str| pieces(words, b' ').filter(|word| !word.is_empty()).count();
        let least = count(pieces(self.operands, b'[').next().unwrap_or_default());
        let most = if self.operands.ends_with("…") { usize::MAX } else { count(self.operands) };
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let number = if found < least { "too few" } else { "too many" };
        let message = format_args!("{}: {number} arguments, expected {}", self.name, or_none(self.operands));
        Err(Failure::usage(message).help(format_args!("`flashw {} --help` has examples", self.name)))
    }

    /// What `--help` prints.
    pub(crate) fn help(&self) -> String {
        let mut text = format!("{}\n\nUsage: flashw {}", self.about, self.name);
        if !self.flags.is_empty() {
            text.push_str(" [OPTIONS]");
        }
        let _ = writeln!(text, " {}", self.operands);
        if !self.flags.is_empty() {
            text.push_str("\nOptions:\n");
            self.flags.iter().for_each(|flag| flag.describe(&mut text));
        }
        if !self.more.is_empty() {
            let _ = writeln!(text, "\n{}", self.more);
        }
        text
    }
}

/// What was most likely meant by `name`: what begins with it, or differs from it by one letter in three.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| match other.starts_with(name) {
        true => 0,
        false => strsim::osa_distance(name, other),
    };
    let near = names.map(|other| (distance(other), other)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| distance * 3 <= name.len() && !name.is_empty()).map(|(_, other)| other)
}

fn or_none(operands: &str) -> &str {
    if operands.is_empty() { "none" } else { operands }
}

impl Flag {
    fn describe(&self, text: &mut String) {
        let mut left = String::from("  ");
        if self.short != ' ' {
            let _ = write!(left, "-{}", self.short);
            left.push_str(if self.long.is_empty() { "" } else { ", " });
        }
        if !self.long.is_empty() {
            let _ = write!(left, "--{}", self.long);
        }
        if !self.value.is_empty() {
            let _ = write!(left, " {}", self.value);
        }
        let _ = writeln!(text, "{left:<26} {}", self.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: Command = Command {
        name: "read",
        operands: "TARGET [FILE]",
        about: "Reads",
        more: "",
        flags: &[
            option("offset", ' ', "N", "Where"),
            switch("json", 'j', "For programs"),
            switch("", 'q', "Quiet"),
        ],
        run: |_| Ok(()),
    };

    fn parse(words: &[&str]) -> Result<Option<Args>> {
        COMMAND.parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_and_operands() {
        let args = parse(&["--offset=64K", "mtd:art", "-jq", "--offset", "0x10"]).unwrap().unwrap();
        assert_eq!(args.size("offset").unwrap(), Some(16));
        assert!(args.has("json") && args.has("j") && args.has("q") && !args.has("x"));
        assert_eq!(args.operands, ["mtd:art"]);
        assert!(parse(&["--help"]).unwrap().is_none());
        assert!(parse(&["-h"]).unwrap().is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[&str], &str); 8] = [
            (&[], "read: too few arguments, expected TARGET [FILE]"),
            (&["a", "b", "c"], "read: too many arguments, expected TARGET [FILE]"),
            (&["a", "--of", "1"], "read: there is no option --of"),
            (&["a", "-z"], "read: there is no option -z"),
            (&["a", "--json=yes"], "--json takes no value, found yes"),
            (&["a", "--=x"], "read: there is no option --"),
            (&["a", "--"], ""),
            (&["a", "--offset"], "--offset: its value is missing"),
        ];
        for (words, message) in cases {
            match parse(words) {
                Ok(_) => assert_eq!(message, "", "{words:?}"),
                Err(failure) => assert_eq!(failure.message, message, "{words:?}"),
            }
        }
        assert_eq!(
            parse(&["a", "--offs", "1"]).unwrap_err().help,
            "did you mean --offset? `flashw read --help` lists all"
        );
    }

    #[test]
    fn operands_that_may_be_left_out() {
        const PAIRS: Command = Command { operands: "UBI OLD NEW [OLD NEW]…", ..COMMAND };
        for (words, fits) in [(2, false), (3, true), (5, true), (9, true)] {
            assert_eq!(PAIRS.check_operands(words).is_ok(), fits, "{words}");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("0x1f", Some(31)),
            ("64K", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("0x10M", Some(16 << 20)),
            ("1G", Some(1 << 30)),
            ("", None),
            ("K", None),
            ("-1", None),
            ("+1", None),
            ("0x+1", None),
            ("1.5M", None),
            ("64 K", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615K", None),
        ];
        for (text, size) in cases {
            assert_eq!(parse_size(text), size, "{text}");
        }
    }

    #[test]
    fn help_has_everything() {
        let help = COMMAND.help();
        assert_eq!(
            help,
            "Reads\n\nUsage: flashw read [OPTIONS] TARGET [FILE]\n\nOptions:\n  --offset N               Where\n  -j, --json               \
             For programs\n  -q                       Quiet\n"
        );
    }
}
