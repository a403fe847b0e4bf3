//! Background tasks: durable, in order, waited for, called off.

use std::time::Duration;

use greenroom_protocol::{BotSlug, ErrorClass};
use greenroom_scheduler::{SchedulerError, TaskDraft, TaskFilter, TaskStatus, TaskType};
use serde_json::json;
use uuid::Uuid;

use crate::house::{Deed, HOUR, House, draft, nova};

const WAIT: Option<Duration> = Some(Duration::from_secs(60));
const KIND: TaskType = TaskType::MemoryExtraction;

#[tokio::test]
async fn a_task_is_done_and_waited_for() {
    let (house, process) = House::with_scheduler(&[]).await;
    house.script.on("good", Deed::Answer(json!({"facts_stored": 2, "error": "inside"})));
    house.script.on("bad", Deed::Fail("no model"));
    let good = process.scheduler.submit(&draft(KIND, "good", 0), &nova()).await.expect("submitted");
    let task = process.scheduler.task(good, WAIT).await.expect("asked").expect("a task");
    // A logical failure inside the result still completes the task.
    assert_eq!(
        (task.status, task.result),
        (TaskStatus::Completed, Some(json!({"facts_stored": 2, "error": "inside"})))
    );
    assert!(task.processing_time_ms.is_some() && task.bot == nova());
    let bad = process.scheduler.submit(&draft(KIND, "bad", 0), &nova()).await.expect("submitted");
    let task = process.scheduler.task(bad, WAIT).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.error.as_deref(), task.attempts), (TaskStatus::Failed, Some("no model"), 1));
    assert_eq!(process.scheduler.task(Uuid::nil(), WAIT).await.expect("asked"), None);
}

#[tokio::test]
async fn another_process_hears_of_the_end() {
    let (house, leader) = House::with_scheduler(&[]).await;
    let other = house.process_apart().await;
    other.scheduler.looked().await;
    assert!(leader.scheduler.is_leader() && !other.scheduler.is_leader());
    let id = other.scheduler.submit(&draft(KIND, "x", 0), &nova()).await.expect("submitted");
    let task = other.scheduler.task(id, WAIT).await.expect("asked").expect("a task");
    assert_eq!(task.status, TaskStatus::Completed);
}

#[tokio::test]
async fn one_task_of_a_bot_at_a_time_the_highest_priority_first() {
    let (house, process) = House::with_scheduler(&[]).await;
    house.script.on("first", Deed::UntilCancelled);
    let first = process.scheduler.submit(&draft(KIND, "first", 0), &nova()).await.expect("submitted");
    house.script.began(1).await;
    for (tag, priority) in [("low", -1), ("b", 0), ("c", 0), ("high", 5)] {
        process.scheduler.submit(&draft(KIND, tag, priority), &nova()).await.expect("submitted");
        house.clock.turn(1);
    }
    let elsewhere = TaskDraft { bot: Some(BotSlug::from_stored("mira")), ..draft(KIND, "mira", -9) };
    process.scheduler.submit(&elsewhere, &nova()).await.expect("submitted");
    house.script.began(2).await;
    assert_eq!(house.script.order(), ["first", "mira"]);
    let filter = TaskFilter { status: Some(TaskStatus::Running), limit: 10, ..TaskFilter::default() };
    assert!(process.scheduler.tasks(&filter).await.expect("tasks").tasks.iter().any(|task| task.id == first));
    process.scheduler.cancel_task(first).await.expect("cancelled");
    process.scheduler.settled().await;
    assert_eq!(house.script.order(), ["first", "mira", "high", "b", "c", "low"]);
    let task = process.scheduler.task(first, None).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.error.as_deref()), (TaskStatus::Failed, Some("cancelled")));
}

#[tokio::test]
async fn a_waiting_task_can_be_called_off_and_an_ended_one_not() {
    let house = House::new(&[]).await;
    let process = house.process(|settings| settings.concurrency = 1).await;
    process.scheduler.settled().await;
    house.script.on("first", Deed::UntilCancelled);
    let first = process.scheduler.submit(&draft(KIND, "first", 0), &nova()).await.expect("submitted");
    house.script.began(1).await;
    let second = process.scheduler.submit(&draft(KIND, "second", 0), &nova()).await.expect("submitted");
    let pending = process.scheduler.task(second, Some(Duration::from_millis(1))).await.expect("asked").expect("a task");
    assert_eq!(pending.status, TaskStatus::Pending);
    process.scheduler.cancel_task(second).await.expect("cancelled");
    let again = process.scheduler.cancel_task(second).await.expect_err("ended");
    assert_eq!(again.class(), ErrorClass::Conflict);
    assert!(matches!(process.scheduler.cancel_task(Uuid::nil()).await, Err(SchedulerError::NotFound(_))));
    process.scheduler.cancel_task(first).await.expect("cancelled");
    process.scheduler.settled().await;
    assert_eq!(house.script.order(), ["first"]);
}

