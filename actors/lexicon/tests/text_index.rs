//! The text index against a plain BM25 over all texts, after any sequence of changes.

use std::collections::BTreeMap;

use greenroom_lexicon::{TextHit, TextIndex, terms};
use proptest::prelude::*;
use uuid::Uuid;

const WORDS: [&str; 12] = [
    "bicycle",
    "tea",
    "garden",
    "Rome",
    "the",
    "music",
    "night",
    "school",
    "painted",
    "2024",
    "anna@example.com",
    "猫犬",
];

/// Adds a text, or removes one when there are no words.
fn changes() -> impl Strategy<Value = Vec<(u8, Vec<usize>)>> {
    prop::collection::vec((0_u8..30, prop::collection::vec(0..WORDS.len(), 0..9)), 0..120)
}

fn text(words: &[usize]) -> String {
    words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ")
}

/// BM25 with k1 = 1.2 and b = 0.75, written down as in the paper.
fn plain(texts: &BTreeMap<Uuid, String>, query: &str) -> Vec<TextHit> {
    let texts: Vec<(Uuid, Vec<String>)> = texts.iter().map(|(id, text)| (*id, terms(text))).collect();
    let mut wanted = terms(query);
    wanted.sort();
    wanted.dedup();
    let n = texts.len() as f64;
    let average = (texts.iter().map(|(_, terms)| terms.len()).sum::<usize>() as f64 / n).max(1.0);
    let mut hits = Vec::new();
    for (id, terms) in &texts {
        let mut score = 0.0;
        for term in &wanted {
            let with = texts.iter().filter(|(_, terms)| terms.contains(term)).count() as f64;
            let count = terms.iter().filter(|other| *other == term).count() as f64;
            let idf = ((n - with + 0.5) / (with + 0.5)).ln_1p();
            score += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * terms.len() as f64 / average));
        }
        if score > 0.0 {
            hits.push(TextHit { id: *id, score: score as f32 });
        }
    }
    hits.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.id.cmp(&other.id)));
    hits
}

fn rebuilt(texts: &BTreeMap<Uuid, String>) -> TextIndex {
    let mut index = TextIndex::new();
    for (id, text) in texts {
        index.insert(*id, text);
    }
    index
}

proptest! {
    #[test]
    fn scores_are_those_of_bm25(changes in changes(), query in prop::collection::vec(0..WORDS.len(), 1..5)) {
        let (mut index, mut texts) = (TextIndex::new(), BTreeMap::new());
        for (number, words) in changes {
            let id = Uuid::from_u128(u128::from(number));
            if words.is_empty() {
                prop_assert_eq!(index.remove(&id), texts.remove(&id).is_some());
            } else {
                index.insert(id, &text(&words));
                texts.insert(id, text(&words));
            }
        }
        prop_assert_eq!(index.len(), texts.len());
        let mut ids: Vec<Uuid> = index.ids().collect();
        ids.sort();
        prop_assert_eq!(&ids, &texts.keys().copied().collect::<Vec<_>>());
        let query = text(&query);
        let expected = plain(&texts, &query);
        // The changed index counts the removed until it compacts, so its scores differ a little; its hits do not.
        let mut found: Vec<Uuid> = index.search(&query, 100).iter().map(|hit| hit.id).collect();
        found.sort();
        let mut wanted: Vec<Uuid> = expected.iter().map(|hit| hit.id).collect();
        wanted.sort();
        prop_assert_eq!(found, wanted);
        // A rebuilt one agrees in every score, and in order wherever scores differ by more than rounding.
        let found = rebuilt(&texts).search(&query, 100);
        prop_assert_eq!(found.len(), expected.len());
        for (hit, other) in found.iter().zip(&expected) {
            prop_assert!((hit.score - other.score).abs() < 1e-4, "{} {}", hit.score, other.score);
        }
        prop_assert!(found.is_sorted_by(|one, other| one.score > other.score || (one.score == other.score && one.id < other.id)));
    }

    #[test]
    fn any_text_and_query_is_harmless(text in "\\PC{0,200}", query in "\\PC{0,80}", k in 0_usize..5) {
        let mut index = TextIndex::new();
        let id = Uuid::from_u128(1);
        index.insert(id, &text);
        prop_assert!(index.search(&query, k).len() <= k);
        prop_assert_eq!(index.search(&text, 1).len(), usize::from(!terms(&text).is_empty()));
        prop_assert!(index.remove(&id) && index.search(&text, 1).is_empty());
    }
}

#[test]
fn replacing_often_keeps_the_index_small() {
    let mut index = TextIndex::new();
    for round in 0..20_000 {
        index.insert(Uuid::from_u128(round % 10), &format!("word{round} again"));
    }
    assert_eq!(index.len(), 10);
    assert!(index.search("word19999", 5).len() == 1 && index.search("word1", 5).is_empty());
    assert!(index.bytes() < 3_000_000, "{} bytes", index.bytes());
}

#[test]
fn a_filter_lets_worse_hits_through() {
    let mut index = TextIndex::new();
    for number in 0..1_000_u128 {
        index.insert(Uuid::from_u128(number), if number == 700 { "tea with milk and bread" } else { "tea" });
    }
    let hits = index.search_where("tea", 3, |id| id.as_u128() >= 700);
    assert_eq!(hits.iter().map(|hit| hit.id.as_u128()).collect::<Vec<_>>(), [701, 702, 703]);
    assert_eq!(index.search_where("tea", 3, |id| id.as_u128() == 700).len(), 1);
}

#[test]
fn common_words_only_add_to_what_rare_ones_find() {
    let mut index = TextIndex::new();
    for number in 0..150_000_u128 {
        let rare = if number % 1_000 == 0 { "zebra" } else { "" };
        let usual = if number % 2_000 == 0 { "one two three four five" } else { "" };
        index.insert(Uuid::from_u128(number), &format!("alpha beta gamma delta epsilon {rare} {usual}"));
    }
    // Five words in every text are more than is read; the zebras with fewer other words are the best.
    let hits = index.search("alpha beta gamma delta epsilon zebra", 75);
    assert_eq!(hits.len(), 75);
    assert!(hits.iter().all(|hit| hit.id.as_u128() % 2_000 == 1_000), "{hits:?}");
}
