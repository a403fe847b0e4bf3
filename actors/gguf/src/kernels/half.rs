//! Halves to floats, many at a time.

use fearless_simd::prelude::*;
use fearless_simd::{Level, f32x8, f32x16, kernel, u16x8, u16x16};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// `out[n] = halves[n]`, both a multiple of sixteen long.
pub(super) fn to_floats(level: Level, halves: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = level.as_avx512() {
            return to_floats_avx512(simd, halves, out);
        }
        if let Some(simd) = level.as_avx2() {
            return to_floats_avx2(simd, halves, out);
        }
    }
    halves.reinterpret_cast::<f16>().convert_to_f32_slice(out);
}

kernel!(
    fn to_floats_avx512(simd: Avx512, halves: &[u16], out: &mut [f32]) {
        use std::arch::x86_64::*;
        for (halves, out) in halves.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
            let floats: f32x16<_> = _mm512_cvtph_ps(u16x16::load_array_ref(simd, halves).into()).simd_into(simd);
            floats.store_array(out);
        }
    }
);

kernel!(
    fn to_floats_avx2(simd: Avx2, halves: &[u16], out: &mut [f32]) {
        use std::arch::x86_64::*;
        for (halves, out) in halves.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            let floats: f32x8<_> = _mm256_cvtph_ps(u16x8::load_array_ref(simd, halves).into()).simd_into(simd);
            floats.store_array(out);
        }
    }
);
