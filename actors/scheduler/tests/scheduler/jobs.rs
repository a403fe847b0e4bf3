//! Jobs in good weather: what is due, gates, failures, triggers, nudges, holds.

use greenroom_protocol::{BotSlug, ErrorClass};
use greenroom_scheduler::{
    Failure, Gate, JobFilter, JobPatch, JobType, RunFilter, RunStatus, Scheduler, SchedulerError, Trigger,
};
use serde_json::json;
use uuid::Uuid;

use crate::house::{Deed, HOUR, House, MINUTE, nova};

#[tokio::test]
async fn default_jobs_are_made_once_and_left_as_the_operator_has_them() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    let page = process.scheduler.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).await.expect("jobs");
    assert_eq!(page.total_count, 8);
    let extraction = process.job(JobType::MemoryExtraction).await;
    assert_eq!((extraction.bot_id.as_str(), extraction.interval_minutes, extraction.enabled), ("*", 30, true));
    assert_eq!((extraction.last_run_at, extraction.last_status), (None, None));
    assert!(house.script.begun().is_empty());

    let patch = JobPatch::read(&json!({"enabled": false, "interval_minutes": 7})).expect("a patch");
    process.scheduler.patch_job(extraction.id, &patch).await.expect("patched");
    process.group.shutdown().await;
    let again = house.process(|_| {}).await;
    again.scheduler.settled().await;
    let kept = again.job(JobType::MemoryExtraction).await;
    assert_eq!((kept.enabled, kept.interval_minutes), (false, 7));
    house.clock.turn(HOUR);
    again.scheduler.settled().await;
    assert!(!house.script.begun().iter().any(|it| it.starts_with("memory_extraction")));
    let unknown = again.scheduler.patch_job(Uuid::nil(), &patch).await.expect_err("nobody");
    assert_eq!(unknown.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn what_is_due_runs_once_for_each_bot_and_missed_slots_count_once() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house.clock.turn(30 * MINUTE);
    process.scheduler.settled().await;
    let expected = [
        "history_summarization:mira",
        "history_summarization:nova",
        "memory_extraction:mira",
        "memory_extraction:nova",
    ];
    assert_eq!(house.script.begun(), expected);
    process.scheduler.settled().await;
    assert!(house.script.begun().is_empty());

    // Ten hours later: once, not twenty times, and profiles once for all.
    house.clock.turn(10 * HOUR);
    process.scheduler.settled().await;
    let begun = house.script.begun();
    assert_eq!(begun.iter().filter(|it| *it == "memory_extraction:nova").count(), 1, "{begun:?}");
    assert_eq!(begun.iter().filter(|it| *it == "profile_maintenance:*").count(), 1, "{begun:?}");

    let parents = process.runs(JobType::MemoryExtraction, "*").await;
    assert_eq!(parents.len(), 2);
    assert_eq!(parents[1].result, Some(json!({"success": 2, "failed": 0, "skipped": 0})));
    let children = process.runs(JobType::MemoryExtraction, "nova").await;
    assert!(children.iter().all(|run| run.parent_run_id.is_some() && run.status == RunStatus::Success));
    assert_eq!(children[0].result, Some(json!({"ok": true})));
    let job = process.job(JobType::MemoryExtraction).await;
    assert_eq!((job.last_status, job.consecutive_failures), (Some(RunStatus::Success), 0));
    assert!(job.next_run_at > job.last_run_at);
}

#[tokio::test]
async fn gates_skip_with_a_reason_and_failing_gates_fail() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house.script.gate("memory_extraction:nova", Ok(Gate::Skip("nothing new".into())));
    house.script.gate("memory_extraction:mira", Err(Failure::permanent("no such table")));
    house.clock.turn(30 * MINUTE);
    process.scheduler.settled().await;
    assert!(!house.script.begun().iter().any(|it| it.starts_with("memory_extraction")));
    let skipped = process.runs(JobType::MemoryExtraction, "nova").await;
    assert_eq!((skipped[0].status, &skipped[0].result), (RunStatus::Skipped, &Some(json!({"reason": "nothing new"}))));
    let failed = process.runs(JobType::MemoryExtraction, "mira").await;
    assert_eq!((failed[0].status, failed[0].error_message.as_deref()), (RunStatus::Failed, Some("no such table")));
    let parent = &process.runs(JobType::MemoryExtraction, "*").await[0];
    assert_eq!((parent.status, parent.error_message.as_deref()), (RunStatus::Failed, Some("1 of 2 bots failed")));
    // One bot's failure does not put off the others.
    assert_eq!(process.job(JobType::MemoryExtraction).await.consecutive_failures, 0);

    process.scheduler.trigger(JobType::MemoryExtraction, Some(&nova()), true).await.expect("triggered");
    process.scheduler.settled().await;
    assert_eq!(house.script.begun(), ["memory_extraction:nova"]);
}

