//! What a check finds, and the list of it.

use std::fmt;

use flashwright_tree::display_path;

use crate::reader::{Place, ReadError};

/// Findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Linux works with it or repairs it at the next mount: what a cut of power leaves, wasted space, wrong statistics.
    Warning,
    /// Linux refuses the image or a file, or shows something that was not meant.
    Error,
}

/// One thing that is wrong with an image.
///
/// Shown as one line: `/bin/sh: inode 70 at LEB 12:0x1f00: link count: expected 2, found 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Path in the image, no leading `/`, where one is concerned. Of a path beyond 4096 bytes the last part.
    pub path: Option<Vec<u8>>,
    /// Inode number, where one is concerned.
    pub inode: Option<u32>,
    /// Where in the volume.
    pub place: Option<Place>,
    /// What was looked at.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", display_path(path))?;
        }
        match (self.inode, self.place) {
            (Some(inode), Some(place)) => write!(f, "inode {inode} at {place}: ")?,
            (Some(inode), None) => write!(f, "inode {inode}: ")?,
            (None, Some(place)) => write!(f, "{place}: ")?,
            (None, None) => {}
        }
        let Finding { what, expected, found, .. } = self;
        write!(f, "{what}: expected {expected}, found {found}")
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
            place: None,
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(super) fn warning(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding { severity: Severity::Warning, ..Self::error(what, expected, found) }
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    pub(super) fn in_inode(mut self, number: u32) -> Self {
        self.inode.get_or_insert(number);
        self
    }

    pub(super) fn named(mut self, path: Option<Vec<u8>>) -> Self {
        self.path = self.path.or(path);
        self
    }

    pub(super) fn severe(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl From<&ReadError> for Finding {
    fn from(error: &ReadError) -> Self {
        let (what, expected, found) = error.parts();
        let mut finding = Finding::error(what, expected, found);
        finding.place = error.place();
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
    /// Inodes of the tree, those of xattrs included.
    pub inodes: u64,
    /// Names.
    pub names: u64,
    /// Blocks of files that were unpacked.
    pub blocks: u64,
    /// Inodes without a name that were open when the image was taken: no fault.
    pub orphans: u64,
    /// Nodes of the journal.
    pub journal_nodes: u64,
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
    pub(super) fn note(&mut self, error: ReadError) -> Result<(), ReadError> {
        if !error.is_in_image() {
            return Err(error);
        }
        self.add(Finding::from(&error));
        Ok(())
    }
}
