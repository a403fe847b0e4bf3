//! Writing and listing profiles (http-api §9.2, §9.3).
//!
//! Invariant: a write is one transaction that holds the profile, its tombstone, and the bot's model switches, and the
//! directory shows it when the answer is given. Deliberately absent: purging, see [`crate::purge`].

use std::sync::Arc;

use deadpool_postgres::Transaction;
use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::Complaint;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::bots::{Bots, Inner, free_namespace, now};
use crate::compatibility::fitted;
use crate::directory::Bot;
use crate::draft::{Edit, ProfileDraft};
use crate::error::BotsError;
use crate::namespace::table_prefix;
use crate::profile::{BotProfile, Character, IfMatch};
use crate::purge::{PurgeResult, purge_rows};
use crate::repository::{ModelOverrideRepository, ProfileRepository};
use greenroom_protocol::time::wire_time;

/// Which profiles to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileFilter {
    /// Part of slug, name or description, in any case.
    pub q: Option<String>,
    /// Flag.
    pub uses_tools: Option<bool>,
    /// Flag.
    pub uses_search: Option<bool>,
    /// Flag.
    pub requires_memory: Option<bool>,
    /// Flag.
    pub voice_optimized: Option<bool>,
    /// Flag.
    pub uses_home_assistant: Option<bool>,
    /// Exactly this default model.
    pub default_model: Option<String>,
    /// Most profiles of the page.
    pub limit: usize,
    /// Profiles before the page.
    pub offset: usize,
}

impl Default for ProfileFilter {
    fn default() -> Self {
        Self {
            q: None,
            uses_tools: None,
            uses_search: None,
            requires_memory: None,
            voice_optimized: None,
            uses_home_assistant: None,
            default_model: None,
            limit: 200,
            offset: 0,
        }
    }
}

impl ProfileFilter {
    fn passes(&self, bot: &Bot) -> bool {
        let it = bot.character();
        let is = |wanted: Option<bool>, actual: bool| wanted.is_none_or(|wanted| wanted == actual);
        let holds = |text: &str, part: &str| text.to_lowercase().contains(part);
        let words = self.q.as_ref().map(|q| q.to_lowercase());
        bot.is_stored
            && words.is_none_or(|q| holds(bot.slug().as_str(), &q) || holds(&it.name, &q) || holds(&it.description, &q))
            && is(self.uses_tools, it.uses_tools)
            && is(self.uses_search, it.uses_search)
            && is(self.requires_memory, it.requires_memory)
            && is(self.voice_optimized, it.voice_optimized)
            && is(self.uses_home_assistant, it.uses_home_assistant)
            && self.default_model.as_ref().is_none_or(|model| it.default_model.as_ref() == Some(model))
    }
}

/// One page of profiles.
#[derive(Debug, Clone)]
pub struct ProfilePage {
    /// The page, by slug.
    pub bots: Vec<Arc<Bot>>,
    /// How many pass the filter.
    pub total_count: usize,
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    /// The bot.
    pub slug: BotSlug,
    /// What was purged, when that was asked for.
    pub purge: Option<PurgeResult>,
}

