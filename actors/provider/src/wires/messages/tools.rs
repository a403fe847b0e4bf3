//! Tools and how they may be chosen, from OpenAI's objects to the API's.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::request::CacheControl;
use crate::error::ProviderError;
use crate::event::CompletionRequest;

/// A tool on offer.
#[derive(Debug, Serialize)]
pub(super) struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a Map<String, Value>),
    /// One that did not say that it describes an object.
    Completed(Map<String, Value>),
}

impl Schema<'_> {
    fn of_any_object() -> Self {
        Self::Completed(Map::from_iter([("type".to_owned(), "object".into())]))
    }
}

/// Whether and which tools the model is to use.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

fn invalid(param: &str, message: &str) -> ProviderError {
    ProviderError::InvalidRequest { message: message.into(), param: Some(param.into()) }
}

/// The tools of a request, or where it offers none, those that were called before: the API wants the tools of a history
/// named. `strict` is left out: it is a promise about schemas that only some models can keep, and arguments are checked
/// before a tool runs.
pub(super) fn tools(request: &CompletionRequest) -> Result<Vec<Tool<'_>>, ProviderError> {
    if request.tools.is_empty() {
        return Ok(called(request));
    }
    let tool = |tool| one(tool).ok_or_else(|| invalid("tools", "a tool must be a function with a name"));
    request.tools.iter().map(tool).collect()
}

fn called(request: &CompletionRequest) -> Vec<Tool<'_>> {
    let names: BTreeSet<&str> =
        request.messages.iter().flat_map(|message| &message.tool_calls).map(|call| call.name.as_str()).collect();
    let tool = |name| Tool { name, description: None, input_schema: Schema::of_any_object(), cache_control: None };
    names.into_iter().map(tool).collect()
}

fn one(tool: &Value) -> Option<Tool<'_>> {
    let function = tool.get("function")?;
    let input_schema = match function.get("parameters").and_then(Value::as_object) {
        Some(schema) if schema.contains_key("type") => Schema::Given(schema),
        Some(schema) => {
            let mut schema = schema.clone();
            schema.insert("type".into(), "object".into());
            Schema::Completed(schema)
        }
        None => Schema::of_any_object(),
    };
    Some(Tool {
        name: function.get("name")?.as_str()?,
        description: function.get("description").and_then(Value::as_str).filter(|text| !text.is_empty()),
        input_schema,
        cache_control: None,
    })
}

/// What a request says of the choice; nothing when it leaves it to the model.
pub(super) fn choice(request: &CompletionRequest) -> Result<Option<Choice<'_>>, ProviderError> {
    let single = request.parallel_tool_calls == Some(false);
    let of = |kind, name| Choice { kind, name, disable_parallel_tool_use: single && kind != "none" };
    if request.tools.is_empty() {
        let called = request.messages.iter().any(|message| !message.tool_calls.is_empty());
        return Ok(called.then(|| of("none", None)));
    }
    Ok(match &request.tool_choice {
        None | Some(Value::Null) => single.then(|| of("auto", None)),
        Some(Value::String(word)) => Some(match word.as_str() {
            "auto" => of("auto", None),
            "required" => of("any", None),
            "none" => of("none", None),
            _ => return Err(invalid("tool_choice", "tool_choice must be auto, required, none or a function")),
        }),
        Some(choice) => {
            let name = choice.get("function").and_then(|function| function.get("name")?.as_str());
            let name = name.ok_or_else(|| invalid("tool_choice", "tool_choice must name a function"))?;
            Some(of("tool", Some(name)))
        }
    })
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Message, Role, ToolCall};
    use serde_json::json;

    use super::*;

    fn request(tools: Value, choice: Value, parallel: Option<bool>) -> CompletionRequest {
        let Value::Array(tools) = tools else { unreachable!() };
        let tool_choice = Some(choice).filter(|choice| !choice.is_null());
        CompletionRequest { tools, tool_choice, parallel_tool_calls: parallel, ..CompletionRequest::default() }
    }

    fn function(function: Value) -> Value {
        json!({"type": "function", "function": function})
    }

    #[test]
    fn functions_become_tools() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let offered = json!([
            function(json!({"name": "f", "description": "does f", "parameters": schema, "strict": true})),
            function(json!({"name": "g", "parameters": {"properties": {}}})),
            function(json!({"name": "h", "description": ""})),
        ]);
        let request = request(offered, Value::Null, None);
        assert_eq!(
            serde_json::to_value(tools(&request).unwrap()).unwrap(),
            json!([
                {"name": "f", "description": "does f", "input_schema": schema},
                {"name": "g", "input_schema": {"type": "object", "properties": {}}},
                {"name": "h", "input_schema": {"type": "object"}},
            ])
        );
        assert_eq!(choice(&request).unwrap(), None);
    }

    #[test]
    fn choices_are_translated() {
        let said = |choice_: Value, parallel| {
            let request = request(json!([function(json!({"name": "f"}))]), choice_, parallel);
            serde_json::to_value(choice(&request).unwrap()).unwrap()
        };
        assert_eq!(said(json!("auto"), None), json!({"type": "auto"}));
        assert_eq!(said(json!("required"), Some(true)), json!({"type": "any"}));
        assert_eq!(said(json!("none"), Some(false)), json!({"type": "none"}));
        assert_eq!(said(Value::Null, Some(false)), json!({"type": "auto", "disable_parallel_tool_use": true}));
        let named = json!({"type": "function", "function": {"name": "f"}});
        let forced = json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true});
        assert_eq!(said(named, Some(false)), forced);
    }

    #[test]
    fn a_history_with_calls_names_its_tools_and_no_more_are_called() {
        let mut past = request(json!([]), json!("auto"), None);
        let call = |name: &str| ToolCall { id: name.into(), name: name.into(), arguments: "{}".into() };
        let calls = vec![call("g"), call("f"), call("g")];
        past.messages.push(Message { tool_calls: calls, ..Message::text(Role::Assistant, "") });
        let named = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
        assert_eq!(serde_json::to_value(tools(&past).unwrap()).unwrap(), json!([named("f"), named("g")]));
        assert_eq!(serde_json::to_value(choice(&past).unwrap()).unwrap(), json!({"type": "none"}));
    }

    #[test]
    fn what_is_no_tool_and_no_choice_is_refused() {
        for tool in [json!({}), json!({"type": "custom", "custom": {"name": "c"}}), function(json!({"name": 1}))] {
            assert!(tools(&request(json!([tool]), Value::Null, None)).is_err(), "{tool}");
        }
        let offered = json!([function(json!({"name": "f"}))]);
        for bad in [json!("any"), json!({"type": "allowed_tools"}), json!(3)] {
            assert!(choice(&request(offered.clone(), bad.clone(), None)).is_err(), "{bad}");
        }
        assert_eq!(choice(&request(json!([]), json!("required"), None)).unwrap(), None);
    }
}
