//! Golden Messages streams (`tests/streams/messages`), whole answers, and streams made up.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::http::fold::Fault;
use crate::wires::Wire::Messages;
use crate::wires::testing::{cut, fold, replay, replay_all, shown};

#[test]
fn every_cut_of_every_stream_gives_its_events() {
    replay_all(Messages, "messages", "sse", 50);
}

fn whole(body: &str) -> Result<Vec<String>, Fault> {
    let (mut fold, mut events) = (fold(Messages, &[]), Vec::new());
    fold.whole(body, &mut events).map(|()| shown(&events))
}

#[test]
fn a_whole_json_answer_is_folded() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "text", "text": "Hi"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5, "output_tokens": 6},
    });
    assert_eq!(
        whole(&body.to_string()).unwrap(),
        [
            "model claude-1",
            "reasoning \"Hm.\"",
            "text \"Hi\"",
            "call a f {\"x\":1}",
            "call b g {}",
            "usage input=12 cached=4 output=6 reasoning=0",
            "finished tool_calls",
        ]
    );
    let error = json!({"type": "overloaded_error", "message": "Overloaded"});
    assert_eq!(whole(&json!({"type": "error", "error": error}).to_string()), Err(Fault::Upstream(error)));
    for (body, why) in [
        (r#"{"ok":true}"#, "the answer is not a completion"),
        ("[]", "the answer is not a completion"),
        ("{\"content\"", "the answer is neither an event stream nor JSON"),
    ] {
        assert_eq!(whole(body), Err(Fault::Broken(why)), "{body}");
    }
}

#[test]
fn stops_that_the_api_refuses_end_the_answer_here() {
    let text = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        format!("data: {}\n\n", json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    };
    let stream = format!("{}{}{}", text("one\n"), text("\ntwo"), text("three"));
    for at in 0..=stream.len() {
        let (mut fold, mut events) = (fold(Messages, &["\n\n"]), Vec::new());
        fold.feed(&stream.as_bytes()[..at], &mut events).unwrap();
        fold.feed(&stream.as_bytes()[at..], &mut events).unwrap();
        assert!(fold.is_over() && fold.was_cut());
        let usage = "usage input=25 cached=0 output=1 reasoning=0 estimated";
        assert_eq!(shown(&events), ["text \"one\"", usage, "finished stop"]);
    }
}

#[test]
fn an_answer_that_is_left_knows_its_prompt_and_estimates_the_rest() {
    let (mut fold, mut events) = (fold(Messages, &[]), Vec::new());
    let usage = json!({"input_tokens": 30, "cache_read_input_tokens": 20, "output_tokens": 1});
    let start = json!({"type": "message_start", "message": {"model": "m", "usage": usage}});
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "12345678"}});
    for event in [start, text] {
        fold.feed(format!("data: {event}\n\n").as_bytes(), &mut events).unwrap();
    }
    let usage = fold.usage();
    assert_eq!((usage.input, usage.cached_input, usage.output, usage.estimated), (50, 20, 2, true));
}

#[test]
fn endless_blocks_are_refused() {
    let (mut fold, mut events) = (fold(Messages, &[]), Vec::new());
    let start = json!({"type": "content_block_start", "content_block": {"type": "server_tool_use"}});
    let start = format!("data: {start}\n\n");
    let result = (0..10_000).try_for_each(|_| fold.feed(start.as_bytes(), &mut events));
    assert_eq!(result, Err(Fault::Broken("too many content blocks")));
}

/// One event of a made-up stream.
fn event() -> impl Strategy<Value = String> {
    let delta =
        |index: i64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta}).to_string();
    let text = (0..3_i64, any::<String>()).prop_map(move |(index, text)| delta(index, json!({"text": text})));
    let thought = any::<String>().prop_map(move |text| delta(0, json!({"thinking": text})));
    let fragment = (0..3_i64, "\\PC{0,6}").prop_map(move |(index, json)| delta(index, json!({"partial_json": json})));
    let call = (0..3_i64, prop::option::of("[ab]"), prop::option::of("[fg]"), any::<bool>()).prop_map(
        |(index, id, name, full)| {
            let input = if full { json!({"x": 1}) } else { json!({}) };
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": input});
            json!({"type": "content_block_start", "index": index, "content_block": block}).to_string()
        },
    );
    let other = select(vec![
        r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3}}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"mystery"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":4}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
        r#"{"type":"ping"}"#,
        "ping",
        "{half",
        r#"{"type":"message_stop"}"#,
    ]);
    prop_oneof![4 => text, 1 => thought, 3 => call, 4 => fragment, 2 => other.prop_map(str::to_owned)]
}

proptest! {
    #[test]
    fn no_cutting_changes_the_events(
        events in prop::collection::vec((event(), select(vec!["\n", "\r\n", "\r"]), any::<bool>()), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..6),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for (data, end, noise) in events {
            if noise {
                bytes.extend_from_slice(format!(": noise{end}event: ping{end}").as_bytes());
            }
            bytes.extend_from_slice(format!("data: {data}{end}{end}").as_bytes());
        }
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(replay(Messages, cut(&bytes, &cuts)), replay(Messages, [bytes.as_slice()]));
    }
}