/// The slug of a bot to be written.
///
/// # Errors
/// [`BotsError::Refused`] for a blank slug, [`BotsError::Invalid`] for one that breaks the rule.
pub fn writable_slug(text: &str) -> Result<BotSlug, BotsError> {
    if text.trim().is_empty() {
        return Err(BotsError::Refused("Bot slug is required".into()));
    }
    BotSlug::parse(text).map_err(|bad| {
        let input: String = text.chars().take(80).collect();
        BotsError::Invalid(vec![Complaint::new("value_error", &["body", "slug"], bad.to_string(), input.into())])
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Post,
    Put { replace: bool },
    Patch,
}

impl Bots {
    /// Stored profiles that pass the filter.
    #[must_use]
    pub fn profiles(&self, filter: &ProfileFilter) -> ProfilePage {
        let directory = self.directory();
        let all: Vec<&Arc<Bot>> = directory.iter().filter(|bot| filter.passes(bot)).collect();
        let page = all.iter().skip(filter.offset).take(filter.limit).map(|bot| Arc::clone(bot));
        ProfilePage { bots: page.collect(), total_count: all.len() }
    }

    /// One stored profile.
    ///
    /// # Errors
    /// [`BotsError::NoProfile`].
    pub fn profile(&self, slug: &str) -> Result<Arc<Bot>, BotsError> {
        self.directory().named(slug).filter(|bot| bot.is_stored).cloned().ok_or(BotsError::NoProfile)
    }

    /// `POST`: makes a bot from a body with `slug`.
    ///
    /// # Errors
    /// [`BotsError`]: bad fields, a taken or colliding slug, the database.
    pub async fn create_profile(&self, body: &Value) -> Result<Arc<Bot>, BotsError> {
        let slug = match body.get("slug") {
            Some(Value::String(text)) => writable_slug(text)?,
            None | Some(Value::Null) => return Err(BotsError::Refused("Bot slug is required".into())),
            Some(other) => {
                let message = "Input should be a valid string";
                let complaint = Complaint::new("string_type", &["body", "slug"], message, other.clone());
                return Err(BotsError::Invalid(vec![complaint]));
            }
        };
        self.write(slug, Verb::Post, body, IfMatch::Any).await
    }

    /// `PUT`: merges into a profile, or replaces it, or makes it.
    ///
    /// # Errors
    /// [`BotsError`]: bad fields, a stale version, a colliding slug, the database.
    pub async fn put_profile(
        &self,
        slug: &str,
        body: &Value,
        replace: bool,
        if_match: IfMatch,
    ) -> Result<Arc<Bot>, BotsError> {
        self.write(writable_slug(slug)?, Verb::Put { replace }, body, if_match).await
    }

    /// `PATCH`: changes the named fields of a stored profile.
    ///
    /// # Errors
    /// [`BotsError`]: bad fields, an unknown bot, a stale version, the database.
    pub async fn patch_profile(&self, slug: &str, body: &Value, if_match: IfMatch) -> Result<Arc<Bot>, BotsError> {
        let known = BotSlug::parse(slug).map_err(|_| BotsError::UnknownBot(slug.to_owned()))?;
        self.write(known, Verb::Patch, body, if_match).await
    }

    /// `DELETE`: takes the profile away and leaves a tombstone, so that no seed brings the bot back. With `purge`,
    /// everything the bot has goes in the same transaction.
    ///
    /// # Errors
    /// [`BotsError::NoProfile`], a stale version, [`BotsError::Running`] for a purge under a running turn, the database.
    pub async fn delete_profile(&self, slug: &str, purge: bool, if_match: IfMatch) -> Result<Deleted, BotsError> {
        let slug = BotSlug::parse(slug).map_err(|_| BotsError::NoProfile)?;
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let _closed = if purge { inner.closed(&slug)? } else { None };
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let stored = ProfileRepository::locked_on(&transaction, &slug).await?.ok_or(BotsError::NoProfile)?;
            check_version(&stored, &if_match)?;
            ProfileRepository::bury_on(&transaction, &slug, now()).await?;
            ModelOverrideRepository::clear_on(&transaction, Some(&slug)).await?;
            let purged = if purge { Some(purge_rows(&transaction, &slug).await?) } else { None };
            inner.commit(transaction).await?;
            inner.switches.clear(Some(&slug));
            if purge {
                inner.rooms.memory.purged(&slug);
                inner.rooms.prompts.purged();
            }
            Ok(Deleted { slug, purge: purged })
        })
        .await
    }

    /// A model definition is gone: no bot has it as default any more. Gives the number of bots that had.
    ///
    /// # Errors
    /// The database's error.
    pub async fn forget_model(&self, alias: &str) -> Result<u64, BotsError> {
        let alias = alias.to_owned();
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let changed = ProfileRepository::clear_default_model_on(&transaction, &alias, now()).await?;
            if changed > 0 {
                inner.commit(transaction).await?;
            }
            Ok(changed)
        })
        .await
    }

    async fn write(&self, slug: BotSlug, verb: Verb, body: &Value, if_match: IfMatch) -> Result<Arc<Bot>, BotsError> {
        let reading = match verb {
            Verb::Post => Edit::Create,
            Verb::Put { replace: true } => Edit::Replace,
            Verb::Put { replace: false } => Edit::Merge,
            Verb::Patch => Edit::Patch,
        };
        let draft = ProfileDraft::read(body, reading).map_err(BotsError::Invalid)?;
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let stored = ProfileRepository::locked_on(&transaction, &slug).await?;
            match (&stored, verb) {
                (Some(_), Verb::Post) => return Err(BotsError::AlreadyExists(slug)),
                (None, Verb::Patch) => return Err(BotsError::UnknownBot(slug.to_string())),
                (Some(profile), Verb::Put { .. } | Verb::Patch) => check_version(profile, &if_match)?,
                (None, Verb::Put { .. }) if if_match != IfMatch::Any => {
                    return Err(BotsError::Stale { slug, version: "none, it was deleted".into() });
                }
                (None, Verb::Post | Verb::Put { .. }) => {}
            }
            let checks_models = stored.is_none() || draft.touches_model();
            let edit = if stored.is_none() { Edit::Create } else { reading };
            let character = draft.onto(&slug, stored.as_ref().map(|profile| &profile.character), edit)?;
            let character = if checks_models {
                fitted(character, &*inner.providers.catalogue()).map_err(BotsError::Refused)?
            } else {
                character
            };
            match stored {
                Some(profile) => {
                    let updated_at = later_than(profile.updated_at);
                    let profile = BotProfile { character, updated_at, ..profile };
                    ProfileRepository::update_on(&transaction, &profile).await?;
                }
                None => inner.insert(&transaction, slug.clone(), character).await?,
            }
            ModelOverrideRepository::clear_on(&transaction, Some(&slug)).await?;
            let house = inner.commit(transaction).await?;
            inner.switches.clear(Some(&slug));
            house.directory.get(&slug).cloned().ok_or(BotsError::Broken)
        })
        .await
    }
}

impl Inner {
    async fn insert(&self, db: &Transaction<'_>, slug: BotSlug, character: Character) -> Result<(), BotsError> {
        let stored = ProfileRepository::all_on(db).await?;
        let prefix = table_prefix(&slug);
        if let Some(other) = stored.iter().find(|profile| table_prefix(&profile.slug) == prefix) {
            return Err(BotsError::SlugCollides { slug, other: other.slug.clone() });
        }
        let buried = ProfileRepository::tombstones_on(db).await?;
        let (namespace, at) = (free_namespace(&slug, &stored, &buried), now());
        ProfileRepository::unbury_on(db, &slug).await?;
        let profile = BotProfile { slug, namespace, character, created_at: at, updated_at: at };
        if ProfileRepository::insert_on(db, &profile).await? {
            Ok(())
        } else {
            Err(BotsError::AlreadyExists(profile.slug))
        }
    }
}

fn check_version(stored: &BotProfile, if_match: &IfMatch) -> Result<(), BotsError> {
    if if_match.allows(stored.updated_at) {
        Ok(())
    } else {
        Err(BotsError::Stale { slug: stored.slug.clone(), version: wire_time(stored.updated_at) })
    }
}

/// A version later than the old one, even if the clock was set back.
fn later_than(version: Timestamp) -> Timestamp {
    let next = version.checked_add(SignedDuration::from_micros(1)).unwrap_or(version);
    now().max(next)
}
