//! An inverted index: for every term the documents it occurs in. It owns the numbering of documents (slots), which only grows
//! until a compaction. Invariant: postings are sorted by slot, and a slot is either alive or marked gone. Statistics count the
//! gone until the next compaction, which comes before they are a fifth of all. Deliberately absent: scores of anything but
//! BM25, positions, and the texts themselves.

use std::collections::HashMap;

use rust_stemmers::Stemmer;
use uuid::Uuid;

use crate::bm25::{Bm25, Tables};
use crate::words::{Kind, MAX_WORD_BYTES, pieces, stemmer, term_of};

/// Bits of a posting for the number of occurrences; the others are the slot.
const COUNT_BITS: u32 = 5;
const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;
/// Documents an index can hold, counting the gone: 134 million.
const MAX_SLOTS: usize = 1 << (32 - COUNT_BITS);
/// Words whose term is remembered, so that loading a table does not stem the same word again and again.
const MAX_REMEMBERED: usize = 32_768;
/// Gone documents that never cause a compaction.
const TOLERATED: usize = 16;
/// No such term, no such slot.
pub(crate) const NONE: u32 = u32::MAX;

/// One term in one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posting(u32);

impl Posting {
    fn new(slot: u32, count: usize) -> Self {
        Self(slot << COUNT_BITS | u32::try_from(count).map_or(MAX_COUNT, |count| count.min(MAX_COUNT)))
    }

    /// The document.
    pub(crate) fn slot(self) -> u32 {
        self.0 >> COUNT_BITS
    }

    /// Occurrences, at most 31.
    pub(crate) fn count(self) -> u32 {
        self.0 & MAX_COUNT
    }
}

/// A term of a query with its documents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Sorted by slot.
    pub(crate) postings: &'a [Posting],
    /// How telling it is.
    pub(crate) idf: f32,
}

/// What a word stands for: its term, and the caller's marks for it.
#[derive(Debug, Clone, Copy)]
struct Known {
    term: u32,
    marks: u8,
}

/// The index.
pub(crate) struct Inverted {
    vocabulary: HashMap<Box<str>, u32>,
    postings: Vec<Vec<Posting>>,
    lengths: Vec<u16>,
    ids: Vec<Uuid>,
    gone: Vec<bool>,
    slots: HashMap<Uuid, u32>,
    occurrences: u64,
    bm25: Bm25,
    stemmer: Stemmer,
    remembered: HashMap<Box<str>, Known>,
    scratch: Vec<u32>,
    text_bytes: usize,
}

impl Inverted {
    /// An empty one.
    pub(crate) fn new(bm25: Bm25) -> Self {
        Self {
            vocabulary: HashMap::new(),
            postings: Vec::new(),
            lengths: Vec::new(),
            ids: Vec::new(),
            gone: Vec::new(),
            slots: HashMap::new(),
            occurrences: 0,
            bm25,
            stemmer: stemmer(),
            remembered: HashMap::new(),
            scratch: Vec::new(),
            text_bytes: 0,
        }
    }

    /// Documents that are alive.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a document.
    pub(crate) fn slot(&self, id: &Uuid) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// The document in a slot.
    pub(crate) fn id(&self, slot: u32) -> Uuid {
        self.ids.get(slot as usize).copied().unwrap_or_default()
    }

    /// Whether nothing is in a slot any more.
    pub(crate) fn is_gone(&self, slot: u32) -> bool {
        self.gone.get(slot as usize).copied().unwrap_or(true)
    }

