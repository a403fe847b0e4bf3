//! The catalogue and its definitions: seeds, database, reloads.

use crate::common::{House, call, collect, open_house, request, settings, text_of, until};
use greenroom_protocol::ErrorClass;
use greenroom_provider::{ProviderError, ProviderSettings, ProvidersError, Source};
use greenroom_test_support::upstream::{Script, Upstream};
use serde_json::{Value, json};

const SEEDS: &str = "models:\n  zeta: {type: echo, description: last letter}\n  gpt: {type: openai, model_id: gpt-x}\n  \
                     alpha: {type: echo}\n";

async fn again(house: House, seeds: &str) -> House {
    let settings = settings(seeds);
    let group = house.group.clone();
    let store = house.database.store.clone();
    group.shutdown().await;
    let (root, _) = greenroom_kit::Supervisor::root(house.board.clone()).await.unwrap();
    let group = root.group("providers").await.unwrap();
    let providers = greenroom_provider::Providers::start(&group, store, settings).await.unwrap();
    House { providers, group, ..house }
}

fn aliases(house: &House) -> Vec<String> {
    house.providers.catalogue().aliases()
}

async fn put(house: &House, alias: &str, body: Value) -> Value {
    serde_json::to_value(house.providers.upsert_definition(alias, &body).await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_empty_table_is_seeded_once_and_then_wins() {
    let house = open_house(settings(SEEDS)).await;
    assert_eq!(aliases(&house), ["zeta", "gpt", "alpha"]);
    let stored = house.providers.definitions().await.unwrap();
    assert_eq!(stored.iter().map(|d| d.alias.as_str()).collect::<Vec<_>>(), ["alpha", "gpt", "zeta"]);
    put(&house, "zeta", json!({"type": "echo", "description": "changed"})).await;

    let newer = "models: {new: {type: echo}, zeta: {type: echo, description: from the file}}";
    let house = again(house, newer).await;
    assert_eq!(aliases(&house), ["new", "zeta", "alpha", "gpt"]);
    let catalogue = house.providers.catalogue();
    assert_eq!(catalogue.get("ZETA").unwrap().description.as_deref(), Some("changed"));
    assert_eq!(catalogue.source("new"), Some(Source::Seed));
    assert_eq!(catalogue.source("zeta"), Some(Source::Database));
    assert_eq!(house.providers.definitions().await.unwrap().len(), 3, "a full table is not seeded again");
}

#[tokio::test]
async fn a_deleted_seed_does_not_come_back() {
    let house = open_house(settings(SEEDS)).await;
    let deletion = house.providers.delete_definition("Zeta").await.unwrap();
    assert_eq!(deletion.alias, "zeta");
    assert_eq!(aliases(&house), ["gpt", "alpha"]);
    let house = again(house, SEEDS).await;
    assert_eq!(aliases(&house), ["gpt", "alpha"]);
    for alias in ["gpt", "alpha"] {
        house.providers.delete_definition(alias).await.unwrap();
    }
    let house = again(house, SEEDS).await;
    assert_eq!(aliases(&house), [""; 0], "an emptied table is not filled with what was deleted");
    let error = house.providers.delete_definition("zeta").await.unwrap_err();
    assert_eq!((error.class(), error.to_string()), (ErrorClass::NotFound, "Model alias 'zeta' not found".into()));

    let seeded = house.providers.seed_definitions(false).await.unwrap();
    assert_eq!((seeded.seeded, seeded.total_yaml), (3, 3));
    assert_eq!(aliases(&house), ["zeta", "gpt", "alpha"]);
}

#[tokio::test]
async fn seeding_adds_what_is_missing_or_overwrites() {
    let house = open_house(settings(SEEDS)).await;
    put(&house, "zeta", json!({"type": "echo", "description": "mine"})).await;
    house.providers.delete_definition("alpha").await.unwrap();
    let seeded = house.providers.seed_definitions(false).await.unwrap();
    assert_eq!((seeded.seeded, seeded.total_yaml), (1, 3));
    let description = async || house.providers.definition("zeta").await.unwrap().description.unwrap();
    assert_eq!(description().await, "mine");
    let seeded = house.providers.seed_definitions(true).await.unwrap();
    assert_eq!((seeded.seeded, seeded.total_yaml), (3, 3));
    assert_eq!(description().await, "last letter");
}

#[tokio::test]
async fn without_seeds_nothing_is_touched() {
    let house = open_house(settings("")).await;
    let seeded = house.providers.seed_definitions(true).await.unwrap();
    assert_eq!((seeded.seeded, seeded.total_yaml), (0, 0));
    assert!(house.providers.catalogue().is_empty());
    assert!(matches!(house.providers.engine("echo"), Err(ProviderError::NoSuchModel(_))));
}

#[tokio::test]
async fn every_field_survives_the_database() {
    let house = open_house(settings("")).await;
    let extra = json!({"base_url": "https://llm.example.org/v1", "api_key": "sk-0123456789abcdef",
        "api_key_env": "MY_API_KEY", "backend": "vllm", "bot_config": {"a": {"b": [1, "x"]}}, "context_window": 123_456,
        "max_tokens": 4_000_000_000_u32, "temperature": 0.25, "adapter": "dolphin", "chat_format": "chatml",
        "n_gpu_layers": -1, "native_context_limit": 9, "tool_support": "react", "quantization": "q", "dtype": "auto",
        "max_model_len": 7, "gpu_memory_utilization": 0.5, "enforce_eager": true, "enable_prefix_caching": false,
        "supports_images": false, "supports_temperature": true, "supports_top_p": false,
        "token_param": "max_output_tokens", "stop_limit": 2, "request_timeout_s": 1.5, "first_token_timeout_s": 0.5,
        "price": {"input": 0.15, "output": 0.6}, "tokenizer": "cl100k", "fallbacks": ["one", "Two"]});
    let body =
        json!({"type": "gguf", "model_id": "m", "repo_id": "r", "filename": "f", "description": "d", "extra": extra});
    let view = put(&house, "All", body).await;
    let mut masked = extra;
    masked["api_key"] = "********cdef".into();
    assert_eq!(view["extra"], masked);
    house.providers.reload().await.unwrap();
    let read = serde_json::to_value(house.providers.definition("aLL").await.unwrap()).unwrap();
    assert_eq!((&read["extra"], &read["alias"], &read["type"]), (&masked, &json!("All"), &json!("gguf")));
    let put_back = put(&house, "all", read.clone()).await;
    assert_eq!((&put_back["extra"], &put_back["created_at"]), (&masked, &read["created_at"]));
    assert_eq!(aliases(&house), ["All"]);
}

#[tokio::test]
async fn a_model_made_at_run_time_is_served_at_once() {
    let upstream = Upstream::start().await;
    let house = open_house(settings(SEEDS)).await;
    let extra = json!({"base_url": upstream.base_url(), "api_key": "sk-0123456789abcdef"});
    let view = put(&house, "scripted", json!({"type": "openai", "model_id": "s", "extra": extra})).await;
    assert_eq!(view["extra"]["api_key"], "********cdef");
    upstream.script(Script::text("hello there"));
    let (events, _) = collect(&house.providers.engine("Scripted").unwrap(), request("x")).await;
    assert_eq!(text_of(&events), "hello there");
    assert_eq!(upstream.requests()[0].headers["authorization"], "Bearer sk-0123456789abcdef");
    let provider = format!("provider:{}", upstream.address());
    assert_eq!(house.providers.catalogue().provider_of("scripted"), Some(provider.as_str()));
    assert!(house.board.views().iter().any(|card| card.name == provider));
    house.providers.delete_definition("scripted").await.unwrap();
    until(&house, |cards| cards.iter().all(|card| card.name != provider)).await;
}

#[tokio::test]
async fn a_running_call_keeps_its_model_through_any_change() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let seeds =
        |upstream: &Upstream| json!({"type": "openai", "model_id": "s", "extra": {"base_url": upstream.base_url()}});
    let house = open_house(settings("")).await;
    put(&house, "m", seeds(&first)).await;
    let engine = house.providers.engine("m").unwrap();
    put(&house, "m", seeds(&second)).await;
    first.script(Script::text("first"));
    second.script(Script::text("second"));
    assert_eq!(text_of(&collect(&engine, request("x")).await.0), "first");
    assert_eq!(text_of(&call(&house, "x").await.0), "second");
    let name = format!("provider:{}", first.address());
    assert!(house.board.views().iter().any(|card| card.name == name));
    drop(engine);
    until(&house, |cards| cards.iter().all(|card| card.name != name)).await;
}

#[tokio::test]
async fn a_reload_drops_only_what_changed() {
    let file = std::env::temp_dir().join(format!("models-{}.yaml", uuid_like()));
    std::fs::write(&file, "models: {a: {type: echo}, b: {type: echo}}").unwrap();
    let house = open_house(ProviderSettings { seeds_path: Some(file.clone()), ..settings("") }).await;
    let outcome = house.providers.reload().await.unwrap();
    assert_eq!((outcome.models.as_slice(), outcome.cleared_instances), (["a", "b"].map(str::to_owned).as_slice(), 0));
    assert_eq!(outcome.db_models_loaded, 2);
    let before = house.providers.catalogue();
    std::fs::write(&file, "models: {a: {type: echo, description: ignored}, c: {type: echo}}").unwrap();
    let outcome = house.providers.reload().await.unwrap();
    assert_eq!(outcome.models, ["a", "c", "b"]);
    assert_eq!((outcome.db_models_loaded, outcome.cleared_instances), (2, 0));
    assert!(house.providers.catalogue().revision() > before.revision());

    std::fs::write(&file, "models: [broken").unwrap();
    assert!(matches!(house.providers.reload().await, Err(ProvidersError::Seeds(_))));
    assert_eq!(aliases(&house), ["a", "c", "b"], "the catalogue stays as it was");
    std::fs::remove_file(&file).unwrap();
}

fn uuid_like() -> String {
    greenroom_protocol::ids::completion_id()
}

#[tokio::test]
async fn what_cannot_be_used_is_listed_with_its_reason() {
    let seeds = "models: {gpt: {type: openai, model_id: g}, claude: {type: anthropic, model_id: c}, codex: {type: codex}, \
                 echo: {type: echo}}";
    let house = open_house(settings(seeds)).await;
    let catalogue = house.providers.catalogue();
    assert_eq!(catalogue.first_available().unwrap().alias, "echo");
    assert_eq!(catalogue.availability("gpt"), Err("OPENAI_API_KEY is not set".into()));
    assert_eq!(catalogue.availability("codex"), Err("type codex is not supported by this version".into()));
    assert_eq!(catalogue.availability("Echo"), Ok(()));
    assert!(catalogue.availability("none").is_err());
    assert_eq!(catalogue.find("none").unwrap_err(), "Model 'none' not found. Available models: echo");
    assert_eq!(house.providers.current(), None);
    collect(&house.providers.engine("echo").unwrap(), request("x")).await;
    assert_eq!(house.providers.current().unwrap().id, "echo");
    let error = house.providers.engine("Claude").unwrap_err();
    assert_eq!(error.class(), ErrorClass::NoModel);
    assert_eq!(error.to_string(), "model 'claude' is not available: ANTHROPIC_API_KEY is not set");
    let listing = serde_json::to_value(catalogue.listing()).unwrap();
    assert_eq!(
        (&listing[2]["id"], &listing[2]["type"], &listing[2]["available"]),
        (&json!("codex"), &json!("codex"), &json!(false))
    );
    assert_eq!((&listing[3]["object"], &listing[3]["unavailable_reason"]), (&json!("model"), &Value::Null));
    let codex = put(&house, "codex", json!({"type": "codex"})).await;
    assert_eq!(
        (&codex["type"], &codex["extra"]),
        (&json!("codex"), &json!({"backend": "codex", "tool_support": "none"}))
    );
}

#[tokio::test]
async fn a_bad_definition_changes_nothing() {
    let house = open_house(settings(SEEDS)).await;
    let body = json!({"type": "openai", "extra": {"context_window": "many", "colour": "red"}});
    let error = house.providers.upsert_definition("zeta", &body).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidRequest);
    assert_eq!(error.complaints().len(), 3, "{:?}", error.complaints());
    assert_eq!(house.providers.catalogue().get("zeta").unwrap().public_type(), "echo");
    assert!(matches!(house.providers.definition("nobody").await, Err(ProvidersError::NotFound(_))));
}

