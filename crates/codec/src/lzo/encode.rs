//! The instructions of LZO1X: what each costs, and its bytes.
//!
//! | instruction | bytes | literals before | copies | from how far back |
//! |---|---|---|---|---|
//! | `0000LLLL`, more length | 1 and up | | 4 and more literals | |
//! | `0000DDSS` `D` | 2 | 1 to 3 | 2 | 1 to 1024 |
//! | `0000DDSS` `D` | 2 | 4 and more | 3 | 2049 to 3072 |
//! | `LLLDDDSS` `D` | 2 | any | 3 to 8 | 1 to 2048 |
//! | `001LLLLL`, more length, `DSS` `D` | 3 and up | any | 3 and more | 1 to 16384 |
//! | `0001DLLL`, more length, `DSS` `D` | 3 and up | any | 3 and more | 16385 to 49151 |
//!
//! `SS` tells of 0 to 3 literals that follow the copy. A unit starts with literals, whose count is in its first
//! byte, plus 17, up to 238 of them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the bits of each field are chosen by what fits into it"
)]

/// Farthest a copy reaches back, in bytes.
pub(super) const MAX_DISTANCE: usize = 0xBFFF;
/// Farthest a copy of two bytes reaches back; it must follow one to three literals.
pub(super) const PAIR_DISTANCE: usize = 0x400;
/// Farthest a copy of three to eight bytes in two bytes reaches back.
pub(super) const NEAR_DISTANCE: usize = 0x800;
/// Farthest a copy of three bytes in two bytes reaches back when it follows four literals or more.
pub(super) const TRIPLE_DISTANCE: usize = 0xC00;
/// Farthest a copy reaches back whose instruction of three bytes has five bits of length; beyond it has three.
pub(super) const MIDDLE_DISTANCE: usize = 0x4000;

/// Longest copy that an instruction of two bytes holds.
pub(super) const NEAR_LEN: usize = 8;
/// Longest copy that an instruction of three bytes holds, to [`MIDDLE_DISTANCE`].
pub(super) const MIDDLE_LEN: usize = 33;
/// Longest copy that an instruction of three bytes holds, beyond [`MIDDLE_DISTANCE`].
pub(super) const FAR_LEN: usize = 9;

/// Bytes of the end marker.
pub(super) const END_LEN: usize = 3;
const END: [u8; END_LEN] = [0x11, 0, 0];

/// Longest run of literals that goes without an instruction of its own.
pub(super) const CARRIED: usize = 3;
/// Longest run of literals that an instruction of one byte holds.
pub(super) const SHORT_RUN: usize = 18;
/// Longest run of literals at the start of a unit that the first byte holds.
const FIRST_RUN: usize = 238;
/// What is added to the count of literals in the first byte.
const FIRST_BIAS: usize = 17;

/// Some literals and the copy that follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Count of literals, 0 and up.
    pub(super) literals: u32,
    /// Bytes copied, 2 and up; 0 in the last step, where nothing follows the literals.
    pub(super) len: u32,
    /// How many bytes back the copy starts.
    pub(super) distance: u32,
}

/// Bytes that say how many literals follow, for a run of at least one: beside the literals themselves.
pub(super) fn run_overhead(is_first: bool, literals: usize) -> usize {
    match literals {
        1..=CARRIED => usize::from(is_first),
        ..=SHORT_RUN => 1,
        ..=FIRST_RUN if is_first => 1,
        _ => 2 + (literals - SHORT_RUN - 1) / 255,
    }
}

/// Bytes of a copy that any count of literals may precede, 3 bytes or longer; and the longest copy over the same
/// `distance` that takes no more.
pub(super) fn copy_cost(len: usize, distance: usize) -> (usize, usize) {
    let held = match distance {
        ..=NEAR_DISTANCE if len <= NEAR_LEN => return (2, NEAR_LEN),
        ..=MIDDLE_DISTANCE => MIDDLE_LEN,
        _ => FAR_LEN,
    };
    if len <= held {
        return (3, held);
    }
    let more = (len - held - 1) / 255;
    (4 + more, held + (more + 1) * 255)
}

/// Appends the stream of `input` cut into `steps`, whose last has no copy, to `output`.
pub(super) fn write(input: &[u8], steps: impl Iterator<Item = Step>, output: &mut Vec<u8>) {
    let mut steps = steps.peekable();
    let mut rest = input;
    let mut is_first = true;
    while let Some(step) = steps.next() {
        let (literals, after) = rest.split_at(step.literals as usize);
        run(is_first, literals, output);
        if step.len > 0 {
            let next = steps.peek().map_or(0, |next| next.literals as usize);
            let carried = if next <= CARRIED { next as u8 } else { 0 };
            copy(step, carried, output);
        }
        rest = &after[step.len as usize..];
        is_first = false;
    }
    output.extend_from_slice(&END);
}

/// A run of literals; the instruction before has told of up to [`CARRIED`] of them.
fn run(is_first: bool, literals: &[u8], output: &mut Vec<u8>) {
    match literals.len() {
        len @ 1..=FIRST_RUN if is_first => output.push((len + FIRST_BIAS) as u8),
        ..=CARRIED => {}
        len => length(0, len - CARRIED, SHORT_RUN - CARRIED, output),
    }
    output.extend_from_slice(literals);
}

/// An opcode with a count in its low bits, which hold up to `held`; a larger one takes more bytes.
fn length(opcode: u8, count: usize, held: usize, output: &mut Vec<u8>) {
    if count <= held {
        output.push(opcode | count as u8);
        return;
    }
    output.push(opcode);
    let more = count - held - 1;
    output.resize(output.len() + more / 255, 0);
    output.push((more % 255 + 1) as u8);
}

