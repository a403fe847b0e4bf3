//! What is told of an index, and what bounds it. Plain data.

use std::time::Duration;

use serde::Serialize;

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nobody asked for it.
    Absent,
    /// It is being filled; searches do without.
    Loading,
    /// It answers searches.
    Ready,
    /// It answers searches while its successor is being filled.
    Reloading,
}

/// An index as status pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// How far it is.
    pub state: Phase,
    /// Rows it holds.
    pub rows: usize,
    /// Roughly the memory it takes.
    pub bytes: usize,
}

/// When to check, to drop and how much to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) most_rows: usize,
    pub(crate) idle: Duration,
    pub(crate) check_every: Duration,
}
