//! Tidying a bot's memory (memory.md §10): merging, themes, fading, orphans, expiry. Each part stands alone; a part that
//! fails is named in the result, and the next one runs.

use greenroom_memory::upkeep::{FadeRules, Fading, Orphans, RecurrenceRules, Themes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::brief::BotBrief;
use crate::consolidation::ConsolidateOptions;
use crate::distill::Distill;
use crate::error::DistillError;

/// Half-life of a memory that does not fade, in days: longer than anybody remembers.
const NEVER: f64 = 1e9;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaintenanceFlags {
    /// Merge near-duplicates.
    pub run_consolidation: bool,
    /// Look for what keeps coming up.
    pub run_recurrence_detection: bool,
    /// Let faded memories go.
    pub run_decay_pruning: bool,
    /// Look for memories whose sources are gone.
    pub run_orphan_cleanup: bool,
    /// Change nothing.
    pub dry_run: bool,
}

impl Default for MaintenanceFlags {
    fn default() -> Self {
        Self {
            run_consolidation: true,
            run_recurrence_detection: true,
            run_decay_pruning: false,
            run_orphan_cleanup: false,
            dry_run: false,
        }
    }
}

/// What was done, in the task's shape (http-api.md §14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MaintenanceResult {
    /// Groups that were merged.
    pub consolidation_clusters_merged: usize,
    /// Their members.
    pub consolidation_memories_consolidated: usize,
    /// Themes that keep coming up.
    pub recurrence_themes_detected: usize,
    /// Memories that were tagged or lifted.
    pub recurrence_memories_tagged: u64,
    /// Memories that faded.
    pub decay_memories_archived: usize,
    /// Memories whose sources are gone.
    pub orphans_cleaned: usize,
    /// `part: why`, for each part that failed.
    pub errors: Vec<String>,
    /// Nothing was changed.
    pub dry_run: bool,
}

impl Distill {
    /// Does what the flags say.
    pub async fn maintain(
        &self,
        brief: &BotBrief,
        flags: &MaintenanceFlags,
        cancel: &CancellationToken,
    ) -> MaintenanceResult {
        let mut result = MaintenanceResult { dry_run: flags.dry_run, ..MaintenanceResult::default() };
        if !brief.requires_memory {
            return result;
        }
        if flags.run_consolidation && !cancel.is_cancelled() {
            let options = ConsolidateOptions { dry_run: flags.dry_run, ..ConsolidateOptions::default() };
            match self.consolidate(brief, &options, cancel).await {
                Ok(done) => {
                    result.consolidation_clusters_merged = done.clusters_merged;
                    result.consolidation_memories_consolidated = done.memories_consolidated;
                    result.errors.extend(done.errors.iter().map(|why| format!("consolidation: {why}")));
                }
                Err(error) => result.errors.push(format!("consolidation: {error}")),
            }
        }
        if flags.run_recurrence_detection && !cancel.is_cancelled() {
            match self.find_themes(brief, flags.dry_run).await {
                Ok(found) => {
                    result.recurrence_themes_detected = found.themes.len();
                    result.recurrence_memories_tagged = found.memories;
                }
                Err(error) => result.errors.push(format!("recurrence: {error}")),
            }
        }
        if flags.run_decay_pruning && !cancel.is_cancelled() {
            match self.fade(brief, flags.dry_run).await {
                Ok(faded) => result.decay_memories_archived = faded.ids.len(),
                Err(error) => result.errors.push(format!("decay: {error}")),
            }
        }
        if flags.run_orphan_cleanup && !cancel.is_cancelled() {
            match self.clean_orphans(brief, flags.dry_run).await {
                Ok(orphans) => result.orphans_cleaned = orphans.ids.len(),
                Err(error) => result.errors.push(format!("orphans: {error}")),
            }
        }
        result
    }

    /// Lets faded memories go.
    ///
    /// # Errors
    /// [`DistillError::Memory`], with nothing done when too many would go at once.
    pub async fn fade(&self, brief: &BotBrief, dry_run: bool) -> Result<Fading, DistillError> {
        let decay = brief.settings.decay;
        let rules = FadeRules {
            half_life_days: if decay.enabled { decay.half_life_days } else { NEVER },
            access_boost: decay.access_boost,
            threshold: self.rules().upkeep.prune_threshold,
        };
        Ok(brief.namespace.fade(rules, Timestamp::now(), dry_run).await?)
    }

    /// Tags and lifts what keeps coming up.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn find_themes(&self, brief: &BotBrief, dry_run: bool) -> Result<Themes, DistillError> {
        let rules = RecurrenceRules { days: self.rules().upkeep.recurrence_days.max(1), ..RecurrenceRules::default() };
        Ok(brief.namespace.find_themes(rules, Timestamp::now(), dry_run).await?)
    }

    /// Buries memories whose sources are gone.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn clean_orphans(&self, brief: &BotBrief, dry_run: bool) -> Result<Orphans, DistillError> {
        Ok(brief.namespace.clean_orphans(dry_run).await?)
    }

    /// Deletes tombstones of memories that are too old to be restored. Gives their number.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn expire_tombstones(&self, brief: &BotBrief, dry_run: bool) -> Result<u64, DistillError> {
        Ok(brief.namespace.expire_tombstones(Timestamp::now(), dry_run).await?)
    }

    /// Whether merging has anything to do: memories changed since the last success. Else why not.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn consolidation_gate(
        &self,
        brief: &BotBrief,
        last_success: Option<Timestamp>,
    ) -> Result<Result<(), String>, DistillError> {
        let Some(changed) = brief.namespace.memories_changed_at().await? else {
            return Ok(Err("the bot has no memories".into()));
        };
        if last_success.is_some_and(|last| changed <= last) {
            return Ok(Err("no memory changed since the last run".into()));
        }
        Ok(Ok(()))
    }

    /// Whether there is anything that could fade, come up again or have lost its source. Else why not.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn memories_gate(&self, brief: &BotBrief) -> Result<Result<(), String>, DistillError> {
        match brief.namespace.active_memories().await? {
            0 => Ok(Err("the bot has no memories".into())),
            _ => Ok(Ok(())),
        }
    }
}