/// A copy, and in its last two bits the count of the literals that follow it: `carried`.
fn copy(step: Step, carried: u8, output: &mut Vec<u8>) {
    let (len, distance) = (step.len as usize, step.distance as usize);
    let follows_run = step.literals as usize > CARRIED;
    match (len, distance) {
        (2, _) => two_bytes(0, 2, distance - 1, carried, output),
        (3, _) if follows_run && distance > NEAR_DISTANCE && distance <= TRIPLE_DISTANCE => {
            two_bytes(0, 2, distance - NEAR_DISTANCE - 1, carried, output);
        }
        (..=NEAR_LEN, ..=NEAR_DISTANCE) => {
            two_bytes(((len - 1) << 5) as u8, 3, distance - 1, carried, output)
        }
        (_, ..=MIDDLE_DISTANCE) => {
            length(0x20, len - 2, MIDDLE_LEN - 2, output);
            far(distance - 1, carried, output);
        }
        _ => {
            let beyond = distance - MIDDLE_DISTANCE;
            length(0x10 | ((beyond >> 14) << 3) as u8, len - 2, FAR_LEN - 2, output);
            far(beyond & (MIDDLE_DISTANCE - 1), carried, output);
        }
    }
}

/// The two bytes at the end of a longer instruction: 14 bits of distance.
fn far(distance: usize, carried: u8, output: &mut Vec<u8>) {
    output.extend_from_slice(&((distance << 2) as u16 | u16::from(carried)).to_le_bytes());
}

/// An instruction with the low `bits` of the distance in its first byte and the others in its second.
fn two_bytes(opcode: u8, bits: u32, distance: usize, carried: u8, output: &mut Vec<u8>) {
    let low = distance & ((1 << bits) - 1);
    output.push(opcode | (low << 2) as u8 | carried);
    output.push((distance >> bits) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts on both sides of every boundary of a field.
    const LITERALS: [u32; 18] = [0, 1, 2, 3, 4, 5, 17, 18, 19, 20, 237, 238, 239, 240, 273, 274, 528, 529];
    const LENS: [u32; 22] =
        [2, 3, 4, 5, 7, 8, 9, 10, 32, 33, 34, 35, 263, 264, 265, 287, 288, 289, 519, 543, 544, 70_000];
    const DISTANCES: [u32; 18] =
        [1, 2, 7, 8, 9, 1023, 1024, 1025, 2047, 2048, 2049, 3071, 3072, 3073, 16_384, 16_385, 32_768, 49_151];

    fn noise(seed: u32) -> u8 {
        (seed.wrapping_mul(0x9E37_79B1) >> 13) as u8
    }

    /// The unit that `steps` unpack to.
    fn unit(steps: &[Step]) -> Vec<u8> {
        let mut unit = Vec::new();
        for step in steps {
            (0..step.literals).for_each(|i| unit.push(noise(i + 1 + unit.len() as u32)));
            (0..step.len).for_each(|_| unit.push(unit[unit.len() - step.distance as usize]));
        }
        unit
    }

    fn cost(step: Step, is_first: bool) -> usize {
        let literals = step.literals as usize;
        let run = if literals == 0 { 0 } else { literals + run_overhead(is_first, literals) };
        let (len, distance) = (step.len as usize, step.distance as usize);
        let after_many = literals > CARRIED && (NEAR_DISTANCE + 1..=TRIPLE_DISTANCE).contains(&distance);
        run + match len {
            0 => 0,
            2 => 2,
            3 if after_many => 2,
            _ => copy_cost(len, distance).0,
        }
    }

    fn check(steps: &[Step]) {
        let (unit, mut stream) = (unit(steps), Vec::new());
        write(&unit, steps.iter().copied(), &mut stream);
        let costs = steps.iter().enumerate().map(|(at, &step)| cost(step, at == 0)).sum::<usize>();
        assert_eq!(stream.len(), costs + END_LEN, "{steps:?}");
        let mut output = vec![0; unit.len()];
        assert_eq!(::lzokay::decompress::decompress(&stream, &mut output), Ok(unit.len()), "{steps:?}");
        assert!(output == unit, "{steps:?}");
    }

    #[test]
    fn every_instruction_unpacks_and_costs_what_was_counted() {
        for len in LENS {
            for distance in DISTANCES.into_iter().filter(|&distance| len > 2 || distance <= 1024) {
                for literals in LITERALS.into_iter().filter(|literals| len > 2 || (1..=3).contains(literals))
                {
                    let copy = Step { literals, len, distance };
                    let start = Step { literals: 49_151, len: 3, distance: 5 };
                    check(&[start, copy, copy, Step { literals, len: 0, distance: 0 }]);
                }
            }
        }
    }

    #[test]
    fn every_first_run_unpacks() {
        for literals in LITERALS.into_iter().skip(1) {
            let last = Step { literals: 0, len: 0, distance: 0 };
            check(&[Step { literals, ..last }]);
            check(&[Step { literals, len: 3, distance: 1 }, Step { literals, ..last }]);
            let pair = if literals <= 3 { 2 } else { 4 };
            check(&[Step { literals, len: pair, distance: 1 }, last]);
        }
        check(&[Step { literals: 0, len: 0, distance: 0 }]);
    }

    #[test]
    fn a_cost_holds_to_the_length_it_names() {
        for distance in DISTANCES.map(|distance| distance as usize) {
            for len in 3..1200 {
                let (bytes, longest) = copy_cost(len, distance);
                assert!(longest >= len);
                assert_eq!(copy_cost(longest, distance).0, bytes, "{len} {distance}");
                assert!(copy_cost(longest + 1, distance).0 > bytes, "{len} {distance}");
            }
        }
    }
}
