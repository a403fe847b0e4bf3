//! Claiming messages for fact extraction (memory.md §8.2). A claim is a lease: its end, stored with the rows, is also the
//! token that a commit must show. Deliberately absent: choosing what in a window is worth remembering.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_protocol::{Role, UserId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::exclusive::Exclusive;
use crate::memories::PreparedMemory;
use crate::namespace::Namespace;
use crate::repository::ExtractionClaims;
use crate::{Memory, MemoryError, budget};

/// Failed attempts after which messages are left alone until somebody asks for them again.
pub(crate) const MOST_ATTEMPTS: i32 = 3;

/// What makes a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRules {
    /// Most messages.
    pub rows: usize,
    /// Most estimated tokens; one message is taken even if it is longer.
    pub tokens: usize,
    /// Preceding messages that are shown for context.
    pub context: usize,
    /// Age from which a message is taken though its turn may still be running.
    pub settled: Duration,
    /// How long the claim holds.
    pub lease: Duration,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self { rows: 50, tokens: 6000, context: 4, settled: Duration::from_secs(30), lease: Duration::from_secs(600) }
    }
}

/// A message in a window. A very long one is cut in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowMessage {
    /// Row id.
    pub id: Uuid,
    /// User or assistant.
    pub role: Role,
    /// The text, at most about 4,000 tokens of it.
    pub content: String,
    /// Event time.
    pub ts: Timestamp,
}

/// Messages of one session and one user, claimed together, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What was claimed.
    pub messages: Vec<WindowMessage>,
    /// What came before and was dealt with already: for context only.
    pub context: Vec<WindowMessage>,
    /// Who spoke.
    pub user: Option<UserId>,
    /// End of the lease, and the token of the claim.
    pub(crate) lease: Timestamp,
}

impl Window {
    /// Ids of the claimed messages.
    #[must_use]
    pub fn ids(&self) -> Vec<Uuid> {
        self.messages.iter().map(|message| message.id).collect()
    }

    /// When the claim ends by itself.
    #[must_use]
    pub fn lease(&self) -> Timestamp {
        self.lease
    }
}

impl Namespace {
    /// Claims the oldest window of messages that wait for extraction; `None` when there is nothing to claim. Leases of
    /// this bot that ran out are given free first.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn claim_window(&self, rules: &ClaimRules, now: Timestamp) -> Result<Option<Window>, MemoryError> {
        let mut db = self.store().connection().await?;
        ExtractionClaims::recover_on(&db, Some(self.bot()), now).await?;
        let transaction = db.transaction().await?;
        let Some((head, mut rows)) = ExtractionClaims::lock_window_on(&transaction, self.bot(), rules, now).await?
        else {
            return Ok(None);
        };
        let mut spent = 0;
        let fitting = rows.iter().position(|(message, _)| {
            spent += budget::estimate_row(&message.content);
            spent > rules.tokens
        });
        rows.truncate(fitting.unwrap_or(rows.len()).max(1));
        let Some(first) = rows.first().map(|(message, seq)| (message.ts, *seq)) else { return Ok(None) };
        let messages: Vec<WindowMessage> = rows.into_iter().map(|(message, _)| message).collect();
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        let until = now.checked_add(rules.lease).unwrap_or(now);
        let lease = ExtractionClaims::claim_on(&transaction, self.bot(), &ids, until).await?;
        let context = ExtractionClaims::context_on(&transaction, self.bot(), &head, first, rules.context).await?;
        transaction.commit().await?;
        Ok(Some(Window { messages, context, user: head.user, lease }))
    }

    /// Gives a claim back. `failed` counts as an attempt: the next one waits, and the third failure is the last. Without
    /// it the messages wait as if they had never been claimed.
    ///
    /// # Errors
    /// [`MemoryError::Store`]; the lease then runs out by itself.
    pub async fn release_window(&self, window: &Window, failed: bool, now: Timestamp) -> Result<(), MemoryError> {
        let db = self.store().connection().await?;
        ExtractionClaims::release_on(&db, self.bot(), &window.ids(), window.lease, failed, now).await
    }

    /// How many messages could be claimed now; counting stops at 1,000.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn waiting_for_extraction(&self, now: Timestamp) -> Result<i64, MemoryError> {
        let db = self.store().connection().await?;
        ExtractionClaims::waiting_on(&db, self.bot(), now).await
    }

    /// Lets messages whose extraction failed for good wait again. Gives their number.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn requeue_extraction(&self) -> Result<u64, MemoryError> {
        let db = self.store().connection().await?;
        ExtractionClaims::requeue_on(&db, self.bot()).await
    }
}

impl Memory {
    /// Frees messages of all bots whose claim ran out: their extractor died. Gives their number.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn recover_claims(&self, now: Timestamp) -> Result<u64, MemoryError> {
        let db = self.store().connection().await?;
        ExtractionClaims::recover_on(&db, None, now).await
    }
}

/// Marks a window as done inside a command. Gives the messages that are still there: what was forgotten in the meantime is
/// no source any more.
///
/// # Errors
/// [`MemoryError::Conflict`] when the lease ran out and the messages are somebody else's; [`MemoryError::Store`].
pub async fn finish_window_on(x: &Exclusive<'_>, window: &Window) -> Result<Vec<Uuid>, MemoryError> {
    let (ours, lost) = ExtractionClaims::finish_on(x.db, x.bot, &window.ids(), window.lease).await?;
    if lost > 0 {
        return Err(MemoryError::Conflict("the claim on the messages ran out".into()));
    }
    Ok(ours)
}

impl PreparedMemory {
    /// Keeps only sources that still exist. False when the memory had sources and none is left: nothing says it any more.
    pub fn keep_sources(&mut self, present: &HashSet<Uuid>) -> bool {
        let had = !self.draft.sources.is_empty();
        self.draft.sources.retain(|id| present.contains(id));
        !had || !self.draft.sources.is_empty()
    }
}

/// Which of these memories are still active.
///
/// # Errors
/// [`MemoryError::Store`].
pub async fn still_active_on(x: &Exclusive<'_>, ids: &[Uuid]) -> Result<HashSet<Uuid>, MemoryError> {
    crate::repository::NearRepository::active_of_on(x.db, x.bot, ids).await
}

/// Marks every message that a summary covers as done, if it still waits: the summary's facts stand for them.
///
/// # Errors
/// [`MemoryError::Store`].
pub async fn finish_covered_on(x: &Exclusive<'_>, summary: Uuid) -> Result<u64, MemoryError> {
    ExtractionClaims::finish_covered_on(x.db, x.bot, summary).await
}
