//! Choosing so that the best do not all speak of one thing (memory.md §6.2). Pure.

use std::collections::HashSet;

use jiff::Timestamp;

use super::MemoryHit;

/// Ages, in days, below which a memory counts as recent and as neither recent nor old.
const AGES: (f64, f64) = (7.0, 30.0);

/// Takes `wanted` of `hits` (best first): the best, then those that bring a new tag, then one of each age, then by score.
/// What is taken for its tag or age scores at least `floor` times the best; 0 takes anything. The choice is best first.
#[must_use]
pub fn diverse(hits: Vec<MemoryHit>, wanted: usize, floor: f64, now: Timestamp) -> Vec<MemoryHit> {
    if hits.len() <= wanted || wanted == 0 {
        return hits.into_iter().take(wanted).collect();
    }
    let least = hits[0].parts.score * floor.clamp(0.0, 1.0);
    let mut taken = vec![false; hits.len()];
    taken[0] = true;
    let mut left = wanted - 1;
    let mut seen: HashSet<&str> = hits[0].memory.tags.iter().map(String::as_str).collect();
    for (at, hit) in hits.iter().enumerate().skip(1) {
        if left == 0 {
            break;
        }
        if hit.parts.score >= least && hit.memory.tags.iter().any(|tag| !seen.contains(tag.as_str())) {
            seen.extend(hit.memory.tags.iter().map(String::as_str));
            taken[at] = true;
            left -= 1;
        }
    }
    let age = |hit: &MemoryHit| (now.as_microsecond() - hit.memory.created_at.as_microsecond()) as f64 / 8.64e10;
    let medium = |days: f64| (AGES.0..AGES.1).contains(&days);
    let ages: [&dyn Fn(f64) -> bool; 3] = [&medium, &|days| days >= AGES.1, &|days| days < AGES.0];
    for fits in ages {
        if left == 0 {
            break;
        }
        let best = (0..hits.len()).find(|at| !taken[*at] && fits(age(&hits[*at])));
        if let Some(at) = best.filter(|at| hits[*at].parts.score >= least) {
            taken[at] = true;
            left -= 1;
        }
    }
    for mark in taken.iter_mut().filter(|mark| !**mark).take(left) {
        *mark = true;
    }
    hits.into_iter().zip(taken).filter_map(|(hit, taken)| taken.then_some(hit)).collect()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::BotSlug;
    use uuid::Uuid;

    use super::*;
    use crate::memories::{Meaning, StoredMemory};
    use crate::retrieval::ScoreParts;

    fn hit(n: u128, score: f64, tag: &str, age_days: i64) -> MemoryHit {
        let created_at = Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_hours(24 * age_days);
        let memory = StoredMemory {
            id: Uuid::from_u128(n),
            seq: 1,
            content: "x".into(),
            tags: vec![tag.into()],
            importance: 0.5,
            confidence: 1.0,
            sources: vec![],
            summary_sources: vec![],
            user: None,
            meaning: Meaning::default(),
            meaning_updated_at: None,
            access_count: 0,
            last_accessed_at: None,
            superseded_by: None,
            superseded_at: None,
            supersede_reason: None,
            embedding_model: None,
            metadata: None,
            created_at,
            updated_at: created_at,
        };
        let parts = ScoreParts { score, ..ScoreParts::default() };
        MemoryHit { source: BotSlug::from_stored("nova"), memory, relevance: score, parts }
    }

    fn chosen(hits: Vec<MemoryHit>, wanted: usize, floor: f64) -> Vec<u128> {
        diverse(hits, wanted, floor, Timestamp::UNIX_EPOCH).iter().map(|hit| hit.memory.id.as_u128()).collect()
    }

    #[test]
    fn new_tags_come_before_more_of_the_same() {
        let hits = || {
            vec![
                hit(1, 0.9, "a", 1),
                hit(2, 0.8, "a", 1),
                hit(3, 0.7, "a", 1),
                hit(4, 0.6, "b", 1),
                hit(5, 0.1, "c", 1),
            ]
        };
        assert_eq!(chosen(hits(), 2, 0.5), [1, 4]);
        // A tag alone is not enough for one far below the best, unless nothing is demanded.
        assert_eq!(chosen(hits(), 3, 0.5), [1, 2, 4]);
        assert_eq!(chosen(hits(), 3, 0.0), [1, 4, 5]);
        assert_eq!(chosen(hits(), 9, 0.5), [1, 2, 3, 4, 5]);
        assert_eq!(chosen(hits(), 0, 0.5), [] as [u128; 0]);
    }

    #[test]
    fn each_age_gets_a_place() {
        let hits = vec![
            hit(1, 0.9, "a", 1),
            hit(2, 0.89, "a", 2),
            hit(3, 0.88, "a", 3),
            hit(4, 0.7, "a", 40),
            hit(5, 0.6, "a", 10),
        ];
        assert_eq!(chosen(hits, 3, 0.5), [1, 4, 5]);
    }
}
