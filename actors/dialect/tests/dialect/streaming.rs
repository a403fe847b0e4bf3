//! When text comes out: as soon as it cannot be a call (tools.md §4.2, §14.7; field.md pain 9).

use greenroom_dialect::ToolFormat::{self, Native, React, Xml};
use proptest::prelude::*;

use crate::pass::{run, splitter, whole};

/// Most characters of ordinary prose that are held back at any time.
const HELD: usize = 20;

/// The most characters that were held back while a text came letter by letter.
fn most_held(format: ToolFormat, text: &str) -> usize {
    let mut splitter = splitter(format);
    let (mut fed, mut shown, mut most) = (0, 0, 0);
    for c in text.chars() {
        fed += 1;
        shown += splitter.push(c.to_string()).prose.chars().count();
        most = most.max(fed - shown);
    }
    most
}

#[test]
fn streaming_is_streaming() {
    for text in [
        "The capital of France is Paris, and it has been for a long time.",
        "Action and reaction are equal.\n\nThought experiments help, too.\n",
        "Tools are in the shed.\nTool sheds are not tools.",
        "Search engines answer; memory fades; time flies; history repeats.",
        "Final answers are rare.\nFinal Answering is worse.",
        "# Tools\n\n**Actions** speak:\n\n- Action: none of it\n\n1. Observations\n2. Thoughts",
        "```rust\nfn main() { println!(\"{}\", 1 < 2); }\n```\nand so to the end, <b>bold</b> to=none",
        "{\"city\": \"Paris\", \"items\": [1, 2, 3]}",
        "| a | b |\n|---|---|\n| <1 | {2} |",
        "to be, or not to be, that is to say to=day",
    ] {
        for format in [React, Xml, Native] {
            let held = most_held(format, text);
            assert!(held <= HELD, "{format:?} held {held}: {text}");
        }
    }
}

#[test]
fn tokens_of_prose_come_out_one_by_one() {
    for format in [React, Xml, Native, ToolFormat::None] {
        let mut splitter = splitter(format);
        for piece in ["Once", " upon", " a", " midnight", " dreary", ",", " while", " I", " pondered"] {
            let owned = piece.to_owned();
            let address = owned.as_ptr();
            let step = splitter.push(owned);
            assert_eq!(step.prose, piece, "{format:?}");
            assert!(piece == "Once" || step.prose.as_ptr() == address, "{format:?} copied {piece}");
        }
    }
}

#[test]
fn the_caller_hears_at_once_that_a_call_is_complete() {
    for (format, text) in [
        (React, "Thought: x\nAction: search\nAction Input: {\"query\": {\"a\": \"}\"}}"),
        (Native, "Action: search\nAction Input: {}"),
        (Xml, "```json\n{\"name\": \"search\", \"arguments\": {}}"),
        (Xml, "<tool_call>{\"name\": \"search\", \"arguments\": {}}</tool_call>\nA"),
        (React, "Action: search\nAction Input: Paris\nObservation:"),
        (React, "Action: time\nN"),
    ] {
        let mut splitter = splitter(format);
        let steps: Vec<bool> = text.chars().map(|c| splitter.push(c.to_string()).call_complete).collect();
        let first = steps.iter().position(|complete| *complete);
        assert_eq!(first, Some(text.chars().count() - 1), "{text}");
        let step = splitter.push("anything".to_owned());
        assert!(step.call_complete && step.prose.is_empty());
    }
}

#[test]
fn prose_before_a_call_is_shown_while_it_comes() {
    let mut splitter = splitter(Xml);
    let shown = splitter.push("Let me look that up for you. <tool".to_owned());
    assert_eq!((shown.prose.as_str(), shown.call_complete), ("Let me look that up for you. ", false));
    assert_eq!(splitter.push("_call>{\"name\": \"search\"".to_owned()).prose, "");
}

#[test]
fn without_tools_everything_is_prose() {
    let text = "Thought: x\nAction: search\nAction Input: {}";
    assert_eq!(whole(ToolFormat::None, text).prose, text);
    let mut splitter = greenroom_dialect::Splitter::new(React, std::sync::Arc::default());
    assert_eq!(splitter.push(text.to_owned()).prose, text);
    let pass = whole(ToolFormat::None, "a <tool_call>{\"name\": \"search\"}</tool_call> b");
    assert_eq!((pass.prose.as_str(), pass.calls().len()), ("a b", 0));
}

fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "Thought:",
        "thought",
        "Action:",
        "Action",
        " Input:",
        "Action Input:",
        "Observation:",
        "Final Answer:",
        "# ",
        "Tool:",
        "Function: ",
        "Arguments:",
        "search",
        "time",
        "web_search",
        "dance",
        "None",
        " ",
        " ",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "{",
        "}",
        "{}",
        "{\"name\": \"search\", \"arguments\": {}}",
        "\"name\"",
        "\"query\": \"x\"",
        ":",
        ",",
        "\"",
        "'",
        "\\",
        "<tool_call>",
        "</tool_call>",
        "<function_call>",
        "<|im_start|>tool_call",
        "<|im_end|>",
        "<",
        "`",
        "```",
        "```json\n",
        "~~~",
        "**",
        "*",
        "_",
        "(",
        "[",
        "]",
        "é",
        "：",
        "a",
        "to=functions.x",
        "<tool_result",
        "\t",
    ]);
    prop::collection::vec(word, 0..20).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cuts_do_not_matter(text in words(), cuts in prop::collection::vec(0usize..250, 0..5), format in prop::sample::select(vec![React, Xml, Native])) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
        cuts.sort_unstable();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts {
            pieces.push(&text[at..cut]);
            at = cut;
        }
        pieces.push(&text[at..]);
        let whole = run(format, [text.as_str()]);
        prop_assert_eq!(run(format, pieces), whole.clone());
        let letters: Vec<String> = text.chars().map(String::from).collect();
        prop_assert_eq!(run(format, letters.iter().map(String::as_str)), whole);
    }

    #[test]
    fn ordinary_prose_is_not_held(text in "[A-Z][a-z,. \n]{0,120}") {
        for format in [React, Xml, Native] {
            let trailing = text.chars().rev().take_while(|c| c.is_whitespace()).count();
            let blanks = text.split(|c: char| !c.is_whitespace()).map(|run| run.chars().count()).max().unwrap_or(0);
            let dropped = text.chars().count() - run(format, [text.as_str()]).prose.chars().count();
            prop_assert!(most_held(format, &text) <= HELD + blanks.max(trailing) + dropped);
        }
    }

    #[test]
    fn headers_are_never_shown(thought in "[a-z ]{0,30}", answer in "[a-z][a-z ]{0,30}[a-z]", query in "[a-z{}\"]{0,12}") {
        let pass = run(React, [format!("Thought: {thought}\nFinal Answer: {answer}").as_str()]);
        prop_assert_eq!(pass.prose, answer);
        let arguments = serde_json::json!({"query": query});
        let pass = run(React, [format!("Thought: {thought}\nAction: search\nAction Input: {arguments}\nObservation: x").as_str()]);
        prop_assert_eq!(pass.calls(), [("search", &arguments)]);
        prop_assert_eq!(pass.prose, "");
    }
}
