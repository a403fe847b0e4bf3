//! Making vectors again, after another model was chosen or when somebody doubts them: memories here and now, page by page,
//! messages through their queue. Searches go on meanwhile; rows of another model are simply not found by meaning.

use std::time::Duration;

use greenroom_embedder::{DIMENSION, EmbedError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::worker::embed_memories;
use crate::repository::VectorRepository;
use crate::{MemoryError, Namespace};

/// Memories per page.
const PAGE: i64 = 256;
/// How often a page is tried while the model has too much to do, and the pause between.
const TRIES: (u32, Duration) = (30, Duration::from_secs(1));

/// Which vectors are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegenerateMode {
    /// Those that are missing or of another model.
    Missing,
    /// All.
    All,
}

impl RegenerateMode {
    /// Reads `missing` or `all`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "missing" => Some(Self::Missing),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Regenerated {
    /// Memories that got their vector.
    pub updated: u64,
    /// Memories that could not be embedded.
    pub failed: u64,
    /// Numbers in a vector.
    pub embedding_dim: usize,
    /// Messages that were queued; the worker embeds them.
    pub messages_queued: u64,
    /// False when it was cancelled before the end.
    pub complete: bool,
}

impl Namespace {
    /// Makes vectors again, each row once; a row that fails is counted and passed over.
    ///
    /// # Errors
    /// [`MemoryError::Embedding`] without a model, [`MemoryError::Store`].
    pub async fn regenerate_embeddings(
        &self,
        mode: RegenerateMode,
        cancel: &CancellationToken,
    ) -> Result<Regenerated, MemoryError> {
        let embedder = self.embedder();
        if embedder.is_off() {
            return Err(EmbedError::Unavailable("there is no embedding model".into()).into());
        }
        let (model, all) = (embedder.model_id(), mode == RegenerateMode::All);
        let mut out =
            Regenerated { updated: 0, failed: 0, embedding_dim: DIMENSION, messages_queued: 0, complete: false };
        let (mut after, mut tries) = (None, 0);
        loop {
            if cancel.is_cancelled() {
                return Ok(out);
            }
            let page = {
                let db = self.store().connection().await?;
                VectorRepository::memories_to_renew(&db, self.bot(), model, all, after, PAGE).await?
            };
            let Some(last) = page.last().map(|memory| memory.id) else { break };
            match embed_memories(self.store(), self.bot(), embedder, page).await {
                Ok(done) => {
                    out.updated += done.updated;
                    out.failed += done.failed;
                    (after, tries) = (Some(last), 0);
                }
                Err(MemoryError::Embedding(EmbedError::Busy)) if tries < TRIES.0 => {
                    tries += 1;
                    tokio::select! {
                        () = tokio::time::sleep(TRIES.1) => {}
                        () = cancel.cancelled() => return Ok(out),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let db = self.store().connection().await?;
        out.messages_queued = VectorRepository::enqueue(&db, self.bot(), model, all).await?;
        drop(db);
        self.recall().wake();
        out.complete = true;
        Ok(out)
    }
}
