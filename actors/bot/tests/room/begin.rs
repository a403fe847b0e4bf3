//! Requests becoming turns: which bot, which model, and how many of a user's at once.

use std::time::Duration;

use crate::support::{House, house, house_with, ingress, outcome, slug};
use greenroom_bot::{BotsError, IfMatch, QUEUE_LIMIT, SettingDraft};
use greenroom_protocol::TurnStatus;
use greenroom_test_support::upstream::{Gate, Script};
use serde_json::json;

const LONG: Duration = Duration::from_secs(20);

/// The next upstream call answers with this text, once the gate is open.
fn gated(house: &House, text: &str) -> Gate {
    let (script, gate) = Script::text(text).gated();
    house.upstream.script(script);
    gate
}

async fn set_rule(house: &House, bot: &str, rule: &str) {
    let item = json!({"scope_type": "bot", "scope_id": bot, "key": "concurrency", "value": rule});
    house.bots.put_settings(vec![SettingDraft::read(&item).unwrap()]).await.unwrap();
}

#[tokio::test]
async fn a_newer_request_cancels_the_older_turn_of_the_same_user() {
    let house = house().await;
    let _gate = gated(&house, "never said");
    let first = house.ask("nova", "ann", "one").await.unwrap();
    house.upstream.wait_for_request(1).await;
    house.upstream.script(Script::text("second"));
    let second = tokio::time::timeout(LONG, house.ask("nova", "ann", "two")).await.unwrap().unwrap();
    assert!(first.is_over());
    let (first, second) = (outcome(&first).await, outcome(&second).await);
    assert_eq!((first.status, first.text.as_str()), (TurnStatus::Cancelled, ""));
    assert_eq!((second.status, second.text.as_str()), (TurnStatus::Ok, "second"));
    house.upstream.wait_for_abort().await;
}

#[tokio::test]
async fn other_users_and_other_bots_go_on() {
    let house = house().await;
    let gates = ["a", "b", "c"].map(|text| gated(&house, text));
    let turns = [
        house.ask("nova", "ann", "1").await.unwrap(),
        house.ask("nova", "bob", "2").await.unwrap(),
        house.ask("spark", "ann", "3").await.unwrap(),
    ];
    house.upstream.wait_for_request(3).await;
    gates.iter().for_each(Gate::open);
    for turn in &turns {
        assert_eq!(outcome(turn).await.status, TurnStatus::Ok);
    }
}

#[tokio::test]
async fn every_one_of_many_rapid_requests_becomes_a_turn() {
    let house = house().await;
    let _gate = gated(&house, "never said");
    let first = house.ask("nova", "ann", "0").await.unwrap();
    house.upstream.wait_for_request(1).await;
    let all = (1..=5).map(|n| {
        let bots = house.bots.clone();
        let body = json!({"bot_id": "nova", "user": "ann", "messages": [{"role": "user", "content": n.to_string()}]});
        tokio::spawn(async move { bots.begin(ingress(&body)).await })
    });
    let all: Vec<_> = all.collect();
    let mut statuses = Vec::new();
    for task in all {
        let turn = tokio::time::timeout(LONG, task).await.unwrap().unwrap().unwrap();
        statuses.push(outcome(&turn).await.status);
    }
    assert_eq!(outcome(&first).await.status, TurnStatus::Cancelled);
    assert!(statuses.contains(&TurnStatus::Ok), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, TurnStatus::Ok | TurnStatus::Cancelled)), "{statuses:?}");
    let stored = house.count("SELECT count(*) FROM turn_logs WHERE status_rank > 0").await;
    assert_eq!(stored, 6);
}

