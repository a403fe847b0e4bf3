//! Writing a Chat Completions request: only what was wished, under the names the model knows.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::definition::{ModelDefinition, TokenParam};
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
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a [Value]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A message as Chat Completions spells it.
#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
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
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Message<'a> {
    fn plain(role: &'static str, content: Content<'a>) -> Self {
        Self { role, content, tool_calls: Vec::new(), tool_call_id: None }
    }

    fn of(said: Said<'a>) -> Self {
        match said {
            Said::User(pieces) => Self::plain("user", Content::of(pieces)),
            Said::Assistant { text, calls } => {
                let tool_calls = calls.iter().map(|call| Call {
                    id: &call.id,
                    kind: "function",
                    function: Function { name: &call.name, arguments: prompt::arguments(call) },
                });
                Self { tool_calls: tool_calls.collect(), ..Self::plain("assistant", Content::Text(text.into())) }
            }
            Said::Result { call, text, .. } => {
                Self { tool_call_id: Some(&call.id), ..Self::plain("tool", Content::Text(text.into())) }
            }
        }
    }
}

impl<'a> Content<'a> {
    fn of(mut pieces: Vec<Piece<'a>>) -> Self {
        if let [Piece::Text(text)] = pieces.as_mut_slice() {
            return Self::Text(std::mem::take(text));
        }
        let part = |piece| match piece {
            Piece::Text(text) => Part::Text { text },
            Piece::Image { url, detail } => Part::ImageUrl { image_url: ImageUrl { url, detail } },
        };
        Self::Parts(pieces.into_iter().map(part).collect())
    }
}

