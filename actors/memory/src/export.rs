//! Giving out everything, page by page and in the order in which it can be taken in again.

use jiff::Timestamp;

use crate::MemoryError;
use crate::memories::StoredMemory;
use crate::message::StoredMessage;
use crate::namespace::Namespace;
use crate::repository::ExportRepository;

/// Most rows of a page.
const MOST_EXPORTED: i64 = 5000;

impl Namespace {
    /// Messages of all roles behind a `(ts, seq)` position, oldest first, at most 5000. The position of the last one is
    /// where the next page begins; an empty page is the end.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn export_messages(
        &self,
        after: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        let db = self.store().connection().await?;
        ExportRepository::messages_on(&db, self.bot(), after, limit.clamp(1, MOST_EXPORTED)).await
    }

    /// Active memories behind a `seq`, in the order of their arrival, at most 5000.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn export_memories(&self, after: Option<i64>, limit: i64) -> Result<Vec<StoredMemory>, MemoryError> {
        let db = self.store().connection().await?;
        ExportRepository::memories_on(&db, self.bot(), after, limit.clamp(1, MOST_EXPORTED)).await
    }
}
