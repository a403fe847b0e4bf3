//! The append-only log of one turn: the only thing a turn, its viewers and the journal share.
//!
//! The turn appends events; viewers hold a cursor and are woken when the log grows; the journal holds cursors of its own
//! and writes behind. Nobody waits for anybody: a slow viewer lags, a stalled database lags, the turn goes on. What the
//! journal has not written yet lives here, so it survives a crash of the journal; it is bounded because turns are
//! admitted by permit and each turn's answer is bounded.
//!
//! Invariants: events are never changed once appended; viewers see only the announced prefix; the terminal events are
//! appended before they are announced, and announced only after they are stored; a log is sealed exactly once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use greenroom_kit::lock;
use greenroom_protocol::{TurnEvent, TurnHeader, TurnStatus};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use crate::journal::{EventRow, JournalOp, event_rows};

/// The log of one turn.
pub struct TurnLog {
    header: Arc<TurnHeader>,
    inner: Mutex<Inner>,
    /// Set while the log waits in the journal's queue, so that it waits there once.
    pub(crate) queued: AtomicBool,
    /// What became of the closing record; `None` until the journal knows.
    stored: watch::Sender<Option<Stored>>,
    /// Notified when the last viewer leaves.
    left: Notify,
    /// Notified when the journal has written something of it.
    progress: Notify,
    /// Whether the end has been announced, for those who wait for that alone and are no viewers.
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    events: Vec<TurnEvent>,
    announced: usize,
    over: bool,
    sealed: bool,
    wakers: Vec<Option<Waker>>,
    viewers: usize,
    visited: bool,
    ops: Vec<JournalOp>,
    journaled_events: usize,
    /// The database refused something of it.
    refused: bool,
    /// Counts replacements of the tail, so that a write begun before one does not move the cursor past the new tail.
    epoch: u32,
    permit: Option<OwnedSemaphorePermit>,
}

/// What became of a turn's closing record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Committed with this status.
    As(TurnStatus),
    /// The database is there and refuses the turn's rows.
    Refused,
}

/// What the journal has to write for one turn.
pub(crate) struct Unwritten {
    pub(crate) events: Vec<EventRow>,
    pub(crate) ops: Vec<JournalOp>,
    next_event: usize,
    epoch: u32,
}

impl TurnLog {
    /// An empty log.
    #[must_use]
    pub fn new(header: Arc<TurnHeader>, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        Arc::new(Self {
            header,
            inner: Mutex::new(Inner { permit, ..Inner::default() }),
            queued: AtomicBool::new(false),
            stored: watch::Sender::new(None),
            left: Notify::new(),
            progress: Notify::new(),
            ended: watch::Sender::new(false),
        })
    }

    /// A log read back from the journal. `over` when it holds its terminal events; otherwise its turn was interrupted
    /// and is still to be sealed.
    pub(crate) fn from_journal(header: Arc<TurnHeader>, events: Vec<TurnEvent>, over: bool) -> Arc<Self> {
        let announced = events.len();
        let inner = Inner { events, announced, journaled_events: announced, over, sealed: over, ..Inner::default() };
        Arc::new(Self {
            header,
            inner: Mutex::new(inner),
            queued: AtomicBool::new(false),
            stored: watch::Sender::new(None),
            left: Notify::new(),
            progress: Notify::new(),
            ended: watch::Sender::new(over),
        })
    }

    /// What is constant over the turn.
    #[must_use]
    pub fn header(&self) -> &Arc<TurnHeader> {
        &self.header
    }

    /// Appends events and announces them. Ignored once the log is sealed.
    pub fn append(&self, events: impl IntoIterator<Item = TurnEvent>) {
        let wakers = {
            let mut inner = lock(&self.inner);
            if inner.sealed {
                return;
            }
            inner.events.extend(events);
            inner.announced = inner.events.len();
            inner.take_wakers()
        };
        wake(wakers);
    }

    /// Appends events and gives the journal something to write with them, in one transaction. Ignored once sealed.
    pub(crate) fn append_with(&self, events: Vec<TurnEvent>, op: JournalOp) {
        let wakers = {
            let mut inner = lock(&self.inner);
            if inner.sealed {
                return;
            }
            inner.events.extend(events);
            inner.announced = inner.events.len();
            inner.ops.push(op);
            inner.take_wakers()
        };
        wake(wakers);
    }

