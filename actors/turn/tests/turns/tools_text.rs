//! The tool loop with models that write their calls as text.

use greenroom_protocol::{TurnEvent, TurnStatus};
use greenroom_test_support::upstream::{Script, Split};
use greenroom_tools::Effects;
use serde_json::json;

use crate::hands::{Deed, Hand, bodies, ended, started};
use crate::house::{House, collect, complete_of, text_of, until_text};

async fn house() -> (House, std::sync::Arc<Hand>) {
    let hand = Hand::new("look", Effects::ReadOnly, Deed::Say("a door".into()));
    (House::with_tools(vec![hand.clone()]).await, hand)
}

fn last_user(body: &serde_json::Value) -> String {
    let messages = body["messages"].as_array().expect("messages");
    let last = messages.iter().rev().find(|message| message["role"] == "user").expect("a user message");
    last["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_react_turn_has_the_same_events_and_records_as_a_native_one() {
    let (house, hand) = house().await;
    // The stop sequence has eaten the closing brace.
    house.upstream.script(Script::text("I will look.\nThought: hm\nAction: look\nAction Input: {\"n\": 1"));
    house.upstream.script(Script::text("Thought: I know.\nFinal Answer: It is a door."));
    let (turn, events) = house.run(house.tool_plan("react", "what?")).await;
    assert_eq!(hand.count(), 1);
    let (calls, ends) = (started(&events), ended(&events));
    assert_eq!((calls.len(), &calls[0].arguments, calls[0].iteration), (1, &json!({"n": 1}), 1));
    assert!(calls[0].call_id.starts_with("call_") && ends[0].ok && ends[0].call_id == calls[0].call_id);
    let text = text_of(&events);
    assert!(text.starts_with("I will look.") && text.ends_with("\n\nIt is a door."), "{text:?}");
    for marker in ["Thought", "Action", "Observation", "Final Answer", "hm"] {
        assert!(!text.contains(marker), "{text:?}");
    }
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!((detail.tool_calls.len(), detail.tool_calls[0].ok), (1, Some(true)));
    let asked = bodies(&house);
    assert!(asked[0].get("tools").is_none());
    assert!(asked[0]["messages"][0]["content"].as_str().is_some_and(|text| text.contains("Action Input")));
    assert!(asked[0]["stop"].as_array().is_some_and(|stops| !stops.is_empty()));
    assert!(asked[1].get("stop").is_none_or(|stops| stops.as_array().is_some_and(Vec::is_empty)), "first pass only");
    assert!(last_user(&asked[1]).contains("a door"));
}

#[tokio::test]
async fn xml_calls_of_one_pass_are_one_batch() {
    let (house, hand) = house().await;
    let call = |n: u32| format!("<tool_call>{{\"name\": \"look\", \"arguments\": {{\"n\": {n}}}}}</tool_call>\n");
    house.upstream.script(Script::text(&format!("Both. {}{}", call(1), call(2))).split(Split::Every(7)));
    house.upstream.script(Script::text("Two doors."));
    let (_, events) = house.run(house.tool_plan("xml", "what?")).await;
    assert_eq!((hand.count(), started(&events).len()), (2, 2));
    let text = text_of(&events);
    assert!(text.starts_with("Both.") && text.ends_with("Two doors.") && !text.contains('<'), "{text:?}");
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
}

#[tokio::test]
async fn prose_streams_while_the_model_still_talks() {
    let (house, _) = house().await;
    for model in ["react", "xml", "scripted"] {
        let (script, gate) = Script::text("The door is blue and it has been so for years. Nobody knows why.").gated();
        house.upstream.script(script);
        let turn = house.begin(house.tool_plan(model, "tell")).await;
        gate.release(8);
        // No more has left the model, and this is on the wire already.
        until_text(&turn, "The door is blue").await;
        gate.open();
        let text = text_of(&collect(&turn, 0).await);
        assert_eq!(text, "The door is blue and it has been so for years. Nobody knows why.");
    }
}

#[tokio::test]
async fn a_sentence_about_actions_is_a_sentence() {
    let (house, hand) = house().await;
    let text = "We spoke of this. Action: is what counts, he said, and Thought: is nothing.";
    house.upstream.script(Script::text(text));
    let (_, events) = house.run(house.tool_plan("react", "quote")).await;
    assert_eq!((text_of(&events).as_str(), hand.count()), (text, 0));
}

#[tokio::test]
async fn a_malformed_call_gets_one_correction_and_then_no_tools() {
    let (house, hand) = house().await;
    house.upstream.script(Script::text("Action: look\nAction Input: {\"n\": ]]] oops }\n"));
    house.upstream.script(Script::text("Action: look\nAction Input: {\"n\": 2}\n"));
    house.upstream.script(Script::text("Final Answer: A door."));
    let (_, events) = house.run(house.tool_plan("react", "what?")).await;
    assert_eq!((hand.count(), text_of(&events).trim()), (1, "A door."));
    let asked = bodies(&house);
    assert!(last_user(&asked[1]).len() > "what?".len() && last_user(&asked[1]) != "what?");
    // Twice in one turn is enough.
    for _ in 0..2 {
        house.upstream.script(Script::text("Action: look\nAction Input: {\"n\": ]]] oops }\n"));
    }
    house.upstream.script(Script::text("I do not know."));
    let (_, events) = house.run(house.tool_plan("react", "again?")).await;
    assert_eq!((hand.count(), text_of(&events).trim()), (1, "I do not know."));
    assert!(!text_of(&events).contains("oops"));
}

#[tokio::test]
async fn the_last_pass_is_told_to_answer() {
    let (house, hand) = house().await;
    for n in 0..3 {
        house.upstream.script(Script::text(&format!("Action: look\nAction Input: {{\"n\": {n}}}\n")));
    }
    house.upstream.script(Script::text("Action: look\nAction Input: {\"n\": 9}\nFinal Answer: Enough."));
    let mut plan = house.tool_plan("react", "for ever");
    plan.home_mode = true;
    let (_, events) = house.run(plan).await;
    assert_eq!(hand.count(), 3);
    let before = last_user(&bodies(&house)[2]);
    let told = last_user(&bodies(&house)[3]);
    assert!(told.len() > before.len() && !text_of(&events).contains("Action"), "{told}");
}

#[tokio::test]
async fn a_native_model_that_writes_its_call_as_text_is_understood() {
    let (house, hand) = house().await;
    house.upstream.script(Script::text("<tool_call>{\"name\": \"look\", \"arguments\": {\"n\": 1}}</tool_call>"));
    house.upstream.script(Script::text("A door."));
    let (_, events) = house.run(house.tool_plan("scripted", "what?")).await;
    assert_eq!((hand.count(), text_of(&events).as_str()), (1, "A door."));
    let body = bodies(&house).pop().expect("a request");
    let roles: Vec<_> = body["messages"].as_array().expect("messages").iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles[roles.len() - 2..], ["assistant", "tool"], "told natively");
}

