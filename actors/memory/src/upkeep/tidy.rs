//! Fading, themes and orphans (memory.md §10). Each is one set of rows, found by one statement; a dry run asks the same
//! statement. What goes becomes tombstones in the same transaction.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::exclusive::Exclusive;
use crate::memories::{Reach, TombstoneReason, tombstone_on};
use crate::namespace::Namespace;
use crate::repository::{ExtractionLog, TidyRepository};
use crate::{Memory, MemoryError};

/// Most memories that one run lets fade.
const MOST_FADING: i64 = 500;
/// Share of a bot's memories that one run may let fade; more is an error of arithmetic or of clocks.
const MOST_FADING_SHARE: f64 = 0.2;
/// Tombstones of memories are kept this long.
const TOMBSTONES_KEPT: SignedDuration = SignedDuration::from_hours(24 * 180);
/// The record of extraction is kept this long.
const RECORD_KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// When a memory has faded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FadeRules {
    /// Days after which half is left, before the primary tag's multiplier.
    pub half_life_days: f64,
    /// What each recall adds, times ln(1 + recalls).
    pub access_boost: f64,
    /// Effective importance below which a memory goes (`MEMORY_PRUNE_THRESHOLD`).
    pub threshold: f64,
}

impl Default for FadeRules {
    fn default() -> Self {
        Self { half_life_days: 90.0, access_boost: 0.15, threshold: 0.05 }
    }
}

/// What faded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fading {
    /// The memories.
    pub ids: Vec<Uuid>,
    /// Their batch among the tombstones; `None` in a dry run or when there was nothing.
    pub batch: Option<Uuid>,
}

/// When something keeps coming up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecurrenceRules {
    /// Distinct days on which a keyword must have come up (`MEMORY_RECURRENCE_THRESHOLD`).
    pub days: i64,
    /// Share of the bot's memories above which a keyword says nothing; counts from twenty memories on.
    pub common_share: f64,
}

impl Default for RecurrenceRules {
    fn default() -> Self {
        Self { days: 3, common_share: 0.2 }
    }
}

/// Something that keeps coming up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Theme {
    /// The keyword.
    pub theme: String,
    /// Days on which it came up.
    pub days: i64,
    /// Memories that have it.
    pub memories: i64,
}

/// What keeps coming up, and what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Themes {
    /// The themes.
    pub themes: Vec<Theme>,
    /// Memories that got the tag `recurring` or more importance, or would have.
    pub memories: u64,
}

/// What has lost its sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Memories none of whose sources exists: they became tombstones.
    pub ids: Vec<Uuid>,
    /// Memories that lost some sources.
    pub trimmed: u64,
    /// Their batch among the tombstones.
    pub batch: Option<Uuid>,
}

