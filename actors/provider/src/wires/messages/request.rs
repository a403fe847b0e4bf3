//! Writing a Messages request.
//!
//! What a prompt cache is to keep stands first: tools, then the first system text. Behind each of them a breakpoint is set
//! where what lies before it is long enough to be worth keeping. Further system texts may change with every turn and stand
//! behind the breakpoint.

use std::borrow::Cow;

use greenroom_protocol::Usage;
use serde::Serialize;
use serde_json::Value;

use super::history::{self, Turn};
use super::schema;
use super::tools::{self, Choice, Tool};
use crate::definition::ModelDefinition;
use crate::endpoint::Endpoint;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::http::learned::{Learned, Sent, Wish};
use crate::http::stop_guard::split_stops;
use crate::prompt::{self, Shape};
use crate::wires::Written;

/// The API wants a limit; this one stands where neither setting nor definition names one (providers.md §3.5).
const USUAL_OUTPUT: u32 = 4096;
/// Tokens from which on a prefix is worth a place in the cache.
const CACHED_FROM: u64 = 1024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<System<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "text")]
struct System<'a> {
    text: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

/// A breakpoint: what lies before it is kept for five minutes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "type", rename = "ephemeral")]
pub(super) struct CacheControl {}

#[derive(Serialize)]
struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "json_schema")]
struct Format {
    schema: Value,
}

/// Writes a request.
pub(crate) fn write(
    definition: &ModelDefinition,
    _: &Endpoint,
    request: &CompletionRequest,
    known: &Learned,
) -> Result<Written, ProviderError> {
    let (sampling, options) = (&request.sampling, &definition.options);
    let capabilities = definition.capabilities();
    let model = definition.model_id.as_deref().unwrap_or(&definition.alias);
    let arranged = prompt::arrange(&request.messages, Shape { images: capabilities.images, alternating: true });
    let mut tools = tools::tools(request)?;
    let tool_characters: usize = request.tools.iter().map(|tool| tool.to_string().len()).sum();
    if let Some(last) = tools.last_mut() {
        last.cache_control = breakpoint(tool_characters);
    }
    let (stops, local_stops) = stops(&sampling.stop, capabilities.stop_limit, known);
    let wishes = &mut Vec::new();
    let sampled = |told: Option<bool>| told.unwrap_or_else(|| !samples_by_itself(model));
    let temperature = sampling.temperature.or(options.temperature).filter(|_| sampled(options.supports_temperature));
    let temperature = known.wish(wishes, Wish::Temperature, temperature.map(|wish| wish.clamp(0.0, 1.0)));
    let top_p = sampling.top_p.filter(|_| temperature.is_none() && sampled(options.supports_top_p));
    let format = known.wish(wishes, Wish::ResponseFormat, sampling.response_format.as_ref().and_then(format));
    let effort = known.wish(wishes, Wish::ReasoningEffort, sampling.reasoning_effort.as_deref().and_then(effort));
    let body = Body {
        model,
        max_tokens: definition.output_limit(sampling.max_tokens).unwrap_or(USUAL_OUTPUT).max(1),
        stream: true,
        system: system(&arranged.system, tool_characters),
        messages: history::turns(arranged.said),
        tools,
        tool_choice: tools::choice(request)?,
        temperature,
        top_p: known.wish(wishes, Wish::TopP, top_p),
        stop_sequences: known
            .wish(wishes, Wish::Stop, Some(stops).filter(|stops| !stops.is_empty()))
            .unwrap_or_default(),
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
    };
    let sent = Sent { token_param: None, wishes: std::mem::take(wishes), tools: !request.tools.is_empty() };
    Written::new(&body, sent, local_stops)
}

/// A breakpoint behind a prefix of so many characters, if that is long enough.
fn breakpoint(characters: usize) -> Option<CacheControl> {
    (Usage::estimate(characters, 0).input > CACHED_FROM).then_some(CacheControl {})
}

