//! Models that fail in every way, claims that are lost, forgetting underway, no database.

use std::sync::Arc;
use std::time::Duration;

use greenroom_distill::{Ask, Completer, DistillError, DistillRules, ExtractOptions, LlmPolicy, ModelError, Work};
use greenroom_memory::upkeep::{ClaimRules, finish_window_on};
use greenroom_memory::{Exclusive, ForgetRequest, ForgetTarget, MemoryError, TombstoneReason};
use greenroom_protocol::{ErrorClass, Message, Role};
use greenroom_provider::CompletionRequest;
use greenroom_test_support::upstream::Script;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::house::{COMPARE, FACTS, House};

const SAID: [&str; 2] = ["I keep bees behind the house", "How sweet"];

fn bees() -> serde_json::Value {
    json!({"facts": [{"content": "Ann keeps bees behind the house.", "importance": 0.8, "source_indexes": [1]}]})
}

#[tokio::test]
async fn a_failure_leaves_messages_waiting_and_the_third_is_the_last() {
    let house = House::open().await;
    house.talk(&SAID).await;
    house.upstream.default_script(Script::status(500));
    for attempt in 1..=3 {
        let result = house.extract().await;
        assert!(result.error.is_some() && result.facts_stored == 0, "{result:?}");
        let state = if attempt < 3 { "pending" } else { "failed" };
        assert_eq!(house.states().await, [state; 2]);
        assert_eq!(house.extract().await.messages_found, 0, "it waits before the next attempt");
        house.run_sql("UPDATE messages SET lease_until = lease_until - interval '1 day'").await;
    }
    assert_eq!(house.extract().await.messages_found, 0, "left alone");
    assert_eq!(house.count("SELECT count(*) FROM extraction_log WHERE outcome = 'retry'").await, 3);
    assert_eq!(house.bot().requeue_extraction().await.expect("requeued"), 2);
    house.answers(FACTS, &bees());
    assert_eq!(house.extract().await.facts_stored, 1);
}

#[tokio::test]
async fn a_model_that_hangs_is_left() {
    let house = House::open().await;
    house.talk(&SAID).await;
    house.upstream.default_script(Script::text("x").hang_before_headers());
    let result = house.extract().await;
    assert!(result.error.is_some_and(|why| why.contains("in time")));
    assert_eq!(house.states().await, ["pending"; 2]);
    house.upstream.wait_for_abort().await;
}

#[tokio::test]
async fn prose_is_asked_again_and_then_a_failure_but_an_empty_list_is_none() {
    let house = House::open().await;
    house.talk(&SAID).await;
    house.says(FACTS, "I'm sorry, I can't find anything {really}.");
    assert!(house.extract().await.error.is_some());
    let requests = house.upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].last_user_text().contains("one valid JSON object"));
    assert_eq!(house.states().await, ["pending"; 2]);
    let other = House::open().await;
    other.talk(&SAID).await;
    other.says(FACTS, "Nothing new here.\n```json\n{\"facts\": [],}\n```");
    assert_eq!(other.extract().await.error, None);
    assert_eq!(other.states().await, ["done"; 2]);
}

#[tokio::test]
async fn invented_ids_reach_nothing() {
    let house = House::open().await;
    let known = house.knows("Ann keeps bees.").await;
    let before = house.bot().memory(&known.to_string()).await.expect("known");
    house.talk(&SAID).await;
    house.answers(
        FACTS,
        &json!([{"content": "Ann keeps bees behind the house.", "importance": 0.8, "source_indexes": [1, 7, -3]}]),
    );
    house.answers(
        COMPARE,
        &json!({"actions": [
            {"action": "UPDATE", "fact": 1, "target_memory_id": known.to_string()},
            {"action": "DELETE", "target_memory_id": "m77"}, {"action": "DELETE", "target_memory_id": "%"},
        ]}),
    );
    house.extract().await;
    let after = house.bot().memory(&known.to_string()).await.expect("still there");
    assert_eq!((after.superseded_by, &after.content), (None, &before.content));
}

