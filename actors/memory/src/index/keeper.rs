//! Keeps one index of one namespace true to its table: loads it in the background when somebody first asks for it,
//! reads rows again when it is told that they changed, looks now and then whether another process wrote, loads it again when
//! in doubt, and drops it when nobody asks any more. Readers never wait for a load; while there is no index they are told.
//!
//! One task per index does all of it, owned by this handle; writers only leave ids, so that they lose no time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use greenroom_kit::lock;
use greenroom_protocol::BotSlug;
use greenroom_store::{Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use super::readiness::{Bounds, Phase, Readiness};
use super::shelf::Shelf;

/// Rows asked for in one statement while loading.
const PAGE: i64 = 5_000;
/// Rows, and bytes of text, that are handed to the indexing thread at once.
const BLOCK: (usize, usize) = (512, 4 << 20);
/// Changes made under one lock, so that a search never waits long for it.
const CHANGES_AT_ONCE: usize = 64;
/// Rows read again in one statement.
const LOOKS_AT_ONCE: usize = 500;
/// More waiting changes than this are not worth making one by one.
const MOST_WAITING: usize = 50_000;
/// Pauses after a failed load.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Looks taken before an index that seems wrong is loaded again, and the pause between them.
const LOOKS: (u32, Duration) = (3, Duration::from_millis(500));
/// A check may take this share of the time: its own duration times this is the least pause between two.
const CHECK_SHARE: u32 = 500;

/// Handle to one index.
pub(crate) struct Keeper<S: Shelf> {
    core: Arc<Core<S>>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Core<S: Shelf> {
    bot: BotSlug,
    store: Store,
    bounds: Bounds,
    shelf: RwLock<Option<S>>,
    queue: Mutex<Queue>,
    wake: Notify,
    /// Number of the last call whose changes the index knows.
    applied: watch::Sender<u64>,
    phase: watch::Sender<Phase>,
    asked: Mutex<Instant>,
}

#[derive(Default)]
struct Queue {
    /// Whether there is an index, or one on its way, to which changes matter.
    open: bool,
    /// Rows to read again.
    waiting: HashSet<Uuid>,
    /// Number of the last call that told of changes.
    told: u64,
    reload: bool,
}

impl Queue {
    fn take(&mut self) -> (Vec<Uuid>, u64) {
        (self.waiting.drain().collect(), self.told)
    }
}

/// Why the task stopped applying changes.
enum Turn {
    Reload,
    Rest,
}

impl<S: Shelf> Keeper<S> {
    pub(crate) fn new(bot: BotSlug, store: Store, bounds: Bounds) -> Self {
        let core = Core {
            bot,
            store,
            bounds,
            shelf: RwLock::new(None),
            queue: Mutex::new(Queue::default()),
            wake: Notify::new(),
            applied: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Absent),
            asked: Mutex::new(Instant::now()),
        };
        Self { core: Arc::new(core), task: Mutex::new(None) }
    }

    /// Reads the index, or gives `None` when there is none yet; then it is on its way.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        *lock(&self.core.asked) = Instant::now();
        let found = self.peek(look);
        // Also when there is one: should its task have died, somebody has to notice.
        self.want();
        found
    }

    /// Reads the index if there is one; does not ask for it.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        let shelf = self.core.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.as_ref().map(look)
    }

    /// Sees to it that the index is loaded or being loaded.
    pub(crate) fn want(&self) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let core = self.core.clone();
            let span = tracing::info_span!("index", bot = %core.bot, rows = S::ROWS);
            *task = Some(AbortOnDropHandle::new(tokio::spawn(keep(core).instrument(span))));
        }
    }

    /// Tells of rows that changed, after their commit. They are read again, so neither the order of calls nor a call too
    /// many does harm.
    pub(crate) fn changed(&self, ids: &[Uuid]) {
        let mut queue = lock(&self.core.queue);
        if !queue.open {
            return;
        }
        queue.waiting.extend(ids);
        queue.told += 1;
        if queue.waiting.len() > MOST_WAITING {
            queue.waiting = HashSet::new();
            queue.reload = true;
        }
        drop(queue);
        self.core.wake.notify_one();
    }

    /// The table may hold something else than was told.
    pub(crate) fn doubt(&self) {
        lock(&self.core.queue).reload = true;
        self.core.wake.notify_one();
    }

    /// Stops the task and drops the index; the next reader brings both back.
    pub(crate) fn rest(&self) {
        lock(&self.task).take();
        self.core.close();
    }

    /// Waits, at most `limit`, until everything told so far can be found. Not at all while the index is being loaded.
    pub(crate) async fn caught_up(&self, limit: Duration) {
        let (open, told) = {
            let queue = lock(&self.core.queue);
            (queue.open, queue.told)
        };
        if !open || *self.core.phase.borrow() != Phase::Ready {
            return;
        }
        let mut applied = self.core.applied.subscribe();
        let _ = tokio::time::timeout(limit, applied.wait_for(|known| *known >= told)).await;
    }

    /// Waits, at most `limit`, until the index answers searches; whether it does.
    pub(crate) async fn ready(&self, limit: Duration) -> bool {
        self.want();
        let mut phase = self.core.phase.subscribe();
        let ready = phase.wait_for(|phase| matches!(phase, Phase::Ready | Phase::Reloading));
        tokio::time::timeout(limit, ready).await.is_ok_and(|answer| answer.is_ok())
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let shelf = self.core.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let (rows, bytes) = shelf.as_ref().map_or((0, 0), |shelf| (shelf.rows(), shelf.bytes()));
        Readiness { state: *self.core.phase.borrow(), rows, bytes }
    }

    /// How many rows the index holds, if there is one. Does not count as asking for it.
    pub(crate) fn rows(&self) -> Option<usize> {
        self.core.shelf.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Shelf::rows)
    }
}

