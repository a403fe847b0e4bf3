//! Models that take over when another fails before it has said anything.

use greenroom_protocol::{ErrorClass, TurnEvent, TurnStatus};
use greenroom_test_support::upstream::{Fault, Script};
use greenroom_tools::Effects;
use greenroom_turn::TurnPlan;
use serde_json::json;

use crate::hands::{Deed, Hand, bodies, calling, ended, warnings};
use crate::house::{House, complete_of, text_of};

fn with_fallbacks(house: &House, plan: TurnPlan, aliases: &[&str]) -> TurnPlan {
    TurnPlan { fallbacks: aliases.iter().map(|alias| house.engine(alias)).collect(), ..plan }
}

fn models(house: &House) -> Vec<String> {
    bodies(house).iter().map(|body| body["model"].as_str().unwrap_or("?").to_owned()).collect()
}

#[tokio::test]
async fn a_failure_before_the_first_token_moves_on_and_says_so() {
    let house = House::open().await;
    house.upstream.script(Script::status(401));
    house.upstream.script(Script::status(401));
    house.upstream.script(Script::text("Here I am."));
    let plan = with_fallbacks(&house, house.plan("hello"), &["other", "xml"]);
    let (turn, events) = house.run(plan).await;
    assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("Here I am.", TurnStatus::Ok));
    assert_eq!(models(&house), ["scripted", "other", "xml"]);
    let told = warnings(&events);
    assert!(told[0].starts_with("model_fallback: 'scripted' failed") && told[0].ends_with("'other' answers instead"));
    assert!(told[1].starts_with("model_fallback: 'other'"), "{told:?}");
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.request["model"], "xml");
}

#[tokio::test]
async fn the_last_failure_is_the_turns() {
    let house = House::open().await;
    house.upstream.script(Script::status(401));
    house.upstream.script(Script::status(401));
    let (_, events) = house.run(with_fallbacks(&house, house.plan("hello"), &["other"])).await;
    let error = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => finish.error.clone(),
        _ => None,
    });
    assert_eq!(error.and_then(|error| error.code).as_deref(), Some(ErrorClass::ProviderAuth.code()));
    assert_eq!(complete_of(&events).status, TurnStatus::Error);
}

#[tokio::test]
async fn what_is_the_requests_fault_and_what_was_begun_stays_with_its_model() {
    let house = House::open().await;
    house.upstream.script(Script::status(400));
    let (_, events) = house.run(with_fallbacks(&house, house.plan("bad"), &["other"])).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Error);
    house.upstream.script(Script::text("I begin and ").fault_after(2, Fault::Cut));
    let (_, events) = house.run(with_fallbacks(&house, house.plan("cut"), &["other"])).await;
    assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("I begin ", TurnStatus::Error));
    assert!(warnings(&events).iter().all(|text| !text.starts_with("model_fallback")));
    assert_eq!(models(&house), ["scripted", "scripted"]);
}

#[tokio::test]
async fn a_fallback_in_mid_turn_reads_the_rounds_in_its_own_format() {
    let hand = Hand::new("look", Effects::Idempotent, Deed::Say("a door".into()));
    let house = House::with_tools(vec![hand.clone()]).await;
    house.upstream.script(calling("Let me look.", &[("a", "look", json!({"n": 1}))]));
    house.upstream.script(Script::status(401));
    house.upstream.script(Script::text("Thought: fine\nFinal Answer: A door."));
    let plan = with_fallbacks(&house, house.tool_plan("scripted", "what?"), &["react"]);
    let (_, events) = house.run(plan).await;
    assert_eq!((hand.count(), complete_of(&events).status), (1, TurnStatus::Ok), "the call was not made again");
    assert_eq!(text_of(&events), "Let me look.\n\nA door.");
    assert!(ended(&events)[0].ok);
    let last = bodies(&house).pop().expect("a request");
    assert!(
        last.get("tools").is_none() && last["messages"][0]["content"].as_str().is_some_and(|it| it.contains("look"))
    );
    let told = last["messages"].to_string();
    assert!(told.contains("a door") && told.contains("Observation"), "{told}");
}

#[tokio::test]
async fn a_server_that_refuses_tools_is_asked_again_in_text_and_remembered() {
    let hand = Hand::new("look", Effects::ReadOnly, Deed::Say("a door".into()));
    let house = House::with_tools(vec![hand.clone()]).await;
    house.upstream.script(Script::unsupported_parameter("tools"));
    house.upstream.script(Script::text("Thought: look\nAction: look\nAction Input: {\"n\": 1}\n"));
    house.upstream.script(Script::text("Final Answer: A door."));
    let (_, events) = house.run(house.tool_plan("refusing", "what?")).await;
    assert_eq!((hand.count(), text_of(&events).trim()), (1, "A door."));
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
    let sent: Vec<bool> = bodies(&house).iter().map(|body| body.get("tools").is_some()).collect();
    assert_eq!(sent, [true, false, false]);
    // From now on it is asked in text at once.
    house.upstream.script(Script::text("Final Answer: Still."));
    let (_, events) = house.run(house.tool_plan("refusing", "and now?")).await;
    assert_eq!(text_of(&events).trim(), "Still.");
    assert!(bodies(&house).pop().is_some_and(|body| body.get("tools").is_none()));
}
