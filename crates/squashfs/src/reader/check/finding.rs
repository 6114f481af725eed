//! What a check finds, and the list of it.

use std::fmt;

use flashwright_tree::display_path;

use crate::reader::error::Place;
use crate::reader::{ErrorClass, ReadError};

/// Findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Linux works with it, but no sound writer makes it: wasted bytes, wrong statistics, names out of reach.
    Warning,
    /// Linux refuses the image or a file, or shows something that was not meant.
    Error,
}

/// What to do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextStep {
    /// Bytes that do not unpack or are missing: the copy is damaged.
    CopyAgain,
    /// Whole, but wrong: whoever wrote it made a mistake.
    WriteAgain,
}

impl NextStep {
    const fn text(self) -> &'static str {
        match self {
            NextStep::CopyAgain => "the image is damaged, copy or make it again",
            NextStep::WriteAgain => "its writer made a mistake, make the image again with another one",
        }
    }
}

/// One thing that is wrong with an image.
///
/// Shown as one line: `/bin/sh: inode 12 at 0x1234: link count: expected 2, found 1: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Path in the image, no leading `/`, where one is concerned. Of a path beyond 4096 bytes the last part.
    pub path: Option<Vec<u8>>,
    /// Inode number, where one is concerned.
    pub inode: Option<u32>,
    /// Position, bytes from the start of the image; of a metadata block for what is in one.
    pub offset: Option<u64>,
    /// What was looked at.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// What to do.
    pub next_step: NextStep,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", display_path(path))?;
        }
        match (self.inode, self.offset) {
            (Some(inode), Some(offset)) => write!(f, "inode {inode} at {offset:#x}: ")?,
            (Some(inode), None) => write!(f, "inode {inode}: ")?,
            (None, Some(offset)) => write!(f, "at {offset:#x}: ")?,
            (None, None) => {}
        }
        let Finding { what, expected, found, .. } = self;
        write!(f, "{what}: expected {expected}, found {found}: {}", self.next_step.text())
    }
}

impl Finding {
    pub(super) fn error(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding {
            severity: Severity::Error,
            path: None,
            inode: None,
            offset: None,
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            next_step: NextStep::WriteAgain,
        }
    }

    pub(super) fn warning(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding { severity: Severity::Warning, ..Self::error(what, expected, found) }
    }

    pub(super) fn at(mut self, place: impl Into<Place>) -> Self {
        self.offset.get_or_insert(place.into().offset);
        self
    }

    pub(super) fn in_inode(mut self, number: u32) -> Self {
        self.inode.get_or_insert(number);
        self
    }

    pub(super) fn named(mut self, path: Vec<u8>) -> Self {
        self.path.get_or_insert(path);
        self
    }
}

impl From<&ReadError> for Finding {
    fn from(error: &ReadError) -> Self {
        let (what, expected, found) = error.parts();
        let place = error.place();
        let mut finding = Finding::error(what, expected, found);
        finding.next_step = NextStep::CopyAgain;
        finding.offset = place.map(|place| place.offset);
        finding.inode = error.inode();
        finding
    }
}

/// What a check of a whole image came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The first 1000 findings, in the order they were met. None: the image is sound.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
    /// Inodes that were reached from the root.
    pub inodes: u64,
    /// Names that were read, the root's not counted.
    pub names: u64,
    /// Data and fragment blocks that were unpacked.
    pub blocks: u64,
}

impl Report {
    /// True without any finding.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// True when nothing worse than a warning was found.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.more == 0 && self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Notes an error that is in the image; returns one that is not (I/O, memory).
    pub(super) fn note(
        &mut self,
        error: ReadError,
        complete: impl FnOnce(Finding) -> Finding,
    ) -> Result<(), ReadError> {
        if matches!(error.class(), ErrorClass::Io | ErrorClass::Limit) {
            return Err(error);
        }
        self.add(complete(Finding::from(&error)));
        Ok(())
    }
}
