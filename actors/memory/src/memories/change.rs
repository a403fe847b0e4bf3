//! Changing a memory in place: content, importance, tags, meaning. New texts are embedded before the transaction; if the
//! row changed meanwhile, it is looked at anew.

use greenroom_embedder::Lane;
use jiff::Timestamp;
use pgvector::Vector as PgVector;
use uuid::Uuid;

use super::store::refuse_same_words;
use super::{Meaning, MeaningPatch, MemoryPatch, StoredMemory, draft, meaning};
use crate::MemoryError;
use crate::exclusive::Exclusive;
use crate::namespace::Namespace;
use crate::repository::{Edit, MemoryRepository, MemoryWrites};

/// How often a change is tried again when the row is being changed by others.
const ATTEMPTS: usize = 5;

impl Namespace {
    /// Changes content, importance or tags. Provenance and meaning stay.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] when nothing is to be changed or a value cannot be; [`MemoryError::NotFound`];
    /// [`MemoryError::Conflict`] when it was superseded, changed since `if_updated_at`, or another memory says the new
    /// words already.
    pub async fn update(&self, reference: &str, patch: MemoryPatch) -> Result<StoredMemory, MemoryError> {
        let MemoryPatch { content, importance, tags, if_updated_at } = patch;
        if content.is_none() && importance.is_none() && tags.is_none() {
            return Err(MemoryError::Invalid("give at least one of content, importance, tags".into()));
        }
        let content = content.as_deref().map(draft::content).transpose()?;
        let importance = importance.map(|share| draft::share("importance", share)).transpose()?;
        let tags = tags.as_deref().map(draft::tags).transpose()?;
        let id = self.memory_id(reference).await?;
        let (vector, model) = match &content {
            Some(text) => self.pg_vector(text.clone()).await,
            None => (None, None),
        };
        self.exclusive("update memory", move |x| {
            Box::pin(async move {
                let row = active(x, id).await?;
                if if_updated_at.is_some_and(|seen| micros(seen) != micros(row.updated_at)) {
                    return Err(MemoryError::Conflict("the memory has been changed meanwhile".into()));
                }
                let content = content.filter(|text| *text != row.content);
                if let Some(text) = &content {
                    refuse_same_words(x, id, text, row.user.as_ref()).await?;
                }
                // A meaning vector that stood for the old words themselves stands for nothing now.
                let derived = content.is_some() && meaning::text(&row.meaning).is_none();
                let meaning_vector = derived.then_some(None);
                let edit = Edit { content, importance, tags, meaning: None, vector, meaning_vector, model };
                MemoryWrites::edit_on(x.db, x.bot, id, &edit, Timestamp::now()).await?;
                x.changes.memories([id]);
                active(x, id).await
            })
        })
        .await
    }

    /// Changes the meaning, and the tags if they are given. The meaning's vector is made anew from what the row then
    /// says.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn set_meaning(&self, reference: &str, patch: MeaningPatch) -> Result<StoredMemory, MemoryError> {
        let MeaningPatch { intent, stakes, emotional_charge, keywords, tags } = patch;
        let nothing = intent.is_none() && stakes.is_none() && emotional_charge.is_none() && keywords.is_none();
        if nothing && tags.is_none() {
            return Err(MemoryError::Invalid("give at least one field of the meaning".into()));
        }
        let tags = tags.as_deref().map(draft::tags).transpose()?;
        let given = Meaning { intent, stakes, emotional_charge, keywords: keywords.clone().unwrap_or_default() };
        let given = draft::meaning(given)?;
        let id = self.memory_id(reference).await?;
        for _ in 0..ATTEMPTS {
            let seen = self.memory_by_id(id).await?;
            let merged = Meaning {
                intent: given.intent.clone().or(seen.meaning.intent),
                stakes: given.stakes.clone().or(seen.meaning.stakes),
                emotional_charge: given.emotional_charge.or(seen.meaning.emotional_charge),
                keywords: if keywords.is_some() { given.keywords.clone() } else { seen.meaning.keywords },
            };
            let text = meaning::text(&merged).unwrap_or_else(|| seen.content.clone());
            let (vector, model) = self.pg_vector(text).await;
            let (tags, seen_at) = (tags.clone(), seen.updated_at);
            let done = self.exclusive("set meaning", move |x| {
                Box::pin(async move {
                    let row = active(x, id).await?;
                    if row.updated_at != seen_at {
                        return Ok::<_, MemoryError>(None);
                    }
                    let edit =
                        Edit { tags, meaning: Some(merged), meaning_vector: Some(vector), model, ..Edit::default() };
                    MemoryWrites::edit_on(x.db, x.bot, id, &edit, Timestamp::now()).await?;
                    x.changes.memories([id]);
                    active(x, id).await.map(Some)
                })
            });
            if let Some(row) = done.await? {
                return Ok(row);
            }
        }
        Err(MemoryError::Conflict("the memory keeps being changed by others".into()))
    }

    async fn pg_vector(&self, text: String) -> (Option<PgVector>, Option<&'static str>) {
        let vector = self.vectors(vec![text], Lane::Interactive).await.pop().flatten();
        let model = vector.is_some().then(|| self.embedder().model_id());
        (vector.map(|v| PgVector::from(v.as_slice().to_vec())), model)
    }
}

/// The row, locked, if it may be changed.
async fn active(x: &Exclusive<'_>, id: Uuid) -> Result<StoredMemory, MemoryError> {
    let row = MemoryRepository::lock_on(x.db, x.bot, id).await?;
    let row = row.ok_or_else(|| MemoryError::NotFound("memory", id.to_string()))?;
    if row.superseded_by.is_some() {
        return Err(MemoryError::Conflict("the memory was superseded and cannot be changed".into()));
    }
    Ok(row)
}

/// As PostgreSQL keeps times.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}
