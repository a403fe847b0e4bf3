//! A panic in every kind of actor, while a stream is running: the stream goes on, the actor comes back, the next turn is
//! served. What must not come back ends the process instead.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the house is shared by test programs that use different parts of it"
)]

mod common;

use std::time::Duration;

use common::{House, soon, text_of};
use greenroom_kit::State;
use greenroom_protocol::{BotSlug, TurnId};

/// Waits until the actor of this name has been started again.
async fn until_restarted(house: &House, name: &str, times: u32) {
    let back = async {
        loop {
            let views = house.running.board().views();
            if views.iter().any(|card| card.name == name && card.restarts >= times && card.state == State::Up) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(back).await;
}

/// Runs a stream during which `crash` happens, and another turn afterwards.
async fn survives(house: &House, user: &str, name: &str, crash: impl FnOnce(&House)) {
    let before = house.running.board().views();
    let restarts = before.iter().find(|card| card.name == name).map_or(0, |card| card.restarts);
    let mut stream = house.stream("[[chunks=40]][[delay_ms=10]]", user).await;
    let mut text = String::new();
    while !text.contains("t3 ") {
        text.push_str(&String::from_utf8_lossy(&soon(stream.chunk()).await.unwrap().expect("still open")));
    }
    crash(house);
    while let Some(bytes) = soon(stream.chunk()).await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    let expected: String = (0..40).map(|n| format!("t{n} ")).collect();
    assert_eq!(text_of(&text), expected, "the stream survives a crash of {name}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{name}");
    until_restarted(house, name, restarts + 1).await;
    // For a moment after a restart an answer may be 503; never a lost turn.
    let next = async {
        loop {
            let response = house.stream("[[chunks=3]]", user).await;
            if response.status() == 200 {
                let text = response.text().await.unwrap();
                if text.contains("\"completed\"") {
                    return text_of(&text);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(soon(next).await, "t0 t1 t2 ", "after a crash of {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_that_can_come_back_does_and_costs_no_stream() {
    let house = House::open().await;
    survives(&house, "bot", "bot:spark", |house| {
        house.running.house().bots.crash(&BotSlug::parse("spark").unwrap());
    })
    .await;
    survives(&house, "journal", "journal", |house| house.running.house().turns.crash_journal()).await;
    survives(&house, "catalogue", "catalogue", |house| {
        assert!(house.running.house().providers.crash_catalogue());
    })
    .await;
    let provider = house
        .running
        .board()
        .views()
        .into_iter()
        .map(|card| card.name)
        .find(|name| name.starts_with("provider:127.0.0.1"))
        .expect("the scripted provider");
    let crashed = provider.clone();
    survives(&house, "provider", &provider, move |house| {
        assert!(house.running.house().providers.crash(&crashed));
    })
    .await;
    survives(&house, "pool", "pool", |house| house.running.house().store.crash_pool()).await;
    survives(&house, "door", "http", |house| house.running.crash_door()).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_turn_tells_its_reader_and_only_its_reader() {
    let house = House::open().await;
    let response = house.stream("[[chunks=9]][[hang=2]]", "ann").await;
    let id = TurnId::from_stored(response.headers()["x-turn-id"].to_str().unwrap());
    let neighbour = house.stream("[[chunks=30]][[delay_ms=10]]", "bob").await;
    let turn = house.running.house().turns.live(&id).expect("running");
    soon(async {
        while !turn.text().contains("t1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    turn.crash();
    let text = soon(response.text()).await.unwrap();
    assert!(text.contains(r#""finish_reason":"error""#) && text.contains(r#""status":"error""#), "{text}");
    assert!(!text.contains("[DONE]"));
    assert!(soon(neighbour.text()).await.unwrap().ends_with("data: [DONE]\n\n"));
    let (_, log) = house.get(&format!("/v1/turn-logs/{id}")).await;
    assert_eq!((log["status"].as_str(), log["response"].as_str()), (Some("error"), Some("t0 t1 ")));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_fails_ends_the_tree_with_a_reason() {
    let mut house = House::open().await;
    house.running.root().crash().unwrap();
    let why = soon(house.running.failed()).await;
    assert!(!why.is_empty());
}