#[tokio::test]
async fn a_failing_bot_waits_longer_while_others_go_on() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house.script.on("memory_extraction:nova", Deed::Fail("no model"));
    let mut begun = Vec::new();
    for _ in 0..8 {
        house.clock.turn(30 * MINUTE);
        process.scheduler.settled().await;
        let now = house.script.begun();
        begun.push((now.contains(&"memory_extraction:nova".into()), now.contains(&"memory_extraction:mira".into())));
    }
    assert!(begun.iter().all(|(_, mira)| *mira));
    // Failed at once, then after one, then after two hours.
    let nova: Vec<bool> = begun.iter().map(|(nova, _)| *nova).collect();
    assert_eq!(nova, [true, false, true, false, false, false, true, false]);
    let skipped = &process.runs(JobType::MemoryExtraction, "nova").await[1];
    assert_eq!(skipped.result, Some(json!({"reason": "waiting after 1 failures"})));
    // Whoever asks is not put off.
    process.scheduler.trigger(JobType::MemoryExtraction, Some(&crate::house::nova()), false).await.expect("triggered");
    process.scheduler.settled().await;
    assert_eq!(house.script.begun(), ["memory_extraction:nova"]);
}

#[tokio::test]
async fn a_job_that_keeps_failing_is_switched_off_until_somebody_switches_it_on() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::Answer(json!({"error": "no model", "seen": 3})));
    let mut rounds = 0;
    let disabled = loop {
        let job = process.job(JobType::MemoryExtraction).await;
        if !job.enabled {
            break job;
        }
        rounds += 1;
        assert!(rounds <= 8, "{job:?}");
        let wait = job.next_run_at.expect("a time").duration_since(greenroom_scheduler::Clock::now(&house.clock));
        house.clock.turn(wait.as_secs());
        process.scheduler.settled().await;
    };
    assert_eq!((rounds, disabled.consecutive_failures), (8, 8));
    assert_eq!(disabled.disabled_reason.as_deref(), Some("failed 8 times in a row"));
    let runs = process.runs(JobType::MemoryExtraction, "nova").await;
    assert_eq!(runs[0].result, Some(json!({"error": "no model", "seen": 3})));
    assert_eq!(runs[0].error_message.as_deref(), Some("no model"));

    house.script.on("memory_extraction:nova", Deed::Answer(json!({})));
    house.clock.turn(100 * HOUR);
    process.scheduler.settled().await;
    assert!(!house.script.begun().contains(&"memory_extraction:mira".to_owned()));
    assert_eq!(process.runs(JobType::MemoryExtraction, "nova").await.len(), 8);
    let on = JobPatch { enabled: Some(true), ..JobPatch::default() };
    let patched = process.scheduler.patch_job(disabled.id, &on).await.expect("patched");
    assert_eq!((patched.consecutive_failures, patched.disabled_reason), (0, None));
    process.scheduler.settled().await;
    assert_eq!(process.statuses(JobType::MemoryExtraction, "nova").await[8], RunStatus::Success);
}