#[tokio::test]
async fn a_queue_serves_in_order_and_forgets_who_leaves() {
    let house = house().await;
    set_rule(&house, "nova", "queue").await;
    let gate = gated(&house, "first");
    let first = house.ask("nova", "ann", "one").await.unwrap();
    house.upstream.wait_for_request(1).await;

    let ask = |text: &str| {
        let bots = house.bots.clone();
        let body = json!({"bot_id": "nova", "user": "ann", "messages": [{"role": "user", "content": text}]});
        tokio::spawn(async move { bots.begin(ingress(&body)).await })
    };
    let leaver = ask("leaver");
    waiting(&house, 1).await;
    let stayer = ask("stayer");
    waiting(&house, 2).await;
    leaver.abort();
    waiting(&house, 1).await;
    assert!(!stayer.is_finished() && !first.is_over());

    let rest: Vec<_> = (1..QUEUE_LIMIT).map(|n| ask(&n.to_string())).collect();
    waiting(&house, QUEUE_LIMIT).await;
    let full = house.ask("nova", "ann", "too many").await;
    assert!(matches!(&full, Err(error @ BotsError::QueueFull(_)) if error.class().status() == 429), "{full:?}");
    rest.iter().for_each(|task| task.abort());
    waiting(&house, 1).await;

    house.upstream.script(Script::text("second"));
    gate.open();
    assert_eq!(outcome(&first).await.status, TurnStatus::Ok);
    let stayer = tokio::time::timeout(LONG, stayer).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome(&stayer).await.text, "second");
    assert_eq!(house.count("SELECT count(*) FROM turn_logs").await, 2);
}

