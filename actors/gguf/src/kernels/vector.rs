//! What happens between the products: norms, gates, rotations of positions, the exponential function.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd};

use super::with_simd;

/// A norm over rows: by their root mean square, or with their mean taken away when there is a bias.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) epsilon: f32,
}

/// How the two halves of a feed-forward layer meet, or what is applied to its only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// x / (1 + e^−x).
    Silu,
    /// GELU by its tangent approximation.
    Gelu,
}

/// Rows as wide as the norm: `out = norm(x)`.
pub(crate) fn norm(level: Level, norm: &Norm, x: &[f32], out: &mut [f32]) {
    let width = norm.gain.len();
    with_simd!(level, simd => {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            norm_row(simd, norm, x, out);
        }
    });
}

/// `x = gate(x)`, or `x = gate(x) × with`.
pub(crate) fn gate(level: Level, gate: Gate, x: &mut [f32], with: Option<&[f32]>) {
    with_simd!(level, simd => {
        match gate {
            Gate::Silu => each(simd, x, Silu),
            Gate::Gelu => each(simd, x, Gelu),
        }
        if let Some(with) = with {
            x.iter_mut().zip(with).for_each(|(x, with)| *x *= with);
        }
    });
}

/// `x = cap × tanh(x / cap)`.
pub(crate) fn soft_cap(level: Level, cap: f32, x: &mut [f32]) {
    with_simd!(level, simd => cap_all(simd, cap, x));
}

/// `x += more`.
pub(crate) fn add(level: Level, x: &mut [f32], more: &[f32]) {
    with_simd!(level, _simd => x.iter_mut().zip(more).for_each(|(x, more)| *x += more));
}

/// Adds a bias, if there is one, to every row.
pub(crate) fn add_each(level: Level, x: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        with_simd!(level, _simd => {
            for x in x.chunks_exact_mut(bias.len().max(1)) {
                x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
        });
    }
}

/// Cosines and sines for the positions of a batch.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// For each position, for each pair of a head.
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
    /// Pairs of a head that are rotated.
    pub(crate) pairs: usize,
    /// Whether the two of a pair are neighbours; else half a rotation apart.
    pub(crate) neighbours: bool,
}

/// Rotates heads of `width` by their positions: rows of `heads` heads, one row for each position.
pub(crate) fn rotate(level: Level, rotation: &Rotation, x: &mut [f32], heads: usize, width: usize) {
    let pairs = rotation.pairs;
    with_simd!(level, _simd => {
        let angles = rotation.cos.chunks_exact(pairs).zip(rotation.sin.chunks_exact(pairs));
        for (row, (cos, sin)) in x.chunks_exact_mut(heads * width).zip(angles) {
            for head in row.chunks_exact_mut(width) {
                if rotation.neighbours {
                    for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                        *pair = [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos];
                    }
                } else {
                    let (first, rest) = head.split_at_mut(pairs);
                    for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
            }
        }
    });
}

#[inline(always)]
fn norm_row<S: Simd>(simd: S, norm: &Norm, x: &[f32], out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = if norm.bias.is_some() { sum::<S, false>(simd, x, 0.0) / count } else { 0.0 };
    let variance = sum::<S, true>(simd, x, mean) / count;
    let factor = 1.0 / (variance + norm.epsilon).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(&norm.gain) {
        *out = (x - mean) * factor * gain;
    }
    if let Some(bias) = &norm.bias {
        out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
    }
}

/// The sum of all numbers less the centre, squared if so wished; the last vector is filled up with the centre.
#[inline(always)]
fn sum<S: Simd, const SQUARES: bool>(simd: S, x: &[f32], centre: f32) -> f32 {
    let middle = S::f32s::splat(simd, centre);
    let mut sums = [S::f32s::splat(simd, 0.0); 2];
    let chunks = x.chunks_exact(2 * S::f32s::LEN);
    let mut last = [centre; 2 * 16];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    for chunk in chunks.chain([&last[..2 * S::f32s::LEN]]) {
        for (sum, part) in sums.iter_mut().zip(chunk.chunks_exact(S::f32s::LEN)) {
            let off = S::f32s::from_slice(simd, part) - middle;
            *sum = if SQUARES { off.mul_add(off, *sum) } else { *sum + off };
        }
    }
    (sums[0] + sums[1]).reduce_sum()
}

/// A function of single numbers. A closure would not do: what is not inlined loses the instruction set.
trait Function {
    fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s;
}

