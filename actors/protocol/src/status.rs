//! A turn's status and the one rule about it: it only ever rises.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a turn stands. Terminal statuses are monotone: a later writer may only raise one
/// (`aborted` > `error` > `cancelled` > `timeout` > `ok`), never lower it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnStatus {
    /// Running, not streamed to its requester.
    Pending,
    /// Running, streamed.
    Streaming,
    /// Answered.
    Ok,
    /// Ended without any text or tool call.
    Timeout,
    /// Superseded by a newer request of the same user to the same bot.
    Cancelled,
    /// Failed; partial text is kept.
    Error,
    /// Stopped on request; partial text is kept.
    Aborted,
    /// Legacy value of imported rows; never written.
    Disconnected,
}

impl TurnStatus {
    /// The word stored and shown in turn logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Streaming => "streaming",
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
            Self::Aborted => "aborted",
            Self::Disconnected => "disconnected",
        }
    }

    /// The word used in `turn_complete` events, where `ok` reads `completed`.
    #[must_use]
    pub fn event_word(self) -> &'static str {
        match self {
            Self::Ok => "completed",
            other => other.as_str(),
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Streaming,
            Self::Ok,
            Self::Timeout,
            Self::Cancelled,
            Self::Error,
            Self::Aborted,
            Self::Disconnected,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }

    /// The height used for "only ever rises"; running statuses are 0.
    #[must_use]
    pub fn rank(self) -> i16 {
        match self {
            Self::Pending | Self::Streaming => 0,
            Self::Ok => 1,
            Self::Timeout => 2,
            Self::Cancelled | Self::Disconnected => 3,
            Self::Error => 4,
            Self::Aborted => 5,
        }
    }

    /// Whether nothing more will happen to the turn.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.rank() > 0
    }

    /// The higher of two statuses.
    #[must_use]
    pub fn raise(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

impl fmt::Display for TurnStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_only_rises() {
        assert_eq!(TurnStatus::Ok.raise(TurnStatus::Error), TurnStatus::Error);
        assert_eq!(TurnStatus::Aborted.raise(TurnStatus::Error), TurnStatus::Aborted);
        assert_eq!(TurnStatus::Error.raise(TurnStatus::Ok), TurnStatus::Error);
        assert_eq!(TurnStatus::Streaming.raise(TurnStatus::Ok), TurnStatus::Ok);
    }

    #[test]
    fn words_round_trip() {
        for word in ["pending", "streaming", "ok", "timeout", "cancelled", "error", "aborted", "disconnected"] {
            assert_eq!(TurnStatus::parse(word).map(TurnStatus::as_str), Some(word));
        }
        assert_eq!(TurnStatus::parse("OK"), None);
    }
}
