//! What jobs and other rooms do to profiles: portraits, forgetting with the messages, purging a bot.

use std::collections::BTreeMap;

use deadpool_postgres::{GenericClient, Transaction};
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use uuid::Uuid;

use crate::entity::Entity;
use crate::error::ProfileError;
use crate::profile::{NAME_MAX, ProfileDetail, SUMMARY_MAX};
use crate::profiles::{Profiles, detail_on};
use crate::repository::{ForgetRepository, ProfileRepository};

/// A profile to be portrayed, and the version that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// What is known.
    pub detail: ProfileDetail,
    /// To be given to [`Profiles::write_summary`].
    pub version: i64,
}

impl Profiles {
    /// Profiles with attributes whose portrait is stale or was never made, the longest waiting first.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn stale(&self, limit: i64) -> Result<Vec<Entity>, ProfileError> {
        let db = self.store.connection().await?;
        ProfileRepository::stale_on(&db, limit.clamp(1, 10_000)).await
    }

    /// What a portrait is made from; `None` when there is no profile.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn digest(&self, entity: &Entity) -> Result<Option<Digest>, ProfileError> {
        let db = self.store.connection().await?;
        let Some(header) = ProfileRepository::find_on(&db, entity).await? else { return Ok(None) };
        let version = header.version;
        Ok(Some(Digest { detail: detail_on(&db, header).await?, version }))
    }

    /// Stores a portrait, unless anything about the profile has changed since it was read: then false, and it stays stale.
    /// A blank portrait counts as made and leaves the attributes to speak. A display name is set when one is given.
    ///
    /// # Errors
    /// [`ProfileError::Refused`] for a portrait of more than 8000 characters or a bad name, [`ProfileError::Store`].
    pub async fn write_summary(
        &self,
        entity: &Entity,
        seen: i64,
        summary: &str,
        display_name: Option<&str>,
    ) -> Result<bool, ProfileError> {
        let summary = summary.trim();
        let name = display_name.map(str::trim).filter(|name| !name.is_empty());
        let name_fits = name.is_none_or(|name| name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control));
        if summary.chars().count() > SUMMARY_MAX || summary.contains('\0') || !name_fits {
            return Err(ProfileError::Refused("The portrait or the name does not fit its place".into()));
        }
        let db = self.store.connection().await?;
        let summary = (!summary.is_empty()).then_some(summary);
        ProfileRepository::portray_on(&db, entity, seen, summary, name, Timestamp::now()).await
    }

    /// Forgets what was extracted from these messages of a bot, inside the transaction that forgets them. Gives the number of
    /// attributes; [`Self::restore_batch_on`] brings them back.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn forget_sources_on(
        db: &Transaction<'_>,
        bot: &BotSlug,
        messages: &[Uuid],
        batch: Uuid,
        now: Timestamp,
    ) -> Result<u64, ProfileError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let messages: Vec<String> = messages.iter().map(Uuid::to_string).collect();
        let concerned = ForgetRepository::concerned_on(db, bot, &messages).await?;
        if concerned.is_empty() {
            return Ok(0);
        }
        let forgotten = ForgetRepository::forget_on(db, bot, &messages, batch, now).await?;
        for entity in &concerned {
            ProfileRepository::touch_on(db, entity, now).await?;
        }
        Ok(forgotten)
    }

    /// Brings back what a forget operation took, inside the transaction that restores its messages. An attribute that has
    /// become known again stays as it is.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn restore_batch_on(db: &Transaction<'_>, batch: Uuid, now: Timestamp) -> Result<u64, ProfileError> {
        let bereft = ForgetRepository::bereft_on(db, batch).await?;
        if bereft.is_empty() {
            return Ok(0);
        }
        let restored = ForgetRepository::restore_on(db, batch).await?;
        for entity in &bereft {
            ProfileRepository::touch_on(db, entity, now).await?;
        }
        Ok(restored)
    }

    /// Removes what was forgotten before a time, for good. Gives the number of attributes.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn expire_forgotten_on(db: &impl GenericClient, before: Timestamp) -> Result<u64, ProfileError> {
        ForgetRepository::expire_on(db, before).await
    }

    /// Removes a bot's profile and all references to the bot inside the caller's transaction; what users are known for
    /// stays. Gives the rows removed (or, references, cleared) by table.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn purge(db: &impl GenericClient, bot: &BotSlug) -> Result<BTreeMap<String, i64>, ProfileError> {
        let [heads, attributes, references] = ProfileRepository::purge_on(db, bot).await?;
        Ok([
            ("profiles".to_owned(), heads),
            ("profile_attributes".to_owned(), attributes),
            ("profile_attributes.source_bot_id".to_owned(), references),
        ]
        .into())
    }
}