#[tokio::test]
async fn comparison_that_cannot_be_read_adds_everything() {
    let house = House::open().await;
    house.knows("Ann keeps bees.").await;
    house.talk(&["I play chess and keep bees on Sundays", "Nice"]).await;
    house
        .answers(FACTS, &json!([{"content": "Ann plays chess on Sundays.", "importance": 0.7, "source_indexes": [1]}]));
    house.says(COMPARE, "All of these look fine to me.");
    let result = house.extract().await;
    assert_eq!((result.facts_stored, result.error), (1, None));
    assert_eq!(house.texts().await.len(), 2);
}

#[tokio::test]
async fn a_crash_between_claim_and_commit_is_mended_by_the_lease() {
    let house = House::open().await;
    house.talk(&SAID).await;
    house.answers(FACTS, &bees());
    let now = Timestamp::now();
    let rules = ClaimRules::default();
    let lost = house.bot().claim_window(&rules, now).await.expect("asked").expect("a window");
    assert_eq!(house.extract().await.messages_found, 0, "claimed");
    // The holder died. Long after its lease somebody else comes.
    let later = now.checked_add(SignedDuration::from_mins(11)).expect("a time");
    assert_eq!(house.memory.recover_claims(later).await.expect("recovered"), 2);
    assert_eq!(house.extract().await.facts_stored, 1);
    // It was not dead after all: its commit comes too late.
    let late = lost.clone();
    let commit = house
        .bot()
        .exclusive("late", move |x: &mut Exclusive<'_>| Box::pin(async move { finish_window_on(x, &late).await }));
    assert!(matches!(commit.await, Err(MemoryError::Conflict(_))));
    house.bot().release_window(&lost, true, later).await.expect("released");
    assert_eq!(house.states().await, ["done"; 2], "and takes nothing back");
}

#[tokio::test]
async fn two_readers_never_share_a_message() {
    let house = House::open().await;
    for n in 0..6 {
        house.talk_as("ann", n * 100_000, &["I keep bees behind the house", "How sweet"], true).await;
    }
    let claim = |_: usize| {
        let bot = house.bot().clone();
        tokio::spawn(async move { bot.claim_window(&ClaimRules::default(), Timestamp::now()).await })
    };
    let mut seen = std::collections::HashSet::new();
    for claimed in (0..6).map(claim).collect::<Vec<_>>() {
        if let Some(window) = claimed.await.expect("task").expect("asked") {
            assert!(window.ids().into_iter().all(|id| seen.insert(id)));
        }
    }
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn what_is_forgotten_while_the_model_thinks_is_not_learnt() {
    let house = Arc::new(House::open().await);
    let ids = house.talk(&SAID).await;
    let (script, gate) = Script::text(&bees().to_string()).gated();
    house.upstream.default_script(script);
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.extract().await }
    });
    house.upstream.wait_for_request(1).await;
    let request = ForgetRequest {
        target: ForgetTarget::Ids(ids),
        user: None,
        reason: TombstoneReason::User,
        by: None,
        dry_run: false,
    };
    house.bot().forget(request).await.expect("forgotten");
    gate.open();
    let result = run.await.expect("the run");
    assert_eq!((result.facts_extracted, result.facts_stored), (1, 0));
    assert!(house.texts().await.is_empty());
}

