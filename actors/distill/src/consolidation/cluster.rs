//! Which memories belong together: every member must be like every other one, not only like a common neighbour
//! (memory.md §11.2). Pure.

use std::collections::HashMap;

use greenroom_memory::upkeep::{Candidate, SimilarPair};
use uuid::Uuid;

use crate::words::{normalised, similarity_ratio};

/// Most members of a group.
const MOST_MEMBERS: usize = 10;
/// Memories with this tag stay as they are.
const PINNED: &str = "pinned";

/// From when on two memories are one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    /// Cosine similarity, with a common tag.
    tagged: f32,
    /// Cosine similarity, whatever the tags.
    any: f32,
    /// Ratio of equal text, with at least some similarity.
    text: f64,
    text_least: f32,
}

impl Thresholds {
    pub(super) fn of(similarity: f32) -> Self {
        Self { tagged: similarity, any: similarity.max(0.9), text: 0.85, text_least: 0.4 }
    }

    fn are_one(&self, a: &Candidate, b: &Candidate) -> bool {
        if !may_be_one(a, b) {
            return false;
        }
        let similarity = cosine(&a.vector, &b.vector);
        let common_tag = a.tags.iter().any(|tag| b.tags.contains(tag));
        similarity >= self.any
            || (common_tag && similarity >= self.tagged)
            || (similarity >= self.text_least && alike(&a.content, &b.content) >= self.text)
    }
}

/// Whether nothing speaks against it: the same person, the same model, nobody pinned, no contradicting attributes.
fn may_be_one(a: &Candidate, b: &Candidate) -> bool {
    let pinned = |memory: &Candidate| memory.tags.iter().any(|tag| tag == PINNED);
    let profile = |memory: &Candidate, part: &str| memory.metadata.as_ref()?.get("profile")?.get(part).cloned();
    let contradicting = match (profile(a, "key"), profile(b, "key")) {
        (Some(x), Some(y)) => x != y || profile(a, "value") != profile(b, "value"),
        _ => false,
    };
    a.user == b.user && a.model == b.model && !pinned(a) && !pinned(b) && !contradicting
}

/// Ratio of equal text after "the user" and the like became one word; 0 when the lengths rule it out.
fn alike(a: &str, b: &str) -> f64 {
    let plain = |text: &str| {
        let text = normalised(text).replace("the user's", "user").replace("user's", "user").replace("the user", "user");
        text.trim_end_matches('.').to_owned()
    };
    let (a, b) = (plain(a), plain(b));
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    if shorter * 10 < longer * 7 { 0.0 } else { similarity_ratio(&a, &b) }
}

/// Cosine similarity of vectors of length 1.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Groups of two to ten, larger ones first; a memory is in one at most. Pairs are taken most similar first, and two groups
/// become one only if all their members qualify pairwise.
pub(super) fn clusters(candidates: &[Candidate], pairs: &[SimilarPair], thresholds: &Thresholds) -> Vec<Vec<Uuid>> {
    let place: HashMap<Uuid, usize> = candidates.iter().enumerate().map(|(at, memory)| (memory.id, at)).collect();
    let mut pairs: Vec<&SimilarPair> = pairs.iter().collect();
    pairs.sort_by(|x, y| y.similarity.total_cmp(&x.similarity).then((x.a, x.b).cmp(&(y.a, y.b))));
    let mut group_of: Vec<usize> = (0..candidates.len()).collect();
    let mut groups: Vec<Vec<usize>> = (0..candidates.len()).map(|at| vec![at]).collect();
    for pair in pairs {
        let (Some(a), Some(b)) = (place.get(&pair.a), place.get(&pair.b)) else { continue };
        let (a, b) = (group_of[*a], group_of[*b]);
        if a == b || groups[a].len() + groups[b].len() > MOST_MEMBERS {
            continue;
        }
        let one =
            groups[a].iter().all(|x| groups[b].iter().all(|y| thresholds.are_one(&candidates[*x], &candidates[*y])));
        if one {
            let moved = std::mem::take(&mut groups[b]);
            for member in &moved {
                group_of[*member] = a;
            }
            groups[a].extend(moved);
        }
    }
    let mut found: Vec<Vec<Uuid>> = groups
        .into_iter()
        .filter(|group| group.len() > 1)
        .map(|mut group| {
            group.sort_by_key(|at| (candidates[*at].created_at, candidates[*at].id));
            group.into_iter().map(|at| candidates[at].id).collect()
        })
        .collect();
    found.sort_by(|x, y| y.len().cmp(&x.len()).then_with(|| x.cmp(y)));
    found
}

