//! A house with a scheduler in it: the clock, the scripted work, and several processes' worth of schedulers over one
//! database.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::{Board, Supervisor};
use greenroom_protocol::{BotSlug, UserId};
use greenroom_scheduler::{
    Answer, Clock, Failure, Gate, Job, JobFilter, JobRef, JobType, JobWork, Run, RunFilter, RunStatus, Scheduler,
    SchedulerSettings, Task, TaskDraft, TaskType,
};
use greenroom_store::testing::{TestDataDir, TestDatabase, database};
use greenroom_store::{Store, StoreSettings};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 3600;

/// A clock that stands still until it is turned.
#[derive(Clone)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

impl ManualClock {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Timestamp::from_second(1_900_000_000).expect("a time"))))
    }

    pub fn turn(&self, seconds: i64) {
        self.0.send_modify(|now| *now += SignedDuration::from_secs(seconds));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut time = self.0.subscribe();
        let until = self.now() + SignedDuration::try_from(wait).expect("a duration");
        Box::pin(async move {
            let _ = time.wait_for(|now| *now >= until).await;
        })
    }
}

/// What the work does.
#[derive(Debug, Clone)]
pub enum Deed {
    Answer(Value),
    Fail(&'static str),
    FailForNow(&'static str),
    Panic,
    /// Goes on until it is asked to stop.
    UntilCancelled,
    /// Goes on until it is dropped.
    Forever,
}

/// Work that follows a script: by `job:bot` or task type, else by `*`.
#[derive(Clone)]
pub struct Script {
    inner: Arc<Inner>,
}

struct Inner {
    bots: Mutex<Vec<BotSlug>>,
    deeds: Mutex<HashMap<String, Deed>>,
    gates: Mutex<HashMap<String, Result<Gate, Failure>>>,
    done: watch::Sender<Vec<String>>,
}

impl Script {
    pub fn new(bots: &[&str]) -> Self {
        let bots = bots.iter().map(|bot| BotSlug::from_stored(*bot)).collect();
        let inner = Inner {
            bots: Mutex::new(bots),
            deeds: Mutex::default(),
            gates: Mutex::default(),
            done: watch::Sender::new(Vec::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn on(&self, what: &str, deed: Deed) {
        self.inner.deeds.lock().expect("a lock").insert(what.into(), deed);
    }

    pub fn gate(&self, what: &str, gate: Result<Gate, Failure>) {
        self.inner.gates.lock().expect("a lock").insert(what.into(), gate);
    }

    /// What was begun so far, sorted, and forgets it.
    pub fn begun(&self) -> Vec<String> {
        let mut begun = self.inner.done.send_replace(Vec::new());
        begun.sort();
        begun
    }

    /// What was begun so far, in order.
    pub fn order(&self) -> Vec<String> {
        self.inner.done.borrow().clone()
    }

    /// Waits until so much was begun.
    pub async fn began(&self, count: usize) {
        let mut done = self.inner.done.subscribe();
        done.wait_for(|begun| begun.len() >= count).await.expect("the script");
    }

    /// Waits until this was begun.
    pub async fn began_with(&self, what: &str) {
        let mut done = self.inner.done.subscribe();
        done.wait_for(|begun| begun.iter().any(|it| it == what)).await.expect("the script");
    }

    async fn act(&self, what: String, cancel: CancellationToken) -> Result<Value, Failure> {
        let deed = {
            let deeds = self.inner.deeds.lock().expect("a lock");
            deeds.get(&what).or_else(|| deeds.get("*")).cloned().unwrap_or(Deed::Answer(json!({"ok": true})))
        };
        self.inner.done.send_modify(|begun| begun.push(what));
        match deed {
            Deed::Answer(value) => Ok(value),
            Deed::Fail(why) => Err(Failure::permanent(why)),
            Deed::FailForNow(why) => Err(Failure::transient(why)),
            Deed::Panic => panic!("a bug in the work"),
            Deed::UntilCancelled => {
                cancel.cancelled().await;
                Err(Failure::transient("stopped"))
            }
            Deed::Forever => std::future::pending().await,
        }
    }
}

fn name(of: JobRef<'_>) -> String {
    format!("{}:{}", of.job.as_str(), of.bot.map_or("*", BotSlug::as_str))
}

impl JobWork for Script {
    fn bots(&self) -> Vec<BotSlug> {
        self.inner.bots.lock().expect("a lock").clone()
    }

    fn gate<'a>(&'a self, of: JobRef<'a>, _: Option<Timestamp>) -> Answer<'a, Gate> {
        let gates = self.inner.gates.lock().expect("a lock");
        let gate = gates.get(&name(of)).cloned().unwrap_or(Ok(Gate::Run));
        Box::pin(async move { gate })
    }

    fn run<'a>(&'a self, of: JobRef<'a>, _: &'a Value, cancel: CancellationToken) -> Answer<'a, Value> {
        Box::pin(self.act(name(of), cancel))
    }

    fn task<'a>(&'a self, task: &'a Task, cancel: CancellationToken) -> Answer<'a, Value> {
        let tag = task.payload.get("model").and_then(Value::as_str).unwrap_or(task.task_type.as_str());
        Box::pin(self.act(tag.to_owned(), cancel))
    }
}

/// One process.
pub struct Process {
    pub scheduler: Scheduler,
    pub group: Supervisor,
    pub store: Store,
    _root: Supervisor,
    _dir: Option<TestDataDir>,
}

/// A database, a clock and a script that all processes share.
pub struct House {
    pub database: TestDatabase,
    pub clock: ManualClock,
    pub script: Script,
}

impl House {
    pub async fn new(bots: &[&str]) -> Self {
        Self { database: database().await, clock: ManualClock::new(), script: Script::new(bots) }
    }

    /// The usual: one process that leads, with its jobs made.
    pub async fn with_scheduler(bots: &[&str]) -> (Self, Process) {
        let house = Self::new(bots).await;
        let process = house.process(|_| {}).await;
        process.scheduler.settled().await;
        (house, process)
    }

    pub async fn process(&self, change: impl FnOnce(&mut SchedulerSettings)) -> Process {
        self.process_over(self.database.store.clone(), None, change).await
    }

    /// A process with a store of its own.
    pub async fn process_apart(&self) -> Process {
        let dir = TestDataDir::new();
        let url = SecretString::from(self.database.url.as_str());
        let settings = StoreSettings { database_url: Some(url), pool_size: 6, ..StoreSettings::new(dir.path()) };
        let (root, _) = Supervisor::root(Board::default()).await.expect("root");
        let store = Store::start(&root.group("store").await.expect("group"), settings).await.expect("a store");
        let mut process = self.process_over(store, Some(dir), |_| {}).await;
        process._root = root;
        process
    }

    async fn process_over(
        &self,
        store: Store,
        dir: Option<TestDataDir>,
        change: impl FnOnce(&mut SchedulerSettings),
    ) -> Process {
        let (root, _) = Supervisor::root(Board::default()).await.expect("root");
        let group = root.group("background").await.expect("group");
        let mut settings = SchedulerSettings {
            start_delay: Duration::ZERO,
            jitter: 0.0,
            grace: Duration::from_millis(50),
            clock: Arc::new(self.clock.clone()),
            ..SchedulerSettings::default()
        };
        change(&mut settings);
        let work = Arc::new(self.script.clone());
        let scheduler = Scheduler::start(&group, store.clone(), work, settings).await.expect("a scheduler");
        Process { scheduler, group, store, _root: root, _dir: dir }
    }

    pub async fn execute(&self, sql: &str) {
        self.database.store.connection().await.expect("connection").batch_execute(sql).await.expect("statement");
    }
}

impl Process {
    pub async fn job(&self, kind: JobType) -> Job {
        let filter = JobFilter { job_type: Some(kind), limit: 10, ..JobFilter::default() };
        self.scheduler.jobs(&filter).await.expect("jobs").jobs.into_iter().next().expect("a job")
    }

    /// The runs of a kind, oldest first.
    pub async fn runs(&self, kind: JobType, bot: &str) -> Vec<Run> {
        let filter = RunFilter {
            job_type: Some(kind),
            bot_id: Some(bot.into()),
            include_result: true,
            limit: 1000,
            ..RunFilter::default()
        };
        let mut runs = self.scheduler.runs(&filter).await.expect("runs").runs;
        runs.sort_by_key(|run| (run.scheduled_for, run.attempt));
        runs
    }

    pub async fn statuses(&self, kind: JobType, bot: &str) -> Vec<RunStatus> {
        self.runs(kind, bot).await.iter().map(|run| run.status).collect()
    }
}

pub fn nova() -> BotSlug {
    BotSlug::from_stored("nova")
}

pub fn draft(kind: TaskType, tag: &str, priority: i32) -> TaskDraft {
    TaskDraft { task_type: kind, payload: json!({"model": tag}), bot: None, user: UserId::from_stored("ann"), priority }
}