    /// Every document that is alive.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.slots.keys().copied()
    }

    /// Adds a document and gives its slot and the marks of its words, or nothing when the index can hold no more. The
    /// document must not be in the index. `mark` is asked about each plain word once in a while, not every time it occurs.
    pub(crate) fn insert(&mut self, id: Uuid, text: &str, mark: impl Fn(&str) -> u8) -> Option<(u32, u8)> {
        let slot = u32::try_from(self.ids.len()).ok().filter(|_| self.ids.len() < MAX_SLOTS)?;
        let mut found = std::mem::take(&mut self.scratch);
        let mut marks = 0;
        pieces(text, |piece| {
            let known = if piece.kind == Kind::Word { self.remembered.get(piece.text).copied() } else { None };
            let known = known.unwrap_or_else(|| {
                let term = term_of(&self.stemmer, &piece).filter(|term| term.len() <= MAX_WORD_BYTES);
                let known = Known { term: term.map_or(NONE, |term| self.number(term)), marks: 0 };
                if piece.kind != Kind::Word {
                    return known;
                }
                let known = Known { marks: mark(piece.text), ..known };
                if self.remembered.len() >= MAX_REMEMBERED {
                    self.remembered.clear();
                }
                self.remembered.insert(piece.text.into(), known);
                known
            });
            marks |= known.marks;
            if known.term != NONE {
                found.push(known.term);
            }
        });
        self.occurrences += found.len() as u64;
        self.lengths.push(u16::try_from(found.len()).unwrap_or(u16::MAX));
        found.sort_unstable();
        for run in found.chunk_by(|one, other| one == other) {
            if let Some(postings) = run.first().and_then(|term| self.postings.get_mut(*term as usize)) {
                postings.push(Posting::new(slot, run.len()));
            }
        }
        found.clear();
        found.shrink_to(1 << 12);
        self.scratch = found;
        self.ids.push(id);
        self.gone.push(false);
        self.slots.insert(id, slot);
        Some((slot, marks))
    }

    fn number(&mut self, term: String) -> u32 {
        let next = u32::try_from(self.postings.len()).unwrap_or(NONE);
        let (text_bytes, postings) = (&mut self.text_bytes, &mut self.postings);
        *self.vocabulary.entry(term.into_boxed_str()).or_insert_with_key(|term| {
            *text_bytes += term.len();
            postings.push(Vec::new());
            next
        })
    }

    /// Marks a document as gone and gives the slot it had.
    pub(crate) fn remove(&mut self, id: &Uuid) -> Option<u32> {
        let slot = self.slots.remove(id)?;
        if let Some(gone) = self.gone.get_mut(slot as usize) {
            *gone = true;
        }
        Some(slot)
    }

    /// Whether so many documents are gone that [`Self::compact`] is due.
    pub(crate) fn is_loose(&self) -> bool {
        self.ids.len() - self.slots.len() > TOLERATED + self.slots.len() / 4
    }

    /// Forgets the gone for good and gives the new slot of every old one, [`NONE`] for the gone.
    pub(crate) fn compact(&mut self) -> Vec<u32> {
        let mut next = 0;
        let moved: Vec<u32> = self.gone.iter().map(|gone| if *gone { NONE } else { (next, next += 1).0 }).collect();
        let place = |slot: u32| moved.get(slot as usize).copied().unwrap_or(NONE);
        self.occurrences = 0;
        let mut terms = vec![NONE; self.postings.len()];
        let mut kept = Vec::new();
        for (term, mut postings) in std::mem::take(&mut self.postings).into_iter().enumerate() {
            postings.retain_mut(|posting| {
                let slot = place(posting.slot());
                *posting = Posting::new(slot & (u32::MAX >> COUNT_BITS), posting.count() as usize);
                slot != NONE
            });
            postings.shrink_to_fit();
            if let Some(renumbered) = terms.get_mut(term).filter(|_| !postings.is_empty()) {
                *renumbered = u32::try_from(kept.len()).unwrap_or(NONE);
                kept.push(postings);
            }
        }
        self.postings = kept;
        self.remembered.clear();
        self.text_bytes = 0;
        self.vocabulary.retain(|text, term| {
            *term = terms.get(*term as usize).copied().unwrap_or(NONE);
            self.text_bytes += if *term == NONE { 0 } else { text.len() };
            *term != NONE
        });
        let mut at = 0;
        let mut stays = || (place(at), at += 1).0 != NONE;
        self.lengths.retain(|_| stays());
        at = 0;
        let mut stays = || (place(at), at += 1).0 != NONE;
        self.ids.retain(|_| stays());
        self.occurrences = self.lengths.iter().map(|length| u64::from(*length)).sum();
        self.gone = vec![false; self.ids.len()];
        for slot in self.slots.values_mut() {
            *slot = place(*slot);
        }
        moved
    }

    /// The tables to score with, as the collection is now.
    pub(crate) fn tables(&self) -> Tables {
        let documents = self.lengths.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let average = self.occurrences as f32 / documents as f32;
        self.bm25.tables(average)
    }

    /// Number of terms a document has, 65,535 at most.
    pub(crate) fn length(&self, slot: u32) -> u16 {
        self.lengths.get(slot as usize).copied().unwrap_or_default()
    }

    /// How telling a term is that occurs in so many documents.
    pub(crate) fn idf(&self, documents: usize) -> f32 {
        Bm25::idf(self.lengths.len(), documents)
    }

    /// The documents of each term, rarest first, at most `limit` terms. Terms that nobody used come last, with no documents and
    /// the highest weight.
    pub(crate) fn look_up<'a>(&'a self, terms: &[String], limit: usize) -> Vec<Wanted<'a>> {
        let mut wanted: Vec<Wanted<'a>> = terms
            .iter()
            .map(|term| {
                let number = self.vocabulary.get(term.as_str());
                let postings = number.and_then(|term| self.postings.get(*term as usize)).map_or(&[][..], Vec::as_slice);
                Wanted { postings, idf: self.idf(postings.len()) }
            })
            .collect();
        wanted.sort_by_key(|wanted| (wanted.postings.is_empty(), wanted.postings.len()));
        wanted.truncate(limit);
        wanted
    }

    /// Roughly the bytes it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let postings: usize = self.postings.iter().map(|list| list.capacity() * size_of::<Posting>()).sum();
        let per_term = size_of::<(Box<str>, u32)>() + 1 + size_of::<Vec<Posting>>();
        let per_slot = size_of::<Uuid>() + size_of::<u16>() + size_of::<bool>();
        let per_id = size_of::<(Uuid, u32)>() + 1;
        postings
            + self.postings.capacity() * per_term
            + self.text_bytes
            + self.ids.capacity() * per_slot
            + self.slots.capacity() * per_id
            + self.remembered.capacity() * 40
    }
}
