//! Matrix products with a fixed right side.
//!
//! The right side is packed once into *panels*: three SIMD vectors of columns each, all depths of a panel one after the
//! other, so that a product streams through it. A tile of up to 8 rows × 3 vectors of the result stays in registers (24
//! of the 32 that AVX-512 and NEON have; 4 rows where there are 16 registers) while the whole depth is summed up. The left
//! side is read where it lies. Bias and GELU are applied to a tile while it is warm.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::aligned::Aligned;
use super::elementwise::gelu;

/// SIMD vectors in a panel.
pub(crate) const VECTORS: usize = 3;

/// Columns of a panel on this machine.
pub(crate) fn panel_width(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    VECTORS * arch.dispatch(Lanes)
}

/// The right side of a product, with the bias of its columns.
pub(crate) struct Packed {
    data: Aligned,
    bias: Aligned,
    depth: usize,
    panels: usize,
}

impl Packed {
    /// Packs `columns` columns of `depth` numbers. The numbers of column `n` are `weight(n)` times `scale(n)`, and its bias
    /// is `bias(n)` times `scale(n)`.
    pub(crate) fn new<'a>(
        width: usize,
        depth: usize,
        columns: usize,
        weight: impl Fn(usize) -> &'a [f32],
        bias: impl Fn(usize) -> f32,
        scale: impl Fn(usize) -> f32,
    ) -> Self {
        let panels = columns.div_ceil(width);
        let (mut data, mut biases) = (Aligned::zeroed(panels * depth * width), Aligned::zeroed(panels * width));
        for column in 0..columns {
            let (panel, place) = (column / width, column % width);
            biases[column] = bias(column) * scale(column);
            let target = data[panel * depth * width + place..].iter_mut().step_by(width);
            for (slot, number) in target.zip(&weight(column)[..depth]) {
                *slot = number * scale(column);
            }
        }
        Self { data, bias: biases, depth, panels }
    }

    pub(crate) fn panels(&self) -> usize {
        self.panels
    }

    /// The part of the right side that a product over `panels` and `depth` reads.
    pub(crate) fn part(&self, panels: Range<usize>, depth: Range<usize>, with_bias: bool) -> Right<'_> {
        Right { data: &self.data, bias: with_bias.then_some(&*self.bias), whole: self.depth, depth, panels }
    }
}

/// A right side as a product sees it.
#[derive(Clone)]
pub(crate) struct Right<'a> {
    /// Panels of `whole` × width floats.
    pub(crate) data: &'a [f32],
    /// One number per column of all panels; `None` is all zero.
    pub(crate) bias: Option<&'a [f32]>,
    /// Depth of the panels.
    pub(crate) whole: usize,
    /// Which depths are summed up.
    pub(crate) depth: Range<usize>,
    /// Which panels are multiplied.
    pub(crate) panels: Range<usize>,
}

/// `out = left × right + bias`, or GELU of that.
pub(crate) struct Product<'a> {
    /// Row-major, at least `depth` numbers in each row.
    pub(crate) left: &'a [f32],
    /// From one row of the left side to the next.
    pub(crate) left_stride: usize,
    pub(crate) right: Right<'a>,
    /// Row-major; column 0 belongs to the first panel.
    pub(crate) out: &'a mut [f32],
    /// From one row of the result to the next.
    pub(crate) out_stride: usize,
    /// Rows of the left side and of the result.
    pub(crate) rows: usize,
    /// Columns that the result has room for, a multiple of the SIMD width.
    pub(crate) columns: usize,
    pub(crate) with_gelu: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, most) = (VECTORS * S::F32_LANES, if S::REGISTER_COUNT >= 32 { 8 } else { 4 });
        let Self { left, left_stride, right, out, out_stride, rows, columns, with_gelu } = self;
        let tiles = rows.div_ceil(most);
        for (n, panel) in right.panels.clone().enumerate() {
            let begin = (panel * right.whole + right.depth.start) * width;
            let b = &right.data[begin..begin + right.depth.len() * width];
            let bias = right.bias.map(|bias| &bias[panel * width..(panel + 1) * width]);
            let column = n * width;
            let vectors = (columns - column).min(width) / S::F32_LANES;
            let mut row = 0;
            for tile in 0..tiles {
                // The rows are spread evenly over the tiles.
                let count = rows / tiles + usize::from(tile < rows % tiles);
                let work = Tile {
                    left: &left[row * left_stride..],
                    left_stride,
                    b,
                    bias,
                    out: &mut out[row * out_stride + column..],
                    out_stride,
                    with_gelu,
                };
                match vectors {
                    1 => work.with_vectors::<S, 1>(simd, count),
                    2 => work.with_vectors::<S, 2>(simd, count),
                    _ => work.with_vectors::<S, 3>(simd, count),
                }
                row += count;
            }
        }
    }
}

