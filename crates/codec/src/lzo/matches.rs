//! Finds what was there before, by chains of positions with equal bytes.
//!
//! Three tables name, by a hash of the next two, three and four bytes, the newest position where they were seen.
//! From there a chain leads to older positions with the same four bytes. Every candidate is compared before it is
//! believed, so a position is kept in 16 bits only: one that is older than that reads as a wrong candidate.
//! Tables are emptied for every unit, as far as it uses them, so that no unit depends on those before.

#![expect(clippy::cast_possible_truncation, reason = "the low 16 bits of a position name it in the tables")]

use super::encode::{MAX_DISTANCE, PAIR_DISTANCE};

/// A copy of this many bytes is good enough: what is beside it is not searched.
pub(super) const NICE_LEN: usize = 128;
/// How many positions of a chain are looked at. More makes smaller streams, slower: of an armhf root file system 8
/// makes 0.7 % more, 64 makes 0.2 % less.
const DEPTH: usize = 32;

/// Length of the shortest copy that any count of literals may precede, in bytes.
const SHORTEST: usize = 3;

/// Positions that have their own place in the tables; more than [`MAX_DISTANCE`].
const SLOTS: usize = 1 << 16;

/// Entries of the tables, as powers of two: what is lost to collisions is mostly found by none of the others, but
/// all of it should stay in a processor's second cache.
const PAIR_BITS: u32 = 13;
const TRIPLE_BITS: u32 = 16;
const CHAIN_BITS: u32 = 15;

/// Entries used for the shortest unit.
const MIN_ENTRIES: usize = 256;

/// What may be copied at a position.
#[derive(Debug)]
pub(super) struct Found {
    /// How many bytes back the nearest two equal bytes are, up to [`PAIR_DISTANCE`]; 0 for none.
    pub(super) pair: usize,
    count: usize,
    longer: [Match; DEPTH + 1],
}

/// What a copy of three bytes or more, up to `len`, may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    /// Bytes.
    pub(super) len: usize,
    /// Bytes back, 1 to [`MAX_DISTANCE`].
    pub(super) distance: usize,
}

impl Found {
    /// Copies of three bytes and more: each is longer than the one before and reaches farther back.
    pub(super) fn longer(&self) -> &[Match] {
        &self.longer[..self.count]
    }

    fn push(&mut self, len: usize, distance: usize) {
        self.longer[self.count] = Match { len, distance };
        self.count += 1;
    }
}

/// Tables of one thread, used for one unit after another.
#[derive(Debug)]
pub(super) struct Finder {
    pairs: Newest<{ 1 << PAIR_BITS }>,
    triples: Newest<{ 1 << TRIPLE_BITS }>,
    tops: Newest<{ 1 << CHAIN_BITS }>,
    /// How many bytes back the next position of the chain is; 0 at its end. Entries are valid for the
    /// positions of this unit that were gone through.
    chain: Box<[u16; SLOTS]>,
    found: Found,
}

impl Finder {
    pub(super) fn new() -> Self {
        Finder {
            pairs: Newest::new(),
            triples: Newest::new(),
            tops: Newest::new(),
            chain: Box::new([0; SLOTS]),
            found: Found { pair: 0, count: 0, longer: [Match { len: 0, distance: 0 }; DEPTH + 1] },
        }
    }

    /// Begins a unit of `len` bytes.
    pub(super) fn start(&mut self, len: usize) {
        self.pairs.start(len);
        self.triples.start(len);
        self.tops.start(len);
    }

    /// What may be copied at `position` of `input`. Every position of a unit is given to this or to
    /// [`Finder::pass`], in order.
    pub(super) fn find(&mut self, input: &[u8], position: usize) -> &Found {
        self.found.pair = 0;
        self.found.count = 0;
        if let Some(newest) = self.enter(input, position) {
            let rest = &input[position..];
            let pair = 1..=PAIR_DISTANCE.min(position);
            if pair.contains(&newest.pair) && input[position - newest.pair..].starts_with(&rest[..2]) {
                self.found.pair = newest.pair;
            }
            let triple = 1..=MAX_DISTANCE.min(position);
            let mut best = SHORTEST - 1;
            if triple.contains(&newest.triple) {
                let len = common(&input[position - newest.triple..], rest);
                if len > best {
                    best = len;
                    self.found.push(len, newest.triple);
                }
            }
            self.follow(input, position, newest.chain, best.max(SHORTEST));
        }
        &self.found
    }

