//! Everything that is wrong with an image.

use flashwright_tree::Findings;

use super::{Image, ReadError};

/// What a check of a whole image came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong. None: the image is sound.
    pub findings: Findings,
    /// Nodes of the tree.
    pub nodes: u64,
    /// Bytes of data that were unpacked, those of older versions too.
    pub bytes: u64,
}

impl Image {
    /// Checks every node: header, lengths and CRCs; each summary against the nodes of its eraseblock; the tree that they
    /// make; and all data, also of older versions, by unpacking it.
    ///
    /// # Errors
    /// [`ErrorClass::Io`](super::ErrorClass::Io), [`ErrorClass::Limit`](super::ErrorClass::Limit); what is wrong with the
    /// image is in the report.
    pub fn check(&self) -> Result<Report, ReadError> {
        let (tree, found) = self.load(false)?;
        let mut report = Report { findings: self.findings.clone(), ..Report::default() };
        report.nodes = tree.arena_len() as u64;
        drop(tree);
        found.list.into_iter().for_each(|finding| report.findings.add(finding));
        report.findings.more = report.findings.more.saturating_add(found.more);
        let store = self.store();
        for node in self.index.inodes() {
            match store.unpack(node)? {
                Ok(data) => report.bytes = report.bytes.saturating_add(data.len() as u64),
                Err(finding) => report.findings.add(finding),
            }
        }
        Ok(report)
    }
}