/// Replaces every number by a function of it.
#[inline(always)]
fn each<S: Simd>(simd: S, x: &mut [f32], with: impl Function) {
    let mut chunks = x.chunks_exact_mut(S::f32s::LEN);
    for chunk in &mut chunks {
        with.apply(simd, S::f32s::from_slice(simd, chunk)).store_slice(chunk);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let mut last = [0.0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let last = with.apply(simd, S::f32s::from_slice(simd, &last[..S::f32s::LEN]));
        rest.copy_from_slice(&last.as_slice()[..rest.len()]);
    }
}

/// e^x to about 2 ulp, for x in −87 to 88; beyond, it stays at the end of that range.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷, 2^n by writing the exponent.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let splat = |number: f32| S::f32s::splat(simd, number);
    let x = x.max(splat(-87.0)).min(splat(88.0));
    let n = (x * splat(std::f32::consts::LOG2_E)).round_ties_even();
    let r = n.mul_add(splat(-LN_2_LOW), n.mul_add(splat(-LN_2_HIGH), x));
    let mut sum = splat(1.0 / 5040.0);
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum.mul_add(r, splat(factor));
    }
    // 2^n as the bits of a float.
    let n: S::i32s = n.to_int();
    let power: S::f32s = ((n + S::i32s::splat(simd, 127)) << 23).bitcast();
    sum * power
}

struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
        let one = S::f32s::splat(simd, 1.0);
        x / (one + exp(simd, S::f32s::splat(simd, 0.0) - x))
    }
}

#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // 1 − 2 / (e^2x + 1)
    let (one, two) = (S::f32s::splat(simd, 1.0), S::f32s::splat(simd, 2.0));
    one - two / (exp(simd, x * two) + one)
}

struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
        const ROOT: f32 = 0.797_884_6; // √(2/π)
        let inner = x * ROOT * (x * x).mul_add(S::f32s::splat(simd, 0.044_715), S::f32s::splat(simd, 1.0));
        x * 0.5 * (tanh(simd, inner) + 1.0)
    }
}

struct SoftCap(f32);

impl Function for SoftCap {
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
        tanh(simd, x * (1.0 / self.0)) * self.0
    }
}

#[inline(always)]
pub(super) fn cap_all<S: Simd>(simd: S, cap: f32, x: &mut [f32]) {
    each(simd, x, SoftCap(cap));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::levels;

    struct Exp;

    impl Function for Exp {
        #[inline(always)]
        fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
            exp(simd, x)
        }
    }

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|n| (n * n % 41) as f32 / 5.0 - 4.0).collect()
    }

    #[test]
    fn functions_are_exact_enough() {
        levels().into_iter().for_each(functions_on);
    }

    fn functions_on(level: Level) {
        let xs: Vec<f32> = (-900..900).map(|n| n as f32 / 97.0).collect();
        let mut exps = xs.clone();
        with_simd!(level, simd => each(simd, &mut exps, Exp));
        let (mut silus, mut gelus, mut capped) = (xs.clone(), xs.clone(), xs.clone());
        gate(level, Gate::Silu, &mut silus, None);
        gate(level, Gate::Gelu, &mut gelus, None);
        soft_cap(level, 3.0, &mut capped);
        for (n, x) in xs.iter().map(|x| f64::from(*x)).enumerate() {
            let close =
                |found: f32, expected: f64| (f64::from(found) - expected).abs() < 2e-6 * expected.abs().max(1.0);
            assert!(close(exps[n], x.exp()), "e^{x} is not {}", exps[n]);
            assert!(close(silus[n], x / (1.0 + (-x).exp())), "silu({x}) is not {}", silus[n]);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            assert!(close(gelus[n], x / 2.0 * (1.0 + inner.tanh())), "gelu({x}) is not {}", gelus[n]);
            assert!(close(capped[n], 3.0 * (x / 3.0).tanh()), "cap({x}) is not {}", capped[n]);
        }
    }

    #[test]
    fn rows_become_normal_whatever_their_width() {
        for (level, width) in levels().into_iter().flat_map(|level| [16, 20, 33, 96].map(|width| (level, width))) {
            let x = numbers(2 * width);
            let mut out = vec![0.0; x.len()];
            let with_bias = Norm { gain: vec![2.0; width], bias: Some(vec![1.0; width]), epsilon: 1e-6 };
            norm(level, &with_bias, &x, &mut out);
            for row in out.chunks(width) {
                let mean = row.iter().sum::<f32>() / width as f32;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
                assert!((mean - 1.0).abs() < 1e-4 && (variance - 4.0).abs() < 1e-3, "{width}: {mean} {variance}");
            }
            let root = Norm { gain: vec![1.0; width], bias: None, epsilon: 0.0 };
            norm(level, &root, &x, &mut out);
            let square = out[..width].iter().map(|x| x * x).sum::<f32>() / width as f32;
            assert!((square - 1.0).abs() < 1e-4, "{width}: {square}");
        }
    }

    #[test]
    fn rotations_turn_pairs() {
        let (cos, sin) = (vec![0.6; 4], vec![0.8; 4]);
        for (neighbours, expected) in [(true, [-0.8, 0.6, 0.0, 0.0]), (false, [-0.8, 0.0, 0.6, 0.0])] {
            let rotation = Rotation { cos: cos.clone(), sin: sin.clone(), pairs: 2, neighbours };
            let mut x = vec![0.0; 12];
            x[6 + if neighbours { 1 } else { 2 }] = 1.0;
            rotate(Level::new(), &rotation, &mut x, 1, 6);
            assert!(x[6..10].iter().zip(expected).all(|(x, e)| (x - e).abs() < 1e-6), "{x:?}");
        }
    }
}
