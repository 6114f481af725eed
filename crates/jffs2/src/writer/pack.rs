//! Which nodes go into which eraseblock, so that next to nothing is lost at its end.
//!
//! Nodes wait in two queues, long and short. An eraseblock takes long ones in their order until it is nearly full; then
//! any of the waiting nodes that together fill it to the last bytes. Short nodes are kept for that as far as the queue
//! has room for them. No node is split, and the first in the queue always goes first, so none waits for ever.

use std::collections::VecDeque;

use super::node::Node;

/// Nodes up to this cost, in bytes, are short.
const SHORT: u32 = 512;
/// Short nodes that are kept back to fill eraseblocks.
const SHORT_KEPT: usize = 256;
/// Nodes that are considered for the last bytes of an eraseblock: so many long ones, so many short ones.
const CONSIDERED: (usize, usize) = (48, 96);
/// The last so many of the longest nodes of an eraseblock are chosen by what fits.
const CHOSEN: u32 = 3;
/// Sizes are counted in units of this many bytes.
const UNIT: u32 = 4;

/// Nodes that wait for their place.
pub(super) struct Pool {
    long: VecDeque<Waiting>,
    short: VecDeque<Waiting>,
    /// Whether a node costs its summary entry too.
    summary: bool,
    /// Bytes from which on the choice is made by what fits.
    end_game: u32,
    /// Bytes that all waiting nodes cost, and that they take without summary.
    cost: u64,
    len: u64,
    pushed: u64,
}

struct Waiting {
    node: Node,
    cost: u32,
    /// Place in the order in which nodes came.
    number: u64,
}

impl Pool {
    /// A pool of nodes that are at most `longest` bytes long.
    pub(super) fn new(longest: u32, summary: bool) -> Self {
        Pool {
            long: VecDeque::new(),
            short: VecDeque::new(),
            summary,
            end_game: longest * CHOSEN,
            cost: 0,
            len: 0,
            pushed: 0,
        }
    }

    pub(super) fn push(&mut self, node: Node) {
        let cost = node.len() + if self.summary { node.entry_len() } else { 0 };
        self.cost += u64::from(cost);
        self.len += u64::from(node.len());
        let waiting = Waiting { node, cost, number: self.pushed };
        self.pushed += 1;
        if cost > SHORT { self.long.push_back(waiting) } else { self.short.push_back(waiting) }
    }

    /// Bytes that all waiting nodes cost, summary entries included where there is a summary.
    pub(super) const fn cost(&self) -> u64 {
        self.cost
    }

    /// Bytes that all waiting nodes take.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.long.is_empty() && self.short.is_empty()
    }

    /// Everything that waits, in the order in which it came.
    pub(super) fn take_all(&mut self) -> Vec<Node> {
        let all = self.long.drain(..).chain(self.short.drain(..)).collect();
        (self.cost, self.len) = (0, 0);
        in_order(all)
    }

    /// Nodes for one eraseblock that has `room` bytes for nodes and summary entries.
    pub(super) fn take(&mut self, room: u32) -> Vec<Node> {
        let mut taken = Vec::new();
        let mut room = room;
        let first = self.long.front().map_or(0, |first| first.cost);
        // The last full eraseblock has little left to choose from, so all of it is chosen.
        let last = self.cost < 2 * u64::from(room);
        let end_game = if last { room } else { self.end_game }.min(room.saturating_sub(first));
        while room > end_game
            && let Some(next) = self.next_in_order(room)
        {
            room -= next.cost;
            taken.push(next);
        }
        taken.extend(self.take_fitting(room, if last { (usize::MAX, usize::MAX) } else { CONSIDERED }));
        for waiting in &taken {
            self.cost -= u64::from(waiting.cost);
            self.len -= u64::from(waiting.node.len());
        }
        in_order(taken)
    }

    fn next_in_order(&mut self, room: u32) -> Option<Waiting> {
        let short_first = self.short.len() > SHORT_KEPT || self.long.is_empty();
        let queue = if short_first { &mut self.short } else { &mut self.long };
        if queue.front()?.cost > room { None } else { queue.pop_front() }
    }

    /// The nodes that fill `room` best; of several choices one of those that came first.
    fn take_fitting(&mut self, room: u32, considered: (usize, usize)) -> Vec<Waiting> {
        let long = self.long.len().min(considered.0);
        let costs = self.long.iter().take(long).chain(self.short.iter().take(considered.1));
        let chosen = best_fit(costs.map(|waiting| waiting.cost), room);
        let mut taken = Vec::with_capacity(chosen.len());
        // From the back, so that positions stay right.
        for index in chosen {
            let waiting =
                if index < long { self.long.remove(index) } else { self.short.remove(index - long) };
            taken.extend(waiting);
        }
        taken
    }
}

fn in_order(mut nodes: Vec<Waiting>) -> Vec<Node> {
    nodes.sort_unstable_by_key(|waiting| waiting.number);
    nodes.into_iter().map(|waiting| waiting.node).collect()
}

/// The indices, in descending order, of those `costs` whose sum comes nearest to `room` without exceeding it.
fn best_fit(costs: impl Iterator<Item = u32>, room: u32) -> Vec<usize> {
    const FREE: u16 = u16::MAX;
    // Rounded: the room down and costs up, so that what is chosen fits.
    let room = (room / UNIT) as usize;
    let costs: Vec<usize> = costs.map(|cost| cost.div_ceil(UNIT) as usize).collect();
    // For each sum the item that reached it first; all items below it in its sum came before.
    let mut last = vec![FREE; room + 1];
    last[0] = 0;
    let mut highest = 0;
    for (item, &cost) in (0u16..).zip(&costs) {
        for sum in (cost..=room.min(highest + cost)).rev() {
            if last[sum] == FREE && last[sum - cost] != FREE {
                last[sum] = item;
                highest = highest.max(sum);
            }
        }
        if highest == room {
            break;
        }
    }
    let mut chosen = Vec::new();
    while highest > 0 {
        let item = usize::from(last[highest]);
        chosen.push(item);
        highest -= costs[item];
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_choice_is_found() {
        let cases: [(&[u32], u32, &[usize]); 6] = [
            (&[], 100, &[]),
            (&[40, 44, 48], 92, &[2, 1]),
            (&[40, 44, 48], 95, &[2, 1]),
            (&[41, 44, 48], 92, &[2, 0]), // rounded, 41 is as good as 44
            (&[100, 200], 99, &[]),
            (&[60, 20, 20, 20], 60, &[0]),
        ];
        for (costs, room, expected) in cases {
            assert_eq!(best_fit(costs.iter().copied(), room), expected, "{costs:?} {room}");
        }
    }

    #[test]
    fn the_choice_is_as_good_as_any() {
        let mut state = 1u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..200 {
            let costs: Vec<u32> = (0..10).map(|_| (random(60) + 1) * UNIT).collect();
            let room = random(900);
            let sum = |set: u32| (0..10).filter(|i| set >> i & 1 == 1).map(|i| costs[i]).sum::<u32>();
            let best = (0..1024u32).map(sum).filter(|&sum| sum <= room).max().unwrap();
            let chosen = best_fit(costs.iter().copied(), room);
            assert!(chosen.is_sorted_by(|a, b| a > b));
            assert_eq!(chosen.iter().map(|&i| costs[i]).sum::<u32>(), best);
        }
    }
}
