//! Writing a request for `/api/chat`.
//!
//! The window is always asked for: left to itself the server loads a model with a small one and drops the beginning of a
//! longer prompt without a word.

use std::borrow::Cow;

use greenroom_protocol::ToolCall;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::definition::ModelDefinition;
use crate::endpoint::Endpoint;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::http::learned::{Learned, Sent, Wish};
use crate::http::stop_guard::split_stops;
use crate::prompt::{self, IMAGE_NOTICE, Piece, Said, Shape};
use crate::wires::Written;
use crate::wires::inline::Inline;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    options: Options<'a>,
}

/// Generation parameters, under llama.cpp's names.
#[derive(Serialize)]
struct Options<'a> {
    num_ctx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
    /// In base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: Option<&'a RawValue>,
}

/// Writes a request.
pub(crate) fn write(
    definition: &ModelDefinition,
    _: &Endpoint,
    request: &CompletionRequest,
    known: &Learned,
) -> Result<Written, ProviderError> {
    let (sampling, capabilities) = (&request.sampling, definition.capabilities());
    let arranged = prompt::arrange(&request.messages, Shape { images: capabilities.images, alternating: true });
    let system = prompt::joined(&arranged.system).map(|system| Message::plain("system", system));
    let (stops, local_stops) = split_stops(&sampling.stop, capabilities.stop_limit, known.allows(Wish::Stop));
    let tools: Vec<&Value> =
        request.tools.iter().filter(|tool| is_chosen(tool, request.tool_choice.as_ref())).collect();
    let temperature = sampling.temperature.or(definition.options.temperature);
    let wishes = &mut Vec::new();
    let effort = sampling.reasoning_effort.as_deref().and_then(effort);
    let body = Body {
        model: definition.model_id.as_deref().unwrap_or(&definition.alias),
        messages: system.into_iter().chain(arranged.said.into_iter().map(Message::of)).collect(),
        stream: true,
        format: known.wish(wishes, Wish::ResponseFormat, sampling.response_format.as_ref().and_then(format)),
        think: known.wish(wishes, Wish::ReasoningEffort, effort),
        options: Options {
            num_ctx: definition.context_window(),
            num_predict: definition.output_limit(sampling.max_tokens),
            temperature: known.wish(wishes, Wish::Temperature, temperature),
            top_p: known.wish(wishes, Wish::TopP, sampling.top_p),
            presence_penalty: known.wish(wishes, Wish::PresencePenalty, sampling.presence_penalty),
            frequency_penalty: known.wish(wishes, Wish::FrequencyPenalty, sampling.frequency_penalty),
            seed: known.wish(wishes, Wish::Seed, sampling.seed),
            stop: known
                .wish(wishes, Wish::Stop, Some(stops.as_slice()).filter(|stops| !stops.is_empty()))
                .unwrap_or(&[]),
        },
        tools,
    };
    let sent = Sent { token_param: None, wishes: std::mem::take(wishes), tools: !body.tools.is_empty() };
    Written::new(&body, sent, local_stops)
}

/// Whether a tool may go out. The server knows no choice: those that may not be called are not shown.
fn is_chosen(tool: &Value, choice: Option<&Value>) -> bool {
    let name = |of: &Value| of.get("function").and_then(|function| function.get("name")).cloned();
    match choice {
        None => true,
        Some(Value::String(word)) => word != "none",
        Some(choice) => name(choice).is_none_or(|chosen| name(tool) == Some(chosen)),
    }
}

/// A schema, or the word for JSON of any shape.
fn format(response_format: &Value) -> Option<Cow<'_, Value>> {
    match response_format.get("type")?.as_str()? {
        "json_schema" => response_format.get("json_schema")?.get("schema").map(Cow::Borrowed),
        "json_object" => Some(Cow::Owned("json".into())),
        _ => None,
    }
}

/// OpenAI's words for effort in the server's: one of three, or none at all.
fn effort(word: &str) -> Option<Value> {
    Some(match word {
        "none" => false.into(),
        "minimal" | "low" => "low".into(),
        "medium" => "medium".into(),
        "high" | "xhigh" | "max" => "high".into(),
        _ => return None,
    })
}

impl<'a> Message<'a> {
    fn plain(role: &'static str, content: Cow<'a, str>) -> Self {
        Self { role, content, images: Vec::new(), tool_calls: Vec::new(), tool_name: None, tool_call_id: None }
    }

    fn of(said: Said<'a>) -> Self {
        match said {
            Said::User(pieces) => Self::user(pieces),
            Said::Assistant { text, calls } => {
                Self { tool_calls: calls.iter().map(Call::of).collect(), ..Self::plain("assistant", text.into()) }
            }
            Said::Result { call, text, .. } => {
                Self { tool_name: Some(&call.name), tool_call_id: Some(&call.id), ..Self::plain("tool", text.into()) }
            }
        }
    }

