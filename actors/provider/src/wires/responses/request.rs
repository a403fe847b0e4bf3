//! Writing a Responses request: only what was wished.
//!
//! Stop sequences do not exist here; they are all enforced by us. The tool schema goes out with `tool_choice: none` too:
//! without it xAI ignores the results of calls and answers nothing (providers.md §5.3).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::definition::ModelDefinition;
use crate::endpoint::Endpoint;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::http::learned::{Learned, Sent, Wish};
use crate::http::stop_guard::split_stops;
use crate::prompt::{self, Piece, Said, Shape};
use crate::wires::Written;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<Cow<'a, str>>,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: &'a str,
}

/// An item of the input.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Message { role: &'static str, content: Content<'a> },
    Call { r#type: &'static str, call_id: &'a str, name: &'a str, arguments: &'a str },
    Output { r#type: &'static str, call_id: &'a str, output: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText { text: Cow<'a, str> },
    InputImage { image_url: &'a str, detail: &'a str },
}

/// Writes a request.
pub(crate) fn write(
    definition: &ModelDefinition,
    _: &Endpoint,
    request: &CompletionRequest,
    known: &Learned,
) -> Result<Written, ProviderError> {
    let sampling = &request.sampling;
    let capabilities = definition.capabilities();
    let arranged = prompt::arrange(&request.messages, Shape { images: capabilities.images, alternating: false });
    let system = prompt::joined(&arranged.system);
    let (_, local_stops) = split_stops(&sampling.stop, capabilities.stop_limit, true);
    let tools = (!request.tools.is_empty()).then(|| request.tools.iter().map(flat_tool).collect::<Vec<_>>());
    let choice = tools.as_ref().and(request.tool_choice.as_ref()).map(flat_choice);
    let parallel = tools.as_ref().and(request.parallel_tool_calls);
    let temperature = sampling.temperature.or(definition.options.temperature);
    let effort = sampling.reasoning_effort.as_deref().map(|effort| Reasoning { effort });
    let wishes = &mut Vec::new();
    // a server without the member for instructions gets them as its first message
    let instructions = known.wish(wishes, Wish::Instructions, system.clone());
    let first = system.filter(|_| instructions.is_none());
    let first = first.map(|system| Item::Message { role: "system", content: Content::Text(system) });
    let body = Body {
        model: definition.called(),
        input: first.into_iter().chain(arranged.said.into_iter().flat_map(items)).collect(),
        instructions,
        stream: true,
        store: false,
        tool_choice: choice,
        parallel_tool_calls: known.wish(wishes, Wish::ParallelToolCalls, parallel),
        max_output_tokens: definition.output_limit(sampling.max_tokens),
        temperature: known.wish(wishes, Wish::Temperature, temperature),
        top_p: known.wish(wishes, Wish::TopP, sampling.top_p),
        reasoning: known.wish(wishes, Wish::ReasoningEffort, effort),
        text: known.wish(wishes, Wish::ResponseFormat, sampling.response_format.as_ref().map(text_format)),
        user: known.wish(wishes, Wish::User, request.user.as_deref()),
        tools,
    };
    let sent = Sent { token_param: None, wishes: std::mem::take(wishes), tools: body.tools.is_some() };
    Written::new(&body, sent, local_stops)
}

/// The items of one message.
fn items(said: Said<'_>) -> Vec<Item<'_>> {
    match said {
        Said::User(pieces) => vec![Item::Message { role: "user", content: content(pieces) }],
        Said::Assistant { text, calls } => {
            let text =
                (!text.is_empty()).then(|| Item::Message { role: "assistant", content: Content::Text(text.into()) });
            let calls = calls.iter().map(|call| Item::Call {
                r#type: "function_call",
                call_id: &call.id,
                name: &call.name,
                arguments: prompt::arguments(call),
            });
            text.into_iter().chain(calls).collect()
        }
        Said::Result { call, text, .. } => {
            vec![Item::Output { r#type: "function_call_output", call_id: &call.id, output: text }]
        }
    }
}

fn content(mut pieces: Vec<Piece<'_>>) -> Content<'_> {
    if let [Piece::Text(text)] = pieces.as_mut_slice() {
        return Content::Text(std::mem::take(text));
    }
    let part = |piece| match piece {
        Piece::Text(text) => Part::InputText { text },
        Piece::Image { url, detail } => Part::InputImage { image_url: url, detail: detail.unwrap_or("high") },
    };
    Content::Parts(pieces.into_iter().map(part).collect())
}

/// A tool as this API spells it: the function's members beside the type. Unless the tool asks for it, its schema is not to
/// be made strict, which this API does by itself and Chat Completions does not.
fn flat_tool(tool: &Value) -> Value {
    let Some(function) = tool.get("function").and_then(Value::as_object) else { return tool.clone() };
    let mut flat = Map::from_iter([("type".to_owned(), json!("function")), ("strict".to_owned(), json!(false))]);
    flat.extend(function.iter().map(|(name, value)| (name.clone(), value.clone())));
    flat.into()
}

/// `{"type":"function","function":{"name":…}}` becomes `{"type":"function","name":…}`; words stay.
fn flat_choice(choice: &Value) -> Value {
    match choice.get("function").and_then(|function| function.get("name")) {
        Some(name) => json!({"type": "function", "name": name}),
        None => choice.clone(),
    }
}

/// `response_format` as this API spells it: the schema's members beside the type.
fn text_format(format: &Value) -> Value {
    let Some(schema) = format.get("json_schema").and_then(Value::as_object) else { return json!({"format": format}) };
    let mut flat = Map::from_iter([("type".to_owned(), json!("json_schema"))]);
    flat.extend(schema.iter().map(|(name, value)| (name.clone(), value.clone())));
    json!({"format": flat})
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::message::Part as ImagePart;
    use greenroom_protocol::{Message, Role, Sampling, ToolCall};
    use jiff::Timestamp;

    use super::*;
    use crate::endpoint::{Route, route};
    use crate::settings::ProviderSettings;

    fn written(entry: Value, request: &CompletionRequest, change: impl FnOnce(&mut Learned)) -> (Value, Written) {
        let Value::Object(entry) = entry else { unreachable!() };
        let definition = crate::draft::read_seed("m", &entry, Timestamp::UNIX_EPOCH).unwrap();
        let settings = ProviderSettings { xai_api_key: Some("x".into()), ..ProviderSettings::default() };
        let Ok(Route::Http(endpoint)) = route(&definition, &settings) else { unreachable!() };
        let mut known = Learned::before_any_call(&definition, false);
        change(&mut known);
        let written = write(&definition, &endpoint, request, &known).unwrap();
        (serde_json::from_slice(&written.body).unwrap(), written)
    }

    fn grok() -> Value {
        json!({"type": "grok", "model_id": "grok-x"})
    }

    fn said(role: Role, text: &str) -> Message {
        Message::text(role, text)
    }

    #[test]
    fn what_was_not_wished_is_not_sent() {
        let request = CompletionRequest { messages: vec![said(Role::User, "hi")], ..CompletionRequest::default() };
        let (body, _) = written(grok(), &request, |_| {});
        let expected =
            json!({"model": "grok-x", "input": [{"role": "user", "content": "hi"}], "stream": true, "store": false});
        assert_eq!(body, expected);
    }

    #[test]
    fn a_conversation_becomes_items() {
        let mut look = said(Role::User, "look");
        look.parts.push(ImagePart::Image { url: "data:image/png;base64,AA==".into(), detail: None });
        let mut calling = said(Role::Assistant, "one moment");
        calling.tool_calls =
            ["a", "b"].map(|id| ToolCall { id: id.into(), name: "f".into(), arguments: "{\"x\":1}".into() }).to_vec();
        let result = Message { tool_call_id: Some("a".into()), ..said(Role::Tool, "A") };
        let messages = vec![said(Role::System, "be"), look, calling, result, said(Role::System, "kind")];
        let request = CompletionRequest { messages, ..CompletionRequest::default() };
        let (body, _) = written(grok(), &request, |_| {});
        assert_eq!(body["instructions"], "be\n\nkind");
        let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high"});
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"x\":1}"});
        let output = |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
        let input = json!([
            {"role": "user", "content": [{"type": "input_text", "text": "look"}, image]},
            {"role": "assistant", "content": "one moment"},
            call("a"), call("b"), output("a", "A"), output("b", "not executed"),
        ]);
        assert_eq!(body["input"], input);
        let (body, _) = written(grok(), &request, |known| known.refuse(Wish::Instructions));
        assert_eq!(
            (body.get("instructions"), &body["input"][0]),
            (None, &json!({"role": "system", "content": "be\n\nkind"}))
        );
    }

    #[test]
    fn the_schema_goes_out_with_choice_none_too() {
        let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
        let request = CompletionRequest {
            messages: vec![said(Role::User, "hi")],
            tools: vec![tool],
            tool_choice: Some("none".into()),
            parallel_tool_calls: Some(false),
            ..CompletionRequest::default()
        };
        let (body, written) = written(grok(), &request, |_| {});
        let flat = json!({"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false});
        assert_eq!((&body["tools"], &body["tool_choice"]), (&json!([flat]), &json!("none")));
        assert_eq!((&body["parallel_tool_calls"], written.sent.tools), (&json!(false), true));
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(flat_choice(&named), json!({"type": "function", "name": "f"}));
    }

    #[test]
    fn wishes_have_their_own_names_here() {
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
        let sampling = Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            max_tokens: Some(500),
            stop: ["a", "b", "a"].map(str::to_owned).to_vec(),
            seed: Some(7),
            reasoning_effort: Some("low".into()),
            response_format: Some(format),
            ..Sampling::default()
        };
        let request =
            CompletionRequest { messages: vec![said(Role::User, "hi")], sampling, ..CompletionRequest::default() };
        let (body, written) = written(json!({"type": "grok", "model_id": "x", "max_tokens": 100}), &request, |_| {});
        assert_eq!(
            (&body["max_output_tokens"], &body["top_p"], &body["temperature"]),
            (&json!(100), &json!(0.9), &json!(0.5))
        );
        assert_eq!(body["reasoning"], json!({"effort": "low"}));
        let format = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
        assert_eq!(body["text"], json!({"format": format}));
        assert_eq!((body.get("stop"), body.get("seed")), (None, None));
        assert_eq!(written.local_stops, ["a", "b"]);
    }
}
