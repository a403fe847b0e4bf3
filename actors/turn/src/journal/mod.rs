//! The journal: one writer for all turns.
//!
//! Turns append to their own logs and note them in the [`JournalQueue`]; the journal's actor drains the queue in group
//! commits, at most 20 ms behind, at once when a turn waits for its end to be stored. Rows are written idempotently, so
//! a batch whose fate is unknown after a crash is simply written again.

mod actor;
mod batch;
mod queue;
mod repository;
mod rows;

pub(crate) use actor::{Desk, JournalMsg, journal_child, write_now};
pub(crate) use queue::JournalQueue;
pub(crate) use rows::{Close, EventRow, JournalOp, Open, event_rows, events_from_rows};
