//! What is wrong with an image, and the list of it.

use std::fmt;

use flashwright_media::{Leb, Peb};

/// Findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The kernel puts up with it, and no data is lost.
    Warning,
    /// The kernel refuses the image or a volume, or data is lost.
    Error,
}

/// One thing that is wrong with an image.
///
/// Shown as one line: `PEB 12 (0x00180000), volume 0 LEB 5: data CRC: expected 0x1b00d4ee, found 0x9a3f01c2: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// PEB, where one is concerned.
    pub peb: Option<Peb>,
    /// Bytes from the start of the file: of that PEB, or of what is wrong in it.
    pub offset: Option<u64>,
    /// Id of the volume, where one is concerned.
    pub volume: Option<u32>,
    /// LEB of that volume.
    pub leb: Option<Leb>,
    /// What was looked at.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// What follows from it, or what to do.
    pub advice: &'static str,
}

/// The bytes are not what was written.
pub(super) const DAMAGED: &str = "the image is damaged, write or copy it again";
/// The bytes are whole, but mean what cannot be.
pub(super) const BAD_WRITER: &str = "its writer made a mistake, make the image again with another one";

impl Finding {
    pub(super) fn error(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        advice: &'static str,
    ) -> Self {
        Finding {
            severity: Severity::Error,
            peb: None,
            offset: None,
            volume: None,
            leb: None,
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            advice,
        }
    }

    pub(super) fn warning(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        advice: &'static str,
    ) -> Self {
        Finding { severity: Severity::Warning, ..Self::error(what, expected, found, advice) }
    }

    pub(super) fn at(mut self, peb: u32, offset: u64) -> Self {
        (self.peb, self.offset) = (Some(Peb(peb)), Some(offset));
        self
    }

    pub(super) fn of(mut self, volume: u32, lnum: u32) -> Self {
        (self.volume, self.leb) = (Some(volume), Some(Leb(lnum)));
        self
    }

    pub(super) fn of_volume(mut self, volume: u32) -> Self {
        self.volume = Some(volume);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut colon = ": ";
        match (self.peb, self.offset) {
            (Some(peb), Some(offset)) => write!(f, "{peb} ({offset:#010x})")?,
            (None, Some(offset)) => write!(f, "at {offset:#010x}")?,
            (Some(peb), None) => write!(f, "{peb}")?,
            (None, None) => colon = "",
        }
        if let Some(volume) = self.volume {
            write!(f, "{}volume {volume}", if colon.is_empty() { "" } else { ", " })?;
            colon = ": ";
        }
        if let Some(leb) = self.leb {
            write!(f, " {leb}")?;
        }
        let Finding { what, expected, found, advice, .. } = self;
        write!(f, "{colon}{what}: expected {expected}, found {found}: {advice}")
    }
}

/// What a check of a whole image came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The first 1000 findings. None: the image is sound.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
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
}
