//! Why the web gave no answer.
//!
//! The texts are fit for a model and a log: they name the server that was asked, never a key, a header or what a server
//! wrote.

use std::time::Duration;

/// Why a search or a page failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// What was asked for makes no sense: no query, no URL, a setting that cannot be read.
    #[error("{0}")]
    Invalid(String),
    /// The address may not be reached from here: it is not public, or its form is not accepted.
    #[error("{0}")]
    Refused(String),
    /// Nothing is set up that could answer.
    #[error("{0}")]
    NotConfigured(String),
    /// There is no such page.
    #[error("{0} does not have this page")]
    NotFound(String),
    /// The server refuses access, or the key for it.
    #[error("{0} refuses access")]
    Unauthorised(String),
    /// The server was asked too often, or its quota is used up.
    #[error("{who} is not to be asked again so soon")]
    RateLimited {
        /// The server.
        who: String,
        /// When it may be asked again, as far as that is known.
        retry_after: Option<Duration>,
    },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The server cannot be reached, failed, or answered with something unreadable.
    #[error("{0}")]
    Upstream(String),
    /// The answer is larger than what is read.
    #[error("the answer is larger than {} MB", .limit / 1_000_000)]
    TooLarge {
        /// Bytes that are read.
        limit: usize,
    },
    /// The content is of a kind that has no text here.
    #[error("{0}")]
    Unsupported(String),
}