#[tokio::test]
async fn models_are_served_while_the_database_is_away() {
    let house = open_house(settings(SEEDS)).await;
    house.database.store.close().await;
    for error in [
        house.providers.definitions().await.err().unwrap(),
        house.providers.reload().await.err().unwrap(),
        house.providers.upsert_definition("x", &json!({"type": "echo"})).await.err().unwrap(),
    ] {
        assert_eq!(
            (error.class(), error.to_string()),
            (ErrorClass::Storage, "Model definitions database unavailable".into())
        );
    }
    let (events, error) = collect(&house.providers.engine("zeta").unwrap(), request("still here")).await;
    assert_eq!((text_of(&events).as_str(), error), ("still here", None));
}

#[tokio::test]
async fn providers_tell_their_own_lists() {
    let upstream = Upstream::start().await;
    upstream.models(["b-model", "a-model"]);
    let paired = ProviderSettings { openai_base_url: Some(upstream.base_url()), ..settings(SEEDS) };
    let house = open_house(paired).await;
    let (first, second) =
        tokio::join!(house.providers.upstream_models(" OpenAI "), house.providers.upstream_models("openai"));
    let list = first.unwrap();
    assert_eq!(second.unwrap(), list);
    assert_eq!(list.models.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["b-model", "a-model"]);
    assert_eq!(upstream.requests().len(), 1, "fetched once");
    assert_eq!(house.providers.upstream_models("codex").await.unwrap().models[0].id, "gpt-5.5");
    for (provider, status, text) in [
        ("", 400, "provider is required"),
        ("acme", 400, "Unknown provider 'acme'. Use openai, codex, or grok."),
        ("grok", 503, "XAI_API_KEY is not configured"),
    ] {
        let error = house.providers.upstream_models(provider).await.unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (status, text));
    }
    let nobody = ProviderSettings { ollama_host: Some("127.0.0.1:1".into()), ..settings(SEEDS) };
    let house = open_house(nobody).await;
    let error = house.providers.upstream_models("ollama").await.unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (502, "Failed to fetch ollama model catalog from upstream")
    );
}

#[tokio::test]
async fn a_bad_seed_file_is_refused_at_the_start() {
    let database = greenroom_store::testing::database().await;
    let (root, _) = greenroom_kit::Supervisor::root(greenroom_kit::Board::default()).await.unwrap();
    let group = root.group("providers").await.unwrap();
    let started = greenroom_provider::Providers::start(&group, database.store.clone(), settings("models: 5")).await;
    assert!(matches!(started, Err(ProvidersError::Seeds(_))));
}
