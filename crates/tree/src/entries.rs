//! What a directory holds: numbers of its entries, in the order of their names.
//!
//! While a directory grows, its numbers are in pieces of some thousand. Once it is compact, they are runs in the heap:
//! entries that came one after the other, in order, are one run, however many they are.

use std::cmp::Ordering;

use crate::heap::{Cursor, put_number};
use crate::{Name, NodeId, Tree};

/// Numbers of a piece, at most.
const PIECE: usize = 1024;

/// First number, and how many follow one another.
pub(crate) type Run = (u32, u32);

/// Entries of a directory that changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    pieces: Vec<Vec<u32>>,
    len: usize,
}

/// Piece, and place in it.
pub(crate) type Place = (usize, usize);

impl Pieces {
    pub(crate) fn new(runs: &[Run]) -> Self {
        let numbers: Vec<u32> = runs.iter().flat_map(|&(first, count)| first..first + count).collect();
        Pieces { len: numbers.len(), pieces: numbers.chunks(PIECE).map(<[u32]>::to_vec).collect() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Where the entry is that is neither less nor greater, or where it would be.
    pub(crate) fn find(&self, order: impl Fn(u32) -> Ordering) -> Result<Place, Place> {
        let after = self.pieces.partition_point(|piece| order(piece[0]) != Ordering::Greater);
        let piece = after.saturating_sub(1);
        let found = self
            .pieces
            .get(piece)
            .map_or(Err(0), |numbers| numbers.binary_search_by(|&number| order(number)));
        found.map(|at| (piece, at)).map_err(|at| (piece, at))
    }

    pub(crate) fn get(&self, (piece, at): Place) -> u32 {
        self.pieces[piece][at]
    }

    pub(crate) fn insert(&mut self, (piece, at): Place, number: u32) {
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let numbers = &mut self.pieces[piece];
        numbers.insert(at, number);
        if numbers.len() > PIECE {
            let rest = numbers.split_off(PIECE / 2);
            self.pieces.insert(piece + 1, rest);
        }
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, (piece, at): Place) {
        self.pieces[piece].remove(at);
        if self.pieces[piece].is_empty() {
            self.pieces.remove(piece);
        }
        self.len -= 1;
    }

    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for &number in self.pieces.iter().flatten() {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        runs
    }
}

/// Runs as they stand in the heap.
pub(crate) fn encode(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(first, count) in runs {
        put_number(first.into(), &mut out);
        put_number(count.into(), &mut out);
    }
    out
}

/// The reverse of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Vec<Run> {
    let mut cursor = Cursor(bytes);
    let mut runs = Vec::new();
    while !cursor.0.is_empty() {
        runs.push((cursor.number32(), cursor.number32()));
    }
    runs
}

/// Finds a number in runs whose entries are in order.
pub(crate) fn find(runs: &[Run], order: impl Fn(u32) -> Ordering) -> Option<u32> {
    let after = runs.partition_point(|&(first, _)| order(first) != Ordering::Greater);
    let &(first, count) = runs.get(after.checked_sub(1)?)?;
    let (mut low, mut high) = (first, first + count);
    while low < high {
        let middle = low + (high - low) / 2;
        match order(middle) {
            Ordering::Equal => return Some(middle),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}

/// Iterator of [`Tree::entries`]: names in byte order, each with the node it names.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    tree: &'a Tree,
    runs: std::vec::IntoIter<Run>,
    run: Run,
    left: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(tree: &'a Tree, runs: Vec<Run>) -> Self {
        let left = runs.iter().map(|&(_, count)| count as usize).sum();
        Entries { tree, runs: runs.into_iter(), run: (0, 0), left }
    }

    /// The number of the next entry.
    pub(crate) fn next_number(&mut self) -> Option<u32> {
        while self.run.1 == 0 {
            self.run = self.runs.next()?;
        }
        let number = self.run.0;
        self.run = (number + 1, self.run.1 - 1);
        self.left -= 1;
        Some(number)
    }
}

impl Iterator for Entries<'_> {
    type Item = (Name, NodeId);

    fn next(&mut self) -> Option<(Name, NodeId)> {
        let number = self.next_number()?;
        Some(self.tree.entry(number))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_pieces_are_found_where_they_are() {
        let mut pieces = Pieces::default();
        // Every number up to 5000 once, in an order that is none.
        for number in (0..5000u32).map(|i| i * 1003 % 5000) {
            let place = pieces.find(|other| other.cmp(&number)).unwrap_err();
            pieces.insert(place, number);
        }
        assert_eq!(pieces.runs(), [(0, 5000)]);
        assert!(pieces.pieces.len() > 4 && pieces.pieces.iter().all(|piece| piece.len() <= PIECE));
        for number in (0..5000).filter(|number| number % 3 > 0) {
            pieces.remove(pieces.find(|other| other.cmp(&number)).unwrap());
        }
        let runs = pieces.runs();
        assert_eq!((runs.len(), pieces.len()), (1667, 1667));
        assert_eq!(decode(&encode(&runs)), runs);
        assert_eq!(Pieces::new(&runs).runs(), runs);
        for number in 0..5000 {
            let expected = (number % 3 == 0).then_some(number);
            assert_eq!(find(&runs, |other| other.cmp(&number)), expected);
        }
        assert_eq!(find(&[(0, 5000)], |other| other.cmp(&4999)), Some(4999));
        assert_eq!(find(&[], |other| other.cmp(&1)), None);
    }
}
