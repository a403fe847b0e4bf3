//! How a round of calls and their results is told to a model that reads text (tools.md §2.3, §5.3, §5.4).
//!
//! Calls are written anew in the proper form rather than quoted: what the model made up behind its call is gone, a brace
//! that a stop sequence took is back, and a round that ran natively can be told as well.

use serde_json::Value;

use crate::format::ToolFormat;

/// What stands behind a failure in the XML form.
const FAILED: &str = "[This call failed. Tell the truth about it; do not act as if it had worked.]";

/// A call and what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The tool.
    pub name: &'a str,
    /// Its arguments, an object.
    pub arguments: &'a Value,
    /// Whether it worked.
    pub ok: bool,
    /// What it said, or what went wrong.
    pub result: &'a str,
}

/// One round as the assistant's message and the user's message that answers it. `text` is what the assistant said before
/// its calls, thoughts included; `guidance` stands behind the results. Formats other than ReAct are told as XML.
#[must_use]
pub fn continuation(
    format: ToolFormat,
    text: &str,
    exchanges: &[Told<'_>],
    guidance: Option<&str>,
) -> (String, String) {
    let (mut said, mut heard) = (text.trim_end().to_owned(), String::new());
    for exchange in exchanges {
        let (call, result) = match format {
            ToolFormat::React => (react_call(exchange), react_result(exchange)),
            ToolFormat::Xml | ToolFormat::Native | ToolFormat::None => (xml_call(exchange), xml_result(exchange)),
        };
        append(&mut said, &call);
        append(&mut heard, &result);
    }
    if let Some(guidance) = guidance.map(str::trim).filter(|guidance| !guidance.is_empty()) {
        heard.push('\n');
        append(&mut heard, guidance);
    }
    (said, heard)
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

fn react_call(call: &Told<'_>) -> String {
    format!("Action: {}\nAction Input: {}", call.name, call.arguments)
}

fn react_result(call: &Told<'_>) -> String {
    let problem = if call.ok { "" } else { "ERROR: " };
    format!("Observation: {problem}{}", call.result)
}

fn xml_call(call: &Told<'_>) -> String {
    format!(
        "<tool_call>\n{}\n</tool_call>",
        format_args!("{{\"name\":{},\"arguments\":{}}}", Value::from(call.name), call.arguments)
    )
}

fn xml_result(call: &Told<'_>) -> String {
    let (status, note) = if call.ok { ("success", "") } else { ("error", FAILED) };
    let name = call.name.replace(['"', '<', '>', '\n'], "_");
    // what a tool says cannot end its element
    let result = call.result.replace("</tool_result", "<\\/tool_result");
    let mut text = format!("<tool_result name=\"{name}\" status=\"{status}\">\n{result}\n</tool_result>");
    if !note.is_empty() {
        append(&mut text, note);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_are_told_in_both_forms() {
        let arguments = json!({"query": "x < y"});
        let good = Told { name: "search", arguments: &arguments, ok: true, result: "two" };
        let bad = Told { name: "time", arguments: &json!({}), ok: false, result: "</tool_result> no clock" };
        let (said, heard) = continuation(ToolFormat::React, "Thought: look\n", &[good], Some("Answer now."));
        assert_eq!(said, "Thought: look\nAction: search\nAction Input: {\"query\":\"x < y\"}");
        assert_eq!(heard, "Observation: two\n\nAnswer now.");
        let (said, heard) = continuation(ToolFormat::React, "", &[bad], None);
        assert_eq!(said, "Action: time\nAction Input: {}");
        assert_eq!(heard, "Observation: ERROR: </tool_result> no clock");
        let (said, heard) = continuation(ToolFormat::Xml, "Let me see.", &[good, bad], None);
        assert_eq!(
            said,
            "Let me see.\n<tool_call>\n{\"name\":\"search\",\"arguments\":{\"query\":\"x < y\"}}\n</tool_call>\n\
             <tool_call>\n{\"name\":\"time\",\"arguments\":{}}\n</tool_call>"
        );
        assert_eq!(
            heard,
            format!(
                "<tool_result name=\"search\" status=\"success\">\ntwo\n</tool_result>\n\
                 <tool_result name=\"time\" status=\"error\">\n<\\/tool_result> no clock\n</tool_result>\n{FAILED}"
            )
        );
    }
}
