//! The driver: one loop that leads or stands by, looks for what is due, claims it and lets it run. It alone starts work, so
//! what runs is exactly what is in its table. Invariant: work runs only while this process leads; losing the connection that
//! proves it cancels everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::bookkeeping::{self, Occasion};
use crate::engine::{Engine, Pulse};
use crate::error::SchedulerError;
use crate::execute::{self, Context};
use crate::job::JobType;
use crate::repository::{Ending, JobRepository, RunRepository, SessionRepository, TASK_LIMIT, TaskRepository};
use crate::run::{RunStatus, Trigger};
use crate::session::{Ears, Session};
use crate::timing::{MOST_ATTEMPTS, after, next_slot, spread};

/// Pause before another try when the database is away.
const RECONNECT: Duration = Duration::from_secs(1);
/// How long what has ended is kept.
const RUNS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const TASKS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Most jobs that one pass begins.
const JOBS_PER_PASS: usize = 64;
/// How long running work gets to end at a shutdown; the supervisor waits a little longer.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(2500);
const INTERRUPTED: &str = "lease expired: the process that ran it is gone";

/// The loop's own state.
pub(crate) struct Driver {
    engine: Arc<Engine>,
    owner: Uuid,
    shutdown: CancellationToken,
    connected: Option<(Arc<Session>, Ears)>,
    leads: bool,
    working: JoinSet<Uuid>,
    in_hand: HashMap<Uuid, InHand>,
    pruned_at: Option<Timestamp>,
}

/// A run or task that is being worked on.
struct InHand {
    bot: String,
    cancel: CancellationToken,
}

impl Driver {
    pub(crate) fn new(engine: Arc<Engine>, shutdown: CancellationToken) -> Self {
        Self {
            engine,
            owner: Uuid::new_v4(),
            shutdown,
            connected: None,
            leads: false,
            working: JoinSet::new(),
            in_hand: HashMap::new(),
            pruned_at: None,
        }
    }

    /// Runs until the shutdown.
    pub(crate) async fn run(mut self) {
        let start_delay = self.engine.settings.start_delay;
        tokio::select! {
            () = self.shutdown.cancelled() => return,
            () = self.engine.settings.clock.sleep(start_delay) => {}
        }
        while !self.shutdown.is_cancelled() {
            let (answered, began) = (self.engine.asked(), self.engine.now());
            let waiting = match self.pass().await {
                Ok(waiting) => waiting,
                Err(error) => {
                    self.engine.card.set_note(Some(format!("waiting for the database: {error}")));
                    tracing::warn!(%error, "the scheduler's pass broke off");
                    true
                }
            };
            let is_idle = self.leads && !waiting && self.in_hand.is_empty();
            self.engine.pulse.send_replace(Pulse { answered, is_idle });
            self.wait(began).await;
        }
        self.wind_down().await;
    }