struct Tile<'a> {
    left: &'a [f32],
    left_stride: usize,
    b: &'a [f32],
    bias: Option<&'a [f32]>,
    out: &'a mut [f32],
    out_stride: usize,
    with_gelu: bool,
}

impl Tile<'_> {
    #[inline(always)]
    fn with_vectors<S: Simd, const C: usize>(self, simd: S, rows: usize) {
        match rows {
            1 => self.run::<S, 1, C>(simd),
            2 => self.run::<S, 2, C>(simd),
            3 => self.run::<S, 3, C>(simd),
            4 => self.run::<S, 4, C>(simd),
            5 => self.run::<S, 5, C>(simd),
            6 => self.run::<S, 6, C>(simd),
            7 => self.run::<S, 7, C>(simd),
            _ => self.run::<S, 8, C>(simd),
        }
    }

    #[inline(always)]
    fn run<S: Simd, const R: usize, const C: usize>(self, simd: S) {
        let (b, _) = S::as_simd_f32s(self.b);
        let (b, _) = b.as_chunks::<VECTORS>();
        let depth = b.len();
        let mut left: [&[f32]; R] = [&[]; R];
        for (r, row) in left.iter_mut().enumerate() {
            *row = &self.left[r * self.left_stride..][..depth];
        }
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        if let Some(bias) = self.bias {
            let (bias, _) = S::as_simd_f32s(bias);
            for row in &mut sums {
                for (sum, bias) in row.iter_mut().zip(bias) {
                    *sum = *bias;
                }
            }
        }
        for (k, b) in b.iter().enumerate() {
            for r in 0..R {
                let a = simd.splat_f32s(left[r][k]);
                for c in 0..C {
                    sums[r][c] = simd.mul_add_e_f32s(a, b[c], sums[r][c]);
                }
            }
        }
        for (r, row) in sums.iter().enumerate() {
            let out = &mut self.out[r * self.out_stride..][..C * S::F32_LANES];
            let (out, _) = S::as_mut_simd_f32s(out);
            out.copy_from_slice(row);
        }
        if self.with_gelu {
            for r in 0..R {
                let out = &mut self.out[r * self.out_stride..][..C * S::F32_LANES];
                for value in S::as_mut_simd_f32s(out).0 {
                    *value = gelu(simd, *value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_equals_the_sum_of_products() {
        let arch = Arch::new();
        let width = panel_width(arch);
        let number = |n: usize| ((n * 7919) % 1000) as f32 / 500.0 - 1.0;
        for (rows, depth, panels) in [(1, 5, 1), (7, 32, 2), (8, 33, 1), (9, 64, 3), (23, 40, 2)] {
            let columns = panels * width;
            let weights: Vec<f32> = (0..columns * depth).map(|n| number(n + 3)).collect();
            let packed = Packed::new(
                width,
                depth,
                columns,
                |n| &weights[n * depth..(n + 1) * depth],
                |n| number(n + 11),
                |n| if n % 2 == 0 { 1.0 } else { 0.5 },
            );
            let left: Vec<f32> = (0..rows * depth).map(number).collect();
            let mut out = vec![0.0; rows * columns];
            // In two halves of the depth, the second without bias.
            let mut second = out.clone();
            for (out, depths, bias) in [(&mut out, 0..depth / 2, true), (&mut second, depth / 2..depth, false)] {
                arch.dispatch(Product {
                    left: &left[depths.start..],
                    left_stride: depth,
                    right: packed.part(0..panels, depths, bias),
                    out,
                    out_stride: columns,
                    rows,
                    columns,
                    with_gelu: false,
                });
            }
            for row in 0..rows {
                for column in 0..columns {
                    let scale = if column % 2 == 0 { 1.0 } else { 0.5 };
                    let sum: f32 = (0..depth).map(|k| left[row * depth + k] * weights[column * depth + k]).sum();
                    let expected = (sum + number(column + 11)) * scale;
                    let found = out[row * columns + column] + second[row * columns + column];
                    assert!((found - expected).abs() < 1e-4, "{rows}×{depth}: {found} is not {expected}");
                }
            }
        }
    }
}
