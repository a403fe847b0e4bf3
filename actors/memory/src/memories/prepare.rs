//! From drafts to prepared memories: checked, completed and embedded, all before a transaction begins. Without an
//! embedder a memory is stored without vectors; the embedding worker finds it later.

use greenroom_embedder::{EmbedError, Lane, Vector};

use super::{MemoryDraft, PreparedMemory, draft, meaning};
use crate::MemoryError;
use crate::namespace::Namespace;

impl Namespace {
    /// Checks and embeds drafts. Vectors that cannot be made now are left out; storing goes on without them.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for the first draft that cannot be stored.
    pub async fn prepare(&self, drafts: Vec<MemoryDraft>, lane: Lane) -> Result<Vec<PreparedMemory>, MemoryError> {
        let mut drafts = drafts.into_iter().map(draft::checked).collect::<Result<Vec<_>, _>>()?;
        for draft in &mut drafts {
            let given = std::mem::take(&mut draft.meaning);
            draft.meaning = meaning::completed(given, &draft.content, &draft.tags, draft.importance);
        }
        let texts = drafts.iter().flat_map(|draft| {
            [draft.content.clone(), meaning::text(&draft.meaning).unwrap_or_else(|| draft.content.clone())]
        });
        let vectors = self.vectors(texts.collect(), lane).await;
        let model = self.embedder().model_id();
        let mut pairs = vectors.into_iter();
        let prepared = drafts.into_iter().map(|draft| {
            let (vector, meaning_vector) = (pairs.next().flatten(), pairs.next().flatten());
            let model = vector.is_some().then_some(model);
            PreparedMemory { draft, vector, meaning_vector, model }
        });
        Ok(prepared.collect())
    }

    /// A vector for each text, or none where it cannot be made now.
    pub(crate) async fn vectors(&self, texts: Vec<String>, lane: Lane) -> Vec<Option<Vector>> {
        let count = texts.len();
        if self.embedder().is_off() {
            return vec![None; count];
        }
        let mut vectors = Vec::with_capacity(count);
        for batch in texts.chunks(greenroom_embedder::MAX_BATCH) {
            match self.embedder().embed(batch.to_vec(), lane).await {
                Ok(made) => vectors.extend(made),
                Err(error) => {
                    if !matches!(error, EmbedError::Unavailable(_)) {
                        tracing::warn!(%error, bot = %self.bot(), "memories are stored without vectors for now");
                    }
                    vectors.extend(std::iter::repeat_n(None, batch.len()));
                }
            }
        }
        vectors.resize(count, None);
        vectors
    }
}
