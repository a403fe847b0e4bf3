//! Which logs have something to write. The queue outlives the journal's actor: what an incarnation had in hand when it
//! died is taken up by the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_kit::lock;
use tokio::sync::Notify;

use crate::log::TurnLog;

/// Longest time an event waits before it is written.
const BEHIND: Duration = Duration::from_millis(20);
/// Pause between two commits under load. An idle journal writes an urgent turn at once; a busy one lets the ends of other
/// turns gather for this long, so that many share the cost of one commit.
const GATHER: Duration = Duration::from_millis(2);
/// Most turns in one commit.
const BATCH: usize = 512;

/// The queue between turns and journal.
#[derive(Debug, Default)]
pub(crate) struct JournalQueue {
    waiting: Mutex<Waiting>,
    in_hand: Mutex<Vec<Arc<TurnLog>>>,
    urgent: AtomicBool,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    logs: Vec<Arc<TurnLog>>,
    since: Option<Instant>,
}

impl JournalQueue {
    /// Notes that a log has grown.
    pub(crate) fn note(&self, log: &Arc<TurnLog>) {
        if !log.queued.swap(true, Ordering::AcqRel) {
            let first = {
                let mut waiting = lock(&self.waiting);
                waiting.logs.push(log.clone());
                waiting.since.get_or_insert_with(Instant::now);
                waiting.logs.len() == 1
            };
            if first {
                self.wake.notify_one();
            }
        }
    }

    /// Notes that a log has grown and that somebody waits for it to be stored.
    pub(crate) fn note_urgent(&self, log: &Arc<TurnLog>) {
        self.note(log);
        if !self.urgent.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Waits for something to write and takes it in hand. `last` is when the commit before this one ended.
    pub(crate) async fn take(&self, last: Instant) -> Vec<Arc<TurnLog>> {
        loop {
            let since = lock(&self.waiting).since;
            match since {
                None => self.wake.notified().await,
                Some(since) if self.urgent.load(Ordering::Acquire) => {
                    tokio::time::sleep_until((last + GATHER).min(since + BEHIND).into()).await;
                    return self.take_now();
                }
                Some(since) => {
                    let due = since + BEHIND;
                    if Instant::now() >= due {
                        return self.take_now();
                    }
                    let _ = tokio::time::timeout_at(due.into(), self.wake.notified()).await;
                }
            }
        }
    }

    fn take_now(&self) -> Vec<Arc<TurnLog>> {
        let taken = {
            let mut waiting = lock(&self.waiting);
            let count = waiting.logs.len().min(BATCH);
            let taken: Vec<Arc<TurnLog>> = waiting.logs.drain(..count).collect();
            if waiting.logs.is_empty() {
                waiting.since = None;
                self.urgent.store(false, Ordering::Release);
            }
            taken
        };
        lock(&self.in_hand).extend(taken.iter().cloned());
        // From here on growth queues the log again; what is read below is newer than this mark.
        for log in &taken {
            log.queued.store(false, Ordering::Release);
        }
        taken
    }

    /// The batch in hand is written.
    pub(crate) fn done(&self) {
        lock(&self.in_hand).clear();
    }

    /// The batch in hand is not written, or its fate is unknown: it waits again.
    pub(crate) fn put_back(&self) {
        let logs = std::mem::take(&mut *lock(&self.in_hand));
        for log in &logs {
            self.note_urgent(log);
        }
    }

    /// How many logs wait, and how long the oldest has.
    pub(crate) fn lag(&self) -> (usize, Duration) {
        let waiting = lock(&self.waiting);
        let in_hand = lock(&self.in_hand).len();
        (waiting.logs.len() + in_hand, waiting.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Whether the log waits or is in hand.
    pub(crate) fn holds(&self, log: &Arc<TurnLog>) -> bool {
        let same = |other: &Arc<TurnLog>| Arc::ptr_eq(other, log);
        lock(&self.waiting).logs.iter().any(same) || lock(&self.in_hand).iter().any(same)
    }

    /// Whether nothing waits and nothing is in hand.
    pub(crate) fn is_idle(&self) -> bool {
        self.lag().0 == 0
    }
}
