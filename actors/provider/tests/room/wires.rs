//! Every wire over real sockets: the same scripts, the same events, whatever is spoken.

use std::time::Duration;

use crate::common::{House, collect, open_house, quick, request, settings, text_of, until};
use greenroom_protocol::{FinishReason, Message, Role, Sampling, ToolCall};
use greenroom_provider::{CompletionRequest, Engine, ProviderError, ProviderEvent, ProviderSettings};
use greenroom_test_support::upstream::search::WebAnswer;
use greenroom_test_support::upstream::{Fault, Script, ScriptedCall, Split, ToolShape, Upstream};
use serde_json::{Value, json};

/// One model per wire, named by its type.
async fn rig() -> (Upstream, House) {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let model = |kind: &str| {
        format!(
            "{kind}: {{type: {kind}, model_id: scripted, base_url: '{url}', context_window: 9000, tool_support: native}}"
        )
    };
    let kinds = KINDS.map(|(kind, _)| model(kind));
    let house = open_house(settings(&format!("models: {{{}}}", kinds.join(", ")))).await;
    (upstream, house)
}

const KINDS: [(&str, &str); 6] = [
    ("openai", "/v1/chat/completions"),
    ("vllm", "/v1/chat/completions"),
    ("responses", "/v1/responses"),
    ("grok", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("ollama", "/api/chat"),
];

fn engine(house: &House, kind: &str) -> Engine {
    house.providers.engine(kind).unwrap()
}

fn tool(name: &str) -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false});
    json!({"type": "function", "function": {"name": name, "description": "tells", "parameters": parameters}})
}

fn with_tools(text: &str) -> CompletionRequest {
    CompletionRequest { tools: vec![tool("weather"), tool("time")], tool_choice: Some("auto".into()), ..request(text) }
}

fn calls_of(events: &[ProviderEvent]) -> Vec<ToolCall> {
    let told =
        events.iter().filter_map(|event| if let ProviderEvent::ToolCalls(calls) = event { Some(calls) } else { None });
    let told: Vec<_> = told.collect();
    assert!(told.len() <= 1, "calls are told once: {events:?}");
    told.into_iter().flatten().cloned().collect()
}

#[tokio::test]
async fn every_wire_tells_text_however_it_is_cut() {
    let (upstream, house) = rig().await;
    let text = "Grüße, 世界! 😀 \"quoted\" \\ done";
    for (kind, path) in KINDS {
        for script in [
            Script::text(text),
            Script::text(text).split(Split::Every(1)),
            Script::text(text).split(Split::Every(7)).noise().reasoning(["hm"]),
        ] {
            upstream.script(script);
            let (events, error) = collect(&engine(&house, kind), request("x")).await;
            assert_eq!((text_of(&events).as_str(), error), (text, None), "{kind}");
            assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::Stop)), "{kind}");
            let counted = |event: &ProviderEvent| matches!(event, ProviderEvent::Usage(usage) if !usage.estimated && usage.input == 11);
            assert!(events.iter().any(counted), "{kind}: {events:?}");
            assert_eq!(upstream.requests().pop().unwrap().path, path);
        }
        upstream.script(Script::text("cut").finish_reason(Some("length")));
        let (events, _) = collect(&engine(&house, kind), request("x")).await;
        assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::Length)), "{kind}");
    }
}

#[tokio::test]
async fn every_wire_calls_tools_and_takes_their_results() {
    let (upstream, house) = rig().await;
    let calls = [
        ScriptedCall::new("call_a", "weather", &json!({"city": "Zürich"})),
        ScriptedCall::new("call_b", "time", &json!({})),
    ];
    for (kind, _) in KINDS {
        let shape = ToolShape { interleaved: kind != "anthropic", ..ToolShape::default() };
        upstream.script(Script::tool_calls(&calls, &shape));
        let (events, error) = collect(&engine(&house, kind), with_tools("ask")).await;
        assert_eq!(error, None, "{kind}");
        let made = calls_of(&events);
        let seen: Vec<(&str, Value)> =
            made.iter().map(|call| (call.name.as_str(), serde_json::from_str(&call.arguments).unwrap())).collect();
        assert_eq!(seen, [("weather", json!({"city": "Zürich"})), ("time", json!({}))], "{kind}");
        assert!(made[0].id != made[1].id && !made[0].id.is_empty());
        assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::ToolCalls)), "{kind}");

        let mut follow_up = with_tools("ask");
        follow_up.tool_choice = Some("none".into());
        let result = |call: &ToolCall, text: &str| Message {
            tool_call_id: Some(call.id.clone()),
            is_error: text == "no clock",
            ..Message::text(Role::Tool, text)
        };
        let asking = Message { tool_calls: made.clone(), ..Message::text(Role::Assistant, "One moment.") };
        follow_up.messages.extend([asking, result(&made[0], "rain"), result(&made[1], "no clock")]);
        upstream.script(Script::text("It rains."));
        let (events, error) = collect(&engine(&house, kind), follow_up).await;
        assert_eq!((text_of(&events).as_str(), error), ("It rains.", None), "{kind}");
    }
}

