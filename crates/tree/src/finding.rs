//! What a check of an image finds: one vocabulary for all file systems.

use std::fmt;

use crate::display_path;

/// Findings that a [`Findings`] keeps; more are only counted.
pub const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is wrong: what a file system that was in use has for Linux to set right at the next mount.
    Note,
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
    /// Nothing: Linux does it.
    Mount,
}

impl NextStep {
    const fn text(self) -> &'static str {
        match self {
            NextStep::CopyAgain => "the image is damaged, copy or make it again",
            NextStep::Mount => "Linux sets it right at the next mount",
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
    pub expected: Box<str>,
    /// What it is.
    pub found: Box<str>,
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
    /// Something that Linux would stumble over; [`NextStep::WriteAgain`], nowhere yet.
    #[must_use]
    pub fn error(what: impl Into<String>, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Finding {
            severity: Severity::Error,
            path: None,
            inode: None,
            offset: None,
            what: what.into(),
            expected: expected.to_string().into(),
            found: found.to_string().into(),
            next_step: NextStep::WriteAgain,
        }
    }

    /// As [`Finding::error`], but nothing that Linux would stumble over.
    #[must_use]
    pub fn warning(what: impl Into<String>, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Finding { severity: Severity::Warning, ..Self::error(what, expected, found) }
    }

    /// As [`Finding::error`], but what Linux expects of a file system that was in use.
    #[must_use]
    pub fn note(what: impl Into<String>, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Finding { severity: Severity::Note, next_step: NextStep::Mount, ..Self::error(what, expected, found) }
    }

    /// This finding at that position, bytes from the start of the image, when it has none yet.
    #[must_use]
    pub fn at(mut self, offset: impl Into<u64>) -> Self {
        self.offset.get_or_insert(offset.into());
        self
    }

    /// This finding in that inode, when it has none yet.
    #[must_use]
    pub fn in_inode(mut self, number: u32) -> Self {
        self.inode.get_or_insert(number);
        self
    }

    /// This finding with that path in the image, when it has none yet.
    #[must_use]
    pub fn named(mut self, path: Vec<u8>) -> Self {
        self.path.get_or_insert(path);
        self
    }

    /// This finding as damage: bytes are missing or not what was written.
    #[must_use]
    pub const fn damage(mut self) -> Self {
        self.next_step = NextStep::CopyAgain;
        self
    }
}

/// The first findings of a check, and how many more there were.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Findings {
    /// The first [`MAX_FINDINGS`], in the order they were met. None: nothing is wrong.
    pub list: Vec<Finding>,
    /// Findings beyond those, notes not counted.
    pub more: u64,
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Findings { list: vec![finding], more: 0 }
    }
}

impl Findings {
    /// True without any finding.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are worse than a note.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let faults = self.list.iter().filter(|finding| finding.severity > Severity::Note).count();
        self.more.saturating_add(faults as u64)
    }

    /// True when nothing worse than a warning was found.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.more == 0 && self.first_error().is_none()
    }

    /// The first that is worse than a warning.
    #[must_use]
    pub fn first_error(&self) -> Option<&Finding> {
        self.list.iter().find(|finding| finding.severity == Severity::Error)
    }

    /// Keeps one more, or counts it.
    pub fn add(&mut self, finding: Finding) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(finding);
        } else if finding.severity > Severity::Note {
            self.more = self.more.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_what_expected_found_and_the_next_step() {
        let finding = Finding::error("link count", 2, 1).at(0x1234u64).in_inode(12).named(b"bin/sh".to_vec());
        assert_eq!(
            finding.to_string(),
            "/bin/sh: inode 12 at 0x1234: link count: expected 2, found 1: its writer made a mistake, make the image \
             again with another one"
        );
        // The innermost place wins.
        assert_eq!(finding.at(9u64).in_inode(3).inode, Some(12));
        let damage = Finding::warning("data", "CRC 1", "CRC 2").damage();
        assert!(damage.to_string().ends_with("the image is damaged, copy or make it again"));
    }

    #[test]
    fn findings_beyond_the_limit_are_counted() {
        let mut findings = Findings::default();
        (0..MAX_FINDINGS + 2).for_each(|_| findings.add(Finding::warning("a", "b", "c")));
        assert_eq!((findings.list.len(), findings.more), (MAX_FINDINGS, 2));
        assert!(!findings.is_clean() && !findings.is_usable() && findings.first_error().is_none());
        findings.add(Finding::note("a", "b", "c"));
        assert_eq!((findings.more, findings.faults()), (2, MAX_FINDINGS as u64 + 2));
    }

    #[test]
    fn a_note_is_no_fault() {
        let findings = Findings::from(Finding::note("journal", "nothing", "3 nodes"));
        assert!(!findings.is_clean() && findings.is_usable());
        assert_eq!(findings.faults(), 0);
        let line = findings.list[0].to_string();
        assert_eq!(line, "journal: expected nothing, found 3 nodes: Linux sets it right at the next mount");
    }
}