impl Namespace {
    /// Lets memories go whose effective importance fell below the threshold. Never: what is pinned, defines a life
    /// (importance 0.95 and more), made a profile attribute, or is younger than 30 days since it last mattered.
    ///
    /// # Errors
    /// [`MemoryError::Conflict`], with nothing done, when more than 500 or a fifth of the memories would go;
    /// [`MemoryError`].
    pub async fn fade(&self, rules: FadeRules, now: Timestamp, dry_run: bool) -> Result<Fading, MemoryError> {
        if dry_run {
            let db = self.store().connection().await?;
            let ids = faded(TidyRepository::faded_on(&db, self.bot(), &rules, now, MOST_FADING + 1).await?)?;
            return Ok(Fading { ids, batch: None });
        }
        self.exclusive("fade", move |x: &mut Exclusive<'_>| {
            Box::pin(async move {
                let ids = faded(TidyRepository::faded_on(x.db, x.bot, &rules, now, MOST_FADING + 1).await?)?;
                let batch = bury(x, &ids, TombstoneReason::Decay).await?;
                Ok(Fading { ids, batch })
            })
        })
        .await
    }

    /// Finds keywords that come up on many days, tags their memories `recurring` and lifts their importance a little: once
    /// for each theme and 30 days, never above 0.9.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn find_themes(
        &self,
        rules: RecurrenceRules,
        now: Timestamp,
        dry_run: bool,
    ) -> Result<Themes, MemoryError> {
        let ignored = ignored_keywords();
        let db = self.store().connection().await?;
        let mut themes = TidyRepository::themes_on(&db, self.bot(), &rules, &ignored).await?;
        themes.retain(|theme| !greenroom_lexicon::terms(&theme.theme).is_empty());
        let words: Vec<String> = themes.iter().map(|theme| theme.theme.clone()).collect();
        if dry_run || words.is_empty() {
            let memories = TidyRepository::with_themes_on(&db, self.bot(), &words).await?;
            return Ok(Themes { themes, memories: u64::try_from(memories).unwrap_or(0) });
        }
        drop(db);
        let memories = self
            .exclusive("themes", move |x: &mut Exclusive<'_>| {
                Box::pin(async move {
                    let changed = TidyRepository::bump_on(x.db, x.bot, &words, now).await?;
                    let count = changed.len() as u64;
                    x.changes.memories(changed);
                    Ok::<_, MemoryError>(count)
                })
            })
            .await?;
        Ok(Themes { themes, memories })
    }

    /// Buries memories none of whose sources exists any more, not even as a tombstone, and removes dead sources from the
    /// others.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn clean_orphans(&self, dry_run: bool) -> Result<Orphans, MemoryError> {
        if dry_run {
            let db = self.store().connection().await?;
            let (ids, partly) = TidyRepository::orphans_on(&db, self.bot()).await?;
            return Ok(Orphans { ids, trimmed: partly.len() as u64, batch: None });
        }
        self.exclusive("orphans", |x: &mut Exclusive<'_>| {
            Box::pin(async move {
                let (ids, partly) = TidyRepository::orphans_on(x.db, x.bot).await?;
                let trimmed = TidyRepository::trim_sources_on(x.db, x.bot, &partly).await?;
                let batch = bury(x, &ids, TombstoneReason::Orphan).await?;
                Ok(Orphans { ids, trimmed, batch })
            })
        })
        .await
    }

    /// Deletes tombstones of memories that are older than 180 days. Gives their number. Those of messages stay.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn expire_tombstones(&self, now: Timestamp, dry_run: bool) -> Result<u64, MemoryError> {
        let before = now.checked_sub(TOMBSTONES_KEPT).unwrap_or(Timestamp::MIN);
        let db = self.store().connection().await?;
        TidyRepository::expire_tombstones_on(&db, self.bot(), before, dry_run).await
    }

    /// How many memories are active.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn active_memories(&self) -> Result<i64, MemoryError> {
        let db = self.store().connection().await?;
        TidyRepository::active_on(&db, self.bot()).await
    }

    /// When a memory last changed; `None` when there is none.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn memories_changed_at(&self) -> Result<Option<Timestamp>, MemoryError> {
        let db = self.store().connection().await?;
        TidyRepository::changed_at_on(&db, self.bot()).await
    }
}

impl Memory {
    /// Deletes rows of the record of extraction that are older than 90 days, of all bots. Gives their number.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn expire_extraction_log(&self, now: Timestamp) -> Result<u64, MemoryError> {
        let before = now.checked_sub(RECORD_KEPT).unwrap_or(Timestamp::MIN);
        let db = self.store().connection().await?;
        ExtractionLog::expire_on(&db, before).await
    }
}

/// Refuses what cannot be right.
fn faded((ids, active): (Vec<Uuid>, i64)) -> Result<Vec<Uuid>, MemoryError> {
    #[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]
    let share = ids.len() as f64 / (active.max(1)) as f64;
    // Of a handful of memories a single one may be more than the share.
    if ids.len() as u64 > MOST_FADING.unsigned_abs() || (ids.len() > 1 && share > MOST_FADING_SHARE) {
        return Err(MemoryError::Conflict(format!(
            "{} of {active} memories would go at once, which is more than a run may remove",
            ids.len()
        )));
    }
    Ok(ids)
}

async fn bury(x: &mut Exclusive<'_>, ids: &[Uuid], reason: TombstoneReason) -> Result<Option<Uuid>, MemoryError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let batch = Uuid::new_v4();
    tombstone_on(x, ids, (reason, None), batch, Reach::WholeChain).await?;
    Ok(Some(batch))
}

/// Keywords that are tags and not themes.
fn ignored_keywords() -> Vec<String> {
    let tags = [
        "preference",
        "fact",
        "event",
        "plan",
        "professional",
        "health",
        "relationship",
        "misc",
        "recurring",
        "pinned",
        "user",
    ];
    tags.iter().map(ToString::to_string).collect()
}
