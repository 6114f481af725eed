//! The cheapest way through a unit.
//!
//! Costs are known exactly, and what a copy costs depends on what was before it in one way only: after one to
//! three literals a copy of two bytes is allowed, after four and more one of three bytes from a little farther.
//! So three ways are kept for every position (after a copy, after few literals, after many), and each copy found
//! there extends the cheapest of those that allow it.

#![expect(clippy::cast_possible_truncation, reason = "counts are below 2^21, costs below 2^24")]

use std::ops::RangeInclusive;

use super::encode::{self, CARRIED, END_LEN, NEAR_DISTANCE, SHORT_RUN, Step, TRIPLE_DISTANCE};
use super::matches::{Finder, Found, Match, NICE_LEN};

/// Bits of the fields of an [`Arrival`] below its cost, highest first.
const POSITION_BITS: u32 = 21;
const DISTANCE_BITS: u32 = 16;
const LITERALS_BITS: u32 = 3;

/// Longest unit whose positions, and costs, fit into an [`Arrival`].
pub(super) const MAX_LEN: usize = (1 << POSITION_BITS) - 1;

/// More than a unit of [`MAX_LEN`] costs; with what such a unit costs added it still fits into 24 bits.
const UNREACHED: u32 = 1 << 23;

/// Fewest literals that have an instruction of their own, except at the start of a unit.
const LONG_RUN: usize = CARRIED + 1;

/// The cheapest way found to end a copy at a position, as one number, so that noting a cheaper one is taking the
/// smaller: 24 bits of cost in bytes of the stream, the position where the copy starts, how far back it reaches,
/// and the count of literals before it, where [`LONG_RUN`] stands for that and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival(u64);

impl Arrival {
    /// The start of the unit. Literals that follow may cost a byte more to tell of than elsewhere.
    const START: Arrival = Arrival(0);
    const NONE: Arrival = Arrival((UNREACHED as u64) << (POSITION_BITS + DISTANCE_BITS + LITERALS_BITS));

    #[inline(always)]
    fn new(cost: u32, from: usize, distance: usize, literals: usize) -> Self {
        let number = (u64::from(cost) << POSITION_BITS | from as u64) << DISTANCE_BITS | distance as u64;
        Arrival(number << LITERALS_BITS | literals.min(LONG_RUN) as u64)
    }

    #[inline(always)]
    fn cost(self) -> u32 {
        (self.0 >> (POSITION_BITS + DISTANCE_BITS + LITERALS_BITS)) as u32
    }

    fn from(self) -> usize {
        (self.0 >> (DISTANCE_BITS + LITERALS_BITS)) as usize & MAX_LEN
    }

    fn distance(self) -> u32 {
        (self.0 >> LITERALS_BITS) as u32 & ((1 << DISTANCE_BITS) - 1)
    }

    fn literals(self) -> usize {
        self.0 as usize & ((1 << LITERALS_BITS) - 1)
    }
}

/// Bytes by which the cheapest way to be at a position may cost more than one that passes over it: two literals where a
/// copy of at least three bytes begins, and what says how many they are.
const DETOUR: usize = 4;

/// A way to be at a position.
#[derive(Debug, Clone, Copy)]
struct Way {
    cost: u32,
    /// Literals since the last copy.
    literals: usize,
}

impl Way {
    const NONE: Way = Way { cost: UNREACHED, literals: 0 };

    fn or_cheaper(self, other: Way) -> Way {
        if other.cost < self.cost { other } else { self }
    }
}

/// The cheapest ways to be at a position: after one to three literals, after more, and of all.
#[derive(Debug, Clone, Copy)]
struct Ways {
    few: Way,
    many: Way,
    best: Way,
}

/// Where the cheapest runs of many literals started that may still go on. A run of 19 literals takes a byte more
/// than one of 18, but the next byte is 255 literals away then: of a young and an old run that cost the same now,
/// either may be the better one later.
#[derive(Debug, Default)]
struct Runs {
    /// Position where the best run of up to [`SHORT_RUN`] literals started.
    young: usize,
    /// Position where the best longer run started.
    old: Option<usize>,
}

/// Finds the steps of one unit after another.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// One for each position and one for the end.
    arrivals: Vec<Arrival>,
    /// For each position, how long the run is by which it is reached most cheaply after many literals.
    runs: Vec<u32>,
    /// The steps chosen, last first.
    steps: Vec<Step>,
}

impl Parser {
    /// Chooses the steps for `input` and returns the length of their stream in bytes; `None` when that is above `limit`.
    pub(super) fn parse(&mut self, input: &[u8], limit: usize, finder: &mut Finder) -> Option<usize> {
        self.arrivals.clear();
        self.arrivals.resize(input.len() + 1, Arrival::NONE);
        self.arrivals[0] = Arrival::START;
        self.runs.resize(input.len(), 0);
        let limit = limit.checked_sub(END_LEN)?;
        let end = self.relax_all(input, limit, finder).filter(|end| end.cost as usize <= limit)?;
        self.trace(end);
        Some(end.cost as usize + END_LEN)
    }

