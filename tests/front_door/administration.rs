//! Models, bots and settings.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{House, released};

#[tokio::test]
async fn models_and_bots_are_listed_and_switched() {
    let house = House::open().await;
    let (_, list) = house.get("/v1/models").await;
    let find = |id: &str| list["data"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned();
    let (echo, nova) = (find("echo").unwrap(), find("nova").unwrap());
    assert_eq!((&list["object"], &echo["object"], &nova["type"]), (&json!("list"), &json!("model"), &json!("bot")));
    assert_eq!(house.get("/v1/models").await.1["data"][0]["created"], list["data"][0]["created"]);
    assert_eq!(house.get("/v1/models/ECHO").await.1["id"], "echo");
    let (status, answer) = house.get("/v1/models/no-such").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
    let (_, bare) = house.get("/v1/botchat/nova/ann/models").await;
    assert!(bare["data"][0]["id"].is_string() && bare["data"][0]["model_id"].is_null());

    let (status, answer) = house.post("/v1/models/switch", &json!({"model": "no-such"})).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = house.post("/v1/models/switch", &json!({"model": "Echo", "user": "ann"})).await;
    assert_eq!((status, &answer["success"], &answer["new_model"]), (200, &json!(true), &json!("Echo")));
    assert_eq!(house.get("/v1/models/current?user=ann").await.1["model"]["id"], "echo");
    assert_eq!(house.get("/v1/models/current?user=bob").await.1["model"]["id"], "scripted");
    let (status, answer) = house.post("/v1/models/reload", &Value::Null).await;
    assert!(status == 200 && answer["models"].as_array().unwrap().contains(&json!("scripted")), "{answer}");
    assert_eq!(house.get("/v1/models/upstream").await.0, 400);
    assert_eq!(house.get("/v1/models/upstream?provider=nobody").await.0, 400);
    assert_eq!(house.get("/v1/models/upstream?provider=Codex").await.1["provider"], "codex");
    house.close().await;
}

#[tokio::test]
async fn definitions_hide_keys_and_keep_what_is_not_sent() {
    let house = House::open().await;
    let path = "/v1/models/definitions/helper";
    let body = json!({"type": "codex", "model_id": "gpt-5", "description": "helps", "extra": {"api_key": "sk-0123456789abcdef"}});
    let (status, written) = house.put(path, &body).await;
    assert_eq!((status, &written["type"]), (200, &json!("codex")), "{written}");
    let (_, read) = house.get(path).await;
    assert!(!read.to_string().contains("sk-0123456789"), "{read}");
    assert_eq!((&read["type"], &read["description"]), (&json!("codex"), &json!("helps")));
    let (_, again) = house.put(path, &json!({"type": "codex", "extra": read["extra"]})).await;
    assert_eq!((&again["model_id"], &again["description"]), (&json!("gpt-5"), &json!("helps")));
    for bad in [json!({}), json!({"type": "teapot"}), json!({"type": "gguf"}), json!({"type": 5})] {
        assert_eq!(house.put(path, &bad).await.0, 422, "{bad}");
    }
    let (_, list) = house.get("/v1/models/definitions").await;
    assert_eq!(list["models"].as_array().unwrap().len(), list["total_count"].as_u64().unwrap() as usize);

    house.patch("/v1/bots/spark/profile", &json!({"default_model": "scripted"})).await;
    assert_eq!(house.delete("/v1/models/definitions/SCRIPTED").await.0, 200);
    assert_eq!(house.get("/v1/bots/spark/profile").await.1["default_model"], Value::Null);
    assert_eq!(house.delete("/v1/models/definitions/scripted").await.0, 404);
    let (status, seeded) = house.post("/v1/models/definitions/seed", &json!({"overwrite": false})).await;
    assert!(status == 200 && seeded["total_yaml"].as_u64().unwrap() > 0, "{seeded}");
    let bodiless = house.request(Method::POST, "/v1/models/definitions/seed").send().await.unwrap();
    assert_eq!(bodiless.status(), 200);
    house.close().await;
}

#[tokio::test]
async fn bots_are_made_changed_and_deleted() {
    let house = House::open().await;
    let (status, made) = house
        .post(
            "/v1/bots",
            &json!({"slug": " Zoe ", "name": "Zoe", "system_prompt": "be kind", "color": "red",
            "default_model": "echo", "uses_tools": true}),
        )
        .await;
    assert_eq!((status, &made["slug"], &made["bot_type"]), (200, &json!("zoe"), &json!("chat")), "{made}");
    let profile = "/v1/bots/zoe/profile";
    assert_eq!(house.post("/v1/bots", &json!({"slug": "zoe", "name": "Z", "system_prompt": "x"})).await.0, 409);
    assert_eq!(house.post("/v1/bots", &json!({"name": "Z", "system_prompt": "x"})).await.0, 400);
    assert_eq!(house.post("/v1/bots", &json!({"slug": "a/b", "name": "Z", "system_prompt": "x"})).await.0, 422);

    // Absent keeps, null clears, and a flag is never null.
    let (_, cleared) = house.patch(profile, &json!({"default_model": null})).await;
    assert_eq!((&cleared["default_model"], &cleared["color"]), (&Value::Null, &json!("red")));
    assert_eq!(house.patch(profile, &json!({"uses_tools": null})).await.0, 422);
    assert_eq!(house.get(profile).await.1["uses_tools"], true);
    let (_, merged) = house.put(profile, &json!({"name": "Zoe 2", "system_prompt": "be brief"})).await;
    assert_eq!((&merged["color"], &merged["uses_tools"]), (&json!("red"), &json!(true)));
    let (_, replaced) =
        house.put(&format!("{profile}?mode=replace"), &json!({"name": "Zoe 3", "system_prompt": "x"})).await;
    assert_eq!((&replaced["color"], &replaced["uses_tools"]), (&Value::Null, &json!(false)));
    let (status, answer) = house.patch(profile, &json!({"default_model": "no-such"})).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(house.patch("/v1/bots/nobody/profile", &json!({"name": "x"})).await.0, 404);

    let tag = house.request(Method::GET, profile).send().await.unwrap().headers()["etag"].clone();
    let conditional =
        |tag: &str| house.request(Method::PATCH, profile).header("if-match", tag).json(&json!({"color": "blue"}));
    assert_eq!(house.send(conditional(tag.to_str().unwrap())).await.0, 200);
    assert_eq!(house.send(conditional(tag.to_str().unwrap())).await.0, 412);

    let (_, page) = house.get("/v1/bots/profiles?q=ZOE&limit=1").await;
    assert_eq!(
        (&page["total_count"], &page["profiles"][0]["slug"], &page["filters"]["limit"]),
        (&json!(1), &json!("zoe"), &json!(1))
    );
    let (status, gone) = house.delete(&format!("{profile}?purge=true")).await;
    assert_eq!((status, &gone["success"], &gone["purge"]["slug"]), (200, &json!(true), &json!("zoe")), "{gone}");
    assert_eq!(house.get(profile).await.0, 404);
    assert_eq!(house.delete(profile).await.0, 404);

    // A deleted seed stays away.
    assert_eq!(house.delete("/v1/bots/mira/profile").await.0, 200);
    let (_, reloaded) = house.post("/v1/admin/reload-bots", &Value::Null).await;
    assert_eq!(reloaded["status"], "reloaded");
    let (_, bots) = house.get("/v1/bots").await;
    let slugs: Vec<&str> = bots["data"].as_array().unwrap().iter().filter_map(|bot| bot["slug"].as_str()).collect();
    assert_eq!(slugs, ["nova", "spark"]);
    house.close().await;
}

#[tokio::test]
async fn a_purge_needs_a_bot_at_rest() {
    let house = House::open().await;
    assert_eq!(house.post("/v1/bots/nobody/purge-data", &Value::Null).await.0, 404);
    assert_eq!(house.post("/v1/bots/nobody/purge-data?force=true", &Value::Null).await.0, 200);
    assert_eq!(house.post("/v1/bots/spark/purge-data?confirm=nova", &Value::Null).await.0, 400);
    let running = house.stream("[[hold=1]][[chunks=2]]", "ann").await;
    house.upstream.wait_for_request(1).await;
    assert_eq!(house.post("/v1/bots/spark/purge-data", &Value::Null).await.0, 409);
    let text = released(&house.upstream, running.text()).await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
    let (status, purged) = house.post("/v1/bots/spark/purge-data?confirm=spark", &Value::Null).await;
    assert_eq!(status, 200, "{purged}");
    assert_eq!(house.get("/v1/bots/spark/profile").await.0, 200);
    assert_eq!(house.get("/v1/turn-logs?bot_id=spark").await.1["total_count"], 0);
    house.close().await;
}

#[tokio::test]
async fn settings_have_scopes_and_ranges() {
    let house = House::open().await;
    let set = async |body: Value| house.put("/v1/settings", &body).await;
    let (status, answer) = set(json!({"scope_type": "global", "key": "temperature", "value": 0.3})).await;
    assert_eq!((status, &answer["scope_id"], &answer["value"]), (200, &json!("*"), &json!(0.3)), "{answer}");
    let (_, odd) = set(json!({"scope_type": "bot", "scope_id": "Nova", "key": "favourite", "value": [1]})).await;
    assert_eq!((&odd["scope_id"], &odd["unknown_keys"]), (&json!("nova"), &json!(["favourite"])));
    for bad in [
        json!({"scope_type": "bot", "scope_id": "nova", "key": "temperature", "value": 3}),
        json!({"scope_type": "moon", "key": "temperature", "value": 1}),
        json!({"scope_type": "global", "key": "", "value": 1}),
        json!({"scope_type": "global", "key": "top_p"}),
    ] {
        assert_eq!(set(bad.clone()).await.0, 422, "{bad}");
    }
    let (_, of_nova) = house.get("/v1/settings?scope_id=nova").await;
    assert!(of_nova["settings"].as_array().unwrap().contains(&json!({"key": "favourite", "value": [1]})), "{of_nova}");
    let winner =
        of_nova["effective"].as_array().unwrap().iter().find(|setting| setting["key"] == "temperature").unwrap();
    assert!(winner["source"] == "global" || winner["source"] == "bot", "{winner}");

    // All of a batch, or none.
    let batch = json!({"items": [
        {"scope_type": "global", "key": "top_p", "value": 0.5},
        {"scope_type": "global", "key": "temperature", "value": "hot"},
    ]});
    assert_eq!(house.post("/v1/settings/batch", &batch).await.0, 422);
    assert_eq!(house.get("/v1/settings/all?scope_type=global&key=top_p").await.1["total_count"], 0);
    let batch = json!({"items": [{"scope_type": "global", "key": "top_p", "value": 0.5}]});
    assert_eq!(house.post("/v1/settings/batch", &batch).await.1["applied_count"], 1);

    let gone = "/v1/settings?scope_type=global&key=top_p";
    assert_eq!(house.delete(gone).await.1["deleted"], true);
    assert_eq!(house.delete(gone).await.1["deleted"], false);
    assert_eq!(house.delete("/v1/settings?scope_type=global").await.0, 422);
    for wrong in ["/v1/settings?scope_type=moon", "/v1/settings/all?scope_type=moon"] {
        assert_eq!(house.get(wrong).await.0, 400, "{wrong}");
    }
    house.close().await;
}

#[tokio::test]
async fn bounds_of_lists_are_kept() {
    let house = House::open().await;
    for path in [
        "/v1/settings/all?limit=0",
        "/v1/settings/all?limit=1001",
        "/v1/settings/all?offset=-1",
        "/v1/bots/profiles?limit=x",
        "/v1/bots/profiles?uses_tools=perhaps",
        "/v1/turn-logs?limit=201",
        "/v1/turn-logs?since_hours=0",
        "/v1/turn-logs?after=yesterday",
        "/v1/turn-logs?cursor=forged",
        "/v1/turn-logs/x?wait_s=31",
        "/v1/tool-calls?limit=1001",
        "/v1/turns/x/stream?last_event_id=-1",
    ] {
        let (status, answer) = house.get(path).await;
        assert_eq!(status, 422, "{path}: {answer}");
        assert_eq!(answer["detail"][0]["loc"][0], "query", "{path}");
    }
    for (path, detail) in [("/v1/turn-logs/x", "Turn log not found"), ("/v1/turns/x/stream", "Turn not found")] {
        let (status, answer) = house.get(path).await;
        assert_eq!((status, answer["detail"].as_str()), (404, Some(detail)));
    }
    house.close().await;
}
