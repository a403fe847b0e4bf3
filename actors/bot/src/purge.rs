//! Purging a bot: everything it has, in one transaction, while none of its turns runs. The profile stays.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use greenroom_memory::{Memory, Purged};
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_protocol::BotSlug;
use greenroom_scheduler::Scheduler;
use greenroom_turn::Turns;
use serde::Serialize;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::bots::{Bots, Inner};
use crate::error::BotsError;
use crate::repository::{ModelOverrideRepository, ProfileRepository, SettingRepository};

/// What a purge removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PurgeResult {
    /// The bot.
    pub slug: BotSlug,
    /// Tables of its own.
    pub dropped_tables: Vec<String>,
    /// Rows in shared tables.
    pub deleted_rows: BTreeMap<String, i64>,
}

/// What deleted bots have left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Whether it is still there.
    pub dry_run: bool,
    /// Deleted bots that left something.
    pub orphaned_bot_ids: Vec<BotSlug>,
    /// Their tables.
    pub orphan_tables: Vec<String>,
    /// Those of them that were dropped.
    pub dropped_tables: Vec<String>,
    /// Their rows in shared tables: removed, or, in a dry run, to be removed.
    pub deleted_rows: BTreeMap<String, i64>,
}

impl Bots {
    /// Purges what deleted bots have left behind. Only bots that were once deleted here count: a table that merely looks
    /// like a bot's is nobody's orphan. A dry run does all of it and takes it back.
    ///
    /// # Errors
    /// The database; nothing was removed then.
    pub async fn clean_up_orphans(&self, dry_run: bool) -> Result<Orphans, BotsError> {
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let living = ProfileRepository::all_on(&transaction).await?;
            let mut found = Orphans {
                dry_run,
                orphaned_bot_ids: Vec::new(),
                orphan_tables: Vec::new(),
                dropped_tables: Vec::new(),
                deleted_rows: BTreeMap::new(),
            };
            for (slug, _) in ProfileRepository::tombstones_on(&transaction).await? {
                if living.iter().any(|bot| bot.slug == slug) || inner.turns.is_busy(&slug) {
                    continue;
                }
                let purged = purge_rows(&transaction, &slug).await?;
                let rows: i64 = purged.deleted_rows.values().sum();
                if rows == 0 && purged.dropped_tables.is_empty() {
                    continue;
                }
                for (table, rows) in purged.deleted_rows {
                    *found.deleted_rows.entry(table).or_default() += rows;
                }
                found.orphan_tables.extend(purged.dropped_tables);
                found.orphaned_bot_ids.push(slug);
            }
            if dry_run {
                transaction.rollback().await?;
                return Ok(found);
            }
            inner.commit(transaction).await?;
            found.dropped_tables.clone_from(&found.orphan_tables);
            inner.rooms.prompts.purged();
            for slug in &found.orphaned_bot_ids {
                inner.rooms.memory.purged(slug);
            }
            Ok(found)
        })
        .await
    }

    /// Purges a bot. `force` allows a slug that no bot has; `confirm`, when given or demanded, must repeat the slug.
    ///
    /// # Errors
    /// [`BotsError::UnknownBot`], [`BotsError::Refused`] for a wrong confirmation, [`BotsError::Running`], the database.
    pub async fn purge(&self, slug: &str, force: bool, confirm: Option<&str>) -> Result<PurgeResult, BotsError> {
        let slug = BotSlug::parse(slug).map_err(|_| BotsError::UnknownBot(slug.to_owned()))?;
        if confirm.is_none() && self.inner.settings.confirm_purges {
            return Err(BotsError::Refused("confirm is required and must repeat the slug".into()));
        }
        if confirm.is_some_and(|text| BotSlug::parse(text).ok().as_ref() != Some(&slug)) {
            return Err(BotsError::Refused("confirm does not match the slug".into()));
        }
        self.complete(move |inner| async move {
            let _one_at_a_time = inner.writing().await;
            if !force && !inner.house.load().directory.get(&slug).is_some_and(|bot| bot.is_stored) {
                return Err(BotsError::UnknownBot(slug.to_string()));
            }
            let _closed = inner.closed(&slug)?;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let result = purge_rows(&transaction, &slug).await?;
            inner.commit(transaction).await?;
            inner.switches.clear(Some(&slug));
            inner.rooms.memory.purged(&slug);
            inner.rooms.prompts.purged();
            Ok(result)
        })
        .await
    }
}

impl Inner {
    /// Keeps the bot's turns from beginning as long as the guard lives.
    pub(crate) fn closed(&self, slug: &BotSlug) -> Result<Option<OwnedRwLockWriteGuard<()>>, BotsError> {
        match self.house.load().addresses.get(slug) {
            Some(address) => address.close().map(Some),
            None if self.turns.is_busy(slug) => Err(BotsError::Running(slug.clone())),
            None => Ok(None),
        }
    }
}

/// Removes the bot's rows and tables, from the top room down.
pub(crate) async fn purge_rows(transaction: &Transaction<'_>, slug: &BotSlug) -> Result<PurgeResult, BotsError> {
    let mut deleted_rows = BTreeMap::new();
    deleted_rows.insert("runtime_settings".to_owned(), SettingRepository::purge_on(transaction, slug).await?);
    let switches = ModelOverrideRepository::clear_on(transaction, Some(slug)).await?;
    deleted_rows.insert("model_overrides".to_owned(), switches);
    deleted_rows.extend(Turns::purge(transaction, slug).await?);
    let scheduled = Scheduler::purge(transaction, slug).await?;
    let edited = Prompts::purge(transaction, slug).await?;
    let counted = |(table, rows): (&'static str, u64)| (table.to_owned(), i64::try_from(rows).unwrap_or(i64::MAX));
    deleted_rows.extend(scheduled.into_iter().chain(edited).map(counted));
    deleted_rows.extend(Profiles::purge(transaction, slug).await?);
    let Purged { dropped_tables, deleted_rows: remembered } = Memory::purge(transaction, slug).await?;
    deleted_rows.extend(remembered);
    Ok(PurgeResult { slug: slug.clone(), dropped_tables, deleted_rows })
}