/// The first system text, which stays, and behind a possible breakpoint all others, which may change.
fn system<'a>(texts: &[&'a str], before: usize) -> Vec<System<'a>> {
    let texts: Vec<&str> = texts.iter().copied().filter(|text| !text.trim().is_empty()).collect();
    let Some((stable, rest)) = texts.split_first() else { return Vec::new() };
    let cache_control = breakpoint(before + stable.chars().count());
    let mut blocks = vec![System { text: (*stable).into(), cache_control }];
    if !rest.is_empty() {
        blocks.push(System { text: format!("\n\n{}", rest.join("\n\n")).into(), cache_control: None });
    }
    blocks
}

/// Stop sequences for the API and those to be enforced here; it refuses blank ones.
fn stops(stops: &[String], limit: Option<u32>, known: &Learned) -> (Vec<String>, Vec<String>) {
    let (blank, plain): (Vec<String>, Vec<String>) = stops.iter().cloned().partition(|stop| stop.trim().is_empty());
    let (sent, mut local) = split_stops(&plain, limit, known.allows(Wish::Stop));
    local.extend(blank.into_iter().filter(|stop| !stop.is_empty()));
    (sent, local)
}

/// Structured output by schema; there is no mode for JSON of any shape.
fn format(response_format: &Value) -> Option<Format> {
    let schema = response_format.get("json_schema")?.get("schema")?;
    Some(Format { schema: schema::conform(schema)? })
}

/// OpenAI's words for effort, as far as the API has one for them.
fn effort(word: &str) -> Option<&'static str> {
    Some(match word {
        "none" | "minimal" | "low" => "low",
        "medium" => "medium",
        "high" => "high",
        "xhigh" => "xhigh",
        "max" => "max",
        _ => return None,
    })
}

