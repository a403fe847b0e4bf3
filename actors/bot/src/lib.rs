//! Bots: who they are, how they are set, which model answers for them, and how many of a user's requests run at once.
//!
//! [`Bots`] is the room's handle. [`Bots::begin`] turns a chat request into a running turn; [`Bots::directory`] is an
//! immutable snapshot of all effective bots; the other methods are the administration of profiles, settings, model
//! switches and purges, free of HTTP. One supervised actor per bot applies its concurrency rule. Seeds come from a YAML
//! text once; the database is authoritative afterwards.

mod begin;
mod bot;
mod bots;
mod catalogue;
mod client_context;
mod compatibility;
mod directory;
mod draft;
mod error;
mod lanes;
mod layers;
mod mask;
mod model_choice;
mod namespace;
mod profile;
mod profiles;
mod purge;
mod repository;
mod seeds;
mod settings;
mod switches;
mod tunable;
mod views;

pub use begin::{Ingress, SystemMessages};
pub use bot::{QUEUE_WAIT, SUPERSEDE_WAIT};
pub use bots::{BUILT_IN_SEEDS, Bots, BotsSettings, Reloaded};
pub use client_context::{ClientContext, HomePatterns, client_context};
pub use directory::{Bot, Directory};
pub use error::BotsError;
pub use lanes::{QUEUE_LIMIT, Rule};
pub use layers::{Effective, Layer, Setting, Source};
pub use mask::MASK;
pub use profile::{BotProfile, BotType, Character, IfMatch};
pub use profiles::{Deleted, ProfileFilter, ProfilePage};
pub use purge::{Orphans, PurgeResult};
pub use repository::{SettingFilter, SettingRow};
pub use seeds::{Seed, SeedError, Seeds, merged_seeds};
pub use settings::{Applied, BATCH_MAX, Removed, SettingDraft, SettingPage, SettingPlace};
pub use switches::Switched;
pub use tunable::{KEY_MAX, Kind, Preset, ScopeType, TUNABLES, Tunable, checked, tunable};
pub use views::{Audience, BotProfileView, BotView};
