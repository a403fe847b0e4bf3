//! Golden Ollama streams (`tests/streams/ollama`), and streams made up.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

use crate::http::fold::Fault;
use crate::wires::Wire::Ollama;
use crate::wires::testing::{cut, fold, replay, replay_all, shown};

#[test]
fn every_cut_of_every_stream_gives_its_events() {
    replay_all(Ollama, "ollama", "ndjson", 35);
}

#[test]
fn stops_beyond_a_limit_end_the_answer_here() {
    let line = |text: &str| format!("{}\n", json!({"model": "m", "message": {"content": text}, "done": false}));
    let stream = format!("{}{}{}", line("one ST"), line("OP two"), line("three"));
    for at in 0..=stream.len() {
        let (mut fold, mut events) = (fold(Ollama, &["STOP"]), Vec::new());
        fold.feed(&stream.as_bytes()[..at], &mut events).unwrap();
        fold.feed(&stream.as_bytes()[at..], &mut events).unwrap();
        assert!(fold.is_over() && fold.was_cut());
        let usage = "usage input=25 cached=0 output=1 reasoning=0 estimated";
        assert_eq!(shown(&events), ["model m", "text \"one \"", usage, "finished stop"]);
    }
}

#[test]
fn a_huge_line_and_endless_calls_are_refused() {
    let (mut fold_, mut events) = (fold(Ollama, &[]), Vec::new());
    let text = vec![b'x'; 1 << 20];
    let fed = (0..9).try_for_each(|_| fold_.feed(&text, &mut events));
    assert_eq!(fed, Err(Fault::Broken("an event is too large")));

    let mut fold = fold(Ollama, &[]);
    let call = json!({"message": {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}});
    let line = format!("{call}\n");
    let fed = (0..10_000).try_for_each(|_| fold.feed(line.as_bytes(), &mut events));
    assert_eq!(fed, Err(Fault::Broken("too many tool calls")));
}

/// One line of a made-up stream.
fn line() -> impl Strategy<Value = String> {
    let text = |member: &'static str| {
        any::<String>()
            .prop_map(move |text| json!({"model": "m", "message": {member: text}, "done": false}).to_string())
    };
    let call = (prop::option::of("[ab]"), "[fg]", any::<String>()).prop_map(|(id, name, value)| {
        let call = json!({"id": id, "function": {"name": name, "arguments": {"x": value}}});
        json!({"message": {"content": "", "tool_calls": [call]}}).to_string()
    });
    let other = select(vec![
        r#"{"done":true,"done_reason":"length","prompt_eval_count":3,"eval_count":4}"#,
        r#"{"error":"m"}"#,
        r#"{"status":"loading"}"#,
        "",
        "words",
        "[1]",
    ]);
    prop_oneof![4 => text("content"), 1 => text("thinking"), 3 => call, 1 => other.prop_map(str::to_owned)]
}

proptest! {
    #[test]
    fn no_cutting_changes_the_events(
        lines in prop::collection::vec((line(), select(vec!["\n", "\r\n"])), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..6),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut bytes: Vec<u8> = lines.iter().flat_map(|(line, end)| format!("{line}{end}").into_bytes()).collect();
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(replay(Ollama, cut(&bytes, &cuts)), replay(Ollama, [bytes.as_slice()]));
    }
}