    /// Gives the journal something to write besides events.
    pub(crate) fn push_op(&self, op: JournalOp) {
        lock(&self.inner).ops.push(op);
    }

    /// Appends the terminal events without announcing them and gives the journal what closes the turn; both are made from
    /// the events so far. Only the first call does anything.
    pub(crate) fn seal(&self, make: impl FnOnce(&[TurnEvent]) -> (Vec<TurnEvent>, Vec<JournalOp>)) -> bool {
        let mut inner = lock(&self.inner);
        if inner.sealed {
            return false;
        }
        inner.sealed = true;
        let (tail, ops) = make(&inner.events);
        inner.events.extend(tail);
        inner.ops.extend(ops);
        true
    }

    /// Replaces terminal events that could not be stored in time by others and announces those at once; the journal gets
    /// the raised closing record.
    pub(crate) fn reseal(&self, tail: Vec<TurnEvent>, close: JournalOp) {
        let wakers = {
            let mut inner = lock(&self.inner);
            if inner.over {
                return;
            }
            let keep = inner.announced;
            inner.events.truncate(keep);
            inner.journaled_events = inner.journaled_events.min(keep);
            inner.epoch += 1;
            inner.events.extend(tail);
            inner.ops.push(JournalOp::Truncate(keep as u64));
            inner.ops.push(close);
            inner.end()
        };
        wake(wakers);
        self.ended.send_replace(true);
    }

    /// Announces the terminal events and ends the log for all viewers.
    pub(crate) fn announce_end(&self) {
        let wakers = lock(&self.inner).end();
        wake(wakers);
        self.ended.send_replace(true);
    }

    /// Waits for the announced end without being a viewer.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether the terminal events have been announced.
    #[must_use]
    pub fn is_over(&self) -> bool {
        lock(&self.inner).over
    }

    /// Whether the terminal events are in the log, announced or not.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        lock(&self.inner).sealed
    }

    /// The announced text so far.
    #[must_use]
    pub fn text(&self) -> String {
        let inner = lock(&self.inner);
        let pieces = inner.events[..inner.announced].iter().filter_map(|event| match event {
            TurnEvent::Text(piece) => Some(&**piece),
            _ => None,
        });
        pieces.collect()
    }

    /// Waits until there were viewers and none is left.
    pub(crate) async fn viewers_left(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            let (visited, viewers) = {
                let inner = lock(&self.inner);
                (inner.visited, inner.viewers)
            };
            if visited && viewers == 0 {
                return;
            }
            left.await;
        }
    }

    /// How many viewers are attached.
    #[must_use]
    pub fn viewers(&self) -> usize {
        lock(&self.inner).viewers
    }

    /// How many events have been announced.
    #[must_use]
    pub fn len(&self) -> u64 {
        lock(&self.inner).announced as u64
    }

    /// Whether nothing was announced yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the journal knows what became of the closing record.
    pub(crate) async fn stored(&self) -> Stored {
        let mut stored = self.stored.subscribe();
        let known = stored.wait_for(Option::is_some).await.ok().and_then(|stored| *stored);
        known.unwrap_or(Stored::Refused)
    }

    /// Waits until the journal has dealt with everything that is in the log now; false when the database refused it.
    pub(crate) async fn journaled(&self) -> bool {
        let goal = lock(&self.inner).events.len();
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let (written, refused) = {
                let inner = lock(&self.inner);
                (inner.journaled_events >= goal, inner.refused)
            };
            if written || refused {
                return !refused;
            }
            progress.await;
        }
    }

    /// A viewer that starts behind event `cursor` (0 = from the beginning).
    #[must_use]
    pub fn view(self: &Arc<Self>, cursor: u64) -> Viewer {
        let slot = {
            let mut inner = lock(&self.inner);
            inner.viewers += 1;
            inner.visited = true;
            let free = inner.wakers.iter().position(Option::is_none);
            // A slot is reserved with a waker that does nothing, so that no other viewer takes it.
            match free {
                Some(slot) => {
                    inner.wakers[slot] = Some(Waker::noop().clone());
                    slot
                }
                None => {
                    inner.wakers.push(Some(Waker::noop().clone()));
                    inner.wakers.len() - 1
                }
            }
        };
        Viewer { log: self.clone(), slot, cursor: usize::try_from(cursor).unwrap_or(usize::MAX) }
    }

    /// A rendering of what is not yet written, or `None` when everything is.
    pub(crate) fn unwritten(&self) -> Option<Unwritten> {
        let inner = lock(&self.inner);
        let first = inner.journaled_events;
        if first == inner.events.len() && inner.ops.is_empty() {
            return None;
        }
        Some(Unwritten {
            events: event_rows(&self.header.turn_id, first, &inner.events[first..]),
            ops: inner.ops.clone(),
            next_event: inner.events.len(),
            epoch: inner.epoch,
        })
    }

    /// The journal committed what it took with [`Self::unwritten`]; `closed` is the terminal status among it.
    pub(crate) fn written(&self, unwritten: &Unwritten, closed: Option<TurnStatus>) {
        self.settle(unwritten, closed.is_some());
        if let Some(status) = closed {
            self.stored.send_if_modified(|stored| {
                let raised = match stored {
                    Some(Stored::As(old)) => old.raise(status),
                    Some(Stored::Refused) | None => status,
                };
                stored.replace(Stored::As(raised)) != Some(Stored::As(raised))
            });
        }
    }

    /// The database refuses these rows whatever is tried; they are dropped.
    pub(crate) fn refused(&self, unwritten: &Unwritten, closing: bool) {
        lock(&self.inner).refused = true;
        self.settle(unwritten, closing);
        if closing {
            self.stored.send_replace(Some(Stored::Refused));
        }
    }

    fn settle(&self, unwritten: &Unwritten, closing: bool) {
        let permit = {
            let mut inner = lock(&self.inner);
            if inner.epoch == unwritten.epoch {
                inner.journaled_events = unwritten.next_event;
            }
            inner.ops.drain(..unwritten.ops.len());
            if closing { inner.permit.take() } else { None }
        };
        drop(permit);
        self.progress.notify_waiters();
    }
}

