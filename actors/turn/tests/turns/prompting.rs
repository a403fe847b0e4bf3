//! What the model is shown: history, budgets, client tools, images, voice.

use std::sync::Arc;

use crate::house::{House, collect, complete_of, text_of};
use greenroom_protocol::message::Part;
use greenroom_protocol::{ErrorClass, Message, Role, TurnEvent, TurnStatus};
use greenroom_turn::{HistoryScope, Persona, TurnSettings};
use serde_json::{Value, json};

fn sent(house: &House, marker: &str) -> Value {
    house.upstream.requests_with(marker).last().map(|request| request.body.clone()).expect("a request")
}

fn contents(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().expect("messages");
    messages
        .iter()
        .map(|m| format!("{}: {}", m["role"].as_str().unwrap_or("?"), m["content"].as_str().unwrap_or("?")))
        .collect()
}

#[tokio::test]
async fn a_bot_with_memory_sees_what_was_said_before() {
    let house = House::open().await;
    house.run(house.plan("[[text=blue]] my colour?")).await;
    house.run(house.plan_for("bob", "[[text=ok]] second")).await;
    let seen = contents(&sent(&house, "second"));
    assert!(seen[0].starts_with("system: You are Tess.") && seen[0].contains("Current date/time:"), "{seen:?}");
    assert!(seen[0].contains("Last conversation: just now"));
    assert_eq!(&seen[1..], ["user: [[text=blue]] my colour?", "assistant: blue", "user: [[text=ok]] second"]);
    // Scoped to the user, bob does not see ann's words.
    let mut plan = house.plan_for("bob", "[[text=ok]] third");
    plan.persona = Arc::new(Persona { history_scope: HistoryScope::User, ..house.persona() });
    house.run(plan).await;
    assert!(!contents(&sent(&house, "third")).iter().any(|line| line.contains("colour")));
}

#[tokio::test]
async fn a_stateless_bot_goes_by_what_the_client_sends() {
    let house = House::open().await;
    house.run(house.plan("[[text=stored]] before")).await;
    let mut plan = house.plan("[[text=ok]] now");
    plan.persona = Arc::new(Persona { requires_memory: false, ..house.persona() });
    plan.prompt.earlier = vec![Message::text(Role::User, "one"), Message::text(Role::Assistant, "1")];
    house.run(plan).await;
    assert_eq!(&contents(&sent(&house, "now"))[1..], ["user: one", "assistant: 1", "user: [[text=ok]] now"]);
    let stored = house.namespace.latest(None, None, 10).await.expect("history");
    assert_eq!(stored.len(), 4, "no augmentation does not mean no persistence");
}

#[tokio::test]
async fn history_keeps_to_the_budget() {
    let house = House::open().await;
    for n in 0..6 {
        house.run(house.plan(&format!("[[text=answer]] {n} {}", "x".repeat(800)))).await;
    }
    let mut plan = house.plan("[[text=ok]] final");
    plan.settings =
        Arc::new(TurnSettings { max_context_tokens: 700, memory_protected_recent_turns: 1, ..TurnSettings::default() });
    house.run(plan).await;
    let seen = contents(&sent(&house, "final"));
    let total: usize = seen.iter().map(|line| line.len().div_ceil(4) + 4).sum();
    assert!(total <= 720 && seen.len() > 3, "{total} {}", seen.len());
    assert!(seen[seen.len() - 3].contains(" 5 "), "the newest turn is there");
    let mut plan = house.plan(&"y".repeat(40_000));
    plan.settings = Arc::new(TurnSettings::default());
    let (_, events) = house.run(plan).await;
    let error = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => finish.error.clone(),
        _ => None,
    });
    assert_eq!(error.and_then(|e| e.code).as_deref(), Some(ErrorClass::ContextTooLong.code()));
}

#[tokio::test]
async fn what_the_client_sets_wins_over_the_settings() {
    let house = House::open().await;
    let mut plan = house.plan("[[text=ok]] sampled");
    plan.sampling.temperature = Some(0.0);
    plan.sampling.max_tokens = Some(5000);
    house.run(plan).await;
    let body = sent(&house, "sampled");
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.0), &json!(0.95)));
    let limit = body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64());
    assert_eq!(limit, Some(1000), "the model's own limit bounds the output");
}

