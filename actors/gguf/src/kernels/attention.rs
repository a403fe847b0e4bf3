//! Attention over cached keys and values, block by block with a running maximum, so that no matrix of scores is ever whole.
//!
//! A block has 64 positions. Keys lie in it depth by depth (all positions of depth 0, then of depth 1, …), so that scores
//! of many positions are computed side by side; values lie position by position. Both are halves, as in llama.cpp.

use std::ops::Range;

use ::half::f16;
use ::half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd};

use super::half;
use super::vector::{cap_all, exp};
use super::with_simd;

/// Positions in a block.
pub(crate) const BLOCK: usize = 64;
/// Queries that a pass over a block takes along.
const TILE: usize = 4;

/// Widest head.
pub(crate) const MAX_WIDTH: usize = 512;

/// Keys of one head.
pub(crate) struct KeyCache(Halves);

/// Values of one head.
pub(crate) struct ValueCache(Halves);

/// As bits, because only memory of plain zeros comes from the system untouched.
struct Halves {
    bits: Vec<u16>,
    width: usize,
}

impl Halves {
    fn new(positions: usize, width: usize) -> Self {
        Self { bits: vec![0; positions * width], width }
    }

    fn block(&self, block: usize) -> &[u16] {
        &self.bits[block * BLOCK * self.width..(block + 1) * BLOCK * self.width]
    }
}

impl KeyCache {
    /// For so many positions, a multiple of [`BLOCK`]. Memory is taken as it is written to.
    pub(crate) fn new(positions: usize, width: usize) -> Self {
        Self(Halves::new(positions, width))
    }

    pub(crate) fn put(&mut self, position: usize, key: &[f32]) {
        let mut halves = [f16::ZERO; MAX_WIDTH];
        let halves = &mut halves[..key.len()];
        halves.convert_from_f32_slice(key);
        let begin = position / BLOCK * BLOCK * self.0.width + position % BLOCK;
        for (slot, half) in self.0.bits[begin..].iter_mut().step_by(BLOCK).zip(halves) {
            *slot = half.to_bits();
        }
    }
}

impl ValueCache {
    /// For so many positions, a multiple of [`BLOCK`]. Memory is taken as it is written to.
    pub(crate) fn new(positions: usize, width: usize) -> Self {
        Self(Halves::new(positions, width))
    }

    pub(crate) fn put(&mut self, position: usize, value: &[f32]) {
        let width = self.0.width;
        let bits = &mut self.0.bits[position * width..(position + 1) * width];
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(value);
    }
}

/// Which positions a query sees, and how scores are bent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Position of the first query; the others follow.
    pub(crate) start: usize,
    /// How many positions back a query sees, itself included.
    pub(crate) window: Option<usize>,
    /// Scores are kept below this.
    pub(crate) cap: Option<f32>,
}

impl Reach {
    /// The places of a block that the query at `position` sees.
    fn within(&self, position: usize, block: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let begin = first.saturating_sub(block * BLOCK).min(BLOCK);
        let end = (position + 1).saturating_sub(block * BLOCK).min(BLOCK);
        begin..end.max(begin)
    }
}

/// What attention needs for a while.
#[derive(Default)]
pub(crate) struct Attention {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// The highest score of each query so far.
    most: Vec<f32>,
    /// The sum of each query's weights so far.
    sums: Vec<f32>,
}

impl Attention {
    /// The queries of some heads, which share keys and values, over all that they see.
    ///
    /// `queries` and `out` have a row of `heads_in_row` heads for each position, of which `heads` take part. Queries are
    /// already rotated and scaled.
    #[expect(clippy::too_many_arguments, reason = "two caches, two buffers and how they lie")]
    pub(crate) fn run(
        &mut self,
        level: Level,
        keys: &KeyCache,
        values: &ValueCache,
        reach: Reach,
        heads: Range<usize>,
        heads_in_row: usize,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let width = keys.0.width;
        let positions = queries.len() / (heads_in_row * width).max(1);
        let count = positions * heads.len();
        self.most.clear();
        self.most.resize(count, f32::NEG_INFINITY);
        self.sums.clear();
        self.sums.resize(count, 0.0);
        self.keys.resize(BLOCK * width, 0.0);
        self.values.resize(BLOCK * width, 0.0);
        // Query n is head n % heads of position n / heads.
        let place = |n: usize| ((n / heads.len()) * heads_in_row + heads.start + n % heads.len()) * width;
        let query = |n: usize| &queries[place(n)..place(n) + width];
        for n in 0..count {
            out[place(n)..place(n) + width].fill(0.0);
        }
        let first = reach.window.map_or(0, |window| (reach.start + 1).saturating_sub(window) / BLOCK);
        for block in first..=(reach.start + positions - 1) / BLOCK {
            half::to_floats(level, keys.0.block(block), &mut self.keys);
            half::to_floats(level, values.0.block(block), &mut self.values);
            // Positions before this block do not see it.
            let mut n = (block * BLOCK).saturating_sub(reach.start) * heads.len();
            while n < count {
                let taken = if count - n < TILE { 1 } else { TILE };
                let see = |n: usize| reach.within(reach.start + n / heads.len(), block);
                with_simd!(level, simd => if taken == TILE {
                    let tile: [usize; TILE] = std::array::from_fn(|t| n + t);
                    self.tile(simd, tile.map(query), tile.map(see), reach.cap, n, |t| place(n + t), out);
                } else {
                    self.tile(simd, [query(n)], [see(n)], reach.cap, n, |t| place(n + t), out);
                });
                n += taken;
            }
        }
        for n in 0..count {
            let factor = 1.0 / self.sums[n];
            out[place(n)..place(n) + width].iter_mut().for_each(|out| *out *= factor);
        }
    }

