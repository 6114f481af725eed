//! In which order file data is written.

use flashwright_tree::{NodeId, Tree};

use super::plan::Plan;
use crate::error::WriteError;
use crate::options::Options;

/// The files in the order in which their data is read, packed into fragments and written.
pub(super) fn data_order(_tree: &Tree, plan: &Plan, _options: &Options) -> Result<Vec<NodeId>, WriteError> {
    Ok(plan.files.clone())
}