#[tokio::test]
async fn passing_troubles_are_tried_again_three_times_in_all() {
    let (house, process) = House::with_scheduler(&[]).await;
    house.script.on("busy", Deed::FailForNow("busy"));
    let id = process.scheduler.submit(&draft(KIND, "busy", 0), &nova()).await.expect("submitted");
    process.scheduler.settled().await;
    let task = process.scheduler.task(id, None).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.error.as_deref(), task.attempts), (TaskStatus::Pending, Some("busy"), 1));
    house.clock.turn(30);
    process.scheduler.settled().await;
    house.clock.turn(60);
    process.scheduler.settled().await;
    let task = process.scheduler.task(id, None).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.attempts), (TaskStatus::Failed, 3));
    assert_eq!(house.script.order().len(), 3);
}

#[tokio::test]
async fn a_panic_and_endless_work_are_failures_of_their_task_alone() {
    let (house, process) = House::with_scheduler(&[]).await;
    house.script.on("panic", Deed::Panic);
    house.script.on("endless", Deed::Forever);
    let panic = process.scheduler.submit(&draft(KIND, "panic", 0), &nova()).await.expect("submitted");
    let task = process.scheduler.task(panic, WAIT).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.error.as_deref()), (TaskStatus::Failed, Some("the work broke off with a panic")));
    let endless = process.scheduler.submit(&draft(KIND, "endless", 0), &nova()).await.expect("submitted");
    house.script.began(2).await;
    house.clock.turn(HOUR);
    let task = process.scheduler.task(endless, WAIT).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.error.as_deref()), (TaskStatus::Failed, Some("took longer than 900 s")));
    assert!(process.scheduler.is_leader());
}

#[tokio::test]
async fn tasks_survive_a_restart_and_old_ones_are_removed() {
    let (house, process) = House::with_scheduler(&[]).await;
    house.script.on("long", Deed::UntilCancelled);
    let id = process.scheduler.submit(&draft(KIND, "long", 0), &nova()).await.expect("submitted");
    house.script.began(1).await;
    process.group.shutdown().await;
    let waiting = process.scheduler.task(id, None).await.expect("asked").expect("a task");
    assert_eq!(waiting.status, TaskStatus::Pending);
    house.script.on("long", Deed::Answer(json!({})));
    let again = house.process(|settings| settings.enabled = false).await;
    let task = again.scheduler.task(id, WAIT).await.expect("asked").expect("a task");
    assert_eq!((task.status, task.attempts), (TaskStatus::Completed, 2));
    house.clock.turn(8 * 24 * HOUR);
    again.scheduler.settled().await;
    assert_eq!(again.scheduler.task(id, None).await.expect("asked"), None);
}

#[tokio::test]
async fn requests_are_read_strictly_and_lists_filter() {
    let read = |body| TaskDraft::read(&body);
    let base = json!({"task_type": "MEMORY_EXTRACTION", "user_id": " Ann ", "payload": null, "bot_id": "Nova"});
    let good = read(base).expect("a draft");
    assert_eq!((good.task_type, good.user.as_str(), good.bot), (KIND, "ann", Some(nova())));
    assert_eq!(good.payload, json!({"batch_size": 50}));
    let unknown = read(json!({"task_type": "nap", "user_id": "ann"})).expect_err("refused");
    assert_eq!(unknown.to_string(), "Invalid task type: nap");
    for bad in [
        json!({"task_type": "memory_extraction"}),
        json!({"task_type": "memory_extraction", "user_id": ""}),
        json!({"task_type": "memory_extraction", "user_id": "ann", "bot_id": "../x"}),
        json!({"task_type": "memory_extraction", "user_id": "ann", "payload": []}),
        json!({"task_type": "memory_extraction", "user_id": "ann", "payload": {"batch_size": "many"}}),
        json!({"task_type": "memory_extraction", "user_id": "ann", "priority": 1.5}),
        json!({"task_type": "context_compaction", "user_id": "ann",
               "payload": {"messages": [{"role": "user", "content": "x".repeat(2_000_000)}]}}),
    ] {
        assert!(matches!(read(bad), Err(SchedulerError::Invalid(_))));
    }

    let (_house, process) = House::with_scheduler(&[]).await;
    for kind in [KIND, TaskType::MemoryMaintenance] {
        process.scheduler.submit(&draft(kind, "x", 0), &nova()).await.expect("submitted");
    }
    process.scheduler.settled().await;
    let count = async |filter: TaskFilter| process.scheduler.tasks(&filter).await.expect("tasks").total_count;
    let all = TaskFilter { limit: 10, ..TaskFilter::default() };
    assert_eq!(count(all.clone()).await, 2);
    assert_eq!(count(TaskFilter { task_type: Some(KIND), ..all.clone() }).await, 1);
    assert_eq!(count(TaskFilter { status: Some(TaskStatus::Pending), ..all.clone() }).await, 0);
    assert_eq!(count(TaskFilter { bot_id: Some("NOVA".into()), user_id: Some("Ann".into()), ..all }).await, 2);
}
