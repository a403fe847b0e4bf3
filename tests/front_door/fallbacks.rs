//! Models that take over: lists of bots and of definitions, what clients are told, and the circuit in the status.

use greenroom_test_support::upstream::{Script, Upstream};
use serde_json::{Value, json};

use crate::asking::{ask, bot, model};
use crate::common::House;

/// An upstream whose every answer is a failure that is not worth waiting for.
async fn ill() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.default_script(Script::status(503).header("retry-after", "3600"));
    upstream
}

#[tokio::test]
async fn when_a_provider_is_down_the_next_model_answers_and_the_status_shows_the_circuit() {
    let (house, ill) = (House::open().await, ill().await);
    model(&house, "ill", "openai", json!({"base_url": ill.base_url()})).await;
    bot(&house, "steady", json!({"default_model": "ill", "model_fallbacks": ["ILL", "nonesuch", "scripted"]})).await;
    house.upstream.default_script(Script::text("Here I am."));
    for n in 0..5 {
        let said = ask(&house, "steady", "ill", "hello").await;
        assert_eq!((said.status(), said.text().as_str()), ("completed", "Here I am."));
        let told = said.warnings();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("model_fallback: 'ill' failed") && !told[0].contains("127.0.0.1"), "{told:?}");
        assert!(told[0].ends_with("'scripted' answers instead"), "{told:?}");
        assert!(said.whole.find("service.warning") < said.whole.find("Here"), "told before the first word");
        assert_eq!((ill.requests().len(), house.upstream.requests().len()), (n + 1, n + 1));
        let (_, log) = house.get(&format!("/v1/turn-logs/{}", said.turn)).await;
        assert_eq!((&log["status"], &log["request"]["model"]), (&json!("ok"), &json!("scripted")), "{log}");
    }

    // The circuit is open: the provider is left alone, and turns move on at once.
    let body = json!({"model": "ill", "bot_id": "steady", "messages": [{"role": "user", "content": "hello"}]});
    let (status, answer) = house.post("/v1/chat/completions", &body).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("Here I am.")), "{answer}");
    assert!(answer["service"]["warnings"][0].as_str().is_some_and(|text| text.starts_with("model_fallback: ")));
    assert_eq!(ill.requests().len(), 5);
    let (_, shown) = house.get("/status").await;
    let circuit = |alias: &str| -> Value {
        let serves = |provider: &&Value| provider["models"].as_array().is_some_and(|it| it.contains(&json!(alias)));
        shown["providers"].as_array().unwrap().iter().find(serves).unwrap()["health"]["circuit_open"].clone()
    };
    assert_eq!((circuit("ill"), circuit("scripted")), (json!(true), json!(false)), "{shown}");
    let open = |actor: &&Value| actor["note"].as_str().is_some_and(|note| note.starts_with("circuit open"));
    assert_eq!(shown["actors"].as_array().unwrap().iter().filter(open).count(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_definition_has_fallbacks_of_its_own_and_the_bots_come_first() {
    let (house, ill) = (House::open().await, ill().await);
    let url = ill.base_url();
    model(&house, "ill", "openai", json!({"base_url": url, "fallbacks": ["scripted"]})).await;
    model(&house, "worse", "openai", json!({"base_url": url})).await;
    bot(&house, "plain", json!({})).await;
    bot(&house, "choosy", json!({"model_fallbacks": ["worse"]})).await;
    house.upstream.default_script(Script::text("Here I am."));
    let said = ask(&house, "plain", "ill", "hello").await;
    assert_eq!((said.text().as_str(), said.warnings().len()), ("Here I am.", 1));
    let said = ask(&house, "choosy", "ill", "hello").await;
    let told = said.warnings();
    assert_eq!(said.text(), "Here I am.");
    assert!(
        told[0].ends_with("'worse' answers instead") && told[1].ends_with("'scripted' answers instead"),
        "{told:?}"
    );
    // Whoever has no list fails as before.
    let body = json!({"model": "worse", "bot_id": "plain", "messages": [{"role": "user", "content": "hello"}]});
    let (status, answer) = house.post("/v1/chat/completions", &body).await;
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("provider_unavailable")), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn lists_of_models_and_tools_are_part_of_a_bots_profile() {
    let house = House::open().await;
    bot(&house, "zoe", json!({"model_fallbacks": [" echo ", "other"], "tools_allow": ["memory.search", "time"]})).await;
    let profile = "/v1/bots/zoe/profile";
    let lists = async || {
        let shown = house.get(profile).await.1;
        (shown["model_fallbacks"].clone(), shown["tools_allow"].clone(), shown["tools_deny"].clone())
    };
    assert_eq!(lists().await, (json!(["echo", "other"]), json!(["memory.search", "time"]), json!([])));
    for bad in [
        json!({"model_fallbacks": "echo"}),
        json!({"model_fallbacks": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]}),
        json!({"model_fallbacks": [""]}),
        json!({"model_fallbacks": ["x".repeat(200)]}),
        json!({"model_fallbacks": [5]}),
        json!({"tools_deny": {"home": true}}),
    ] {
        let (status, answer) = house.patch(profile, &bad).await;
        assert_eq!(status, 422, "{bad}: {answer}");
    }
    house.patch(profile, &json!({"tools_deny": ["home"], "color": "red"})).await;
    assert_eq!(lists().await, (json!(["echo", "other"]), json!(["memory.search", "time"]), json!(["home"])));
    house.patch(profile, &json!({"model_fallbacks": null, "tools_allow": null, "tools_deny": null})).await;
    assert_eq!(lists().await, (json!([]), Value::Null, json!([])));
    // What is shown can be sent back.
    house.patch(profile, &json!({"model_fallbacks": ["echo"]})).await;
    let shown = house.get(profile).await.1;
    let mut sent = shown.as_object().unwrap().clone();
    sent.retain(|name, _| !matches!(name.as_str(), "created_at" | "updated_at" | "settings"));
    let (status, again) = house.put(&format!("{profile}?mode=replace"), &Value::Object(sent)).await;
    assert_eq!((status, &again["model_fallbacks"]), (200, &json!(["echo"])), "{again}");

    let (_, document) = house.get("/openapi.json").await;
    for schema in ["BotProfile", "NewProfile", "ProfileChange"] {
        let properties = &document["components"]["schemas"][schema]["properties"];
        assert!(properties["model_fallbacks"].is_object() && properties["tools_deny"].is_object(), "{schema}");
    }
    house.close().await;
}
