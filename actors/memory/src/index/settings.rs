//! How much the derived parts of a namespace may take: plain numbers, set once per process.

use std::time::Duration;

/// Bounds on indexes and the embedding worker of each namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallSettings {
    /// Most memories of one bot that are searched by words; beyond it the least recently changed are left out.
    pub most_memories: usize,
    /// Most messages of one bot that are searched by words; beyond it the oldest are left out.
    pub most_messages: usize,
    /// An index that nobody asked for this long is dropped.
    pub idle: Duration,
    /// How often an index is compared with its table, at least this far apart.
    pub check_every: Duration,
    /// How long the embedding worker lets new messages gather before it begins.
    pub embed_after: Duration,
    /// Up to this many rows a vector search looks at all of them and not at the index.
    pub exact_rows: i64,
}

impl Default for RecallSettings {
    fn default() -> Self {
        Self {
            most_memories: 1_000_000,
            most_messages: 2_000_000,
            idle: Duration::from_secs(15 * 60),
            check_every: Duration::from_secs(60),
            embed_after: Duration::from_millis(750),
            exact_rows: 5_000,
        }
    }
}
