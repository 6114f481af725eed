//! Bytes compared, searched and told apart many at a time: a byte at a time takes longer than fast flash does.

/// Bytes that are compared before somebody looks whether they were alike: some of the CPU's vectors, or a word.
const STEP: usize = if cfg!(target_pointer_width = "64") { 128 } else { 4 };
/// Whether the C library compares in the best way that the CPU knows: glibc does, musl goes byte by byte.
const LIBRARY_COMPARES: bool = cfg!(target_env = "gnu");
/// Bytes of a machine word, and sums of words that a fingerprint has: on larger CPUs as many as go through their vectors.
const WORD: usize = size_of::<usize>();
const SUMS: usize = if cfg!(target_pointer_width = "64") { 8 } else { 1 };
/// Lines of that many words that are summed up before their sum is: their order is not seen.
const LINES: usize = 16;
/// What spreads a bit over those above it: an odd number without a pattern, the golden ratio's bits.
#[allow(clippy::cast_possible_truncation, reason = "as many bits as a word has")]
const MIXER: usize = 0x9e37_79b9_7f4a_7c15_u64 as usize;

/// Without a look at each word, so that the compiler takes vectors for it.
fn are_alike(one: &[u8; STEP], other: &[u8; STEP]) -> bool {
    let words = one.as_chunks::<WORD>().0.iter().zip(other.as_chunks::<WORD>().0);
    let different =
        |(one, other): (&[u8; WORD], &[u8; WORD])| usize::from_ne_bytes(*one) ^ usize::from_ne_bytes(*other);
    words.fold(0, |sum, pair| sum | different(pair)) == 0
}

/// Index of the first byte that is not alike; of what the longer one has more, nothing is looked at.
pub(crate) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if LIBRARY_COMPARES && one.get(..other.len()).is_some_and(|one| one == other) {
        return None;
    }
    let (ours, theirs) = (one.as_chunks::<STEP>().0, other.as_chunks::<STEP>().0);
    let alike = ours.iter().zip(theirs).take_while(|(one, other)| are_alike(one, other)).count() * STEP;
    let rest = one.iter().zip(other).skip(alike);
    rest.enumerate().find(|(_, (one, other))| one != other).map(|(index, _)| alike + index)
}

/// Index of the first byte that is another.
pub(crate) fn first_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let alike =
        bytes.as_chunks::<STEP>().0.iter().take_while(|step| are_alike(step, &[byte; STEP])).count() * STEP;
    let rest = bytes.iter().skip(alike).position(|&found| found != byte);
    rest.map(|index| alike + index)
}

/// Whether all bytes are 0xFF, as after an erase.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    // Most bytes are not blank, and their first one says so.
    bytes.first().is_none_or(|&first| first == 0xff) && first_other(bytes, 0xff).is_none()
}

/// A number that tells a part of an image that has changed from what it was when it was looked at; it means nothing outside
/// of this run. Fletcher's sums, which see groups of lines that move, too, mixed at the end.
pub(crate) fn fingerprint(bytes: &[u8]) -> u32 {
    let (groups, rest) = bytes.as_chunks::<{ WORD * SUMS * LINES }>();
    let (mut sums, mut of_sums) = ([0_usize; SUMS], [0_usize; SUMS]);
    for group in groups {
        for line in group.as_chunks::<{ WORD * SUMS }>().0 {
            add(&mut sums, line.as_chunks::<WORD>().0.iter().map(|word| usize::from_ne_bytes(*word)));
        }
        add(&mut of_sums, sums.into_iter());
    }
    mix(&[sums, of_sums], rest)
}

fn add(sums: &mut [usize; SUMS], words: impl Iterator<Item = usize>) {
    sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
}

/// The ends of sums, and bytes that are in none. Apart, so that the sums end in memory: then the compiler adds them up in vectors.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "32 bits tell enough")]
fn mix(sums: &[[usize; SUMS]; 2], rest: &[u8]) -> u32 {
    let all = sums.as_flattened().iter().copied().chain(rest.iter().map(|&byte| byte.into()));
    let hash = all.fold(0_usize, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(MIXER)) as u64;
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_looked_at() {
        for len in (0..40).chain([100, 1023, 1100]) {
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
        for len in [200, 2000] {
            let bytes: Vec<u8> = (0..len).map(|index: u32| index.pow(2).to_be_bytes()[2]).collect();
            let mut moved = bytes.clone();
            moved.rotate_left(8);
            let mut far = bytes.clone();
            far.rotate_left(bytes.len() / 2);
            let mut swapped = bytes.clone();
            swapped.swap(30, 100);
            for other in [moved, far, swapped] {
                assert!(bytes != other && fingerprint(&bytes) != fingerprint(&other));
            }
        }
    }
}
