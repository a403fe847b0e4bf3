//! Calling a model over real sockets, well and badly served.

use std::time::Duration;

use crate::common::{House, call, collect, open_house, quick, request, served, settings, text_of};
use greenroom_protocol::{FinishReason, Sampling, ToolCall, Usage};
use greenroom_provider::{CompletionRequest, ProviderError, ProviderEvent, Timeouts, Waiting};
use greenroom_test_support::upstream::{
    Fault, Piece, Script, ScriptedCall, Split, ToolShape, Upstream, UsagePlace, refusing_base_url,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

async fn rig(scripts: impl IntoIterator<Item = Script>) -> (Upstream, House) {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    for script in scripts {
        upstream.script(script);
    }
    (upstream, house)
}

fn chats(upstream: &Upstream) -> usize {
    upstream.requests().len()
}

#[tokio::test]
async fn an_answer_is_relayed_piece_by_piece() {
    let (upstream, house) = rig([Script::chunks(["Hel", "lo"]).reasoning(["hm"])]).await;
    let mut wish = request("hi");
    wish.trace_id = "turn-0123456789abcdef0123456789abcdef".into();
    wish.user = Some("ann".into());
    wish.sampling = Sampling { temperature: Some(0.0), max_tokens: Some(9), ..Sampling::default() };
    let (events, error) = collect(&house.providers.engine("M").unwrap(), wish).await;
    assert_eq!(error, None);
    assert_eq!(
        events[..4],
        [
            ProviderEvent::Metadata { upstream_model: "scripted".into() },
            ProviderEvent::Reasoning("hm".into()),
            ProviderEvent::Text("Hel".into()),
            ProviderEvent::Text("lo".into()),
        ]
    );
    assert!(matches!(events[4], ProviderEvent::Usage(Usage { estimated: false, .. })), "{events:?}");
    assert_eq!(events[5..], [ProviderEvent::Finished(FinishReason::Stop)]);
    let sent = upstream.wait_for_request(1).await;
    assert_eq!(sent.path, "/v1/chat/completions");
    // Bare, and only a UUID: some servers refuse anything else.
    assert_eq!(sent.headers["x-request-id"], "0123456789abcdef0123456789abcdef");
    assert_eq!(
        sent.body,
        json!({"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": true,
               "stream_options": {"include_usage": true}, "max_tokens": 9, "temperature": 0.0, "user": "ann"})
    );
}

#[tokio::test]
async fn pieces_come_when_they_come() {
    let (script, gate) = Script::chunks(["a", "b", "c"]).gated();
    let (_upstream, house) = rig([script]).await;
    gate.release(1);
    let engine = house.providers.engine("m").unwrap();
    let mut stream = engine.stream(request("x"), CancellationToken::new()).await.unwrap();
    let mut seen = String::new();
    for expected in ["a", "ab", "abc"] {
        while seen != expected {
            seen += &text_of(&stream.next().await.unwrap().unwrap());
        }
        gate.release(1);
    }
    let (mut rest, mut finished) = (String::new(), false);
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        rest += &text_of(&batch);
        finished |= batch.contains(&ProviderEvent::Finished(FinishReason::Stop));
    }
    assert!(finished && rest.is_empty());
}

#[tokio::test]
async fn however_the_bytes_are_cut() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    let text = "Grüße, 世界! 😀 \"quoted\" \\ done";
    for script in [
        Script::text(text).split(Split::Every(1)),
        Script::text(text).split(Split::Every(7)).crlf(),
        Script::text(text).noise().crlf().wrong_ids(),
        Script::text(text).without_done().without_opening(),
        Script::text(text).usage_at(UsagePlace::Every).split(Split::Every(100_000)),
        Script::text(text).usage_at(UsagePlace::WithFinish),
        Script::text(text).finish_reason(None),
    ] {
        upstream.script(script.clone());
        let (events, error) = call(&house, "x").await;
        assert_eq!((text_of(&events).as_str(), error), (text, None), "{script:?}");
    }
}

