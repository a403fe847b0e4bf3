//! The tool loop with models that have function calling: batches, rounds, limits, ids, records.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{FinishReason, Role, TurnEvent, TurnStatus};
use greenroom_test_support::upstream::{Script, ScriptedCall, ToolShape};
use greenroom_tools::{Effects, Tool};
use greenroom_turn::{Persona, TurnPlan, TurnSettings};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::hands::{Deed, Hand, behind, bodies, calling, ended, results, started};
use crate::house::{House, collect, complete_of, text_of};

fn one(name: &str) -> Vec<Arc<dyn Tool>> {
    vec![Hand::new(name, Effects::ReadOnly, Deed::Say("said".into()))]
}

fn finish_of(events: &[TurnEvent]) -> FinishReason {
    let finish = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => Some(finish.reason),
        _ => None,
    });
    finish.expect("a finish")
}

#[tokio::test]
async fn two_parallel_native_calls_are_one_batch_and_one_continuation() {
    let house = House::open().await;
    let calls = [("a", "time", json!({"timezone": "Asia/Tokyo"})), ("b", "time", json!({"timezone": "Europe/Oslo"}))];
    house.upstream.script(calling("", &calls));
    house.upstream.script(Script::text("It is late there."));
    let (turn, events) = house.run(house.tool_plan("scripted", "how late?")).await;
    assert_eq!(text_of(&events), "It is late there.");
    let order: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            TurnEvent::ToolCall(call) => Some(format!("call {} {}", call.call_id, call.index)),
            TurnEvent::ToolResult(end) => Some(format!("result {} {}", end.call_id, end.ok)),
            TurnEvent::Text(_) => Some("text".into()),
            _ => None,
        })
        .collect();
    assert_eq!(order[..4], ["call a 0", "call b 1", "result a true", "result b true"]);
    assert!(order[4..].iter().all(|word| word == "text"), "{order:?}");
    let bodies = bodies(&house);
    assert_eq!(bodies.len(), 2);
    assert_eq!(behind(&bodies[1], "how late"), ["assistant:a,b", "tool:a", "tool:b"]);
    assert!(results(&bodies[1])[0].contains("Asia/Tokyo"), "{:?}", results(&bodies[1]));
    assert_eq!((&bodies[0]["tool_choice"], &bodies[1]["tool_choice"]), (&json!("auto"), &json!("auto")));
    assert_eq!((finish_of(&events), complete_of(&events).tool_call_count), (FinishReason::Stop, 2));
    // The turn's log, its records and its replay say the same.
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.tool_calls.len(), 2);
    let entry = &detail.tool_calls[1];
    assert_eq!((entry.index, entry.name.as_str(), entry.ok, entry.status), (2, "time", Some(true), "completed"));
    assert_eq!(entry.effects.as_deref(), Some("read_only"));
    assert!(entry.duration_ms.is_some() && entry.started_at.is_some());
    while house.turns.live(turn.id()).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(collect(&house.turns.attach(turn.id()).await.expect("attaches"), 0).await, events);
}

#[tokio::test]
async fn three_dependent_rounds_work_streamed_or_not() {
    for stream in [true, false] {
        let house = House::open().await;
        for (id, zone) in [("a", "UTC"), ("b", "Asia/Tokyo"), ("c", "Europe/Oslo")] {
            house.upstream.script(calling("", &[(id, "time", json!({"timezone": zone}))]));
        }
        house.upstream.script(Script::text("Done."));
        let (_, events) = house.run(TurnPlan { stream, ..house.tool_plan("scripted", "thrice") }).await;
        assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("Done.", TurnStatus::Ok));
        let iterations: Vec<u32> = started(&events).iter().map(|call| call.iteration).collect();
        assert_eq!(iterations, [1, 2, 3]);
        let last = behind(&bodies(&house)[3], "thrice");
        assert_eq!(last, ["assistant:a", "tool:a", "assistant:b", "tool:b", "assistant:c", "tool:c"]);
    }
}

