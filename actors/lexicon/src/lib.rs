//! Words: how texts are taken apart, an inverted index that ranks like BM25, and what a question asks for.
//!
//! Two indexes, both in memory, both derived from a table that is the truth: [`TextIndex`] for short texts such as memories,
//! [`EpisodeIndex`] for raw messages, which also knows who said something, when, and what was said around it. Everything here
//! is pure: no I/O, no locks, no clock. Every input is bounded and none can panic.

mod bm25;
mod cast_list;
mod context;
mod dates;
mod episodes;
mod inverted;
mod question;
mod rank;
mod search;
mod sessions;
mod snippet;
mod speaker;
mod stop_words;
mod text_index;
mod words;

pub use context::{CONTEXT_AFTER, CONTEXT_BEFORE, Line, context_text, own_text};
pub use episodes::{Episode, EpisodeIndex, Filter};
pub use question::{Cast, Question, Role};
pub use rank::{Candidate, Features, Parts, Ranked, Similarities, rank};
pub use snippet::snippet;
pub use text_index::{TextHit, TextIndex};
pub use words::{or_query, terms};
