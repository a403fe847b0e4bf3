//! Bots that act, over HTTP: what a stream shows of it, what the records say, which tools there are, and what stays secret.

use greenroom_test_support::upstream::search::{brave_web, duckduckgo_page};
use greenroom_test_support::upstream::{Script, Split, Upstream, WebAnswer};
use serde_json::{Value, json};

use crate::asking::{Said, ask, ask_with, bot, calling, model, read, told};
use crate::common::{House, soon};

/// What the frames are, with runs of text as one, and without the second metadata, which names the provider's model.
fn outline(said: &Said) -> Vec<String> {
    let mut outline: Vec<String> = Vec::new();
    for frame in &said.frames {
        let choice = &frame["choices"][0];
        let word = match frame["object"].as_str().unwrap() {
            "chat.completion.chunk" => match (&choice["delta"]["tool_calls"], &choice["finish_reason"]) {
                (Value::Array(_), _) => "delta",
                (_, Value::String(reason)) => reason,
                _ => "text",
            },
            service => service.trim_start_matches("service."),
        };
        let again = ["text", "turn_metadata"].contains(&word) && outline.last().is_some_and(|last| last == word);
        if !again {
            outline.push(word.to_owned());
        }
    }
    outline
}

#[tokio::test]
async fn a_turn_with_tools_is_text_with_service_frames_unless_asked_otherwise() {
    let house = House::open().await;
    bot(&house, "handy", json!({"uses_tools": true})).await;
    let zones = [("time", json!({"timezone": "Asia/Tokyo"})), ("get_current_time", json!({"timezone": "Europe/Oslo"}))];
    let (on, off) = (("x-tool-deltas", "on"), ("x-service-events", "off"));
    for (headers, expected) in [
        (vec![], "turn_metadata tool_call tool_call tool_result tool_result text stop turn_complete"),
        (
            vec![on],
            "turn_metadata delta tool_call delta tool_call tool_result tool_result tool_calls text stop turn_complete",
        ),
        (vec![off], "text stop"),
        (vec![on, off], "delta delta tool_calls text stop"),
    ] {
        house.upstream.script(calling(&zones));
        house.upstream.script(Script::text("It is late there."));
        let said = ask_with(&house, "handy", "scripted", "how late?", &headers).await;
        assert_eq!(outline(&said).join(" "), expected, "{}", said.whole);
        assert_eq!(said.text(), "It is late there.");
        let requests = house.upstream.requests();
        assert_eq!(told(&requests.last().unwrap().body).len(), 2);
    }

    house.upstream.script(calling(&zones));
    house.upstream.script(Script::text("Not streamed."));
    let body = json!({"model": "scripted", "bot_id": "handy", "user": "ann",
        "messages": [{"role": "user", "content": "how late?"}]});
    let (status, answer) = house.post("/v1/chat/completions", &body).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (status, &choice["message"]["content"], &choice["finish_reason"]),
        (200, &json!("Not streamed."), &json!("stop"))
    );
    assert!(choice["message"].get("tool_calls").is_none(), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn every_way_of_calling_gives_the_same_frames_and_records() {
    let house = House::open().await;
    bot(&house, "handy", json!({"uses_tools": true})).await;
    let native = calling(&[("time", json!({"timezone": "Asia/Tokyo"}))]);
    let react = Script::text("I look.\nThought: the clock\nAction: time\nAction Input: {\"timezone\": \"Asia/Tokyo\"");
    let xml = "I look. <tool_call>\n{\"name\": \"time\", \"arguments\": {\"timezone\": \"Asia/Tokyo\"}}\n</tool_call>";
    let xml = Script::text(xml).split(Split::Every(5));
    for (format, call) in [("native", native), ("react", react), ("xml", xml)] {
        model(&house, format, "openai", json!({"tool_support": format})).await;
        house.upstream.script(call);
        house.upstream.script(Script::text("It is late there."));
        let said = ask(&house, "handy", format, "how late?").await;
        assert_eq!(said.status(), "completed");
        assert!(said.text().ends_with("It is late there."), "{format}: {}", said.text());
        assert!(!said.text().contains("Action") && !said.text().contains('<'), "{format}: {}", said.text());
        assert_eq!(said.finishes(), ["stop"], "{format}");
        let (call, result) = (said.of("service.tool_call")[0], said.of("service.tool_result")[0]);
        let id = call["call_id"].as_str().unwrap();
        assert!(!id.is_empty() && result["call_id"] == id, "{format}");
        assert_eq!((&call["name"], &call["iteration"], &call["index"]), (&json!("time"), &json!(1), &json!(0)));
        assert_eq!((&call["arguments"], &call["effects"]), (&json!({"timezone": "Asia/Tokyo"}), &json!("read_only")));
        assert_eq!((&result["ok"], &result["result_truncated"]), (&json!(true), &json!(false)), "{format}");
        assert!(result["duration_ms"].is_number() && result["result"].as_str().unwrap().contains("Asia/Tokyo"));
        assert_eq!(said.of("service.turn_complete")[0]["tool_call_count"], 1);

        let (_, log) = house.get(&format!("/v1/turn-logs/{}", said.turn)).await;
        assert_eq!((&log["status"], log["tool_calls"].as_array().map(Vec::len)), (&json!("ok"), Some(1)), "{log}");
        let (_, page) = house.get("/v1/tool-calls?bot_id=handy").await;
        let events = page["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["turn_id"] == said.turn).unwrap();
        for entry in [&log["tool_calls"][0], &event["tool_calls"][0]] {
            assert_eq!((&entry["name"], &entry["call_id"]), (&json!("time"), &json!(id)), "{format}");
            assert_eq!((&entry["ok"], &entry["status"]), (&json!(true), &json!("completed")), "{format}");
            assert_eq!((&entry["effects"], &entry["iteration"]), (&json!("read_only"), &json!(1)), "{format}");
            assert_eq!(entry["result"], result["result"], "{format}");
            assert!(entry["duration_ms"].is_number() && entry["started_at"].is_number(), "{format}");
        }
        let replay = house.request(reqwest::Method::GET, &format!("/v1/turns/{}/stream", said.turn));
        assert_eq!(replay.send().await.unwrap().text().await.unwrap(), said.whole, "{format}");
    }
    let (_, with_tools) = house.get("/v1/turn-logs?has_tools=true").await;
    assert_eq!(with_tools["total_count"], 3);
    house.close().await;
}

/// A house whose web is another upstream: Brave with a key, DuckDuckGo, and pages of loopback if `allow` says so.
async fn on_the_web(allow: &str) -> (House, Upstream) {
    let web = Upstream::start().await;
    let house = House::open_with(|config| {
        config.search.brave_api_key = Some("brave-key-4711".into());
        config.search.brave_url = Some(web.web_url("/brave"));
        config.search.duckduckgo_url = Some(web.web_url("/ddg"));
        config.web.allow =
            greenroom::config::Names(allow.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect());
    })
    .await;
    (house, web)
}

/// tools.md §14 item 10.
#[tokio::test]
async fn a_search_that_is_refused_moves_on_and_says_so() {
    let (house, web) = on_the_web("").await;
    bot(&house, "seeker", json!({"uses_tools": true, "uses_search": true})).await;
    web.web("/brave/web/search", WebAnswer::status(429));
    web.web("/ddg", WebAnswer::page(duckduckgo_page(&[("Rust", "https://rust.example/", "A language.")])));
    house.upstream.script(calling(&[("web_search", json!({"search_query": "rust", "max_results": "3"}))]));
    house.upstream.script(Script::text("Found it."));
    let said = ask(&house, "seeker", "scripted", "what is rust?").await;
    let (ok, result) = said.results().remove(0);
    assert!(ok && result.contains("https://rust.example/") && result.contains("Note: Brave failed"), "{result}");
    assert_eq!(said.of("service.tool_call")[0]["name"], "search");
    let heard = told(&house.upstream.requests()[1].body).remove(0);
    assert!(heard.contains("OUTSIDE TEXT from search"), "what comes from outside is wrapped: {heard}");
    assert!(!result.contains("OUTSIDE TEXT"), "and not for people: {result}");
    assert_eq!(web.requests().len(), 2);

    // Brave rests for a while; a question that was answered is not asked again.
    house.upstream.script(calling(&[("search", json!({"query": "rust", "max_results": 3}))]));
    house.upstream.script(calling(&[("search", json!({"query": "oxide"}))]));
    house.upstream.script(Script::text("Found more."));
    ask(&house, "seeker", "scripted", "and again?").await;
    let asked: Vec<String> = web.requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(asked.iter().filter(|path| path.starts_with("/brave")).count(), 1, "{asked:?}");
    assert!(!said.whole.contains("brave-key-4711"));
    house.close().await;
}

/// tools.md §14 item 9: flags decide what runs, whatever the model says.
#[tokio::test]
async fn what_a_bot_was_not_given_does_not_run() {
    let (house, web) = on_the_web("127.0.0.1").await;
    web.web("/brave/web/search", WebAnswer::json(&brave_web(&[])));
    bot(&house, "handy", json!({"uses_tools": true})).await;
    bot(&house, "barred", json!({"uses_tools": true, "uses_search": true, "tools_deny": ["search", "web_fetch"]}))
        .await;
    bot(&house, "chosen", json!({"uses_tools": true, "uses_search": true, "tools_allow": ["time"]})).await;
    bot(&house, "idle", json!({"uses_tools": false, "uses_search": true})).await;
    let forbidden = [("web_search", json!({"query": "x"})), ("web_fetch", json!({"url": web.web_url("/")}))];
    for slug in ["handy", "barred", "chosen"] {
        house.upstream.script(calling(&forbidden));
        house.upstream.script(Script::text("Then not."));
        let said = ask(&house, slug, "scripted", "search").await;
        assert_eq!((said.status(), said.text().as_str()), ("completed", "Then not."), "{slug}");
        for (ok, result) in said.results() {
            assert!(!ok && result.contains("There is no tool") && result.contains("time"), "{slug}: {result}");
        }
        let body = house.upstream.requests().last().unwrap().body.clone();
        assert!(told(&body).iter().all(|text| text.starts_with("ERROR: ")), "{slug}: {body}");
        let offered: Vec<&str> =
            body["tools"].as_array().unwrap().iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        assert!(!offered.contains(&"search") && offered.contains(&"time"), "{slug}: {offered:?}");
        assert_eq!(slug == "chosen", offered == ["time"], "{slug}: {offered:?}");
    }
    // Without `uses_tools` nothing is offered at all, and a call out of the blue ends as it may, but runs nowhere.
    house.upstream.script(calling(&forbidden));
    house.upstream.default_script(Script::text("Then not."));
    let said = ask(&house, "idle", "scripted", "search").await;
    assert!(house.upstream.requests().last().unwrap().body.get("tools").is_none());
    assert!(said.results().iter().all(|(ok, _)| !ok), "{}", said.whole);
    assert!(web.requests().is_empty());
    house.close().await;
}

/// tools.md §14 item 11.
#[tokio::test]
async fn a_page_of_the_house_itself_is_refused_before_any_connection() {
    let (house, web) = on_the_web("").await;
    bot(&house, "seeker", json!({"uses_tools": true, "uses_search": true})).await;
    let port = web.address().port();
    let inside = [
        web.web_url("/secret"),
        format!("http://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ];
    let calls: Vec<_> = inside.iter().map(|url| ("web_fetch", json!({"url": url}))).collect();
    house.upstream.script(calling(&calls));
    house.upstream.script(Script::text("I may not."));
    let said = ask(&house, "seeker", "scripted", "fetch").await;
    let results = said.results();
    assert!(results.len() == inside.len() && results.iter().all(|(ok, _)| !ok), "{results:?}");
    assert_eq!((web.accepted_connections(), said.status()), (0, "completed"));
    house.close().await;
}

/// tools.md §11.3: what looks like a secret by its name is seen by the tool and the model alone.
#[tokio::test]
async fn secrets_stay_out_of_events_logs_and_records() {
    let (house, web) = on_the_web("127.0.0.1").await;
    bot(&house, "seeker", json!({"uses_tools": true, "uses_search": true, "requires_memory": true})).await;
    web.web("/keys", WebAnswer::json(&json!({"name": "door", "api_key": "s3cr3t-in-a-page"})));
    house.upstream.script(calling(&[
        ("web_fetch", json!({"url": web.web_url("/keys")})),
        ("time", json!({"timezone": "UTC", "password": "s3cr3t-in-a-call"})),
        ("unknown_tool", json!({"nested": {"Authorization": "s3cr3t-in-a-header"}})),
    ]));
    house.upstream.script(Script::text("Done."));
    let said = ask(&house, "seeker", "scripted", "look").await;
    assert_eq!(said.status(), "completed");
    let heard = told(&house.upstream.requests()[1].body);
    assert!(heard[0].contains("s3cr3t-in-a-page"), "the model reads the page: {heard:?}");
    assert!(said.results()[0].1.contains("door"), "{:?}", said.results());
    let (_, log) = house.get(&format!("/v1/turn-logs/{}", said.turn)).await;
    let (_, calls) = house.get("/v1/tool-calls").await;
    let (_, history) = house.get("/v1/history?bot_id=seeker&user_id=ann&limit=100").await;
    assert!(log.to_string().contains("[redacted]") && calls.to_string().contains("unknown_tool"), "{log}");
    // The log shows what the model was sent; that is the model's own words and the page's, and an admin's to see.
    for (place, text) in [
        ("stream", said.whole.clone()),
        ("log", log["tool_calls"].to_string()),
        ("calls", calls.to_string()),
        ("history", history.to_string()),
    ] {
        assert!(!text.contains("s3cr3t"), "{place}: {text}");
    }
    house.close().await;
}

/// The `model` tool reaches the desk above the tools room.
#[tokio::test]
async fn a_bot_can_switch_its_model_from_the_next_message_on() {
    let house = House::open().await;
    bot(&house, "handy", json!({"uses_tools": true, "default_model": "scripted"})).await;
    model(&house, "other", "openai", json!({})).await;
    house.upstream.script(calling(&[
        ("list_models", json!({})),
        ("model", json!({"action": "switch", "model_name": "OTHER"})),
        ("model", json!({"action": "switch", "model_name": "nonesuch"})),
    ]));
    house.upstream.default_script(Script::text("Here."));
    let body = json!({"bot_id": "handy", "user": "ann", "stream": true,
        "messages": [{"role": "user", "content": "use the other one"}]});
    let said = read(&house, "/v1/chat/completions", &body, &[]).await;
    let results = said.results();
    assert!(results[0].0 && results[0].1.contains("other") && results[0].1.contains("scripted"), "{results:?}");
    assert!(results[1].0 && !results[2].0, "{results:?}");
    let asked = |house: &House| -> Vec<String> {
        house.upstream.requests().iter().map(|it| it.body["model"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(asked(&house), ["scripted", "scripted"]);
    read(&house, "/v1/chat/completions", &body, &[]).await;
    assert_eq!(asked(&house).last().map(String::as_str), Some("other"));
    assert_eq!(house.get("/v1/models/current?bot_id=handy&user=bob").await.1["model"]["id"], "scripted");
    house.close().await;
}

#[tokio::test]
async fn what_a_bot_stores_by_its_tool_is_there_for_it_and_for_the_api() {
    let house = House::open().await;
    bot(&house, "keeper", json!({"uses_tools": true, "requires_memory": true})).await;
    house
        .upstream
        .script(calling(&[("remember", json!({"text": "Ann keeps a parrot called Otto.", "importance": 0.9}))]));
    house.upstream.script(Script::text("Noted."));
    let stored = ask(&house, "keeper", "scripted", "I have a parrot, Otto.").await;
    assert!(stored.results()[0].0, "{}", stored.whole);
    house.upstream.script(calling(&[("memory", json!({"action": "search", "query": "parrot"}))]));
    house.upstream.script(Script::text("Otto."));
    let found = ask(&house, "keeper", "scripted", "what is it called?").await;
    assert!(found.results()[0].1.contains("Otto"), "{:?}", found.results());
    let (status, page) = house.get("/v1/memory?bot_id=keeper").await;
    assert!(status == 200 && page.to_string().contains("a parrot called Otto"), "{page}");
    // The turn before is told as one exchange: a call and its result.
    let messages = house.upstream.requests().last().unwrap().body["messages"].to_string();
    assert!(messages.contains("called Otto"), "{messages}");
    house.close().await;
}

/// A limit of the settings reaches the loop; a client that leaves does not stop a tool.
#[tokio::test]
async fn limits_are_settings_and_a_client_that_leaves_stops_no_tool() {
    let (house, web) = on_the_web("").await;
    bot(&house, "seeker", json!({"uses_tools": true, "uses_search": true})).await;
    let limit = json!({"scope_type": "bot", "scope_id": "seeker", "key": "max_tool_calls_per_turn", "value": 2});
    assert_eq!(house.put("/v1/settings", &limit).await.0, 200);
    let zones = ["UTC", "Asia/Tokyo", "Europe/Oslo"];
    house.upstream.script(calling(&zones.map(|zone| ("time", json!({"timezone": zone})))));
    house.upstream.script(Script::text("Enough."));
    let said = ask(&house, "seeker", "scripted", "times").await;
    let ok: Vec<bool> = said.results().iter().map(|(ok, _)| *ok).collect();
    assert_eq!((ok.as_slice(), said.text().as_str()), ([true, true, false].as_slice(), "Enough."));

    // tools.md §14 item 14.
    let (held, gate) = Script::text("x").gated();
    drop(held);
    web.web("/brave/web/search", WebAnswer::json(&brave_web(&[("T", "https://t.example/", "t")])).gated(&gate));
    house.upstream.script(calling(&[("search", json!({"query": "slow"}))]));
    house.upstream.script(Script::text("It was slow."));
    let body = json!({"model": "scripted", "bot_id": "seeker", "user": "ann", "stream": true,
        "messages": [{"role": "user", "content": "search slowly"}]});
    let response = house.request(reqwest::Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap();
    let turn = response.headers()["x-turn-id"].to_str().unwrap().to_owned();
    web.wait_for_request(1).await;
    drop(response);
    gate.open();
    let rest = house.request(reqwest::Method::GET, &format!("/v1/turns/{turn}/stream"));
    assert!(soon(rest.send().await.unwrap().text()).await.unwrap().ends_with("data: [DONE]\n\n"));
    let (_, log) = house.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((&log["status"], &log["response"]), (&json!("ok"), &json!("It was slow.")), "{log}");
    assert_eq!(log["tool_calls"][0]["ok"], true);
    house.close().await;
}
