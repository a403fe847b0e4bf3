//! What happens between the products: exponential, GELU, softmax, layer norm.

use pulp::{Simd, WithSimd};

/// e^x to about 2 ulp, for x in −87 to 88; beyond, it stays at the end of that range.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷, 2^n by writing the exponent.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// 1.5 · 2²³ + 127: adding it rounds to a whole number and leaves the biased exponent in the low bits.
    const ROUND: f32 = 12_583_039.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = simd.min_f32s(simd.max_f32s(x, simd.splat_f32s(-87.0)), simd.splat_f32s(88.0));
    let rounded = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(rounded, simd.splat_f32s(ROUND));
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_LOW), r);
    let mut sum = simd.splat_f32s(1.0 / 5040.0);
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = simd.mul_add_e_f32s(sum, r, simd.splat_f32s(factor));
    }
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.mul_f32s(sum, simd.transmute_f32s_u32s(bits))
}

/// GELU(x) = x/2 · (1 + erf(x/√2)), with erf by formula 7.1.26 of Abramowitz and Stegun, *Handbook of Mathematical
/// Functions* (absolute error below 1.5e−7).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let half = simd.splat_f32s(0.5);
    let size = simd.abs_f32s(x);
    let z = simd.mul_f32s(size, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let one = simd.splat_f32s(1.0);
    let t = simd.div_f32s(one, simd.mul_add_e_f32s(z, simd.splat_f32s(P), one));
    let mut sum = simd.splat_f32s(A[0]);
    for a in &A[1..] {
        sum = simd.mul_add_e_f32s(sum, t, simd.splat_f32s(*a));
    }
    let fall = exp(simd, simd.sub_f32s(simd.splat_f32s(0.0), simd.mul_f32s(z, z)));
    let erf = simd.sub_f32s(one, simd.mul_f32s(simd.mul_f32s(sum, t), fall));
    // x · erf(x/√2) = |x| · erf(|x|/√2)
    simd.mul_f32s(half, simd.mul_add_e_f32s(size, erf, x))
}

/// Softmax of each row, in place.
pub(crate) struct Softmax<'a> {
    /// Rows of `width` numbers, a multiple of the SIMD width.
    pub(crate) rows: &'a mut [f32],
    pub(crate) width: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.width) {
            let (row, _) = S::as_mut_simd_f32s(row);
            let mut most = simd.splat_f32s(f32::MIN);
            for value in row.iter() {
                most = simd.max_f32s(most, *value);
            }
            let most = simd.splat_f32s(simd.reduce_max_f32s(most));
            let mut sum = simd.splat_f32s(0.0);
            for value in row.iter_mut() {
                *value = exp(simd, simd.sub_f32s(*value, most));
                sum = simd.add_f32s(sum, *value);
            }
            let factor = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(sum));
            for value in row {
                *value = simd.mul_f32s(*value, factor);
            }
        }
    }
}

/// Gain and bias of a layer norm.
pub(crate) struct Norm {
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// `x = norm(x + change)` for each row.
pub(crate) struct AddNorm<'a> {
    /// Rows as wide as the norm.
    pub(crate) x: &'a mut [f32],
    pub(crate) change: &'a [f32],
    pub(crate) norm: &'a Norm,
    pub(crate) epsilon: f32,
}

impl WithSimd for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.norm.gain.len();
        let (gain, _) = S::as_simd_f32s(&self.norm.gain);
        let (bias, _) = S::as_simd_f32s(&self.norm.bias);
        for (x, change) in self.x.chunks_exact_mut(width).zip(self.change.chunks_exact(width)) {
            let (x, _) = S::as_mut_simd_f32s(x);
            let (change, _) = S::as_simd_f32s(change);
            let mut sum = [simd.splat_f32s(0.0); 4];
            for (n, (x, change)) in x.iter_mut().zip(change).enumerate() {
                *x = simd.add_f32s(*x, *change);
                sum[n % 4] = simd.add_f32s(sum[n % 4], *x);
            }
            let mean = simd.splat_f32s(total(simd, sum) / width as f32);
            let mut squares = [simd.splat_f32s(0.0); 4];
            for (n, x) in x.iter_mut().enumerate() {
                *x = simd.sub_f32s(*x, mean);
                squares[n % 4] = simd.mul_add_e_f32s(*x, *x, squares[n % 4]);
            }
            let variance = total(simd, squares) / width as f32;
            let factor = simd.splat_f32s(1.0 / (variance + self.epsilon).sqrt());
            for ((x, gain), bias) in x.iter_mut().zip(gain).zip(bias) {
                *x = simd.mul_add_e_f32s(simd.mul_f32s(*x, factor), *gain, *bias);
            }
        }
    }
}

#[inline(always)]
fn total<S: Simd>(simd: S, parts: [S::f32s; 4]) -> f32 {
    let [a, b, c, d] = parts;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Arch;

    struct Each<'a>(&'a mut [f32], bool);

    impl WithSimd for Each<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for value in S::as_mut_simd_f32s(self.0).0 {
                *value = if self.1 { gelu(simd, *value) } else { exp(simd, *value) };
            }
        }
    }

    #[test]
    fn exponential_and_gelu_are_exact_enough() {
        let xs: Vec<f32> = (-1600..1600).map(|n| n as f32 / 100.0).collect();
        let (mut exps, mut gelus) = (xs.clone(), xs.clone());
        Arch::new().dispatch(Each(&mut exps, false));
        Arch::new().dispatch(Each(&mut gelus, true));
        for ((x, e), g) in xs.iter().zip(exps).zip(gelus) {
            assert!((e / x.exp() - 1.0).abs() < 1e-6, "e^{x} is not {e}");
            assert!((f64::from(g) - exact_gelu(f64::from(*x))).abs() < 1e-6, "GELU({x}) is not {g}");
        }
    }

    /// By integrating the bell curve with Simpson's rule.
    fn exact_gelu(x: f64) -> f64 {
        let steps = 2000;
        let h = x / f64::from(steps);
        let bell = |t: f64| (-t * t / 2.0).exp();
        let inner: f64 = (1..steps).map(|n| bell(f64::from(n) * h) * if n % 2 == 1 { 4.0 } else { 2.0 }).sum();
        let area = (bell(0.0) + bell(x) + inner) * h / 3.0 / (2.0 * std::f64::consts::PI).sqrt();
        x * (0.5 + area)
    }

    #[test]
    fn rows_become_distributions_and_normal() {
        let arch = Arch::new();
        let mut rows: Vec<f32> = (0..96).map(|n| (n % 17) as f32 - 3.0).collect();
        rows[95] = -1e30;
        arch.dispatch(Softmax { rows: &mut rows, width: 48 });
        for row in rows.chunks(48) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        assert!(rows[95] < 1e-30);
        let norm = Norm { gain: vec![2.0; 96], bias: vec![1.0; 96] };
        let mut x: Vec<f32> = (0..96).map(|n| (n * n % 31) as f32).collect();
        arch.dispatch(AddNorm { x: &mut x, change: &vec![5.0; 96], norm: &norm, epsilon: 1e-12 });
        let mean = x.iter().sum::<f32>() / 96.0;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 96.0;
        assert!((mean - 1.0).abs() < 1e-4 && (variance - 4.0).abs() < 1e-3);
    }
}