    /// Adds what a block has to say to some queries.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a tile is all of it")]
    fn tile<S: Simd, const T: usize>(
        &mut self,
        simd: S,
        queries: [&[f32]; T],
        seen: [Range<usize>; T],
        cap: Option<f32>,
        first: usize,
        place: impl Fn(usize) -> usize,
        out: &mut [f32],
    ) {
        let mut weights = scores(simd, queries, &self.keys);
        for t in 0..T {
            let Self { most, sums, .. } = self;
            let (most, sum) = (&mut most[first + t], &mut sums[first + t]);
            if let Some(cap) = cap {
                cap_all(simd, cap, &mut weights[t]);
            }
            weights[t][..seen[t].start].fill(f32::NEG_INFINITY);
            weights[t][seen[t].end..].fill(f32::NEG_INFINITY);
            let fade = soften(simd, &mut weights[t], most, sum);
            if fade != 1.0 {
                let begin = place(t);
                out[begin..begin + queries[t].len()].iter_mut().for_each(|out| *out *= fade);
            }
        }
        let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        let width = queries.first().map_or(0, |query| query.len());
        let mut column = 0;
        while column < width {
            let two = width - column >= 2 * S::f32s::LEN;
            if two {
                gather::<S, T, 2>(simd, &weights, &self.values, width, column, end, &place, out);
            } else {
                gather::<S, T, 1>(simd, &weights, &self.values, width, column, end, &place, out);
            }
            column += if two { 2 } else { 1 } * S::f32s::LEN;
        }
    }
}

/// Products of queries with the keys of a block.
#[inline(always)]
fn scores<S: Simd, const T: usize>(simd: S, queries: [&[f32]; T], keys: &[f32]) -> [[f32; BLOCK]; T] {
    let mut scores = [[0.0; BLOCK]; T];
    let keys = keys.as_chunks::<BLOCK>().0;
    let queries = queries.map(|query| &query[..keys.len()]);
    let step = 2 * S::f32s::LEN;
    for begin in (0..BLOCK).step_by(step) {
        let mut sums = [[S::f32s::splat(simd, 0.0); 2]; T];
        for (depth, keys) in keys.iter().enumerate() {
            let low = S::f32s::from_slice(simd, &keys[begin..begin + S::f32s::LEN]);
            let high = S::f32s::from_slice(simd, &keys[begin + S::f32s::LEN..begin + step]);
            for t in 0..T {
                let query = S::f32s::splat(simd, queries[t][depth]);
                sums[t] = [query.mul_add(low, sums[t][0]), query.mul_add(high, sums[t][1])];
            }
        }
        for (scores, [low, high]) in scores.iter_mut().zip(sums) {
            low.store_slice(&mut scores[begin..begin + S::f32s::LEN]);
            high.store_slice(&mut scores[begin + S::f32s::LEN..begin + step]);
        }
    }
    scores
}

/// Scores become weights relative to the highest score so far; gives what the earlier sums are to be multiplied by.
#[inline(always)]
fn soften<S: Simd>(simd: S, scores: &mut [f32; BLOCK], most: &mut f32, sum: &mut f32) -> f32 {
    let mut highest = S::f32s::splat(simd, *most);
    for chunk in scores.chunks_exact(S::f32s::LEN) {
        highest = highest.max(S::f32s::from_slice(simd, chunk));
    }
    let highest = highest.reduce_max();
    if highest == f32::NEG_INFINITY {
        scores.fill(0.0); // Nothing is seen yet.
        return 1.0;
    }
    let base = S::f32s::splat(simd, highest);
    let mut total = S::f32s::splat(simd, 0.0);
    for chunk in scores.chunks_exact_mut(S::f32s::LEN) {
        // What is not seen has a weight of e^−87, next to nothing, even when it holds stale keys.
        let weight = exp(simd, S::f32s::from_slice(simd, chunk) - base);
        total += weight;
        weight.store_slice(chunk);
    }
    let fade = (*most - highest).exp();
    *sum = *sum * fade + total.reduce_sum();
    *most = highest;
    fade
}

