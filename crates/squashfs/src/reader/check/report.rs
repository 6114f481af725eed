//! What a check came to.

use flashwright_tree::{Finding, Findings};

use crate::reader::error::Place;
use crate::reader::{ErrorClass, ReadError};

impl From<Place> for u64 {
    fn from(place: Place) -> u64 {
        place.offset
    }
}

impl From<&ReadError> for Finding {
    fn from(error: &ReadError) -> Self {
        let (what, expected, found) = error.parts();
        let place = error.place();
        let mut finding = Finding::error(what, expected, found).damage();
        finding.offset = place.map(|place| place.offset);
        finding.inode = error.inode();
        finding
    }
}

/// What a check of a whole image came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong. None: the image is sound.
    pub findings: Findings,
    /// Inodes that were reached from the root.
    pub inodes: u64,
    /// Names that were read, the root's not counted.
    pub names: u64,
    /// Data and fragment blocks that were unpacked.
    pub blocks: u64,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.add(finding);
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
