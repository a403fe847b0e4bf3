//! What waits to be embedded: two bounded lanes, and the workers that wait for them.
//!
//! Invariant: an item is in exactly one place, and wherever it is dropped unanswered its caller notices, because the
//! answer's sender goes with it. Items whose caller has gone are skipped when they are taken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use greenroom_kit::lock;
use tokio::sync::mpsc;

use crate::Lane;
use crate::embedder::Embedded;
use crate::error::{EmbedError, STOPPED};
use crate::minilm::{Pieces, Seat};

/// Bytes of text that may wait in one lane, whatever the number of texts.
const MOST_BYTES: usize = 32 << 20;
/// Texts that one worker takes at a time.
const MOST_TAKEN: usize = 64;
/// Bytes of text that one worker takes at a time; a batch of about a thousand word pieces is as fast as a larger one.
const BYTES_TAKEN: usize = 4096;
/// Background texts wait for company for so long ...
const GATHER: Duration = Duration::from_millis(5);
/// ... unless there are so many already.
const ENOUGH: usize = 16;

/// What becomes of an item.
pub(crate) type Outcome = Result<Embedded, EmbedError>;

/// A text on its way.
pub(crate) struct Item {
    /// Its place in its call.
    pub(crate) index: usize,
    /// Not blank, and no longer than what is read.
    pub(crate) text: String,
    /// Where the caller waits.
    pub(crate) answer: mpsc::UnboundedSender<(usize, Outcome)>,
}

/// What a worker is to do.
pub(crate) enum Work {
    /// Embed these.
    Texts(Vec<Item>, Lane),
    /// Take part in another worker's pass.
    Assist(Seat),
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    woken: Condvar,
    /// Texts in the interactive lane, to be read without the lock.
    urgent: AtomicUsize,
    most: usize,
    crash: AtomicBool,
}

#[derive(Default)]
struct State {
    interactive: Waiting,
    background: Waiting,
    assists: Vec<Seat>,
    /// Workers that wait in [`Queue::next`]; those for whom an assist lies ready are still among them.
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    /// When the lane last went from empty to not empty.
    since: Option<Instant>,
}

impl Waiting {
    fn push(&mut self, items: Vec<Item>, most: usize) -> Result<(), EmbedError> {
        let bytes: usize = items.iter().map(|item| item.text.len()).sum();
        if self.items.len() + items.len() > most || (self.bytes + bytes > MOST_BYTES && !self.items.is_empty()) {
            return Err(EmbedError::Busy);
        }
        self.since.get_or_insert_with(Instant::now);
        self.bytes += bytes;
        self.items.extend(items);
        Ok(())
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.text.len();
        if self.items.is_empty() {
            self.since = None;
        }
        Some(item)
    }

    /// The share of one of `workers` free workers.
    fn share(&mut self, workers: usize) -> Vec<Item> {
        let most = self.items.len().div_ceil(workers.max(1)).min(MOST_TAKEN);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < most && bytes < BYTES_TAKEN {
            let Some(item) = self.pop() else { break };
            if item.answer.is_closed() {
                continue; // nobody waits for it any more
            }
            bytes += item.text.len();
            taken.push(item);
        }
        taken
    }
}