/// Waits until so many requests wait for nova.
async fn waiting(house: &House, count: usize) {
    let note = (count > 0).then(|| format!("{count} waiting"));
    let shown =
        || house.root.board().views().into_iter().find(|card| card.name == "bot:nova").and_then(|card| card.note);
    let seen = async {
        while shown() != note {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, seen).await.unwrap_or_else(|_| panic!("expected {note:?}, seen {:?}", shown()));
}

#[tokio::test]
async fn turns_run_side_by_side_when_the_bot_allows_it() {
    let house = house().await;
    set_rule(&house, "nova", "parallel").await;
    let gates = ["a", "b"].map(|text| gated(&house, text));
    let turns = [house.ask("nova", "ann", "1").await.unwrap(), house.ask("nova", "ann", "2").await.unwrap()];
    house.upstream.wait_for_request(2).await;
    gates.iter().for_each(Gate::open);
    for turn in &turns {
        assert_eq!(outcome(turn).await.status, TurnStatus::Ok);
    }
}

#[tokio::test]
async fn a_bots_crash_leaves_its_turns_running_and_known() {
    let house = house().await;
    let gate = gated(&house, "unharmed");
    let first = house.ask("nova", "ann", "one").await.unwrap();
    house.upstream.wait_for_request(1).await;
    let other_gate = gated(&house, "never said");
    let second = house.ask("nova", "bob", "two").await.unwrap();
    house.upstream.wait_for_request(2).await;

    house.bots.crash(&slug("nova"));
    let refused = tokio::time::timeout(LONG, async {
        loop {
            match house.ask("nova", "eve", "three").await {
                Err(error) => return error,
                // Begun before the crash took effect.
                Ok(turn) => drop(turn),
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(matches!(refused, BotsError::Unavailable(_)), "{refused:?}");
    assert_eq!(refused.class().status(), 503);
    // Other bots do not notice.
    outcome(&house.ask("spark", "ann", "hi").await.unwrap()).await;

    let restarted = tokio::time::timeout(LONG, async {
        loop {
            match house.ask("nova", "bob", "four").await {
                Ok(turn) => return turn,
                Err(BotsError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let third = restarted.await.unwrap();
    // The new incarnation knew of bob's older turn.
    assert_eq!(outcome(&second).await.status, TurnStatus::Cancelled);
    outcome(&third).await;
    drop(other_gate);
    assert!(!first.is_over());
    gate.open();
    let first = outcome(&first).await;
    assert_eq!((first.status, first.text.as_str()), (TurnStatus::Ok, "unharmed"));
}

#[tokio::test]
async fn models_fall_back_with_a_reason() {
    let house = house().await;
    let cases = [
        (json!({"bot_id": "nova"}), "fake", 0),
        (json!({"bot_id": "nova", "model": "OTHER"}), "other", 0),
        (json!({"bot_id": "nova", "model": "keyless"}), "fake", 1),
        (json!({"bot_id": "nova", "model": "nope"}), "fake", 1),
        (json!({"bot_id": "mira"}), "fake", 1),
        (json!({"model": "spark"}), "fake", 0),
        (json!({"bot_id": "nobody"}), "fake", 1),
    ];
    for (mut body, model, warnings) in cases {
        body["user"] = json!("ann");
        body["messages"] = json!([{"role": "user", "content": "hi"}]);
        let turn = house.send(body.clone()).await.unwrap();
        let ended = outcome(&turn).await;
        assert_eq!(
            (turn.header().model.as_str(), ended.warnings.len()),
            (model, warnings),
            "{body} {:?}",
            ended.warnings
        );
        if body["model"] == "spark" {
            assert_eq!(turn.header().bot_id, slug("spark"));
        }
    }
}

#[tokio::test]
async fn the_configured_default_answers_for_bots_without_one() {
    let house = house_with(|settings| {
        settings.seeds = "bots: {bare: {}}".into();
        settings.default_model = Some("echo".into());
        settings.strict_bots = true;
    })
    .await;
    let turn = house.ask("bare", "ann", "ping").await.unwrap();
    assert_eq!(turn.header().model, "echo");
    assert!(outcome(&turn).await.warnings.is_empty());
    assert!(matches!(house.ask("nova", "ann", "x").await, Err(BotsError::UnknownBot(_))));
    let silent = house.ask("bare", "ann", "  ").await;
    assert!(matches!(silent, Err(BotsError::NoPrompt)));
}

#[tokio::test]
async fn an_edit_does_not_reach_a_running_turn() {
    let house = house().await;
    let gate = gated(&house, "done");
    let turn = house.ask("nova", "ann", "hi").await.unwrap();
    house
        .bots
        .patch_profile("nova", &json!({"system_prompt": "Changed.", "default_model": "echo"}), IfMatch::Any)
        .await
        .unwrap();
    gate.open();
    assert_eq!(outcome(&turn).await.text, "done");
    assert_eq!(turn.header().model, "fake");
    assert_eq!(outcome(&house.ask("nova", "ann", "hi").await.unwrap()).await.status, TurnStatus::Ok);
}

#[tokio::test]
async fn a_warm_request_needs_no_connection() {
    let house = house().await;
    outcome(&house.ask("nova", "ann", "warm up").await.unwrap()).await;
    let mut all = Vec::new();
    while let Ok(Ok(connection)) =
        tokio::time::timeout(Duration::from_millis(200), house.database.store.connection()).await
    {
        all.push(connection);
    }
    let turn = tokio::time::timeout(Duration::from_millis(500), house.ask("nova", "ann", "now")).await;
    let turn = turn.expect("begin must not wait for the database").unwrap();
    drop(all);
    assert_eq!(outcome(&turn).await.status, TurnStatus::Ok);
}

#[tokio::test]
async fn client_context_and_home_mode_reach_the_model() {
    let house = house().await;
    let body = json!({"bot_id": "nova", "user": "ann", "messages": [
        {"role": "system", "content": "You sell phones."}, {"role": "user", "content": "hello"},
    ]});
    outcome(&house.send(body).await.unwrap()).await;
    let seen = house.upstream.wait_for_request(1).await.body.to_string();
    assert!(seen.contains("You sell phones.") && seen.contains("Be Nova."), "{seen}");
}

#[tokio::test]
async fn a_bots_fallbacks_answer_when_its_model_fails_before_the_first_token() {
    let house = house().await;
    let draft = json!({"model_fallbacks": ["FAKE", "gone", "keyless", "other"]});
    house.bots.patch_profile("nova", &draft, IfMatch::Any).await.unwrap();
    house.upstream.script(Script::status(401));
    house.upstream.script(Script::text("the other one"));
    let turn = house.ask("nova", "ann", "hello").await.unwrap();
    let ended = outcome(&turn).await;
    assert_eq!((ended.status, ended.text.as_str()), (TurnStatus::Ok, "the other one"));
    let models: Vec<String> = house
        .upstream
        .requests()
        .iter()
        .filter_map(|request| request.body["model"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(models, ["fake-1", "other-1"], "unknown and unavailable ones are passed over");
}
