//! The search for memories of one bot.

use std::time::Duration;

use greenroom_embedder::{EmbedError, Embedder, Vector};
use greenroom_lexicon::or_query;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::rank::{Rules, by_score, by_words};
use super::score::{RetrievalSettings, ScoreParts, is_inward};
use crate::memories::StoredMemory;
use crate::repository::{MemoryQuery, RetrievalRepository};
use crate::{MemoryError, Namespace};

/// Most hits of one search.
pub(super) const MOST: usize = 500;
/// Candidates of each leg: at least this many, and this many times the hits.
const LEG: (usize, usize) = (50, 4);
/// With filters, of which the words' index knows nothing, it is asked for this many times more.
const FILTERED: usize = 20;
/// Importance from which a memory is listed when no other limit is given.
const IMPORTANT: f32 = 0.7;
/// Bytes of a question that are read.
const MOST_QUESTION: usize = 32_768;

/// How memories are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryMethod {
    /// By meaning and words.
    #[default]
    All,
    /// By meaning.
    Embedding,
    /// By words.
    Text,
    /// Not at all: the most important ones.
    HighImportance,
}

impl MemoryMethod {
    /// Reads `all`, `embedding`, `text` or `high-importance`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "all" | "hybrid" => Some(Self::All),
            "embedding" | "semantic" | "vector" => Some(Self::Embedding),
            "text" => Some(Self::Text),
            "high-importance" | "high_importance" => Some(Self::HighImportance),
            _ => None,
        }
    }

    /// The word that [`Self::parse`] reads.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Embedding => "embedding",
            Self::Text => "text",
            Self::HighImportance => "high-importance",
        }
    }
}

/// A search for memories.
#[derive(Debug, Clone)]
pub struct MemorySearch {
    /// What is looked for.
    pub query: String,
    /// Its vector; embedded here when absent.
    pub vector: Option<Vector>,
    /// How.
    pub method: MemoryMethod,
    /// Most hits, 1 to 500; others count as the nearest of these.
    pub limit: usize,
    /// Least importance, 0 to 1. For [`MemoryMethod::HighImportance`] 0.7 when absent, else 0.
    pub min_importance: Option<f32>,
    /// Least similarity, −1 to 1; none when absent.
    pub min_relevance: Option<f64>,
    /// Any of these tags; empty for all.
    pub tags: Vec<String>,
    /// Only what is about this person.
    pub user: Option<UserId>,
    /// A vector to compare meanings with.
    pub meaning: Option<Vector>,
    /// Whether the hits count as used.
    pub count_access: bool,
    /// The bot's weights.
    pub settings: RetrievalSettings,
    /// The present, if it is not now.
    pub now: Option<Timestamp>,
}

impl MemorySearch {
    /// Ten hits by meaning and words, which count as used.
    #[must_use]
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            vector: None,
            method: MemoryMethod::All,
            limit: 10,
            min_importance: None,
            min_relevance: None,
            tags: Vec::new(),
            user: None,
            meaning: None,
            count_access: true,
            settings: RetrievalSettings::default(),
            now: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.clamp(1, MOST)
    }

    /// The statement's part of the search, still without vector and words.
    pub(super) fn query(&self, model: &str) -> MemoryQuery {
        let leg = LEG.0.max(LEG.1 * self.limit());
        let hybrid = self.method == MemoryMethod::All && self.settings.is_hybrid();
        let nearest = if hybrid { leg } else { self.settings.candidates(self.limit()) };
        MemoryQuery {
            model: model.to_owned(),
            nearest: i64::try_from(nearest).unwrap_or(i64::MAX),
            worded: i64::try_from(leg).unwrap_or(i64::MAX),
            min_importance: self.min_importance.unwrap_or(0.0),
            tags: (!self.tags.is_empty()).then(|| self.tags.iter().map(|tag| tag.trim().to_lowercase()).collect()),
            user: self.user.clone(),
            ..MemoryQuery::default()
        }
    }

    fn is_filtered(&self) -> bool {
        !self.tags.is_empty() || self.user.is_some() || self.min_importance.is_some_and(|least| least > 0.0)
    }

    pub(super) fn rules(&self) -> Rules<'_> {
        Rules {
            settings: &self.settings,
            limit: self.limit(),
            min_relevance: self.min_relevance.unwrap_or(-1.0),
            most_words: LEG.0.max(LEG.1 * self.limit()),
            now: self.now.unwrap_or_else(Timestamp::now),
        }
    }

    /// How many hits of the words' index are worth asking for.
    pub(super) fn word_hits(&self) -> usize {
        let leg = LEG.0.max(LEG.1 * self.limit());
        if self.is_filtered() { leg * FILTERED } else { leg }
    }

    /// The question, as much of it as is read.
    pub(super) fn question(&self) -> &str {
        let mut end = self.query.len().min(MOST_QUESTION);
        while !self.query.is_char_boundary(end) {
            end -= 1;
        }
        self.query[..end].trim()
    }
}

