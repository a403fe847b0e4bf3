//! What bots remember, in layers: raw messages in sessions, distilled memories with vectors, summaries, tombstones.
//!
//! [`Memory`] hands out one [`Namespace`] per bot. Reads go straight to the pool. What must happen once and in order for
//! a bot (storing with a look for duplicates, superseding, forgetting, restoring) is run by the namespace's actor in a
//! transaction under the bot's advisory lock, so that it holds for several processes, too. Messages of turns are written
//! by the journal of the turn room through [`MessageRepository`], in the transaction that closes the turn, so that a
//! stored answer and a stored status never disagree.
//!
//! Invariants: nothing is embedded while a transaction is open; the lexical indexes learn of a change only after its
//! commit; what is forgotten is in no table but `forgotten`. Deliberately absent: calls to language models (the distill
//! room) and profiles (the profile room).

pub mod budget;
pub mod context;
pub mod episodes;
mod error;
mod exclusive;
mod export;
pub mod forget;
mod history;
mod import;
pub mod index;
pub mod memories;
mod memory;
mod message;
mod namespace;
mod reference;
mod repository;
pub mod retrieval;
mod sessions;
mod stats;
pub mod summaries;
pub mod upkeep;

pub use episodes::{MessageHit, MessageHits, MessageSearch, RegenerateMode, Regenerated, SearchMode};
pub use error::MemoryError;
pub use exclusive::{Boxed, Changes, Exclusive};
pub use forget::{ForgetRequest, ForgetTarget, Forgotten, RestoreRequest, RestoreWhat, Restored, Tombstone};
pub use greenroom_embedder::Vector;
pub use greenroom_lexicon::Cast;
pub use history::{Cleared, Cursor, HistoryPage, HistoryQuery};
pub use import::{ImportReport, MOST_RECORDS, MemoryRecord, MessageRecord};
pub use index::{IndexStatus, RecallSettings};
pub use memories::{
    DeleteOptions, Deleted, Meaning, MeaningPatch, MemoryDraft, MemoryOrder, MemoryPatch, Outcome, PreparedMemory,
    StoreOptions, Stored, StoredMemory, SupersedeReason, TombstoneReason,
};
pub use memory::{Memory, MemorySettings, Purged};
pub use message::{IndexedMessage, MessageStatus, NewMessage, Recorded, SESSION_GAP, SaidMessage, StoredMessage};
pub use namespace::{Namespace, NamespaceName};
pub use repository::MessageRepository;
pub use retrieval::{
    Animations, MemoryHit, MemoryHits, MemoryMethod, MemorySearch, Recalled, RetrievalSettings, TurnRecall,
};
pub use sessions::{CloseReason, Session, SessionFilter, SessionStatus, Sessions};
pub use stats::{MemoryStats, Source};
