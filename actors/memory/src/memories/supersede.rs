//! Supersede chains and tombstones inside an exclusive command (memory.md §9).

use jiff::Timestamp;
use uuid::Uuid;

use super::{SupersedeReason, TombstoneReason};
use crate::MemoryError;
use crate::exclusive::Exclusive;
use crate::repository::{ForgottenRepository, MemoryRepository, MemoryWrites};

/// How much of a chain a deletion takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The memory and everything that it superseded.
    WholeChain,
    /// The memory alone: what it superseded last is active again, or points to the memory's own successor.
    Alone,
}

/// Makes `new` (or what superseded it in turn) the successor of `old`. False when `old` is not active, unless it has this
/// successor already.
///
/// # Errors
/// [`MemoryError::NotFound`] when one does not exist, [`MemoryError::Conflict`] when they are the same or the chain
/// would be a circle, [`MemoryError::Store`].
pub async fn supersede_on(
    x: &mut Exclusive<'_>,
    old: Uuid,
    new: Uuid,
    reason: SupersedeReason,
) -> Result<bool, MemoryError> {
    let missing = |id: Uuid| MemoryError::NotFound("memory", id.to_string());
    let head = MemoryRepository::head_on(x.db, x.bot, new).await?.ok_or_else(|| missing(new))?;
    let old_head = MemoryRepository::head_on(x.db, x.bot, old).await?.ok_or_else(|| missing(old))?;
    if old == head || old == new {
        return Err(MemoryError::Conflict("a memory cannot be its own successor".into()));
    }
    if old_head != old {
        return Ok(old_head == head);
    }
    let done = MemoryWrites::supersede_on(x.db, x.bot, old, head, reason, Timestamp::now()).await?;
    x.changes.memories([old, head]);
    Ok(done)
}

/// Moves memories among the tombstones under the given batch. Gives the ids that are gone and those that are active
/// again.
///
/// # Errors
/// [`MemoryError::Store`].
pub async fn tombstone_on(
    x: &mut Exclusive<'_>,
    ids: &[Uuid],
    why: (TombstoneReason, Option<&str>),
    batch: Uuid,
    reach: Reach,
) -> Result<(Vec<Uuid>, Vec<Uuid>), MemoryError> {
    if ids.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let doomed = match reach {
        Reach::WholeChain => ForgottenRepository::with_predecessors_on(x.db, x.bot, ids).await?,
        Reach::Alone => ids.to_vec(),
    };
    let links = ForgottenRepository::unlink_on(x.db, x.bot, &doomed).await?;
    let gone = ForgottenRepository::bury_memories_on(x.db, x.bot, &doomed, &links.of_doomed, why, batch).await?;
    x.changes.memories(gone.iter().chain(&links.changed).copied());
    Ok((gone, links.reactivated))
}

/// Deletes memories for good. Gives the ids that are gone and those that are active again.
///
/// # Errors
/// [`MemoryError::Store`].
pub(crate) async fn erase_on(
    x: &mut Exclusive<'_>,
    ids: &[Uuid],
    reach: Reach,
) -> Result<(Vec<Uuid>, Vec<Uuid>), MemoryError> {
    let doomed = match reach {
        Reach::WholeChain => ForgottenRepository::with_predecessors_on(x.db, x.bot, ids).await?,
        Reach::Alone => ids.to_vec(),
    };
    let links = ForgottenRepository::unlink_on(x.db, x.bot, &doomed).await?;
    let gone = ForgottenRepository::erase_memories_on(x.db, x.bot, &doomed).await?;
    x.changes.memories(gone.iter().chain(&links.changed).copied());
    Ok((gone, links.reactivated))
}
