//! Models in files, run in this process (providers.md §9.2).
//!
//! - [`LocalModel`]: a file, what it says of itself, and how it is to be loaded. Making one is what decides availability.
//! - [`LocalModels`]: the handle of one supervised actor, the runtime. It keeps few models in memory, lends them, and
//!   swaps them in the order of asking. `shelf` decides, the runtime acts.
//! - [`LocalCall`]: one call. Its answer holds the loan, so that no swap ever cuts a stream.
//!
//! Invariant: never more models in memory than allowed, and none is taken away while somebody uses it. Deliberately
//! absent: computing (the gguf room, on its own threads), downloads, and tools, which models that run here are told of in
//! words.

mod answer;
mod loan;
mod model;
mod places;
mod prompt;
mod runtime;
mod settings;
mod shelf;

pub(crate) use answer::LocalCall;
pub(crate) use model::LocalModel;
pub(crate) use runtime::LocalModels;
pub use runtime::Unloading;
pub use settings::LocalSettings;

/// Calls of one model that may be open at once: one is answered, the others wait.
pub(crate) const MOST_CALLS: usize = QUEUE + 1;
/// Calls that may wait inside an engine.
const QUEUE: usize = 32;