#[tokio::test]
async fn who_gives_up_leaves_no_trace() {
    let house = Arc::new(House::open().await);
    house.talk(&SAID).await;
    house.upstream.default_script(Script::text("x").hang_before_headers());
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.extract().await }
    });
    house.upstream.wait_for_request(1).await;
    house.cancel.cancel();
    assert!(run.await.expect("the run").error.is_some());
    assert_eq!(house.states().await, ["pending"; 2]);
    assert_eq!(
        house.count("SELECT count(*) FROM messages WHERE extraction_attempts > 0 OR lease_until IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn personal_text_stays_here_when_it_must() {
    let house = House::with(|models| models.policy = LlmPolicy::LocalOnly, DistillRules::default()).await;
    house.talk(&SAID).await;
    let refused = house.distill.extract(&house.brief, &ExtractOptions::default(), &house.cancel).await;
    assert!(
        matches!(&refused, Err(error @ DistillError::Model(ModelError::Refused { .. })) if error.class() == ErrorClass::Conflict)
    );
    assert!(house.upstream.requests().is_empty());
    let options = ExtractOptions { model: Some("local".into()), ..ExtractOptions::default() };
    house.answers(FACTS, &bees());
    let result = house.distill.extract(&house.brief, &options, &house.cancel).await.expect("a run");
    assert_eq!(result.facts_stored, 1);
    let echo = ExtractOptions { model: Some("echo".into()), ..ExtractOptions::default() };
    assert!(house.distill.extract(&house.brief, &echo, &house.cancel).await.is_err(), "an echo is no model");
}

#[tokio::test]
async fn background_work_waits_for_chat() {
    let house = House::open().await;
    let (script, gate) = Script::text("chat").gated();
    house.upstream.script(script);
    house.upstream.script(Script::text("background"));
    let request =
        CompletionRequest { messages: vec![Message::text(Role::User, "hello")], ..CompletionRequest::default() };
    let engine = house.providers.engine("local").expect("a model");
    let chat = tokio::spawn(async move {
        let mut stream = engine.stream(request, CancellationToken::new()).await.expect("a stream");
        while let Some(batch) = stream.next().await {
            batch.expect("an answer");
        }
    });
    house.upstream.wait_for_request(1).await;
    let model = house.distill.models().choose(Work::Extraction, Some("local"), None).expect("a model");
    let ask = Ask { system: "s", user: "u", max_tokens: 10, temperature: 0.0, json: false };
    let mut background = std::pin::pin!(model.complete(&ask, &house.cancel));
    let early = tokio::time::timeout(Duration::from_millis(250), &mut background).await;
    assert!(early.is_err() && house.upstream.requests().len() == 1, "chat is being served");
    gate.open();
    chat.await.expect("the chat");
    assert_eq!(background.await.expect("an answer").text, "background");
}

#[tokio::test]
async fn a_model_on_this_machine_takes_one_background_call_at_a_time() {
    let house = Arc::new(House::open().await);
    house.talk(&SAID).await;
    let engine = house.distill.models().choose(Work::Extraction, Some("local"), None).expect("a model");
    assert!(engine.is_local());
    // Two background calls at once: the second begins when the first is done.
    let (script, gate) = Script::text("one").gated();
    house.upstream.script(script);
    house.upstream.script(Script::text("two"));
    let ask = |model: Completer| {
        let cancel = house.cancel.clone();
        tokio::spawn(async move {
            let ask = Ask { system: "s", user: "u", max_tokens: 10, temperature: 0.0, json: false };
            model.complete(&ask, &cancel).await.map(|answer| answer.text)
        })
    };
    let (first, second) = (ask(engine.clone()), ask(engine));
    house.upstream.wait_for_request(1).await;
    assert_eq!(house.upstream.requests().len(), 1);
    gate.open();
    let mut answers = [first.await.expect("task").expect("answer"), second.await.expect("task").expect("answer")];
    answers.sort();
    assert_eq!(answers, ["one", "two"]);
}

#[tokio::test]
async fn a_database_that_goes_away_is_told_and_loses_nothing() {
    let house = Arc::new(House::open().await);
    house.talk(&SAID).await;
    let (script, gate) = Script::text(&bees().to_string()).gated();
    house.upstream.default_script(script);
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.distill.extract(&house.brief, &ExtractOptions::default(), &house.cancel).await }
    });
    house.upstream.wait_for_request(1).await;
    let (client, connection) =
        tokio_postgres::connect(&house.database.url, tokio_postgres::NoTls).await.expect("a client");
    let driver = tokio::spawn(connection);
    house.database.store.close().await;
    gate.open();
    let result = run.await.expect("the run").expect("a result");
    assert!(result.error.is_some() && result.facts_stored == 0);
    let rows = client.query("SELECT extraction_state FROM messages", &[]).await.expect("rows");
    assert!(rows.iter().all(|row| row.get::<_, String>(0) == "claimed"), "the lease will free them");
    let gone = house.distill.extract(&house.brief, &ExtractOptions::default(), &house.cancel).await;
    assert!(gone.is_err_and(|error| error.class() == ErrorClass::Storage));
    drop(client);
    let _ = driver.await;
}