#[tokio::test]
async fn a_model_without_tools_is_told_nothing_of_them() {
    let (house, hand) = house().await;
    house.upstream.script(Script::text("Hello."));
    let (_, events) = house.run(house.tool_plan("toolless", "hi")).await;
    assert_eq!((text_of(&events).as_str(), hand.count()), ("Hello.", 0));
    let body = &bodies(&house)[0];
    assert!(body.get("tools").is_none() && !body["messages"][0]["content"].as_str().unwrap_or("look").contains("look"));
}

#[tokio::test]
async fn an_adapters_stops_hold_in_every_pass_and_what_is_stored_is_clean() {
    let (house, _) = house().await;
    house.upstream.script(Script::text("Action: look\nAction Input: {\"n\": 1}\n"));
    house.upstream.script(Script::text("[B]A door.[/B] ### Human: and then?"));
    let (turn, events) = house.run(house.tool_plan("pygmalion", "what?")).await;
    assert!(!text_of(&events).contains("Human"), "{}", text_of(&events));
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.response.as_deref(), Some("A door."));
    let asked = bodies(&house);
    assert!(asked.iter().all(|body| body["stop"].to_string().contains("[HUMAN]")));
    assert!(events.iter().any(|event| matches!(event, TurnEvent::Text(_))));
}

#[tokio::test]
async fn leaked_protocol_is_never_shown_or_stored() {
    let (house, _) = house().await;
    let leak = "Fine. <tool_call>{\"name\": \"nothing\", \"arguments\": {}}</tool_call> Bye.";
    house.upstream.script(Script::text(leak).split(Split::Every(3)));
    let (turn, events) = house.run(house.plan("plain")).await;
    assert!(text_of(&events).starts_with("Fine.") && !text_of(&events).contains("tool_call"), "{}", text_of(&events));
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert!(!detail.response.unwrap_or_default().contains("tool_call"));
}
