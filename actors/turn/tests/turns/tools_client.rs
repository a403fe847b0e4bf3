//! Tools of the client beside those of the bot: who runs what, and how a turn goes on when the client comes back.

use std::sync::Arc;

use greenroom_protocol::event::ClientToolCall;
use greenroom_protocol::{FinishReason, Message, Role, ToolCall, TurnEvent, TurnStatus};
use greenroom_test_support::upstream::Script;
use greenroom_tools::Effects;
use greenroom_turn::{Persona, TurnPlan};
use serde_json::{Value, json};

use crate::hands::{Deed, Hand, behind, bodies, calling, ended, results, started};
use crate::house::{House, complete_of, text_of};

fn weather() -> Value {
    json!({"type": "function", "function": {"name": "weather", "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}})
}

fn handed_over(events: &[TurnEvent]) -> Vec<ClientToolCall> {
    let calls = events.iter().filter_map(|event| match event {
        TurnEvent::ClientToolCall(call) => Some(ClientToolCall::clone(call)),
        _ => None,
    });
    calls.collect()
}

/// What a client sends back: the calls it was handed, and their results.
fn answered(calls: &[ClientToolCall], text: &str, result: &str) -> Vec<Message> {
    let call =
        |it: &ClientToolCall| ToolCall { id: it.id.clone(), name: it.name.clone(), arguments: it.arguments.clone() };
    let asked = Message { tool_calls: calls.iter().map(call).collect(), ..Message::text(Role::Assistant, text) };
    let results =
        calls.iter().map(|it| Message { tool_call_id: Some(it.id.clone()), ..Message::text(Role::Tool, result) });
    [asked].into_iter().chain(results).collect()
}

fn with_weather(mut plan: TurnPlan) -> TurnPlan {
    plan.client_tools.tools = vec![weather()];
    plan
}

#[tokio::test]
async fn a_mixed_batch_runs_ours_hands_over_theirs_and_goes_on_with_both() {
    let house = House::open().await;
    house.upstream.script(calling("First ", &[("z", "time", json!({"timezone": "Europe/Oslo"}))]));
    house.upstream.script(calling(
        "then ",
        &[("t", "time", json!({"timezone": "Asia/Tokyo"})), ("w", "weather", json!({"city": "Oslo"}))],
    ));
    let (turn, events) = house.run(with_weather(house.tool_plan("scripted", "umbrella?"))).await;
    let theirs = handed_over(&events);
    assert_eq!((theirs.len(), theirs[0].id.as_str(), theirs[0].name.as_str()), (1, "w", "weather"));
    assert_eq!(started(&events).iter().map(|call| call.call_id.as_str()).collect::<Vec<_>>(), ["z", "t"]);
    assert!(ended(&events).iter().all(|end| end.ok));
    let finish = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => Some(finish.reason),
        _ => None,
    });
    assert_eq!((finish, complete_of(&events).status), (Some(FinishReason::ToolCalls), TurnStatus::Ok));
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    let names: Vec<(&str, i32)> = detail.tool_calls.iter().map(|call| (call.name.as_str(), call.iteration)).collect();
    assert_eq!(names, [("time", 1), ("time", 2), ("weather", 2)]);
    // The client comes back with its part alone.
    house.upstream.script(Script::text("Take one."));
    let mut plan = with_weather(house.tool_plan("scripted", "umbrella?"));
    plan.prompt.tail = answered(&theirs, &text_of(&events), "rain");
    let (_, events) = house.run(plan).await;
    assert_eq!(text_of(&events), "Take one.");
    let body = bodies(&house).pop().expect("a request");
    assert_eq!(behind(&body, "umbrella?"), ["assistant:z", "tool:z", "assistant:t,w", "tool:t", "tool:w"]);
    let told = results(&body);
    assert!(told[0].contains("Oslo") && told[1].contains("Tokyo") && told[2].starts_with("rain"), "{told:?}");
    // A stranger cannot have the bot's results by naming the call.
    house.upstream.script(Script::text("Who?"));
    let mut plan = with_weather(TurnPlan {
        user: greenroom_protocol::UserId::parse("eve").expect("a user"),
        ..house.tool_plan("scripted", "umbrella?")
    });
    plan.prompt.tail = answered(&theirs, "", "rain");
    house.run(plan).await;
    assert_eq!(behind(&bodies(&house).pop().expect("a request"), "umbrella?"), ["assistant:w", "tool:w"]);
}

#[tokio::test]
async fn clients_without_our_tools_see_nothing_new() {
    let house = House::open().await;
    house.upstream.script(calling("", &[("w", "weather", json!({"city": "Oslo"})), ("x", "anything", json!({}))]));
    let mut plan = with_weather(house.plan("weather?"));
    plan.client_tools.tool_choice = Some(json!("required"));
    plan.client_tools.parallel_tool_calls = Some(false);
    let (_, events) = house.run(plan).await;
    assert_eq!(handed_over(&events).len(), 2, "whatever it calls is the client's");
    assert!(started(&events).is_empty());
    let body = &bodies(&house)[0];
    assert_eq!((&body["tool_choice"], &body["parallel_tool_calls"]), (&json!("required"), &json!(false)));
    assert!(!body["messages"][0]["content"].as_str().unwrap_or_default().contains("weather"));
}

#[tokio::test]
async fn the_clients_wish_counts_once_and_for_its_own_tools() {
    let house = House::open().await;
    let wish = json!({"type": "function", "function": {"name": "time"}});
    house.upstream.script(calling("", &[("t", "time", json!({}))]));
    house.upstream.script(Script::text("Noon."));
    let mut plan = with_weather(house.tool_plan("scripted", "when?"));
    plan.client_tools.tool_choice = Some(wish.clone());
    house.run(plan).await;
    let asked = bodies(&house);
    assert_eq!((&asked[0]["tool_choice"], &asked[1]["tool_choice"]), (&wish, &json!("auto")));
    // `none` hides the client's tools, not the bot's.
    let mut plan = with_weather(house.tool_plan("scripted", "[[text=ok]] none"));
    plan.client_tools.tool_choice = Some(json!("none"));
    house.run(plan).await;
    let body = bodies(&house).pop().expect("a request");
    let names = body["tools"].to_string();
    assert!(names.contains("\"time\"") && !names.contains("weather") && body["tool_choice"] == "auto");
}

#[tokio::test]
async fn a_clients_tool_hides_ours_of_the_same_name() {
    let hand = Hand::new("weather", Effects::ReadOnly, Deed::Say("ours".into()));
    let house = House::with_tools(vec![hand.clone(), Hand::new("look", Effects::ReadOnly, Deed::Hang)]).await;
    house.upstream.script(calling("", &[("w", "weather", json!({"city": "Oslo"}))]));
    let (_, events) = house.run(with_weather(house.tool_plan("scripted", "weather?"))).await;
    assert_eq!((handed_over(&events).len(), hand.count()), (1, 0));
    assert_eq!(bodies(&house)[0]["tools"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_text_model_calls_the_clients_tools_and_goes_on() {
    let house = House::open().await;
    house.upstream.script(Script::text("Let me see.\nAction: weather\nAction Input: {\"city\": \"Oslo\"}\n"));
    let (_, events) = house.run(with_weather(house.tool_plan("react", "umbrella?"))).await;
    let theirs = handed_over(&events);
    assert_eq!((theirs.len(), theirs[0].arguments.as_str()), (1, r#"{"city":"Oslo"}"#));
    assert!(theirs[0].id.starts_with("call_") && !text_of(&events).contains("Action"));
    house.upstream.script(Script::text("Final Answer: Take one."));
    let mut plan = with_weather(house.tool_plan("react", "umbrella?"));
    plan.prompt.tail = answered(&theirs, "Let me see.", "rain");
    let (_, events) = house.run(plan).await;
    assert_eq!(text_of(&events).trim(), "Take one.");
    let body = bodies(&house).pop().expect("a request");
    assert_eq!(behind(&body, "umbrella?"), ["assistant:", "user:"]);
    assert!(body["messages"].to_string().contains("rain") && body.get("tools").is_none());
}

#[tokio::test]
async fn a_stateless_bots_earlier_calls_are_told_in_the_models_format() {
    let house = House::open().await;
    let call = ClientToolCall { index: 0, id: "w".into(), name: "weather".into(), arguments: "{}".into() };
    let mut earlier = vec![Message::text(Role::User, "before")];
    earlier.extend(answered(&[call], "", "rain"));
    earlier.push(Message::text(Role::Assistant, "It rains."));
    for (model, native) in [("scripted", true), ("react", false)] {
        let mut plan = with_weather(house.tool_plan(model, "[[text=ok]] now"));
        plan.persona = Arc::new(Persona { requires_memory: false, ..house.persona() });
        plan.prompt.earlier = earlier.clone();
        house.run(plan).await;
        let body = bodies(&house).pop().expect("a request");
        assert_eq!(results(&body).len(), usize::from(native));
        assert!(body["messages"].to_string().contains("rain"));
    }
}