/// Writes a request.
pub(crate) fn write(
    definition: &ModelDefinition,
    endpoint: &Endpoint,
    request: &CompletionRequest,
    known: &Learned,
) -> Result<Written, ProviderError> {
    let sampling = &request.sampling;
    let capabilities = definition.capabilities();
    let shape = Shape { images: capabilities.images, alternating: endpoint.target.local };
    let arranged = prompt::arrange(&request.messages, shape);
    let system = prompt::joined(&arranged.system).map(|system| Message::plain("system", Content::Text(system)));
    let messages = system.into_iter().chain(arranged.said.into_iter().map(Message::of)).collect();
    let (stops, local_stops) = split_stops(&sampling.stop, capabilities.stop_limit, known.allows(Wish::Stop));
    let tools = (!request.tools.is_empty()).then_some(request.tools.as_slice());
    let limit = definition.output_limit(sampling.max_tokens);
    let token_param = limit.and(known.token_param);
    let limit_as = |param: TokenParam| limit.filter(|_| token_param == Some(param));
    let temperature = sampling.temperature.or(definition.options.temperature);
    let wishes = &mut Vec::new();
    let body = Body {
        model: definition.model_id.as_deref().unwrap_or(&definition.alias),
        messages,
        stream: true,
        stream_options: known.wish(wishes, Wish::StreamOptions, Some(StreamOptions { include_usage: true })),
        tools,
        tool_choice: tools.and(request.tool_choice.as_ref()),
        parallel_tool_calls: known.wish(wishes, Wish::ParallelToolCalls, tools.and(request.parallel_tool_calls)),
        max_tokens: limit_as(TokenParam::MaxTokens),
        max_completion_tokens: limit_as(TokenParam::MaxCompletionTokens),
        max_output_tokens: limit_as(TokenParam::MaxOutputTokens),
        temperature: known.wish(wishes, Wish::Temperature, temperature),
        top_p: known.wish(wishes, Wish::TopP, sampling.top_p),
        presence_penalty: known.wish(wishes, Wish::PresencePenalty, sampling.presence_penalty),
        frequency_penalty: known.wish(wishes, Wish::FrequencyPenalty, sampling.frequency_penalty),
        seed: known.wish(wishes, Wish::Seed, sampling.seed),
        reasoning_effort: known.wish(wishes, Wish::ReasoningEffort, sampling.reasoning_effort.as_deref()),
        response_format: known.wish(wishes, Wish::ResponseFormat, sampling.response_format.as_ref()),
        stop: known.wish(wishes, Wish::Stop, (!stops.is_empty()).then_some(stops.as_slice())),
        user: known.wish(wishes, Wish::User, request.user.as_deref()),
    };
    let sent = Sent { token_param, wishes: std::mem::take(wishes), tools: tools.is_some() };
    Written::new(&body, sent, local_stops)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Message, Role, Sampling};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::endpoint::{Route, route};
    use crate::settings::ProviderSettings;

    fn definition(entry: Value) -> ModelDefinition {
        let Value::Object(entry) = entry else { unreachable!() };
        crate::draft::read_seed("m", &entry, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn written(definition: &ModelDefinition, sampling: Sampling, settings: &ProviderSettings) -> (Value, Written) {
        let Ok(Route::Http(endpoint)) = route(definition, settings) else { unreachable!() };
        let messages = vec![Message::text(Role::User, "hi")];
        let request = CompletionRequest { messages, sampling, ..CompletionRequest::default() };
        let known = Learned::before_any_call(definition, endpoint.official);
        let written = write(definition, &endpoint, &request, &known).unwrap();
        (serde_json::from_slice(&written.body).unwrap(), written)
    }

    #[test]
    fn what_was_not_wished_is_not_sent() {
        let model = definition(json!({"type": "openai", "model_id": "x", "base_url": "http://h/v1"}));
        let (body, _) = written(&model, Sampling::default(), &ProviderSettings::default());
        assert_eq!(
            body,
            json!({"model": "x", "messages": [{"role": "user", "content": "hi"}], "stream": true,
                   "stream_options": {"include_usage": true}})
        );
    }

    #[test]
    fn the_output_limit_is_the_smaller_one_under_the_usual_name() {
        let settings = ProviderSettings { openai_api_key: Some("k".into()), ..ProviderSettings::default() };
        let sampling = |limit| Sampling { max_tokens: limit, ..Sampling::default() };
        for (model, name) in [
            ("gpt-4", "max_tokens"),
            ("gpt-3.5-turbo-16k", "max_tokens"),
            ("gpt-4o", "max_completion_tokens"),
            ("gpt-5", "max_completion_tokens"),
        ] {
            let model = definition(json!({"type": "openai", "model_id": model, "max_tokens": 100}));
            assert_eq!(written(&model, sampling(Some(500)), &settings).0[name], 100);
            assert_eq!(written(&model, sampling(Some(50)), &settings).0[name], 50);
            assert_eq!(written(&model, sampling(None), &settings).0[name], 100);
        }
        let foreign = definition(json!({"type": "openai", "model_id": "gpt-4o", "base_url": "http://h/v1"}));
        assert_eq!(written(&foreign, sampling(Some(5)), &settings).0["max_tokens"], 5);
        let named =
            json!({"type": "openai", "model_id": "x", "base_url": "http://h/v1", "token_param": "max_output_tokens"});
        assert_eq!(written(&definition(named), sampling(Some(5)), &settings).0["max_output_tokens"], 5);
    }

    #[test]
    fn sampling_goes_where_it_is_accepted() {
        let settings = ProviderSettings { openai_api_key: Some("k".into()), ..ProviderSettings::default() };
        let sampling = Sampling { temperature: Some(0.0), top_p: Some(0.5), seed: Some(7), ..Sampling::default() };
        let body = |entry: Value| written(&definition(entry), sampling.clone(), &settings).0;
        let plain = body(json!({"type": "openai", "model_id": "gpt-4o"}));
        assert_eq!((&plain["temperature"], &plain["top_p"], &plain["seed"]), (&json!(0.0), &json!(0.5), &json!(7)));
        for model in ["o3-mini", "gpt-5-chat-latest"] {
            let own = body(json!({"type": "openai", "model_id": model}));
            assert_eq!((own.get("temperature"), own.get("top_p")), (None, None), "{model}");
        }
        let told = body(json!({"type": "openai", "model_id": "o3", "supports_temperature": true}));
        assert_eq!((told.get("temperature"), told.get("top_p")), (Some(&json!(0.0)), None));
        let own = json!({"type": "openai", "model_id": "gpt-4o", "temperature": 0.3});
        assert_eq!(written(&definition(own), Sampling::default(), &settings).0["temperature"], 0.3);
    }

    #[test]
    fn stops_beyond_the_limit_stay_here() {
        let model = definition(json!({"type": "openai", "model_id": "x", "base_url": "http://h/v1"}));
        let stop: Vec<String> = ["a", "b", "a", "", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        let sampling = Sampling { stop, ..Sampling::default() };
        let (body, written) = written(&model, sampling, &ProviderSettings::default());
        assert_eq!(body["stop"], json!(["a", "b", "c", "d"]));
        assert_eq!(written.local_stops, ["e", "f"]);
    }
}
