//! Files with holes: a list of what is data, and the data one after the other.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_tree::{Content, Source};

/// Pieces of data that one file may have; far above what real files have, and some 50 MB of memory.
pub(super) const MAX_PAIRS: usize = 1 << 20;

/// Puts a file together. `pairs` are offset and length in the file; the data starts at byte `start` of `source`, which
/// has `stored` bytes of it.
///
/// # Errors
/// What is wrong.
pub(super) fn content(
    source: &Source,
    (start, stored): (u64, u64),
    pairs: &[(u64, u64)],
    real_size: u64,
) -> Result<Content, String> {
    let mut content = Content::empty();
    let mut used = 0_u64;
    for &(offset, len) in pairs.iter().filter(|(_, len)| *len > 0) {
        let end = offset.checked_add(len).filter(|&end| end <= real_size);
        if end.is_none() {
            return Err(format!("{len} bytes of data at {offset} are beyond the file's {real_size} bytes"));
        }
        let Some(hole) = offset.checked_sub(content.len()) else {
            return Err(format!("data at {offset} overlaps or precedes data up to {}", content.len()));
        };
        let at = start.saturating_add(used);
        content = content.with(Source::Hole, 0, hole).with(source.clone(), at, len);
        used = used.saturating_add(len);
    }
    if used > stored {
        return Err(format!("the map of holes asks for {used} bytes of data, there are {stored}"));
    }
    let tail = real_size.saturating_sub(content.len());
    Ok(content.with(Source::Hole, 0, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_holes_make_a_file() {
        let source = Source::Bytes((*b"..abcdef").into());
        let file =
            |pairs: &[(u64, u64)], size| content(&source, (2, 6), pairs, size).map(|c| c.to_vec().unwrap());
        assert_eq!(file(&[(0, 2), (4, 1), (9, 0)], 9).unwrap(), b"ab\0\0c\0\0\0\0");
        assert_eq!(file(&[], 3).unwrap(), b"\0\0\0");
        assert_eq!(file(&[], 0).unwrap(), b"");
        for (pairs, size) in
            [(&[(4, 1), (0, 2)][..], 9), (&[(0, 7)], 9), (&[(8, 2)], 9), (&[(u64::MAX, 2)], 9)]
        {
            assert!(file(pairs, size).is_err(), "{pairs:?}");
        }
    }
}