#[tokio::test]
async fn triggers_at_once_begin_one_run_and_name_it() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::UntilCancelled);
    let triggers = (0..8).map(|_| {
        let scheduler = process.scheduler.clone();
        tokio::spawn(async move { scheduler.trigger(JobType::MemoryExtraction, Some(&nova()), false).await })
    });
    let (mut begun, mut refused) = (Vec::new(), Vec::new());
    for trigger in triggers.collect::<Vec<_>>() {
        match trigger.await.expect("task") {
            Ok(triggered) => begun.extend(triggered.run_ids),
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Conflict);
                let SchedulerError::AlreadyRunning { run } = error else { panic!("{error}") };
                refused.push(run);
            }
        }
    }
    assert_eq!(begun.len(), 1);
    assert!(refused.iter().all(|run| *run == Some(begun[0])), "{refused:?}");
    house.script.began(1).await;
    process.scheduler.cancel_run(begun[0]).await.expect("cancelled");
    process.scheduler.settled().await;
    let run = process.scheduler.run(begun[0]).await.expect("a run");
    assert_eq!(
        (run.status, run.error_message.as_deref(), run.trigger),
        (RunStatus::Failed, Some("cancelled"), Trigger::Manual)
    );
    assert!(matches!(process.scheduler.cancel_run(begun[0]).await, Err(SchedulerError::Ended)));

    let all = process.scheduler.trigger(JobType::TombstoneExpiry, None, false).await.expect("triggered");
    assert_eq!((all.jobs_triggered, all.run_ids.len()), (1, 1));
    process.scheduler.settled().await;
    let parent = process.scheduler.run(all.run_ids[0]).await.expect("a run");
    assert_eq!((parent.bot_id.as_str(), parent.status), ("*", RunStatus::Success));
    let stranger = process.scheduler.trigger(JobType::MemoryDecay, Some(&BotSlug::from_stored("x")), false).await;
    assert!(matches!(stranger, Err(SchedulerError::NoBot(_))));
    house.execute("DELETE FROM scheduled_jobs WHERE job_type = 'memory_decay'").await;
    let none = process.scheduler.trigger(JobType::MemoryDecay, None, false).await.expect_err("no job");
    assert_eq!(none.to_string(), "No scheduled job found for type: memory_decay");
}

#[tokio::test]
async fn a_burst_of_turns_is_one_extraction_a_minute_later() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    for _ in 0..50 {
        process.scheduler.nudge(&nova());
    }
    house.clock.turn(59);
    process.scheduler.settled().await;
    assert!(house.script.begun().is_empty());
    house.clock.turn(1);
    process.scheduler.settled().await;
    assert_eq!(house.script.begun(), ["memory_extraction:nova"]);
    assert_eq!(process.runs(JobType::MemoryExtraction, "nova").await[0].trigger, Trigger::Turn);
    // While it is at work, what comes is kept for later.
    house.script.on("memory_extraction:nova", Deed::UntilCancelled);
    process.scheduler.nudge(&nova());
    house.clock.turn(60);
    house.script.began(1).await;
    process.scheduler.nudge(&nova());
    house.clock.turn(60);
    process.scheduler.looked().await;
    let running = process.runs(JobType::MemoryExtraction, "nova").await.pop().expect("a run");
    house.script.on("memory_extraction:nova", Deed::Answer(json!({})));
    process.scheduler.cancel_run(running.id).await.expect("cancelled");
    process.scheduler.settled().await;
    let _ = house.script.begun();
    // The failure (it was cancelled) puts the bot's extraction off for an hour.
    house.clock.turn(60);
    process.scheduler.settled().await;
    let last = process.runs(JobType::MemoryExtraction, "nova").await.pop().expect("a run");
    assert_eq!(last.status, RunStatus::Skipped);
}

#[tokio::test]
async fn whoever_does_a_jobs_work_holds_its_lock() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    let hold = process.scheduler.hold(JobType::MemoryExtraction, &nova()).await.expect("held");
    let second = process.scheduler.hold(JobType::MemoryExtraction, &nova()).await.expect_err("held already");
    assert!(matches!(second, SchedulerError::AlreadyRunning { run: None }));
    process.scheduler.trigger(JobType::MemoryExtraction, Some(&nova()), true).await.expect("triggered");
    process.scheduler.settled().await;
    let runs = process.runs(JobType::MemoryExtraction, "nova").await;
    assert_eq!((runs[0].status, &runs[0].result), (RunStatus::Skipped, &Some(json!({"reason": "already running"}))));
    hold.release().await;

    // A hold that is merely dropped is released soon after; another process can have it then.
    let other = house.process_apart().await;
    other.scheduler.looked().await;
    let hold = process.scheduler.hold(JobType::MemoryExtraction, &nova()).await.expect("free again");
    let elsewhere = other.scheduler.hold(JobType::MemoryExtraction, &nova()).await.expect_err("held elsewhere");
    assert_eq!(elsewhere.class(), ErrorClass::Conflict);
    drop(hold);
    loop {
        process.scheduler.looked().await;
        match other.scheduler.hold(JobType::MemoryExtraction, &nova()).await {
            Ok(hold) => break hold.release().await,
            Err(error) => assert_eq!(error.class(), ErrorClass::Conflict),
        }
    }
}

