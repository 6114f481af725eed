//! What a check finds, with its place in the volume, until it joins the report.

use std::fmt;

use flashwright_tree::{Finding as Shared, Findings, NextStep, Severity};

use crate::reader::{Place, ReadError};

/// One thing that is wrong with an image. Its place goes into [`Shared::what`], as LEB and byte.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    shared: Shared,
    place: Option<Place>,
}

impl Finding {
    pub(super) fn error(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding { shared: Shared::error(what, expected, found), place: None }
    }

    /// What a cut of power leaves.
    pub(super) fn note(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding { shared: Shared::note(what, expected, found), place: None }
    }

    /// An error that is nothing but what a cut of power leaves.
    pub(super) fn left(error: &ReadError) -> Self {
        let Finding { mut shared, place } = Finding::from(error);
        (shared.severity, shared.next_step) = (Severity::Note, NextStep::Mount);
        Finding { shared, place }
    }

    pub(super) fn warning(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Finding { shared: Shared::warning(what, expected, found), place: None }
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    pub(super) fn in_inode(mut self, number: u32) -> Self {
        self.shared = self.shared.in_inode(number);
        self
    }

    pub(super) fn named(mut self, path: Option<Vec<u8>>) -> Self {
        self.shared.path = self.shared.path.or(path);
        self
    }

    /// In the words of all file systems.
    fn shared(self, leb_size: u32) -> Shared {
        let mut shared = self.shared;
        if let Some(place) = self.place {
            let start = u64::from(place.lnum).saturating_mul(leb_size.into());
            shared = shared.at(start.saturating_add(place.offs.into()));
            shared.what = format!("{place}: {}", shared.what);
        }
        shared
    }
}

impl From<&ReadError> for Finding {
    fn from(error: &ReadError) -> Self {
        let (what, expected, found) = error.parts();
        let mut shared = Shared::error(what, expected, found).damage();
        shared.inode = error.inode();
        Finding { shared, place: error.place() }
    }
}

impl From<&ReadError> for Shared {
    /// Without its offset from the start of the image, for which the size of a LEB must be known.
    fn from(error: &ReadError) -> Self {
        let mut shared = Finding::from(error).shared(0);
        shared.offset = None;
        shared.next_step = NextStep::CopyAgain;
        shared
    }
}

/// What a check of a whole image came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong, and as notes what is left of use. Nothing: the image is sound.
    pub findings: Findings,
    /// Bytes of a LEB.
    leb_size: u32,
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
        self.findings.is_clean()
    }

    /// True when nothing worse than a warning was found.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.is_usable()
    }

    pub(super) fn new(leb_size: u32) -> Self {
        Report { leb_size, ..Report::default() }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.add(finding.shared(self.leb_size));
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