#[tokio::test]
async fn the_limit_on_calls_is_exact_and_the_last_pass_answers() {
    let hand = Hand::new("look", Effects::ReadOnly, Deed::Say("said".into()));
    let house = House::with_tools(vec![hand.clone()]).await;
    for n in 0..4 {
        house.upstream.script(calling("", &[(&format!("c{n}"), "look", json!({"n": n}))]));
    }
    house.upstream.script(Script::text("Enough."));
    let mut plan = house.tool_plan("scripted", "many");
    plan.settings = Arc::new(TurnSettings { max_tool_calls_per_turn: 3, ..TurnSettings::default() });
    let (_, events) = house.run(plan).await;
    assert_eq!(hand.count(), 3);
    assert_eq!(ended(&events).iter().map(|end| end.ok).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(text_of(&events), "Enough.");
    let last = &bodies(&house)[4];
    assert_eq!((&last["tool_choice"], last["tools"].as_array().map(Vec::len)), (&json!("none"), Some(1)));
}

#[tokio::test]
async fn after_the_last_iteration_one_pass_answers_without_tools() {
    for (home_mode, most) in [(false, 4), (true, 3)] {
        let house = House::with_tools(one("look")).await;
        for n in 0..most {
            house.upstream.script(calling("", &[("same", "look", json!({"n": n}))]));
        }
        // Even when told not to, this one calls; nobody runs it.
        house.upstream.script(calling("Well then.", &[("z", "look", json!({"n": 99}))]));
        let mut plan = house.tool_plan("scripted", "for ever");
        plan.settings = Arc::new(TurnSettings { max_tool_iterations: 4, ..TurnSettings::default() });
        plan.home_mode = home_mode;
        let (_, events) = house.run(plan).await;
        assert_eq!(started(&events).len(), most);
        assert_eq!((text_of(&events).as_str(), finish_of(&events)), ("Well then.", FinishReason::Stop));
        assert_eq!(bodies(&house)[most]["tool_choice"], "none");
        // A provider that gives every call the same id gets others from us.
        let ids: std::collections::HashSet<&str> = started(&events).iter().map(|call| call.call_id.as_str()).collect();
        assert_eq!(ids.len(), most);
    }
}

#[tokio::test]
async fn unparseable_arguments_are_an_error_result_and_nothing_runs() {
    let hand = Hand::new("look", Effects::ReadOnly, Deed::Say("said".into()));
    let house = House::with_tools(vec![hand.clone()]).await;
    let bad = ScriptedCall { id: "a".into(), name: "look".into(), arguments: "not JSON at all".into() };
    house.upstream.script(Script::tool_calls(&[bad], &ToolShape::default()));
    // Cut off by the output limit: it is not repaired and run.
    let cut = ScriptedCall { id: "b".into(), name: "look".into(), arguments: r#"{"n": 12"#.into() };
    house.upstream.script(Script::tool_calls(&[cut], &ToolShape::default()).finish_reason(Some("length")));
    house.upstream.script(Script::text("Sorry."));
    let (turn, events) = house.run(house.tool_plan("scripted", "look")).await;
    assert_eq!((hand.count(), text_of(&events).as_str()), (0, "Sorry."));
    let ends = ended(&events);
    assert!(ends.len() == 2 && ends.iter().all(|end| !end.ok && end.result.contains("not a JSON object")), "{ends:?}");
    assert!(results(&bodies(&house)[1])[0].starts_with("ERROR: "));
    assert_eq!(behind(&bodies(&house)[2], "look"), ["assistant:a", "tool:a", "assistant:b", "tool:b"]);
    assert_eq!(house.turns.logs().get(turn.id()).await.expect("stored").tool_calls[0].ok, Some(false));
}

#[tokio::test]
async fn only_what_was_offered_runs() {
    let house = House::open().await;
    house.upstream.script(calling("", &[("a", "web_search", json!({"query": "x"})), ("b", "rm", json!({}))]));
    house.upstream.script(Script::text("I cannot."));
    let (_, events) = house.run(house.tool_plan("scripted", "search")).await;
    let ends = ended(&events);
    assert!(ends.iter().all(|end| !end.ok && end.result.contains("time")), "the known names are listed: {ends:?}");
    assert_eq!((ends.len(), text_of(&events).as_str()), (2, "I cannot."));
    // A list of the bot narrows the offer and what runs.
    let mut plan = house.tool_plan("scripted", "narrow");
    let allow = Some(vec!["model".to_owned(), "memory.search".to_owned()]);
    plan.persona = Arc::new(Persona { uses_tools: true, tools_allow: allow, ..house.persona() });
    house.upstream.script(calling("", &[("a", "time", json!({}))]));
    house.upstream.script(Script::text("No clock."));
    let (_, events) = house.run(plan).await;
    assert!(!ended(&events)[0].ok);
    let body = bodies(&house).into_iter().nth(2).expect("a request");
    let names: Vec<&str> =
        body["tools"].as_array().expect("tools").iter().filter_map(|t| t["function"]["name"].as_str()).collect();
    assert_eq!(names, ["memory"]);
    assert_eq!(body["tools"][0]["function"]["parameters"]["properties"]["action"]["enum"], json!(["search"]));
}

#[tokio::test]
async fn text_before_a_call_stays_and_a_blank_line_follows_it() {
    let house = House::open().await;
    house.upstream.script(calling("Let me look.", &[("a", "time", json!({}))]));
    house.upstream.script(Script::text("It is noon."));
    let (turn, events) = house.run(house.tool_plan("scripted", "when?")).await;
    assert_eq!(text_of(&events), "Let me look.\n\nIt is noon.");
    let gap = events.iter().position(|event| matches!(event, TurnEvent::Text(text) if &**text == "\n\n"));
    let result = events.iter().position(|event| matches!(event, TurnEvent::ToolResult(_)));
    assert!(gap > result && result.is_some(), "no text of the next pass before the last result");
    let body = &bodies(&house)[1];
    let messages = body["messages"].as_array().expect("messages");
    let calling = messages.iter().find(|message| message["tool_calls"].is_array()).expect("the calling message");
    assert_eq!(calling["content"], "Let me look.");
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.response.as_deref(), Some("Let me look.\n\nIt is noon."));
    // The prompt tells of the tools, and the last prompt stands in the log as it was.
    assert!(body["messages"][0]["content"].as_str().is_some_and(|text| text.contains("How your memory works")));
    // On this wire all system texts go out as one.
    assert_eq!(detail.request["messages"].as_array().map(Vec::len), Some(messages.len() + 1));
}

#[tokio::test]
async fn the_same_call_is_answered_from_the_first_and_the_third_ends_the_use_of_tools() {
    let hand = Hand::new("look", Effects::ReadOnly, Deed::Say("said".into()));
    let house = House::with_tools(vec![hand.clone()]).await;
    for id in ["a", "b", "c"] {
        house.upstream.script(calling("", &[(id, "look", json!({"n": 1}))]));
    }
    house.upstream.script(Script::text("Fine."));
    let (_, events) = house.run(house.tool_plan("scripted", "again")).await;
    assert_eq!((hand.count(), ended(&events).len(), text_of(&events).as_str()), (1, 3, "Fine."));
    let bodies = bodies(&house);
    assert!(results(&bodies[2])[1].contains("not made again"), "{:?}", results(&bodies[2]));
    assert_eq!(bodies[3]["tool_choice"], "none");
}

#[tokio::test]
async fn calls_that_change_nothing_run_side_by_side_and_others_in_order() {
    for (effects, at_once) in [(Effects::ReadOnly, 3), (Effects::Idempotent, 1)] {
        let gate = Arc::new(Semaphore::new(0));
        let hand = Hand::new("look", effects, Deed::Wait(gate.clone()));
        let house = House::with_tools(vec![hand.clone()]).await;
        let calls: Vec<_> = (0..3).map(|n| ScriptedCall::new(&format!("c{n}"), "look", &json!({"n": n}))).collect();
        house.upstream.script(Script::tool_calls(&calls, &ToolShape::default()));
        house.upstream.script(Script::text("All done."));
        let turn = house.begin(house.tool_plan("scripted", "three")).await;
        while hand.count() < at_once {
            hand.begun.notified().await;
        }
        gate.add_permits(3);
        let events = collect(&turn, 0).await;
        assert_eq!(hand.most_at_once.load(std::sync::atomic::Ordering::SeqCst), at_once);
        let order: Vec<&str> = ended(&events).iter().map(|end| end.call_id.as_str()).collect();
        assert_eq!(order, ["c0", "c1", "c2"], "results in call order");
    }
}

#[tokio::test]
async fn usage_and_cost_are_summed_over_all_passes() {
    let house = House::open().await;
    let usage = |input: u64, cached: u64, output: u64| {
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
            "prompt_tokens_details": {"cached_tokens": cached}})
    };
    house.upstream.script(calling("", &[("a", "time", json!({}))]).usage(usage(100, 0, 10)));
    house.upstream.script(Script::text("Noon.").usage(usage(150, 90, 5)));
    let (_, events) = house.run(house.tool_plan("scripted", "when?")).await;
    let complete = complete_of(&events);
    assert_eq!((complete.usage.input, complete.usage.output, complete.usage.estimated), (250, 15, false));
    let tokens = complete.token_usage.as_ref().expect("token usage");
    assert_eq!((tokens.input_tokens, tokens.cache_read_tokens, tokens.output_tokens), (60, 90, 15));
    let cost = tokens.total_cost_usd.expect("a price is configured");
    assert!((cost - (250.0 * 2.0 + 15.0 * 10.0) / 1e6).abs() < 1e-12, "{cost}");
}