impl Queue {
    /// A queue that holds at most `most` texts in each lane.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            woken: Condvar::new(),
            urgent: AtomicUsize::new(0),
            most,
            crash: AtomicBool::new(false),
        }
    }

    /// Adds texts, all or none.
    pub(crate) fn push(&self, items: Vec<Item>, lane: Lane) -> Result<(), EmbedError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(EmbedError::Unavailable(STOPPED.into()));
        }
        match lane {
            Lane::Interactive => state.interactive.push(items, self.most)?,
            Lane::Background => state.background.push(items, self.most)?,
        }
        self.urgent.store(state.interactive.items.len(), Ordering::Release);
        drop(state);
        self.woken.notify_all();
        Ok(())
    }

    /// Waits for work; `None` when the worker has been retired.
    pub(crate) fn next(&self, retired: &AtomicBool) -> Option<Work> {
        let mut state = lock(&self.state);
        state.idle += 1;
        let work = loop {
            if let Some(seat) = state.assists.pop() {
                break Some(Work::Assist(seat));
            }
            if retired.load(Ordering::Acquire) {
                break None;
            }
            if !state.interactive.items.is_empty() {
                let workers = state.idle;
                let taken = state.interactive.share(workers);
                self.urgent.store(state.interactive.items.len(), Ordering::Release);
                if taken.is_empty() {
                    continue;
                }
                break Some(Work::Texts(taken, Lane::Interactive));
            }
            let Some(since) = state.background.since else {
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = since.elapsed();
            if state.background.items.len() < ENOUGH && waited < GATHER {
                let rest = GATHER.saturating_sub(waited);
                state = self.woken.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let workers = state.idle;
            let taken = state.background.share(workers);
            if !taken.is_empty() {
                break Some(Work::Texts(taken, Lane::Background));
            }
        };
        state.idle -= 1;
        drop(state);
        if self.crash.load(Ordering::Relaxed) && matches!(work, Some(Work::Texts(..))) {
            self.crash.store(false, Ordering::Relaxed);
            crash();
        }
        work
    }

    /// Whether an interactive text waits. Costs one load.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) > 0
    }

    /// One interactive text, for a worker that interrupts its background work.
    pub(crate) fn take_urgent(&self) -> Option<Item> {
        let mut state = lock(&self.state);
        let item = std::iter::from_fn(|| state.interactive.pop()).find(|item| !item.answer.is_closed());
        self.urgent.store(state.interactive.items.len(), Ordering::Release);
        item
    }

    /// Recruits the idle workers for one pass over `input`; `None` when there are none.
    pub(crate) fn recruit(&self, input: Pieces) -> Option<Seat> {
        let mut state = lock(&self.state);
        let helpers = state.idle.saturating_sub(state.assists.len());
        if helpers == 0 {
            return None;
        }
        let (leader, mut seats) = Seat::team(input, helpers);
        state.assists.append(&mut seats);
        drop(state);
        self.woken.notify_all();
        Some(leader)
    }

    /// Wakes all workers, so that they notice that they have been retired.
    pub(crate) fn wake(&self) {
        drop(lock(&self.state));
        self.woken.notify_all();
    }

    /// Takes texts again.
    pub(crate) fn open(&self) {
        lock(&self.state).closed = false;
    }

    /// Takes no more texts, and drops all that wait.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        (state.interactive, state.background) = (Waiting::default(), Waiting::default());
        self.urgent.store(0, Ordering::Release);
    }

    /// Texts that wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.interactive.items.len() + state.background.items.len()
    }

    /// Makes the next taker of texts panic.
    pub(crate) fn crash_next(&self) {
        self.crash.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::panic, reason = "a worker crashes on purpose, to test what follows")]
fn crash() {
    panic!("crashed on purpose");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: usize, answer: &mpsc::UnboundedSender<(usize, Outcome)>) -> Vec<Item> {
        (0..count).map(|index| Item { index, text: format!("text {index}"), answer: answer.clone() }).collect()
    }

    fn taken(work: Option<Work>) -> (usize, Lane) {
        match work {
            Some(Work::Texts(items, lane)) => (items.len(), lane),
            Some(Work::Assist(_)) | None => panic!("texts were expected"),
        }
    }

    #[test]
    fn interactive_texts_go_first_and_shares_are_bounded() {
        let (queue, never) = (Queue::new(200), AtomicBool::new(false));
        let (answer, _caller) = mpsc::unbounded_channel();
        queue.push(items(150, &answer), Lane::Background).expect("room");
        queue.push(items(3, &answer), Lane::Interactive).expect("room");
        assert!(queue.is_urgent());
        assert_eq!(taken(queue.next(&never)), (3, Lane::Interactive));
        assert!(!queue.is_urgent());
        assert_eq!(taken(queue.next(&never)), (MOST_TAKEN, Lane::Background));
        assert_eq!(queue.waiting(), 150 - MOST_TAKEN);
        // All or none.
        assert_eq!(queue.push(items(150, &answer), Lane::Background), Err(EmbedError::Busy));
        assert_eq!(queue.waiting(), 150 - MOST_TAKEN);
    }

    #[test]
    fn texts_whose_caller_has_gone_are_skipped() {
        let (queue, never) = (Queue::new(200), AtomicBool::new(false));
        let (gone, caller) = mpsc::unbounded_channel();
        queue.push(items(40, &gone), Lane::Background).expect("room");
        drop(caller);
        let (answer, _caller) = mpsc::unbounded_channel();
        queue.push(items(1, &answer), Lane::Background).expect("room");
        assert_eq!(taken(queue.next(&never)).0, 1);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_idle_workers_are_recruited() {
        let (queue, never) = (Queue::new(200), AtomicBool::new(false));
        let (answer, mut caller) = mpsc::unbounded_channel();
        queue.push(items(5, &answer), Lane::Interactive).expect("room");
        queue.close();
        let refused = queue.push(items(1, &answer), Lane::Interactive);
        assert_eq!(refused, Err(EmbedError::Unavailable(STOPPED.into())));
        drop(answer);
        assert!(caller.blocking_recv().is_none(), "what waited was dropped");
        assert!(queue.recruit(Pieces::default()).is_none());
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| matches!(queue.next(&never), Some(Work::Assist(_))));
            while queue.recruit(Pieces::default()).is_none() {
                std::thread::yield_now();
            }
            assert!(helper.join().expect("no panic"));
        });
    }
}