#[tokio::test]
async fn a_follow_up_pass_sends_the_schema_with_choice_none_to_grok() {
    let (upstream, house) = rig().await;
    let call = ToolCall { id: "call_a".into(), name: "weather".into(), arguments: "{\"city\":\"Oslo\"}".into() };
    let mut pass = with_tools("ask");
    let asking = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
    pass.messages
        .extend([asking, Message { tool_call_id: Some("call_a".into()), ..Message::text(Role::Tool, "rain") }]);
    pass.tool_choice = Some("none".into());
    upstream.script(Script::text("It rains."));
    let (events, _) = collect(&engine(&house, "grok"), pass.clone()).await;
    assert_eq!(text_of(&events), "It rains.");
    let body = upstream.requests().pop().unwrap().body;
    assert_eq!((&body["tool_choice"], &body["tools"][0]["name"]), (&json!("none"), &json!("weather")));
    pass.tools.clear();
    let (events, _) = collect(&engine(&house, "grok"), pass).await;
    assert_eq!(text_of(&events), "", "without the schema the results are ignored, as at xAI");
}

#[tokio::test]
async fn every_wire_tells_its_troubles_by_type() {
    let (upstream, house) = rig().await;
    for (kind, _) in KINDS {
        let model = engine(&house, kind);
        upstream.script(Script::status(401));
        assert_eq!(collect(&model, request("x")).await.1, Some(ProviderError::Auth), "{kind}");
        upstream.script(Script::status(529));
        upstream.script(Script::status(429).header("retry-after-ms", "1"));
        upstream.script(Script::text("fine"));
        assert_eq!(text_of(&collect(&model, request("x")).await.0), "fine", "{kind}");

        upstream.script(Script::text("lost").cut_after(0));
        upstream.script(Script::text("fine"));
        assert_eq!(text_of(&collect(&model, request("x")).await.0), "fine", "{kind}: broken before any output");
        let broken = [
            Script::chunks(["a", "b", "c"]).cut_after(2),
            Script::chunks(["a", "b", "c"]).fault_after(2, Fault::EndEarly),
            Script::chunks(["a", "b", "c"]).error_after(2, "worn out"),
        ];
        for script in broken {
            let before = upstream.requests().len();
            upstream.script(script);
            let (events, error) = collect(&model, request("x")).await;
            let expected = |error: &ProviderError| {
                matches!(error, ProviderError::Interrupted { had_output: true } | ProviderError::Unavailable(_))
            };
            assert_eq!(text_of(&events), "ab", "{kind}");
            assert!(error.as_ref().is_some_and(expected), "{kind}: {error:?}");
            assert_eq!(upstream.requests().len(), before + 1, "{kind}: nothing is tried again after output");
        }
    }
}

#[tokio::test]
async fn stops_are_kept_by_every_wire() {
    let (upstream, house) = rig().await;
    let stop = ["ONE", "TWO", "THREE", "FOUR", "FIVE"].map(str::to_owned).to_vec();
    for (kind, _) in KINDS {
        let wish =
            CompletionRequest { sampling: Sampling { stop: stop.clone(), ..Sampling::default() }, ..request("x") };
        upstream.script(Script::chunks(["one ", "two FI", "VE three", " four"]));
        let model = engine(&house, kind);
        let (events, error) = collect(&model, wish).await;
        assert_eq!(error, None, "{kind}");
        let body = upstream.requests().pop().unwrap().body;
        let sent = [&body["stop"], &body["stop_sequences"], &body["options"]["stop"]];
        let sent = sent.into_iter().find_map(Value::as_array).map_or(0, Vec::len);
        let limit = model.capabilities().stop_limit.map_or(5, |limit| usize::try_from(limit).unwrap());
        assert_eq!(sent, limit.min(5), "{kind}");
        // what the provider was asked to enforce, it is trusted with
        let expected = if sent < 5 { "one two " } else { "one two FIVE three four" };
        assert_eq!(text_of(&events), expected, "{kind}");
    }
}

