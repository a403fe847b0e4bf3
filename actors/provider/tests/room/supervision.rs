//! What a provider's actor does for its calls, and what its crash does not do to them.

use std::time::Duration;

use crate::common::{House, call, collect, open_house, quick, request, served, settings, text_of, until};
use greenroom_kit::State;
use greenroom_protocol::{ErrorClass, Sampling};
use greenroom_provider::{CompletionRequest, ProviderError, Timeouts};
use greenroom_test_support::upstream::{Script, Upstream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn name(upstream: &Upstream) -> String {
    format!("provider:{}", upstream.address())
}

#[tokio::test]
async fn a_crash_touches_no_running_stream() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    let engine = house.providers.engine("m").unwrap();
    let (script, gate) = Script::numbered(4).gated();
    upstream.script(script);
    gate.release(1);
    let mut stream = engine.stream(request("x"), CancellationToken::new()).await.unwrap();
    let mut text = text_of(&stream.next().await.unwrap().unwrap());

    let name = name(&upstream);
    assert!(house.providers.crash(&name));
    until(&house, |cards| cards.iter().any(|card| card.name == name && card.state == State::Restarting)).await;
    let error = engine.stream(request("meanwhile"), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Unavailable(_)), "{error:?}");
    assert_eq!(error.class(), ErrorClass::ProviderUnavailable);

    gate.open();
    while let Some(batch) = stream.next().await {
        text += &text_of(&batch.unwrap());
    }
    assert_eq!(text, "t0 t1 t2 t3 ");
    until(&house, |cards| cards.iter().any(|card| card.name == name && card.state == State::Up)).await;
    upstream.script(Script::text("back"));
    assert_eq!(text_of(&collect(&engine, request("x")).await.0), "back");
    let card = house.board.views().into_iter().find(|card| card.name == name).unwrap();
    assert_eq!((card.restarts, card.in_flight), (1, 0));
}

#[tokio::test]
async fn a_crash_of_the_catalogue_leaves_the_catalogue() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |_| {}).await;
    assert!(house.providers.crash_catalogue());
    upstream.script(Script::text("fine"));
    assert_eq!(text_of(&call(&house, "x").await.0), "fine");
    until(&house, |cards| cards.iter().any(|card| card.name == "catalogue" && card.restarts == 1)).await;
    assert_eq!(house.providers.reload().await.unwrap().models, ["m"]);
}

#[tokio::test]
async fn failing_calls_in_a_row_open_the_circuit() {
    let upstream = Upstream::start().await;
    let open = Duration::from_millis(200);
    let limits = Timeouts { retries: 0, circuit_failures: 2, circuit_open: open, ..quick() };
    let house = served(&upstream, |settings| settings.timeouts = limits).await;
    let note = |house: &House| {
        let cards = house.board.views();
        cards.into_iter().find(|card| card.name == name(&upstream)).unwrap().note
    };
    upstream.script(Script::status(500));
    upstream.script(Script::status(400));
    upstream.script(Script::status(500));
    for _ in 0..3 {
        call(&house, "x").await;
    }
    assert_eq!(note(&house), None, "a refusal is a sign of life");
    upstream.script(Script::status(500));
    call(&house, "x").await;
    until(&house, |cards| {
        cards.iter().any(|card| card.note.as_deref().is_some_and(|note| note.contains("circuit open")))
    })
    .await;
    let opened = std::time::Instant::now();
    let before = upstream.requests().len();
    let (_, error) = call(&house, "x").await;
    assert!(matches!(&error, Some(ProviderError::Unavailable(why)) if why.contains("too many failures")), "{error:?}");
    assert_eq!(upstream.requests().len(), before, "the endpoint is left alone");
    assert!(house.providers.probe().await[0].health.circuit_open);

    upstream.script(Script::text("well again"));
    let well = async { while text_of(&call(&house, "x").await.0) != "well again" {} };
    tokio::time::timeout(Duration::from_secs(20), well).await.unwrap();
    assert!(opened.elapsed() >= open / 2);
    until(&house, |cards| cards.iter().all(|card| card.note.is_none())).await;
}

