//! Gives rows their vectors behind the scenes: queued messages, newest first, then memories that were stored while there
//! was no model. The queue is a table, so a restart loses nothing; a text that changes while it is being embedded stays
//! queued. Backs off while the model or the database is away, and never holds a transaction while it waits for vectors.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_embedder::{EmbedError, Embedder, Lane, Vector};
use greenroom_kit::lock;
use greenroom_protocol::BotSlug;
use greenroom_store::Store;
use pgvector::HalfVector;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use super::surroundings::{READ_AFTER, READ_BEFORE, Texts, texts};
use crate::MemoryError;
use crate::memories::meaning;
use crate::repository::{BareMemory, MemoryVectors, MessageVectors, VectorRepository};

/// Messages, or memories, embedded at once.
const BATCH: usize = 64;
/// Pauses while the model or the database is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// The worker waits for a pause in what comes in, but at most this many times its length.
const GATHER_MOST: u32 = 20;
/// While messages keep coming in, the worker rests for so many times as long as a batch took.
const REST: u32 = 3;
/// Messages that could not be embedded and are left alone until the worker starts again.
const MOST_SKIPPED: usize = 10_000;

/// What the worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// There is no model, and never will be.
    Off,
    /// Nothing waits.
    Idle,
    /// Embedding.
    Working,
    /// The model or the database is away.
    Waiting,
}

/// Handle to the worker of one namespace.
pub(crate) struct Worker {
    core: Option<Arc<Core>>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Core {
    bot: BotSlug,
    store: Store,
    embedder: Embedder,
    gather: Duration,
    wake: Notify,
    woken: AtomicU64,
    /// Number of the last wake-up after which nothing was left.
    done: watch::Sender<u64>,
    state: watch::Sender<WorkerState>,
}

/// How a round ended.
enum Round {
    More,
    Nothing,
}

impl Worker {
    pub(crate) fn new(bot: BotSlug, store: Store, embedder: Embedder, gather: Duration) -> Self {
        let core = (!embedder.is_off()).then(|| {
            Arc::new(Core {
                bot,
                store,
                embedder,
                gather,
                wake: Notify::new(),
                woken: AtomicU64::new(0),
                done: watch::Sender::new(0),
                state: watch::Sender::new(WorkerState::Idle),
            })
        });
        Self { core, task: Mutex::new(None) }
    }

    /// There may be something to embed.
    pub(crate) fn wake(&self) {
        let Some(core) = &self.core else { return };
        core.woken.fetch_add(1, Ordering::AcqRel);
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let span = tracing::info_span!("embedding", bot = %core.bot);
            *task = Some(AbortOnDropHandle::new(tokio::spawn(work(core.clone()).instrument(span))));
        }
        core.wake.notify_one();
    }

