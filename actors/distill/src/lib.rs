//! What models make of memories: facts, summaries, merged statements, profile texts.
//!
//! Everything here works in the background and in the same three steps: read a snapshot, ask a model with no transaction
//! open, commit in one transaction that checks whether the snapshot still holds. A model's answer is data from a
//! stranger: it is parsed leniently, judged item by item, and can only point at what it was shown.
//!
//! - [`Distill`] is the handle: facts, merging, tidying, portraits, small tasks. [`summaries`] has its own.
//! - [`Models`] chooses the model and decides what may leave this machine; [`Completer`] makes a call.
//!
//! Deliberately absent: SQL (memory and profile rooms), schedules (scheduler room), bots (a [`BotBrief`] is all that is
//! known of one).

mod brief;
mod completer;
mod consolidation;
mod distill;
mod error;
mod extraction;
mod maintenance;
mod model;
mod portraits;
pub mod summaries;
mod tasks;
mod words;

pub use brief::{BotBrief, Decay, DistillSettings};
pub use completer::{Ask, Completer, Completion};
pub use consolidation::{ConsolidateOptions, ConsolidationResult, Proposal};
pub use distill::{Distill, DistillRules, ExtractionRules, IsBotName, UpkeepRules};
pub use error::DistillError;
pub use extraction::{
    ExtractOptions, ExtractionResult, FactsExtracted, SummaryExtractionResult, ToolFact, ToolMessage,
};
pub use maintenance::{MaintenanceFlags, MaintenanceResult};
pub use model::{LlmPolicy, LocalOnlyClient, ModelError, ModelSettings, Models, Work};
pub use portraits::{ProfileResult, ProfilesResult};
pub use tasks::{Compacted, ContextMessage, EmbeddingsGenerated, MeaningUpdate, MeaningUpdated};