#[tokio::test]
async fn tool_calls_come_whole_in_every_manner() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    let calls = [
        ScriptedCall::new("call_a", "weather", &json!({"city": "Zürich", "days": 3})),
        ScriptedCall::new("call_b", "time", &json!({"zone": "CET"})),
    ];
    let usual = ToolShape::default();
    for shape in [
        usual.clone(),
        ToolShape { interleaved: true, ..usual.clone() },
        ToolShape { repeated_name: true, ..usual.clone() },
        ToolShape { repeated_id: true, repeated_name: true, ..usual.clone() },
        ToolShape { same_index: true, ..usual.clone() },
        ToolShape { with_index: false, ..ToolShape::whole() },
        ToolShape { with_id: false, ..usual.clone() },
        ToolShape { with_id: false, with_index: false, ..ToolShape::whole() },
        ToolShape { arguments_as_object: true, ..ToolShape::whole() },
        ToolShape { arguments_as_object: true, same_index: true, ..ToolShape::whole() },
    ] {
        upstream.script(Script::tool_calls(&calls, &shape));
        let (events, error) = call(&house, "x").await;
        assert_eq!(error, None);
        let made: Vec<&Vec<ToolCall>> = events
            .iter()
            .filter_map(|event| if let ProviderEvent::ToolCalls(calls) = event { Some(calls) } else { None })
            .collect();
        assert_eq!(made.len(), 1, "{shape:?}");
        for (made, call) in made[0].iter().zip(&calls) {
            assert!(!shape.with_id || made.id == call.id, "{shape:?}: {made:?}");
            assert_eq!((&made.name, &made.arguments), (&call.name, &call.arguments), "{shape:?}");
        }
        assert_eq!(made[0].len(), 2, "{shape:?}");
        assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::ToolCalls)));
    }
}

#[tokio::test]
async fn a_disconnect_before_any_output_is_mended_once() {
    let (upstream, house) = rig([Script::text("lost").cut_after(0), Script::text("fine")]).await;
    assert_eq!(text_of(&call(&house, "x").await.0), "fine");
    assert_eq!(chats(&upstream), 2);
    for _ in 0..3 {
        upstream.script(Script::text("lost").cut_after(0));
    }
    let (events, error) = call(&house, "x").await;
    assert_eq!((events.len(), error), (0, Some(ProviderError::Interrupted { had_output: false })));
    assert_eq!(chats(&upstream), 4);
}

#[tokio::test]
async fn a_disconnect_within_a_tool_call_is_before_any_output() {
    let calls = [ScriptedCall::new("a", "f", &json!({"text": "long enough to be cut"}))];
    let broken = Script::tool_calls(&calls, &ToolShape::default()).cut_after(2);
    let (upstream, house) = rig([broken, Script::tool_calls(&calls, &ToolShape::default())]).await;
    let (events, error) = call(&house, "x").await;
    assert_eq!(error, None);
    assert!(events.iter().any(|event| matches!(event, ProviderEvent::ToolCalls(calls) if calls.len() == 1)));
    assert_eq!(chats(&upstream), 2);
}

