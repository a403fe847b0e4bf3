//! What is already known that is close to a new fact (memory.md §8.6 step 2).

use std::collections::HashSet;

use greenroom_embedder::{Lane, Vector};
use greenroom_lexicon::or_query;
use greenroom_protocol::UserId;
use uuid::Uuid;

use crate::MemoryError;
use crate::namespace::Namespace;
use crate::repository::NearRepository;

/// Memories that are looked at per fact.
const PER_FACT: i64 = 8;
/// Cosine similarity below which a memory has nothing to do with a fact.
const LEAST: f64 = 0.35;
/// Most memories altogether.
const MOST: usize = 60;

/// A memory that may say the same as a new fact, or the opposite.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub content: String,
    /// 0 to 1.
    pub importance: f32,
    /// Cosine similarity to the nearest fact; `None` when it was found by words or by its profile key.
    pub similarity: Option<f32>,
}

impl Namespace {
    /// Makes the vectors of these memories anew, whatever they have. Gives the number of rows that have one now; a memory
    /// whose text changes meanwhile is left to the embedding worker.
    ///
    /// # Errors
    /// [`MemoryError::Embedding`], [`MemoryError::Store`].
    pub async fn embed_memories(&self, ids: &[Uuid]) -> Result<u64, MemoryError> {
        let db = self.store().connection().await?;
        let rows = NearRepository::contents_on(&db, self.bot(), ids).await?;
        drop(db);
        let texts = rows.iter().map(|(_, content)| content.clone()).collect();
        let vectors = self.embedder().embed(texts, Lane::Background).await?;
        let db = self.store().connection().await?;
        let mut written = 0;
        for ((id, content), vector) in rows.iter().zip(&vectors) {
            let Some(vector) = vector else { continue };
            let model = self.embedder().model_id();
            written += NearRepository::set_vector_on(&db, self.bot(), *id, content, vector, model).await?;
        }
        Ok(written)
    }

    /// Active memories near any of the texts, or made for one of the profile keys: about `user` or about nobody. Nearest
    /// first, at most 60, each once. Without vectors they are found by words. Nothing is counted as a recall.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn neighbours(
        &self,
        texts: &[String],
        profile_keys: &[String],
        user: Option<&UserId>,
    ) -> Result<Vec<Neighbour>, MemoryError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = match self.embedder().embed(texts.to_vec(), Lane::Background).await {
            Ok(vectors) => vectors.into_iter().flatten().collect::<Vec<Vector>>(),
            Err(error) => {
                tracing::debug!(bot = %self.bot(), %error, "facts are compared by words");
                Vec::new()
            }
        };
        let db = self.store().connection().await?;
        let user = user.map(UserId::as_str);
        let mut found = if vectors.is_empty() {
            let queries: Vec<String> = texts.iter().filter_map(|text| or_query(text)).collect();
            NearRepository::by_words_on(&db, self.bot(), &queries, user, PER_FACT).await?
        } else {
            let model = self.embedder().model_id();
            NearRepository::by_vectors_on(&db, self.bot(), &vectors, model, user, PER_FACT, LEAST).await?
        };
        if !profile_keys.is_empty() {
            found.extend(NearRepository::by_profile_keys_on(&db, self.bot(), profile_keys, user, PER_FACT).await?);
        }
        let mut seen = HashSet::new();
        found.retain(|neighbour| seen.insert(neighbour.id));
        found.truncate(MOST);
        Ok(found)
    }
}
