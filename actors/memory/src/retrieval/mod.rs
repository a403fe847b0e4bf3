//! Finding memories: by meaning through the vector index, by words through the index in memory, both weighed into one score
//! per memory. A search is at most two statements and one pass over the words' index; what it costs in accesses is written
//! afterwards.
//!
//! Every leg may be missing: without a model, words alone; while the words' index is being loaded, PostgreSQL's full text.
//! The answer says which legs it stood on.

mod access;
mod animation;
mod diversity;
mod everywhere;
mod rank;
mod score;
mod search;
mod turn;

pub(crate) use access::Accesses;
pub use animation::Animations;
pub use diversity::diverse;
pub use score::{Evidence, RetrievalSettings, ScoreParts, decay, half_life_factor, is_inward, score};
pub use search::{Legs, MemoryHit, MemoryHits, MemoryMethod, MemorySearch, TextLeg, VectorLeg};
pub use turn::{Recalled, TurnRecall};
