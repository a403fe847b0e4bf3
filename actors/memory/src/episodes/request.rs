//! A search over messages and its answer: plain data, its defaults and its bounds.

use std::collections::{BTreeMap, HashSet};

use greenroom_embedder::Vector;
use greenroom_lexicon::{Cast, Filter};
use greenroom_protocol::{BotSlug, Role, UserId};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::MemoryError;
use crate::index::speaker;
use crate::message::StoredMessage;
use crate::repository::EpisodeFilter;
use crate::retrieval::VectorLeg;

/// Most hits of one search.
const MOST: usize = 1_000;
/// Bytes of a question that are read.
const MOST_QUESTION: usize = 32_768;
/// Most ids that can be left out.
const MOST_EXCLUDED: usize = 10_000;

/// How messages are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// By words, meaning, speaker and time.
    #[default]
    Hybrid,
    /// By words, speaker and time.
    Text,
    /// By meaning.
    Vector,
}

impl SearchMode {
    /// Reads `hybrid`, `text` or `vector`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "hybrid" => Some(Self::Hybrid),
            "text" => Some(Self::Text),
            "vector" => Some(Self::Vector),
            _ => None,
        }
    }
}

/// A search over messages.
#[derive(Debug, Clone)]
pub struct MessageSearch {
    /// What is looked for: a question or some words.
    pub query: String,
    /// The vector of `query` as it stands, if the caller has it. It is of use only when the question names nobody: names
    /// are left out of what is embedded.
    pub vector: Option<Vector>,
    /// How.
    pub mode: SearchMode,
    /// Most hits, 1 to 1000; others count as the nearest of these.
    pub limit: usize,
    /// Only what this person said or was told.
    pub user: Option<UserId>,
    /// Only what this side said.
    pub role: Option<Role>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Not these, such as the question itself.
    pub exclude: HashSet<Uuid>,
    /// The names of who asks and who answers, and whose yesterday is meant.
    pub cast: Cast,
    /// The present, if it is not now.
    pub now: Option<Timestamp>,
}

impl MessageSearch {
    /// Fifty hits of any time, without names.
    #[must_use]
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            vector: None,
            mode: SearchMode::Hybrid,
            limit: 50,
            user: None,
            role: None,
            since: None,
            until: None,
            exclude: HashSet::new(),
            cast: Cast::default(),
            now: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.clamp(1, MOST)
    }

    pub(super) fn question(&self) -> &str {
        let mut end = self.query.len().min(MOST_QUESTION);
        while !self.query.is_char_boundary(end) {
            end -= 1;
        }
        self.query[..end].trim()
    }

    pub(super) fn filter(&self) -> EpisodeFilter {
        EpisodeFilter {
            user: self.user.clone(),
            role: self.role,
            since: self.since,
            until: self.until,
            exclude: self.exclude.iter().copied().collect(),
        }
    }

    pub(super) fn lexical_filter(&self) -> Filter {
        Filter {
            user: self.user.as_ref().map(ToString::to_string),
            role: self.role.map(speaker),
            since: self.since.map(Timestamp::as_microsecond),
            until: self.until.map(Timestamp::as_microsecond),
            exclude: self.exclude.clone(),
        }
    }

    pub(super) fn check(&self) -> Result<(), MemoryError> {
        let invalid = |what: &str| Err(MemoryError::Invalid(what.to_owned()));
        if self.question().is_empty() {
            return invalid("the query is empty");
        }
        if self.exclude.len() > MOST_EXCLUDED {
            return invalid("too many messages are left out");
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since >= until) {
            return invalid("since must be before until");
        }
        Ok(())
    }
}

/// How words were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WordLeg {
    /// In the index in memory.
    Index,
    /// With PostgreSQL's full text, since the index is not there yet.
    FullText,
    /// As a stretch of text: no word of the question is known.
    Substring,
    /// Not.
    Off,
}

/// What made a message's score, by name.
pub type EpisodeParts = BTreeMap<&'static str, f64>;

/// A message that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageHit {
    /// Whose memory it is in.
    pub source: BotSlug,
    /// The message; for a summary its text and the end of what it covers.
    pub message: StoredMessage,
    /// Whether it is a summary.
    pub is_summary: bool,
    /// What the order goes by; comparable within one answer only.
    pub score: f64,
    /// How the score came about.
    pub parts: EpisodeParts,
    /// The stretch that fits best.
    pub snippet: String,
}

/// An answer, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageHits {
    /// What was found.
    pub hits: Vec<MessageHit>,
    /// How the nearest were found.
    pub vector: VectorLeg,
    /// How words were found.
    pub text: WordLeg,
    /// Why the question has no vector, if it should have one.
    pub no_vector: Option<String>,
}
