//! The bounded parallel pipeline of all image writers.
//!
//! One thread, the driver, decides; the others work. The driver hands out jobs in *lanes* and takes each lane's
//! results back in the order in which it submitted the jobs, whatever order they were finished in. So all
//! decisions (what is a duplicate, what goes where) are made by one thread in one order, and the output does not
//! depend on the number of threads.
//!
//! ```text
//! driver ── submit(READ, file) ──►┐                    ┌─► next(READ): hashes, in order
//!    ▲                            ├─► worker threads ──┤
//!    └──── submit(PACK, data) ───►┘                    └─► next(PACK): compressed, in order ──► write
//! ```
//!
//! Memory is bounded because the driver looks at [`Lanes::in_flight`] before it submits more. Jobs of a higher
//! lane are done first: what is nearer to the end of the pipeline holds memory that is freed sooner.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Number of lanes. Lane 0 has the lowest priority.
pub const LANES: usize = 2;

/// Runs `driver` in this thread with `threads` workers beside it, and returns what it returns.
///
/// Each worker makes itself a context with `context` (compressors, buffers) and does jobs with `work` until the
/// driver is done. Jobs that are still queued when the driver returns are dropped.
///
/// # Panics
/// When `driver`, `context` or `work` panics, with the same message.
pub fn run<C, J, R, T>(
    threads: NonZeroUsize,
    context: impl Fn() -> C + Sync,
    work: impl Fn(&mut C, J) -> R + Sync,
    driver: impl FnOnce(&Lanes<J, R>) -> T,
) -> T
where
    J: Send,
    R: Send,
{
    let lanes = Lanes::new();
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.get()).map(|_| scope.spawn(|| lanes.worker_loop(&context, &work))).collect();
        let result = {
            let _close = Close(&lanes);
            driver(&lanes)
        };
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        result
    })
}

/// The driver's side of the pipeline: see [`run`].
pub struct Lanes<J, R> {
    state: Mutex<State<J, R>>,
    work_waits: Condvar,
    driver_waits: Condvar,
}

impl<J, R> fmt::Debug for Lanes<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}

struct State<J, R> {
    lanes: [Lane<J, R>; LANES],
    closed: bool,
    worker_lost: bool,
}

struct Lane<J, R> {
    /// Jobs nobody has taken, with their number.
    queue: VecDeque<(u64, J)>,
    /// A place for the result of each job from number `taken` on; filled when the job is done.
    results: VecDeque<Option<R>>,
    /// Results the driver has taken so far: the number of the first place.
    taken: u64,
}

impl<J, R> Lane<J, R> {
    fn new() -> Self {
        Lane { queue: VecDeque::new(), results: VecDeque::new(), taken: 0 }
    }

    fn take_result(&mut self) -> Option<R> {
        let result = self.results.front_mut()?.take()?;
        self.results.pop_front();
        self.taken += 1;
        Some(result)
    }

    fn put_result(&mut self, number: u64, result: R) {
        let place = usize::try_from(number - self.taken).ok().and_then(|index| self.results.get_mut(index));
        if let Some(place) = place {
            *place = Some(result);
        }
    }
}

