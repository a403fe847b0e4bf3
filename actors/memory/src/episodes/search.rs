//! The search over raw messages of one bot, and over the words of several.

use std::collections::{BTreeMap, HashMap, HashSet};

use greenroom_embedder::Vector;
use greenroom_lexicon::{Candidate, Question, Ranked, Similarities, or_query, rank, snippet};
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use pgvector::HalfVector;
use uuid::Uuid;

use super::request::{EpisodeParts, MessageHit, MessageHits, MessageSearch, SearchMode, WordLeg};
use crate::index::Messages;
use crate::message::StoredMessage;
use crate::repository::{EpisodeQuery, EpisodeRepository, Near};
use crate::retrieval::VectorLeg;
use crate::{Memory, MemoryError, Namespace};

/// Candidates by words, and nearest of each kind, for the lexicon's ranking.
const LEGS: (usize, usize) = (200, 100);
/// With so few messages all vectors are looked at; more go through the index, which then is as good and faster.
const EXACT_ROWS: usize = 2_000;
/// Winners fetched beyond the limit, in place of those that are gone.
const SPARE: usize = 16;
/// Newest messages in which a text is looked for as it stands, when no word of it is known.
const DEPTH: i64 = 20_000;
/// Characters of the stretch that is shown of a hit.
const SNIPPET: usize = 240;

/// How patient a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Sees what was stored just before, and falls back on slower ways.
    None,
    /// Takes what is at hand.
    Turn,
}

/// A candidate on its way to a hit.
struct Winner {
    id: Uuid,
    score: f64,
    parts: EpisodeParts,
}

impl Namespace {
    /// The messages that answer a question best, summarised ones included, forgotten ones never. At most two statements.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for an empty question or senseless limits, [`MemoryError::Store`].
    pub async fn search_messages(&self, search: MessageSearch) -> Result<MessageHits, MemoryError> {
        self.find_messages(&search, Haste::None).await
    }

    pub(crate) async fn find_messages(&self, search: &MessageSearch, haste: Haste) -> Result<MessageHits, MemoryError> {
        search.check()?;
        let now = search.now.unwrap_or_else(Timestamp::now);
        let filter = search.lexical_filter();
        let look = |shelf: &Messages| {
            let question = shelf.index.question(search.question(), &search.cast, now);
            let lexical = match search.mode {
                SearchMode::Vector => Vec::new(),
                SearchMode::Hybrid => shelf.index.candidates(&question, &filter, LEGS.0),
                SearchMode::Text => spoken(shelf.index.candidates(&question, &filter, LEGS.0.max(search.limit() * 2))),
            };
            (question, lexical, shelf.index.len())
        };
        let indexed = match haste {
            Haste::None => self.recall().messages_now(look).await,
            Haste::Turn => self.recall().messages(look),
        };
        let mut query = EpisodeQuery {
            model: self.embedder().model_id().to_owned(),
            nearest: i64::try_from(LEGS.1.max(search.limit())).unwrap_or(i64::MAX),
            worded: i64::try_from(LEGS.0.max(search.limit())).unwrap_or(i64::MAX),
            ..EpisodeQuery::default()
        };
        let mut text = WordLeg::Off;
        let (question, lexical) = match indexed {
            Some((question, lexical, rows)) => {
                query.exact = rows <= EXACT_ROWS;
                query.hits = lexical.iter().map(|candidate| candidate.id).collect();
                text = if search.mode == SearchMode::Vector { WordLeg::Off } else { WordLeg::Index };
                (question, Some(lexical))
            }
            None => (Question::parse(search.question(), &search.cast, now), None),
        };
        let (vector, no_vector) = self.episode_vector(search, &question).await;
        let leg = match (&vector, query.exact) {
            (None, _) => VectorLeg::Off,
            (Some(_), true) => VectorLeg::Exact,
            (Some(_), false) => VectorLeg::Hnsw,
        };
        query.vector = vector.as_ref().map(|vector| HalfVector::from_f32_slice(vector.as_slice()));
        // In a hurry without an index: full text over many rows takes longer than a turn can wait.
        if lexical.is_none() && search.mode != SearchMode::Vector && (haste == Haste::None || vector.is_none()) {
            query.words = or_query(search.question());
            text = if query.words.is_some() { WordLeg::FullText } else { WordLeg::Off };
        }
        let near = match query.vector.is_some() || query.words.is_some() {
            true => {
                let db = self.store().connection().await?;
                EpisodeRepository::near(&db, self.bot(), &query, &search.filter()).await?
            }
            false => Vec::new(),
        };
        let winners = match lexical {
            Some(lexical) if search.mode != SearchMode::Vector => {
                let known: HashSet<Uuid> = query.hits.iter().copied().collect();
                let others: Vec<Uuid> = near.iter().map(|near| near.id).filter(|id| !known.contains(id)).collect();
                let described = self.recall().messages(|shelf| shelf.index.describe(&question, &filter, &others));
                weighed(&question, lexical.into_iter().chain(described.unwrap_or_default()), &near)
            }
            _ => by_places(&near),
        };
        let mut hits = self.fetch_hits(search, &question, winners).await?;
        if hits.is_empty() && search.mode == SearchMode::Text && haste == Haste::None {
            hits = self.substring(search, &question).await?;
            text = WordLeg::Substring;
        }
        Ok(MessageHits { hits, vector: leg, text, no_vector })
    }