/// How the nearest were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorLeg {
    /// All vectors were looked at.
    Exact,
    /// Through the vector index.
    Hnsw,
    /// Not: the question has no vector, or the method has no use for it.
    Off,
}

/// How words were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLeg {
    /// In the index in memory.
    Index,
    /// With PostgreSQL's full text, since the index is not there yet.
    FullText,
    /// Not.
    Off,
}

/// What an answer stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Legs {
    /// The leg of meaning.
    pub vector: VectorLeg,
    /// The leg of words.
    pub text: TextLeg,
    /// Why the question has no vector, if it should have one.
    pub no_vector: Option<String>,
}

/// A memory that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryHit {
    /// Whose memory it is.
    pub source: BotSlug,
    /// The memory.
    pub memory: StoredMemory,
    /// How well it fits, by the measure of the method: similarity, rank by words, or importance.
    pub relevance: f64,
    /// How its score came about.
    pub parts: ScoreParts,
}

/// An answer, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryHits {
    /// What was found.
    pub hits: Vec<MemoryHit>,
    /// What the answer stands on.
    pub legs: Legs,
}

/// How patient a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Sees what was stored just before, and falls back on slower ways.
    Thorough,
    /// Takes what is at hand.
    Hurried,
}

impl Namespace {
    /// The memories that fit a question best. At most two statements and no change but the count of uses, which is written
    /// behind the answer.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for an empty question or senseless limits, [`MemoryError::Store`].
    pub async fn search_memories(&self, search: MemorySearch) -> Result<MemoryHits, MemoryError> {
        let found = self.find_memories(&search, Patience::Thorough).await?;
        if search.count_access && search.method != MemoryMethod::HighImportance {
            self.count_access(found.hits.iter().map(|hit| hit.memory.id));
        }
        Ok(found)
    }

    /// Notes that memories were used, each once, behind the caller's back.
    pub fn count_access(&self, ids: impl IntoIterator<Item = Uuid>) {
        self.recall().accesses().note(ids);
    }

