//! The room's handle.

use std::sync::Arc;
use std::time::Duration;

use greenroom_kit::{Card, Supervisor, SupervisorError};
use tokio::sync::{mpsc, watch};

use crate::actor;
use crate::cache::QueryCache;
use crate::error::{EmbedError, LOADING, OFF, STOPPED};
use crate::queue::{Item, Queue};
use crate::settings::{Availability, Choice, EmbedderSettings};
use crate::vector::Vector;
use crate::{Lane, MAX_BATCH, MAX_TEXT_CHARS, hashed};

/// How long [`Embedder::embed`] waits for a model that is still being loaded.
const LOADING_LIMIT: Duration = Duration::from_secs(10);

/// What became of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Its vector; `None` for blank text.
    pub vector: Option<Vector>,
    /// Word pieces that were read, the two that mark begin and end included; 0 for blank text.
    pub tokens: usize,
}

/// Cheap, cloneable handle to the embedder.
#[derive(Clone)]
pub struct Embedder {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: EmbedderSettings,
    pub(crate) queue: Queue,
    pub(crate) availability: watch::Sender<Availability>,
    pub(crate) card: Option<Arc<Card>>,
    queries: QueryCache,
    /// Texts are embedded in the caller: no actor stands behind the handle.
    inline: bool,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model_id()).field("availability", &self.availability()).finish()
    }
}

impl Embedder {
    /// Starts the embedder's actor in `group`. Returns at once: the model is loaded in the background, and
    /// [`Self::availability`] and the actor's card say how that went. A model that cannot be loaded is no error here.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn start(group: &Supervisor, settings: EmbedderSettings) -> Result<Self, SupervisorError> {
        let card = group.card("embedder", "embedder");
        let embedder = Self::make(settings, Some(card.clone()), false);
        actor::start(group, card, embedder.shared.clone()).await?;
        Ok(embedder)
    }

    /// An embedder that is off, without an actor.
    #[must_use]
    pub fn off() -> Self {
        Self::make(EmbedderSettings::default(), None, true)
    }

    /// The embedder of tests, without an actor: it answers in the caller and is never busy.
    #[must_use]
    pub fn test_hash() -> Self {
        Self::make(EmbedderSettings { model: Choice::TestHash, ..EmbedderSettings::default() }, None, true)
    }

    fn make(settings: EmbedderSettings, card: Option<Arc<Card>>, inline: bool) -> Self {
        let first = match &settings.model {
            Choice::Off => Availability::Unavailable(OFF.into()),
            Choice::TestHash if inline => Availability::Ready,
            Choice::TestHash | Choice::MiniLm { .. } => Availability::Loading,
        };
        let shared = Shared {
            queue: Queue::new(settings.queue),
            availability: watch::Sender::new(first),
            queries: QueryCache::new(settings.query_cache),
            settings,
            card,
            inline,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Vectors of texts, in their order, `None` for blank ones. Waits up to 10 s for a model that is still being loaded.
    /// Only the first [`MAX_TEXT_CHARS`] characters of a text are read. Dropping the future takes back the texts that no
    /// thread has begun with.
    ///
    /// # Errors
    /// [`EmbedError`]; then no vector is given at all.
    pub async fn embed(&self, texts: Vec<String>, lane: Lane) -> Result<Vec<Option<Vector>>, EmbedError> {
        Ok(self.embed_counted(texts, lane).await?.into_iter().map(|text| text.vector).collect())
    }

    /// As [`Self::embed`], with the number of word pieces of each text.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub async fn embed_counted(&self, texts: Vec<String>, lane: Lane) -> Result<Vec<Embedded>, EmbedError> {
        if texts.len() > MAX_BATCH {
            return Err(EmbedError::TooMany { given: texts.len() });
        }
        if self.availability() == Availability::Loading {
            let _ = tokio::time::timeout(LOADING_LIMIT, self.ready()).await;
        }
        self.compute(texts, lane).await
    }

    /// The vector of a query. The vectors of recent queries are remembered. Never waits for the model to be loaded.
    ///
    /// # Errors
    /// [`EmbedError`].
    pub async fn query(&self, text: &str) -> Result<Vector, EmbedError> {
        let text = readable(text);
        let key = QueryCache::key(self.model_id(), text);
        if let Some(known) = self.shared.queries.get(&key) {
            return Ok(known);
        }
        let mut answers = self.compute(vec![text.to_owned()], Lane::Interactive).await?;
        let vector = answers.pop().and_then(|answer| answer.vector).ok_or(EmbedError::Blank)?;
        self.shared.queries.put(key, vector.clone());
        Ok(vector)
    }

    async fn compute(&self, mut texts: Vec<String>, lane: Lane) -> Result<Vec<Embedded>, EmbedError> {
        match self.availability() {
            Availability::Ready => {}
            Availability::Loading => return Err(EmbedError::Unavailable(LOADING.into())),
            Availability::Unavailable(reason) => return Err(EmbedError::Unavailable(reason)),
        }
        let mut answers = vec![Embedded { vector: None, tokens: 0 }; texts.len()];
        let (answer, mut answered) = mpsc::unbounded_channel();
        let mut items = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter_mut().enumerate() {
            let mut text = std::mem::take(text);
            text.truncate(readable(&text).len());
            if text.trim().is_empty() {
                continue;
            }
            if self.shared.inline {
                let (vector, tokens) = hashed::embed(&text);
                answers[index] = Embedded { vector, tokens };
                continue;
            }
            items.push(Item { index, text, answer: answer.clone() });
        }
        drop(answer);
        let mut missing = items.len();
        if missing > 0 {
            self.shared.queue.push(items, lane)?;
        }
        while missing > 0 {
            let Some((index, outcome)) = answered.recv().await else {
                // Nobody holds the texts any more: the thread that had them is gone, or the actor has stopped.
                return Err(match self.availability() {
                    Availability::Unavailable(reason) => EmbedError::Unavailable(reason),
                    Availability::Ready | Availability::Loading => EmbedError::Failed("a worker was lost".into()),
                });
            };
            let outcome = outcome?;
            if let Some(answer) = answers.get_mut(index) {
                *answer = outcome;
            }
            missing -= 1;
        }
        Ok(answers)
    }

    /// Whether texts can be embedded at the moment.
    #[must_use]
    pub fn availability(&self) -> Availability {
        self.shared.availability.borrow().clone()
    }

    /// Waits while the model is being loaded, and says how that ended.
    pub async fn ready(&self) -> Availability {
        let mut changes = self.shared.availability.subscribe();
        match changes.wait_for(|now| *now != Availability::Loading).await {
            Ok(now) => now.clone(),
            Err(_) => Availability::Unavailable(STOPPED.into()),
        }
    }

    /// What is stored beside a vector to say which model made it.
    #[must_use]
    pub fn model_id(&self) -> &'static str {
        match self.shared.settings.model {
            Choice::MiniLm { .. } => "all-MiniLM-L6-v2/384",
            Choice::TestHash => "test-hash/384",
            Choice::Off => "off",
        }
    }

    /// Whether there will never be a vector, because the embedder is switched off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.settings.model == Choice::Off
    }

    /// Texts that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// Makes the thread that takes the next texts panic, to test what follows.
    #[doc(hidden)]
    pub fn crash_worker(&self) {
        self.shared.queue.crash_next();
    }
}

/// The part of a text that is read.
fn readable(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT_CHARS).map_or(text, |(end, _)| &text[..end])
}