#[tokio::test]
async fn client_tools_pass_through_and_the_prompt_continues() {
    let house = House::open().await;
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
    let mut plan = house.plan(r#"[[tool]][[args={"city":"Kyiv"}]] tooled"#);
    plan.client_tools.tools = vec![tool.clone()];
    let (turn, events) = house.run(plan).await;
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            TurnEvent::ClientToolCall(call) => Some(call.clone()),
            _ => None,
        })
        .collect();
    assert_eq!((calls.len(), calls[0].name.as_str()), (1, "weather"));
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.tool_calls[0].arguments, json!({"city": "Kyiv"}));
    // The client ran the tool and continues the same prompt.
    let mut plan = house.plan(r#"[[tool]][[args={"city":"Kyiv"}]] tooled"#);
    plan.client_tools.tools = vec![tool];
    let call = greenroom_protocol::ToolCall {
        id: calls[0].id.clone(),
        name: "weather".into(),
        arguments: calls[0].arguments.clone(),
    };
    plan.prompt.tail = vec![
        Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") },
        Message { tool_call_id: Some(calls[0].id.clone()), ..Message::text(Role::Tool, "sunny") },
    ];
    let (_, events) = house.run(plan).await;
    assert!(text_of(&events).contains("sunny"), "{}", text_of(&events));
    let body = sent(&house, "tooled");
    let roles: Vec<_> = body["messages"].as_array().expect("messages").iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let stored = house.namespace.latest(None, None, 10).await.expect("history");
    assert_eq!(stored.iter().filter(|row| row.role == Role::User).count(), 1, "the prompt is stored once");
}

#[tokio::test]
async fn images_reach_the_model_and_stay_out_of_the_log() {
    let house = House::open().await;
    let mut plan = house.plan("[[echo_parts]]");
    let url = "data:image/png;base64,iVBORw0KGgo=".to_owned();
    plan.prompt.parts = vec![Part::Image { url: url.clone(), detail: None }];
    let (turn, events) = house.run(plan).await;
    assert_eq!(text_of(&events), "images: 1");
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    let snapshot = detail.request.to_string();
    assert!(snapshot.contains("sha256:") && !snapshot.contains("iVBOR"));
}

#[tokio::test]
async fn a_voice_bot_keeps_stage_directions_off_the_wire_only() {
    let house = House::open().await;
    let mut plan = house.plan("[[text=*smiles* Hello there]]");
    plan.persona = Arc::new(Persona { voice_optimized: true, ..house.persona() });
    plan.tts_mode = true;
    let (turn, events) = house.run(plan).await;
    assert_eq!(text_of(&events).trim(), "Hello there");
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.response.as_deref().map(str::trim), Some("*smiles* Hello there"));
    assert!(detail.request["messages"][0]["content"].as_str().is_some_and(|text| text.contains("Speak plainly.")));
}

#[tokio::test]
async fn hostile_text_is_stored_and_answered() {
    let house = House::open().await;
    for prompt in ["a\0b", "'; DROP TABLE messages; --", "\u{202e}\u{feff}😀", &"z".repeat(20_000)] {
        let (turn, events) = house.run(house.plan(prompt)).await;
        assert_eq!(complete_of(&events).status, TurnStatus::Ok, "{prompt:.20}");
        assert!(house.turns.logs().get(turn.id()).await.is_ok());
    }
}

#[tokio::test]
async fn two_turns_of_one_bot_do_not_influence_each_other() {
    let house = House::open().await;
    let (mut spoken, written) =
        (house.plan_for("ann", "[[text=a]] spoken"), house.plan_for("bob", "[[text=b]] written"));
    spoken.tts_mode = true;
    let (one, two) = (house.begin(spoken).await, house.begin(written).await);
    tokio::join!(collect(&one, 0), collect(&two, 0));
    let tts = |marker| contents(&sent(&house, marker))[0].contains("Speak plainly.");
    assert!(tts("spoken") && !tts("written"));
}
