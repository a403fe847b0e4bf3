//! `greenroom model …` as a person runs it.

use greenroom_test_support::upstream::{Script, Upstream, WebAnswer};
use serde_json::{Value, json};

use crate::cli::{Said, run};
use crate::common::House;

async fn model(house: &House, words: &[&str]) -> Said {
    let url = house.running.url();
    run(&[&["model", "--url", &url], words].concat(), &[]).await
}

/// What a command writes as JSON.
async fn told(house: &House, words: &[&str]) -> Value {
    let said = model(house, &[&["--json"], words].concat()).await;
    assert_eq!(said.code, 0, "{words:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

#[tokio::test]
async fn models_are_listed_shown_changed_and_removed() {
    let house = House::open().await;
    let list = model(&house, &["list"]).await;
    assert!(list.code == 0 && list.out.contains("scripted") && list.out.contains("yes"), "{}", list.out);
    assert!(!list.out.contains("nova"), "bots are no models: {}", list.out);
    let shown = model(&house, &["show", "SCRIPT"]).await;
    assert!(shown.out.contains("model_id: scripted") && shown.out.contains("context_window: 32000"), "{}", shown.out);
    assert!(shown.out.contains("api_key: ****") && !shown.out.contains("scripted-key"), "{}", shown.out);

    let fields = ["--set", "context_window=9000", "--set", "description=for tests", "--unset", "max_tokens"];
    let changed = told(&house, &[&["edit", "scripted"], fields.as_slice()].concat()).await;
    let extra = &changed["extra"];
    assert_eq!((&extra["context_window"], extra.get("max_tokens")), (&json!(9000), None), "{changed}");
    assert_eq!((&changed["description"], &changed["model_id"]), (&json!("for tests"), &json!("scripted")));
    // The key is still the one that the upstream is called with.
    assert_eq!(model(&house, &["test", "scripted"]).await.code, 0);
    let request = house.upstream.requests().pop().unwrap();
    assert_eq!(request.headers["authorization"], "Bearer scripted-key-0123456789");

    for words in [
        ["edit", "scripted", "--set", "context_window=many"].as_slice(),
        &["edit", "scripted", "--set", "api_key=sk-1"],
        &["edit", "scripted"],
        &["show", "no-such-model"],
        &["delete", "scripted"],
        &["delete", "scrip", "--yes"],
    ] {
        let refused = model(&house, words).await;
        assert!(refused.code != 0 && refused.out.is_empty() && !refused.err.is_empty(), "{words:?}: {}", refused.out);
    }
    let gone = model(&house, &["delete", "scripted", "--yes"]).await;
    assert_eq!((gone.code, gone.out.as_str()), (0, "scripted is gone\n"), "{}", gone.err);
    let seeded = told(&house, &["seed", "--overwrite"]).await;
    assert!(seeded.is_object(), "{seeded}");
    house.close().await;
}

#[tokio::test]
async fn a_model_is_tried_and_switched_to() {
    let house = House::open().await;
    house.upstream.script(Script::text("I am there."));
    let tried = model(&house, &["test", "scripted"]).await;
    assert!(
        tried.code == 0 && tried.out.starts_with("scripted, ") && tried.out.ends_with(": I am there.\n"),
        "{}",
        tried.out
    );
    house.upstream.script(Script::status(400));
    let failed = model(&house, &["test", "scripted"]).await;
    assert!(failed.code == 1 && failed.err.contains("400"), "{}", failed.err);

    let switched = model(&house, &["switch", "ech", "-b", "spark", "-u", "ann"]).await;
    assert!(switched.code == 0 && !switched.out.trim().is_empty(), "{}", switched.err);
    let current = |user: &'static str| {
        let house = &house;
        async move { model(house, &["current", "-b", "spark", "-u", user]).await.out }
    };
    assert_eq!((current("ann").await.as_str(), current("bob").await.as_str()), ("echo\n", "scripted\n"));
    house.close().await;
}

#[tokio::test]
async fn models_of_a_provider_are_added_by_name_or_all_at_once() {
    let house = House::open_with(|config| config.providers.ollama_host = Some("http://127.0.0.1:9".into())).await;
    let base = format!("base_url={}", house.upstream.base_url());
    let fields = ["--set", &base, "--set", "api_key_env=HOME_MADE_KEY", "--set", "context_window=1000"];
    let words = [&["add", "vllm", "Org/Tiny-Model:8b", "other"], fields.as_slice()].concat();
    let added = told(&house, &words).await;
    let aliases: Vec<&str> = added["models"].as_array().unwrap().iter().filter_map(|it| it["alias"].as_str()).collect();
    assert_eq!(aliases, ["org-tiny-model-8b", "other"]);
    assert_eq!(added["models"][0]["model_id"], "Org/Tiny-Model:8b", "{added}");
    let again = told(&house, &[&["add", "vllm", "Org/Tiny-Model:8b"], fields.as_slice()].concat()).await;
    assert_eq!(again["models"][0]["alias"], "org-tiny-model-8b-2");
    let taken = model(&house, &["add", "vllm", "x", "--alias", "OTHER", "--set", &base]).await;
    assert!(taken.code == 1 && taken.err.contains("already"), "{}", taken.err);
    let nobody = model(&house, &["add", "codex"]).await;
    assert!(nobody.code == 1 && nobody.err.contains("--all"), "{}", nobody.err);
    let codex = told(&house, &["upstream", "codex"]).await;
    let all = told(&house, &["add", "codex", "--all"]).await;
    assert_eq!(all["models"].as_array().unwrap().len(), codex["models"].as_array().unwrap().len());
    house.close().await;
}

#[tokio::test]
async fn what_a_provider_lists_follows_the_list() {
    let upstream = Upstream::start().await;
    let (at, later) =
        (json!({"id": "gpt-x", "created": 1_700_000_000}), json!({"id": "gpt-y", "created": 1_800_000_000}));
    upstream.web("/v1/models", WebAnswer::json(&json!({"object": "list", "data": [at, later]})));
    let address = upstream.base_url();
    let house = House::open_with(|config| config.providers.openai_base_url = Some(address)).await;
    let own = json!({"type": "openai", "model_id": "gpt-x", "description": "Created 1999-01-01"});
    assert_eq!(house.put("/v1/models/definitions/mine", &own).await.0, 200);
    let added = told(&house, &["add", "openai", "--all"]).await;
    let aliases: Vec<&str> = added["models"].as_array().unwrap().iter().filter_map(|it| it["alias"].as_str()).collect();
    assert_eq!(aliases, ["gpt-y"], "{added}");
    let (_, mine) = house.get("/v1/models/definitions/mine").await;
    assert_eq!(mine["description"], "Created 2023-11-14", "{mine}");
    house.close().await;
}

#[tokio::test]
async fn a_model_file_is_looked_into_before_it_is_defined() {
    let house = House::open().await;
    let folder = greenroom_store::testing::TestDataDir::new();
    let file = folder.path().join("Broken-Q8_0.gguf");
    std::fs::write(&file, "GGUF, or so it says").unwrap();
    let broken = model(&house, &["add", "gguf", "--file", file.to_str().unwrap()]).await;
    assert!(broken.code == 1 && broken.err.contains("Broken-Q8_0.gguf"), "{}", broken.err);
    greenroom_gguf::sample::Sample::tiny(greenroom_gguf::Architecture::Llama)
        .write(&folder.path().join("Tiny-Llama-Q8_0.gguf"))
        .unwrap();
    let added = told(&house, &["add", "gguf", "--file", folder.path().to_str().unwrap()]).await;
    let definition = &added["models"][0];
    assert_eq!((&definition["alias"], &definition["extra"]["context_window"]), (&json!("tiny-llama"), &json!(512)));
    assert!(definition["filename"].as_str().unwrap().ends_with("/Tiny-Llama-Q8_0.gguf"), "{definition}");
    assert!(definition["description"].as_str().unwrap().contains("q8_0"), "{definition}");
    let hub = model(&house, &["add", "gguf", "org/repo"]).await;
    assert!(hub.code == 1 && hub.err.contains("--file"), "{}", hub.err);
    house.close().await;
}
