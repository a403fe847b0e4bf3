//! Activations, rounded to signed bytes with a scale for each block of 32, as llama.cpp's q8_0 does it.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd};
use half::f16;

use super::with_simd;

/// Values in a block.
pub(super) const VALUES: usize = 32;

/// 32 activations: `scale × quants`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ActBlock {
    /// Four signed bytes in each, the first in the lowest.
    pub(super) quants: [i32; 8],
    pub(super) scale: f32,
    /// −128 times the sum of the quants: where a sum with weights that are 128 too large begins.
    pub(super) start: i32,
    /// The same for either half.
    pub(super) starts: [i32; 2],
}

/// Rows of activations.
#[derive(Default)]
pub(crate) struct Acts {
    blocks: Vec<ActBlock>,
    rows: usize,
}

impl Acts {
    /// Rounds rows of `columns` floats, a multiple of 32.
    pub(crate) fn quantize(&mut self, level: Level, floats: &[f32], columns: usize) {
        self.rows = floats.len() / columns;
        self.blocks.resize(floats.len() / VALUES, ActBlock::default());
        with_simd!(level, simd => quantize(simd, floats, &mut self.blocks));
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn row(&self, row: usize) -> &[ActBlock] {
        let blocks = self.blocks.len() / self.rows.max(1);
        &self.blocks[row * blocks..(row + 1) * blocks]
    }
}

#[inline(always)]
fn quantize<S: Simd>(simd: S, floats: &[f32], blocks: &mut [ActBlock]) {
    for (floats, block) in floats.as_chunks::<VALUES>().0.iter().zip(blocks) {
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
        for (quant, four) in block.quants.iter_mut().zip(values.as_chunks::<4>().0) {
            *quant = i32::from_le_bytes(four.map(|value| value as u8));
        }
        let (low, high) = values.split_at(VALUES / 2);
        block.starts = [low.iter().sum::<i32>() * -128, high.iter().sum::<i32>() * -128];
        block.start = block.starts[0] + block.starts[1];
        block.scale = f16::from_f32(most / 127.0).to_f32();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_rounded_to_the_nearest() {
        let floats: Vec<f32> = (0..64).map(|n| (n as f32 - 20.0) * 0.37).chain([0.0; 64]).collect();
        let mut acts = Acts::default();
        acts.quantize(Level::new(), &floats, 64);
        assert_eq!((acts.rows(), acts.row(1)[0].scale), (2, 0.0));
        for (floats, block) in floats.chunks(32).zip(acts.row(0)) {
            let bytes: Vec<i8> = block.quants.iter().flat_map(|q| q.to_le_bytes()).map(|byte| byte as i8).collect();
            assert_eq!(bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>() * -128, block.start);
            for (float, byte) in floats.iter().zip(bytes) {
                assert!((float - f32::from(byte) * block.scale).abs() <= block.scale * 0.51, "{float} {byte}");
            }
        }
    }
}
