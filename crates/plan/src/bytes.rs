//! Bytes compared, searched and told apart a word at a time: a byte at a time takes longer than fast flash does.

/// Bytes of a word of the CPU.
const WORD: usize = size_of::<usize>();
/// An odd number whose bits are spread evenly: 2 to the 64 through the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Index of the first byte that is not alike; of what the longer one has more, nothing is looked at.
pub(crate) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let (ours, theirs) = (one.as_chunks::<WORD>().0, other.as_chunks::<WORD>().0);
    let alike = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count() * WORD;
    let rest = one.iter().zip(other).skip(alike);
    rest.enumerate().find(|(_, (one, other))| one != other).map(|(index, _)| alike + index)
}

/// Index of the first byte that is another.
pub(crate) fn first_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let alike = bytes.as_chunks::<WORD>().0.iter().take_while(|&&word| word == [byte; WORD]).count() * WORD;
    let rest = bytes.iter().skip(alike).position(|&found| found != byte);
    rest.map(|index| alike + index)
}

/// Whether all bytes are 0xFF, as after an erase.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    first_other(bytes, 0xff).is_none()
}

/// A number that tells a part of an image that has changed from what it was when it was looked at; it means nothing outside
/// of this run.
#[allow(
    clippy::cast_possible_truncation,
    reason = "half of the number is as odd; the last shift leaves 32 bits"
)]
pub(crate) fn fingerprint(bytes: &[u8]) -> u32 {
    let spread = SPREAD as usize;
    let (words, rest) = bytes.as_chunks::<WORD>();
    let mix = |sum: usize, word: usize| (sum.rotate_left(5) ^ word).wrapping_mul(spread);
    let sum = words.iter().fold(bytes.len(), |sum, word| mix(sum, usize::from_ne_bytes(*word)));
    let sum = rest.iter().fold(sum, |sum, &byte| mix(sum, byte.into()));
    // The upper bits of a product depend on all of its factors'.
    (sum >> (usize::BITS - u32::BITS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_looked_at() {
        for len in 0..40 {
            let bytes = vec![0xff; len];
            assert_eq!((first_difference(&bytes, &bytes), first_other(&bytes, 0xff)), (None, None), "{len}");
            for at in 0..len {
                let mut other = bytes.clone();
                other[at] = 0x7f;
                assert_eq!(first_difference(&bytes, &other), Some(at), "{len}");
                assert_eq!(first_other(&other, 0xff), Some(at), "{len}");
                assert_ne!(fingerprint(&bytes), fingerprint(&other), "{len} {at}");
                // Of two differences the first.
                other[len - 1] = 0;
                assert_eq!(
                    (first_difference(&bytes, &other), first_other(&other, 0xff)),
                    (Some(at), Some(at))
                );
            }
        }
    }

    #[test]
    fn what_one_has_more_is_not_looked_at() {
        assert_eq!(first_difference(&[1; 20], &[1; 9]), None);
        assert_eq!(first_difference(&[1; 20], &[]), None);
    }

    #[test]
    fn bytes_that_move_are_another_part() {
        let bytes: Vec<u8> = (0..200).collect();
        let mut moved = bytes.clone();
        moved.rotate_left(8);
        let mut swapped = bytes.clone();
        swapped.swap(3, 100);
        assert_ne!(fingerprint(&bytes), fingerprint(&moved));
        assert_ne!(fingerprint(&bytes), fingerprint(&swapped));
        assert_ne!(fingerprint(&[0; 8]), fingerprint(&[0; 16]));
    }
}