#[tokio::test]
async fn rows_of_calls_are_stored_with_their_turn_and_hold_no_secret() {
    let house = House::with_tools(one("look")).await;
    house.upstream.script(calling("", &[("a", "look", json!({"n": 1, "password": "hunter2"}))]));
    house.upstream.script(Script::text("Seen."));
    let (turn, events) = house.run(house.tool_plan("scripted", "see")).await;
    let rows = house.namespace.latest(None, None, 10).await.expect("history");
    let roles: Vec<Role> = rows.iter().map(|row| row.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::Tool, Role::User], "newest first");
    let note = rows[1].metadata.as_ref().expect("a note");
    assert_eq!((&note["tool"], &note["call_id"], &note["ok"]), (&json!("look"), &json!("a"), &json!(true)));
    assert_eq!(rows[1].turn.as_ref(), Some(turn.id()));
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    let shown = format!("{events:?} {rows:?} {} {:?}", detail.request, detail.tool_calls);
    assert!(!shown.contains("hunter2"), "{shown}");
    // The tool itself got it, and the model its own words back.
    assert!(results(&bodies(&house)[1])[0].contains("hunter2"));
}

#[tokio::test]
async fn a_bot_without_tools_is_asked_as_ever() {
    let house = House::open().await;
    house.run(house.plan("[[text=ok]] plain")).await;
    let body = &bodies(&house)[0];
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
    assert!(!body["messages"][0]["content"].as_str().unwrap_or_default().contains("tool"));
    // Nor is an agent, whose tools are its own.
    let mut plan = house.plan("[[text=ok]] agent");
    plan.persona = Arc::new(Persona { uses_tools: true, agent_backend: Some("codex".into()), ..house.persona() });
    house.run(plan).await;
    assert!(bodies(&house)[1].get("tools").is_none());
}

