//! What is said on standard error: notes, a progress bar on a terminal, the summary at the end.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use flashwright_manifest::{Note, Severity};
use flashwright_tree::Findings;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::RunFlags;

/// How much is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    verbose: bool,
    quiet: bool,
    json: bool,
}

impl Console {
    pub(crate) const fn new(run: &RunFlags) -> Self {
        Console { verbose: run.verbose > 0, quiet: run.quiet, json: run.json }
    }

    /// A console for commands that have no warnings.
    pub(crate) const fn plain(quiet: bool, json: bool) -> Self {
        Console { verbose: false, quiet, json }
    }

    /// Says a line, unless nothing or only JSON is wanted.
    pub(crate) fn say(self, line: impl Display) {
        if !self.quiet && !self.json {
            print_error(line);
        }
    }

    /// Warns of what an image may have and nothing here reads.
    pub(crate) fn missing(self, image: &Path, missing: &[&str]) {
        if !missing.is_empty() {
            let (image, missing) = (image.display(), missing.join("; "));
            self.say(format_args!("warning: {image}: not read, since nothing here can: {missing}"));
        }
    }

    /// Warnings always, the rest with `-v`.
    pub(crate) fn notes(self, notes: &[Note]) {
        if self.quiet {
            return;
        }
        for note in notes {
            match note.severity {
                Severity::Warning if !self.json => print_error(format_args!("warning: {note}")),
                Severity::Info if self.verbose => print_error(format_args!("note: {note}")),
                _ => {}
            }
        }
    }

    /// What is wrong with an image of which something was taken all the same.
    pub(crate) fn findings(self, findings: &Findings) {
        if self.quiet || self.json {
            return;
        }
        findings.list.iter().for_each(|finding| print_error(format_args!("warning: {finding}")));
        if findings.more > 0 {
            print_error(format_args!("warning: and {} more", findings.more));
        }
    }

    /// A bar for `total` bytes on a terminal, nothing elsewhere.
    pub(crate) fn bar(self, label: &str) -> Bar {
        if self.quiet || !io::stderr().is_terminal() {
            return Bar(None);
        }
        let bar = ProgressBar::new(0);
        let template = "{msg} {wide_bar} {percent:>3} %  {binary_bytes}/{binary_total_bytes}  {eta} left";
        // A template that does not parse gives the default bar.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(label.to_owned());
        Bar(Some(bar))
    }
}

/// A line on standard error; nobody is left to tell when that fails.
fn print_error(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A progress bar, or none. Gone from the screen when dropped.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
