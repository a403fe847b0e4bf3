//! The forward pass. Llama, Qwen 2 and 3, Gemma 1 to 3, Phi 2 and 3 are one model with different switches; [`Shape`] holds
//! them, [`Weights`] says where the matrices lie, [`Member`] computes, and a [`Team`] is as many members as there are threads. On a device, candle's models take the team's place.

mod backend;
#[cfg(feature = "candle")]
mod device;
mod layout;
mod member;
mod rope;
mod shape;
mod team;

pub(crate) use backend::Backend;
pub(crate) use layout::Model;
pub use shape::Architecture;
pub(crate) use shape::Shape;
pub(crate) use team::{Broken, Team};

/// Most tokens in one pass: enough for weights to stay in the cache while many tokens go by, few enough for the
/// activations to stay there too and for a cancellation to be noticed soon.
pub(crate) const BATCH: usize = 256;