impl<S: Shelf> Core<S> {
    fn close(&self) {
        {
            let mut queue = lock(&self.queue);
            queue.open = false;
            queue.waiting = HashSet::new();
            queue.reload = false;
            self.phase.send_replace(Phase::Absent);
            self.applied.send_replace(queue.told);
        }
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn idle(&self) -> bool {
        lock(&self.asked).elapsed() >= self.bounds.idle
    }

    /// The number of the last call, if nothing that was told is still to be done.
    fn settled(&self) -> Option<u64> {
        let queue = lock(&self.queue);
        (queue.waiting.is_empty() && *self.applied.borrow() == queue.told).then_some(queue.told)
    }
}

/// The task: load, keep up, load again or rest.
async fn keep<S: Shelf>(core: Arc<Core<S>>) {
    let mut pause = PAUSES.0;
    loop {
        let begun = Instant::now();
        match load(&core).await {
            Ok(rows) => tracing::debug!(rows, ms = begun.elapsed().as_millis(), "index loaded"),
            Err(why) => {
                tracing::warn!(why, "index could not be loaded, will be tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                if core.idle() {
                    return core.close();
                }
                continue;
            }
        }
        let turn = keep_up(&core, begun.elapsed()).await;
        pause = PAUSES.0;
        match turn {
            Turn::Reload => {}
            Turn::Rest => return core.close(),
        }
    }
}

/// Fills a new index and puts it in the place of the old one.
async fn load<S: Shelf>(core: &Arc<Core<S>>) -> Result<usize, String> {
    {
        let mut queue = lock(&core.queue);
        queue.open = true;
        queue.reload = false;
    }
    let present = core.shelf.read().unwrap_or_else(PoisonError::into_inner).is_some();
    core.phase.send_replace(if present { Phase::Reloading } else { Phase::Loading });
    let mut shelf = S::default();
    let mut place = None;
    while shelf.rows() < core.bounds.most_rows {
        let limit = PAGE.min(i64::try_from(core.bounds.most_rows - shelf.rows()).unwrap_or(PAGE));
        let db = core.store.connection().await.map_err(|error| error.to_string())?;
        let mut rows = std::pin::pin!(S::older(&db, &core.bot, place, limit).await.map_err(one_line)?);
        let (mut block, mut weight, mut read) = (Vec::new(), 0, 0);
        while let Some(row) = rows.try_next().await.map_err(|error| one_line(error.into()))? {
            let (at, change) = S::read(&row).map_err(one_line)?;
            place = Some(at);
            read += 1;
            weight += change.as_ref().map_or(0, S::weight);
            block.extend(change);
            if block.len() >= BLOCK.0 || weight >= BLOCK.1 {
                shelf = fill(shelf, std::mem::take(&mut block)).await?;
                weight = 0;
            }
        }
        shelf = fill(shelf, block).await?;
        if read < limit {
            break;
        }
    }
    // What changed meanwhile comes on top.
    let rows = loop {
        let (ids, told) = lock(&core.queue).take();
        let last = ids.is_empty();
        shelf = fill(shelf, looked(core, &ids).await.map_err(one_line)?).await?;
        let queue = lock(&core.queue);
        if last && queue.waiting.is_empty() {
            let rows = shelf.rows();
            *core.shelf.write().unwrap_or_else(PoisonError::into_inner) = Some(shelf);
            core.applied.send_replace(told);
            core.phase.send_replace(Phase::Ready);
            break rows;
        }
    };
    Ok(rows)
}

/// What rows are now, as changes.
async fn looked<S: Shelf>(core: &Core<S>, ids: &[Uuid]) -> Result<Vec<S::Change>, StoreError> {
    let mut changes = Vec::new();
    for ids in ids.chunks(LOOKS_AT_ONCE) {
        let db = core.store.connection().await?;
        changes.extend(S::look(&db, &core.bot, ids).await?);
    }
    Ok(changes)
}

/// Makes changes on a thread where they may take their time; a panic in there costs only this load.
async fn fill<S: Shelf>(mut shelf: S, changes: Vec<S::Change>) -> Result<S, String> {
    if changes.is_empty() {
        return Ok(shelf);
    }
    let filling = tokio::task::spawn_blocking(move || {
        for change in changes {
            shelf.apply(change);
        }
        shelf
    });
    filling.await.map_err(|error| format!("indexing broke off: {error}"))
}

/// Makes changes as they come, until the index must be loaded again or nobody wants it any more.
async fn keep_up<S: Shelf>(core: &Arc<Core<S>>, loading_took: Duration) -> Turn {
    let mut check_at = Instant::now() + core.bounds.check_every;
    // A load costs more than a check; one that is triggered again and again must not take over the machine.
    let no_reload_before = Instant::now() + loading_took * 20;
    loop {
        tokio::select! {
            () = core.wake.notified() => {
                if !drain(core).await {
                    return Turn::Reload;
                }
            }
            () = tokio::time::sleep_until(check_at.into()) => {
                if core.idle() {
                    return Turn::Rest;
                }
                let begun = Instant::now();
                match check(core).await {
                    Ok(true) => {}
                    Ok(false) if Instant::now() >= no_reload_before => {
                        tracing::info!("the index differs from its table, loading it again");
                        return Turn::Reload;
                    }
                    Ok(false) => tracing::debug!("the index differs from its table"),
                    Err(error) => tracing::debug!(why = %error, "the index could not be checked"),
                }
                check_at = Instant::now() + core.bounds.check_every.max(begun.elapsed() * CHECK_SHARE);
            }
        }
        if lock(&core.queue).reload {
            return Turn::Reload;
        }
        let rows = core.shelf.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Shelf::rows);
        if rows > core.bounds.most_rows + core.bounds.most_rows / 8 {
            return Turn::Reload;
        }
    }
}