    /// Waits until there may be something to do since the last pass began.
    async fn wait(&mut self, began: Timestamp) {
        let engine = self.engine.clone();
        let pause = if self.connected.is_some() { engine.settings.check_interval } else { RECONNECT };
        let next = after(began, pause);
        let next = engine.next_nudge().map_or(next, |due| next.min(due));
        let pause = Duration::try_from(next.duration_since(engine.now())).unwrap_or_default();
        let lost = self.connected.as_ref().map(|(session, _)| session.lost().clone()).unwrap_or_default();
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = engine.woken() => {}
            () = engine.settings.clock.sleep(pause) => {}
            Some(ended) = self.working.join_next() => self.put_down(ended),
            () = lost.cancelled() => self.disconnect(),
            heard = Self::hear(&mut self.connected) => self.heed(&heard).await,
        }
        while let Some(ended) = self.working.try_join_next() {
            self.put_down(ended);
        }
    }

    async fn hear(connected: &mut Option<(Arc<Session>, Ears)>) -> Heard {
        let Some((_, ears)) = connected else { return std::future::pending().await };
        tokio::select! {
            Some(notice) = ears.notices.recv() => Heard::Notice(notice.payload),
            Some(key) = ears.dropped.recv() => Heard::Dropped(key),
            else => std::future::pending().await,
        }
    }

    async fn heed(&mut self, heard: &Heard) {
        match heard {
            Heard::Dropped(key) => {
                if let Some((session, _)) = &self.connected {
                    session.release(key).await;
                }
            }
            Heard::Notice(payload) => match payload.split_once(' ') {
                Some(("done", _)) => self.engine.ended(),
                Some(("cancel", id)) => {
                    let id = Uuid::parse_str(id).ok();
                    if let Some(in_hand) = id.and_then(|id| self.in_hand.get(&id)) {
                        in_hand.cancel.cancel();
                    }
                }
                _ => {}
            },
        }
    }

    fn put_down(&mut self, ended: Result<Uuid, tokio::task::JoinError>) {
        match ended {
            Ok(id) => {
                if self.in_hand.remove(&id).is_some() {
                    self.engine.card.add_in_flight(-1);
                }
            }
            // The task around the work does not panic; should it, its place stays taken and its lease ends the row.
            Err(error) => {
                tracing::error!(%error, "a run's task broke off");
            }
        }
    }

    fn disconnect(&mut self) {
        // What runs is cancelled by the session's token and notes itself as interrupted.
        self.connected = None;
        self.engine.set_session(None);
        self.set_leads(false);
    }

    fn set_leads(&mut self, leads: bool) {
        if self.leads != leads {
            tracing::info!(leads, "scheduler leadership changed");
        }
        self.leads = leads;
        self.engine.is_leader.store(leads, Ordering::Release);
    }

    /// One look at everything; true when something is left that could begin but has no room.
    async fn pass(&mut self) -> Result<bool, SchedulerError> {
        let session = self.connect().await?;
        if self.engine.settings.enabled {
            self.take_nudges().await?;
        }
        if !self.leads {
            if !session.try_lead().await? {
                self.engine.card.set_note(Some("standing by: another process leads".into()));
                return Ok(false);
            }
            self.create_jobs().await?;
            self.set_leads(true);
        }
        self.engine.card.set_note(None);
        self.recover().await?;
        if self.engine.settings.enabled {
            self.begin_due_jobs().await?;
        }
        let waiting = self.claim(&session).await?;
        self.prune().await?;
        Ok(waiting)
    }

    async fn connect(&mut self) -> Result<Arc<Session>, SchedulerError> {
        if let Some((session, _)) = &self.connected {
            if !session.lost().is_cancelled() {
                return Ok(session.clone());
            }
            self.disconnect();
        }
        let (session, ears) = Session::open(&self.engine.store, self.owner).await?;
        self.engine.set_session(Some(session.clone()));
        self.connected = Some((session.clone(), ears));
        Ok(session)
    }

    /// Creates the jobs that should exist; those that do are left as the operator has them.
    async fn create_jobs(&self) -> Result<(), SchedulerError> {
        let (now, settings) = (self.engine.now(), &self.engine.settings);
        let db = self.engine.store.connection().await?;
        for job in JobType::ALL {
            let interval = settings.intervals.get(&job).copied().unwrap_or_else(|| job.default_interval());
            let first = next_slot(now, interval, now, spread(Uuid::new_v4(), settings.jitter));
            JobRepository::ensure_on(&db, job, interval, first, now).await?;
        }
        Ok(())
    }

    /// Ends what others began and left, and what has no one working on it.
    async fn recover(&self) -> Result<(), SchedulerError> {
        let now = self.engine.now();
        let mut db = self.engine.store.connection().await?;
        let runs = RunRepository::orphaned_on(&db, self.owner, now).await?;
        let tasks = TaskRepository::orphaned_on(&db, self.owner, now).await?;
        for id in runs.into_iter().filter(|id| !self.in_hand.contains_key(id)) {
            tracing::warn!(run = %id, "a run was left behind");
            let ending = Ending {
                status: RunStatus::Failed,
                result: serde_json::json!({"error": INTERRUPTED}),
                error: Some(INTERRUPTED.into()),
                interrupted: true,
            };
            let transaction = db.transaction().await?;
            bookkeeping::end_on(&transaction, id, None, &ending, now).await?;
            transaction.commit().await?;
            self.engine.ended();
        }
        for (id, attempts) in tasks.into_iter().filter(|(id, _)| !self.in_hand.contains_key(id)) {
            tracing::warn!(task = %id, attempts, "a task was left behind");
            if attempts < MOST_ATTEMPTS {
                TaskRepository::requeue_on(&db, id, None, INTERRUPTED, now).await?;
            } else {
                let why = format!("given up after {attempts} attempts: {INTERRUPTED}");
                TaskRepository::end_on(&db, id, None, Err(&why), now).await?;
            }
            self.engine.ended();
        }
        let transaction = db.transaction().await?;
        bookkeeping::settle_on(&transaction, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Extraction for bots whose turns have ended in this process, whoever leads.
    async fn take_nudges(&self) -> Result<(), SchedulerError> {
        let now = self.engine.now();
        let due = self.engine.due_nudges(now);
        if due.is_empty() {
            return Ok(());
        }
        let db = match self.engine.store.connection().await {
            Ok(db) => db,
            Err(error) => {
                for bot in &due {
                    self.engine.nudge(bot, now);
                }
                return Err(error.into());
            }
        };
        for bot in due {
            let jobs = JobRepository::of_type_on(&db, JobType::MemoryExtraction, Some(&bot)).await?;
            let Some(job) = jobs.first().filter(|job| job.enabled) else { continue };
            let occasion = Occasion { trigger: Trigger::Turn, forced: false, scheduled_for: now };
            if bookkeeping::begin_one_on(&db, job, &bot, occasion, now).await?.is_none() {
                // It is at work; what was said since then is for the next time.
                self.engine.nudge(&bot, after(now, self.engine.settings.nudge_delay));
            }
        }
        if !self.leads {
            SessionRepository::notify_on(&db, "wake", None).await?;
        }
        Ok(())
    }

    async fn begin_due_jobs(&self) -> Result<(), SchedulerError> {
        let settings = &self.engine.settings;
        let bots = self.engine.work.bots();
        let mut db = self.engine.store.connection().await?;
        for _ in 0..JOBS_PER_PASS {
            let now = self.engine.now();
            let transaction = db.transaction().await?;
            let Some(job) = JobRepository::due_on(&transaction, now).await? else { break };
            let occasion = Occasion { trigger: Trigger::Schedule, forced: false, scheduled_for: job.slot };
            bookkeeping::begin_on(&transaction, &job, &bots, occasion, now).await?;
            let next = next_slot(job.slot, job.interval, now, spread(Uuid::new_v4(), settings.jitter));
            JobRepository::advance_on(&transaction, job.id, now, next).await?;
            bookkeeping::settle_on(&transaction, now).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Fills the free places; tasks that somebody waits for go before runs. True when more is waiting.
    async fn claim(&mut self, session: &Arc<Session>) -> Result<bool, SchedulerError> {
        let db = self.engine.store.connection().await?;
        while self.in_hand.len() < self.engine.settings.concurrency.max(1) {
            let now = self.engine.now();
            let busy: Vec<String> = self.in_hand.values().map(|it| it.bot.clone()).collect();
            let lease = after(now, TASK_LIMIT + Duration::from_secs(60));
            if let Some(task) = TaskRepository::claim_on(&db, self.owner, &busy, now, lease).await? {
                let context = self.take_in_hand(session, task.id, task.bot.as_str());
                let span = tracing::info_span!("task", task.id = %task.id, kind = task.task_type.as_str());
                let id = task.id;
                self.working.spawn(
                    async move {
                        execute::task(context, task).await;
                        id
                    }
                    .instrument(span),
                );
            } else if let Some(run) = RunRepository::claim_on(&db, self.owner, &busy, now).await? {
                let context = self.take_in_hand(session, run.id, &run.bot);
                let span = tracing::info_span!("run", run.id = %run.id, job = run.job_type.as_str(), bot = run.bot);
                let id = run.id;
                self.working.spawn(
                    async move {
                        execute::run(context, run).await;
                        id
                    }
                    .instrument(span),
                );
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_in_hand(&mut self, session: &Arc<Session>, id: Uuid, bot: &str) -> Context {
        // Cancelled by the loss of the connection, by the shutdown, or one by one.
        let cancel = session.lost().child_token();
        self.in_hand.insert(id, InHand { bot: bot.to_owned(), cancel: cancel.clone() });
        self.engine.card.add_in_flight(1);
        let (engine, session, owner, stop) = (self.engine.clone(), session.clone(), self.owner, self.shutdown.clone());
        Context { engine, session, owner, cancel, stop }
    }

    async fn prune(&mut self) -> Result<(), SchedulerError> {
        let now = self.engine.now();
        if self.pruned_at.is_some_and(|at| now < after(at, PRUNE_EVERY)) {
            return Ok(());
        }
        let before = |kept: Duration| {
            let kept = jiff::SignedDuration::try_from(kept).unwrap_or_default();
            now.checked_sub(kept).unwrap_or(Timestamp::MIN)
        };
        let db = self.engine.store.connection().await?;
        RunRepository::prune_on(&db, before(RUNS_KEPT)).await?;
        TaskRepository::prune_on(&db, before(TASKS_KEPT)).await?;
        self.pruned_at = Some(now);
        Ok(())
    }

    async fn wind_down(&mut self) {
        for in_hand in self.in_hand.values() {
            in_hand.cancel.cancel();
        }
        let all = async { while self.working.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            tracing::warn!("background work did not stop in time and is left to recovery");
        }
        self.working.shutdown().await;
        if let Some((session, _)) = &self.connected {
            let _ = tokio::time::timeout(RECONNECT, session.resign()).await;
        }
    }
}

impl Drop for Driver {
    /// Also after a panic: what was in hand is no longer, and another incarnation begins anew.
    fn drop(&mut self) {
        self.engine.card.add_in_flight(-i64::try_from(self.in_hand.len()).unwrap_or_default());
        self.disconnect();
    }
}

enum Heard {
    Notice(String),
    Dropped(String),
}