#[tokio::test]
async fn a_model_that_refuses_tools_is_told_of_them_in_text() {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let seeds = format!(
        "models: {{a: {{type: openai, model_id: x, base_url: '{url}'}}, b: {{type: openai, model_id: y, base_url: '{url}'}}}}"
    );
    let house = open_house(settings(&seeds)).await;
    let refusal =
        |message: &str| Script::refusal(400, &json!({"error": {"message": message, "type": "invalid_request_error"}}));
    let a = engine(&house, "a");
    let formats = |house: &House| ["a", "b"].map(|alias| engine(house, alias).tool_format().as_str());
    assert_eq!(formats(&house), ["native", "native"]);

    upstream.script(refusal("tools[0]: schema keyword 'oneOf' is not supported"));
    assert_eq!(collect(&a, with_tools("x")).await.1, Some(ProviderError::ToolsUnsupported));
    assert_eq!(formats(&house), ["native", "native"], "one schema says nothing about tools");

    upstream.script(refusal("x does not support tools"));
    let error = collect(&a, with_tools("x")).await.1.unwrap();
    assert_eq!((&error, error.may_fall_back()), (&ProviderError::ToolsUnsupported, false));
    assert_eq!(formats(&house), ["react", "native"]);
    assert!(!a.capabilities().native_tools);

    let name = a.provider().to_owned();
    assert!(house.providers.crash(&name));
    until(&house, |cards| cards.iter().any(|card| card.name == name && card.restarts == 1)).await;
    assert_eq!(formats(&house), ["react", "native"], "for as long as the process lives");
    house.providers.reload().await.unwrap();
    assert_eq!(formats(&house), ["react", "native"]);
    upstream.script(refusal("x does not support tools"));
    let (_, error) = collect(&a, request("without tools")).await;
    assert!(matches!(error, Some(ProviderError::InvalidRequest { .. })), "{error:?}");
}

#[tokio::test]
async fn a_refused_response_format_is_remembered() {
    let (upstream, house) = rig().await;
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    for (kind, member) in [("openai", "response_format"), ("responses", "text")] {
        let model = engine(&house, kind);
        let sampling = Sampling { response_format: Some(format.clone()), ..Sampling::default() };
        let wish = CompletionRequest { sampling, ..request("x") };
        upstream.script(Script::text("{}"));
        collect(&model, wish.clone()).await;
        assert!(model.capabilities().response_format && upstream.requests().pop().unwrap().body[member].is_object());
        upstream.script(Script::unsupported_parameter("response_format"));
        assert_eq!(collect(&model, wish).await.1, None);
        assert!(upstream.requests().pop().unwrap().body.get(member).is_none());
        assert!(!model.capabilities().response_format, "from now on the turn has to see to it");
    }
}

#[tokio::test]
async fn tool_calls_left_in_the_text_are_found() {
    let (upstream, house) = rig().await;
    let leaks = [
        vec!["Let me see. [TOOL", "_CALLS][{\"name\": \"weather\", \"argu", "ments\": {\"city\": \"a } b\"}}]"],
        vec!["Let me see. ", "[TOOL_CALLS]weather{\"city\": \"a } b", "\"}"],
    ];
    for leak in leaks {
        upstream.script(Script::chunks(leak.clone()));
        let (events, error) = collect(&engine(&house, "vllm"), with_tools("x")).await;
        assert_eq!((text_of(&events).as_str(), error), ("Let me see. ", None));
        let calls = calls_of(&events);
        assert_eq!((calls.len(), calls[0].name.as_str(), calls[0].id.len()), (1, "weather", 9));
        assert_eq!(serde_json::from_str::<Value>(&calls[0].arguments).unwrap(), json!({"city": "a } b"}));
        assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::ToolCalls)));

        upstream.script(Script::chunks(leak.clone()));
        let (events, _) = collect(&engine(&house, "vllm"), request("x")).await;
        assert_eq!(text_of(&events), leak.concat(), "nobody offered tools");
    }
}