/// Makes the waiting changes; false when that went wrong.
async fn drain<S: Shelf>(core: &Arc<Core<S>>) -> bool {
    let mut pause = PAUSES.0;
    loop {
        let (ids, told) = lock(&core.queue).take();
        match looked(core, &ids).await {
            Ok(changes) if changes.is_empty() => {
                core.applied.send_replace(told);
                return true;
            }
            Ok(changes) => {
                if let Err(error) = apply(core, changes).await {
                    tracing::error!(why = %error, "indexing broke off, loading the index again");
                    *core.shelf.write().unwrap_or_else(PoisonError::into_inner) = None;
                    return false;
                }
                core.applied.send_replace(told);
            }
            Err(error) => {
                // The index goes on answering as it is; rows that it should not know are dropped when they are fetched.
                tracing::debug!(why = %error, "changed rows cannot be read yet");
                lock(&core.queue).waiting.extend(ids);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                if lock(&core.queue).reload {
                    return false;
                }
            }
        }
    }
}

/// Makes changes to the index that answers searches, few at a time.
async fn apply<S: Shelf>(core: &Arc<Core<S>>, changes: Vec<S::Change>) -> Result<(), tokio::task::JoinError> {
    let core = core.clone();
    let applying = tokio::task::spawn_blocking(move || {
        let mut changes = changes.into_iter();
        loop {
            let mut shelf = core.shelf.write().unwrap_or_else(PoisonError::into_inner);
            let Some(shelf) = shelf.as_mut() else { return };
            let mut made = 0;
            for change in changes.by_ref().take(CHANGES_AT_ONCE) {
                shelf.apply(change);
                made += 1;
            }
            if made < CHANGES_AT_ONCE {
                return;
            }
        }
    });
    applying.await
}

/// Fetches what others wrote since the newest row, then compares counts. False when index and table differ.
async fn check<S: Shelf>(core: &Arc<Core<S>>) -> Result<bool, StoreError> {
    for _ in 0..LOOKS.0 {
        let newest = core.shelf.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Shelf::newest);
        let before = core.settled();
        let counted = {
            let db = core.store.connection().await?;
            let rows = S::newer(&db, &core.bot, newest, PAGE).await?;
            let changes: Vec<S::Change> =
                rows.err_into::<StoreError>().try_filter_map(async |row| Ok(S::read(&row)?.1)).try_collect().await?;
            if apply(core, changes).await.is_err() || !drain(core).await {
                return Ok(false);
            }
            S::count(&db, &core.bot).await?
        };
        let (counted, most) = (usize::try_from(counted).unwrap_or(0), core.bounds.most_rows);
        let held = core.shelf.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Shelf::rows);
        let same = if counted <= most { held == counted } else { held >= most };
        if same || (before.is_none() || before != core.settled()) {
            // Either all is well or somebody is writing right now, and then counts cannot be compared.
            return Ok(true);
        }
        tokio::time::sleep(LOOKS.1).await;
    }
    Ok(false)
}

/// One line about a failure, without row values.
fn one_line(error: StoreError) -> String {
    error.to_string()
}
