//! Golden streams: every quirk met in the wild as a file in `tests/streams/chat`, replayed at every cut.
//!
//! `name.sse` holds the bytes, `name.expected` one line per event. Adding a case is adding the two files.

use proptest::prelude::*;

use crate::http::fold::{EVENT_CAP, Fault};
use crate::wires::Wire;
use crate::wires::testing::{cut, fold, replay, replay_all, shown};

#[test]
fn every_cut_gives_the_same_events() {
    replay_all(Wire::Chat, "chat", "sse", 43);
}

#[test]
fn a_huge_event_is_refused() {
    let mut fold = fold(Wire::Chat, &[]);
    let mut events = Vec::new();
    let text = vec![b'x'; 1 << 20];
    let mut result = fold.feed(b"data: ", &mut events);
    for _ in 0..=EVENT_CAP / text.len() {
        result = result.and_then(|()| fold.feed(&text, &mut events));
    }
    assert_eq!(result, Err(Fault::Broken("an event is too large")));
}

#[test]
fn a_whole_json_answer_is_folded() {
    let body = r#" {"id":"x","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant",
        "content":"Hi","reasoning_content":"hm","tool_calls":[{"id":"a","type":"function","function":{"name":"f",
        "arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let (mut fold, mut events) = (fold(Wire::Chat, &[]), Vec::new());
    fold.whole(body, &mut events).unwrap();
    let lines = shown(&events);
    assert_eq!(
        lines,
        [
            "model m-1",
            "reasoning \"hm\"",
            "text \"Hi\"",
            "call a f {}",
            "usage input=1 cached=0 output=2 reasoning=0",
            "finished tool_calls"
        ]
    );
    for (body, fault) in [
        (r#"{"error":{"message":"m"}}"#, Fault::Upstream(serde_json::json!({"message": "m"}))),
        (r#"{"ok":true}"#, Fault::Broken("the answer is not a completion")),
        ("[]", Fault::Broken("the answer is not a completion")),
        ("{\"choices\"", Fault::Broken("the answer is neither an event stream nor JSON")),
    ] {
        assert_eq!(self::fold(Wire::Chat, &[]).whole(body, &mut Vec::new()), Err(fault), "{body}");
    }
}

#[test]
fn stops_beyond_the_limit_end_the_answer_here() {
    let stream =
        b"data: {\"choices\":[{\"delta\":{\"content\":\"one ST\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\
                   \"OP two\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"three\"}}]}\n\n";
    for cut in 0..=stream.len() {
        let (mut fold, mut events) = (self::fold(Wire::Chat, &["STOP"]), Vec::new());
        let (a, b) = stream.split_at(cut);
        fold.feed(a, &mut events).unwrap();
        fold.feed(b, &mut events).unwrap();
        assert!(fold.is_over() && fold.was_cut());
        let lines = shown(&events);
        assert_eq!(lines, ["text \"one \"", "usage input=25 cached=0 output=1 reasoning=0 estimated", "finished stop"]);
    }
}

/// One event of a made-up stream.
fn event() -> impl Strategy<Value = String> {
    let text = |member: &'static str| {
        any::<String>().prop_map(move |text| {
            serde_json::json!({"model": "m-1", "choices": [{"delta": {member: text}}]}).to_string()
        })
    };
    let call = (0..3_i64, prop::option::of("[ab]"), prop::option::of("[fg]"), "\\PC{0,6}").prop_map(
        |(index, id, name, arguments)| {
            let function = serde_json::json!({"name": name, "arguments": arguments});
            let call = serde_json::json!({"index": index, "id": id, "function": function});
            serde_json::json!({"choices": [{"delta": {"tool_calls": [call]}}]}).to_string()
        },
    );
    let other = prop::sample::select(vec![
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#.to_owned(),
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
        r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#.to_owned(),
        r#"{"error":{"message":"m"}}"#.to_owned(),
        r#"{"type":"ping"}"#.to_owned(),
        "ping".to_owned(),
        "{half".to_owned(),
        "[DONE]".to_owned(),
    ]);
    prop_oneof![4 => text("content"), 1 => text("reasoning_content"), 3 => call, 2 => other]
}

proptest! {
    #[test]
    fn no_cutting_changes_the_events(
        events in prop::collection::vec((event(), prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>()), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for (data, end, noise) in events {
            if noise {
                bytes.extend_from_slice(format!(": noise{end}").as_bytes());
            }
            bytes.extend_from_slice(format!("data: {data}{end}{end}").as_bytes());
        }
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(replay(Wire::Chat, cut(&bytes, &cuts)), replay(Wire::Chat, [bytes.as_slice()]));
    }
}
