//! What a namespace can do with summaries. Reads go to the pool; changes are exclusive commands of the namespace, one
//! transaction each.

use std::collections::HashSet;

use greenroom_protocol::UserId;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::conversation::{joined, pieces};
use super::{
    CommittedSummary, Conversation, DeletedSummary, NewSummary, Position, RecalledSummary, Rules, SourceMessage,
    SourceRow, Summary, SummaryError, group, plan,
};
use crate::repository::{SummaryRepository, SummarySources, SummaryWriter, far_future};
use crate::{MemoryError, Namespace, SaidMessage};

/// Messages looked at in one step of planning.
pub const PAGE_ROWS: i64 = 5_000;
/// Most messages that a rebuild looks through; older ones keep their summaries.
const MOST_REBUILT: usize = 200_000;
/// Most messages that one recall gives.
pub const MOST_RECALLED: i64 = 2_000;
/// Most messages behind one summary that are read to write it again.
const MOST_COVERED: i64 = 10_000;
/// A conversation that reaches over the end of a rebuild's time range is followed for so long.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// Which conversations a rebuild is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebuildScope {
    /// So many, the newest by their end; 0 means all.
    pub sessions: usize,
    /// Only those that end at or after it.
    pub start: Option<Timestamp>,
    /// Only those that begin at or before it.
    pub end: Option<Timestamp>,
}

/// How many summaries wait for the summariser, each counted up to a small limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Stale ones of conversations.
    pub stale: usize,
    /// Stale roll-ups.
    pub stale_roll_ups: usize,
    /// Makeshift ones whose time has come.
    pub makeshift: usize,
    /// Ones that could be folded into a roll-up.
    pub roll_up: usize,
}