impl<J, R> Lanes<J, R> {
    fn new() -> Self {
        let state = State { lanes: std::array::from_fn(|_| Lane::new()), closed: false, worker_lost: false };
        Lanes { state: Mutex::new(state), work_waits: Condvar::new(), driver_waits: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. Never waits: look at [`Lanes::in_flight`] first.
    ///
    /// # Panics
    /// When `lane` is not below [`LANES`].
    pub fn submit(&self, lane: usize, job: J) {
        let mut state = self.lock();
        let lane = &mut state.lanes[lane];
        let number = lane.taken + lane.results.len() as u64;
        lane.results.push_back(None);
        lane.queue.push_back((number, job));
        drop(state);
        self.work_waits.notify_one();
    }

    /// Jobs of this lane whose results have not been taken.
    ///
    /// # Panics
    /// When `lane` is not below [`LANES`].
    #[must_use]
    pub fn in_flight(&self, lane: usize) -> usize {
        self.lock().lanes[lane].results.len()
    }

    /// The result of the oldest job of this lane; waits for it. `None` when nothing is in flight.
    ///
    /// # Panics
    /// When a worker panicked, or `lane` is not below [`LANES`].
    #[must_use]
    pub fn next(&self, lane: usize) -> Option<R> {
        let mut state = self.lock();
        while !state.lanes[lane].results.is_empty() {
            if let Some(result) = state.lanes[lane].take_result() {
                return Some(result);
            }
            assert!(!state.worker_lost, "a worker thread of the pipeline panicked");
            state = self.driver_waits.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// The result of the oldest job of this lane, if it is there already.
    ///
    /// # Panics
    /// When `lane` is not below [`LANES`].
    #[must_use]
    pub fn try_next(&self, lane: usize) -> Option<R> {
        self.lock().lanes[lane].take_result()
    }

    fn worker_loop<C>(&self, context: &impl Fn() -> C, work: &impl Fn(&mut C, J) -> R) {
        let lost = ReportLoss(self);
        let mut context = context();
        while let Some((lane, number, job)) = self.next_job() {
            let result = work(&mut context, job);
            self.lock().lanes[lane].put_result(number, result);
            self.driver_waits.notify_one();
        }
        std::mem::forget(lost);
    }

    fn next_job(&self) -> Option<(usize, u64, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            for lane in (0..LANES).rev() {
                if let Some((number, job)) = state.lanes[lane].queue.pop_front() {
                    return Some((lane, number, job));
                }
            }
            state = self.work_waits.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lets the workers go when the driver is done, also when it panics.
struct Close<'a, J, R>(&'a Lanes<J, R>);

impl<J, R> Drop for Close<'_, J, R> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work_waits.notify_all();
    }
}

/// Wakes the driver when a worker panics: its job would never be done.
struct ReportLoss<'a, J, R>(&'a Lanes<J, R>);

impl<J, R> Drop for ReportLoss<'_, J, R> {
    fn drop(&mut self) {
        self.0.lock().worker_lost = true;
        self.0.driver_waits.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn results_come_in_order_of_submission_in_both_lanes() {
        for count in [1, 2, 7] {
            let work = |context: &mut u64, job: u64| {
                *context += 1;
                if job.is_multiple_of(3) {
                    thread::yield_now();
                }
                job * 10
            };
            let seen = run(
                threads(count),
                || 0u64,
                work,
                |lanes| {
                    let (mut low, mut high) = (Vec::new(), Vec::new());
                    for job in 0..500 {
                        lanes.submit(0, job);
                        while lanes.in_flight(0) > 8 {
                            let result = lanes.next(0).unwrap();
                            low.push(result);
                            lanes.submit(1, result);
                        }
                        high.extend(lanes.try_next(1));
                    }
                    low.extend(std::iter::from_fn(|| lanes.next(0)));
                    high.extend(std::iter::from_fn(|| lanes.next(1)));
                    (low, high)
                },
            );
            assert_eq!(seen.0, (0..500).map(|job| job * 10).collect::<Vec<_>>());
            assert_eq!(seen.1, seen.0[..492].iter().map(|job| job * 10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_early_end_leaves_nobody_waiting() {
        let done = run(
            threads(2),
            || (),
            |(), job: u32| job,
            |lanes| {
                (0..1000).for_each(|job| lanes.submit(0, job));
                lanes.next(0)
            },
        );
        assert_eq!(done, Some(0));
    }

    #[test]
    #[should_panic(expected = "pipeline panicked")]
    fn a_panic_in_a_worker_reaches_the_driver() {
        run(
            threads(2),
            || (),
            |(), job: u32| assert_ne!(job, 5),
            |lanes| {
                (0..10).for_each(|job| lanes.submit(0, job));
                while lanes.next(0).is_some() {}
            },
        );
    }
}
