//! The health board: one card per live actor. Cards are plain shared memory, so reading the board never asks an actor
//! anything and works while one hangs.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::lock;

/// What an actor is doing, seen from its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being started for the first time.
    Starting,
    /// Alive.
    Up,
    /// Failed; will be started again after a pause.
    Restarting,
    /// Failed too often; tried again at long intervals.
    Down,
    /// Ended on purpose.
    Stopped,
}

/// One actor's health, shared between the actor, its address and its supervisor.
#[derive(Debug)]
pub struct Card {
    name: String,
    kind: &'static str,
    parent: Option<String>,
    fate: Mutex<Fate>,
    waiting: Mutex<VecDeque<Instant>>,
    handled: AtomicU64,
    in_flight: AtomicI64,
    board: Weak<Cards>,
    id: u64,
}

#[derive(Debug)]
struct Fate {
    state: State,
    since: Timestamp,
    restarts: u32,
    last_failure: Option<String>,
    note: Option<String>,
}

/// A card as `/status` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct CardView {
    /// `kind:which`, for example `provider:openai`.
    pub name: String,
    /// What sort of actor.
    pub kind: &'static str,
    /// Name of its supervisor.
    pub parent: Option<String>,
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it last failed.
    pub last_failure: Option<String>,
    /// A word from the actor itself, such as an open circuit.
    pub note: Option<String>,
    /// Messages in its mailbox.
    pub mailbox_depth: usize,
    /// Age of the oldest of them, in milliseconds.
    pub oldest_waiting_ms: Option<u64>,
    /// Messages handled since the process started.
    pub handled: u64,
    /// Work it started and has not finished.
    pub in_flight: i64,
}

impl Card {
    /// The actor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        lock(&self.fate).state
    }

    /// Records a change of state.
    pub fn set_state(&self, state: State) {
        let mut fate = lock(&self.fate);
        if fate.state != state {
            fate.state = state;
            fate.since = Timestamp::now();
        }
    }

    /// Records a failure and what the supervisor makes of it.
    pub fn failed(&self, why: &str, next: State) {
        lock(&self.fate).last_failure = Some(why.chars().take(500).collect());
        self.set_state(next);
    }

    /// Records that the actor was started again.
    pub fn restarted(&self) {
        lock(&self.fate).restarts += 1;
        self.set_state(State::Up);
    }

    /// The actor's own word about itself, `None` to take it back.
    pub fn set_note(&self, note: Option<String>) {
        lock(&self.fate).note = note;
    }

    /// Adds to (or, negative, takes from) the work in flight.
    pub fn add_in_flight(&self, change: i64) {
        self.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn message_waits(&self) {
        lock(&self.waiting).push_back(Instant::now());
    }

    pub(crate) fn message_taken(&self) {
        lock(&self.waiting).pop_front();
    }

    pub(crate) fn message_handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// A copy for showing.
    #[must_use]
    pub fn view(&self) -> CardView {
        let (mailbox_depth, oldest) = {
            let waiting = lock(&self.waiting);
            (waiting.len(), waiting.front().copied())
        };
        let fate = lock(&self.fate);
        CardView {
            name: self.name.clone(),
            kind: self.kind,
            parent: self.parent.clone(),
            state: fate.state,
            since: fate.since,
            restarts: fate.restarts,
            last_failure: fate.last_failure.clone(),
            note: fate.note.clone(),
            mailbox_depth,
            oldest_waiting_ms: oldest.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            handled: self.handled.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Some(cards) = self.board.upgrade() {
            lock(&cards.by_id).remove(&self.id);
        }
    }
}

#[derive(Debug, Default)]
struct Cards {
    by_id: Mutex<HashMap<u64, Weak<Card>>>,
    next: AtomicU64,
}

/// The board of one process (or of one test).
#[derive(Debug, Clone, Default)]
pub struct Board {
    cards: Arc<Cards>,
}

impl Board {
    /// Hangs up a card; it disappears with its last holder.
    #[must_use]
    pub fn card(&self, name: impl Into<String>, kind: &'static str, parent: Option<&str>) -> Arc<Card> {
        let id = self.cards.next.fetch_add(1, Ordering::Relaxed);
        let card = Arc::new(Card {
            name: name.into(),
            kind,
            parent: parent.map(str::to_owned),
            fate: Mutex::new(Fate {
                state: State::Starting,
                since: Timestamp::now(),
                restarts: 0,
                last_failure: None,
                note: None,
            }),
            waiting: Mutex::default(),
            handled: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            board: Arc::downgrade(&self.cards),
            id,
        });
        lock(&self.cards.by_id).insert(id, Arc::downgrade(&card));
        card
    }

    /// All cards in order of their hanging up.
    #[must_use]
    pub fn views(&self) -> Vec<CardView> {
        let mut cards: Vec<Arc<Card>> = lock(&self.cards.by_id).values().filter_map(Weak::upgrade).collect();
        cards.sort_by_key(|card| card.id);
        cards.iter().map(|card| card.view()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_leaves_with_its_last_holder() {
        let board = Board::default();
        let root = board.card("root", "supervisor", None);
        let child = board.card("bots", "supervisor", Some("root"));
        root.set_state(State::Up);
        assert_eq!(board.views().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["root", "bots"]);
        drop(child);
        assert_eq!(board.views().len(), 1);
    }
}