#[tokio::test]
async fn after_output_nothing_is_tried_again() {
    for (script, expected) in [
        (Script::chunks(["a", "b", "c"]).cut_after(2), ProviderError::Interrupted { had_output: true }),
        (
            Script::chunks(["a", "b", "c"]).fault_after(2, Fault::EndEarly),
            ProviderError::Interrupted { had_output: true },
        ),
        (Script::chunks(["a", "b", "c"]).garbage_after(2), ProviderError::Interrupted { had_output: true }),
        (
            Script::chunks(["a", "b", "c"]).error_after(2, "worn out"),
            ProviderError::Unavailable("it reported an error (scripted_error)".into()),
        ),
    ] {
        let (upstream, house) = rig([script]).await;
        let (events, error) = call(&house, "x").await;
        assert_eq!((text_of(&events).as_str(), error), ("ab", Some(expected)));
        assert_eq!(chats(&upstream), 1);
    }
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    let slow_down = || Script::status(429).header("retry-after-ms", "30");
    let (upstream, house) = rig([Script::status(500), slow_down(), Script::text("fine")]).await;
    let began = std::time::Instant::now();
    assert_eq!(text_of(&call(&house, "x").await.0), "fine");
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert_eq!(chats(&upstream), 3);

    for status in [503, 502, 529] {
        upstream.script(Script::status(status));
    }
    let (_, error) = call(&house, "x").await;
    assert_eq!(error, Some(ProviderError::Unavailable("it answered with status 529".into())));
    assert_eq!(chats(&upstream), 6);

    upstream.script(Script::rate_limited(61));
    let (_, error) = call(&house, "x").await;
    assert_eq!(error, Some(ProviderError::RateLimited { retry_after: Some(Duration::from_secs(61)) }));
    assert_eq!(chats(&upstream), 7);
}

#[tokio::test]
async fn an_error_in_the_stream_before_output_is_trouble_too() {
    let (upstream, house) = rig([Script::text("x").error_after(0, "overloaded"), Script::text("fine")]).await;
    assert_eq!(text_of(&call(&house, "x").await.0), "fine");
    assert_eq!(chats(&upstream), 2);
}

