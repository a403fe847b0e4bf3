//! The forms in which models write calls (tools.md §5.3, §5.4, §14.4, §14.5).

use greenroom_dialect::ToolFormat::{Native, React, Xml};
use greenroom_dialect::{ToolFormat, stops};
use serde_json::{Value, json};

use crate::pass::{Pass, whole};

fn calls(format: ToolFormat, text: &str, name: &str, arguments: Value) -> Pass {
    let pass = whole(format, text);
    assert_eq!(pass.calls(), [(name, &arguments)], "{format:?}: {text}\n{pass:?}");
    assert_eq!(pass.parsed.malformed, None, "{text}");
    pass
}

fn prose(format: ToolFormat, text: &str) {
    let pass = whole(format, text);
    assert_eq!((pass.prose.as_str(), pass.calls().len()), (text, 0), "{format:?}: {pass:?}");
    assert_eq!(pass.parsed.malformed, None, "{text}");
}

#[test]
fn every_form_comes_to_the_same_call() {
    let forms = [
        "Thought: look it up\nAction: search\nAction Input: {\"query\": \"x\"}",
        "Action: search\nAction Input: {\"query\": \"x\"}\nObservation: made up\nFinal Answer: made up",
        "action:search\naction input:{\"query\":\"x\"}",
        "**Action:** search\n**Action Input:** {\"query\": \"x\"}",
        "Action:\n  search\n\nAction Input:\n{\"query\": \"x\"}",
        "Action: `search`\nAction Input: ```json\n{\"query\": \"x\"}\n```",
        "Action: search {\"query\": \"x\"}",
        "Action: search\n{\"query\": \"x\"}",
        "Action: search\n```json\n{\"query\": \"x\"}\n```",
        "# Tool: search\n# Arguments:\n{\"query\": \"x\"}",
        "Tool: `search`\nArguments: {\"query\": \"x\"}\n",
        "```\n# Tool: search\n# Arguments: {\"query\": \"x\"}\n```",
        "```json\n{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}\n```",
        "```python\n{\"name\": \"search\", \"query\": \"x\", \"arguments\": {\"query\": \"x\"}}\n```",
        "{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}",
        "{\"type\": \"function\", \"name\": \"search\", \"parameters\": {\"query\": \"x\"}}",
        "`{\"name\": \"search\", \"args\": {\"query\": \"x\"}}`",
        "search {\"query\": \"x\"}",
        "search\n{\"query\": \"x\"}",
        "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}\n</tool_call>",
        "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}",
        "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}}}}</tool_call>",
        "<TOOL_CALL>{'name': 'search', 'args': {'query': 'x',},}</TOOL_CALL>",
        "<function_call>{\"name\": \"search\", \"arguments\": \"{\\\"query\\\": \\\"x\\\"}\"}</function_call>",
        "<tool_call>{\"name\": \"search\", \"query\": \"x\"}</tool_call>",
        "<tool_call>search {\"query\": \"x\"}</tool_call>",
        "<tool_call>\n```json\n{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}\n```\n</tool_call>",
        "```xml\n<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}</tool_call>\n```",
        "<|im_start|>tool_call {\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}",
        "<|im_start|>tool_call\n{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}<|im_end|>",
    ];
    for text in forms {
        for format in [React, Xml] {
            let pass = calls(format, text, "search", json!({"query": "x"}));
            assert_eq!(pass.prose, "", "{format:?}: {text}");
        }
    }
}

#[test]
fn native_models_are_rescued_where_a_known_tool_is_called() {
    let arguments = json!({"query": "x"});
    calls(
        Native,
        "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}</tool_call>",
        "search",
        arguments.clone(),
    );
    let pass = calls(Native, "One moment.\nAction: search\nAction Input: {\"query\": \"x\"}", "search", arguments);
    assert_eq!(pass.prose, "One moment.");
    for text in [
        "Action: dance\nAction Input: {\"query\": \"x\"}",
        "Action: search\nThen we see.",
        "Thought: experiments are fun.\nFinal Answer: 42",
        "{\"name\": \"search\", \"arguments\": {}}",
        "```json\n{\"name\": \"search\", \"arguments\": {}}\n```",
        "search {\"query\": \"x\"}",
    ] {
        prose(Native, text);
    }
    let pass = whole(Native, "So: <tool_call>{\"name\": \"dance\", \"arguments\": {}}</tool_call> Done.");
    assert_eq!((pass.prose.as_str(), pass.calls().len()), ("So: Done.", 0));
}