#[tokio::test]
async fn the_prompt_before_the_conversation_is_the_same_bytes_in_every_pass() {
    let house = House::open().await;
    house.upstream.script(calling("", &[("a", "time", json!({}))]));
    house.upstream.script(Script::text("Noon."));
    house.run(house.tool_plan("scripted", "when?")).await;
    let bodies = bodies(&house);
    assert_eq!(bodies[0]["tools"], bodies[1]["tools"]);
    let (first, second) = (&bodies[0]["messages"], &bodies[1]["messages"]);
    let first = first.as_array().expect("messages");
    assert_eq!(first[..], second.as_array().expect("messages")[..first.len()]);
}

#[tokio::test]
async fn long_results_make_room_by_letting_the_oldest_past_go() {
    let long = Hand::new("look", Effects::ReadOnly, Deed::Say("z".repeat(60_000)));
    let house = House::with_tools(vec![long]).await;
    for n in 0..4 {
        house.run(house.plan(&format!("[[text=answer {n}]] {n} {}", "x".repeat(4_000)))).await;
    }
    for n in 0..3 {
        house.upstream.script(calling("", &[(&format!("c{n}"), "look", json!({"n": n}))]));
    }
    house.upstream.script(Script::text("Read."));
    let (_, events) = house.run(house.tool_plan("scripted", "read all")).await;
    assert_eq!(text_of(&events), "Read.");
    let last = bodies(&house).pop().expect("a request");
    let size: usize =
        last["messages"].as_array().expect("messages").iter().map(|m| m["content"].to_string().len()).sum();
    assert!(size / 4 < 8_000, "{size} bytes are more than the window");
    assert_eq!(behind(&last, "read all").len(), 6, "no call without its result");
}

#[tokio::test]
async fn a_turn_waits_for_tools_no_longer_than_each_may_take() {
    let hand = Hand::within("look", Effects::ReadOnly, Deed::Hang, Duration::from_millis(50));
    let house = House::with_tools(vec![hand]).await;
    house.upstream.script(calling("", &[("a", "look", json!({}))]));
    house.upstream.script(Script::text("It did not answer."));
    let (_, events) = house.run(house.tool_plan("scripted", "hang")).await;
    let ends = ended(&events);
    assert!(!ends[0].ok && ends[0].result.contains("no answer"), "{ends:?}");
    assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("It did not answer.", TurnStatus::Ok));
}