#[tokio::test]
async fn what_cannot_get_better_is_told_at_once() {
    let error = |message: &str, code: &str| json!({"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}});
    let refused = |message: &str| ProviderError::InvalidRequest { message: message.into(), param: None };
    let page = "<!doctype html><html><body>Bad gateway</body></html>";
    for (script, expected) in [
        (Script::status(401), ProviderError::Auth),
        (Script::status(403), ProviderError::Auth),
        (Script::refusal(400, &error("too long", "context_length_exceeded")), ProviderError::ContextTooLong),
        (
            Script::refusal(400, &error("bad messages", "invalid")),
            ProviderError::InvalidRequest { message: "bad messages".into(), param: Some("messages".into()) },
        ),
        (Script::body(404, "text/html", page), refused("it does not know this model or path")),
        (
            Script::body(200, "text/html", page),
            ProviderError::Unavailable("it answered with a web page, check base_url".into()),
        ),
        (
            Script::status(302).header("location", "http://example.org/"),
            ProviderError::Unavailable("it answered with a redirect, check base_url".into()),
        ),
    ] {
        let (upstream, house) = rig([script]).await;
        assert_eq!(call(&house, "x").await.1, Some(expected));
        assert_eq!(chats(&upstream), 1);
    }
}

#[tokio::test]
async fn a_refused_token_parameter_is_learned() {
    let (upstream, house) = rig([Script::unsupported_parameter("max_tokens")]).await;
    let wish =
        || CompletionRequest { sampling: Sampling { max_tokens: Some(7), ..Sampling::default() }, ..request("x") };
    let engine = house.providers.engine("m").unwrap();
    assert_eq!(collect(&engine, wish()).await.1, None);
    let names = |at: usize| {
        let body = &upstream.requests()[at].body;
        (body.get("max_tokens").is_some(), body.get("max_completion_tokens").is_some())
    };
    assert_eq!((names(0), names(1)), ((true, false), (false, true)));
    assert_eq!(collect(&engine, wish()).await.1, None);
    assert_eq!((chats(&upstream), names(2)), (3, (false, true)));
}

#[tokio::test]
async fn refused_wishes_are_dropped_one_by_one_and_learned() {
    let refusals = [Script::unsupported_parameter("temperature"), Script::unsupported_parameter("stream_options")];
    let (upstream, house) = rig(refusals).await;
    let wish = || CompletionRequest {
        sampling: Sampling { temperature: Some(0.5), top_p: Some(0.9), ..Sampling::default() },
        ..request("x")
    };
    let engine = house.providers.engine("m").unwrap();
    let (events, error) = collect(&engine, wish()).await;
    assert_eq!(error, None);
    assert!(events.iter().any(|event| matches!(event, ProviderEvent::Usage(usage) if usage.estimated)));
    assert_eq!(collect(&engine, wish()).await.1, None);
    assert_eq!(chats(&upstream), 4);
    let last = upstream.requests().pop().unwrap().body;
    assert_eq!((last.get("temperature"), last.get("stream_options")), (None, None));
    assert_eq!(last["top_p"], 0.9);
}

#[tokio::test]
async fn silence_has_limits() {
    let limits = Timeouts {
        first_event_local: Duration::from_millis(80),
        gap_local: Duration::from_millis(80),
        retries: 1,
        ..quick()
    };
    let upstream = Upstream::start().await;
    let house = served(&upstream, |settings| settings.timeouts = limits).await;
    upstream.script(Script::text("x").hang_before_headers());
    upstream.script(Script::text("x").hang_before_headers());
    assert_eq!(call(&house, "x").await.1, Some(ProviderError::Timeout(Waiting::FirstEvent)));
    assert_eq!(chats(&upstream), 2, "a wait before the headers is tried again");

    upstream.script(Script::text("x").hang_after(0));
    let (_, error) = call(&house, "x").await;
    assert_eq!(error, Some(ProviderError::Timeout(Waiting::FirstEvent)));
    assert_eq!(chats(&upstream), 3);

    upstream.script(Script::chunks(["a", "b"]).hang_after(1));
    let (events, error) = call(&house, "x").await;
    assert_eq!((text_of(&events).as_str(), error), ("a", Some(ProviderError::Timeout(Waiting::Gap))));
    upstream.wait_for_connections_at_most(0).await;
}

#[tokio::test]
async fn the_whole_call_has_a_limit() {
    let limits = Timeouts { whole: Duration::from_millis(150), ..quick() };
    let upstream = Upstream::start().await;
    let house = served(&upstream, |settings| settings.timeouts = limits).await;
    upstream.script(Script::numbered(1000).between(Duration::from_millis(10)));
    let (events, error) = call(&house, "x").await;
    assert!(!events.is_empty());
    assert_eq!(error, Some(ProviderError::Timeout(Waiting::Whole)));
    upstream.script(Script::text("x").hang_before_headers());
    assert_eq!(call(&house, "x").await.1, Some(ProviderError::Timeout(Waiting::Whole)));
}

#[tokio::test]
async fn a_server_that_forgets_to_end_is_not_awaited() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    let finish = json!({"model": "scripted", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    upstream.script(Script::chunks(["a"]).then(Piece::Data(finish)).hang_after(2));
    let (events, error) = call(&house, "x").await;
    assert_eq!((text_of(&events).as_str(), error), ("a", None));
    upstream.wait_for_connections_at_most(0).await;
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let url = refusing_base_url().unwrap();
    let seeds = format!("models: {{m: {{type: openai, model_id: x, base_url: '{url}'}}}}");
    let house = open_house(settings(&seeds)).await;
    assert_eq!(call(&house, "x").await.1, Some(ProviderError::Unavailable("it cannot be reached".into())));
}

#[tokio::test]
async fn a_plain_json_answer_is_folded() {
    let body = json!({"id": "x", "object": "chat.completion", "model": "scripted", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "all at once"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let (upstream, house) = rig([Script::refusal(200, &body)]).await;
    let (events, error) = call(&house, "x").await;
    assert_eq!((text_of(&events).as_str(), error), ("all at once", None));
    assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::Length)));
    upstream.script(Script::refusal(200, &json!({"error": {"message": "no", "type": "invalid_request_error"}})));
    let refused = ProviderError::InvalidRequest { message: "no".into(), param: None };
    assert_eq!(call(&house, "x").await.1, Some(refused));
    upstream.script(Script::garbage());
    let (_, error) = call(&house, "x").await;
    assert_eq!(error, None, "garbage before any output is tried again");
}

#[tokio::test]
async fn dropping_or_cancelling_closes_the_connection_at_once() {
    let (upstream, house) = rig([]).await;
    let engine = house.providers.engine("m").unwrap();
    upstream.script_for("drop me", Script::chunks(["a", "b"]).hang_after(1));
    let stream = engine.stream(request("drop me"), CancellationToken::new()).await.unwrap();
    drop(stream);
    upstream.wait_for_abort_of("drop me").await;

    upstream.script_for("cancel me", Script::chunks(["a", "b"]).hang_after(1));
    let cancel = CancellationToken::new();
    let mut stream = engine.stream(request("cancel me"), cancel.clone()).await.unwrap();
    assert_eq!(text_of(&stream.next().await.unwrap().unwrap()), "a");
    cancel.cancel();
    assert_eq!(stream.next().await, Some(Err(ProviderError::Cancelled)));
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.usage_so_far(), Usage { input: 3, output: 1, estimated: true, ..Usage::default() });
    upstream.wait_for_abort_of("cancel me").await;

    upstream.script_for("not even begun", Script::text("x").hang_before_headers());
    let cancel = CancellationToken::new();
    let calling = engine.stream(request("not even begun"), cancel.clone());
    let arrived = async {
        upstream.wait_for_request(3).await;
        cancel.cancel();
    };
    let (called, ()) = tokio::join!(calling, arrived);
    assert_eq!(called.err(), Some(ProviderError::Cancelled));
    upstream.wait_for_abort_of("not even begun").await;
    upstream.wait_for_connections_at_most(0).await;
}

#[tokio::test]
async fn stops_beyond_the_limit_are_enforced_here() {
    let (upstream, house) = rig([Script::chunks(["one ", "two FI", "VE three", " four"]).hang_after(4)]).await;
    let stop = ["ONE", "TWO", "THREE", "FOUR", "FIVE"].map(str::to_owned).to_vec();
    let wish = CompletionRequest { sampling: Sampling { stop, ..Sampling::default() }, ..request("x") };
    let (events, error) = collect(&house.providers.engine("m").unwrap(), wish).await;
    assert_eq!((text_of(&events).as_str(), error), ("one two ", None));
    assert_eq!(events.last(), Some(&ProviderEvent::Finished(FinishReason::Stop)));
    assert_eq!(upstream.requests()[0].body["stop"], json!(["ONE", "TWO", "THREE", "FOUR"]));
    upstream.wait_for_abort().await;
}

#[tokio::test]
async fn a_general_key_never_leaves_for_a_foreign_host() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |settings| {
        settings.openai_api_key = Some("sk-general".into());
        settings.openrouter_api_key = Some("sk-router".into());
        settings.xai_api_key = Some("sk-xai".into());
    })
    .await;
    call(&house, "x").await;
    house.providers.probe().await;
    assert!(upstream.requests().len() >= 2);
    for request in upstream.requests() {
        let authorization = request.headers["authorization"].to_str().unwrap();
        assert_eq!(authorization, "Bearer no-key", "{}", request.path);
        assert!(!format!("{request:?}").contains("sk-"));
    }
    let paired = settings("models: {m: {type: openai, model_id: scripted}}");
    let paired = greenroom_provider::ProviderSettings {
        openai_api_key: Some("sk-general".into()),
        openai_base_url: Some(upstream.base_url()),
        ..paired
    };
    let house = open_house(paired).await;
    call(&house, "together").await;
    assert_eq!(upstream.requests_with("together")[0].headers["authorization"], "Bearer sk-general");
}

#[tokio::test]
async fn connections_are_used_again() {
    let (upstream, house) = rig([]).await;
    for number in 0..20 {
        upstream.script(if number % 2 == 0 { Script::numbered(5) } else { Script::status(400) });
        let (_, error) = call(&house, "x").await;
        assert_eq!(error.is_some(), number % 2 == 1, "{error:?}");
    }
    assert!(upstream.accepted_connections() <= 2, "{} connections", upstream.accepted_connections());
}
