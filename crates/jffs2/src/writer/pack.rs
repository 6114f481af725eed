//! Which nodes go into which eraseblock, so that next to nothing is lost at its end.
//!
//! Nodes wait in two queues, long and short. An eraseblock takes long ones in their order until it is nearly full; then
//! any of the waiting nodes that together fill it to the last bytes. Short nodes are kept for that as far as the queue
//! has room for them. No node is split, and the first in the queue always goes first, so none waits for ever.

use std::collections::{HashMap, VecDeque};

use super::node::Node;

/// Nodes up to this cost, in bytes, are short.
const SHORT: u32 = 512;
/// Short nodes that are kept back to fill eraseblocks.
const SHORT_KEPT: usize = 4096;
/// Nodes that are considered for the last bytes of an eraseblock: so many long ones, so many short ones.
const CONSIDERED: (usize, usize) = (64, 96);
/// The last so many of the longest nodes of an eraseblock are chosen by what fits.
const CHOSEN: u32 = 3;
/// An eraseblock is full when fewer bytes than these are left.
const ENOUGH: u32 = 8;
/// Most bytes that are filled by choice.
const MOST_CHOSEN: u32 = 256 << 10;
/// Most nodes of each queue that are considered for the last full eraseblock.
const MOST_CONSIDERED: usize = 256;

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

    /// Whether there is room for short nodes to fill eraseblocks with.
    pub(super) fn wants_short(&self) -> bool {
        self.short.len() < SHORT_KEPT
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
    pub(super) fn take(&mut self, mut room: u32) -> Vec<Node> {
        let mut taken = Vec::new();
        let first = self.long.front().map_or(0, |first| first.cost);
        // The last full eraseblock has little left to choose from, so more of it is chosen, from more.
        let last = self.cost < 2 * u64::from(room);
        let end_game = if last { MOST_CHOSEN } else { self.end_game }.min(room.saturating_sub(first));
        let considered = if last { (MOST_CONSIDERED, MOST_CONSIDERED) } else { CONSIDERED };
        while (room > end_game || self.considered_cost(considered, room) < 2 * u64::from(room))
            && let Some(next) = self.next_in_order(room)
        {
            room -= next.cost;
            taken.push(next);
        }
        taken.extend(self.take_fitting(room, considered));
        for waiting in &taken {
            self.cost -= u64::from(waiting.cost);
            self.len -= u64::from(waiting.node.len());
        }
        in_order(taken)
    }

    /// Bytes that all nodes cost from which there would be a choice.
    fn considered_cost(&self, (long, short): (usize, usize), room: u32) -> u64 {
        let cost = |queue: &VecDeque<Waiting>, count| {
            candidates(queue, count, room).iter().map(|&index| u64::from(queue[index].cost)).sum::<u64>()
        };
        cost(&self.long, long) + cost(&self.short, short)
    }

    fn next_in_order(&mut self, room: u32) -> Option<Waiting> {
        let short_first = self.short.len() > SHORT_KEPT || self.long.is_empty();
        let queue = if short_first { &mut self.short } else { &mut self.long };
        if queue.front()?.cost > room { None } else { queue.pop_front() }
    }

    /// The nodes that fill `room` best; of several choices one of those that came first.
    fn take_fitting(&mut self, room: u32, considered: (usize, usize)) -> Vec<Waiting> {
        let long = candidates(&self.long, considered.0, room);
        let short = candidates(&self.short, considered.1, room);
        let costs = |queue: &VecDeque<Waiting>, indices: &[usize]| -> Vec<u32> {
            indices.iter().map(|&index| queue[index].cost).collect()
        };
        let costs = [costs(&self.long, &long), costs(&self.short, &short)].concat();
        let chosen = best_fit(&costs, room);
        let mut taken = Vec::with_capacity(chosen.len());
        // From the back, so that positions stay right.
        for index in chosen {
            let waiting = match index.checked_sub(long.len()) {
                None => self.long.remove(long[index]),
                Some(index) => self.short.remove(short[index]),
            };
            taken.extend(waiting);
        }
        taken
    }
}

/// Positions of up to `count` nodes, in their order; of one cost not more than would fill `room`, since more of them
/// add nothing to the choice.
fn candidates(queue: &VecDeque<Waiting>, count: usize, room: u32) -> Vec<usize> {
    let mut of_cost: HashMap<u32, u32> = HashMap::new();
    let mut adds = |waiting: &Waiting| {
        let seen = of_cost.entry(waiting.cost).or_default();
        *seen += waiting.cost;
        *seen <= room.max(waiting.cost)
    };
    let all = queue.iter().enumerate();
    all.filter(|(_, waiting)| adds(waiting)).map(|(index, _)| index).take(count).collect()
}

fn in_order(mut nodes: Vec<Waiting>) -> Vec<Node> {
    nodes.sort_unstable_by_key(|waiting| waiting.number);
    nodes.into_iter().map(|waiting| waiting.node).collect()
}

/// The indices, in descending order, of `costs` whose sum comes nearest to `room` without exceeding it, or so near that
/// it is [`ENOUGH`].
fn best_fit(costs: &[u32], room: u32) -> Vec<usize> {
    const FREE: u16 = u16::MAX;
    let room = room as usize;
    // For each sum the item that reached it first; all items below it in its sum came before.
    let mut last = vec![FREE; room + 1];
    last[0] = 0;
    let mut highest = 0;
    for (item, &cost) in (0u16..).zip(costs) {
        let cost = cost as usize;
        for sum in (cost..=room.min(highest + cost)).rev() {
            if last[sum] == FREE && last[sum - cost] != FREE {
                last[sum] = item;
                highest = highest.max(sum);
            }
        }
        if highest + ENOUGH as usize > room {
            break;
        }
    }
    let mut chosen = Vec::new();
    while highest > 0 {
        let item = usize::from(last[highest]);
        chosen.push(item);
        highest -= costs[item] as usize;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_choice_is_found() {
        let cases: [(&[u32], u32, &[usize]); 7] = [
            (&[], 100, &[]),
            (&[40, 44, 48], 92, &[2, 1]),
            (&[40, 44, 48], 95, &[2, 1]),
            (&[40, 44, 48], 90, &[1, 0]),
            (&[41, 44, 48], 92, &[1, 0]), // 7 bytes left are enough
            (&[100, 200], 99, &[]),
            (&[60, 20, 20, 20], 60, &[0]),
        ];
        for (costs, room, expected) in cases {
            assert_eq!(best_fit(costs, room), expected, "{costs:?} {room}");
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
            let costs: Vec<u32> = (0..10).map(|_| random(240) + 1).collect();
            let room = random(900);
            let sum = |set: u32| (0..10).filter(|i| set >> i & 1 == 1).map(|i| costs[i]).sum::<u32>();
            let best = (0..1024u32).map(sum).filter(|&sum| sum <= room).max().unwrap();
            let chosen = best_fit(&costs, room);
            assert!(chosen.is_sorted_by(|a, b| a > b));
            let sum: u32 = chosen.iter().map(|&i| costs[i]).sum();
            assert!(sum == best || (sum..sum + ENOUGH).contains(&room), "{sum} {best} {room}");
        }
    }
}
