//! Finds where the nodes begin, and their byte order.

use std::sync::Arc;

use flashwright_media::{Endian, Fields};
use flashwright_tree::ReadAt;

use super::ReadError;
use super::window::Window;
use crate::format::{MAGIC, NodeHeader, Record};

/// Bytes from the start of an image that [`detect`] wants to see.
pub const HEAD_LEN: usize = NodeHeader::LEN as usize;

/// The byte order of the node that `head`, the first [`HEAD_LEN`] bytes of an image, starts; `None` when it starts none.
#[must_use]
pub fn detect(head: &[u8]) -> Option<Endian> {
    [Endian::Little, Endian::Big].into_iter().find(|&endian| header(head, endian).is_some())
}

/// The node header at the start of `bytes`, when it is whole and its CRC is right.
pub(super) fn header(bytes: &[u8], endian: Endian) -> Option<NodeHeader> {
    let header = NodeHeader::get(&mut Fields::new(bytes, endian))?;
    (header.magic == MAGIC && header.crc == header.expected_crc(endian)).then_some(header)
}

/// The first node of an image of `len` bytes, at whatever byte, and its byte order; `None` without any. With `endian` only
/// a node of that byte order counts.
///
/// # Errors
/// [`ErrorClass::Io`](super::ErrorClass::Io).
pub fn find(
    source: &Arc<dyn ReadAt>,
    len: u64,
    endian: Option<Endian>,
) -> Result<Option<(u64, Endian)>, ReadError> {
    first_node(&mut Window::new(source, len), endian)
}

/// The first node of the image, at whatever byte, and its byte order; `None` without any.
pub(super) fn first_node(
    window: &mut Window<'_>,
    wanted: Option<Endian>,
) -> Result<Option<(u64, Endian)>, ReadError> {
    let mut at = 0u64;
    while at < window.len() {
        let bytes = window.up_to(at, HEAD_LEN as u64)?;
        for (index, head) in bytes.windows(HEAD_LEN).enumerate() {
            let [first, second, ..] = head else { continue };
            if !matches!((first, second), (0x85, 0x19) | (0x19, 0x85)) {
                continue;
            }
            if let Some(endian) = detect(head).filter(|&endian| wanted.is_none_or(|wanted| wanted == endian))
            {
                return Ok(Some((at.saturating_add(index as u64), endian)));
            }
        }
        // The last bytes, too few for a header, are looked at again with what follows them.
        let done = bytes.len().saturating_sub(HEAD_LEN.saturating_sub(1)).max(1);
        at = at.saturating_add(done as u64);
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use crate::format::node_type;

    #[test]
    fn a_node_is_found_at_any_byte() {
        for endian in [Endian::Little, Endian::Big] {
            let mut node = Vec::new();
            NodeHeader::new(node_type::CLEANMARKER, 12, endian).put(endian, &mut node);
            for start in [0, 1, 64, (256 << 10) - 7, 256 << 10, 300_001] {
                let mut bytes = [0x85, 0x19].repeat(start);
                bytes.truncate(start);
                bytes.extend_from_slice(&node);
                let len = bytes.len() as u64;
                let source: Arc<dyn ReadAt> = Arc::new(bytes);
                let found = first_node(&mut Window::new(&source, len), None).unwrap();
                assert_eq!(found, Some((start as u64, endian)));
                let other = first_node(&mut Window::new(&source, len), Some(endian.other())).unwrap();
                assert_eq!(other, None);
                let cut = first_node(&mut Window::new(&source, len - 1), None).unwrap();
                assert_eq!(cut, None);
            }
        }
    }
}
