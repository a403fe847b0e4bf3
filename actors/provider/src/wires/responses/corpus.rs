//! Golden streams: what OpenAI, xAI and those who follow them send, as files in `tests/streams/responses`, replayed at every
//! cut. `name.sse` holds the bytes, `name.expected` one line per event.

use proptest::prelude::*;
use serde_json::json;

use crate::http::fold::Fault;
use crate::wires::Wire;
use crate::wires::testing::{cut, fold, replay, replay_all, shown};

#[test]
fn every_cut_gives_the_same_events() {
    replay_all(Wire::Responses, "responses", "sse", 43);
}

#[test]
fn a_whole_json_answer_is_folded() {
    let body = json!({"id": "r", "object": "response", "status": "completed", "model": "m-1", "error": null, "output": [
        {"type": "reasoning", "id": "rs", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": "{}"},
    ], "usage": {"input_tokens": 1, "output_tokens": 2}});
    let (mut whole, mut events) = (fold(Wire::Responses, &[]), Vec::new());
    whole.whole(&body.to_string(), &mut events).unwrap();
    assert_eq!(
        shown(&events),
        [
            "model m-1",
            "text \"Hi\"",
            "call a f {}",
            "usage input=1 cached=0 output=2 reasoning=0",
            "finished tool_calls"
        ]
    );
    for (body, fault) in [
        (json!({"error": {"message": "m"}}).to_string(), Fault::Upstream(json!({"message": "m"}))),
        (json!({"ok": true, "error": null}).to_string(), Fault::Broken("the answer is not a completion")),
        ("{\"output\"".into(), Fault::Broken("the answer is neither an event stream nor JSON")),
    ] {
        assert_eq!(fold(Wire::Responses, &[]).whole(&body, &mut Vec::new()), Err(fault), "{body}");
    }
}

#[test]
fn stops_are_enforced_here() {
    let stream = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"one ST\"}\n\n\
                  data: {\"type\":\"response.output_text.delta\",\"delta\":\"OP two\"}\n\n";
    for at in 0..=stream.len() {
        let (mut fold, mut events) = (fold(Wire::Responses, &["STOP"]), Vec::new());
        for piece in [&stream[..at], &stream[at..]] {
            fold.feed(piece.as_bytes(), &mut events).unwrap();
        }
        assert!(fold.is_over() && fold.was_cut());
        let usage = "usage input=25 cached=0 output=1 reasoning=0 estimated";
        assert_eq!(shown(&events), ["text \"one \"", usage, "finished stop"]);
    }
}

#[test]
fn endless_calls_are_refused() {
    let (mut fold, mut events) = (fold(Wire::Responses, &[]), Vec::new());
    let fragment =
        json!({"type": "response.function_call_arguments.delta", "item_id": "a", "delta": "x".repeat(1 << 20)});
    let event = format!("data: {fragment}\n\n");
    let result = (0..9).try_for_each(|_| fold.feed(event.as_bytes(), &mut events));
    assert_eq!(result, Err(Fault::Broken("too many tool calls")));
}

/// One event of a made-up stream.
fn event() -> impl Strategy<Value = String> {
    let text =
        any::<String>().prop_map(|text| json!({"type": "response.output_text.delta", "delta": text}).to_string());
    let ids = (prop::option::of("[ab]"), prop::option::of(0..2_i64), prop::option::of("[cd]"), "\\PC{0,6}");
    let call = (ids, prop::sample::select(vec!["added", "done"]), any::<bool>()).prop_map(
        |((id, place, call, arguments), kind, whole)| {
            let item = json!({"type": "function_call", "id": id, "call_id": call, "name": "f", "arguments": arguments});
            let event = if whole {
                json!({"type": format!("response.output_item.{kind}"), "output_index": place, "item": item})
            } else {
                let kind = "response.function_call_arguments.delta";
                json!({"type": kind, "output_index": place, "item_id": id, "delta": arguments})
            };
            event.to_string()
        },
    );
    let other = prop::sample::select(vec![
        r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#.to_owned(),
        r#"{"type":"response.incomplete","response":{}}"#.to_owned(),
        r#"{"type":"error","message":"m"}"#.to_owned(),
        r#"{"type":"ping"}"#.to_owned(),
        "ping".to_owned(),
        "{half".to_owned(),
        "[DONE]".to_owned(),
    ]);
    prop_oneof![4 => text, 4 => call, 1 => other]
}

proptest! {
    #[test]
    fn no_cutting_changes_the_events(
        events in prop::collection::vec((event(), prop::sample::select(vec!["\n", "\r\n", "\r"])), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for (data, end) in events {
            bytes.extend_from_slice(format!("data: {data}{end}{end}").as_bytes());
        }
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(replay(Wire::Responses, cut(&bytes, &cuts)), replay(Wire::Responses, [bytes.as_slice()]));
    }
}
