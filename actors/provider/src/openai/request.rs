//! Writing a Chat Completions request: only what was wished, under the names the model knows.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::learned::{Learned, Sent, Wish};
use crate::definition::{ModelDefinition, TokenParam};
use crate::endpoint::Endpoint;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::prompt::{self, Shape, WireMessage};

/// A request ready to go out.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) body: Bytes,
    /// What it holds, for the parameter search after a refusal.
    pub(crate) sent: Sent,
    /// Stop sequences that are not in it, to be enforced here.
    pub(crate) local_stops: Vec<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [WireMessage<'a>],
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

/// What is known about a model before any call: what its definition and its name say.
pub(crate) fn first_knowledge(definition: &ModelDefinition, endpoint: &Endpoint) -> Learned {
    let model = definition.model_id.as_deref().unwrap_or_default();
    let options = &definition.options;
    let mut known = Learned::named(options.token_param.unwrap_or_else(|| usual_token_param(model, endpoint.official)));
    let sampled = !samples_by_itself(model);
    for (wish, supported) in [(Wish::Temperature, options.supports_temperature), (Wish::TopP, options.supports_top_p)] {
        if !supported.unwrap_or(sampled) {
            known.refuse(wish);
        }
    }
    known
}

/// Models that choose their sampling themselves, going by their names (providers.md §5.1).
fn samples_by_itself(model: &str) -> bool {
    ["o1", "o3", "o4"].iter().any(|start| model.starts_with(start))
        || ["-chat-latest", "-search-preview", "-audio-preview"].iter().any(|part| model.contains(part))
}

/// OpenAI's newer models want the newer name; compatible servers start with the older one.
fn usual_token_param(model: &str, official: bool) -> TokenParam {
    const OLD: [&str; 6] = ["gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4-0314", "gpt-4-0613", "gpt-4-32k"];
    const OLD_STARTS: [&str; 3] = ["gpt-3.5-", "gpt-4-turbo-", "gpt-4-32k-"];
    let old = OLD.contains(&model) || OLD_STARTS.iter().any(|start| model.starts_with(start));
    if official && !old { TokenParam::MaxCompletionTokens } else { TokenParam::MaxTokens }
}

/// Writes a request.
pub(crate) fn write(
    definition: &ModelDefinition,
    local: bool,
    request: &CompletionRequest,
    known: &Learned,
) -> Result<Written, ProviderError> {
    let sampling = &request.sampling;
    let capabilities = definition.capabilities();
    let messages = prompt::arrange(&request.messages, Shape { images: capabilities.images, alternating: local });
    let (stops, local_stops) = split_stops(&sampling.stop, capabilities.stop_limit, known.allows(Wish::Stop));
    let tools = (!request.tools.is_empty()).then_some(request.tools.as_slice());
    let limit = match (sampling.max_tokens, definition.options.max_tokens) {
        (Some(wish), Some(most)) => Some(wish.min(most)),
        (wish, most) => wish.or(most),
    };
    let token_param = limit.and(known.token_param);
    let limit_as = |param: TokenParam| limit.filter(|_| token_param == Some(param));
    let mut wishes = Vec::new();
    let body = Body {
        model: definition.model_id.as_deref().unwrap_or(&definition.alias),
        messages: &messages,
        stream: true,
        stream_options: wish(known, &mut wishes, Wish::StreamOptions, Some(StreamOptions { include_usage: true })),
        tools,
        tool_choice: tools.and(request.tool_choice.as_ref()),
        parallel_tool_calls: wish(known, &mut wishes, Wish::ParallelToolCalls, tools.and(request.parallel_tool_calls)),
        max_tokens: limit_as(TokenParam::MaxTokens),
        max_completion_tokens: limit_as(TokenParam::MaxCompletionTokens),
        max_output_tokens: limit_as(TokenParam::MaxOutputTokens),
        temperature: wish(
            known,
            &mut wishes,
            Wish::Temperature,
            sampling.temperature.or(definition.options.temperature),
        ),
        top_p: wish(known, &mut wishes, Wish::TopP, sampling.top_p),
        presence_penalty: wish(known, &mut wishes, Wish::PresencePenalty, sampling.presence_penalty),
        frequency_penalty: wish(known, &mut wishes, Wish::FrequencyPenalty, sampling.frequency_penalty),
        seed: wish(known, &mut wishes, Wish::Seed, sampling.seed),
        reasoning_effort: wish(known, &mut wishes, Wish::ReasoningEffort, sampling.reasoning_effort.as_deref()),
        response_format: sampling.response_format.as_ref(),
        stop: wish(known, &mut wishes, Wish::Stop, (!stops.is_empty()).then_some(stops.as_slice())),
        user: wish(known, &mut wishes, Wish::User, request.user.as_deref()),
    };
    let body = serde_json::to_vec(&body).map_err(|error| ProviderError::Internal(error.to_string()))?;
    Ok(Written { body: body.into(), sent: Sent { token_param, wishes }, local_stops })
}

/// A wish that is allowed, noted as sent.
fn wish<T>(known: &Learned, sent: &mut Vec<Wish>, wish: Wish, value: Option<T>) -> Option<T> {
    let value = value.filter(|_| known.allows(wish))?;
    sent.push(wish);
    Some(value)
}

/// Stop sequences without duplicates: those for the provider, and those beyond what it accepts.
fn split_stops(stops: &[String], limit: Option<u32>, allowed: bool) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<String> = Vec::new();
    for stop in stops.iter().filter(|stop| !stop.is_empty()) {
        if !all.contains(stop) {
            all.push(stop.clone());
        }
    }
    let most = match limit {
        _ if !allowed => 0,
        None => all.len(),
        Some(limit) => all.len().min(usize::try_from(limit).unwrap_or(usize::MAX)),
    };
    let rest = all.split_off(most);
    (all, rest)
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
        let Ok(Route::OpenAi(endpoint)) = route(definition, settings) else { unreachable!() };
        let messages = vec![Message::text(Role::User, "hi")];
        let request = CompletionRequest { messages, sampling, ..CompletionRequest::default() };
        let written = write(definition, false, &request, &first_knowledge(definition, &endpoint)).unwrap();
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
