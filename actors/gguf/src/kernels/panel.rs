//! Many rows of activations times weights, for prompts: sixteen rows of weights are laid out as one *panel* whose
//! registers hold four depths of each row, and stay in the cache while all activations pass by. This needs the integer dot
//! products of AVX-512; elsewhere the rows are multiplied one by one.

use fearless_simd::prelude::*;
use fearless_simd::{f32x16, kernel, u32x16};

use half::f16;

use super::acts::ActRow;
use crate::quant::Row;

/// Rows in a panel.
pub(super) const ROWS: usize = 16;
/// Activations that a pass over a panel takes along.
const TILE: usize = 8;

/// Sixteen rows, for each four depths side by side, 128 added to every value.
#[derive(Default)]
pub(super) struct Panel {
    quads: Vec<[u32; ROWS]>,
    /// For each group of depths.
    scales: Vec<[f32; ROWS]>,
    /// For each group of depths, or none at all.
    offsets: Vec<[f32; ROWS]>,
    /// Four-depths in a group: 8 or 4.
    quads_in_group: usize,
}

impl Panel {
    /// Makes room for rows of `depth` values with `group` to a scale.
    pub(super) fn clear(&mut self, depth: usize, group: usize) {
        self.quads.resize(depth / 4, [0; ROWS]);
        self.scales.resize(depth / group, [0.0; ROWS]);
        self.offsets.clear();
        self.quads_in_group = group / 4;
    }

    /// Puts in an unpacked row.
    #[inline(always)]
    pub(super) fn put(&mut self, place: usize, row: &Row) {
        for (quad, four) in self.quads.iter_mut().zip(row.values.as_chunks::<4>().0) {
            quad[place] = u32::from_le_bytes(four.map(|value| value as u8)) ^ 0x8080_8080;
        }
        for (scales, scale) in self.scales.iter_mut().zip(&row.scales) {
            scales[place] = *scale;
        }
        if !row.offsets.is_empty() {
            self.offsets.resize(row.offsets.len(), [0.0; ROWS]);
            for (offsets, offset) in self.offsets.iter_mut().zip(&row.offsets) {
                offsets[place] = *offset;
            }
        }
    }

    /// Puts in a row of q8_0.
    #[inline(always)]
    pub(super) fn put_q8(&mut self, place: usize, row: &[super::row::Q8]) {
        for ((quads, scales), block) in self.quads.as_chunks_mut::<8>().0.iter_mut().zip(&mut self.scales).zip(row) {
            scales[place] = f16::from_le_bytes([block[0], block[1]]).to_f32();
            for (quad, four) in quads.iter_mut().zip(block[2..].as_chunks::<4>().0) {
                quad[place] = u32::from_le_bytes(*four) ^ 0x8080_8080;
            }
        }
    }
}

/// Gives `write` the products of each of `rows` activations with the sixteen rows of the panel.
#[cfg(target_arch = "x86_64")]
pub(super) fn multiply<'a>(
    simd: fearless_simd::Avx512,
    panel: &Panel,
    act: impl Fn(usize) -> ActRow<'a>,
    rows: usize,
    mut write: impl FnMut(usize, &[f32; ROWS]),
) {
    let mut done = 0;
    while done < rows {
        // The last tile may see some rows twice.
        let tile: [ActRow<'_>; TILE] = std::array::from_fn(|n| act((done + n).min(rows - 1)));
        let sums = match panel.quads_in_group {
            8 => tile_of_32(simd, panel, tile),
            _ => tile_of_16(simd, panel, tile),
        };
        for (n, sums) in sums.iter().enumerate().take(rows - done) {
            write(done + n, sums);
        }
        done += TILE;
    }
}

/// Where the sum of a group of depths begins.
#[inline(always)]
fn start<const GROUPS: usize>(halves: &[i32; 2], group: usize) -> i32 {
    if GROUPS == 1 { halves[0] + halves[1] } else { halves[group] }
}

macro_rules! tile_kernel {
    ($name:ident, $groups:literal) => {
        kernel!(
            fn $name(simd: Avx512, panel: &Panel, acts: [ActRow<'_>; 8]) -> [[f32; ROWS]; 8] {
                use std::arch::x86_64::*;
                const QUADS: usize = 8 / $groups;
                let blocks = panel.quads.len() / 8;
                let quads = &panel.quads.as_chunks::<8>().0[..blocks];
                let scales = &panel.scales.as_chunks::<$groups>().0[..blocks];
                let acts = acts.map(|act| ActRow {
                    quants: &act.quants[..blocks],
                    scales: &act.scales[..blocks],
                    starts: &act.starts[..blocks],
                });
                let mut sums = [_mm512_setzero_ps(); TILE];
                for block in 0..blocks {
                    for group in 0..$groups {
                        let mut dots: [__m512i; TILE] =
                            std::array::from_fn(|t| _mm512_set1_epi32(start::<$groups>(&acts[t].starts[block], group)));
                        for quad in group * QUADS..(group + 1) * QUADS {
                            let weights: __m512i = u32x16::load_array_ref(simd, &quads[block][quad]).into();
                            for t in 0..TILE {
                                let act = _mm512_set1_epi32(acts[t].quants[block][quad]);
                                dots[t] = _mm512_dpbusd_epi32(dots[t], weights, act);
                            }
                        }
                        let scale: __m512 = f32x16::load_array_ref(simd, &scales[block][group]).into();
                        for t in 0..TILE {
                            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(acts[t].scales[block]));
                            sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]), scale, sums[t]);
                        }
                    }
                }
                for (block, offsets) in panel.offsets.as_chunks::<$groups>().0.iter().enumerate() {
                    for (group, offsets) in offsets.iter().enumerate() {
                        let offsets: __m512 = f32x16::load_array_ref(simd, offsets).into();
                        for t in 0..TILE {
                            let start = start::<$groups>(&acts[t].starts[block], group) as f32;
                            let sum = _mm512_set1_ps(acts[t].scales[block] * start / 128.0);
                            sums[t] = _mm512_fmadd_ps(offsets, sum, sums[t]);
                        }
                    }
                }
                sums.map(|sums| {
                    let sums: f32x16<_> = sums.simd_into(simd);
                    sums.to_array()
                })
            }
        );
    };
}

tile_kernel!(tile_of_32, 1);
tile_kernel!(tile_of_16, 2);
