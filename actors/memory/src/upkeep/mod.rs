//! Upkeep of a bot's memory by background work: claiming messages for fact extraction, committing what came of it,
//! finding neighbours and near-duplicates, fading, themes and orphans. Everything here is storage and arithmetic; what a
//! model thinks is decided in the distill room, between a read and a commit of this module.
//!
//! Invariants: a claimed message is either finished by the holder of its lease or becomes claimable again; a commit whose
//! lease or snapshot no longer holds changes nothing; no memory is deleted, they are superseded or become tombstones.

mod claims;
mod log;
mod merge;
mod near;
mod tidy;

pub(crate) use claims::MOST_ATTEMPTS;
pub use claims::{ClaimRules, Window, WindowMessage, finish_covered_on, finish_window_on, still_active_on};
pub use log::{
    ExtractableSummary, ExtractionOutcome, ExtractionRecord, ExtractionSource, SummaryClaim, log_extraction_on,
};
pub use merge::{Candidate, Merge, Merged, Seeds, SimilarPair, merge_on};
pub use near::Neighbour;
pub use tidy::{FadeRules, Fading, Orphans, RecurrenceRules, Theme, Themes};