/// Adds the values of a block by their weights: `C` vectors of columns for `T` queries.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a tile is all of it")]
fn gather<S: Simd, const T: usize, const C: usize>(
    simd: S,
    weights: &[[f32; BLOCK]; T],
    values: &[f32],
    width: usize,
    column: usize,
    end: usize,
    place: &impl Fn(usize) -> usize,
    out: &mut [f32],
) {
    let mut sums = [[S::f32s::splat(simd, 0.0); C]; T];
    for (n, row) in values.chunks_exact(width).enumerate().take(end) {
        let row = &row[column..column + C * S::f32s::LEN];
        let row: [S::f32s; C] =
            std::array::from_fn(|c| S::f32s::from_slice(simd, &row[c * S::f32s::LEN..(c + 1) * S::f32s::LEN]));
        for t in 0..T {
            let weight = S::f32s::splat(simd, weights[t][n]);
            for c in 0..C {
                sums[t][c] = weight.mul_add(row[c], sums[t][c]);
            }
        }
    }
    for (t, sums) in sums.into_iter().enumerate() {
        for (c, sum) in sums.into_iter().enumerate() {
            let begin = place(t) + column + c * S::f32s::LEN;
            let out = &mut out[begin..begin + S::f32s::LEN];
            (S::f32s::from_slice(simd, out) + sum).store_slice(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::levels;

    fn number(n: usize) -> f32 {
        ((n * 7919) % 1000) as f32 / 500.0 - 1.0
    }

    /// One query after the other, as the formula says.
    fn plainly(
        keys: &[Vec<f32>],
        values: &[Vec<f32>],
        query: &[f32],
        seen: Range<usize>,
        cap: Option<f32>,
    ) -> Vec<f32> {
        let scores = seen.clone().map(|p| {
            let score = query.iter().zip(&keys[p]).map(|(q, k)| q * f16::from_f32(*k).to_f32()).sum::<f32>();
            cap.map_or(score, |cap| cap * (score / cap).tanh())
        });
        let weights: Vec<f32> = scores.map(f32::exp).collect();
        let total: f32 = weights.iter().sum();
        let value = |d: usize| {
            let values = seen.clone().zip(&weights).map(|(p, w)| w * f16::from_f32(values[p][d]).to_f32());
            values.sum::<f32>() / total
        };
        (0..query.len()).map(value).collect()
    }

    #[test]
    fn attention_is_what_the_formula_says() {
        levels().into_iter().for_each(attention_on);
    }

    fn attention_on(level: Level) {
        for (width, start, positions, window, cap) in [
            (32, 0, 70, None, None),
            (80, 130, 1, None, None),
            (64, 60, 9, Some(20), Some(5.0)),
            (16, 5, 3, None, None),
        ] {
            let total = start + positions;
            let rows = |salt: usize| -> Vec<Vec<f32>> {
                (0..total).map(|p| (0..width).map(|d| number(p * width + d + salt)).collect()).collect()
            };
            let (keys, values) = (rows(3), rows(17));
            let (mut key_cache, mut value_cache) = (KeyCache::new(192, width), ValueCache::new(192, width));
            for p in 0..total {
                key_cache.put(p, &keys[p]);
                value_cache.put(p, &values[p]);
            }
            // Three heads in a row, the last two of which share this cache.
            let queries: Vec<f32> = (0..positions * 3 * width).map(|n| number(n + 5)).collect();
            let mut out = vec![9.0; queries.len()];
            let reach = Reach { start, window, cap };
            let mut attention = Attention::default();
            attention.run(level, &key_cache, &value_cache, reach, 1..3, 3, &queries, &mut out);
            for t in 0..positions {
                for head in 1..3 {
                    let at = (t * 3 + head) * width..(t * 3 + head + 1) * width;
                    let first = window.map_or(0, |window| (start + t + 1).saturating_sub(window));
                    let expected = plainly(&keys, &values, &queries[at.clone()], first..start + t + 1, cap);
                    for (found, expected) in out[at].iter().zip(expected) {
                        assert!((found - expected).abs() < 1e-4, "{width} {t} {head}: {found} is not {expected}");
                    }
                }
                assert_eq!(out[t * 3 * width], 9.0, "the first head is not touched");
            }
        }
    }
}
