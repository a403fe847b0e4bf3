//! The section of a system prompt that tells a model of its tools (tools.md §5). How to call is taught by a prompt of the
//! prompts room ([`crate::ToolFormat::instructions_key`]); here stand the list of tools and what is worth knowing about
//! those that are offered, no others.
//!
//! Invariant: the same tools in the same order give the same bytes, so that a provider's prompt cache is hit. A tool's
//! description stays in its line, whoever wrote it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::format::ToolFormat;

/// Longest description of a tool or parameter, in characters.
const DESCRIPTION: usize = 1_000;

/// A tool as a prompt describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does; may be empty.
    pub description: &'a str,
    /// JSON schema of its arguments.
    pub parameters: &'a Value,
}

impl<'a> Outline<'a> {
    /// From the tool object of an OpenAI request.
    #[must_use]
    pub fn of(tool: &'a Value) -> Option<Self> {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let description = function.get("description").and_then(Value::as_str).unwrap_or_default();
        Some(Self { name, description, parameters: function.get("parameters").unwrap_or(&Value::Null) })
    }
}

/// What is worth knowing about a tool beyond its description, where it is offered. Those of the house have prompts of
/// their own.
const ADVICE: &[(&str, &str)] = &[
    ("profile", "For lasting facts about the user (name, preferences, circumstances) look in `profile`."),
    ("memory", "For what you learned in earlier conversations look in `memory`."),
    (
        "history",
        "For the very words of a past conversation look in `history`; give days as YYYY-MM-DD. When a summary \
        leaves out what is asked for, offer to recall the messages that it stands for.",
    ),
    (
        "self",
        "`self` keeps your own character. Change it when the user asks for it or when something about you has \
        truly changed, not for passing moods.",
    ),
    ("search", "Use `search` for anything recent or outside of what you know, in few and telling words."),
    ("news", "Use `news` for current events; `search` for everything else."),
    ("web_fetch", "Use `web_fetch` to read a page whose address you have; never invent an address."),
    (
        "model",
        "`model` shows and changes the language model that answers. Change it only when the user asks for it; it \
        takes effect with the next message.",
    ),
];

/// The section, empty without tools. `instructions` is the prompt of the format's key, rendered.
#[must_use]
pub fn tools_prompt(format: ToolFormat, instructions: &str, outlines: &[Outline<'_>]) -> String {
    if outlines.is_empty() || format == ToolFormat::None {
        return String::new();
    }
    let mut text = instructions.trim().to_owned();
    if format == ToolFormat::Native {
        let names: Vec<&str> = outlines.iter().map(|outline| outline.name).collect();
        let _ = write!(text, "\n\nYour tools: {}.", names.join(", "));
    } else {
        text.push_str("\n\nYour tools:");
        for outline in outlines {
            describe(outline, &mut text);
        }
    }
    let offered = |name: &str| outlines.iter().any(|outline| outline.name == name);
    let advice: Vec<&str> = ADVICE.iter().filter(|(name, _)| offered(name)).map(|(_, advice)| *advice).collect();
    if !advice.is_empty() {
        let _ = write!(text, "\n\nWhich to use:\n- {}", advice.join("\n- "));
    }
    text
}

fn describe(outline: &Outline<'_>, text: &mut String) {
    let _ = write!(text, "\n- {}", outline.name);
    said(outline.description, text);
    let required: Vec<&str> = outline
        .parameters
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, schema) in outline.parameters.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let needed = if required.contains(&name.as_str()) { "required" } else { "optional" };
        let _ = write!(text, "\n  - {} ({}, {needed})", line(name), kind(schema));
        said(schema.get("description").and_then(Value::as_str).unwrap_or_default(), text);
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
            let _ = write!(text, " One of {}.", choices.join(", "));
        }
        for (key, words) in [("minimum", "at least"), ("maximum", "at most"), ("default", "default")] {
            if let Some(value) = schema.get(key).filter(|value| !value.is_null()) {
                let _ = write!(text, " [{words} {value}]");
            }
        }
    }
}

/// Adds a description, if there is one.
fn said(description: &str, text: &mut String) {
    let description = line(description);
    if !description.is_empty() {
        let _ = write!(text, ": {description}");
    }
}

/// The type of a parameter in a word or two.
fn kind(schema: &Value) -> String {
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "array" => match schema.get("items") {
            Some(items) => format!("list of {}", self::kind(items)),
            None => "list".to_owned(),
        },
        Some(Value::String(kind)) => line(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(" or ")
        }
        Some(_) | None => "any".to_owned(),
    }
}

/// A text in one line, not too long.
fn line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(DESCRIPTION).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools() -> Vec<Value> {
        vec![
            json!({"type": "function", "function": {"name": "search", "description": "Searches\n# the web.", "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What to look for."},
                    "max_results": {"type": "integer", "minimum": 1, "maximum": 20, "default": 5},
                    "type": {"type": "string", "enum": ["web", "news"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["query"],
            }}}),
            json!({"name": "time"}),
        ]
    }

    #[test]
    fn text_formats_list_tools_with_their_parameters() {
        let tools = tools();
        let outlines: Vec<Outline<'_>> = tools.iter().filter_map(Outline::of).collect();
        let text = tools_prompt(ToolFormat::React, "How to call.\n", &outlines);
        assert_eq!(
            text,
            "How to call.\n\nYour tools:\n- search: Searches # the web.\n  - max_results (integer, optional) [at least 1] \
             [at most 20] [default 5]\n  - query (string, required): What to look for.\n  - tags (list of string, \
             optional)\n  - type (string, optional) One of \"web\", \"news\".\n- time\n\nWhich to use:\n- Use `search` for \
             anything recent or outside of what you know, in few and telling words."
        );
        assert_eq!(text, tools_prompt(ToolFormat::React, "How to call.\n", &outlines));
    }

    #[test]
    fn native_lists_names_and_none_nothing() {
        let tools = tools();
        let outlines: Vec<Outline<'_>> = tools.iter().filter_map(Outline::of).collect();
        let text = tools_prompt(ToolFormat::Native, "Use them.", &outlines);
        assert!(text.starts_with("Use them.\n\nYour tools: search, time.\n\nWhich to use:"), "{text}");
        assert_eq!(tools_prompt(ToolFormat::None, "x", &outlines), "");
        assert_eq!(tools_prompt(ToolFormat::Native, "x", &[]), "");
        assert!(Outline::of(&json!({"function": {}})).is_none());
    }

    #[test]
    fn advice_is_for_what_is_offered() {
        let offered = |name: &str| {
            tools_prompt(ToolFormat::Xml, "", &[Outline { name, description: "", parameters: &Value::Null }])
        };
        for (name, advice) in ADVICE {
            assert!(offered(name).contains(advice), "{name}");
        }
        assert!(!offered("time").contains("Which to use"));
    }
}
