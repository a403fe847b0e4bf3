//! Short texts, ranked by BM25 over stems. Insert and remove are idempotent by id, and the newest text of an id wins.
//! Deliberately absent: locks, persistence and the texts themselves; a table elsewhere is the truth and this is rebuilt from it.

use uuid::Uuid;

use crate::bm25::Bm25;
use crate::inverted::Inverted;
use crate::search::{Effort, best};
use crate::words::terms;

/// The usual constants.
const BM25: Bm25 = Bm25 { k1: 1.2, b: 0.75 };
/// Terms of a query that count, the rarest.
const MAX_TERMS: usize = 32;
/// Enough to be exact for some 200,000 documents; about two milliseconds of work.
const EFFORT: Effort = Effort { postings: 600_000, candidates: 2_000 };

/// A document that contains words of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextHit {
    /// The document.
    pub id: Uuid,
    /// Its BM25 score: comparable within one query only.
    pub score: f32,
}

/// An inverted index over short texts.
pub struct TextIndex {
    words: Inverted,
}

impl Default for TextIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl TextIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self { words: Inverted::new(BM25) }
    }

    /// Adds a text, or replaces the one with this id.
    pub fn insert(&mut self, id: Uuid, text: &str) {
        self.words.remove(&id);
        let _full = self.words.insert(id, text, |_| 0);
        self.tidy();
    }

    /// Removes a text; false when there was none.
    pub fn remove(&mut self, id: &Uuid) -> bool {
        let removed = self.words.remove(id).is_some();
        self.tidy();
        removed
    }

    fn tidy(&mut self) {
        if self.words.is_loose() {
            self.words.compact();
        }
    }

    /// Whether there is a text with this id.
    #[must_use]
    pub fn contains(&self, id: &Uuid) -> bool {
        self.words.slot(id).is_some()
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of all texts, in no order.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.words.ids()
    }

    /// Roughly the bytes it takes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// The `k` best texts for a query, best first, equal scores in the order of ids. Exact while the query's words occur
    /// fewer than 600,000 times in all; beyond, the commonest words only add to what the rarer ones find.
    #[must_use]
    pub fn search(&self, query: &str, k: usize) -> Vec<TextHit> {
        self.search_where(query, k, |_| true)
    }

    /// Like [`Self::search`], among the texts that `keep` wants.
    pub fn search_where(&self, query: &str, k: usize, keep: impl Fn(&Uuid) -> bool) -> Vec<TextHit> {
        let mut terms = terms(query);
        terms.sort_unstable();
        terms.dedup();
        let wanted = self.words.look_up(&terms, MAX_TERMS);
        let found = best(&self.words, &self.words.tables(), &wanted, k, EFFORT, |slot| keep(&self.words.id(slot)));
        found.into_iter().map(|(slot, score)| TextHit { id: self.words.id(slot), score }).collect()
    }
}