#[tokio::test]
async fn a_full_provider_is_busy_until_a_call_ends() {
    let upstream = Upstream::start().await;
    let house = served(&upstream, |settings| settings.max_concurrent_per_provider = 1).await;
    let engine = house.providers.engine("m").unwrap();
    upstream.script(Script::chunks(["a", "b"]).hang_after(1));
    let stream = engine.stream(request("x"), CancellationToken::new()).await.unwrap();
    let error = engine.stream(request("x"), CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.clone(), error.class()), (ProviderError::Busy, ErrorClass::Overloaded));
    drop(stream);
    upstream.script(Script::text("room"));
    assert_eq!(text_of(&call(&house, "x").await.0), "room");
}

#[tokio::test]
async fn endpoints_are_shared_by_credential() {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let model = |key: &str| format!("{{type: openai, model_id: x, base_url: '{url}', api_key: '{key}'}}");
    let seeds = format!(
        "models: {{a: {}, b: {}, c: {}, e: {{type: echo}}, f: {{type: echo}}}}",
        model("k1"),
        model("k1"),
        model("k2")
    );
    let house = open_house(settings(&seeds)).await;
    let catalogue = house.providers.catalogue();
    let of = |alias: &str| catalogue.provider_of(alias).unwrap().to_owned();
    assert_eq!((of("a"), of("b")), (name(&upstream), name(&upstream)));
    assert_eq!(of("c"), format!("{}#2", name(&upstream)));
    assert_eq!((of("e"), of("f")), ("provider:echo".into(), "provider:echo".into()));
    let providers = house.board.views().iter().filter(|card| card.kind == "provider").count();
    assert_eq!(providers, 3);
}

#[tokio::test]
async fn models_used_in_turns_stay_where_they_are() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let seeds = format!(
        "models: {{a: {{type: openai, model_id: x, base_url: '{}'}}, b: {{type: openai, model_id: y, base_url: '{}'}}}}",
        one.base_url(),
        two.base_url()
    );
    let house = open_house(settings(&seeds)).await;
    let since: Vec<_> = house.board.views().iter().map(|card| card.since).collect();
    for alias in ["a", "b", "a", "b"] {
        assert_eq!(collect(&house.providers.engine(alias).unwrap(), request("x")).await.1, None);
    }
    assert_eq!(house.board.views().iter().map(|card| card.since).collect::<Vec<_>>(), since);
}

#[tokio::test]
async fn what_was_learned_belongs_to_the_model() {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let seeds = format!(
        "models: {{a: {{type: openai, model_id: x, base_url: '{url}'}}, b: {{type: openai, model_id: y, base_url: '{url}'}}}}"
    );
    let house = open_house(settings(&seeds)).await;
    let ask = async |alias: &str| {
        let sampling = Sampling { max_tokens: Some(5), ..Sampling::default() };
        let wish = CompletionRequest { sampling, ..request("x") };
        assert_eq!(collect(&house.providers.engine(alias).unwrap(), wish).await.1, None);
        upstream.requests().pop().unwrap().body
    };
    upstream.script(Script::unsupported_parameter("max_tokens"));
    assert_eq!(ask("a").await["max_completion_tokens"], json!(5));
    assert_eq!(ask("a").await["max_completion_tokens"], json!(5));
    assert_eq!(ask("b").await["max_tokens"], json!(5));
}

#[tokio::test]
async fn the_echo_needs_nothing() {
    let house = open_house(settings("models: {echo: {type: echo}}")).await;
    let engine = house.providers.engine("echo").unwrap();
    assert_eq!(text_of(&collect(&engine, request("hello there")).await.0), "hello there");
    let cancel = CancellationToken::new();
    let mut stream = engine.stream(request("one two"), cancel.clone()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    cancel.cancel();
    assert_eq!(stream.next().await, Some(Err(ProviderError::Cancelled)));
    assert_eq!(stream.next().await, None);
    assert_eq!(engine.stream(request("x"), cancel).await.err(), Some(ProviderError::Cancelled));
    let probes = house.providers.probe().await;
    assert_eq!((probes.len(), probes[0].reachable, probes[0].open_calls), (1, true, 1));
}
