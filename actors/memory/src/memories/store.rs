//! Storing a memory inside an exclusive command: overwrite, reinforce or insert (memory.md §5.1).

use jiff::Timestamp;
use pgvector::Vector as PgVector;
use uuid::Uuid;

use super::{Outcome, PreparedMemory, StoreOptions, Stored, SupersedeReason, supersede_on};
use crate::MemoryError;
use crate::exclusive::Exclusive;
use crate::repository::{Edit, MemoryRepository, MemoryWrites};

/// Stores a memory. With an id that exists, that row is overwritten; where an active memory says the same, that one is
/// reinforced; else a row is inserted, and what it replaces is superseded by it.
///
/// # Errors
/// [`MemoryError::Conflict`] when the id belongs to a superseded memory or the new words to another one,
/// [`MemoryError::Store`].
pub async fn store_on(
    x: &mut Exclusive<'_>,
    new: &PreparedMemory,
    options: &StoreOptions,
    dedup_similarity: f32,
) -> Result<Stored, MemoryError> {
    let now = Timestamp::now();
    let draft = &new.draft;
    let mut except = options.replaces.clone();
    if let Some(id) = draft.id {
        if let Some(known) = MemoryRepository::lock_on(x.db, x.bot, id).await? {
            return overwrite(x, known.superseded_by.is_some(), id, new, now).await;
        }
        except.push(id);
    }
    if let Some((id, similarity)) = same(x, new, options, dedup_similarity, &except).await? {
        MemoryWrites::reinforce_on(x.db, x.bot, id, new, now).await?;
        x.changes.memories([id]);
        for old in &options.replaces {
            let reason = options.reason.unwrap_or(SupersedeReason::Consolidation);
            supersede_on(x, *old, id, reason).await?;
        }
        return Ok(Stored { id, outcome: Outcome::Duplicate, similarity: Some(similarity) });
    }
    let id = draft.id.unwrap_or_else(Uuid::new_v4);
    let reason = options.reason.unwrap_or(SupersedeReason::Consolidation);
    let replaced = MemoryWrites::insert_on(x.db, x.bot, id, new, (&options.replaces, reason), now).await?;
    x.changes.memories(replaced);
    x.changes.memories([id]);
    Ok(Stored { id, outcome: Outcome::Inserted, similarity: None })
}

/// The active memory that says the same, and how alike it is.
async fn same(
    x: &Exclusive<'_>,
    new: &PreparedMemory,
    options: &StoreOptions,
    dedup_similarity: f32,
    except: &[Uuid],
) -> Result<Option<(Uuid, f32)>, MemoryError> {
    let user = new.draft.user.as_ref();
    if let Some(id) = MemoryWrites::same_words_on(x.db, x.bot, &new.draft.content, user, except).await? {
        return Ok(Some((id, 1.0)));
    }
    let (Some(vector), Some(model), false) = (&new.vector, new.model, options.force) else { return Ok(None) };
    let vector = PgVector::from(vector.as_slice().to_vec());
    let nearest = MemoryWrites::nearest_on(x.db, x.bot, &vector, model, user, except).await?;
    Ok(nearest.filter(|(_, similarity)| *similarity > dedup_similarity))
}

async fn overwrite(
    x: &mut Exclusive<'_>,
    is_superseded: bool,
    id: Uuid,
    new: &PreparedMemory,
    now: Timestamp,
) -> Result<Stored, MemoryError> {
    if is_superseded {
        return Err(MemoryError::Conflict("the memory was superseded and cannot be changed".into()));
    }
    refuse_same_words(x, id, &new.draft.content, new.draft.user.as_ref()).await?;
    let edit = Edit {
        content: Some(new.draft.content.clone()),
        importance: Some(new.draft.importance),
        tags: Some(new.draft.tags.clone()),
        meaning: None,
        vector: new.vector.as_ref().map(|v| PgVector::from(v.as_slice().to_vec())),
        meaning_vector: None,
        model: new.model,
    };
    MemoryWrites::edit_on(x.db, x.bot, id, &edit, now).await?;
    x.changes.memories([id]);
    Ok(Stored { id, outcome: Outcome::Updated, similarity: None })
}

/// Refuses words that another active memory of the person has.
pub(super) async fn refuse_same_words(
    x: &Exclusive<'_>,
    id: Uuid,
    content: &str,
    user: Option<&greenroom_protocol::UserId>,
) -> Result<(), MemoryError> {
    match MemoryWrites::same_words_on(x.db, x.bot, content, user, &[id]).await? {
        Some(other) => Err(MemoryError::Conflict(format!("the memory {other} says the same"))),
        None => Ok(()),
    }
}
