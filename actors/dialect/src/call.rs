//! A call that a model wrote as text, and one that it tried to write.

use serde_json::{Map, Value};

use crate::format::ToolFormat;
use crate::json;

/// Most bytes of a malformed call that are kept for the model to see.
const RAW_MAX: usize = 2_000;

/// A call found in text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextCall {
    /// The tool's name as the model wrote it.
    pub name: String,
    /// A JSON object.
    pub arguments: Value,
    /// What the model wrote for it.
    pub raw: String,
    /// The form it was written in: [`ToolFormat::React`] or [`ToolFormat::Xml`].
    pub format: ToolFormat,
    /// Whether the model closed the arguments itself. If not, a stop sequence took the last brace, or the output limit cut
    /// the call: with that finish reason it is not to be trusted.
    pub closed: bool,
}

/// An attempt to call a tool that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, one line: the variable `problem` of the prompt `tools.correction`.
    pub problem: String,
    /// The beginning of what the model wrote.
    pub raw: String,
}

impl Malformed {
    pub(crate) fn new(problem: impl Into<String>, raw: &str) -> Self {
        Self { problem: problem.into(), raw: raw[..raw.floor_char_boundary(RAW_MAX)].to_owned() }
    }
}

const NAME: &[&str] = &["name", "tool", "tool_name", "function", "action"];
const ARGUMENTS: &[&str] = &["arguments", "args", "parameters", "params", "input", "action_input", "tool_input"];

/// What an object says that names its tool.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) arguments: Value,
    /// Whether it has a member for the arguments; else all its other members are the arguments.
    pub(crate) explicit: bool,
}

/// Reads `{"name": …, "arguments": …}` in the variants that models write.
pub(crate) fn named(object: &Value) -> Option<Named> {
    let members = object.as_object()?;
    let (key, name) = NAME.iter().find_map(|key| Some((*key, members.get(*key)?)))?;
    if name.is_object() {
        return named(name);
    }
    let name = name.as_str().map(str::trim).filter(|name| !name.is_empty())?.to_owned();
    match ARGUMENTS.iter().find_map(|key| members.get(*key)) {
        Some(arguments) => Some(Named { name, arguments: unpacked(arguments)?, explicit: true }),
        // "action" is also what built-in tools call a parameter
        None if key == "action" => None,
        None => {
            let rest = members.iter().filter(|(other, _)| *other != key && *other != "type" && *other != "id");
            let rest: Map<String, Value> = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
            Some(Named { name, arguments: Value::Object(rest), explicit: false })
        }
    }
}

fn unpacked(arguments: &Value) -> Option<Value> {
    match arguments {
        Value::Object(_) => Some(arguments.clone()),
        Value::Null => Some(Value::Object(Map::new())),
        Value::String(text) if text.trim().is_empty() => Some(Value::Object(Map::new())),
        Value::String(text) => json::object(text),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_variants_of_a_named_call() {
        let expected = json!({"query": "x"});
        for object in [
            json!({"name": "search", "arguments": {"query": "x"}}),
            json!({"name": "search", "args": {"query": "x"}}),
            json!({"type": "function", "name": "search", "parameters": {"query": "x"}}),
            json!({"type": "function", "function": {"name": "search", "arguments": "{\"query\": \"x\"}"}}),
            json!({"tool": "search", "input": {"query": "x"}}),
            json!({"function": "search", "query": "x"}),
            json!({"action": "search", "action_input": {"query": "x"}}),
        ] {
            let call = named(&object).unwrap_or_else(|| panic!("{object}"));
            assert_eq!((call.name.as_str(), &call.arguments), ("search", &expected), "{object}");
        }
        assert_eq!(named(&json!({"name": "time", "arguments": null})).map(|call| call.arguments), Some(json!({})));
        let flat = json!({"action": "search", "query": "x"});
        for object in [flat, json!({}), json!({"name": 7}), json!({"name": ""}), json!({"name": "x", "arguments": [1]})]
        {
            assert!(named(&object).is_none(), "{object}");
        }
    }
}
