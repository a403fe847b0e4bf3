//! One prompt, one answer: which model is asked, what of it is written down, and what is refused.

use greenroom_test_support::upstream::Script;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{House, soon};

const PATH: &str = "/v1/llm/complete";

async fn row(house: &House, turn: &str) -> Value {
    let (status, row) = house.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!(status, 200, "{row}");
    row
}

/// The newest row of the route, once it has this status.
async fn newest(house: &House, status: &str) -> Value {
    let page = async {
        loop {
            let (_, page) = house.get(&format!("/v1/turn-logs?status={status}&limit=5")).await;
            let turns = page["turns"].as_array().cloned().unwrap_or_default();
            if let Some(turn) = turns.into_iter().find(|turn| turn["path"] == PATH) {
                return turn;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(page).await
}

#[tokio::test]
async fn a_prompt_goes_to_the_named_model_and_leaves_a_row() {
    let house = House::open().await;
    house.upstream.script(Script::text("Four, <tool_call>{}</tool_call>I think."));
    let body = json!({"prompt": "two and two?", "system": "Count.", "model": "SCRIPTED", "max_tokens": "9",
        "temperature": 0});
    let response = house.request(Method::POST, PATH).json(&body).send().await.unwrap();
    let turn = response.headers()["x-turn-id"].to_str().unwrap().to_owned();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["content"], &answer["model"]), (&json!("Four, I think."), &json!("scripted")), "{answer}");
    assert!(answer["tokens"].as_u64().unwrap() > 0 && answer["elapsed_ms"].is_u64(), "{answer}");
    let sent = house.upstream.requests().pop().unwrap().body;
    let said = json!([{"role": "system", "content": "Count."}, {"role": "user", "content": "two and two?"}]);
    assert_eq!((&sent["messages"], sent.get("tools")), (&said, None), "nothing of a bot");
    assert_eq!((sent["max_tokens"].as_u64(), sent["temperature"].as_f64()), (Some(9), Some(0.0)), "{sent}");

    let row = row(&house, &turn).await;
    for (member, value) in [
        ("path", json!(PATH)),
        ("bot_id", json!("")),
        ("status", json!("ok")),
        ("user_prompt", json!("two and two?")),
        ("response", json!("Four, I think.")),
        ("trigger_message_id", Value::Null),
        ("tool_calls", json!([])),
    ] {
        assert_eq!(row[member], value, "{member}: {row}");
    }
    assert_eq!(row["request"]["messages"], said);
    assert!(row["token_usage"]["output_tokens"].is_u64() && row["latency_ms"].is_f64(), "{row}");
    let (_, history) = house.get("/v1/history?bot_id=nova").await;
    assert!(!history.to_string().contains("two and two"), "{history}");
    house.close().await;
}

#[tokio::test]
async fn without_a_name_the_model_for_maintenance_answers() {
    let house = House::open_with(|config| config.memory.maintenance_model = Some("scripted".into())).await;
    let (status, answer) = house.post(PATH, &json!({"prompt": "[[echo_field=max_tokens]]"})).await;
    assert_eq!((status, &answer["content"], &answer["model"]), (200, &json!("500"), &json!("scripted")), "{answer}");
    let (_, answer) = house.post(PATH, &json!({"prompt": "[[echo_field=temperature]]", "model": ""})).await;
    assert_eq!(answer["content"], "0.7", "{answer}");
    let (_, answer) = house.post(PATH, &json!({"prompt": "[[echo_roles]]", "system": " "})).await;
    assert_eq!(answer["content"], "user", "a blank system message is none: {answer}");
    house.close().await;
    let house = House::open_with(|config| config.bots.default_model = Some("scripted".into())).await;
    let (status, answer) = house.post(PATH, &json!({"prompt": "[[chunks=2]]"})).await;
    assert_eq!((status, &answer["content"]), (200, &json!("t0 t1 ")), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let house = House::open().await;
    let local = json!({"type": "gguf", "repo_id": "tiny/model", "filename": "tiny-q8_0.gguf"});
    assert_eq!(house.put("/v1/models/definitions/local", &local).await.0, 200);
    for (body, status) in [
        (json!({}), 422),
        (json!({"prompt": "  "}), 422),
        (json!({"prompt": "x", "max_tokens": 0}), 422),
        (json!({"prompt": "x", "temperature": 2.1}), 422),
        (json!({"prompt": "x", "model": "nobody"}), 404),
        (json!({"prompt": "x", "model": "local"}), 409),
    ] {
        let (answered, answer) = house.post(PATH, &body).await;
        assert_eq!(answered, status, "{body}: {answer}");
    }
    assert!(house.upstream.requests().is_empty());
    house.close().await;
}

#[tokio::test]
async fn a_failed_call_has_a_row_that_says_so() {
    let house = House::open().await;
    let ask = |prompt: &str| json!({"prompt": prompt, "model": "scripted"});
    for (prompt, status) in [("[[status=400]]", 400), ("[[chunks=5]][[cut=2]]", 502)] {
        let (answered, answer) = house.post(PATH, &ask(prompt)).await;
        assert_eq!(answered, status, "{prompt}: {answer}");
        assert_eq!(newest(&house, "error").await["user_prompt"], prompt);
    }
    assert_eq!(newest(&house, "error").await["response_preview"], "t0 t1 ", "what had arrived is kept");
    house.close().await;
}

#[tokio::test]
async fn whoever_leaves_or_aborts_ends_the_call() {
    let house = House::open_with(|config| config.limits.max_turns = 1).await;
    let ask = json!({"prompt": "[[chunks=3]][[hold=1]]", "model": "scripted"});
    let call = tokio::spawn(house.request(Method::POST, PATH).json(&ask).send());
    house.upstream.wait_for_request(1).await;
    // It takes a turn's room.
    let (status, _) = house.post(PATH, &json!({"prompt": "x", "model": "scripted"})).await;
    assert_eq!(status, 429);
    call.abort();
    let row = newest(&house, "aborted").await;
    assert!(row["error_text"].as_str().is_some_and(|text| text.contains("left")), "{row}");
    let again = tokio::spawn(house.request(Method::POST, PATH).json(&ask).send());
    house.upstream.wait_for_request(2).await;
    let running = newest(&house, "pending").await;
    let (status, said) = house.post("/v1/chat/abort", &json!({"turn_id": running["id"]})).await;
    assert_eq!((status, &said["detail"]), (200, &json!("aborted")), "{said}");
    assert_eq!(soon(again).await.unwrap().unwrap().status(), 503);
    house.close().await;
}
