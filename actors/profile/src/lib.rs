//! The profile room: what is known about users and bots, shared by all bots.
//!
//! - [`Profiles`] is the handle: reading for prompts, editing for people and tools, upkeep for the jobs.
//! - [`AttributeDraft`] and [`Profiles::upsert`]: whose word counts for more is decided in one statement.
//! - [`ProfileText`]: what a profile says in a prompt.
//!
//! Deliberately absent: the model that writes portraits; it is asked by the distill room, with no transaction open.

mod attribute;
mod entity;
mod error;
mod profile;
mod profiles;
mod repository;
mod text;
mod upkeep;

pub use attribute::{
    ATTRIBUTES_MAX, Attribute, AttributeDraft, AttributeFilter, AttributePage, AttributePatch, CATEGORY_MAX,
    HistoryEntry, KEY_MAX, Outcome, Source, Upserted, VALUE_MAX,
};
pub use entity::{Entity, EntityType, ID_MAX};
pub use error::ProfileError;
pub use profile::{
    DESCRIPTION_MAX, EMAIL_MAX, Header, NAME_MAX, ProfileDetail, ProfileFilter, ProfilePage, ProfilePatch, SUMMARY_MAX,
};
pub use profiles::{Profiles, TurnProfiles};
pub use text::{ProfileText, TOKENS_MAX, name_in_fact};
pub use upkeep::Digest;