impl Namespace {
    /// Summaries of all levels, newest end first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summaries(&self, limit: i64) -> Result<Vec<Summary>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::list_on(&db, self.bot(), limit.max(0)).await
    }

    /// How many summaries there are.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summary_count(&self) -> Result<i64, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::count_on(&db, self.bot()).await
    }

    /// The summary of an id or of the beginning of one, at least eight hexadecimal digits long.
    ///
    /// # Errors
    /// [`SummaryError::BadReference`], [`SummaryError::Ambiguous`], [`SummaryError::NotFound`], [`SummaryError::Store`].
    pub async fn summary(&self, reference: &str) -> Result<Summary, SummaryError> {
        let id = self.summary_id(reference).await?;
        let db = self.store().connection().await?;
        let mut found = SummaryRepository::get_on(&db, self.bot(), &[id]).await?;
        found.pop().ok_or(SummaryError::NotFound)
    }

    async fn summary_id(&self, reference: &str) -> Result<Uuid, SummaryError> {
        let (first, last) = range(reference).ok_or(SummaryError::BadReference)?;
        if first == last {
            return Ok(first);
        }
        let db = self.store().connection().await?;
        let mut found = SummaryRepository::between_on(&db, self.bot(), first, last, 10).await?;
        match found.len() {
            0 => Err(SummaryError::NotFound),
            1 => Ok(found.remove(0)),
            _ => Err(SummaryError::Ambiguous { candidates: found }),
        }
    }

    /// The newest messages that context may show, newest first, older than `before`: those without a summary, and those
    /// whose summary is stale.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn visible_messages(
        &self,
        user: Option<&UserId>,
        before: Option<Position>,
        limit: i64,
    ) -> Result<Vec<SaidMessage>, MemoryError> {
        let db = self.store().connection().await?;
        let before = before.unwrap_or((far_future(), i64::MAX));
        SummarySources::visible_on(&db, self.bot(), user, before, limit).await
    }

    /// The newest `limit` active summaries, before them the newest roll-up unless all it tells is among them; oldest
    /// first. For a bot with one history per user, `user` says whose.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summaries_for_context(&self, user: Option<&UserId>, limit: u32) -> Result<Vec<Summary>, SummaryError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let db = self.store().connection().await?;
        let mut found = SummaryRepository::for_context_on(&db, self.bot(), user, limit.into()).await?;
        let told = |roll_up: Uuid| found.iter().filter(|summary| summary.parent == Some(roll_up)).count();
        let known: HashSet<Uuid> = found
            .iter()
            .filter(|summary| summary.level == 1 && told(summary.id) >= usize::try_from(summary.parts).unwrap_or(0))
            .map(|summary| summary.id)
            .collect();
        found.retain(|summary| !known.contains(&summary.id));
        found.sort_by_key(|summary| (summary.level == 0, summary.end, summary.id));
        Ok(found)
    }

    /// The messages behind a summary, or behind the summaries of a roll-up; `mark` notes that they were recalled.
    ///
    /// # Errors
    /// As [`Self::summary`]; [`SummaryError::Memory`].
    pub async fn recall_summary(&self, reference: &str, mark: bool) -> Result<RecalledSummary, SummaryError> {
        let summary = self.summary(reference).await?;
        let mut messages = {
            let db = self.store().connection().await?;
            let ids = match summary.level {
                0 => vec![summary.id],
                _ => SummaryRepository::children_on(&db, self.bot(), summary.id).await?.iter().map(|s| s.id).collect(),
            };
            SummarySources::behind_on(&db, self.bot(), &ids, MOST_RECALLED + 1).await?
        };
        let most = usize::try_from(MOST_RECALLED).unwrap_or(usize::MAX);
        let truncated = messages.len() > most;
        messages.truncate(most);
        if mark && !messages.is_empty() {
            let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
            let now = Timestamp::now();
            self.exclusive("mark recalled", move |x| {
                Box::pin(async move { SummaryWriter::mark_recalled_on(x.db, x.bot, &ids, now).await })
            })
            .await?;
        }
        Ok(RecalledSummary { summary, messages, truncated })
    }

    /// Deletes a summary; see [`DeletedSummary`].
    ///
    /// # Errors
    /// As [`Self::summary`].
    pub async fn delete_summary(&self, reference: &str) -> Result<DeletedSummary, SummaryError> {
        let id = self.summary_id(reference).await?;
        self.exclusive("delete summary", move |x| {
            Box::pin(async move { SummaryWriter::delete_on(x.db, x.bot, id).await })
        })
        .await
    }

    /// Stores a summary; see [`NewSummary`].
    ///
    /// # Errors
    /// [`SummaryError::Outdated`] when what it covers has changed since it was read: nothing was stored;
    /// [`SummaryError::Empty`], [`SummaryError::Store`].
    pub async fn commit_summary(&self, new: NewSummary) -> Result<CommittedSummary, SummaryError> {
        let now = Timestamp::now();
        self.exclusive("commit summary", move |x| {
            Box::pin(async move { SummaryWriter::commit_on(x.db, x.bot, &new, now).await })
        })
        .await
    }

    /// A model failed over a makeshift summary: it is tried again a day later.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn postpone_summary(&self, id: Uuid) -> Result<(), SummaryError> {
        let db = self.store().connection().await?;
        SummaryWriter::postpone_on(&db, self.bot(), id, Timestamp::now()).await
    }

    /// What is to be summarised now, oldest first, at most what one page of messages holds; empty when nothing is due.
    /// Conversations in `failed`, by their first message, are passed over.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn eligible_sessions(
        &self,
        rules: &Rules,
        failed: &HashSet<Uuid>,
    ) -> Result<Vec<Conversation>, SummaryError> {
        let now = Timestamp::now();
        let db = self.store().connection().await?;
        let mut due = Vec::new();
        for user in self.histories(&db, rules).await? {
            let window = SummarySources::window_on(&db, self.bot(), user.as_ref(), rules).await?;
            if window.total > rules.high_water() {
                let rows = SummarySources::oldest_visible_on(&db, self.bot(), user.as_ref(), PAGE_ROWS).await?;
                let more = i64::try_from(rows.len()).is_ok_and(|len| len >= PAGE_ROWS);
                due.extend(plan(rows, more, &window, rules, failed, now));
            }
        }
        Ok(due)
    }

    /// Whose histories there are: each user's, or one of all.
    async fn histories(
        &self,
        db: &impl deadpool_postgres::GenericClient,
        rules: &Rules,
    ) -> Result<Vec<Option<UserId>>, SummaryError> {
        Ok(match (rules.budget, rules.per_user) {
            (0, _) => Vec::new(),
            (_, false) => vec![None],
            (_, true) => SummarySources::users_on(db, self.bot()).await?.into_iter().map(Some).collect(),
        })
    }

    /// Conversations to summarise again, newest end first: those behind summaries and those that are due.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn rebuildable_sessions(
        &self,
        rules: &Rules,
        scope: &RebuildScope,
    ) -> Result<Vec<Conversation>, SummaryError> {
        let db = self.store().connection().await?;
        let mut sessions = Vec::new();
        for user in self.histories(&db, rules).await? {
            let window = SummarySources::window_on(&db, self.bot(), user.as_ref(), rules).await?;
            let overflow = window.overflow.filter(|_| window.total > rules.high_water());
            let rows = self.rebuildable_rows(&db, rules, scope, user.as_ref(), overflow).await?;
            sessions.extend(joined(group(rows, rules.session_gap), rules.min_messages));
        }
        sessions.retain(|session| {
            scope.start.is_none_or(|start| session.end() >= start) && scope.end.is_none_or(|end| session.start() <= end)
        });
        sessions.sort_by_key(|session| std::cmp::Reverse((session.end(), session.start())));
        if scope.sessions > 0 {
            sessions.truncate(scope.sessions);
        }
        Ok(sessions.into_iter().flat_map(pieces).collect())
    }

    /// Rows for a rebuild, oldest first: as far back as the wished number of conversations takes.
    async fn rebuildable_rows(
        &self,
        db: &impl deadpool_postgres::GenericClient,
        rules: &Rules,
        scope: &RebuildScope,
        user: Option<&UserId>,
        overflow: Option<Position>,
    ) -> Result<Vec<SourceRow>, SummaryError> {
        let end = scope.end.and_then(|end| end.checked_add(MARGIN).ok());
        let start = scope.start.and_then(|start| start.checked_sub(MARGIN).ok());
        let mut before = (end.unwrap_or_else(far_future).min(far_future()), i64::MAX);
        let mut rows: Vec<SourceRow> = Vec::new();
        loop {
            let page = SummarySources::rebuildable_on(db, self.bot(), user, overflow, before, PAGE_ROWS).await?;
            let short = i64::try_from(page.len()).is_ok_and(|len| len < PAGE_ROWS);
            rows.extend(page);
            let Some(oldest) = rows.last() else { break };
            before = (oldest.ts, oldest.seq);
            // The oldest conversation may go on behind the page, so one more than wished must be in sight.
            let enough = || {
                let found = group(rows.iter().rev().cloned().collect(), rules.session_gap);
                let wanted = found.iter().filter(|session| scope.end.is_none_or(|end| session.start() <= end)).count();
                scope.sessions > 0 && wanted > scope.sessions
            };
            if short || rows.len() >= MOST_REBUILT || start.is_some_and(|start| before.0 < start) || enough() {
                break;
            }
        }
        rows.reverse();
        Ok(rows)
    }

    /// Texts of messages, oldest first; those that are gone are left out.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn source_texts(&self, ids: &[Uuid]) -> Result<Vec<SourceMessage>, SummaryError> {
        let db = self.store().connection().await?;
        SummarySources::texts_on(&db, self.bot(), ids).await
    }

    /// The conversation behind a summary, as material to write it again; `None` when nothing is left of it.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn covered_session(&self, summary: Uuid) -> Result<Option<Conversation>, SummaryError> {
        let db = self.store().connection().await?;
        let rows = SummarySources::covered_on(&db, self.bot(), summary, MOST_COVERED).await?;
        let user = rows.first().and_then(|row| row.user.clone());
        Ok((!rows.is_empty()).then_some(Conversation { user, rows }))
    }

    /// Stale summaries of a level, oldest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn stale_summaries(&self, level: i16, limit: i64) -> Result<Vec<Uuid>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::stale_on(&db, self.bot(), level, limit).await
    }

    /// Summaries that were made by rule and should now be written by a model, newest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn makeshift_summaries(&self, limit: i64) -> Result<Vec<Uuid>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::makeshift_on(&db, self.bot(), Timestamp::now(), limit).await
    }

    /// Summaries to fold into one roll-up, oldest first: the oldest `fold` of a history that has more than `keep` which no
    /// roll-up has taken in. Empty when there is none.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summaries_to_roll_up(
        &self,
        per_user: bool,
        keep: i64,
        fold: i64,
    ) -> Result<Vec<Summary>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::to_roll_up_on(&db, self.bot(), per_user, keep, fold).await
    }

    /// The summaries that a roll-up took in, oldest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn roll_up_parts(&self, roll_up: Uuid) -> Result<Vec<Summary>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::children_on(&db, self.bot(), roll_up).await
    }

    /// What waits beside eligible conversations.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summaries_waiting(&self, per_user: bool, keep: i64) -> Result<Waiting, SummaryError> {
        let db = self.store().connection().await?;
        let bot = self.bot();
        Ok(Waiting {
            stale: SummaryRepository::stale_on(&db, bot, 0, 1).await?.len(),
            stale_roll_ups: SummaryRepository::stale_on(&db, bot, 1, 1).await?.len(),
            makeshift: SummaryRepository::makeshift_on(&db, bot, Timestamp::now(), 1).await?.len(),
            roll_up: SummaryRepository::to_roll_up_on(&db, bot, per_user, keep, 1).await?.len(),
        })
    }

    /// Summaries of messages that lie within a time and were last written before `before`.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn summaries_within(
        &self,
        period: (Timestamp, Timestamp),
        before: Timestamp,
    ) -> Result<Vec<Uuid>, SummaryError> {
        let db = self.store().connection().await?;
        SummaryRepository::within_on(&db, self.bot(), period, before).await
    }
}

