//! Which message follows which: the messages of each session in the order of time. Messages without a session hang together
//! per user as far as less than an hour lies between them. Invariant: every slot is in exactly one session, sorted by time.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::inverted::NONE;

/// Microseconds between two messages without a session that still belong together.
const GAP: i64 = 3_600 * 1_000_000;

/// A message's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Microseconds since 1970.
    pub(crate) at: i64,
    /// Among messages of the same time.
    pub(crate) seq: i64,
}

/// What holds messages together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A session.
    Session(Uuid),
    /// No session: the user's number.
    Alone(u32),
}

/// The sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    numbers: HashMap<Key, u32>,
    sessions: Vec<(Key, VecDeque<u32>)>,
}

impl Sessions {
    /// Puts a slot into its session and gives the session's number. `moment` tells the place of any slot, this one included.
    pub(crate) fn insert(&mut self, key: Key, slot: u32, moment: impl Fn(u32) -> Moment) -> u32 {
        let next = u32::try_from(self.sessions.len()).unwrap_or(NONE);
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.sessions.push((key, VecDeque::new()));
        }
        if let Some((_, slots)) = self.sessions.get_mut(number as usize) {
            let own = (moment(slot), slot);
            let place = |other: &u32| (moment(*other), *other);
            if slots.back().is_none_or(|last| place(last) < own) {
                slots.push_back(slot);
            } else {
                slots.insert(slots.partition_point(|other| place(other) < own), slot);
            }
        }
        number
    }

    /// Takes a slot out of its session.
    pub(crate) fn remove(&mut self, number: u32, slot: u32, moment: impl Fn(u32) -> Moment) {
        if let Some((_, slots)) = self.sessions.get_mut(number as usize)
            && let Ok(at) = slots.binary_search_by_key(&(moment(slot), slot), |other| (moment(*other), *other))
        {
            slots.remove(at);
        }
    }

    /// The neighbours of a slot from `before` places earlier to `after` later, itself included; [`NONE`] where there is none.
    pub(crate) fn around<const N: usize>(
        &self,
        number: u32,
        slot: u32,
        before: usize,
        moment: impl Fn(u32) -> Moment,
    ) -> [u32; N] {
        let mut around = [NONE; N];
        if let Some(own) = around.get_mut(before) {
            *own = slot;
        }
        let Some((key, slots)) = self.sessions.get(number as usize) else { return around };
        let place = |other: &u32| (moment(*other), *other);
        let Ok(at) = slots.binary_search_by_key(&(moment(slot), slot), place) else { return around };
        let together = |one: u32, other: u32| match key {
            Key::Session(_) => true,
            Key::Alone(_) => moment(one).at.abs_diff(moment(other).at) <= GAP.unsigned_abs(),
        };
        let mut last = slot;
        for back in 1..=before {
            let Some(other) = at.checked_sub(back).and_then(|at| slots.get(at)).filter(|other| together(last, **other))
            else {
                break;
            };
            last = *other;
            if let Some(place) = around.get_mut(before - back) {
                *place = *other;
            }
        }
        last = slot;
        for (place, other) in around.iter_mut().skip(before + 1).zip(slots.range(at + 1..)) {
            if !together(last, *other) {
                break;
            }
            last = *other;
            *place = *other;
        }
        around
    }

    /// Slots of messages from `from` to before `to`, at most `limit`, the latest of each session first.
    pub(crate) fn within(&self, from: i64, to: i64, limit: usize, moment: impl Fn(u32) -> Moment) -> Vec<u32> {
        let mut found = Vec::new();
        for (_, slots) in self.sessions.iter().rev() {
            let (Some(first), Some(last)) = (slots.front(), slots.back()) else { continue };
            if moment(*last).at < from || moment(*first).at >= to {
                continue;
            }
            let end = slots.partition_point(|slot| moment(*slot).at < to);
            let inside = slots.range(..end).rev().take_while(|slot| moment(**slot).at >= from);
            found.extend(inside.take(limit - found.len()));
            if found.len() >= limit {
                break;
            }
        }
        found
    }

    /// The first and the last message's time.
    pub(crate) fn extent(&self, moment: impl Fn(u32) -> Moment) -> Option<(i64, i64)> {
        let ends = self.sessions.iter().filter_map(|(_, slots)| Some((*slots.front()?, *slots.back()?)));
        ends.map(|(first, last)| (moment(first).at, moment(last).at))
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    /// Renumbers slots after a compaction and drops empty sessions. Gives the new number of every session.
    pub(crate) fn renumber(&mut self, moved: &[u32]) -> Vec<u32> {
        let mut kept = Vec::with_capacity(self.sessions.len());
        let mut numbers = Vec::with_capacity(self.sessions.len());
        for (key, mut slots) in std::mem::take(&mut self.sessions) {
            for slot in &mut slots {
                *slot = moved.get(*slot as usize).copied().unwrap_or(NONE);
            }
            if slots.is_empty() {
                numbers.push(NONE);
            } else {
                numbers.push(u32::try_from(kept.len()).unwrap_or(NONE));
                kept.push((key, slots));
            }
        }
        self.sessions = kept;
        self.numbers = (0_u32..).zip(&self.sessions).map(|(number, (key, _))| (*key, number)).collect();
        numbers
    }

    /// Roughly the bytes it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.sessions.iter().map(|(_, slots)| 96 + slots.capacity() * size_of::<u32>()).sum()
    }
}
