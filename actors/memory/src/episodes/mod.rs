//! Finding what was said: search over raw messages by words, meaning, speaker and time, and the worker that gives
//! messages their vectors. Deliberately absent: how candidates are weighed; that is the lexicon's business.

mod regenerate;
mod request;
mod search;
mod surroundings;
mod worker;

pub use regenerate::{RegenerateMode, Regenerated};
pub use request::{EpisodeParts, MessageHit, MessageHits, MessageSearch, SearchMode, WordLeg};
pub(crate) use search::Haste;
pub(crate) use worker::Worker;
pub use worker::WorkerState;
