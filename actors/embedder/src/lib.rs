//! Texts to vectors, in process: all-MiniLM-L6-v2 on the CPU.
//!
//! - [`Embedder`]: the room's handle. Texts wait in one bounded queue with two lanes, [`Lane::Interactive`] (somebody waits
//!   for it) before [`Lane::Background`], and a small crew of threads takes them from there. Async tasks never compute.
//! - [`Vector`]: 384 numbers of length 1.
//! - `minilm/`: the model itself. Its matrix products and the operators around them are written here, in safe portable
//!   SIMD, because they have to keep pace with ONNX Runtime; a plain forward pass with candle is the oracle of the tests.
//!
//! Invariant: a vector that leaves this room has the length 1 and holds no NaN. Everything degrades: without weights the
//! server runs, [`Embedder::availability`] says why, and callers go by words alone. Deliberately absent: storage, search,
//! downloads (`scripts/setup.sh` installs the weights), and any other model.

mod actor;
mod cache;
mod embedder;
mod engine;
mod error;
mod hashed;
mod minilm;
mod queue;
mod settings;
mod vector;
mod worker;

pub use embedder::{Embedded, Embedder};
pub use error::EmbedError;
pub use settings::{Availability, Choice, EmbedderSettings};
pub use vector::Vector;

/// Numbers in a vector.
pub const DIMENSION: usize = 384;
/// Most texts in one call.
pub const MAX_BATCH: usize = 2048;
/// What of a text is read: its first so many characters. The rest adds nothing to the vector of so long a text.
pub const MAX_TEXT_CHARS: usize = 32_768;

/// Who waits for a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody: a turn, a search. Goes before, and interrupts, background work.
    Interactive,
    /// Nobody in particular: messages that were stored, imports, batches.
    Background,
}
