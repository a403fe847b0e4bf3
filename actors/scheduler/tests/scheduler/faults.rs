//! Faults: a leader that dies, connections that break, a database that goes, an actor that panics.

use greenroom_kit::State;
use greenroom_protocol::ErrorClass;
use greenroom_scheduler::{JobPatch, JobType, RunStatus, TaskStatus, TaskType};
use serde_json::json;
use std::time::Duration;

use crate::house::{Deed, HOUR, House, MINUTE, Process, draft, nova};

const EXTRACTION: JobType = JobType::MemoryExtraction;

/// Waits until a process leads, turning the clock by its check interval.
async fn until_leading(house: &House, process: &Process) {
    while !process.scheduler.is_leader() {
        house.clock.turn(1);
        process.scheduler.looked().await;
    }
}

#[tokio::test]
async fn two_schedulers_run_each_due_job_once_and_the_second_takes_over() {
    let house = House::new(&["mira", "nova"]).await;
    let first = house.process_apart().await;
    first.scheduler.settled().await;
    let second = house.process_apart().await;
    second.scheduler.looked().await;
    assert!(first.scheduler.is_leader() && !second.scheduler.is_leader());
    for _ in 0..3 {
        house.clock.turn(30 * MINUTE);
        second.scheduler.looked().await;
        first.scheduler.settled().await;
    }
    let begun = house.script.begun();
    for bot in ["mira", "nova"] {
        let what = format!("memory_extraction:{bot}");
        assert_eq!(begun.iter().filter(|it| **it == what).count(), 3, "{begun:?}");
        assert_eq!(first.statuses(EXTRACTION, bot).await, [RunStatus::Success; 3]);
    }

    // Killed in the middle: a failed run and another try, by the other one.
    house.script.on("memory_extraction:nova", Deed::Forever);
    house.clock.turn(30 * MINUTE);
    house.script.began_with("memory_extraction:nova").await;
    while second.statuses(EXTRACTION, "mira").await != [RunStatus::Success; 4] {
        first.scheduler.looked().await;
    }
    house.script.on("memory_extraction:nova", Deed::Answer(json!({"again": true})));
    first.group.crash().expect("crashed");
    until_leading(&house, &second).await;
    second.scheduler.settled().await;
    let runs = second.runs(EXTRACTION, "nova").await;
    let last: Vec<_> = runs[3..].iter().map(|run| (run.status, run.attempt, run.scheduled_for)).collect();
    let instant = last[0].2;
    assert_eq!(last, [(RunStatus::Failed, 1, instant), (RunStatus::Success, 2, instant)]);
    assert_eq!(runs[3].error_message.as_deref(), Some("lease expired: the process that ran it is gone"));
    assert_eq!(runs[4].result, Some(json!({"again": true})));
    // The parent judges by the last try.
    assert_eq!(second.statuses(EXTRACTION, "*").await, [RunStatus::Success; 4]);
    assert_eq!(second.statuses(EXTRACTION, "mira").await, [RunStatus::Success; 4]);
    first.store.close().await;
    second.store.close().await;
}

#[tokio::test]
async fn an_expired_lease_ends_a_run_even_if_its_owner_seems_alive() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    let triggered = process.scheduler.trigger(EXTRACTION, Some(&nova()), true).await.expect("triggered");
    process.scheduler.settled().await;
    let id = triggered.run_ids[0];
    let stuck = "UPDATE scheduled_job_runs SET status = 'running', finished_at = NULL, lease_until = '2020-01-01'";
    house.execute(&format!("{stuck} WHERE id = '{id}'")).await;
    process.scheduler.settled().await;
    assert_eq!(process.statuses(EXTRACTION, "nova").await, [RunStatus::Failed, RunStatus::Success]);
}

#[tokio::test]
async fn three_interruptions_are_a_failure() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    process.scheduler.trigger(EXTRACTION, Some(&nova()), true).await.expect("triggered");
    process.scheduler.settled().await;
    for attempt in 1..=3 {
        house
            .execute(&format!(
                "UPDATE scheduled_job_runs SET status = 'running', finished_at = NULL, lease_until = '2020-01-01'
                  WHERE attempt = {attempt}"
            ))
            .await;
        process.scheduler.settled().await;
    }
    assert_eq!(process.statuses(EXTRACTION, "nova").await, [RunStatus::Failed; 3]);
}

#[tokio::test]
async fn losing_its_connection_stops_a_leader_and_all_its_work() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::UntilCancelled);
    process.scheduler.trigger(EXTRACTION, Some(&nova()), true).await.expect("triggered");
    house.script.began(1).await;
    house.script.on("memory_extraction:nova", Deed::Answer(json!({})));
    house
        .execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
              WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.pid <> pg_backend_pid()",
        )
        .await;
    let mut runs = process.runs(EXTRACTION, "nova").await;
    while runs.len() < 2 || runs.iter().any(|run| run.status == RunStatus::Running) {
        house.clock.turn(1);
        process.scheduler.looked().await;
        runs = process.runs(EXTRACTION, "nova").await;
    }
    process.scheduler.settled().await;
    let runs = process.runs(EXTRACTION, "nova").await;
    assert_eq!((runs[0].status, runs[1].status, runs[1].attempt), (RunStatus::Failed, RunStatus::Success, 2));
    assert!(process.scheduler.is_leader());
}