#[test]
fn what_a_stop_sequence_took_is_put_back() {
    let react = "Action: search\nAction Input: {\"query\": \"a {b}\", \"deep\": {\"list\": [1, {\"c\": \"\\\"}\"}]}}";
    let arguments = json!({"query": "a {b}", "deep": {"list": [1, {"c": "\"}"}]}});
    for stop in stops(React).iter().filter(|stop| stop.starts_with('}')) {
        let heard = format!("{react}{}", &stop[1..]);
        let heard = &heard[..heard.find(stop).unwrap()];
        let pass = calls(React, heard, "search", arguments.clone());
        assert!(!pass.parsed.calls[0].closed);
    }
    assert!(calls(React, react, "search", arguments).parsed.calls[0].closed);
    calls(React, "Action: search\nAction Input: {\"n\": 5", "search", json!({"n": 5}));
    assert_eq!(stops(Xml), ["</tool_call>"]);
    assert!(stops(Native).is_empty() && stops(ToolFormat::None).is_empty());
}

#[test]
fn objects_are_read_with_their_strings() {
    let arguments = json!({"query": "a < b </tool_call> {c} \"d\""});
    calls(
        Xml,
        "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"a < b </tool_call> {c} \\\"d\\\"\"}}</tool_call>",
        "search",
        arguments,
    );
    calls(Xml, "search {\"a\": {\"b\": {\"c\": 1}}}", "search", json!({"a": {"b": {"c": 1}}}));
    calls(
        React,
        "Action: search\nAction Input: {\"query\": \"she said \"no\" to me\"}",
        "search",
        json!({"query": "she said \"no\" to me"}),
    );
}

#[test]
fn a_call_without_arguments_is_one() {
    for text in [
        "Action: time",
        "Action: time\n",
        "Action: time\nObservation: noon",
        "Thought: hm\nAction: time\nAction Input:",
        "Action: time\nAction Input: None\nObservation: noon",
        "Action: time\nAction Input: {}",
        "Action: [time]\nNow let us see.",
    ] {
        calls(React, text, "time", json!({}));
    }
    for format in [React, Xml] {
        calls(format, "<tool_call>time</tool_call>", "time", json!({}));
        calls(format, "<tool_call>{\"name\": \"time\"}</tool_call>", "time", json!({}));
        calls(format, "Tool: time\nArguments: {}", "time", json!({}));
    }
}

#[test]
fn names_are_recognised_by_their_aliases_and_kept_as_written() {
    calls(React, "Action: Web Search\nAction Input: {\"q\": \"x\"}", "Web Search", json!({"q": "x"}));
    calls(React, "{\"name\": \"list_models\", \"arguments\": {}}", "list_models", json!({}));
    calls(Xml, "<tool_call>{\"name\": \"functions.search\", \"arguments\": {}}", "functions.search", json!({}));
}

#[test]
fn an_unknown_tool_is_a_call_too_so_that_the_model_hears_of_it() {
    calls(React, "Action: dance\nAction Input: {\"x\": 1}", "dance", json!({"x": 1}));
    calls(React, "Thought: dance!\nAction: dance", "dance", json!({}));
    calls(Xml, "<tool_call>{\"name\": \"dance\", \"arguments\": {}}</tool_call>", "dance", json!({}));
}

#[test]
fn several_elements_are_several_calls_and_one_action_is_one() {
    let element = |name: &str| format!("<tool_call>{{\"name\": \"{name}\", \"arguments\": {{}}}}</tool_call>");
    let text = format!("I look.\n{}\n{}{} And then?", element("search"), element("memory"), element("time"));
    for format in [Xml, React, Native] {
        let pass = whole(format, &text);
        assert_eq!(pass.prose, "I look.");
        let names: Vec<&str> = pass.calls().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["search", "memory", "time"], "{format:?}");
    }
    let action = "Action: search\nAction Input: {}\n";
    assert_eq!(whole(React, &action.repeat(2)).calls().len(), 1);
}