#[tokio::test]
async fn listings_filter_and_page() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house.clock.turn(30 * MINUTE);
    process.scheduler.settled().await;
    let count = async |filter: RunFilter| process.scheduler.runs(&filter).await.expect("runs").total_count;
    let all = RunFilter { limit: 100, ..RunFilter::default() };
    assert_eq!(count(all.clone()).await, 6);
    assert_eq!(count(RunFilter { bot_id: Some(" NOVA ".into()), ..all.clone() }).await, 2);
    assert_eq!(count(RunFilter { bot_id: Some("no\0va' OR 1=1".into()), ..all.clone() }).await, 0);
    assert_eq!(count(RunFilter { status: Some(RunStatus::Failed), ..all.clone() }).await, 0);
    assert_eq!(count(RunFilter { job_id: Some(Uuid::nil()), ..all.clone() }).await, 0);
    let page = process.scheduler.runs(&RunFilter { limit: 4, offset: 4, ..all }).await.expect("runs");
    assert_eq!((page.runs.len(), page.total_count), (2, 6));
    assert!(page.runs.iter().all(|run| run.result.is_none()));
    let jobs = JobFilter { limit: 100, ..JobFilter::default() };
    let off = JobFilter { enabled: Some(false), ..jobs.clone() };
    assert_eq!(process.scheduler.jobs(&off).await.expect("jobs").total_count, 0);
    let third = JobFilter { limit: 1, offset: 2, ..jobs };
    assert_eq!(process.scheduler.jobs(&third).await.expect("jobs").jobs[0].job_type, JobType::MemoryDecay);
}

#[tokio::test]
async fn old_runs_and_a_purged_bots_runs_are_removed() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house.clock.turn(30 * MINUTE);
    process.scheduler.settled().await;
    let db = house.database.store.connection().await.expect("connection");
    let gone = Scheduler::purge(&db, &nova()).await.expect("purged");
    assert_eq!(gone, [("scheduled_job_runs", 2), ("scheduled_jobs", 0), ("background_tasks", 0)]);
    assert!(process.runs(JobType::MemoryExtraction, "nova").await.is_empty());
    assert_eq!(process.runs(JobType::MemoryExtraction, "mira").await.len(), 1);
    house.execute("UPDATE scheduled_jobs SET enabled = false").await;
    house.clock.turn(31 * 24 * HOUR);
    process.scheduler.settled().await;
    assert!(process.runs(JobType::MemoryExtraction, "mira").await.is_empty());
}

#[tokio::test]
async fn a_scheduler_that_is_off_runs_no_jobs_and_says_so() {
    let house = House::new(&["nova"]).await;
    let process = house.process(|settings| settings.enabled = false).await;
    process.scheduler.settled().await;
    house.clock.turn(10 * HOUR);
    process.scheduler.nudge(&nova());
    process.scheduler.settled().await;
    assert!(house.script.begun().is_empty() && !process.scheduler.is_running());
    let off = process.scheduler.trigger(JobType::MemoryDecay, None, true).await.expect_err("off");
    assert_eq!(off.class(), ErrorClass::Conflict);
}

#[tokio::test]
async fn a_bot_with_a_job_of_its_own_is_left_out_of_the_one_for_all() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    house
        .execute(
            "INSERT INTO scheduled_jobs (id, job_type, bot_id, interval_minutes, created_at, updated_at)
             VALUES (gen_random_uuid(), 'memory_decay', 'nova', 60, now(), now())",
        )
        .await;
    process.scheduler.settled().await;
    assert_eq!(house.script.begun(), ["memory_decay:nova"]);
    let triggered = process.scheduler.trigger(JobType::MemoryDecay, None, false).await.expect("triggered");
    assert_eq!(triggered.jobs_triggered, 2);
    process.scheduler.settled().await;
    assert_eq!(house.script.begun(), ["memory_decay:mira", "memory_decay:nova"]);
}