    /// Stops. What is queued stays queued.
    pub(crate) fn rest(&self) {
        lock(&self.task).take();
        if let Some(core) = &self.core {
            core.state.send_replace(WorkerState::Idle);
            core.done.send_replace(core.woken.load(Ordering::Acquire));
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.core.as_ref().map_or(WorkerState::Off, |core| *core.state.borrow())
    }

    /// Waits until nothing is left of what was there at the time of the call, or the worker cannot go on.
    pub(crate) async fn idle(&self) {
        let Some(core) = &self.core else { return };
        let woken = core.woken.load(Ordering::Acquire);
        let (mut done, mut state) = (core.done.subscribe(), core.state.subscribe());
        tokio::select! {
            _ = done.wait_for(|done| *done >= woken) => {}
            _ = state.wait_for(|state| *state == WorkerState::Waiting) => {}
        }
    }
}

async fn work(core: Arc<Core>) {
    let mut skipped = HashSet::new();
    let mut size = BATCH;
    loop {
        core.wake.notified().await;
        core.state.send_replace(WorkerState::Working);
        // What follows soon, such as an answer behind its question or the next turn, goes in one batch: nobody needs these
        // vectors while the messages still stand in the prompt, and turns need the processor. But not for ever.
        let latest = tokio::time::Instant::now() + core.gather * GATHER_MOST;
        let more = async { while tokio::time::timeout(core.gather, core.wake.notified()).await.is_ok() {} };
        let _ = tokio::time::timeout_at(latest, more).await;
        let mut pause = PAUSES.0;
        loop {
            let woken = core.woken.load(Ordering::Acquire);
            match drain(&core, &mut skipped, size).await {
                Ok(()) => {
                    size = BATCH;
                    core.state.send_replace(WorkerState::Idle);
                    core.done.send_replace(woken);
                    break;
                }
                Err(error) => {
                    tracing::debug!(why = %error, "embedding waits");
                    core.state.send_replace(WorkerState::Waiting);
                    // Less at once may find a place.
                    let busy = matches!(error, MemoryError::Embedding(EmbedError::Busy));
                    size = if busy { (size / 2).max(1) } else { BATCH };
                    let wait = error.retry_after().filter(|_| !busy).unwrap_or(pause).max(pause);
                    pause = (pause * 2).min(PAUSES.1);
                    // A call does not shorten the pause: it only says that there is more.
                    tokio::time::sleep(wait).await;
                    core.state.send_replace(WorkerState::Working);
                }
            }
        }
    }
}

/// Embeds until nothing is left.
async fn drain(core: &Core, skipped: &mut HashSet<i64>, most: usize) -> Result<(), MemoryError> {
    let mut size = most;
    let mut singles = 0;
    loop {
        let (woken, began) = (core.woken.load(Ordering::Acquire), tokio::time::Instant::now());
        match messages(core, skipped, size).await {
            Ok(Round::Nothing) => break,
            // Whoever talks on gets most of the processor; what is left over waits for a pause.
            Ok(Round::More) if core.woken.load(Ordering::Acquire) != woken => {
                tokio::time::sleep(began.elapsed() * REST).await;
            }
            Ok(Round::More) => {}
            // One text of the batch makes the model fail: find out which.
            Err(MemoryError::Embedding(EmbedError::Failed(_))) if size > 1 => (size, singles) = (1, most),
            Err(error) => return Err(error),
        }
        singles = usize::saturating_sub(singles, 1);
        if singles == 0 {
            size = most;
        }
    }
    memories(core, most).await
}

/// One batch of messages.
async fn messages(core: &Core, skipped: &mut HashSet<i64>, size: usize) -> Result<Round, MemoryError> {
    let model = core.embedder.model_id();
    if skipped.len() > MOST_SKIPPED {
        skipped.clear();
    }
    let left_alone: Vec<i64> = skipped.iter().copied().collect();
    let plan = {
        let db = core.store.connection().await?;
        let limit = i64::try_from(size).unwrap_or(1);
        let batch = VectorRepository::waiting(&db, &core.bot, &left_alone, limit).await?;
        if batch.is_empty() {
            return Ok(Round::Nothing);
        }
        let places: Vec<_> = batch
            .iter()
            .filter_map(|waiting| waiting.text.as_ref())
            .filter_map(|said| Some((said.session?, said.place)))
            .collect();
        let around = match places.is_empty() {
            true => Vec::new(),
            false => {
                let (before, after) = (reach(READ_BEFORE), reach(READ_AFTER));
                VectorRepository::neighbours(&db, &core.bot, model, &places, before, after).await?
            }
        };
        texts(&batch, &around)
    };
    let Texts { texts, messages, renewed, mut dismissed } = plan;
    let single = messages.first().filter(|_| size == 1).map(|message| message.seq);
    let vectors = match core.embedder.embed(texts, Lane::Background).await {
        Ok(vectors) => vectors,
        Err(EmbedError::Failed(why)) if single.is_some() => {
            tracing::warn!(why, "a message cannot be embedded and is left alone");
            skipped.extend(single);
            return Ok(Round::More);
        }
        Err(error) => return Err(error.into()),
    };
    let vector = |number: usize| vectors.get(number).and_then(Option::as_ref).map(half);
    let mut made = Vec::with_capacity(messages.len());
    for message in messages {
        match (vector(message.own), vector(message.context)) {
            (Some(own), Some(context)) => {
                made.push(MessageVectors { id: message.id, seq: message.seq, stamp: message.stamp, own, context });
            }
            _ => dismissed.push((message.seq, message.stamp)),
        }
    }
    let renewed: Vec<(Uuid, HalfVector)> =
        renewed.into_iter().filter_map(|(id, number)| Some((id, vector(number)?))).collect();
    let db = core.store.connection().await?;
    if !dismissed.is_empty() {
        VectorRepository::dismiss(&db, &core.bot, &dismissed).await?;
    }
    if !made.is_empty() {
        VectorRepository::put(&db, &core.bot, model, &made, &renewed).await?;
    }
    Ok(Round::More)
}

/// All memories without a vector.
async fn memories(core: &Core, most: usize) -> Result<(), MemoryError> {
    let mut before = i64::MAX;
    loop {
        let bare = {
            let db = core.store.connection().await?;
            VectorRepository::bare_memories(&db, &core.bot, before, reach(most)).await?
        };
        let Some(last) = bare.last() else { return Ok(()) };
        before = last.seq;
        embed_memories(&core.store, &core.bot, &core.embedder, bare).await?;
    }
}

/// What became of some memories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Embedded {
    pub(super) updated: u64,
    pub(super) failed: u64,
}

