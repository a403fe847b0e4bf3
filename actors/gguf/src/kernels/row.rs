//! One row of activations times rows of weights: what decoding does all day. It is bound by memory, so weights in q8_0 are
//! read where they lie in the file.

use fearless_simd::prelude::*;
use fearless_simd::{Level, f32x8, i8x32, i32x8, i32x16, kernel, u8x32, u16x8};
use half::f16;

use super::acts::ActRow;
use super::with_simd;
use crate::quant::Row;

/// A block of q8_0: the scale as a half, then 32 signed bytes.
pub(super) type Q8 = [u8; 34];

/// `out[n] = row n of the weights · act`.
pub(super) fn q8_rows(level: Level, weights: &[Q8], act: ActRow<'_>, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = level.as_avx512() {
            return q8_rows_avx512(simd, weights, act, out);
        }
        if let Some(simd) = level.as_avx2() {
            return q8_rows_avx2(simd, weights, act, out);
        }
    }
    with_simd!(level, _simd => q8_rows_anywhere(weights, act, out));
}

/// An unpacked row of weights · act.
pub(super) fn row(level: Level, row: &Row, act: ActRow<'_>) -> f32 {
    let values = row.values.as_chunks::<32>().0;
    let product = dot(level, values, &row.scales, act);
    product - offsets(row, act)
}

/// What the offsets of a row take away: offset × scale × sum of the quants, for each group.
fn offsets(row: &Row, act: ActRow<'_>) -> f32 {
    let blocks = act.scales.iter().zip(act.starts);
    let sum: f32 = match row.offsets.len() / act.scales.len().max(1) {
        0 => 0.0,
        1 => row.offsets.iter().zip(blocks).map(|(o, (scale, s))| o * scale * (s[0] + s[1]) as f32).sum(),
        _ => {
            let halves = row.offsets.as_chunks::<2>().0.iter().zip(blocks);
            halves.map(|(o, (scale, s))| scale * (o[0] * s[0] as f32 + o[1] * s[1] as f32)).sum()
        }
    };
    sum / -128.0
}

fn dot(level: Level, values: &[[i8; 32]], scales: &[f32], act: ActRow<'_>) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = level.as_avx512() {
            return dot_avx512(simd, values, scales, act);
        }
        if let Some(simd) = level.as_avx2() {
            return dot_avx2(simd, values, scales, act);
        }
    }
    with_simd!(level, _simd => dot_anywhere(values, scales, act))
}

kernel!(
    /// Two blocks in a register, eight blocks' scales converted at a time.
    fn q8_rows_avx512(simd: Avx512, weights: &[Q8], act: ActRow<'_>, out: &mut [f32]) {
        use std::arch::x86_64::*;
        let spread = [
            _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
            _mm512_setr_epi32(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3),
            _mm512_setr_epi32(4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5),
            _mm512_setr_epi32(6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7),
        ];
        let zero = _mm512_setzero_si512();
        let (quant_eights, quant_rest) = act.quants.as_chunks::<8>();
        let (scale_eights, scale_rest) = act.scales.as_chunks::<8>();
        for (row, out) in weights.chunks_exact(act.scales.len().max(1)).zip(out) {
            let (row_eights, row_rest) = row.as_chunks::<8>();
            let mut sums = [_mm512_setzero_ps(); 4];
            for ((w, quants), scales) in row_eights.iter().zip(quant_eights).zip(scale_eights) {
                let halves: [u16; 8] = std::array::from_fn(|n| u16::from_le_bytes([w[n][0], w[n][1]]));
                let scale = _mm256_cvtph_ps(u16x8::load_array(simd, halves).into());
                let scale = _mm256_mul_ps(scale, f32x8::load_array_ref(simd, scales).into());
                let scale = _mm512_castps256_ps512(scale);
                let (pairs, _) = quants.as_flattened().as_chunks::<16>();
                for (n, pair) in pairs.iter().enumerate().take(4) {
                    let low: __m256i = u8x32::from_slice(simd, &w[2 * n][2..]).into();
                    let high: __m256i = u8x32::from_slice(simd, &w[2 * n + 1][2..]).into();
                    let w = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                    let a: __m512i = i32x16::load_array_ref(simd, pair).into();
                    // The instruction multiplies unsigned with signed bytes: the sign goes to the other side.
                    let a = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), zero, a);
                    let dot = _mm512_dpbusd_epi32(zero, _mm512_abs_epi8(w), a);
                    let scale = _mm512_permutexvar_ps(spread[n], scale);
                    sums[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sums[n]);
                }
            }
            let sums = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
            let mut sum = _mm512_reduce_add_ps(sums);
            let zero = _mm256_setzero_si256();
            for ((w, quants), scale) in row_rest.iter().zip(quant_rest).zip(scale_rest) {
                let scale = f16::from_le_bytes([w[0], w[1]]).to_f32() * scale;
                let w: __m256i = u8x32::from_slice(simd, &w[2..]).into();
                let a: __m256i = i32x8::load_array_ref(simd, quants).into();
                let dot = _mm256_dpbusd_epi32(zero, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
                let dot: i32x8<_> = dot.simd_into(simd);
                sum += scale * dot.reduce_sum() as f32;
            }
            *out = sum;
        }
    }
);

