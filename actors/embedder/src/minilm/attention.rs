//! Self-attention of one sequence: softmax(Q·Kᵀ)·V, head by head.

use pulp::Arch;

use super::aligned::Aligned;
use super::elementwise::Softmax;
use super::gemm::{Product, Right};

/// Numbers per head.
pub(crate) const HEAD: usize = 32;
/// Rows of queries whose scores are held at a time.
const BLOCK: usize = 64;
/// Score of a key that is not there; its exponential is 0.
const NOWHERE: f32 = -1e30;

/// Keys, values and scores of one head.
#[derive(Default)]
pub(crate) struct Heads {
    keys: Aligned,
    values: Aligned,
    scores: Aligned,
    mask: Aligned,
}

/// One sequence's part of the buffers of a pass.
pub(crate) struct Attention<'a> {
    pub(crate) arch: Arch,
    /// Columns of a panel.
    pub(crate) width: usize,
    /// Rows of `heads` × (query, key, value) × 32 numbers; the queries are scaled already.
    pub(crate) qkv: &'a [f32],
    /// Rows of `heads` × 32 numbers.
    pub(crate) out: &'a mut [f32],
    pub(crate) heads: usize,
}

impl Attention<'_> {
    pub(crate) fn run(self, room: &mut Heads) {
        let (from, to) = (3 * HEAD * self.heads, HEAD * self.heads);
        let length = self.qkv.len() / from;
        let panels = length.div_ceil(self.width);
        let padded = panels * self.width;
        let mask = room.mask.at_least(padded);
        mask[..length].fill(0.0);
        mask[length..].fill(NOWHERE);
        for head in 0..self.heads {
            let keys = room.keys.at_least(panels * HEAD * self.width);
            pack_keys(keys, self.qkv[3 * HEAD * head + HEAD..].chunks(from), self.width, length);
            let value_panels = HEAD.div_ceil(self.width);
            let values = room.values.at_least(value_panels * length * self.width);
            pack_values(values, self.qkv[3 * HEAD * head + 2 * HEAD..].chunks(from), self.width, length);
            for begin in (0..length).step_by(BLOCK) {
                let rows = BLOCK.min(length - begin);
                let scores = room.scores.at_least(rows * padded);
                self.arch.dispatch(Product {
                    left: &self.qkv[begin * from + 3 * HEAD * head..],
                    left_stride: from,
                    right: Right { data: keys, bias: Some(mask), whole: HEAD, depth: 0..HEAD, panels: 0..panels },
                    out: scores,
                    out_stride: padded,
                    rows,
                    columns: padded,
                    with_gelu: false,
                });
                self.arch.dispatch(Softmax { rows: scores, width: padded });
                self.arch.dispatch(Product {
                    left: scores,
                    left_stride: padded,
                    right: Right { data: values, bias: None, whole: length, depth: 0..length, panels: 0..value_panels },
                    out: &mut self.out[begin * to + HEAD * head..],
                    out_stride: to,
                    rows,
                    columns: HEAD,
                    with_gelu: false,
                });
            }
        }
    }
}

/// Keys, one in each row, become the columns of panels.
fn pack_keys<'a>(panels: &mut [f32], rows: impl Iterator<Item = &'a [f32]>, width: usize, length: usize) {
    for (n, row) in rows.take(length).enumerate() {
        let target = &mut panels[n / width * HEAD * width + n % width..];
        for (slot, number) in target.iter_mut().step_by(width).zip(&row[..HEAD]) {
            *slot = *number;
        }
    }
    if !length.is_multiple_of(width) {
        let last = length / width * HEAD * width;
        for depth in panels[last..].chunks_exact_mut(width) {
            depth[length % width..].fill(0.0);
        }
    }
}

/// Values, one in each row, stay rows of panels.
fn pack_values<'a>(panels: &mut [f32], rows: impl Iterator<Item = &'a [f32]>, width: usize, length: usize) {
    for (n, row) in rows.take(length).enumerate() {
        for (panel, part) in row[..HEAD].chunks(width).enumerate() {
            panels[(panel * length + n) * width..][..part.len()].copy_from_slice(part);
        }
    }
}
