//! What the rig asks of its client process, and what the client reports: one JSON line each way.

use serde::{Deserialize, Serialize};

/// A measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Job {
    /// Sequential requests over one connection to each target in turn: block by block, target by target.
    Latency { targets: Vec<String>, blocks: usize, per_block: usize },
    /// Turns by workers at once.
    Turns { target: String, workers: usize, turns: usize, chunks: usize },
    /// Streams that all stay open after their first chunk, until a line on stdin.
    Hold { target: String, streams: usize, opening: usize },
}

/// The answer to a [`Job`]; `Hold` answers with `Held` when all are open and with `Turns` at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Report {
    /// Microseconds to the first content, for each target its blocks.
    Latency { targets: Vec<Vec<Vec<f64>>> },
    /// How the turns went.
    Turns(Tally),
    /// Streams that have their first chunk.
    Held { first: usize, failed: usize, seconds: f64, example: String },
    /// The measurement could not be made.
    Failed { reason: String },
}

/// How a number of turns went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Time from the first request to the last answer's end.
    pub seconds: f64,
    /// Answered exactly as expected, with the end marker.
    pub right: usize,
    /// Complete, with another text.
    pub different: usize,
    /// The right text without the end marker.
    pub unfinished: usize,
    /// Refused or broken off.
    pub failed: usize,
    /// One failure in words.
    pub example: String,
}

impl Tally {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.different += other.different;
        self.unfinished += other.unfinished;
        self.failed += other.failed;
        if self.example.is_empty() {
            self.example.clone_from(&other.example);
        }
    }

    /// Turns that were not answered exactly as expected.
    pub fn wrong(&self) -> usize {
        self.different + self.unfinished + self.failed
    }
}
