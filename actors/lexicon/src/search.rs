//! Finding the best documents for some terms without reading more postings than a budget allows. Rare terms are read whole
//! and give the candidates; terms that no longer fit the budget only add to candidates. So a search is exact while its terms
//! have fewer postings than the budget, and its cost stays flat beyond.

use std::cmp::Ordering;

use crate::bm25::Tables;
use crate::inverted::{Inverted, Posting, Wanted};

/// Slots scored together: their scores fit the first-level cache.
const BLOCK: u32 = 4_096;

/// A slot and its score.
pub(crate) type Scored = (u32, f32);

/// How much a search may read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Postings read in full.
    pub(crate) postings: usize,
    /// Candidates that the other terms are looked up for.
    pub(crate) candidates: usize,
}

/// The `k` documents with the highest sum over the terms, best first; equal scores in the order of ids. `keep` is asked only
/// about documents that would get in.
pub(crate) fn best(
    index: &Inverted,
    tables: &Tables,
    wanted: &[Wanted<'_>],
    k: usize,
    effort: Effort,
    keep: impl Fn(u32) -> bool,
) -> Vec<Scored> {
    if k == 0 {
        return Vec::new();
    }
    let (read, looked_up) = split(wanted, effort.postings);
    let mut top = Top::new(index, if looked_up.is_empty() { k } else { k.max(effort.candidates) });
    let mut cursors = vec![0_usize; read.len()];
    let mut scores = vec![0.0_f32; BLOCK as usize];
    let mut touched: Vec<u32> = Vec::with_capacity(BLOCK as usize);
    loop {
        let heads = read.iter().zip(&cursors).filter_map(|(wanted, at)| wanted.postings.get(*at));
        let Some(first) = heads.map(|posting| posting.slot()).min() else { break };
        let start = first - first % BLOCK;
        for (wanted, at) in read.iter().zip(&mut cursors) {
            let rest = wanted.postings.get(*at..).unwrap_or_default();
            for posting in rest {
                let slot = posting.slot();
                let Some(score) = scores.get_mut((slot - start) as usize) else { break };
                if *score == 0.0 {
                    touched.push(slot);
                }
                *score += wanted.idf * tables.saturated(posting.count(), index.length(slot));
                *at += 1;
            }
        }
        for slot in touched.drain(..) {
            if let Some(score) = scores.get_mut((slot - start) as usize) {
                top.offer(slot, std::mem::take(score), &keep);
            }
        }
    }
    let mut found = top.into_vec();
    if !looked_up.is_empty() {
        found.sort_unstable_by_key(|(slot, _)| *slot);
        for wanted in &looked_up {
            let mut rest = wanted.postings;
            for (slot, score) in &mut found {
                rest = skip_to(rest, *slot);
                if let Some(posting) = rest.first().filter(|posting| posting.slot() == *slot) {
                    *score += wanted.idf * tables.saturated(posting.count(), index.length(*slot));
                }
            }
        }
    }
    found.sort_unstable_by(|one, other| order(index, *one, *other));
    found.truncate(k);
    found
}

/// Terms to read and terms to look up. If not even the rarest fits, its two ends are read: a table is loaded newest first and
/// then grows at the end, so the newest documents are there.
fn split<'a>(wanted: &[Wanted<'a>], budget: usize) -> (Vec<Wanted<'a>>, Vec<Wanted<'a>>) {
    let mut left = budget;
    let (mut read, mut looked_up) = (Vec::with_capacity(wanted.len() + 1), Vec::new());
    for wanted in wanted.iter().filter(|wanted| !wanted.postings.is_empty()) {
        if wanted.postings.len() <= left {
            left -= wanted.postings.len();
            read.push(*wanted);
        } else if read.is_empty() {
            let half = budget / 2;
            let (head, tail) = wanted.postings.split_at(half);
            let tail = tail.get(tail.len().saturating_sub(half)..).unwrap_or_default();
            read.extend([head, tail].map(|postings| Wanted { postings, ..*wanted }));
            left = 0;
        } else {
            looked_up.push(*wanted);
        }
    }
    (read, looked_up)
}

/// The postings from `slot` on: doubling steps, then halving, since the next one is mostly near.
pub(crate) fn skip_to(postings: &[Posting], slot: u32) -> &[Posting] {
    let mut step = 1;
    while postings.get(step).is_some_and(|posting| posting.slot() < slot) {
        step *= 2;
    }
    let from = step / 2;
    let part = postings.get(from..postings.len().min(step + 1)).unwrap_or_default();
    postings.get(from + part.partition_point(|posting| posting.slot() < slot)..).unwrap_or_default()
}

fn order(index: &Inverted, one: Scored, other: Scored) -> Ordering {
    other.1.total_cmp(&one.1).then_with(|| index.id(one.0).cmp(&index.id(other.0)))
}

/// The best so far, with some slack so that it is cut seldom.
struct Top<'a> {
    index: &'a Inverted,
    k: usize,
    least: f32,
    found: Vec<Scored>,
}

impl<'a> Top<'a> {
    fn new(index: &'a Inverted, k: usize) -> Self {
        Self { index, k, least: 0.0, found: Vec::with_capacity(2 * k.min(4_096) + 64) }
    }

    fn offer(&mut self, slot: u32, score: f32, keep: impl Fn(u32) -> bool) {
        if score < self.least || self.index.is_gone(slot) || !keep(slot) {
            return;
        }
        self.found.push((slot, score));
        if self.found.len() >= 2 * self.k + 64 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.found.len() > self.k {
            let index = self.index;
            self.found.select_nth_unstable_by(self.k - 1, |one, other| order(index, *one, *other));
            self.found.truncate(self.k);
            self.least = self.found.last().map_or(0.0, |(_, score)| *score);
        }
    }

    fn into_vec(mut self) -> Vec<Scored> {
        self.cut();
        self.found
    }
}
