//! What an image is, without its tree.

use super::index::Index;
use super::{Image, ReadError, journal};
use crate::format::{ComprType, MstNode, SbNode};

/// Facts about an image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Info {
    /// The superblock, as it stands in the image.
    pub superblock: SbNode,
    /// The master node that counts.
    pub master: MstNode,
    /// Compression of new files.
    pub default_compr: ComprType,
    /// Length of the whole file, bytes.
    pub len: u64,
    /// LEBs of the main area.
    pub main_lebs: u32,
    /// Whether it was unmounted in order, or never mounted.
    pub clean: bool,
    /// LEBs of the journal.
    pub buds: u64,
    /// Nodes of the journal.
    pub journal_nodes: u64,
}

impl Image {
    /// Facts about the image: superblock, master and journal.
    ///
    /// # Errors
    /// [`ErrorClass::Corrupt`](super::ErrorClass::Corrupt), [`ErrorClass::Limit`](super::ErrorClass::Limit),
    /// [`ErrorClass::Io`](super::ErrorClass::Io).
    pub fn info(&self) -> Result<Info, ReadError> {
        let mut budget = self.limits.budget(self.input.len());
        let mut index = Index::default();
        let journal = journal::replay(&self.facts, &self.master, &self.input, &mut budget, &mut index)?;
        Ok(Info {
            superblock: self.facts.sb,
            master: self.master.node,
            default_compr: self.facts.default_compr,
            len: self.input.len(),
            main_lebs: self.facts.leb_cnt.saturating_sub(self.facts.main_first),
            clean: !self.master.is_dirty(),
            buds: journal.buds.len() as u64,
            journal_nodes: journal.nodes,
        })
    }
}
