//! Why there is no vector.

use std::time::Duration;

use greenroom_protocol::ErrorClass;

use crate::MAX_BATCH;

/// Why a text was not embedded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// There is no model: it is off, not installed, broken, or not loaded yet.
    #[error("embeddings are not available: {0}")]
    Unavailable(String),
    /// The queue is full.
    #[error("too many texts are waiting to be embedded")]
    Busy,
    /// More texts than one call may bring.
    #[error("{given} texts in one call; at most {MAX_BATCH} are taken")]
    TooMany {
        /// How many were brought.
        given: usize,
    },
    /// A query without a word.
    #[error("a blank text has no embedding")]
    Blank,
    /// The worker failed; the text may be tried again.
    #[error("the embedder failed: {0}")]
    Failed(String),
}

impl EmbedError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable(_) => ErrorClass::Unavailable,
            Self::Busy => ErrorClass::Overloaded,
            Self::TooMany { .. } | Self::Blank => ErrorClass::InvalidRequest,
            Self::Failed(_) => ErrorClass::Internal,
        }
    }

    /// When trying again makes sense, if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy | Self::Failed(_) => Some(Duration::from_secs(1)),
            Self::Unavailable(reason) if reason == LOADING => Some(Duration::from_secs(1)),
            Self::Unavailable(_) | Self::TooMany { .. } | Self::Blank => None,
        }
    }
}

/// The reason given while the weights are being read.
pub(crate) const LOADING: &str = "the model is being loaded";
/// The reason given by an embedder that was switched off.
pub(crate) const OFF: &str = "the embedder is off";
/// The reason given once the actor has stopped.
pub(crate) const STOPPED: &str = "the embedder has stopped";