#[tokio::test]
async fn a_server_without_instructions_gets_them_as_a_message() {
    let (upstream, house) = rig().await;
    let grok = engine(&house, "grok");
    let mut wish = request("hi");
    wish.messages.insert(0, Message::text(Role::System, "Be kind."));
    upstream.script(Script::unsupported_parameter("instructions"));
    for asked in [2, 3] {
        assert_eq!(collect(&grok, wish.clone()).await.1, None);
        assert_eq!(upstream.requests().len(), asked);
        let body = upstream.requests().pop().unwrap().body;
        assert_eq!((body.get("instructions"), &body["input"][0]["role"]), (None, &json!("system")));
    }
}

#[tokio::test]
async fn each_wire_sends_its_own_headers_and_no_general_key_abroad() {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let seeds = format!(
        "models: {{anthropic: {{type: anthropic, model_id: c, base_url: '{url}'}}, grok: {{type: grok, model_id: g, base_url: \
         '{url}'}}, own: {{type: anthropic, model_id: c, base_url: '{url}', api_key: mine}}}}"
    );
    let keys = ProviderSettings {
        openai_api_key: Some("sk-openai".into()),
        xai_api_key: Some("sk-xai".into()),
        anthropic_api_key: Some("sk-ant".into()),
        ..settings(&seeds)
    };
    let house = open_house(keys).await;
    for alias in ["anthropic", "grok", "own"] {
        collect(&engine(&house, alias), request(alias)).await;
    }
    house.providers.probe().await;
    assert!(!format!("{:?}", upstream.requests()).contains("sk-"));
    let header = |alias: &str, name: &str| {
        let request = upstream.requests_with(alias).remove(0);
        request.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("anthropic", "x-api-key").as_deref(), Some("no-key"));
    assert_eq!(header("anthropic", "anthropic-version").as_deref(), Some("2023-06-01"));
    assert_eq!(header("own", "x-api-key").as_deref(), Some("mine"));
    assert_eq!(header("own", "authorization"), None);
    assert_eq!(header("grok", "authorization").as_deref(), Some("Bearer no-key"));
}

#[tokio::test]
async fn local_servers_tell_what_they_have_loaded() {
    let (vllm, llama) = (Upstream::start().await, Upstream::start().await);
    vllm.web("/v1/models", WebAnswer::json(&json!({"data": [{"id": "v", "owned_by": "vllm", "max_model_len": 4096}]})));
    llama.web("/v1/models", WebAnswer::json(&json!({"data": [{"id": "l", "owned_by": "llamacpp"}]})));
    llama.web("/props", WebAnswer::json(&json!({"default_generation_settings": {"n_ctx": 2048}})));
    let seeds = format!(
        "models: {{v: {{type: vllm, model_id: v, base_url: '{}'}}, big: {{type: openai, model_id: l, context_window: 100000, \
         base_url: '{url}'}}, small: {{type: openai, model_id: l, context_window: 1000, base_url: '{url}'}}}}",
        vllm.base_url(),
        url = llama.base_url()
    );
    let house = open_house(ProviderSettings { timeouts: quick(), ..settings(&seeds) }).await;
    let told = async {
        while engine(&house, "v").context_window() != 4096 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert_eq!(llama.requests().len(), 0, "only vllm definitions without a window are asked about by themselves");
    assert_eq!(engine(&house, "big").context_window(), 100_000);
    let probes = house.providers.probe().await;
    assert!(probes.iter().all(|probe| probe.reachable && probe.most_calls > 0));
    assert_eq!((engine(&house, "big").context_window(), engine(&house, "small").context_window()), (2048, 1000));
    let listed = house.providers.catalogue().listing();
    assert_eq!(listed.iter().find(|model| model.id == "big").unwrap().context_window, 2048);
}

#[tokio::test]
async fn anthropic_and_grok_tell_their_lists() {
    let upstream = Upstream::start().await;
    upstream.models(["claude-x"]);
    let keys = ProviderSettings {
        anthropic_base_url: Some(upstream.base_url()),
        anthropic_api_key: Some("sk-ant".into()),
        ..settings("models: {e: {type: echo}}")
    };
    let house = open_house(keys).await;
    let list = house.providers.upstream_models("anthropic").await.unwrap();
    assert_eq!((list.provider.as_str(), list.models[0].id.as_str()), ("anthropic", "claude-x"));
    let asked = upstream.requests().pop().unwrap();
    assert_eq!(asked.headers["x-api-key"], "sk-ant");
    assert_eq!(house.providers.upstream_models("grok").await.unwrap_err().status(), 503);
}
