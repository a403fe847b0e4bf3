//! Models that do not stop: everything is bounded, and time is linear in what they say.

use greenroom_dialect::ToolFormat::{Native, React, Xml};

use crate::pass::{run, splitter};

const MIB: usize = 1024 * 1024;

/// Feeds a beginning and then the same piece for ever; how many bytes until the caller is told to stop.
fn until_stopped(
    format: greenroom_dialect::ToolFormat,
    begin: &str,
    piece: &str,
) -> (usize, greenroom_dialect::Parsed) {
    let mut splitter = splitter(format);
    let mut fed = begin.len();
    let mut complete = splitter.push(begin.to_owned()).call_complete;
    while !complete && fed < 2 * MIB {
        complete = splitter.push(piece.to_owned()).call_complete;
        fed += piece.len();
    }
    (fed, splitter.finish())
}

#[test]
fn an_object_that_never_closes_is_malformed_at_last() {
    for (format, begin) in [
        (React, "Action: search\nAction Input: {\"query\": \""),
        (Xml, "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \""),
        (Native, "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \""),
        (React, "Thought: "),
    ] {
        let (fed, parsed) = until_stopped(format, begin, &"x} ".repeat(100));
        assert!(fed < MIB / 2, "{begin}: {fed}");
        let malformed = parsed.malformed.unwrap_or_else(|| panic!("{begin}"));
        assert!(malformed.problem.contains("too long") && malformed.raw.len() <= 2_000, "{malformed:?}");
        assert!(parsed.calls.is_empty() && parsed.prose_rest.is_empty());
    }
}

#[test]
fn arguments_that_never_begin_are_malformed_soon() {
    let (fed, parsed) = until_stopped(React, "Action: search\nAction Input: ", "la la la ");
    assert!(fed < 4096 && parsed.malformed.is_some());
}

#[test]
fn calls_without_end_are_counted() {
    let (_, parsed) = until_stopped(Xml, "", "<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>\n");
    assert_eq!((parsed.calls.len(), parsed.malformed), (32, None));
}

#[test]
fn long_texts_take_linear_time() {
    for text in [
        "`",
        "\n",
        "<",
        "{",
        "Action: ",
        "Thought:\n",
        "<tool_call>",
        "```json\n{\"name\":",
        " ",
        "# ",
        "{\"name\": \"search\"",
    ] {
        let long = text.repeat(MIB / 16 / text.len());
        for format in [React, Xml, Native] {
            run(format, [long.as_str()]);
        }
    }
}
