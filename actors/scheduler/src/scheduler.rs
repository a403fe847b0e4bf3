//! The room's handle. Every answer comes from the database, so it is the same in every process; only [`Scheduler::hold`] and
//! the leader's work need this process's own connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_kit::{Address, Policy, State, Supervisor, SupervisorError, child};
use greenroom_protocol::BotSlug;
use greenroom_store::Store;
use uuid::Uuid;

use crate::actor::{SchedulerActor, SchedulerArgs, SchedulerMsg};
use crate::bookkeeping::{self, Occasion};
use crate::engine::Engine;
use crate::error::SchedulerError;
use crate::execute::lock_key;
use crate::job::{Job, JobFilter, JobPage, JobPatch, JobType};
use crate::repository::{DueJob, Ending, JobRepository, RunRepository, SessionRepository, TaskRepository};
use crate::run::{Run, RunFilter, RunPage, RunStatus, Trigger, Triggered};
use crate::session::Hold;
use crate::settings::SchedulerSettings;
use crate::task::{Task, TaskDraft, TaskFilter, TaskPage};
use crate::timing::after;
use crate::work::JobWork;

/// Longest wait for a task.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often a task is looked at while it is waited for, should a notice be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Handle to the scheduler.
#[derive(Clone)]
pub struct Scheduler {
    engine: Arc<Engine>,
    address: Address<SchedulerMsg>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("leads", &self.is_leader()).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Starts the scheduler's actor in `group`. It does not wait for the database, and leaves the house alone for a moment.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn start(
        group: &Supervisor,
        store: Store,
        work: Arc<dyn JobWork>,
        settings: SchedulerSettings,
    ) -> Result<Self, SupervisorError> {
        let card = group.card("scheduler", "scheduler");
        let engine = Arc::new(Engine::new(store, work, settings, card.clone()));
        let address = Address::vacant(card);
        let (shared, seat) = (engine.clone(), address.clone());
        let spec = child(&address, Policy::DOOR, move || {
            (SchedulerActor, SchedulerArgs { engine: shared.clone(), address: seat.clone() })
        });
        group.add(spec).await?;
        Ok(Self { engine, address })
    }

    /// Whether jobs run by themselves.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.engine.settings.enabled && self.address.card().view().state == State::Up
    }

    /// Whether this process does the work.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.engine.is_leader.load(Ordering::Acquire)
    }

    /// A turn of a bot has ended: its facts are extracted a little later, together with what is said until then. Costs
    /// nothing and never fails; a nudge that is lost with the process is made up for by the regular job.
    pub fn nudge(&self, bot: &BotSlug) {
        if self.engine.settings.enabled {
            let due = after(self.engine.now(), self.engine.settings.nudge_delay);
            if self.engine.nudge(bot, due) {
                self.engine.wake();
            }
        }
    }

    /// Takes the lock under which a job runs for a bot, for callers that do such work themselves.
    ///
    /// # Errors
    /// [`SchedulerError::AlreadyRunning`], [`SchedulerError::Disconnected`], [`SchedulerError::Store`].
    pub async fn hold(&self, job: JobType, bot: &BotSlug) -> Result<Hold, SchedulerError> {
        let session = self.engine.session().ok_or(SchedulerError::Disconnected)?;
        match session.hold(lock_key(job, bot.as_str())).await? {
            Some(hold) => Ok(hold),
            None => {
                let db = self.engine.store.connection().await?;
                Err(SchedulerError::AlreadyRunning { run: RunRepository::active_on(&db, job, bot.as_str()).await? })
            }
        }
    }

    /// Begins a job's runs now: for one bot, or for each job of the kind. `force` passes the question whether there is
    /// anything to do. Also runs jobs that are switched off.
    ///
    /// # Errors
    /// [`SchedulerError::Off`], [`SchedulerError::NoJob`], [`SchedulerError::NoBot`], [`SchedulerError::AlreadyRunning`] when
    /// nothing could begin, [`SchedulerError::Store`].
    pub async fn trigger(&self, job: JobType, bot: Option<&BotSlug>, force: bool) -> Result<Triggered, SchedulerError> {
        if !self.is_running() {
            return Err(SchedulerError::Off);
        }
        let bots = self.engine.work.bots();
        if let Some(bot) = bot.filter(|bot| job.is_per_bot() && !bots.contains(bot)) {
            return Err(SchedulerError::NoBot(bot.to_string()));
        }
        let now = self.engine.now();
        let mut db = self.engine.store.connection().await?;
        let transaction = db.transaction().await?;
        let mut jobs: Vec<DueJob> = JobRepository::of_type_on(&transaction, job, bot).await?;
        if bot.is_some() {
            jobs.truncate(1);
        }
        if jobs.is_empty() {
            return Err(SchedulerError::NoJob(job.as_str()));
        }
        let occasion = Occasion { trigger: Trigger::Manual, forced: force, scheduled_for: now };
        let mut run_ids = Vec::new();
        for due in &jobs {
            run_ids.extend(match bot {
                Some(bot) => bookkeeping::begin_one_on(&transaction, due, bot, occasion, now).await?,
                None => bookkeeping::begin_on(&transaction, due, &bots, occasion, now).await?,
            });
        }
        if run_ids.is_empty() {
            let who = bot.filter(|_| job.is_per_bot()).map_or(jobs[0].bot.as_str(), BotSlug::as_str);
            let run = RunRepository::active_on(&transaction, job, who).await?;
            return Err(SchedulerError::AlreadyRunning { run });
        }
        SessionRepository::notify_on(&transaction, "wake", None).await?;
        transaction.commit().await?;
        self.engine.wake();
        Ok(Triggered { job_type: job, jobs_triggered: run_ids.len(), run_ids })
    }

    /// One page of jobs.
    ///
    /// # Errors
    /// [`SchedulerError::Store`].
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, SchedulerError> {
        let bot_id = canonical(filter.bot_id.as_deref());
        let db = self.engine.store.connection().await?;
        let (jobs, total_count) = JobRepository::page_on(&db, &JobFilter { bot_id, ..filter.clone() }).await?;
        Ok(JobPage { jobs, total_count })
    }

    /// Edits a job.
    ///
    /// # Errors
    /// [`SchedulerError::NotFound`], [`SchedulerError::Store`].
    pub async fn patch_job(&self, id: Uuid, patch: &JobPatch) -> Result<Job, SchedulerError> {
        let db = self.engine.store.connection().await?;
        if !JobRepository::patch_on(&db, id, patch, self.engine.now()).await? {
            return Err(SchedulerError::NotFound("Job"));
        }
        SessionRepository::notify_on(&db, "wake", None).await?;
        self.engine.wake();
        JobRepository::get_on(&db, id).await?.ok_or(SchedulerError::NotFound("Job"))
    }

    /// One page of runs.
    ///
    /// # Errors
    /// [`SchedulerError::Store`].
    pub async fn runs(&self, filter: &RunFilter) -> Result<RunPage, SchedulerError> {
        let bot_id = canonical(filter.bot_id.as_deref());
        let db = self.engine.store.connection().await?;
        let (runs, total_count) = RunRepository::page_on(&db, &RunFilter { bot_id, ..filter.clone() }).await?;
        Ok(RunPage { runs, total_count })
    }

    /// One run with its result.
    ///
    /// # Errors
    /// [`SchedulerError::NotFound`], [`SchedulerError::Store`].
    pub async fn run(&self, id: Uuid) -> Result<Run, SchedulerError> {
        let db = self.engine.store.connection().await?;
        RunRepository::get_on(&db, id).await?.ok_or(SchedulerError::NotFound("Run"))
    }

    /// Calls a run off: one that waits ends at once, one at work is asked to stop.
    ///
    /// # Errors
    /// [`SchedulerError::NotFound`], [`SchedulerError::Ended`], [`SchedulerError::Store`].
    pub async fn cancel_run(&self, id: Uuid) -> Result<(), SchedulerError> {
        let run = self.run(id).await?;
        match run.status {
            RunStatus::Running => self.engine.tell_all("cancel", Some(id)).await,
            RunStatus::Pending => {
                let ending = Ending {
                    status: RunStatus::Failed,
                    result: serde_json::json!({"error": "cancelled"}),
                    error: Some("cancelled".into()),
                    interrupted: false,
                };
                let mut db = self.engine.store.connection().await?;
                let transaction = db.transaction().await?;
                bookkeeping::end_on(&transaction, id, None, &ending, self.engine.now()).await?;
                transaction.commit().await?;
                self.engine.ended();
            }
            RunStatus::Success | RunStatus::Failed | RunStatus::Skipped => return Err(SchedulerError::Ended),
        }
        Ok(())
    }

    /// Hands in a task; it survives a restart. Without a bot in the draft it is for `default_bot`.
    ///
    /// # Errors
    /// [`SchedulerError::Full`], [`SchedulerError::Store`].
    pub async fn submit(&self, draft: &TaskDraft, default_bot: &BotSlug) -> Result<Uuid, SchedulerError> {
        let id = Uuid::new_v4();
        let bot = draft.bot.as_ref().unwrap_or(default_bot);
        let db = self.engine.store.connection().await?;
        if !TaskRepository::insert_on(&db, id, draft, bot, self.engine.now()).await? {
            return Err(SchedulerError::Full);
        }
        SessionRepository::notify_on(&db, "wake", None).await?;
        self.engine.wake();
        Ok(id)
    }

    /// A task, as soon as it has ended or the wait (at most 300 s) is over; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`SchedulerError::Store`].
    pub async fn task(&self, id: Uuid, wait: Option<Duration>) -> Result<Option<Task>, SchedulerError> {
        let deadline = tokio::time::Instant::now() + wait.unwrap_or_default().min(WAIT_MAX);
        let mut endings = self.engine.endings.subscribe();
        loop {
            endings.mark_unchanged();
            let task = {
                let db = self.engine.store.connection().await?;
                TaskRepository::get_on(&db, id).await?
            };
            let over = task.as_ref().is_none_or(|task| task.status.is_final());
            if over || tokio::time::Instant::now() >= deadline {
                return Ok(task);
            }
            tokio::select! {
                _ = endings.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// One page of tasks, without payloads and results.
    ///
    /// # Errors
    /// [`SchedulerError::Store`].
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<TaskPage, SchedulerError> {
        let (bot_id, user_id) = (canonical(filter.bot_id.as_deref()), canonical(filter.user_id.as_deref()));
        let db = self.engine.store.connection().await?;
        let (tasks, total_count) =
            TaskRepository::page_on(&db, &TaskFilter { bot_id, user_id, ..filter.clone() }).await?;
        Ok(TaskPage { tasks, total_count })
    }

    /// Calls a task off: one that waits ends at once, one at work is asked to stop.
    ///
    /// # Errors
    /// [`SchedulerError::NotFound`], [`SchedulerError::Ended`], [`SchedulerError::Store`].
    pub async fn cancel_task(&self, id: Uuid) -> Result<(), SchedulerError> {
        let db = self.engine.store.connection().await?;
        let task = TaskRepository::get_on(&db, id).await?.ok_or(SchedulerError::NotFound("Task"))?;
        if task.status.is_final() {
            return Err(SchedulerError::Ended);
        }
        if TaskRepository::withdraw_on(&db, id, "cancelled", self.engine.now()).await? {
            SessionRepository::notify_on(&db, "done", Some(id)).await?;
            self.engine.ended();
        } else {
            SessionRepository::notify_on(&db, "cancel", Some(id)).await?;
        }
        Ok(())
    }

    /// Removes everything of a bot inside the caller's transaction. Gives the rows removed by table; runs that go with their
    /// jobs are not counted.
    ///
    /// # Errors
    /// [`SchedulerError::Store`].
    pub async fn purge(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<(&'static str, u64)>, SchedulerError> {
        let runs = RunRepository::purge_on(db, bot).await?;
        let jobs = JobRepository::purge_on(db, bot).await?;
        let tasks = TaskRepository::purge_on(db, bot).await?;
        Ok(vec![("scheduled_job_runs", runs), ("scheduled_jobs", jobs), ("background_tasks", tasks)])
    }

    /// Lets the driver look at once, and waits until it has found nothing to do and nothing at work: for tests.
    #[doc(hidden)]
    pub async fn settled(&self) {
        let asked = self.engine.ask();
        let mut pulse = self.engine.pulse.subscribe();
        let _ = pulse.wait_for(|pulse| pulse.answered >= asked && pulse.is_idle).await;
    }

    /// Lets the driver look at once, and waits until it has: for tests.
    #[doc(hidden)]
    pub async fn looked(&self) {
        let asked = self.engine.ask();
        let mut pulse = self.engine.pulse.subscribe();
        let _ = pulse.wait_for(|pulse| pulse.answered >= asked).await;
    }

    /// Makes the actor panic at its next message, to test supervision.
    #[doc(hidden)]
    pub fn crash(&self) {
        let _ = self.address.crash();
    }
}

/// A filter as it is stored.
fn canonical(id: Option<&str>) -> Option<String> {
    id.map(|id| id.trim().to_lowercase().replace('\0', "\u{fffd}"))
}