    /// The vector of what the question asks, without the names in it.
    async fn episode_vector(&self, search: &MessageSearch, question: &Question) -> (Option<Vector>, Option<String>) {
        if search.mode == SearchMode::Text {
            return (None, None);
        }
        let asked = question.vector_text();
        let given = search.vector.as_ref().filter(|_| asked == search.question());
        self.vector_of(given, asked).await
    }

    async fn fetch_hits(
        &self,
        search: &MessageSearch,
        question: &Question,
        mut winners: Vec<Winner>,
    ) -> Result<Vec<MessageHit>, MemoryError> {
        if winners.is_empty() {
            return Ok(Vec::new());
        }
        winners.truncate(search.limit() * 2 + SPARE);
        let ids: Vec<Uuid> = winners.iter().map(|winner| winner.id).collect();
        let rows = {
            let db = self.store().connection().await?;
            EpisodeRepository::fetch(&db, self.bot(), &ids, &search.filter()).await?
        };
        let mut rows: HashMap<Uuid, StoredMessage> = rows.into_iter().map(|row| (row.id, row)).collect();
        let hits = winners.into_iter().filter_map(|winner| {
            let message = rows.remove(&winner.id)?;
            Some(self.hit(message, question, winner.score, winner.parts))
        });
        Ok(hits.take(search.limit()).collect())
    }

    fn hit(&self, message: StoredMessage, question: &Question, score: f64, parts: EpisodeParts) -> MessageHit {
        let snippet = snippet(&message.content, question, SNIPPET);
        MessageHit { source: self.bot().clone(), message, is_summary: false, score, parts, snippet }
    }

    async fn substring(&self, search: &MessageSearch, question: &Question) -> Result<Vec<MessageHit>, MemoryError> {
        let pattern = containing(search.question());
        let limit = i64::try_from(search.limit()).unwrap_or(i64::MAX);
        let db = self.store().connection().await?;
        let rows = EpisodeRepository::containing(&db, self.bot(), &pattern, &search.filter(), DEPTH, limit).await?;
        Ok(rows.into_iter().map(|row| self.hit(row, question, 0.0, EpisodeParts::new())).collect())
    }
}