    /// Goes along a chain from `distance` bytes before `position`, for copies longer than `best` bytes.
    #[inline(always)]
    fn follow(&mut self, input: &[u8], position: usize, mut distance: usize, mut best: usize) {
        let rest = &input[position..];
        let enough = rest.len().min(NICE_LEN);
        let reach = position.min(MAX_DISTANCE);
        let mut depth = DEPTH;
        let mut next = distance;
        // A longer copy has these four bytes in common, and they are the least likely to be.
        let mut wanted = word_at(rest, best - 3);
        while next != 0 && distance <= reach && best < enough && depth > 0 {
            depth -= 1;
            let at = position - distance;
            next = usize::from(self.chain[at % SLOTS]);
            if word_at(input, at + best - 3) == wanted {
                let len = common(&input[at..], rest);
                if len > best {
                    best = len;
                    self.found.push(len, distance);
                    wanted = word_at(rest, best - 3);
                }
            }
            distance += next;
        }
    }

    /// Passes over `position` of `input`, which later positions may copy.
    pub(super) fn pass(&mut self, input: &[u8], position: usize) {
        self.enter(input, position);
    }

    /// Makes `position` the newest in all tables and says how far back those before it are; 0 is none.
    #[inline(always)]
    fn enter(&mut self, input: &[u8], position: usize) -> Option<Distances> {
        let word = u32::from_le_bytes(*input[position..].first_chunk()?);
        let pair = self.pairs.replace(word << 16, position);
        let triple = self.triples.replace(word << 8, position);
        let chain = self.tops.replace(word, position);
        self.chain[position % SLOTS] = if chain <= MAX_DISTANCE { chain as u16 } else { 0 };
        Some(Distances { pair, triple, chain })
    }
}

/// How many bytes back the newest positions are that may have equal bytes.
struct Distances {
    pair: usize,
    triple: usize,
    chain: usize,
}

/// The newest position for each hash.
#[derive(Debug)]
struct Newest<const N: usize> {
    /// Low 16 bits of positions.
    positions: Box<[u16; N]>,
    /// Of 32 bits of hash, those that do not choose among the entries used for this unit.
    shift: u32,
}

impl<const N: usize> Newest<N> {
    fn new() -> Self {
        Newest { positions: Box::new([0; N]), shift: 0 }
    }

    /// Empties as many entries as a unit of `len` bytes is worth.
    fn start(&mut self, len: usize) {
        let entries = (len * 2).next_power_of_two().clamp(MIN_ENTRIES, N);
        self.shift = 32 - entries.ilog2();
        self.positions[..entries].fill(0);
    }

    /// Makes `position` the newest for `key`; returns how many bytes back the one before it is, or seems to be.
    #[inline(always)]
    fn replace(&mut self, key: u32, position: usize) -> usize {
        let entry = &mut self.positions[(key.wrapping_mul(0x9E37_79B1) >> self.shift) as usize % N];
        let newest = position as u16;
        usize::from(newest.wrapping_sub(std::mem::replace(entry, newest)))
    }
}

/// Four bytes at `at`, or nothing beyond the end.
#[inline(always)]
fn word_at(input: &[u8], at: usize) -> Option<[u8; 4]> {
    input.get(at..)?.first_chunk().copied()
}

/// How many bytes are equal at the front of both.
#[inline(always)]
fn common(one: &[u8], other: &[u8]) -> usize {
    let mut len = 0;
    let (mut a, mut b) = (one, other);
    while let (Some((x, rest_a)), Some((y, rest_b))) = (a.split_first_chunk(), b.split_first_chunk()) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return len + (differ.trailing_zeros() / 8) as usize;
        }
        len += 8;
        (a, b) = (rest_a, rest_b);
    }
    len + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