#[test]
fn final_answers_lose_their_header() {
    for text in [
        "Final Answer: It is late.",
        "Thought: I know.\nFinal Answer: It is late.",
        "thought: I know.\n\nOr do I?\n**Final Answer:** It is late.",
        "Thought: I know.\nAction: None\nAction Input: None\nFinal Answer:\nIt is late.",
        "Observation: made up\nFinal Answer: It is late.\n",
        "Thought: x\nFinal Answer: **It is late.**",
    ] {
        let pass = whole(React, text);
        assert_eq!((pass.prose.trim_matches('*'), pass.calls().len()), ("It is late.", 0), "{text}");
    }
    assert_eq!(whole(React, "Final Answer: **so** it is").prose, "**so** it is");
}

#[test]
fn an_answer_in_the_wrong_form_is_better_than_none() {
    for (text, prose) in [
        ("Thought: I know this.\nParis is the capital.", "Paris is the capital."),
        ("Thought: Paris is the capital.", "Paris is the capital."),
        ("Observation: 22 degrees\nIt is warm.", "It is warm."),
        ("Hello.\nThought: now what", "Hello."),
    ] {
        assert_eq!(whole(React, text).prose, prose, "{text}");
    }
    assert_eq!(whole(Xml, "Thought: I know this.\n\nParis.").prose, "Paris.");
}

#[test]
fn thoughts_are_kept_for_the_model() {
    let pass = whole(React, "Sure.\nThought: first\nthen\nAction: time\nAction Input: {}");
    assert_eq!((pass.prose.as_str(), pass.parsed.thought.as_str()), ("Sure.", "Thought: first\nthen\n"));
    assert_eq!(pass.parsed.calls[0].raw, "Action: time\nAction Input: {}");
}

#[test]
fn failed_attempts_are_malformed_and_never_run() {
    for (format, text, problem) in [
        (React, "Action: search\nAction Input: weather in Paris\nObservation: x", "input of search"),
        (React, "Action: search\nAction Input: weather in Paris", "input of search"),
        (React, "Action: search\nAction Input: {\"query\": \"wea", "not complete"),
        (React, "Action: search\nAction Input: {query}\n", "not valid JSON"),
        (React, "Action: search(query=\"x\")", "like a function"),
        (React, "Action: {\"query\": \"x\"}", "name"),
        (Xml, "<tool_call></tool_call>", "empty"),
        (Xml, "<tool_call>", "empty"),
        (Xml, "<tool_call>{\"arguments\": {}}</tool_call>", "name"),
        (Xml, "<tool_call>dance</tool_call>", "no JSON object"),
        (Xml, "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"wea", "not complete"),
    ] {
        let pass = whole(format, text);
        let malformed = pass.parsed.malformed.as_ref().unwrap_or_else(|| panic!("{text}: {pass:?}"));
        assert!(malformed.problem.contains(problem), "{text}: {}", malformed.problem);
        assert!(text.starts_with(&malformed.raw) && !malformed.raw.is_empty(), "{text}: {}", malformed.raw);
        assert_eq!((pass.prose.as_str(), pass.calls().len()), ("", 0), "{text}");
    }
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        "The plan has one part. Action: call the bank, then wait.",
        "Action: sign the form before Monday.\nThen send it.",
        "Action: sign the form\nThen send it.",
        "Function: f(x) = x + 1",
        "Tool: a hammer will do",
        "Tool: search\nis what we have.",
        "Tooling matters. Actions speak. Thoughtful people agree.",
        "Use `<tool_call>` for it.\nAnd \"<tool_call>\" too.",
        "a < b, b <c> and <tool_box>",
        "<|im_start|>assistant",
        "{\"name\": \"Ann\", \"age\": 7}",
        "{\"name\": \"search\", \"age\": 7}",
        "```json\n{\"name\": \"Ann\", \"arguments\": {}}\n```",
        "```json\n{\n  \"search\": 1\n}\n```\nand",
        "```rust\nfn main() {}\n```",
        "```\nAction: search\nis a line.\n```",
        "```\nText\nAction: search\nAction Input: {}\n<tool_call>{}</tool_call>\nThought: x\n```\nDone.",
        "time flies, and search engines too {honestly}",
        "search {foo} now",
        "    indented\n  and not",
        "~~~\nFor example:\nAction: search\nAction Input: {}\n~~~",
    ] {
        for format in [React, Xml, Native] {
            prose(format, text);
        }
    }
}