#[cfg(test)]
pub(super) mod tests {
    use greenroom_protocol::UserId;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::consolidation) fn memory(number: u128, content: &str, vector: [f32; 3]) -> Candidate {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        Candidate {
            id: Uuid::from_u128(number),
            content: content.into(),
            tags: vec!["fact".into()],
            importance: 0.5,
            confidence: 0.8,
            access_count: 0,
            user: Some(UserId::from_stored("ann")),
            intent: None,
            sources: vec![Uuid::from_u128(number + 1000)],
            summary_sources: Vec::new(),
            metadata: None,
            created_at: Timestamp::from_second(i64::try_from(number).unwrap_or(0)).unwrap_or_default(),
            updated_at: Timestamp::UNIX_EPOCH,
            model: Some("test".into()),
            vector: vector.iter().map(|x| x / length).collect(),
        }
    }

    fn all_pairs(candidates: &[Candidate]) -> Vec<SimilarPair> {
        let mut pairs = Vec::new();
        for (at, a) in candidates.iter().enumerate() {
            for b in &candidates[at + 1..] {
                pairs.push(SimilarPair { a: a.id, b: b.id, similarity: cosine(&a.vector, &b.vector) });
            }
        }
        pairs
    }

    fn groups(candidates: &[Candidate]) -> Vec<Vec<u128>> {
        let found = clusters(candidates, &all_pairs(candidates), &Thresholds::of(0.88));
        found.into_iter().map(|group| group.into_iter().map(|id| id.as_u128()).collect()).collect()
    }

    #[test]
    fn members_must_all_be_alike() {
        // 1 is like 2, and 2 like 3, but 1 is not like 3.
        let chain = [
            memory(1, "drinks tea", [1.0, 0.0, 0.0]),
            memory(2, "likes green tea a lot", [1.0, 0.45, 0.0]),
            memory(3, "owns a teapot from Japan", [1.0, 1.0, 0.0]),
        ];
        assert_eq!(groups(&chain), [[2, 3]]);
    }

    #[test]
    fn persons_pins_and_contradictions_keep_memories_apart() {
        let same = |number| memory(number, "has a dog", [1.0, 0.0, 0.0]);
        assert_eq!(groups(&[same(1), same(2)]), [[1, 2]]);
        let other = Candidate { user: Some(UserId::from_stored("bob")), ..same(2) };
        assert!(groups(&[same(1), other]).is_empty());
        let pinned = Candidate { tags: vec!["fact".into(), "pinned".into()], ..same(2) };
        assert!(groups(&[same(1), pinned]).is_empty());
        let living = |number, place: &str| Candidate {
            metadata: Some(serde_json::json!({"profile": {"key": "location", "value": place}})),
            ..same(number)
        };
        assert!(groups(&[living(1, "Lyon"), living(2, "Paris")]).is_empty());
        assert_eq!(groups(&[living(1, "Lyon"), living(2, "Lyon")]), [[1, 2]]);
    }

    proptest! {
        #[test]
        fn groups_are_disjoint_bounded_and_tight(points in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 2..40)) {
            let candidates: Vec<Candidate> = points
                .iter()
                .enumerate()
                .map(|(at, (x, y))| memory(at as u128 + 1, &format!("fact {at}"), [*x, *y, 0.5]))
                .collect();
            let thresholds = Thresholds::of(0.88);
            let found = clusters(&candidates, &all_pairs(&candidates), &thresholds);
            let mut seen = std::collections::HashSet::new();
            for group in &found {
                prop_assert!((2..=MOST_MEMBERS).contains(&group.len()));
                let members: Vec<&Candidate> = group.iter().filter_map(|id| candidates.iter().find(|c| c.id == *id)).collect();
                for (at, a) in members.iter().enumerate() {
                    prop_assert!(seen.insert(a.id));
                    prop_assert!(members[at + 1..].iter().all(|b| thresholds.are_one(a, b)));
                }
            }
        }
    }
}
