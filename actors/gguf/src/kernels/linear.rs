//! Products of activations with the weights of a file, whatever their format.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd};

use super::acts::Acts;
use super::{panel, row, with_simd};
use crate::file::{GgufFile, Tensor};
use crate::quant::{Quant, Row, to_floats};

/// From so many rows of activations on, panels are worth laying out.
const LEAST_ROWS: usize = 4;

/// A matrix of weights: the rows of a tensor from one on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    tensor: Tensor,
    first: usize,
}

impl Weights {
    pub(crate) fn new(tensor: Tensor, first: usize) -> Self {
        Self { tensor, first }
    }

    pub(crate) fn columns(&self) -> usize {
        self.tensor.columns
    }

    /// Whether products need [`Acts`]; else they go by the floats.
    pub(crate) fn takes_acts(&self) -> bool {
        self.tensor.quant.is_integer()
    }

    fn bytes<'a>(&self, file: &'a GgufFile, rows: Range<usize>) -> &'a [u8] {
        file.rows(&self.tensor, self.first + rows.start..self.first + rows.end)
    }
}

/// What products need for a while.
pub(crate) struct Linear {
    level: Level,
    row: Row,
    floats: Vec<f32>,
    panel: panel::Panel,
}

impl Linear {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, row: Row::default(), floats: Vec::new(), panel: panel::Panel::default() }
    }

    /// A row of weights as floats.
    pub(crate) fn row(&mut self, file: &GgufFile, weights: &Weights, row: usize, out: &mut [f32]) {
        let Self { level, row: scratch, floats, .. } = self;
        let bytes = weights.bytes(file, row..row + 1);
        with_simd!(*level, _simd => to_floats(weights.tensor.quant, bytes, scratch, floats));
        out.copy_from_slice(floats);
    }

    /// `out[t][n] = rows[n] of the weights · activations t`, `out` without gaps. `floats` and `acts` are the same
    /// activations; the ones that the format has no use for may be stale.
    pub(crate) fn multiply(
        &mut self,
        file: &GgufFile,
        weights: &Weights,
        rows: Range<usize>,
        floats: &[f32],
        acts: &Acts,
        out: &mut [f32],
    ) {
        if rows.is_empty() {
            return;
        }
        let quant = weights.tensor.quant;
        let bytes = weights.bytes(file, rows.clone());
        if !quant.is_integer() {
            return self.multiply_floats(quant, bytes, weights.columns(), floats, out);
        }
        #[cfg(target_arch = "x86_64")]
        if acts.rows() >= LEAST_ROWS
            && let Some(simd) = self.level.as_avx512()
        {
            return self.multiply_panels(simd, quant, bytes, weights.columns(), acts, out);
        }
        if quant == Quant::Q8_0 {
            let blocks = bytes.as_chunks().0;
            if acts.rows() == 1 {
                return row::q8_rows(self.level, blocks, acts.row(0), out);
            }
        }
        let (count, level) = (rows.len(), self.level);
        for (n, bytes) in bytes.chunks_exact(weights.tensor.row_bytes()).enumerate() {
            let row = &mut self.row;
            with_simd!(level, _simd => row.unpack(quant, bytes));
            for t in 0..acts.rows() {
                out[t * count + n] = row::row(level, row, acts.row(t));
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply_panels(
        &mut self,
        simd: fearless_simd::Avx512,
        quant: Quant,
        bytes: &[u8],
        columns: usize,
        acts: &Acts,
        out: &mut [f32],
    ) {
        let Self { level, row, panel, .. } = self;
        let width = quant.bytes(columns);
        let count = bytes.len() / width;
        for (n, bytes) in bytes.chunks(width * panel::ROWS).enumerate() {
            panel.clear(columns, quant.group());
            with_simd!(*level, _simd => fill(panel, row, quant, bytes, width));
            let begin = n * panel::ROWS;
            let end = (begin + panel::ROWS).min(count);
            panel::multiply(
                simd,
                panel,
                |t| acts.row(t),
                acts.rows(),
                |t, sums| {
                    out[t * count + begin..t * count + end].copy_from_slice(&sums[..end - begin]);
                },
            );
        }
    }

    fn multiply_floats(&mut self, quant: Quant, bytes: &[u8], columns: usize, acts: &[f32], out: &mut [f32]) {
        let Self { level, row, floats, .. } = self;
        let width = quant.bytes(columns);
        let count = bytes.len() / width;
        for (n, bytes) in bytes.chunks_exact(width).enumerate() {
            with_simd!(*level, simd => {
                to_floats(quant, bytes, row, floats);
                for (t, act) in acts.chunks_exact(columns).enumerate() {
                    out[t * count + n] = dot(simd, floats, act);
                }
            });
        }
    }
}

/// Lays out up to sixteen rows.
#[inline(always)]
fn fill(panel: &mut panel::Panel, row: &mut Row, quant: Quant, bytes: &[u8], width: usize) {
    for (place, bytes) in bytes.chunks_exact(width).enumerate() {
        if quant == Quant::Q8_0 {
            panel.put_q8(place, bytes.as_chunks().0);
        } else {
            row.unpack(quant, bytes);
            panel.put(place, row);
        }
    }
}

#[inline(always)]
fn dot<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let (lefts, rights) = (left.chunks_exact(4 * S::f32s::LEN), right.chunks_exact(4 * S::f32s::LEN));
    let rest = lefts.remainder().iter().zip(rights.remainder()).map(|(l, r)| l * r).sum::<f32>();
    let mut sums = [S::f32s::splat(simd, 0.0); 4];
    for (left, right) in lefts.zip(rights) {
        for (n, sum) in sums.iter_mut().enumerate() {
            let part = n * S::f32s::LEN..(n + 1) * S::f32s::LEN;
            *sum =
                S::f32s::from_slice(simd, &left[part.clone()]).mul_add(S::f32s::from_slice(simd, &right[part]), *sum);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).reduce_sum() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::levels;
    use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
    use candle_core::{Device, Tensor as Numbers};

    const COLUMNS: usize = 768;
    const ROWS: usize = 37;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|n| ((n * 7919 + salt * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// Candle wrote the file, so that formats and header are somebody else's.
    #[test]
    fn products_are_right_for_every_format_batch_and_instruction_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        let weights = numbers(ROWS * COLUMNS, 1);
        let tensor = Numbers::from_slice(&weights, (ROWS, COLUMNS), &Device::Cpu).expect("a tensor");
        for kind in [
            GgmlDType::F32,
            GgmlDType::F16,
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q5_0,
            GgmlDType::Q5_1,
            GgmlDType::Q8_0,
            GgmlDType::Q2K,
            GgmlDType::Q3K,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let packed = QTensor::quantize(&tensor, kind).expect("packed");
            let plain = packed.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>());
            let plain = plain.expect("numbers");
            let mut bytes = std::fs::File::create(&path).expect("a file");
            gguf_file::write(&mut bytes, &[], &[("w", &packed)]).expect("written");
            let file = GgufFile::open(&path).expect("a model");
            let tensor = file.header().tensor("w").expect("a tensor");
            for level in levels() {
                for rows in [1, 3, 4, 13] {
                    let floats = numbers(rows * COLUMNS, rows);
                    let (mut acts, mut linear) = (Acts::default(), Linear::new(level));
                    acts.quantize(level, &floats, COLUMNS);
                    let mut out = vec![0.0; rows * (ROWS - 5)];
                    // All rows but the first three and the last two.
                    linear.multiply(&file, &Weights::new(tensor, 2), 1..ROWS - 4, &floats, &acts, &mut out);
                    for (t, out) in out.chunks(ROWS - 5).enumerate() {
                        for (n, found) in out.iter().enumerate() {
                            let row = &plain[(n + 3) * COLUMNS..(n + 4) * COLUMNS];
                            let act = &floats[t * COLUMNS..(t + 1) * COLUMNS];
                            let expected: f32 = row.iter().zip(act).map(|(w, a)| w * a).sum();
                            // Activations are rounded to a 127th of the largest; errors of that size add up at random.
                            let most = if tensor.quant.is_integer() { 0.25 } else { 1e-3 };
                            let message = format!("{} {level:?} {rows} rows: {found} is not {expected}", tensor.quant);
                            assert!((found - expected).abs() < most, "{message}");
                        }
                    }
                }
            }
        }
    }
}
