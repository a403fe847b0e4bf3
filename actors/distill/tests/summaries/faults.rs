//! Models that hang, ramble, refuse or are not there; messages that go while they work; two runs at once; no database.

use std::sync::Arc;

use greenroom_distill::summaries::{RebuildOptions, RunOptions, SummarizeError};
use greenroom_memory::summaries::Method;
use greenroom_memory::{ForgetRequest, ForgetTarget, TombstoneReason};
use greenroom_protocol::ErrorClass;
use greenroom_test_support::upstream::Script;

use crate::house::{ANSWER, House, by_rule, on_demand};

#[tokio::test]
async fn a_model_that_hangs_is_left_alone_and_asked_again_later() {
    let house = House::open("scripted").await;
    house.hangs();
    house.past(4).await;
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_summarized, result.errors.len()), (4, 0));
    assert_eq!(house.upstream.requests().len(), 2, "after two silent calls it counts as away");
    let stored = house.stored().await;
    assert!(stored.iter().all(|summary| summary.method == Method::Heuristic && summary.model.is_none()));
    assert!(stored[3].sections.key_details.contains("[conversation 0]"));
    // A model that works again does better.
    assert_eq!(house.summaries.gate(&house.brief).await.expect("asked"), Ok(()));
    house.answers(ANSWER);
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_targeted, result.sessions_summarized, result.summaries_replaced), (0, 4, 4));
    assert!(house.stored().await.iter().all(|summary| summary.method == Method::Llm));
    assert!(house.summaries.gate(&house.brief).await.expect("asked").is_err());
}

#[tokio::test]
async fn a_makeshift_that_no_model_improves_stays_and_waits() {
    let house = House::open("scripted").await;
    house.hangs();
    house.past(1).await;
    house.run(&by_rule()).await;
    house.upstream.default_script(Script::status(500));
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_summarized, result.errors.len()), (0, 0));
    assert_eq!(house.stored().await[0].method, Method::Heuristic);
    assert!(house.summaries.gate(&house.brief).await.expect("asked").is_err(), "not before a day has passed");
}

#[tokio::test]
async fn without_leave_for_rules_messages_stay_until_a_model_answers() {
    let house = House::open("scripted").await;
    house.hangs();
    house.past(3).await;
    let result = house.run(&on_demand()).await;
    assert_eq!((result.sessions_targeted, result.sessions_summarized, result.errors.len()), (3, 0, 3));
    assert!(result.failure().is_some_and(|why| why.contains("in time")), "{:?}", result.errors);
    assert!(result.errors[2].starts_with("1970-01-03 00:00 UTC: "), "{:?}", result.errors);
    assert_eq!((house.stored().await.len(), house.visible().await), (0, 18));
}

#[tokio::test]
async fn prose_is_a_summary_and_talk_about_errors_is_no_error() {
    let house = House::open("scripted").await;
    house.past(1).await;
    house.answers("They fixed it. error: exception occurred, out of memory, was the message they hunted.");
    assert_eq!(house.run(&on_demand()).await.sessions_summarized, 1);
    assert!(house.stored().await[0].sections.summary.starts_with("They fixed it."));
}

#[tokio::test]
async fn an_empty_answer_is_no_summary() {
    let house = House::open("scripted").await;
    house.past(1).await;
    house.answers("[HISTORICAL SUMMARY]\nTone: calm");
    let result = house.run(&on_demand()).await;
    assert_eq!((result.sessions_summarized, result.errors.len()), (0, 1));
}

#[tokio::test]
async fn a_batch_that_comes_as_prose_is_asked_again_and_then_one_by_one() {
    let house = House::open("large").await;
    house.past(2).await;
    house.upstream.script_for("Session 1 (", Script::text("I would rather not answer in JSON."));
    house.answers(ANSWER);
    let result = house.run(&on_demand()).await;
    assert_eq!((result.sessions_summarized, result.errors.len()), (2, 0));
    let requests = house.upstream.requests();
    assert_eq!(requests.len(), 4, "the batch twice, then each alone");
    assert!(requests[0].body.get("response_format").is_some() && requests[1].body.get("response_format").is_none());
}

