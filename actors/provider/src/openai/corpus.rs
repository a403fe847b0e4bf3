//! Golden streams: every quirk met in the wild as a file in `tests/streams`, replayed at every cut.
//!
//! `name.sse` holds the bytes, `name.expected` one line per event. Adding a case is adding the two files.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::fold::{Fault, Fold};
use crate::event::ProviderEvent;

/// The prompt's length in characters, for estimates.
const PROMPT: usize = 100;

struct Case {
    name: String,
    bytes: Vec<u8>,
    expected: Vec<String>,
}

fn corpus() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut cases: Vec<Case> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sse"))
        .map(|path| Case {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            bytes: fs::read(&path).unwrap(),
            expected: fs::read_to_string(path.with_extension("expected")).unwrap().lines().map(str::to_owned).collect(),
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 40);
    cases
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut fold, mut events) = (Fold::new(Vec::new(), PROMPT), Vec::new());
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| fold.feed(piece, &mut events));
    }
    result = result.and_then(|()| fold.end(&mut events));
    let mut lines: Vec<String> = events.iter().flat_map(shown).collect();
    match result {
        Ok(()) => {}
        Err(Fault::Broken(why)) => lines.push(format!("broken {why}")),
        Err(Fault::Upstream(error)) => lines.push(format!("upstream {error}")),
        Err(Fault::WebPage) => lines.push("web page".into()),
    }
    lines
}

fn shown(event: &ProviderEvent) -> Vec<String> {
    match event {
        ProviderEvent::Text(text) => vec![format!("text {}", serde_json::to_string(text).unwrap())],
        ProviderEvent::Reasoning(text) => vec![format!("reasoning {}", serde_json::to_string(text).unwrap())],
        ProviderEvent::Metadata { upstream_model } => vec![format!("model {upstream_model}")],
        ProviderEvent::Finished(reason) => vec![format!("finished {}", reason.as_str())],
        ProviderEvent::ToolCalls(calls) => calls
            .iter()
            .map(|call| {
                let made = call.id.starts_with("call_") && call.id.len() == 13; // random, so not comparable
                format!("call {} {} {}", if made { "?" } else { &call.id }, call.name, call.arguments)
            })
            .collect(),
        ProviderEvent::Usage(usage) => vec![format!(
            "usage input={} cached={} output={} reasoning={}{}",
            usage.input,
            usage.cached_input,
            usage.output,
            usage.reasoning,
            if usage.estimated { " estimated" } else { "" }
        )],
    }
}

#[test]
fn every_stream_gives_its_events() {
    for case in corpus() {
        assert_eq!(run([case.bytes.as_slice()]), case.expected, "{}", case.name);
    }
}

#[test]
fn every_cut_gives_the_same_events() {
    for case in corpus() {
        for at in 0..=case.bytes.len() {
            let (a, b) = case.bytes.split_at(at);
            assert_eq!(run([a, b]), case.expected, "{} cut at {at}", case.name);
        }
        assert_eq!(run(case.bytes.chunks(1)), case.expected, "{} byte by byte", case.name);
    }
}

#[test]
fn a_huge_event_is_refused() {
    let mut fold = Fold::new(Vec::new(), PROMPT);
    let mut events = Vec::new();
    let text = vec![b'x'; 1 << 20];
    let mut result = fold.feed(b"data: ", &mut events);
    for _ in 0..=super::fold::EVENT_CAP / text.len() {
        result = result.and_then(|()| fold.feed(&text, &mut events));
    }
    assert_eq!(result, Err(Fault::Broken("an event is too large")));
}

#[test]
fn a_whole_json_answer_is_folded() {
    let body = r#" {"id":"x","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant",
        "content":"Hi","reasoning_content":"hm","tool_calls":[{"id":"a","type":"function","function":{"name":"f",
        "arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let (mut fold, mut events) = (Fold::new(Vec::new(), PROMPT), Vec::new());
    fold.whole(body, &mut events).unwrap();
    let lines: Vec<String> = events.iter().flat_map(shown).collect();
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
        assert_eq!(Fold::new(Vec::new(), PROMPT).whole(body, &mut Vec::new()), Err(fault), "{body}");
    }
}

#[test]
fn stops_beyond_the_limit_end_the_answer_here() {
    let stream =
        b"data: {\"choices\":[{\"delta\":{\"content\":\"one ST\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\
                   \"OP two\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"three\"}}]}\n\n";
    for cut in 0..=stream.len() {
        let (mut fold, mut events) = (Fold::new(vec!["STOP".into()], PROMPT), Vec::new());
        let (a, b) = stream.split_at(cut);
        fold.feed(a, &mut events).unwrap();
        fold.feed(b, &mut events).unwrap();
        assert!(fold.is_over() && fold.was_cut());
        let lines: Vec<String> = events.iter().flat_map(shown).collect();
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
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(run(pieces), run([bytes.as_slice()]));
    }
}