kernel!(
    fn q8_rows_avx2(simd: Avx2, weights: &[Q8], act: ActRow<'_>, out: &mut [f32]) {
        use std::arch::x86_64::*;
        let ones = _mm256_set1_epi16(1);
        for (row, out) in weights.chunks_exact(act.scales.len().max(1)).zip(out) {
            let mut sum = _mm256_setzero_ps();
            for ((w, quants), scale) in row.iter().zip(act.quants).zip(act.scales) {
                let scale = f16::from_le_bytes([w[0], w[1]]).to_f32() * scale;
                let w: __m256i = u8x32::from_slice(simd, &w[2..]).into();
                let a: __m256i = i32x8::load_array_ref(simd, quants).into();
                // 2 · 128 · 127 still fits into sixteen bits.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
                let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
                sum = _mm256_fmadd_ps(dot, _mm256_set1_ps(scale), sum);
            }
            let sum: f32x8<_> = sum.simd_into(simd);
            *out = sum.reduce_sum();
        }
    }
);

#[inline(always)]
fn q8_rows_anywhere(weights: &[Q8], act: ActRow<'_>, out: &mut [f32]) {
    for (row, out) in weights.chunks_exact(act.scales.len().max(1)).zip(out) {
        let mut sum = 0.0;
        for ((w, quants), scale) in row.iter().zip(act.quants).zip(act.scales) {
            let values: [i8; 32] = std::array::from_fn(|n| w[2 + n] as i8);
            let [low, high] = halves(&values, quants);
            sum += f16::from_le_bytes([w[0], w[1]]).to_f32() * scale * (low + high) as f32;
        }
        *out = sum;
    }
}

/// The scales of a block's halves, of which it may have but one.
#[inline(always)]
fn ends(scales: &[f32]) -> (f32, f32) {
    (scales.first().copied().unwrap_or_default(), scales.last().copied().unwrap_or_default())
}

kernel!(
    fn dot_avx512(simd: Avx512, values: &[[i8; 32]], scales: &[f32], act: ActRow<'_>) -> f32 {
        use std::arch::x86_64::*;
        let per_block = (scales.len() / act.scales.len().max(1)).max(1);
        let mut sum = _mm256_setzero_ps();
        let blocks = values.iter().zip(scales.chunks_exact(per_block)).zip(act.quants).zip(act.scales);
        for (((w, scales), quants), scale) in blocks {
            let (first, last) = ends(scales);
            let scale = _mm256_set_m128(_mm_set1_ps(last * scale), _mm_set1_ps(first * scale));
            let w: __m256i = i8x32::load_array_ref(simd, w).into();
            let a: __m256i = i32x8::load_array_ref(simd, quants).into();
            let dot = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sum);
        }
        let sum: f32x8<_> = sum.simd_into(simd);
        sum.reduce_sum()
    }
);

kernel!(
    fn dot_avx2(simd: Avx2, values: &[[i8; 32]], scales: &[f32], act: ActRow<'_>) -> f32 {
        use std::arch::x86_64::*;
        let ones = _mm256_set1_epi16(1);
        let per_block = (scales.len() / act.scales.len().max(1)).max(1);
        let mut sum = _mm256_setzero_ps();
        let blocks = values.iter().zip(scales.chunks_exact(per_block)).zip(act.quants).zip(act.scales);
        for (((w, scales), quants), scale) in blocks {
            let (first, last) = ends(scales);
            let scale = _mm256_set_m128(_mm_set1_ps(last * scale), _mm_set1_ps(first * scale));
            let w: __m256i = i8x32::load_array_ref(simd, w).into();
            let a: __m256i = i32x8::load_array_ref(simd, quants).into();
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            sum = _mm256_fmadd_ps(dot, scale, sum);
        }
        let sum: f32x8<_> = sum.simd_into(simd);
        sum.reduce_sum()
    }
);

#[inline(always)]
fn dot_anywhere(values: &[[i8; 32]], scales: &[f32], act: ActRow<'_>) -> f32 {
    let per_block = (scales.len() / act.scales.len().max(1)).max(1);
    let mut sum = 0.0;
    for (((w, scales), quants), scale) in
        values.iter().zip(scales.chunks_exact(per_block)).zip(act.quants).zip(act.scales)
    {
        let ([low, high], (first, last)) = (halves(w, quants), ends(scales));
        sum += scale * (first * low as f32 + last * high as f32);
    }
    sum
}

/// Sums of products of either half of a block.
#[inline(always)]
fn halves(w: &[i8; 32], quants: &[i32; 8]) -> [i32; 2] {
    let a = quants.map(i32::to_le_bytes);
    std::array::from_fn(|half| {
        (half * 16..half * 16 + 16).map(|n| i32::from(w[n]) * i32::from(a[n / 4][n % 4] as i8)).sum()
    })
}