#[tokio::test]
async fn the_model_of_a_request_is_used_or_refused() {
    let house = House::open("no-such-model").await;
    house.past(1).await;
    let options = RunOptions { model: Some("phantom".into()), ..on_demand() };
    let refused = house.summaries.run(&house.brief, &options, &house.cancel).await;
    assert!(matches!(&refused, Err(error @ SummarizeError::Model(_)) if error.class() == ErrorClass::NoModel));
    house.answers(ANSWER);
    let options = RunOptions { model: Some("large".into()), ..on_demand() };
    house.run(&options).await;
    assert_eq!(house.stored().await[0].model.as_deref(), Some("large"));
}

#[tokio::test]
async fn only_one_run_per_bot() {
    let house = Arc::new(House::open("scripted").await);
    house.past(1).await;
    let (script, gate) = Script::text(ANSWER).gated();
    house.upstream.default_script(script);
    let first = tokio::spawn({
        let house = house.clone();
        async move { house.run(&by_rule()).await }
    });
    house.upstream.wait_for_request(1).await;
    let second = house.summaries.rebuild(&house.brief, &RebuildOptions::default(), &house.cancel).await;
    assert!(matches!(&second, Err(error @ SummarizeError::Busy) if error.class() == ErrorClass::Conflict));
    gate.open();
    assert_eq!(first.await.expect("the run").sessions_summarized, 1);
    house.answers(ANSWER);
    assert!(house.summaries.rebuild(&house.brief, &RebuildOptions::default(), &house.cancel).await.is_ok());
}

#[tokio::test]
async fn what_is_forgotten_while_the_model_writes_is_not_told() {
    let house = Arc::new(House::open("scripted").await);
    let ids = house.past(1).await.concat();
    let (script, gate) = Script::text("Summary: an old secret").gated();
    house.upstream.script(script);
    house.answers("Summary: no secret");
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.run(&by_rule()).await }
    });
    house.upstream.wait_for_request(1).await;
    let request = ForgetRequest {
        target: ForgetTarget::Ids(ids[..2].to_vec()),
        user: None,
        reason: TombstoneReason::User,
        by: None,
        dry_run: false,
    };
    house.bot().forget(request).await.expect("forgotten");
    gate.open();
    run.await.expect("the run");
    for summary in house.stored().await {
        assert!(!summary.content.contains("old secret"), "{}", summary.content);
    }
    house.run(&by_rule()).await;
    assert!(house.stored().await.iter().all(|summary| summary.message_count <= 2));
}

#[tokio::test]
async fn a_cancelled_run_stops_and_stores_nothing_more() {
    let house = Arc::new(House::open("scripted").await);
    house.past(3).await;
    house.hangs();
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.run(&by_rule()).await }
    });
    house.upstream.wait_for_request(1).await;
    house.cancel.cancel();
    let result = run.await.expect("the run");
    assert_eq!(result.sessions_summarized, 0);
    assert!(result.errors.iter().any(|error| error.contains("cancelled")), "{:?}", result.errors);
    assert_eq!(house.stored().await.len(), 0, "a cancelled run does not fall back on rules");
}

#[tokio::test]
async fn a_rebuild_that_fails_keeps_what_there_was() {
    let house = House::open("scripted").await;
    house.answers(ANSWER);
    house.past(3).await;
    house.run(&by_rule()).await;
    let before = house.stored().await;
    house.upstream.default_script(Script::status(500));
    let options = RebuildOptions { purge_existing: true, ..RebuildOptions::default() };
    let result = house.summaries.rebuild(&house.brief, &options, &house.cancel).await.expect("a rebuild");
    assert_eq!((result.sessions_summarized, result.summaries_purged, result.errors.len()), (0, 0, 3));
    assert_eq!(house.stored().await, before);
}

#[tokio::test]
async fn without_a_database_the_run_says_so() {
    let house = House::open("scripted").await;
    house.past(1).await;
    house.database.store.close().await;
    let error = house.summaries.run(&house.brief, &by_rule(), &house.cancel).await.expect_err("no database");
    assert_eq!(error.class(), ErrorClass::Storage);
    // The place is free again.
    let again = house.summaries.run(&house.brief, &by_rule(), &house.cancel).await;
    assert!(matches!(again, Err(SummarizeError::Summary(_))));
}
