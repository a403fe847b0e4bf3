//! Replies as models write them, and properties over everything else.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{object, object_at, repair};

fn reads(reply: &str, expected: Value) {
    assert_eq!(repair(reply), Some(expected), "{reply}");
}

#[test]
fn proper_json_is_taken_as_it_is() {
    reads(
        r#"{"facts": [{"content": "a, b: {c}", "importance": 0.7}]}"#,
        json!({"facts": [{"content": "a, b: {c}", "importance": 0.7}]}),
    );
    reads(" [1, 2] ", json!([1, 2]));
}

#[test]
fn fences_and_prose_around_do_not_matter() {
    let facts = json!({"facts": []});
    reads("```json\n{\"facts\": []}\n```", facts.clone());
    reads("```\n{\"facts\": []}\n```\nThat's all I've found.", facts.clone());
    reads("Here's what I found [1]: {\"facts\": []} Don't hesitate {to ask}!", facts.clone());
    reads("I don't see {braces} that matter.\n\n{\"facts\": []}", facts);
    reads(
        "First an array [1], then [{\"content\": \"x\"}, {\"content\": \"y\"}]",
        json!([{"content": "x"}, {"content": "y"}]),
    );
}

#[test]
fn small_mistakes_are_repaired() {
    reads(r#"{"facts": [{"content": "x",},],}"#, json!({"facts": [{"content": "x"}]}));
    reads("{'facts': [{'content': 'it\\'s Ann\\'s'}]}", json!({"facts": [{"content": "it's Ann's"}]}));
    reads(
        "{'content': 'the user's dog isn't big', 'importance': .5}",
        json!({"content": "the user's dog isn't big", "importance": 0.5}),
    );
    reads(
        "{content: \"at 10:30, he said: go\", ok: True, none: None}",
        json!({"content": "at 10:30, he said: go", "ok": true, "none": null}),
    );
    reads("{\"a\": \"he said \"hi\" to me\", \"b\": 1}", json!({"a": "he said \"hi\" to me", "b": 1}));
    reads("{\"a\": 1 \"b\": 2}", json!({"a": 1, "b": 2}));
    reads("{\"a\": 1, // why not\n \"b\": /* really */ 2}", json!({"a": 1, "b": 2}));
    reads("{\u{201c}a\u{201d}: \u{201c}b\u{201d}}", json!({"a": "b"}));
    reads("{\"a\": \"two\nlines\"}", json!({"a": "two\nlines"}));
    reads(r#"{"a": "\ud83d\ude00 \u00e9",}"#, json!({"a": "😀 é"}));
}

#[test]
fn what_was_cut_off_keeps_what_was_complete() {
    let first = json!({"facts": [{"content": "x", "importance": 0.9}]});
    reads(r#"{"facts": [{"content": "x", "importance": 0.9}, {"content": "User lives in Ber"#, first.clone());
    reads(r#"{"facts": [{"content": "x", "importance": 0.9}"#, first.clone());
    reads(r#"{"facts": [{"content": "x", "importance": 0.9},"#, first);
    reads(r#"{"facts": [{"content": "x", "importance": 0."#, json!({"facts": [{"content": "x"}]}));
    reads(
        r#"```json
{"facts": [{"content": "x", "tags": ["fact", "ev"#,
        json!({"facts": [{"content": "x", "tags": ["fact"]}]}),
    );
}

#[test]
fn prose_is_no_json() {
    for reply in ["", "Nothing to report.", "I can't do that {sorry}.", "null", "\"facts\"", "7", "}{", "]["] {
        let read = repair(reply);
        assert!(read.is_none() || read == Some(json!({})) || read == Some(json!([])), "{reply}: {read:?}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let _ = repair(&"[".repeat(500_000));
    let _ = repair(&"{\"a\":".repeat(200_000));
    let _ = repair(&"{'a'".repeat(200_000));
    let _ = repair(&format!("{{\"a\": \"{}", "x\" ".repeat(300_000)));
}

fn arguments(text: &str, expected: Value) {
    assert_eq!(object(text), Some(expected), "{text}");
}

#[test]
fn arguments_are_repaired() {
    arguments(r#"{"query": "x"}"#, json!({"query": "x"}));
    arguments(r#"  {"query": "x"}}}  "#, json!({"query": "x"}));
    arguments(r#"{"query": "x", "n": [1, 2"#, json!({"query": "x", "n": [1, 2]}));
    arguments(r#"{"n": 5"#, json!({"n": 5}));
    arguments(r#"{"a": {"b": "c""#, json!({"a": {"b": "c"}}));
    arguments(r#"{"a": 1, "b": [2,],}"#, json!({"a": 1, "b": [2]}));
    arguments(r#"{'a': 'it\'s', b: True}"#, json!({"a": "it's", "b": true}));
    arguments(r#"{"a": "she said "no" to me"}"#, json!({"a": "she said \"no\" to me"}));
    arguments(r#""{\"a\": 1}""#, json!({"a": 1}));
    arguments("```json\n{\"a\": 1}\n```", json!({"a": 1}));
    arguments(r#"{"a": "}{"}"#, json!({"a": "}{"}));
    arguments("{\"a\": \"two\nlines\"}", json!({"a": "two\nlines"}));
    arguments("{}", json!({}));
}

#[test]
fn arguments_are_never_guessed() {
    // a call with half its arguments must not run
    for text in [
        "",
        "null",
        "[1]",
        "7",
        "{",
        r#"{"action": "delete", "query": "everything ab"#,
        r#"{"action": "delete", "query":"#,
        r#"{"action": "delete", "que"#,
        r#"{"a": tru"#,
        "{a b}",
        "weather in Paris",
        r#"{"a": 1} and {"b": 2}"#,
    ] {
        let read = object(text);
        assert!(read.is_none() || (text == "{" && read == Some(json!({}))), "{text}: {read:?}");
    }
}

#[test]
fn an_object_is_found_where_it_begins() {
    assert_eq!(object_at(r#"{"a": "}"} rest"#), Some((json!({"a": "}"}), 10)));
    assert_eq!(object_at(r#" {"a": 1}"#), None);
    assert_eq!(object_at(r#"{"a": 1"#), None);
}

/// Found by fuzzing: a reader that had run out of steps at a comma never came back.
#[test]
fn running_out_of_steps_ends() {
    for depth in 1..120 {
        for tail in ["true,\u{1b}[\"d\": 1", "1,,,,,,,,\u{1b}", "{\"a\": 1,,,,\u{1b}"] {
            let nested = "[".repeat(depth);
            let _ = repair(&format!("{{\"a\": null, [[[ {nested}{tail}"));
            let _ = object(&format!("{{\"a\": {nested}{tail}"));
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,6}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_panics(text in any::<String>()) {
        let _ = repair(&text);
        let _ = object(&text);
    }

    #[test]
    fn no_bracket_soup_panics(text in "[\\[\\]{}\"':,a1\\\\/*\\n é“”-]{0,200}") {
        let _ = repair(&text);
        let _ = object(&text);
        let _ = object_at(&text);
    }

    #[test]
    fn json_survives_its_surroundings(value in any_json(), before in "[a-zA-Z .!?']{0,30}", after in "[a-zA-Z .!?']{0,30}") {
        prop_assume!(value.is_object() || value.is_array());
        let read = repair(&format!("{before}\n```json\n{value}\n```\n{after}"));
        prop_assert_eq!(read, Some(value));
    }

    #[test]
    fn missing_and_surplus_closers_do_not_matter(value in any_json(), surplus in "[} \n]{0,4}") {
        prop_assume!(value.is_object());
        let text = value.to_string();
        prop_assert_eq!(object(&format!("{text}{surplus}")), Some(value.clone()));
        prop_assert_eq!(object_at(&format!("{text}{surplus}")), Some((value.clone(), text.len())));
        prop_assert_eq!(object(text.trim_end_matches(['}', ']'])), Some(value));
    }

    #[test]
    fn every_prefix_is_read_without_panic(value in any_json(), cut in 0usize..400) {
        let text = value.to_string();
        let _ = repair(&text[..text.floor_char_boundary(cut)]);
    }
}
