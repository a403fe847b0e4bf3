//! A model in a file, end to end: loaded by the first turn that wants it, shown in the status, and asked for raw text only
//! when it is there.

use greenroom_gguf::Architecture;
use greenroom_gguf::sample::Sample;
use serde_json::{Value, json};

use crate::asking::{ask, bot};
use crate::common::House;

#[tokio::test]
async fn a_local_model_is_loaded_by_the_first_turn_and_answers_for_itself() {
    let folder = greenroom_store::testing::TestDataDir::new();
    let models = folder.path().join("maker/tiny");
    std::fs::create_dir_all(&models).unwrap();
    let sample = Sample { context: 4096, ..Sample::tiny(Architecture::Llama) };
    sample.write(&models.join("words.gguf")).unwrap();
    let house = House::open_with(|config| config.local_models.dir = Some(folder.path().display().to_string())).await;
    bot(&house, "plain", json!({})).await;
    let defined = json!({"type": "gguf", "repo_id": "maker/tiny", "filename": "words.gguf",
        "extra": {"max_tokens": 24, "temperature": 0.0}});
    assert_eq!(house.put("/v1/models/definitions/words", &defined).await.0, 200);
    let (_, listed) = house.get("/v1/models/words").await;
    assert_eq!((&listed["available"], &listed["context_window"]), (&json!(true), &json!(4096)), "{listed}");
    let raw = json!({"prompt": "Once upon a time", "model": "words", "max_tokens": 8});
    let (status, refused) = house.post("/v1/llm/complete", &raw).await;
    assert_eq!(status, 409, "{refused}");

    let said = ask(&house, "plain", "words", "hello").await;
    assert_eq!(said.status(), "completed", "{}", said.whole);
    assert_eq!(said.warnings().first().map(String::as_str), Some("model_loading: 'words' is loading"));
    let usage = &said.of("service.turn_complete")[0]["token_usage"];
    assert!(usage["input_tokens"].as_u64().unwrap() > 10, "{usage}");
    assert!((1..=24).contains(&usage["output_tokens"].as_u64().unwrap()), "{usage}");
    let again = ask(&house, "plain", "words", "hello").await;
    assert!(again.warnings().iter().all(|warning| !warning.starts_with("model_loading")), "{:?}", again.warnings());

    let (_, status) = house.get("/status").await;
    assert_eq!(status["models_loaded"], json!(["words"]));
    let actors = status["actors"].as_array().unwrap();
    let card = actors.iter().find(|actor| actor["name"] == "model:words").unwrap();
    assert_eq!((&card["state"], &card["in_flight"]), (&json!("up"), &json!(0)), "{card}");
    let note = card["note"].as_str().unwrap();
    assert!(note.contains("4096 tokens of context") && note.contains("MiB of weights"), "{note}");
    let (code, completed) = house.post("/v1/llm/complete", &raw).await;
    assert_eq!((code, &completed["model"]), (200, &json!("words")), "{completed}");
    assert_ne!(completed["tokens"], Value::Null);
    house.close().await;
}