/// The ids that a reference can mean: a whole id, or eight and more of its digits.
fn range(reference: &str) -> Option<(Uuid, Uuid)> {
    let reference = reference.trim();
    if let Ok(id) = Uuid::parse_str(reference) {
        return Some((id, id));
    }
    let mut digits = String::with_capacity(32);
    for letter in reference.chars().take(40) {
        match letter {
            '-' => {}
            letter if letter.is_ascii_hexdigit() && digits.len() < 32 => digits.push(letter),
            _ => return None,
        }
    }
    if digits.len() < 8 || reference.chars().count() > 36 {
        return None;
    }
    let first = Uuid::parse_str(&format!("{digits:0<32}")).ok()?;
    let last = Uuid::parse_str(&format!("{digits:f<32}")).ok()?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_ids_or_long_enough_beginnings() {
        let (first, last) = range("1a2b3c4d-0").expect("a beginning");
        assert!(first.to_string().starts_with("1a2b3c4d-0000-") && last.to_string().starts_with("1a2b3c4d-0fff-"));
        let id = Uuid::new_v4();
        assert_eq!(range(&format!(" {id} ")), Some((id, id)));
        let too_long = format!("{}x", Uuid::nil());
        for bad in ["", "%", "_", "1a2b3c4", "1a2b3c4g", "1a2b3c4d%", "--------", too_long.as_str(), &"a".repeat(99)] {
            assert_eq!(range(bad), None, "{bad:?}");
        }
    }
}
