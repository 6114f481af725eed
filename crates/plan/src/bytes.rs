//! Bytes compared, searched and told apart many at a time: a byte at a time takes longer than fast flash does.

/// Bytes that the CPU compares at once: those of its vectors, or of a word.
const STEP: usize = if cfg!(target_pointer_width = "64") { 32 } else { 4 };

/// Index of the first byte that is not alike; of what the longer one has more, nothing is looked at.
pub(crate) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let (ours, theirs) = (one.as_chunks::<STEP>().0, other.as_chunks::<STEP>().0);
    let alike = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count() * STEP;
    let rest = one.iter().zip(other).skip(alike);
    rest.enumerate().find(|(_, (one, other))| one != other).map(|(index, _)| alike + index)
}

/// Index of the first byte that is another.
pub(crate) fn first_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let alike = bytes.as_chunks::<STEP>().0.iter().take_while(|&&step| step == [byte; STEP]).count() * STEP;
    let rest = bytes.iter().skip(alike).position(|&found| found != byte);
    rest.map(|index| alike + index)
}

/// Whether all bytes are 0xFF, as after an erase.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    first_other(bytes, 0xff).is_none()
}

/// A number that tells a part of an image that has changed from what it was when it was looked at; it means nothing outside
/// of this run. As Fletcher's sums, which see bytes that move, too.
#[allow(clippy::cast_possible_truncation, reason = "32 bits tell enough")]
pub(crate) fn fingerprint(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<{ size_of::<usize>() }>();
    let add = |(sum, of_sums): (usize, usize), word| {
        let sum = sum.wrapping_add(word);
        (sum, of_sums.wrapping_add(sum))
    };
    let sums = words.iter().fold((0, 0), |sums, word| add(sums, usize::from_ne_bytes(*word)));
    let (sum, of_sums) = rest.iter().fold(sums, |sums, &byte| add(sums, byte.into()));
    let fold = |sum: usize| (sum ^ sum.rotate_right(usize::BITS / 2)) as u32;
    // Of 32 bits, half a turn would make both halves alike.
    if usize::BITS > u32::BITS {
        fold(sum).rotate_left(16) ^ fold(of_sums)
    } else {
        (sum.rotate_left(16) ^ of_sums) as u32
    }
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
        let mut lanes = bytes.clone();
        lanes.swap(0, 4);
        assert_ne!(fingerprint(&bytes), fingerprint(&lanes));
    }
}
