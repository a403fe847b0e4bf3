//! Local models, in process: GGUF files on the CPU.
//!
//! - [`inspect`] reads the header of a file, [`plan_context`] says how long a context fits into memory.
//! - [`Engine`]: a loaded model on threads of its own, with a bounded queue. Answers stream through [`Reply`]; cancelling
//!   works between tokens and between batches of a prompt. A conversation that goes on finds its keys and values again.
//! - `model/`: the forward pass of the Llama, Qwen, Gemma and Phi families. `kernels/`: its inner loops in safe SIMD,
//!   chosen at run time. `quant/`: the formats of weights. They are written here because they have to keep pace with
//!   llama.cpp in a build for any x86-64; llama.cpp's own answers are the oracle of the tests (`tests/golden`).
//!
//! Invariant: weights are mapped, never copied, and greedy answers are those of llama.cpp on the same file. With the feature
//! `cuda`, candle's own models take over where there is a device. Deliberately absent: which models are resident and who
//! may ask (the provider room), tool calls (the dialect room), downloads, images, and several requests in one batch.

mod chat;
mod context;
mod engine;
mod error;
mod facts;
mod file;
mod kernels;
mod model;
#[cfg(test)]
mod oracle;
mod quant;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
mod sampling;
mod stops;
mod tokenizer;

pub use chat::{ChatMessage, Role};
pub use context::{available_memory, plan_context};
pub use engine::{Engine, Event, Finish, LoadOptions, Prompt, Reply, Request, Usage};
pub use error::GgufError;
pub use facts::{Facts, inspect};
pub use model::Architecture;
pub use quant::Quant;
pub use sampling::Sampling;
