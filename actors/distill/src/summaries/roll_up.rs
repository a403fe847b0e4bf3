//! Roll-ups: the oldest summaries of a long past folded into one (memory.md §13.9). Only a model can do it; until there is
//! one the parts simply stay.

use greenroom_memory::summaries::{Covers, Method, NewSummary, Summary, SummaryError};
use uuid::Uuid;

use super::pass::Pass;
use super::{MOST_REDONE, SummarizeError, SummarySettings, told};

impl Pass {
    /// Writes stale roll-ups again, then folds while there are too many loose summaries.
    pub(super) async fn roll_up(&mut self, settings: &SummarySettings) -> Result<(), SummarizeError> {
        for id in self.namespace.stale_summaries(1, MOST_REDONE).await? {
            let parts = self.namespace.roll_up_parts(id).await?;
            if parts.is_empty() {
                self.delete(id).await?;
            } else if !self.fold(&parts, vec![id]).await? {
                return Ok(());
            }
        }
        if settings.rollup_after == 0 {
            return Ok(());
        }
        let keep = i64::try_from(settings.rollup_after).unwrap_or(i64::MAX);
        let size = i64::try_from(settings.rollup_size.clamp(2, 50)).unwrap_or(50);
        loop {
            let parts = self.namespace.summaries_to_roll_up(self.per_user(), keep, size).await?;
            if parts.len() < 2 || !self.fold(&parts, Vec::new()).await? {
                return Ok(());
            }
        }
    }

    /// Folds these summaries into one; false when there is no use in going on.
    async fn fold(&mut self, parts: &[Summary], replaces: Vec<Uuid>) -> Result<bool, SummarizeError> {
        let Some(writer) = self.writer().filter(|writer| !writer.cancel.is_cancelled()) else { return Ok(false) };
        let alias = writer.completer.alias().to_owned();
        let sections = match writer.fold(parts).await {
            Ok(sections) => sections,
            Err(error) => {
                let since = parts.first().map_or_else(String::new, |part| told(part.start));
                self.note(format!("roll-up from {since}: {error}"));
                return Ok(false);
            }
        };
        let users: std::collections::HashSet<_> = parts.iter().map(|part| &part.user).collect();
        let user = parts.first().filter(|_| users.len() == 1).and_then(|part| part.user.clone());
        let new = NewSummary {
            covers: Covers::Summaries(parts.iter().map(|part| part.id).collect()),
            replaces,
            user,
            sections,
            method: Method::Llm,
            model: Some(alias),
            parts: i16::try_from(parts.len()).unwrap_or(i16::MAX),
        };
        match self.namespace.commit_summary(new).await {
            Ok(_) => {
                self.result().roll_ups += 1;
                Ok(true)
            }
            Err(SummaryError::Outdated) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