#[tokio::test]
async fn a_database_that_goes_in_the_middle_of_a_job_costs_only_that_try() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::UntilCancelled);
    house.script.on("long", Deed::UntilCancelled);
    process.scheduler.trigger(EXTRACTION, Some(&nova()), true).await.expect("triggered");
    let other = greenroom_protocol::BotSlug::from_stored("mira");
    let task =
        process.scheduler.submit(&draft(TaskType::MemoryExtraction, "long", 0), &other).await.expect("submitted");
    house.script.began(2).await;
    house.script.on("memory_extraction:nova", Deed::Answer(json!({})));
    house.script.on("long", Deed::Answer(json!({})));
    // All connections of the database, the pool's too.
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    house.execute(sql).await;
    let deadline = Some(Duration::from_secs(1));
    loop {
        house.clock.turn(1);
        process.scheduler.looked().await;
        let ended = process.scheduler.task(task, deadline).await.expect("asked").expect("a task");
        let last = process.runs(EXTRACTION, "nova").await.pop().expect("a run");
        if ended.status == TaskStatus::Completed && last.status == RunStatus::Success {
            assert_eq!((ended.attempts, last.attempt), (2, 2));
            break;
        }
    }
}

#[tokio::test]
async fn work_that_takes_too_long_is_asked_to_stop_and_then_dropped() {
    let (house, process) = House::with_scheduler(&["mira", "nova"]).await;
    let job = process.job(EXTRACTION).await;
    let patch = JobPatch::read(&json!({"max_runtime_s": 100})).expect("a patch");
    process.scheduler.patch_job(job.id, &patch).await.expect("patched");
    house.script.on("memory_extraction:nova", Deed::Forever);
    house.script.on("memory_extraction:mira", Deed::UntilCancelled);
    process.scheduler.trigger(EXTRACTION, None, true).await.expect("triggered");
    house.script.began(2).await;
    house.clock.turn(100);
    process.scheduler.settled().await;
    for bot in ["mira", "nova"] {
        let run = process.runs(EXTRACTION, bot).await.remove(0);
        assert_eq!((run.status, run.error_message.as_deref()), (RunStatus::Failed, Some("took longer than 100 s")));
        assert_eq!(run.duration_ms, Some(100_000));
    }
}

#[tokio::test]
async fn a_panic_in_the_work_is_a_failed_run_and_no_more() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::Panic);
    house.clock.turn(30 * MINUTE);
    process.scheduler.settled().await;
    let run = process.runs(EXTRACTION, "nova").await.remove(0);
    assert_eq!(run.error_message.as_deref(), Some("the work broke off with a panic"));
    assert_eq!(process.statuses(JobType::HistorySummarization, "nova").await, [RunStatus::Success]);
    // The lock is free again.
    process.scheduler.hold(EXTRACTION, &nova()).await.expect("free").release().await;
}

#[tokio::test]
async fn an_actor_that_panics_comes_back_and_finds_its_work() {
    let (house, process) = House::with_scheduler(&["nova"]).await;
    house.script.on("memory_extraction:nova", Deed::Forever);
    process.scheduler.trigger(EXTRACTION, Some(&nova()), true).await.expect("triggered");
    house.script.began(1).await;
    house.script.on("memory_extraction:nova", Deed::Answer(json!({})));
    process.scheduler.nudge(&nova());
    process.scheduler.crash();
    while process.runs(EXTRACTION, "nova").await.len() < 2 {
        process.scheduler.looked().await;
        house.clock.turn(1);
    }
    process.scheduler.settled().await;
    let statuses = process.statuses(EXTRACTION, "nova").await;
    assert_eq!(statuses[..2], [RunStatus::Failed, RunStatus::Success]);
    let card = process.group.board().views().into_iter().find(|card| card.name == "scheduler").expect("a card");
    assert_eq!((card.state, card.restarts, card.in_flight), (State::Up, 1, 0));
    // The nudge outlived the actor.
    house.clock.turn(HOUR);
    process.scheduler.settled().await;
    assert!(process.statuses(EXTRACTION, "nova").await.len() > 2);
}

#[tokio::test]
async fn without_a_database_questions_are_answered_as_storage_trouble() {
    let (_house, process) = House::with_scheduler(&["nova"]).await;
    process.store.close().await;
    let trigger = process.scheduler.trigger(EXTRACTION, None, false).await.expect_err("away");
    let submit = process.scheduler.submit(&draft(TaskType::MemoryExtraction, "x", 0), &nova()).await.expect_err("away");
    assert_eq!((trigger.class(), submit.class()), (ErrorClass::Storage, ErrorClass::Storage));
    assert!(process.scheduler.is_running());
}
