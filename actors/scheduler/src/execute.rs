//! One run or one task, from its claim to its end. Every path ends in exactly one terminal status, or leaves the row for
//! recovery when the database is away for long. No transaction is open while the work goes on.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::BotSlug;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use crate::bookkeeping;
use crate::engine::Engine;
use crate::error::SchedulerError;
use crate::job::{ALL_BOTS, JobType};
use crate::repository::{ClaimedRun, Ending, RunRepository, SessionRepository, TaskRepository};
use crate::run::{RunStatus, Trigger};
use crate::session::Session;
use crate::task::Task;
use crate::timing::{MOST_ATTEMPTS, after, back_off};
use crate::work::{Failure, Gate, JobRef};

/// How often the end of a run is tried to be stored, and the pause before the second try; it doubles.
const STORE_TRIES: u32 = 6;
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// Pause before a task that failed for a passing reason is tried again; it doubles.
const TASK_PAUSE: Duration = Duration::from_secs(15);

/// Everything that a piece of work in hand needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub engine: Arc<Engine>,
    pub session: Arc<Session>,
    pub owner: Uuid,
    /// Somebody called this one off.
    pub cancel: CancellationToken,
    /// The house goes down, or leadership is lost.
    pub stop: CancellationToken,
}

/// How work went.
enum Outcome {
    Done(Value),
    Failed(Failure),
    /// It took too long.
    TimedOut(Duration),
    /// Somebody called it off.
    Cancelled,
    /// It broke off through no fault of its own.
    Interrupted(&'static str),
}

/// The key of the lock under which a job runs for a bot (or `*`).
pub(crate) fn lock_key(job: JobType, bot: &str) -> String {
    format!("{}:{bot}", job.as_str())
}

/// Does a claimed run.
pub(crate) async fn run(context: Context, run: ClaimedRun) {
    let ending = match decide(&context, &run).await {
        Ok(ending) => ending,
        Err(error) => failed(&Failure::transient(error.to_string()), None),
    };
    let status = ending.status.as_str();
    metrics::counter!("greenroom_job_runs_total", "job" => run.job_type.as_str(), "status" => status).increment(1);
    match ending.status {
        RunStatus::Failed => {
            let why = ending.error.as_deref().unwrap_or_default();
            tracing::warn!(job = run.job_type.as_str(), bot = run.bot, run = %run.id, why, "job run failed");
        }
        _ => tracing::debug!(job = run.job_type.as_str(), bot = run.bot, run = %run.id, status, "job run ended"),
    }
    let mut pause = STORE_PAUSE;
    for attempt in 1..=STORE_TRIES {
        match end(&context, run.id, &ending).await {
            Ok(()) => break,
            Err(error) if attempt == STORE_TRIES => {
                tracing::error!(run = %run.id, %error, "the end of a run was not stored; its lease will end it");
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    context.engine.ended();
}

async fn end(context: &Context, id: Uuid, ending: &Ending) -> Result<(), SchedulerError> {
    let mut db = context.engine.store.connection().await?;
    let transaction = db.transaction().await?;
    bookkeeping::end_on(&transaction, id, Some(context.owner), ending, context.engine.now()).await?;
    SessionRepository::notify_on(&transaction, "done", Some(id)).await?;
    transaction.commit().await?;
    Ok(())
}

async fn decide(context: &Context, run: &ClaimedRun) -> Result<Ending, SchedulerError> {
    let Some(hold) = context.session.hold(lock_key(run.job_type, &run.bot)).await? else {
        return Ok(skipped("already running"));
    };
    let ending = decide_held(context, run).await;
    hold.release().await;
    ending
}

async fn decide_held(context: &Context, run: &ClaimedRun) -> Result<Ending, SchedulerError> {
    let standing = {
        let db = context.engine.store.connection().await?;
        RunRepository::standing_on(&db, run.job, &run.bot).await?
    };
    if !run.forced
        && run.trigger != Trigger::Manual
        && let Some(last) = standing.last_failure
    {
        let until = after(last, back_off(run.interval, standing.failures));
        if context.engine.now() < until {
            return Ok(skipped(&format!("waiting after {} failures", standing.failures)));
        }
    }
    let bot = (run.bot != ALL_BOTS).then(|| BotSlug::from_stored(run.bot.as_str()));
    let (job, forced, config) = (run.job_type, run.forced, run.config.clone());
    let (work, cancel) = (context.engine.work.clone(), context.cancel.clone());
    let outcome = limited(context, run.max_runtime, async move {
        let of = JobRef { job, bot: bot.as_ref() };
        if !forced && let Gate::Skip(reason) = work.gate(of, standing.last_success).await? {
            return Ok(Err(reason));
        }
        work.run(of, &config, cancel).await.map(Ok)
    });
    Ok(match outcome.await {
        Ok(Err(reason)) => skipped(&reason),
        Ok(Ok(result)) => done(result),
        Err(outcome) => not_done(outcome),
    })
}

/// Does work within its time, and gives it a moment to end by itself when it must stop.
async fn limited<T: Send + 'static>(
    context: &Context,
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Outcome> {
    let clock = context.engine.settings.clock.clone();
    let time_out = clock.sleep(limit);
    // In a task of its own, so that a panic is this run's failure and no more.
    let mut task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    let timed_out = tokio::select! {
        ended = &mut task => return judged(context, ended),
        () = context.cancel.cancelled() => false,
        () = time_out => true,
    };
    context.cancel.cancel();
    let ended = tokio::time::timeout(context.engine.settings.grace, &mut task).await;
    if timed_out {
        return Err(Outcome::TimedOut(limit));
    }
    match ended {
        Ok(ended) => judged(context, ended),
        Err(_) => Err(called_off(context)),
    }
}

fn judged<T>(context: &Context, ended: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Outcome> {
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) if context.cancel.is_cancelled() => Err(called_off(context)),
        Ok(Err(failure)) => Err(Outcome::Failed(failure)),
        Err(_) => Err(Outcome::Failed(Failure::permanent("the work broke off with a panic"))),
    }
}

fn called_off(context: &Context) -> Outcome {
    if context.session.lost().is_cancelled() {
        Outcome::Interrupted("interrupted: the connection to the database was lost")
    } else if context.stop.is_cancelled() {
        Outcome::Interrupted("interrupted: the service is shutting down")
    } else {
        Outcome::Cancelled
    }
}

fn done(result: Value) -> Ending {
    match result.get("error").filter(|error| !error.is_null()) {
        None => Ending { status: RunStatus::Success, result, error: None, interrupted: false },
        Some(error) => {
            let message = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            failed(&Failure::permanent(message), Some(result))
        }
    }
}

fn not_done(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done(result) => done(result),
        Outcome::Failed(failure) => failed(&failure, None),
        Outcome::TimedOut(limit) => {
            failed(&Failure::transient(format!("took longer than {} s", limit.as_secs())), None)
        }
        Outcome::Cancelled => failed(&Failure::permanent("cancelled"), None),
        Outcome::Interrupted(why) => Ending { interrupted: true, ..failed(&Failure::transient(why), None) },
    }
}

fn failed(failure: &Failure, result: Option<Value>) -> Ending {
    let message: String = failure.message.replace('\0', " ").chars().take(2000).collect();
    let result = result.unwrap_or_else(|| json!({"error": message}));
    Ending { status: RunStatus::Failed, result, error: Some(message), interrupted: false }
}

fn skipped(reason: &str) -> Ending {
    Ending { status: RunStatus::Skipped, result: json!({"reason": reason}), error: None, interrupted: false }
}

/// Does a claimed task.
pub(crate) async fn task(context: Context, task: Task) {
    let (id, attempts, kind) = (task.id, task.attempts, task.task_type.as_str());
    let (work, cancel) = (context.engine.work.clone(), context.cancel.clone());
    let outcome = limited(&context, crate::repository::TASK_LIMIT, async move { work.task(&task, cancel).await }).await;
    let outcome = outcome.map_or_else(|outcome| outcome, Outcome::Done);
    let mut pause = STORE_PAUSE;
    for attempt in 1..=STORE_TRIES {
        match end_task(&context, id, attempts, &outcome).await {
            Ok(()) => break,
            Err(error) if attempt == STORE_TRIES => {
                tracing::error!(task = %id, kind, %error, "the end of a task was not stored; its lease will end it");
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    context.engine.ended();
}

async fn end_task(context: &Context, id: Uuid, attempts: i16, outcome: &Outcome) -> Result<(), SchedulerError> {
    let (engine, owner, now) = (&context.engine, Some(context.owner), context.engine.now());
    let message;
    let (ending, again): (Result<&Value, &str>, Option<Duration>) = match outcome {
        Outcome::Done(result) => (Ok(result), None),
        Outcome::Failed(failure) => {
            message = failure.message.replace('\0', " ").chars().take(2000).collect::<String>();
            let doubled = TASK_PAUSE * (1 << u32::try_from(attempts).unwrap_or_default().min(10));
            (Err(&message), failure.transient.then_some(doubled))
        }
        Outcome::TimedOut(limit) => {
            message = format!("took longer than {} s", limit.as_secs());
            (Err(&message), None)
        }
        Outcome::Cancelled => (Err("cancelled"), None),
        Outcome::Interrupted(why) => (Err(why), Some(Duration::ZERO)),
    };
    let mut db = engine.store.connection().await?;
    let transaction = db.transaction().await?;
    match (ending, again.filter(|_| attempts < MOST_ATTEMPTS)) {
        (Err(why), Some(pause)) => {
            TaskRepository::requeue_on(&transaction, id, owner, why, after(now, pause)).await?;
        }
        (ending, _) => {
            TaskRepository::end_on(&transaction, id, owner, ending, now).await?;
        }
    }
    SessionRepository::notify_on(&transaction, "done", Some(id)).await?;
    transaction.commit().await?;
    Ok(())
}