impl Memory {
    /// The messages and summaries of several bots that fit some words best, tagged with the bot. One statement.
    ///
    /// # Errors
    /// As [`Namespace::search_messages`].
    pub async fn search_all_messages(
        &self,
        namespaces: &[Namespace],
        search: MessageSearch,
    ) -> Result<MessageHits, MemoryError> {
        search.check()?;
        let mut out =
            MessageHits { hits: Vec::new(), vector: VectorLeg::Off, text: WordLeg::FullText, no_vector: None };
        let Some(words) = or_query(search.question()) else {
            out.text = WordLeg::Off;
            return Ok(out);
        };
        let now = search.now.unwrap_or_else(Timestamp::now);
        let question = Question::parse(search.question(), &search.cast, now);
        let bots: Vec<BotSlug> = namespaces.iter().map(|namespace| namespace.bot().clone()).collect();
        let limit = i64::try_from(search.limit()).unwrap_or(i64::MAX);
        let db = self.store().connection().await?;
        let found = EpisodeRepository::words_everywhere(&db, &bots, &words, &search.filter(), limit, limit).await?;
        let hit = |row: crate::repository::SaidSomewhere| {
            let snippet = snippet(&row.message.content, &question, SNIPPET);
            let (score, parts) = (f64::from(row.words), BTreeMap::from([("words", f64::from(row.words))]));
            MessageHit { source: row.bot, message: row.message, is_summary: row.is_summary, score, parts, snippet }
        };
        out.hits = found.into_iter().map(hit).collect();
        Ok(out)
    }
}

/// Of the candidates those that have words of the question themselves, or else those of the time that it names: whoever
/// searches by words does not mean the neighbours.
fn spoken(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let worded = candidates.iter().any(|candidate| candidate.features.own > 0.0);
    candidates.retain(|candidate| match worded {
        true => candidate.features.own > 0.0,
        false => candidate.features.named_time > 0.0,
    });
    candidates
}

/// Weighs candidates as the lexicon does.
fn weighed(question: &Question, candidates: impl Iterator<Item = Candidate>, near: &[Near]) -> Vec<Winner> {
    let cosines: HashMap<Uuid, Similarities> = near
        .iter()
        .filter_map(|near| {
            let (own, context) = near.own.zip(near.context)?;
            Some((near.id, Similarities { own: own as f32, context: context as f32 }))
        })
        .collect();
    let items: Vec<(Candidate, Option<Similarities>)> =
        candidates.map(|candidate| (cosines.get(&candidate.id).copied(), candidate)).map(|(s, c)| (c, s)).collect();
    rank(question, &items).into_iter().map(winner).collect()
}

fn winner(ranked: Ranked) -> Winner {
    let parts = &ranked.parts;
    let parts = [
        ("words", parts.words),
        ("meaning", parts.meaning),
        ("surroundings", parts.surroundings),
        ("speaker", parts.speaker),
        ("time", parts.time),
        ("form", parts.form),
    ];
    let parts = parts.into_iter().map(|(name, value)| (name, f64::from(value))).collect();
    Winner { id: ranked.id, score: f64::from(ranked.score), parts }
}

/// Weighs candidates by their places in each leg alone: when there is no index, or words play no part.
fn by_places(near: &[Near]) -> Vec<Winner> {
    type Leg = (&'static str, fn(&Near) -> Option<f64>);
    const LEGS: [Leg; 3] =
        [("own", |near| near.own), ("context", |near| near.context), ("words", |near| near.words.map(f64::from))];
    let mut winners: HashMap<Uuid, Winner> = HashMap::new();
    for (name, value) in LEGS {
        let mut values: Vec<(Uuid, f64)> = near.iter().filter_map(|near| Some((near.id, value(near)?))).collect();
        values.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for (place, (id, value)) in values.into_iter().enumerate() {
            let winner = winners.entry(id).or_insert_with(|| Winner { id, score: 0.0, parts: BTreeMap::new() });
            winner.score += 1.0 / (61.0 + place as f64);
            winner.parts.insert(name, value);
        }
    }
    let mut winners: Vec<Winner> = winners.into_values().collect();
    winners.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    winners
}

/// A pattern for `ILIKE` that finds the text as it stands.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_escaped() {
        assert_eq!(containing(r"100%_\"), r"%100\%\_\\%");
    }

    #[test]
    fn without_an_index_places_decide() {
        let near = |n: u128, own, context, words| Near { id: Uuid::from_u128(n), own, context, words };
        let winners = by_places(&[
            near(1, Some(0.2), Some(0.3), None),
            near(2, Some(0.9), Some(0.8), Some(0.5)),
            near(3, None, None, Some(0.9)),
        ]);
        assert_eq!(winners[0].id, Uuid::from_u128(2));
        assert_eq!(winners.len(), 3);
        assert_eq!(winners[0].parts.len(), 3);
    }
}
