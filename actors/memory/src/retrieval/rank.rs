//! From candidates to an answer: places in each leg, scores, the cut. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::score::{Evidence, RetrievalSettings, score};
use super::{MemoryHit, diverse};
use crate::repository::Found;

/// What decides about order and cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) settings: &'a RetrievalSettings,
    pub(super) limit: usize,
    /// Least similarity.
    pub(super) min_relevance: f64,
    /// Most places that count by words.
    pub(super) most_words: usize,
    pub(super) now: Timestamp,
}

/// Scores everything that was found and cuts. `by_words` are the hits of the words' index, best first; of those that were
/// not found in the table nothing is left.
pub(super) fn by_score(found: Vec<Found>, by_words: &[Uuid], rules: Rules<'_>) -> Vec<MemoryHit> {
    let nearest = places(found.iter().filter(|row| row.near).map(|row| (row.memory.id, row.sim.unwrap_or(-1.0))));
    let worded = word_places(&found, by_words, rules.most_words);
    let mut hits: Vec<MemoryHit> = found
        .into_iter()
        .filter(|row| row.near || worded.contains_key(&row.memory.id))
        .map(|row| {
            let evidence = Evidence {
                sim: row.sim,
                meaning_sim: row.meaning_sim,
                rank_vector: nearest.get(&row.memory.id).copied(),
                rank_text: worded.get(&row.memory.id).copied(),
            };
            let parts = score(&row.memory, evidence, rules.settings, rules.now);
            MemoryHit { source: row.bot, relevance: parts.sim, parts, memory: row.memory }
        })
        .filter(|hit| hit.parts.sim >= rules.min_relevance)
        .collect();
    hits.sort_by(|a, b| b.parts.score.total_cmp(&a.parts.score).then(a.memory.id.cmp(&b.memory.id)));
    if rules.settings.diversity {
        return diverse(hits, rules.limit, rules.settings.diversity_floor, rules.now);
    }
    hits.truncate(rules.limit);
    hits
}

/// Orders by words alone. Relevance is what the leg says, brought between 0 and 1.
pub(super) fn by_words(found: Vec<Found>, index_hits: &[(Uuid, f32)], rules: Rules<'_>) -> Vec<MemoryHit> {
    let order: Vec<Uuid> = index_hits.iter().map(|(id, _)| *id).collect();
    let worded = word_places(&found, &order, usize::MAX);
    let scores: HashMap<Uuid, f32> = index_hits.iter().copied().collect();
    let mut hits: Vec<MemoryHit> = found
        .into_iter()
        .filter_map(|row| {
            let rank = *worded.get(&row.memory.id)?;
            let bm25 = scores.get(&row.memory.id).map(|score| f64::from(*score) / (f64::from(*score) + 1.0));
            let relevance = bm25.or(row.words.map(f64::from)).unwrap_or_default();
            let evidence = Evidence { sim: row.sim, rank_text: Some(rank), ..Evidence::default() };
            let parts = score(&row.memory, evidence, rules.settings, rules.now);
            Some(MemoryHit { source: row.bot, relevance, parts, memory: row.memory })
        })
        .filter(|hit| hit.relevance >= rules.min_relevance)
        .collect();
    hits.sort_by_key(|hit| hit.parts.rank_text);
    hits.truncate(rules.limit);
    hits
}

/// Places of those that words found: in the order of the index, or else in that of PostgreSQL's full text.
fn word_places(found: &[Found], by_words: &[Uuid], most: usize) -> HashMap<Uuid, u32> {
    if by_words.is_empty() {
        let ranked = found.iter().filter_map(|row| Some((row.memory.id, f64::from(row.words?))));
        let mut places = places(ranked);
        places.retain(|_, place| usize::try_from(*place).is_ok_and(|place| place <= most));
        return places;
    }
    let there: std::collections::HashSet<Uuid> = found.iter().map(|row| row.memory.id).collect();
    by_words.iter().filter(|id| there.contains(id)).take(most).copied().zip(1..).collect()
}

/// Places from 1 by falling value; equal values by id.
fn places(values: impl Iterator<Item = (Uuid, f64)>) -> HashMap<Uuid, u32> {
    let mut values: Vec<(Uuid, f64)> = values.collect();
    values.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    values.into_iter().map(|(id, _)| id).zip(1..).collect()
}
