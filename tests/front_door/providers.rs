//! Every kind of provider, end to end: defined over HTTP, asked by a bot with tools, counted, and honest when refused.

use greenroom_test_support::upstream::{Script, Split};
use serde_json::json;

use crate::asking::{ask, bot, calling, model};
use crate::common::House;

const KINDS: [(&str, &str); 6] = [
    ("openai", "/v1/chat/completions"),
    ("vllm", "/v1/chat/completions"),
    ("responses", "/v1/responses"),
    ("grok", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("ollama", "/api/chat"),
];

#[tokio::test]
async fn every_kind_answers_streamed_and_collected_and_counts() {
    let house = House::open().await;
    bot(&house, "plain", json!({})).await;
    let text = "Grüße, 世界! 😀 done.";
    for (kind, path) in KINDS {
        model(&house, kind, kind, json!({})).await;
        house.upstream.script(Script::text(text).split(Split::Every(3)).noise().reasoning(["hm"]));
        let said = ask(&house, "plain", kind, "hello").await;
        assert_eq!((said.status(), said.text().as_str()), ("completed", text), "{kind}");
        let end = said.of("service.turn_complete")[0];
        let counted = (&end["usage_total"]["prompt_tokens"], &end["token_usage"]["input_tokens"]);
        assert_eq!(counted, (&json!(11), &json!(11)), "{kind}: {end}");
        assert!(end["token_usage"]["output_tokens"].as_u64().unwrap() > 0, "{kind}: {end}");
        assert!(!said.whole.contains("hm"), "{kind}: thinking is nobody's text");

        house.upstream.script(Script::text(text));
        let body = json!({"model": kind, "bot_id": "plain", "messages": [{"role": "user", "content": "hello"}]});
        let (status, answer) = house.post("/v1/chat/completions", &body).await;
        assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!(text)), "{kind}: {answer}");
        assert_eq!(
            (&answer["usage"]["prompt_tokens"], &answer["usage_estimated"]),
            (&json!(11), &json!(false)),
            "{kind}"
        );
        assert!(house.upstream.requests().iter().rev().take(2).all(|request| request.path == path), "{kind}");

        house.upstream.script(Script::text("cut").finish_reason(Some("length")));
        assert_eq!(ask(&house, "plain", kind, "hello").await.finishes(), ["length"], "{kind}");
        house.upstream.script(Script::status(401));
        let (status, answer) = house.post("/v1/chat/completions", &body).await;
        assert_eq!((status, &answer["error"]["code"]), (502, &json!("provider_auth")), "{kind}: {answer}");
        assert!(!answer.to_string().contains("scripted-key"), "{kind}: {answer}");
    }
    house.close().await;
}

#[tokio::test]
async fn every_kind_runs_rounds_of_tools() {
    let house = House::open().await;
    bot(&house, "handy", json!({"uses_tools": true})).await;
    for (kind, path) in KINDS {
        model(&house, kind, kind, json!({"tool_support": "native"})).await;
        let before = house.upstream.requests().len();
        let zone = |zone: &str| ("time", json!({"timezone": zone}));
        house.upstream.script(calling(&[zone("Asia/Tokyo"), zone("Nowhere/Land")]));
        house.upstream.script(calling(&[zone("Europe/Oslo")]));
        house.upstream.script(Script::text("It is late there."));
        let said = ask(&house, "handy", kind, "how late?").await;
        assert_eq!((said.status(), said.text().as_str()), ("completed", "It is late there."), "{kind}");
        let iterations: Vec<&serde_json::Value> =
            said.of("service.tool_call").iter().map(|it| &it["iteration"]).collect();
        assert_eq!(iterations, [1, 1, 2], "{kind}");
        let ok: Vec<bool> = said.results().iter().map(|(ok, _)| *ok).collect();
        assert_eq!(ok, [true, false, true], "{kind}: {:?}", said.results());
        let requests = house.upstream.requests();
        assert_eq!(requests.len(), before + 3, "{kind}");
        let last = &requests.last().unwrap().body.to_string();
        assert!(last.contains("Asia/Tokyo") && last.contains("Europe/Oslo"), "{kind}: {last}");
        assert!(requests[before..].iter().all(|request| request.path == path), "{kind}");
        let usage = &said.of("service.turn_complete")[0]["usage_total"];
        assert_eq!(usage["prompt_tokens"], 33, "{kind}: a turn costs what its passes cost: {usage}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_refused_tool_schema_is_told_in_text_from_then_on() {
    let house = House::open().await;
    bot(&house, "handy", json!({"uses_tools": true})).await;
    let refusal = json!({"error": {"message": "scripted does not support tools", "type": "invalid_request_error"}});
    house.upstream.script(Script::refusal(400, &refusal));
    house.upstream.script(Script::text("Thought: the clock\nAction: time\nAction Input: {\"timezone\": \"UTC\"}"));
    house.upstream.script(Script::text("Thought: good\nFinal Answer: It is late."));
    let said = ask(&house, "handy", "scripted", "how late?").await;
    assert_eq!((said.status(), said.text().as_str()), ("completed", "It is late."));
    assert!(said.results()[0].0, "{:?}", said.results());
    house.upstream.script(Script::text("Thought: fine\nFinal Answer: Still late."));
    let said = ask(&house, "handy", "scripted", "and now?").await;
    assert_eq!(said.text(), "Still late.");
    assert_eq!(house.upstream.requests().len(), 4, "it was not asked natively again");
    assert!(house.upstream.requests().last().unwrap().body.get("tools").is_none());
    house.close().await;
}
