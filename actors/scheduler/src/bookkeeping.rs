//! What one event means for jobs and runs. Every function here belongs inside a transaction, so that a crash leaves all of it
//! or nothing.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::repository::{DueJob, Ending, JobRepository, NewRun, RunRepository};
use crate::run::{RunStatus, Trigger};
use crate::timing::{MOST_FAILURES, after, back_off};

/// Why and for which instant runs begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion {
    pub trigger: Trigger,
    pub forced: bool,
    pub scheduled_for: Timestamp,
}

/// Makes the runs of a job: one, or a parent with a child for each bot. `None` when the job runs or waits already, or had its
/// run for this instant.
pub(crate) async fn begin_on(
    db: &impl GenericClient,
    job: &DueJob,
    bots: &[BotSlug],
    occasion: Occasion,
    now: Timestamp,
) -> Result<Option<Uuid>, SchedulerError> {
    let Occasion { trigger, forced, scheduled_for } = occasion;
    let top = NewRun {
        id: Uuid::new_v4(),
        job: job.id,
        bot: &job.bot,
        parent: None,
        fan_out: job.fans_out(),
        trigger,
        forced,
        scheduled_for,
        attempt: 1,
    };
    if !RunRepository::insert_on(db, &top, now).await? {
        return Ok(None);
    }
    if top.fan_out {
        let mut busy = Vec::new();
        // A bot with a job of its own is not the business of the one on `*`.
        let own = JobRepository::of_type_on(db, job.job_type, None).await?;
        for bot in bots.iter().filter(|bot| own.iter().all(|job| job.bot != bot.as_str())) {
            let child =
                NewRun { id: Uuid::new_v4(), bot: bot.as_str(), parent: Some(top.id), fan_out: false, ..top.clone() };
            if !RunRepository::insert_on(db, &child, now).await? {
                busy.push(bot.as_str());
            }
        }
        if !busy.is_empty() {
            RunRepository::insert_skipped_on(db, &top, &busy, now).await?;
        }
    }
    Ok(Some(top.id))
}

/// Makes one run of a job for one bot.
pub(crate) async fn begin_one_on(
    db: &impl GenericClient,
    job: &DueJob,
    bot: &BotSlug,
    occasion: Occasion,
    now: Timestamp,
) -> Result<Option<Uuid>, SchedulerError> {
    let Occasion { trigger, forced, scheduled_for } = occasion;
    let id = Uuid::new_v4();
    let bot = if job.job_type.is_per_bot() { bot.as_str() } else { &job.bot };
    let run = NewRun { id, job: job.id, bot, parent: None, fan_out: false, trigger, forced, scheduled_for, attempt: 1 };
    Ok(RunRepository::insert_on(db, &run, now).await?.then_some(id))
}

/// Ends a run and does what follows: another try after an interruption, the end of its parent, the job's next time. False
/// when the run was not there to be ended (any more).
pub(crate) async fn end_on(
    db: &impl GenericClient,
    id: Uuid,
    owner: Option<Uuid>,
    ending: &Ending,
    now: Timestamp,
) -> Result<bool, SchedulerError> {
    let Some(run) = RunRepository::end_on(db, id, owner, ending, now).await? else { return Ok(false) };
    if run.interrupted {
        let again = NewRun {
            id: Uuid::new_v4(),
            job: run.job,
            bot: &run.bot,
            parent: run.parent,
            fan_out: false,
            trigger: run.trigger,
            forced: run.forced,
            scheduled_for: run.scheduled_for,
            attempt: run.attempt.saturating_add(1),
        };
        RunRepository::insert_on(db, &again, now).await?;
    } else if run.parent.is_some() {
        settle_on(db, now).await?;
    } else if run.trigger == Trigger::Schedule {
        judge_on(db, run.job, ending.status == RunStatus::Failed, now).await?;
    }
    Ok(true)
}

/// Ends the parents whose children have all ended. Two children that end at once may each leave it to the other, so it is
/// also done at every pass.
pub(crate) async fn settle_on(db: &impl GenericClient, now: Timestamp) -> Result<(), SchedulerError> {
    for parent in RunRepository::settle_on(db, now).await? {
        if parent.trigger == Trigger::Schedule {
            judge_on(db, parent.job, parent.is_failure, now).await?;
        }
    }
    Ok(())
}

/// What the end of a scheduled run means for its job: failures put it off, and in the end switch it off.
async fn judge_on(db: &impl GenericClient, id: Uuid, failed: bool, now: Timestamp) -> Result<(), SchedulerError> {
    let Some(job) = JobRepository::locked_on(db, id).await? else { return Ok(()) };
    if !failed {
        return JobRepository::judge_on(db, id, 0, None, None).await;
    }
    let failures = job.failures.saturating_add(1);
    let next = after(now, back_off(job.interval, failures));
    let reason = (failures >= MOST_FAILURES && job.enabled).then(|| format!("failed {failures} times in a row"));
    if reason.is_some() {
        tracing::error!(
            job = job.job_type.as_str(),
            bot = job.bot,
            failures,
            "a job keeps failing and is switched off"
        );
        metrics::counter!("greenroom_jobs_disabled_total").increment(1);
    }
    JobRepository::judge_on(db, id, failures, Some(next), reason.as_deref()).await
}
