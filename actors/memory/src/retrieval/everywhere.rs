//! The search for memories across bots: one statement, read-only, each hit tagged with its bot. It loads no index; bots whose
//! words are indexed already lend their index, for the others PostgreSQL's full text does.

use std::collections::HashMap;

use greenroom_lexicon::or_query;
use greenroom_protocol::BotSlug;
use uuid::Uuid;

use super::rank::{Rules, by_score, by_words};
use super::search::{Legs, MemoryHits, MemoryMethod, MemorySearch, TextLeg, VectorLeg, check, question_vector, sql};
use super::{MemoryHit, RetrievalSettings};
use crate::repository::{Found, RetrievalRepository};
use crate::{Memory, MemoryError, Namespace};

impl Memory {
    /// The memories of several bots that fit a question best, by one order of scores. Nothing counts as used.
    ///
    /// # Errors
    /// As [`Namespace::search_memories`]; [`MemoryError::Invalid`] also for [`MemoryMethod::HighImportance`], which is a
    /// list and not a search.
    pub async fn search_everywhere(
        &self,
        namespaces: &[Namespace],
        search: MemorySearch,
    ) -> Result<MemoryHits, MemoryError> {
        check(&search)?;
        if search.method == MemoryMethod::HighImportance {
            return Err(MemoryError::Invalid("this method works within one bot only".into()));
        }
        let (vector, no_vector) = match search.method {
            MemoryMethod::Text => (None, None),
            _ => question_vector(self.embedder(), search.vector.as_ref(), search.question()).await,
        };
        let with_words = match search.method {
            MemoryMethod::Text => true,
            MemoryMethod::All => search.settings.is_hybrid() || vector.is_none(),
            MemoryMethod::Embedding | MemoryMethod::HighImportance => vector.is_none(),
        };
        let mut query = search.query(self.embedder().model_id());
        query.vector = vector.as_ref().map(sql);
        let mut hits: HashMap<BotSlug, Vec<(Uuid, f32)>> = HashMap::new();
        let mut unindexed = Vec::new();
        if with_words {
            query.words = or_query(search.question());
            for namespace in namespaces {
                let look = |shelf: &crate::index::Memories| shelf.index.search(search.question(), search.word_hits());
                match namespace.recall().memories_if_ready(look) {
                    Some(found) => {
                        let found = found.into_iter().map(|hit| (hit.id, hit.score)).collect();
                        hits.insert(namespace.bot().clone(), found);
                    }
                    None => unindexed.push(namespace.bot().clone()),
                }
            }
        }
        let bots: Vec<BotSlug> = namespaces.iter().map(|namespace| namespace.bot().clone()).collect();
        let flat: Vec<(BotSlug, Uuid)> =
            hits.iter().flat_map(|(bot, found)| found.iter().map(|(id, _)| (bot.clone(), *id))).collect();
        let found = {
            let db = self.store().connection().await?;
            RetrievalRepository::find_everywhere(&db, &bots, &unindexed, &flat, &query).await?
        };
        let mut by_bot: HashMap<BotSlug, Vec<Found>> = HashMap::new();
        for row in found {
            by_bot.entry(row.bot.clone()).or_default().push(row);
        }
        // Across bots the order is by score alone: tags mean different things to different bots.
        let settings = RetrievalSettings { diversity: false, ..search.settings };
        let rules = Rules { settings: &settings, ..search.rules() };
        let mut out: Vec<MemoryHit> = Vec::new();
        for (bot, rows) in by_bot {
            let words = hits.remove(&bot).unwrap_or_default();
            out.extend(match search.method {
                MemoryMethod::Text => by_words(rows, &words, rules),
                _ => by_score(rows, &words.iter().map(|(id, _)| *id).collect::<Vec<_>>(), rules),
            });
        }
        let value = |hit: &MemoryHit| match search.method {
            MemoryMethod::Text => hit.relevance,
            _ => hit.parts.score,
        };
        out.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.memory.id.cmp(&b.memory.id)));
        out.truncate(search.limit());
        let text = match (with_words, unindexed.is_empty()) {
            (false, _) => TextLeg::Off,
            (true, true) => TextLeg::Index,
            (true, false) => TextLeg::FullText,
        };
        let vector = if vector.is_some() { VectorLeg::Hnsw } else { VectorLeg::Off };
        Ok(MemoryHits { hits: out, legs: Legs { vector, text, no_vector } })
    }
}
