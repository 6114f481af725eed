//! Archives: what is in them goes into the tree, their data stays where it is.
//!
//! ```text
//! file ──► open: plain, or unpacked into memory or a temporary file ──► tar, cpio ──► items ──► graft ──► tree
//! ```

mod graft;
mod open;
mod tar;

use std::collections::HashMap;
use std::sync::Arc;

use flashwright_tree::NodeId;

use self::graft::{Graft, Item, What};
pub(crate) use self::open::{Archive, open};
use crate::builder::Builder;
use crate::{Document, Error, Severity};

/// Carries all of a tar archive into the image at `at`.
pub(crate) fn add_tar(
    builder: &mut Builder<'_>,
    archive: &Archive,
    document: &Arc<Document>,
    at: &[u8],
) -> Result<(), Error> {
    let origin = builder.origin(document.whole());
    let mut tar = tar::Reader::new(archive);
    let mut graft = Graft::new(builder, origin, at);
    while let Some(item) = tar.next_item().map_err(|error| error.at(document.whole()))? {
        graft.add(item)?;
    }
    graft.finish();
    for note in tar.notes() {
        builder.note(Severity::Warning, note, Some(document.whole()));
    }
    Ok(())
}

/// Carries all of a cpio archive into the image at `at`.
pub(crate) fn add_cpio(
    builder: &mut Builder<'_>,
    archive: &Archive,
    document: &Arc<Document>,
    at: &[u8],
) -> Result<(), Error> {
    let contents =
        flashwright_cpio::read_parts(Arc::clone(&archive.reader), archive.len, archive.data.clone());
    let contents = contents.map_err(|error| cpio_error(&error).at(document.whole()))?;
    let origin = builder.origin(document.whole());
    let mut graft = Graft::new(builder, origin, at);
    // Of nodes with several names, the first.
    let mut names: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let counts = contents.tree.name_counts();
    for entry in contents.tree.walk().filter(|entry| !contents.made_up.contains(&entry.id)) {
        let metadata = entry.node.metadata.clone();
        let what = match names.get(&entry.id) {
            Some(first) => What::Link(first.clone()),
            None => What::Node(entry.node.kind.clone()),
        };
        if counts[entry.id.index()] > 1 {
            names.entry(entry.id).or_insert_with(|| entry.path.clone());
        }
        graft.add(Item { path: entry.path, metadata, what })?;
    }
    graft.finish();
    Ok(())
}

fn cpio_error(error: &flashwright_cpio::Error) -> Error {
    let class = match error {
        flashwright_cpio::Error::Read { .. } => crate::Class::Io,
        flashwright_cpio::Error::Escape { .. } => crate::Class::Refused,
        _ => crate::Class::Invalid,
    };
    Error::new(class, error.to_string())
}