/// Models that choose their sampling themselves: Claude from 4.7 on refuses both parameters.
fn samples_by_itself(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    // claude-<family>-<major>[-<minor>][-<date>]; the oldest names have their numbers first
    let Some(("claude", rest)) = name.split_once('-') else { return false };
    let mut parts = rest.split('-').map(|part| part.parse::<u32>().ok().filter(|number| *number < 100));
    match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
        (None, Some(major), minor) => (major, minor.unwrap_or(0)) >= (4, 7),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::message::Part;
    use greenroom_protocol::{Message, Role, Sampling};
    use serde_json::json;

    use super::*;
    use crate::wires::testing;

    fn written(model: &str, request: &CompletionRequest) -> (Value, Written) {
        let entry = json!({"type": "anthropic", "model_id": model, "api_key": "k", "max_tokens": 8000});
        testing::written(entry, request, write)
    }

    fn saying(messages: Vec<Message>, sampling: Sampling) -> CompletionRequest {
        CompletionRequest { messages, sampling, ..CompletionRequest::default() }
    }

    fn hi() -> Vec<Message> {
        vec![Message::text(Role::User, "hi")]
    }

    fn tool(description: &str) -> Value {
        json!({"type": "function", "function": {"name": "f", "description": description}})
    }

    #[test]
    fn the_least_is_model_limit_and_messages() {
        let (body, _) = written("claude-sonnet-4-5", &saying(hi(), Sampling::default()));
        let content = json!([{"type": "text", "text": "hi"}]);
        assert_eq!(
            body,
            json!({"model": "claude-sonnet-4-5", "max_tokens": 8000, "stream": true,
                "messages": [{"role": "user", "content": content}]})
        );
        let smaller = Sampling { max_tokens: Some(10), ..Sampling::default() };
        assert_eq!(written("m", &saying(hi(), smaller)).0["max_tokens"], 10);
        let entry = json!({"type": "anthropic", "model_id": "m", "api_key": "k"});
        let (body, _) = testing::written(entry, &saying(hi(), Sampling::default()), write);
        assert_eq!(body["max_tokens"], USUAL_OUTPUT);
    }

    #[test]
    fn temperature_is_bounded_and_sent_alone() {
        let hot = Sampling { temperature: Some(1.6), top_p: Some(0.9), ..Sampling::default() };
        let (body, written_) = written("claude-sonnet-4-5", &saying(hi(), hot.clone()));
        assert_eq!((&body["temperature"], body.get("top_p")), (&json!(1.0), None));
        assert_eq!(written_.sent.wishes, [Wish::Temperature]);
        let (body, _) = written("m", &saying(hi(), Sampling { temperature: None, ..hot.clone() }));
        assert_eq!((body.get("temperature"), &body["top_p"]), (None, &json!(0.9)));
        for model in ["claude-opus-4-7", "claude-sonnet-5-20260401", "anthropic/claude-haiku-5-5"] {
            let (body, _) = written(model, &saying(hi(), hot.clone()));
            assert_eq!((body.get("temperature"), body.get("top_p")), (None, None), "{model}");
        }
        for model in ["claude-3-7-sonnet-20250219", "claude-opus-4-20250514", "claude-haiku-4-5-20251001", "other-9-9"]
        {
            assert!(written(model, &saying(hi(), hot.clone())).0.get("temperature").is_some(), "{model}");
        }
    }

    #[test]
    fn a_breakpoint_stands_behind_what_stays() {
        let (stable, volatile) = ("s".repeat(4_200), "It is noon.");
        let mut messages = vec![Message::text(Role::System, &stable), Message::text(Role::System, volatile)];
        messages.extend(hi());
        let mut request = saying(messages, Sampling::default());
        let cached = json!({"type": "ephemeral"});
        let told = |text: &str| json!({"type": "text", "text": text});
        let mut first = told(&stable);
        first["cache_control"] = cached.clone();
        assert_eq!(written("m", &request).0["system"], json!([first, told("\n\nIt is noon.")]));

        request.messages[0].content.truncate(100);
        assert_eq!(written("m", &request).0["system"][0].get("cache_control"), None);
        // tools lie before the system text, so they count
        request.tools = vec![tool("small"), tool(&"d".repeat(4_200))];
        let (body, _) = written("m", &request);
        assert_eq!(body["system"][0]["cache_control"], cached);
        assert_eq!((body["tools"][0].get("cache_control"), &body["tools"][1]["cache_control"]), (None, &cached));
    }

    #[test]
    fn blank_system_texts_do_not_go_out() {
        let mut messages = vec![Message::text(Role::System, " \n"), Message::text(Role::System, "rest")];
        messages.extend(hi());
        let (body, _) = written("m", &saying(messages, Sampling::default()));
        assert_eq!(body["system"], json!([{"type": "text", "text": "rest"}]));
    }

    #[test]
    fn blank_stops_are_enforced_here() {
        let stop: Vec<String> = ["a", "\n\n", "b", "a", "", "c", "d", "e"].map(str::to_owned).to_vec();
        let (body, written) = written("m", &saying(hi(), Sampling { stop, ..Sampling::default() }));
        assert!(body["stop_sequences"].as_array().unwrap().starts_with(&["a".into(), "b".into(), "c".into()]));
        assert!(written.local_stops.contains(&"\n\n".to_owned()));
    }

    #[test]
    fn structure_and_effort_share_a_member() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
        let wanted = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
        let sampling =
            Sampling { response_format: Some(wanted), reasoning_effort: Some("minimal".into()), ..Sampling::default() };
        let (body, _) = written("m", &saying(hi(), sampling));
        assert_eq!(body["output_config"]["effort"], "low");
        assert_eq!(body["output_config"]["format"]["type"], "json_schema");
        assert_eq!(body["output_config"]["format"]["schema"]["additionalProperties"], false);
        let any = Sampling { response_format: Some(json!({"type": "json_object"})), ..Sampling::default() };
        assert_eq!(written("m", &saying(hi(), any)).0.get("output_config"), None);
    }

    #[test]
    fn a_model_that_sees_nothing_is_told_of_images() {
        let image = Part::Image { url: "data:image/png;base64,AA==".into(), detail: None };
        let message = Message { parts: vec![image], ..Message::text(Role::User, "look") };
        let entry = json!({"type": "anthropic", "model_id": "m", "api_key": "k", "supports_images": false});
        let (body, _) = testing::written(entry, &saying(vec![message], Sampling::default()), write);
        assert!(body["messages"][0]["content"][0]["text"].as_str().unwrap().starts_with("look\n\n["));
    }
}