impl Inner {
    fn take_wakers(&mut self) -> Vec<Waker> {
        let waiting = self.wakers.iter_mut().flatten().filter(|waker| !waker.will_wake(Waker::noop()));
        waiting.map(|waker| std::mem::replace(waker, Waker::noop().clone())).collect()
    }

    fn end(&mut self) -> Vec<Waker> {
        self.announced = self.events.len();
        self.over = true;
        self.take_wakers()
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

impl std::fmt::Debug for TurnLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnLog")
            .field("turn", &self.header.turn_id)
            .field("queued", &self.queued.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// A cursor into a turn's log. Many may look at one log; none slows the turn or another viewer.
#[derive(Debug)]
pub struct Viewer {
    log: Arc<TurnLog>,
    slot: usize,
    cursor: usize,
}

impl Viewer {
    /// Hands out all events behind the cursor. `Ready(Some(()))` when there were any, `Ready(None)` at the end of the
    /// log, otherwise the task is woken when the log grows.
    pub fn poll_events(&mut self, cx: &mut Context<'_>, each: &mut dyn FnMut(u64, &TurnEvent)) -> Poll<Option<()>> {
        let mut inner = lock(&self.log.inner);
        if self.cursor < inner.announced {
            for (index, event) in inner.events[self.cursor..inner.announced].iter().enumerate() {
                each((self.cursor + index + 1) as u64, event);
            }
            self.cursor = inner.announced;
            return Poll::Ready(Some(()));
        }
        if inner.over {
            return Poll::Ready(None);
        }
        match &mut inner.wakers[self.slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for events and hands them out; `None` at the end of the log.
    pub async fn next(&mut self, mut each: impl FnMut(u64, &TurnEvent)) -> Option<()> {
        std::future::poll_fn(|cx| self.poll_events(cx, &mut each)).await
    }

    /// The log being viewed.
    #[must_use]
    pub fn log(&self) -> &Arc<TurnLog> {
        &self.log
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let last = {
            let mut inner = lock(&self.log.inner);
            inner.viewers -= 1;
            inner.wakers[self.slot] = None;
            inner.viewers == 0
        };
        if last {
            self.log.left.notify_waiters();
        }
    }
}