/// Embeds memories and their meaning and writes the vectors. A text that the model fails on costs only itself.
pub(super) async fn embed_memories(
    store: &Store,
    bot: &BotSlug,
    embedder: &Embedder,
    bare: Vec<BareMemory>,
) -> Result<Embedded, MemoryError> {
    let mut out = Embedded::default();
    let many = bare.len();
    let made = match vectors_of(embedder, &bare).await {
        Ok(made) => made,
        Err(EmbedError::Failed(_)) => {
            let mut made = Vec::new();
            for memory in bare {
                match vectors_of(embedder, std::slice::from_ref(&memory)).await {
                    Ok(one) => made.extend(one),
                    Err(EmbedError::Failed(why)) => tracing::warn!(why, "a memory cannot be embedded"),
                    Err(error) => return Err(error.into()),
                }
            }
            made
        }
        Err(error) => return Err(error.into()),
    };
    out.failed = u64::try_from(many - made.len()).unwrap_or(0);
    if !made.is_empty() {
        let db = store.connection().await?;
        out.updated = VectorRepository::put_memories(&db, bot, embedder.model_id(), &made).await?;
    }
    Ok(out)
}

async fn vectors_of(embedder: &Embedder, bare: &[BareMemory]) -> Result<Vec<MemoryVectors>, EmbedError> {
    let mut texts: Vec<String> = bare.iter().map(|memory| memory.content.clone()).collect();
    let mut meanings = Vec::new();
    for (at, memory) in bare.iter().enumerate() {
        if let Some(text) = meaning_text(memory) {
            meanings.push(at);
            texts.push(text);
        }
    }
    let vectors = embedder.embed(texts, Lane::Background).await?;
    let (own, meant) = vectors.split_at(bare.len().min(vectors.len()));
    let mut made: Vec<Option<MemoryVectors>> = bare
        .iter()
        .zip(own)
        .map(|(memory, vector)| {
            let own = whole(vector.as_ref()?);
            Some(MemoryVectors { id: memory.id, content: memory.content.clone(), own, meaning: None })
        })
        .collect();
    for (at, vector) in meanings.into_iter().zip(meant) {
        if let (Some(Some(made)), Some(vector)) = (made.get_mut(at), vector) {
            made.meaning = Some(whole(vector));
        }
    }
    Ok(made.into_iter().flatten().collect())
}

fn meaning_text(memory: &BareMemory) -> Option<String> {
    meaning::text(&memory.meaning)
}

fn half(vector: &Vector) -> HalfVector {
    HalfVector::from_f32_slice(vector.as_slice())
}

fn whole(vector: &Vector) -> pgvector::Vector {
    pgvector::Vector::from(vector.as_slice().to_vec())
}

fn reach(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