    /// Images stand beside the text. Those that are somewhere else are only mentioned: the server fetches nothing.
    fn user(pieces: Vec<Piece<'a>>) -> Self {
        let mut message = Self::plain("user", "".into());
        let mut texts: Vec<Cow<'a, str>> = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => texts.push(text),
                Piece::Image { url, .. } => match Inline::of(url) {
                    Some(image) => message.images.push(image.data),
                    None => texts.push(IMAGE_NOTICE.into()),
                },
            }
        }
        message.content = match texts.len() {
            1 => texts.swap_remove(0),
            _ => texts.join("\n\n").into(),
        };
        message
    }
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let arguments = prompt::arguments(call).trim();
        let object = if arguments.starts_with('{') { arguments } else { "{}" };
        Self { id: &call.id, function: Function { name: &call.name, arguments: serde_json::from_str(object).ok() } }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::message::Part;
    use greenroom_protocol::{Message, Role, Sampling};
    use serde_json::json;

    use super::*;
    use crate::wires::testing;

    fn written(request: &CompletionRequest) -> Value {
        let entry = json!({"type": "ollama", "model_id": "qwen3", "base_url": "http://h:1", "context_window": 8192});
        testing::written(entry, request, write).0
    }

    fn hi() -> Vec<Message> {
        vec![Message::text(Role::User, "hi")]
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    #[test]
    fn parameters_go_under_options_and_the_window_always_does() {
        let request = CompletionRequest { messages: hi(), ..CompletionRequest::default() };
        let least = json!({"model": "qwen3", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "options": {"num_ctx": 8192}});
        assert_eq!(written(&request), least);
        let stop: Vec<String> = ["a", "b", "c", "d", "e", "a"].map(str::to_owned).to_vec();
        let sampling = Sampling {
            temperature: Some(1.5),
            top_p: Some(0.9),
            max_tokens: Some(7),
            stop,
            presence_penalty: Some(0.5),
            frequency_penalty: Some(-0.5),
            seed: Some(42),
            reasoning_effort: Some("xhigh".into()),
            response_format: None,
        };
        let body = written(&CompletionRequest { sampling, ..request });
        assert_eq!(body["think"], "high");
        assert_eq!(
            body["options"],
            json!({"num_ctx": 8192, "num_predict": 7, "temperature": 1.5, "top_p": 0.9, "presence_penalty": 0.5,
                "frequency_penalty": -0.5, "seed": 42, "stop": ["a", "b", "c", "d", "e"]})
        );
    }

    #[test]
    fn calls_carry_objects_and_results_their_tools_name() {
        let call =
            |id: &str, arguments: &str| ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() };
        let calls = vec![call("a", "{\"x\": 1}"), call("b", "{\"x\":")];
        let messages = vec![
            Message::text(Role::System, "be kind"),
            Message { tool_calls: calls, ..Message::text(Role::Assistant, "") },
            Message { tool_call_id: Some("a".into()), ..Message::text(Role::Tool, "one") },
        ];
        let body = written(&CompletionRequest { messages, ..CompletionRequest::default() });
        let told = |id: &str, arguments: Value| json!({"id": id, "function": {"name": "f", "arguments": arguments}});
        let result =
            |id: &str, text: &str| json!({"role": "tool", "content": text, "tool_name": "f", "tool_call_id": id});
        assert_eq!(
            body["messages"],
            json!([
                {"role": "system", "content": "be kind"},
                {"role": "assistant", "content": "", "tool_calls": [told("a", json!({"x": 1})), told("b", json!({}))]},
                result("a", "one"),
                result("b", "not executed"),
            ])
        );
    }

    #[test]
    fn only_tools_that_may_be_called_are_shown() {
        let shown = |choice: Option<Value>| {
            let tools = vec![function("f"), function("g")];
            let body = written(&CompletionRequest { messages: hi(), tools, tool_choice: choice, ..Default::default() });
            body["tools"].as_array().map_or(0, Vec::len)
        };
        assert_eq!(shown(None), 2);
        assert_eq!((shown(Some(json!("auto"))), shown(Some(json!("required"))), shown(Some(json!("none")))), (2, 2, 0));
        assert_eq!(shown(Some(function("g"))), 1);
    }

    #[test]
    fn structure_is_a_schema_or_a_word() {
        let of = |response_format: Value| {
            let sampling = Sampling { response_format: Some(response_format), ..Sampling::default() };
            written(&CompletionRequest { messages: hi(), sampling, ..Default::default() })["format"].clone()
        };
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        assert_eq!(of(json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})), schema);
        assert_eq!(of(json!({"type": "json_object"})), "json");
        assert_eq!(of(json!({"type": "text"})), Value::Null);
    }

    #[test]
    fn images_stand_beside_the_text_and_remote_ones_are_mentioned() {
        let image = |url: &str| Part::Image { url: url.into(), detail: None };
        let parts = vec![image("data:image/png;base64,AA=="), image("https://h/a.png")];
        let message = Message { parts, ..Message::text(Role::User, "look") };
        let body = written(&CompletionRequest { messages: vec![message], ..Default::default() });
        let content = format!("look\n\n{IMAGE_NOTICE}");
        assert_eq!(body["messages"], json!([{"role": "user", "content": content, "images": ["AA=="]}]));
    }
}
