//! Activations, rounded to signed bytes with a scale for each block of 32, as llama.cpp's q8_0 does it.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd};
use half::f16;

use super::with_simd;

/// Values in a block.
pub(super) const VALUES: usize = 32;

/// Rows of activations, in blocks of 32 that are `scale × quants`.
#[derive(Default)]
pub(crate) struct Acts {
    quants: Vec<[i32; 8]>,
    scales: Vec<f32>,
    starts: Vec<[i32; 2]>,
    rows: usize,
}

/// One row of activations; the slices have as many elements as the row has blocks.
#[derive(Clone, Copy)]
pub(super) struct ActRow<'a> {
    /// Four signed bytes in each number, the first in the lowest.
    pub(super) quants: &'a [[i32; 8]],
    pub(super) scales: &'a [f32],
    /// −128 times the sum of the quants of either half: where sums with weights that are 128 too large begin.
    pub(super) starts: &'a [[i32; 2]],
}

impl Acts {
    /// Rounds rows of `columns` floats, a multiple of 32.
    pub(crate) fn quantize(&mut self, level: Level, floats: &[f32], columns: usize) {
        self.rows = floats.len() / columns;
        let blocks = floats.len() / VALUES;
        self.quants.resize(blocks, [0; 8]);
        self.scales.resize(blocks, 0.0);
        self.starts.resize(blocks, [0; 2]);
        with_simd!(level, simd => self.fill(simd, floats));
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(super) fn row(&self, row: usize) -> ActRow<'_> {
        let blocks = self.scales.len() / self.rows.max(1);
        let part = row * blocks..(row + 1) * blocks;
        ActRow { quants: &self.quants[part.clone()], scales: &self.scales[part.clone()], starts: &self.starts[part] }
    }

    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, floats: &[f32]) {
        let blocks = self.quants.iter_mut().zip(&mut self.scales).zip(&mut self.starts);
        for (floats, ((quants, scale), starts)) in floats.as_chunks::<VALUES>().0.iter().zip(blocks) {
            let mut most = S::f32s::splat(simd, 0.0);
            for chunk in floats.chunks_exact(S::f32s::LEN) {
                most = most.max(S::f32s::from_slice(simd, chunk).abs());
            }
            let most = most.reduce_max();
            let inverse = S::f32s::splat(simd, if most > 0.0 { 127.0 / most } else { 0.0 });
            let mut values = [0i32; VALUES];
            for (chunk, values) in floats.chunks_exact(S::f32s::LEN).zip(values.chunks_exact_mut(S::i32s::LEN)) {
                let rounded: S::i32s = (S::f32s::from_slice(simd, chunk) * inverse).round_ties_even().to_int();
                rounded.store_slice(values);
            }
            for (quant, four) in quants.iter_mut().zip(values.as_chunks::<4>().0) {
                *quant = i32::from_le_bytes(four.map(|value| value as u8));
            }
            let (low, high) = values.split_at(VALUES / 2);
            *starts = [low.iter().sum::<i32>() * -128, high.iter().sum::<i32>() * -128];
            *scale = f16::from_f32(most / 127.0).to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::levels;

    #[test]
    fn activations_are_rounded_to_the_nearest() {
        let floats: Vec<f32> = (0..64).map(|n| (n as f32 - 20.0) * 0.37).chain([0.0; 64]).collect();
        for level in levels() {
            rounded_on(level, &floats);
        }
    }

    fn rounded_on(level: Level, floats: &[f32]) {
        let mut acts = Acts::default();
        acts.quantize(level, floats, 64);
        assert_eq!((acts.rows(), acts.row(1).scales[0]), (2, 0.0));
        let row = acts.row(0);
        for (block, floats) in floats.chunks(32).take(2).enumerate() {
            let bytes = row.quants[block].iter().flat_map(|q| q.to_le_bytes()).map(|byte| byte as i8);
            let bytes: Vec<i8> = bytes.collect();
            let sum = bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>();
            assert_eq!(sum * -128, row.starts[block].iter().sum::<i32>());
            for (float, byte) in floats.iter().zip(bytes) {
                let scale = row.scales[block];
                assert!((float - f32::from(byte) * scale).abs() <= scale * 0.51, "{float} {byte}");
            }
        }
    }
}