    pub(super) async fn find_memories(
        &self,
        search: &MemorySearch,
        patience: Patience,
    ) -> Result<MemoryHits, MemoryError> {
        check(search)?;
        if search.method == MemoryMethod::HighImportance {
            return self.important(search).await;
        }
        let (vector, no_vector) = match search.method {
            MemoryMethod::Text => (None, None),
            _ => self.vector_of(search.vector.as_ref(), search.question()).await,
        };
        let with_words = match search.method {
            MemoryMethod::Text => true,
            MemoryMethod::All => search.settings.is_hybrid() || vector.is_none(),
            // Without a vector, words are better than nothing.
            MemoryMethod::Embedding | MemoryMethod::HighImportance => vector.is_none(),
        };
        let mut text = TextLeg::Off;
        let mut hits: Vec<(Uuid, f32)> = Vec::new();
        let mut query = search.query(self.embedder().model_id());
        if with_words {
            let look = |shelf: &crate::index::Memories| shelf.index.search(search.question(), search.word_hits());
            let indexed = match patience {
                Patience::Thorough => self.recall().memories_now(look).await,
                Patience::Hurried => self.recall().memories(look),
            };
            match indexed {
                Some(found) => {
                    text = TextLeg::Index;
                    hits = found.into_iter().map(|hit| (hit.id, hit.score)).collect();
                }
                // In a hurry without an index: full text over many rows takes longer than a turn can wait.
                None if patience == Patience::Hurried && vector.is_some() => {}
                None => {
                    query.words = or_query(search.question());
                    text = if query.words.is_some() { TextLeg::FullText } else { TextLeg::Off };
                }
            }
        }
        let mut leg = VectorLeg::Off;
        if let Some(vector) = &vector {
            query.exact = self.recall().few_memories().await?;
            leg = if query.exact { VectorLeg::Exact } else { VectorLeg::Hnsw };
            query.vector = Some(sql(vector));
            let inward = search.settings.meaning_query && is_inward(search.question());
            query.meaning = search.meaning.as_ref().or(inward.then_some(vector)).map(sql);
        }
        let ids: Vec<Uuid> = hits.iter().map(|(id, _)| *id).collect();
        query.hits.clone_from(&ids);
        let found = {
            let db = self.store().connection().await?;
            RetrievalRepository::find(&db, self.bot(), &query).await?
        };
        let hits = match search.method {
            MemoryMethod::Text => by_words(found, &hits, search.rules()),
            _ => by_score(found, &ids, search.rules()),
        };
        Ok(MemoryHits { hits, legs: Legs { vector: leg, text, no_vector } })
    }

    async fn important(&self, search: &MemorySearch) -> Result<MemoryHits, MemoryError> {
        let query = search.query("");
        let least = search.min_importance.unwrap_or(IMPORTANT);
        let limit = i64::try_from(search.limit()).unwrap_or(i64::MAX);
        let db = self.store().connection().await?;
        let user = query.user.as_ref();
        let found = RetrievalRepository::important(&db, self.bot(), least, query.tags.as_deref(), user, limit).await?;
        let hits = found.into_iter().map(|row| {
            let relevance = f64::from(row.memory.importance);
            MemoryHit { source: row.bot, memory: row.memory, relevance, parts: ScoreParts::default() }
        });
        let legs = Legs { vector: VectorLeg::Off, text: TextLeg::Off, no_vector: None };
        Ok(MemoryHits { hits: hits.collect(), legs })
    }

    /// The vector of a question, or why there is none.
    pub(crate) async fn vector_of(&self, given: Option<&Vector>, text: &str) -> (Option<Vector>, Option<String>) {
        question_vector(self.embedder(), given, text).await
    }

    /// The vector of a text that is looked for, if it can be had within `within`.
    pub async fn query_vector(&self, text: &str, within: Duration) -> Option<Vector> {
        tokio::time::timeout(within, self.vector_of(None, text)).await.ok()?.0
    }
}

/// The vector of a question, or why there is none.
pub(super) async fn question_vector(
    embedder: &Embedder,
    given: Option<&Vector>,
    text: &str,
) -> (Option<Vector>, Option<String>) {
    if given.is_some() {
        return (given.cloned(), None);
    }
    match embedder.query(text).await {
        Ok(vector) => (Some(vector), None),
        Err(EmbedError::Blank) => (None, None),
        Err(error) => (None, Some(error.to_string())),
    }
}

/// A vector as PostgreSQL takes it.
pub(super) fn sql(vector: &Vector) -> pgvector::Vector {
    pgvector::Vector::from(vector.as_slice().to_vec())
}

pub(super) fn check(search: &MemorySearch) -> Result<(), MemoryError> {
    let invalid = |what: &str| Err(MemoryError::Invalid(what.to_owned()));
    if search.method != MemoryMethod::HighImportance && search.question().is_empty() {
        return invalid("the query is empty");
    }
    if search.min_importance.is_some_and(|least| !(0.0..=1.0).contains(&least)) {
        return invalid("min_importance must be between 0 and 1");
    }
    if search.min_relevance.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
        return invalid("min_relevance must be between -1 and 1");
    }
    if search.tags.len() > 64 || search.tags.iter().any(|tag| tag.len() > 256) {
        return invalid("too many or too long tags");
    }
    Ok(())
}
