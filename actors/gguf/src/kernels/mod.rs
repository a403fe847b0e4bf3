//! The inner loops: products of weights with activations, attention, and the operators between them.
//!
//! Every loop exists for the instruction sets that `fearless_simd` tells apart, and the best one is chosen at run time, so
//! that a build without `target-cpu` keeps pace. Products with packed weights are sums of whole numbers within blocks of
//! 32, scaled and added as floats; that is also what llama.cpp computes, so that the same tokens come out.

mod acts;
mod attention;
mod half;
mod linear;
mod panel;
mod row;
mod vector;

pub(crate) use acts::Acts;
pub(crate) use attention::{Attention, BLOCK, KeyCache, MAX_WIDTH, Reach, ValueCache};
pub(crate) use linear::{Linear, Weights};
pub(crate) use vector::{Gate, Norm, Rotation, add, add_each, gate, norm, rotate, soft_cap};

/// Every instruction set that this machine has and that loops tell apart.
#[cfg(test)]
pub(crate) fn levels() -> Vec<fearless_simd::Level> {
    let best = fearless_simd::Level::new();
    let mut levels = vec![best, fearless_simd::Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    levels.extend(best.as_avx2().map(fearless_simd::Level::Avx2));
    levels
}

/// Runs an expression for the best instruction set.
macro_rules! with_simd {
    ($level:expr, $simd:ident => $call:expr) => {
        fearless_simd::dispatch!($level, $simd => $call)
    };
}
pub(crate) use with_simd;