    /// The steps chosen, first first.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.iter().rev().copied()
    }

    /// Goes through all positions in order; returns the cheapest way to be at the end. `None` as soon as that must cost
    /// more than `limit`: a copy over a position can end there instead, for less, or begin there after literals.
    fn relax_all(&mut self, input: &[u8], limit: usize, finder: &mut Finder) -> Option<Way> {
        finder.start(input.len());
        let mut position = 0;
        let mut runs = Runs::default();
        loop {
            let ways = self.ways(position, &mut runs);
            if position == input.len() {
                return Some(ways.best);
            }
            if ways.best.cost as usize > limit.saturating_add(DETOUR) {
                return None;
            }
            self.runs[position] = ways.many.literals as u32;
            let mut next = position + 1;
            if self.is_covered(position, ways.best.cost) {
                finder.pass(input, position);
            } else {
                let longest = self.relax_found(position, ways, finder.find(input, position));
                if longest >= NICE_LEN {
                    next = position + longest;
                }
            }
            for passed in position + 1..next {
                finder.pass(input, passed);
            }
            position = next;
        }
    }

    /// True when the next two positions are reached as cheaply as this one is, at `cost`: mostly inside a copy.
    /// What starts here can as well start there, shorter. Not searching such positions saves half the time and
    /// costs 0.02 % of the size.
    #[inline(always)]
    fn is_covered(&self, position: usize, cost: u32) -> bool {
        let next = self.arrivals.get(position + 1..position + 3);
        next.is_some_and(|next| next.iter().all(|arrival| arrival.cost() <= cost))
    }

    /// Extends the ways to be at `position` by all copies found there; returns the length of the longest.
    #[inline(always)]
    fn relax_found(&mut self, position: usize, ways: Ways, found: &Found) -> usize {
        if found.pair > 0 {
            self.relax(position, ways.few, 2, 2..=2, found.pair);
        }
        let mut from = 3;
        for &Match { len, distance } in found.longer() {
            if from == 3 && distance > NEAR_DISTANCE && distance <= TRIPLE_DISTANCE {
                self.relax(position, ways.many, 2, 3..=3, distance);
            }
            // Shorter ones are cheaper by the match before this, which is nearer.
            while from <= len {
                let (cost, longest) = encode::copy_cost(from, distance);
                let to = longest.min(len);
                self.relax(position, ways.best, cost, from..=to, distance);
                from = to + 1;
            }
        }
        from - 1
    }

    /// Extends `way` at `position` by copies of all `lens` from `distance` bytes back, at `cost` bytes each,
    /// wherever that is cheaper than what was found before.
    #[inline(always)]
    fn relax(
        &mut self,
        position: usize,
        way: Way,
        cost: usize,
        lens: RangeInclusive<usize>,
        distance: usize,
    ) {
        let arrival = Arrival::new(way.cost + cost as u32, position, distance, way.literals);
        for known in &mut self.arrivals[position + lens.start()..=position + lens.end()] {
            *known = arrival.min(*known);
        }
    }

    /// The ways to be at `position`; brings `runs` up to there.
    #[inline(always)]
    fn ways(&self, position: usize, runs: &mut Runs) -> Ways {
        let arrived = Way { cost: self.arrivals[position].cost(), literals: 0 };
        let few = (1..=CARRIED.min(position))
            .map(|literals| self.run_of(position, literals))
            .fold(Way::NONE, Way::or_cheaper);
        let many = if position < LONG_RUN { Way::NONE } else { self.many(position, runs) };
        Ways { few, many, best: arrived.or_cheaper(few).or_cheaper(many) }
    }

    /// The cheapest way to be at `position` after many literals.
    #[inline(always)]
    fn many(&self, position: usize, runs: &mut Runs) -> Way {
        let fresh = self.run_of(position, LONG_RUN);
        let mut young = self.run_of(position, position - runs.young);
        let mut old = runs.old.map_or(Way::NONE, |from| self.run_of(position, position - from));
        if young.literals > SHORT_RUN {
            // Of two that cost the same, the one that has just grown old has farther to go.
            old = young.or_cheaper(old);
            runs.old = Some(position - old.literals);
            young = fresh;
        }
        young = fresh.or_cheaper(young);
        runs.young = position - young.literals;
        young.or_cheaper(old)
    }

    /// To be at `position` after a copy and a run of `literals`.
    #[inline(always)]
    fn run_of(&self, position: usize, literals: usize) -> Way {
        let from = position - literals;
        let cost = literals + encode::run_overhead(from == 0, literals);
        Way { cost: self.arrivals[from].cost() + cost as u32, literals }
    }

    /// Walks back from the end along the cheapest way.
    fn trace(&mut self, end: Way) {
        self.steps.clear();
        let mut position = self.arrivals.len() - 1;
        let mut step = Step { literals: end.literals as u32, len: 0, distance: 0 };
        loop {
            self.steps.push(step);
            position -= (step.literals + step.len) as usize;
            if position == 0 {
                return;
            }
            let arrival = self.arrivals[position];
            let from = arrival.from();
            step = Step {
                literals: match arrival.literals() {
                    few @ ..=CARRIED => few as u32,
                    _ => self.runs[from],
                },
                len: (position - from) as u32,
                distance: arrival.distance(),
            };
        }
    }
}
