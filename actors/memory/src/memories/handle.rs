//! What a namespace can be asked about its memories, apart from search and change.

use greenroom_embedder::Lane;
use uuid::Uuid;

use super::supersede::{Reach, erase_on};
use super::{
    DeleteOptions, Deleted, MemoryDraft, MemoryOrder, StoreOptions, Stored, StoredMemory, SupersedeReason,
    TombstoneReason, draft, store_on, supersede_on, tombstone_on,
};
use crate::MemoryError;
use crate::namespace::Namespace;
use crate::reference::{MOST_CANDIDATES, Reference, only, shown, unusable};
use crate::repository::MemoryRepository;

/// Most memories that one listing gives.
const MOST_LISTED: i64 = 500;
/// Given as the successor, it deletes instead.
const DELETED: &str = "DELETED";

impl Namespace {
    /// Stores one memory, unless it is known already; see [`store_on`].
    ///
    /// # Errors
    /// [`MemoryError::Invalid`], [`MemoryError::Conflict`], the namespace, the database.
    pub async fn store_memory(&self, draft: MemoryDraft, options: StoreOptions) -> Result<Stored, MemoryError> {
        let similarity = self.dedup_similarity(&options)?;
        let mut prepared = self.prepare(vec![draft], Lane::Interactive).await?;
        let Some(memory) = prepared.pop() else { return Err(MemoryError::Invalid("nothing to store".into())) };
        self.exclusive("store memory", move |x| {
            Box::pin(async move { store_on(x, &memory, &options, similarity).await })
        })
        .await
    }

    /// The threshold above which two memories count as one.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] when it is not a number.
    pub fn dedup_similarity(&self, options: &StoreOptions) -> Result<f32, MemoryError> {
        draft::share("dedup_similarity", options.dedup_similarity.unwrap_or(self.settings().dedup_similarity))
    }

    /// One memory, active or superseded, by its id or the first eight digits of it.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`], [`MemoryError::NotFound`], [`MemoryError::Ambiguous`], the database.
    pub async fn memory(&self, reference: &str) -> Result<StoredMemory, MemoryError> {
        let id = self.memory_id(reference).await?;
        self.memory_by_id(id).await
    }

    /// The memories with these ids; unknown ones are left out.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn memories(&self, ids: &[Uuid]) -> Result<Vec<StoredMemory>, MemoryError> {
        MemoryRepository::by_ids_on(&self.store().connection().await?, self.bot(), ids).await
    }

    pub(super) async fn memory_by_id(&self, id: Uuid) -> Result<StoredMemory, MemoryError> {
        let found = self.memories(&[id]).await?.pop();
        found.ok_or_else(|| MemoryError::NotFound("memory", id.to_string()))
    }

    /// The id that a text refers to. Whether a whole id exists is not looked at.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub async fn memory_id(&self, reference: &str) -> Result<Uuid, MemoryError> {
        match Reference::parse(reference).ok_or_else(|| unusable("memory"))? {
            Reference::Exact(id) => Ok(id),
            Reference::Between(low, high) => {
                let db = self.store().connection().await?;
                let found = MemoryRepository::ids_between_on(&db, self.bot(), (low, high), MOST_CANDIDATES).await?;
                only("memory", reference, &found)
            }
        }
    }

    /// Active memories in the given order, at most 500.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn list_memories(
        &self,
        order: MemoryOrder,
        min_importance: f32,
        limit: i64,
    ) -> Result<Vec<StoredMemory>, MemoryError> {
        let (least, limit) = (draft::share("min_importance", min_importance)?, limit.clamp(1, MOST_LISTED));
        MemoryRepository::list_on(&self.store().connection().await?, self.bot(), order, least, limit).await
    }

    /// Deletes a memory with everything that it superseded, or alone; as tombstones that can be restored, or for good.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub async fn delete_memory(&self, reference: &str, options: DeleteOptions) -> Result<Deleted, MemoryError> {
        let id = self.memory_id(reference).await?;
        let reach = if options.restore_previous { Reach::Alone } else { Reach::WholeChain };
        let done = self.exclusive("delete memory", move |x| {
            Box::pin(async move {
                if options.hard {
                    let (deleted, reactivated) = erase_on(x, &[id], reach).await?;
                    return Ok::<_, MemoryError>(Deleted { deleted, batch_id: None, reactivated });
                }
                let batch = Uuid::new_v4();
                let by = options.by.as_deref().map(shown);
                let why = (options.reason.unwrap_or(TombstoneReason::User), by.as_deref());
                let (deleted, reactivated) = tombstone_on(x, &[id], why, batch, reach).await?;
                Ok(Deleted { deleted, batch_id: Some(batch), reactivated })
            })
        });
        let deleted = done.await?;
        if deleted.deleted.is_empty() {
            return Err(MemoryError::NotFound("memory", id.to_string()));
        }
        Ok(deleted)
    }

    /// Buries all memories that were taken from one of these messages, with what they superseded.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for too many ids, the namespace, the database.
    pub async fn delete_by_sources(
        &self,
        messages: Vec<Uuid>,
        reason: TombstoneReason,
        by: Option<String>,
    ) -> Result<Deleted, MemoryError> {
        if messages.len() > draft::MOST_SOURCES {
            return Err(MemoryError::Invalid(format!("at most {} message ids at once", draft::MOST_SOURCES)));
        }
        self.exclusive("delete memories by sources", move |x| {
            Box::pin(async move {
                let found = MemoryRepository::lock_from_sources_on(x.db, x.bot, &messages).await?;
                let ids: Vec<Uuid> = found.into_iter().map(|(id, _, _)| id).collect();
                let (batch, by) = (Uuid::new_v4(), by.as_deref().map(shown));
                let (deleted, reactivated) =
                    tombstone_on(x, &ids, (reason, by.as_deref()), batch, Reach::WholeChain).await?;
                let batch_id = (!deleted.is_empty()).then_some(batch);
                Ok(Deleted { deleted, batch_id, reactivated })
            })
        })
        .await
    }

    /// Makes `new` the successor of `old`; with `DELETED` for `new`, buries `old` instead. False when `old` was not
    /// active.
    ///
    /// # Errors
    /// As [`Self::memory`]; [`MemoryError::Conflict`] for a circle.
    pub async fn supersede(&self, old: &str, new: &str, reason: SupersedeReason) -> Result<bool, MemoryError> {
        if new.trim() == DELETED {
            let options = DeleteOptions { reason: Some(TombstoneReason::Tool), ..DeleteOptions::default() };
            return Ok(!self.delete_memory(old, options).await?.deleted.is_empty());
        }
        let (old, new) = (self.memory_id(old).await?, self.memory_id(new).await?);
        self.exclusive("supersede memory", move |x| Box::pin(async move { supersede_on(x, old, new, reason).await }))
            .await
    }

    /// What led to a memory and what became of it: the whole chain that it belongs to, oldest first.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub async fn chain(&self, reference: &str) -> Result<Vec<StoredMemory>, MemoryError> {
        let id = self.memory_id(reference).await?;
        let db = self.store().connection().await?;
        let head = MemoryRepository::head_on(&db, self.bot(), id).await?;
        let head = head.ok_or_else(|| MemoryError::NotFound("memory", id.to_string()))?;
        MemoryRepository::chain_on(&db, self.bot(), head).await
    }
}
