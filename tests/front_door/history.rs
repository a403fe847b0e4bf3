//! What was said: pages without gaps, search, clearing, summaries, and the command that shows them.

use greenroom::config::KeyRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::run;
use crate::common::{House, key, released};
use crate::transfer::{import, message};

fn ids(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().unwrap();
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

fn texts(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_str()).collect()
}

#[tokio::test]
async fn pages_have_neither_gaps_nor_repetitions() {
    let house = House::open().await;
    // Three messages share each minute.
    let records: Vec<Value> = (0..30).map(|at| message("nova", at / 3, "user", &format!("number {at}"))).collect();
    import(&house, &records).await;
    let (_, whole) = house.get("/v1/history?bot_id=nova&limit=0").await;
    assert_eq!((&whole["total_count"], &whole["has_more"]), (&json!(30), &json!(false)));
    assert_eq!(texts(&whole).len(), 30);
    let mut seen: Vec<String> = Vec::new();
    let mut before = String::new();
    loop {
        let (status, page) = house.get(&format!("/v1/history?bot_id=nova&limit=4{before}")).await;
        assert_eq!(status, 200, "{page}");
        let mut ids = ids(&page);
        before = format!("&before={}", ids[0]);
        ids.append(&mut seen);
        seen = ids;
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, ids(&whole));
    // By time: exclusive, in both notations.
    let at = whole["messages"][15]["timestamp"].as_f64().unwrap();
    let (_, by_number) = house.get(&format!("/v1/history?bot_id=nova&before={at}")).await;
    let (_, by_text) = house.get("/v1/history?bot_id=nova&before=2024-03-01T00:05:00Z").await;
    assert_eq!((ids(&by_number), ids(&by_number)), (ids(&by_text), ids(&whole)[..15].to_vec()));
    for wrong in ["yesterday", "00000000-0000-4000-8000-000000000000", "%25", "nan"] {
        let (status, answer) = house.get(&format!("/v1/history?bot_id=nova&before={wrong}")).await;
        assert_eq!((status, answer["detail"].as_str()), (400, Some("Invalid 'before' cursor")), "{wrong}");
    }
    assert_eq!(house.get("/v1/history?bot_id=nobody").await.0, 404);
    assert_eq!(house.get("/v1/history?limit=many").await.0, 422);
    house.close().await;
}

#[tokio::test]
async fn a_search_reads_query_or_body_and_sorts() {
    let house = House::open().await;
    let records = [
        message("nova", 0, "user", "my dog Bella likes the garden"),
        message("nova", 500, "assistant", "the garden is a fine place for Bella"),
        message("nova", 900, "user", "I bought a new bicycle"),
    ];
    import(&house, &records).await;
    let found = async |body: Value| house.post("/v1/history/search", &body).await;
    let (status, hits) =
        found(json!({"query": "Where is Bella?", "bot_id": "nova", "mode": "text", "explain": true})).await;
    assert_eq!((status, &hits["total_count"], &hits["mode"]), (200, &json!(2), &json!("text")), "{hits}");
    let first = &hits["messages"][0];
    assert!(first["score"].is_number() && first["parts"].is_object() && first["session_id"].is_string(), "{first}");
    let (_, by_time) = found(json!({"query": "Bella garden", "bot_id": "nova", "mode": "text", "sort": "time"})).await;
    assert_eq!(texts(&by_time)[0], "my dog Bella likes the garden");
    let (_, of_role) = found(json!({"query": "Bella", "bot_id": "nova", "mode": "text", "role": "assistant"})).await;
    assert_eq!(texts(&of_role), ["the garden is a fine place for Bella"]);
    let bodiless = house.request(Method::POST, "/v1/history/search?query=bicycle&bot_id=nova&mode=text&limit=1");
    let (_, of_query) = house.send(bodiless).await;
    assert_eq!(texts(&of_query), ["I bought a new bicycle"], "{of_query}");
    let (_, hybrid) = found(json!({"query": "bicycle", "bot_id": "nova"})).await;
    assert_eq!((texts(&hybrid)[0], &hybrid["mode"]), ("I bought a new bicycle", &json!("hybrid")));
    let (_, narrowed) = found(json!({"query": "bicycle", "bot_id": "nova", "mode": "text", "user_id": "bob"})).await;
    assert_eq!(narrowed["total_count"], 0);
    let (_, earlier) =
        found(json!({"query": "Bella", "bot_id": "nova", "mode": "text", "until": "2024-03-01T01:00:00Z"})).await;
    assert_eq!(texts(&earlier), ["my dog Bella likes the garden"]);
    for bad in [
        json!({}),
        json!({"query": " "}),
        json!({"query": 5}),
        json!({"query": "x", "mode": "magic"}),
        json!({"query": "x", "sort": "colour"}),
        json!({"query": "x", "role": "tool"}),
        json!({"query": "x", "since": "noon"}),
        json!({"query": "x", "exclude": ["a"]}),
        json!({"query": "x", "limit": 0}),
        json!(["x"]),
    ] {
        let (status, answer) = found(bad.clone()).await;
        assert_eq!((status, &answer["detail"][0]["loc"][0]), (422, &json!("body")), "{bad}");
    }
    assert_eq!(found(json!({"query": "x", "bot_id": "nobody"})).await.0, 404);
    house.close().await;
}

#[tokio::test]
async fn clearing_waits_for_no_turn_and_counts() {
    let house = House::open().await;
    let records = [
        message("spark", 0, "user", "one"),
        message("spark", 1, "assistant", "two"),
        json!({"kind": "memory", "bot_id": "spark", "content": "likes tea"}),
    ];
    import(&house, &records).await;
    let running = house.stream("[[hold=1]][[chunks=2]]", "ann").await;
    house.upstream.wait_for_request(1).await;
    let (status, answer) = house.delete("/v1/history?bot_id=spark").await;
    assert_eq!(status, 409, "{answer}");
    released(&house.upstream, running.text()).await.unwrap();
    let (_, kept) = house.delete("/v1/history?bot_id=spark&include_memories=false").await;
    assert_eq!(kept["memories_deleted"], 0, "{kept}");
    assert!(kept["deleted_count"].as_u64().unwrap() >= 2, "{kept}");
    assert_eq!(house.get("/v1/history?bot_id=spark").await.1["total_count"], 0);
    assert_eq!(house.get("/v1/memory?bot_id=spark").await.1["total_count"], 1);
    let (_, cleared) = house.delete("/v1/history?bot_id=spark").await;
    assert_eq!((&cleared["success"], &cleared["memories_deleted"]), (&json!(true), &json!(1)), "{cleared}");
    house.close().await;
}

#[tokio::test]
async fn a_key_of_one_user_sees_that_user_alone() {
    let house = House::open_with(|config| {
        config.auth.admin_key = Some("0123456789".into());
        config.auth.keys = vec![key("ann", &[KeyRole::Read], Some("ann")), key("bob", &[KeyRole::Read], Some("bob"))];
    })
    .await;
    import(&house, &[message("nova", 0, "user", "a secret of Ann")]).await;
    let get = async |key: &str, path: &str| {
        let request = house.client.get(format!("{}{path}", house.running.url())).bearer_auth(format!("the-{key}-key"));
        house.send(request).await
    };
    assert_eq!(get("ann", "/v1/history?bot_id=nova").await.1["total_count"], 1);
    assert_eq!(get("bob", "/v1/history?bot_id=nova").await.1["total_count"], 0);
    assert_eq!(get("bob", "/v1/history?bot_id=nova&user_id=ann").await.0, 403);
    assert_eq!(get("bob", "/v1/memory?bot_id=nova").await.0, 403);
    assert_eq!(get("ann", "/v1/export").await.0, 403);
    let search = house.client.post(format!("{}/v1/history/search", house.running.url())).bearer_auth("the-bob-key");
    let (_, hits) = house.send(search.json(&json!({"query": "secret", "bot_id": "nova", "mode": "text"}))).await;
    assert_eq!(hits["total_count"], 0, "{hits}");
    house.close().await;
}

#[tokio::test]
async fn summaries_are_made_listed_and_deleted() {
    let house = House::open_with(|config| {
        config.bots.tunables.max_context_tokens = Some(2000);
    })
    .await;
    let long = "a long tale of a journey through the mountains, told at the fireside. ".repeat(8);
    let records: Vec<Value> = (0..80)
        .map(|at| message("nova", at * 30, if at % 2 == 0 { "user" } else { "assistant" }, &format!("{at}: {long}")))
        .collect();
    import(&house, &records).await;
    let (status, due) = house.get("/v1/history/summarize/preview?bot_id=nova").await;
    assert_eq!(status, 200, "{due}");
    assert!(!due["sessions"].as_array().unwrap().is_empty(), "{due}");
    let (status, done) = house.post("/v1/history/summarize?bot_id=nova&use_heuristic=true", &Value::Null).await;
    assert_eq!((status, &done["success"]), (200, &json!(true)), "{done}");
    assert!(done["sessions_summarized"].as_u64().unwrap() > 0, "{done}");
    let (_, list) = house.get("/v1/history/summaries?bot_id=nova").await;
    let first = &list["summaries"][0];
    assert!(
        first["method"] == "llm" && first["model"] == "scripted" && first["message_count"].as_u64().unwrap() > 0,
        "{first}"
    );
    // What is summarised stays to be read.
    assert_eq!(house.get("/v1/history?bot_id=nova&limit=1000").await.1["total_count"], 80);
    let (_, raw) = house.get("/v1/history?bot_id=nova&limit=1000&include_summarized=false").await;
    assert!(raw["total_count"].as_u64().unwrap() < 80, "{}", raw["total_count"]);
    let id = first["id"].as_str().unwrap();
    for bad in ["abc", "%25", "________"] {
        assert_eq!(house.delete(&format!("/v1/history/summary/{bad}?bot_id=nova")).await.0, 400, "{bad}");
    }
    let (status, absent) = house.delete("/v1/history/summary/00000000-0000-4000-8000-000000000000?bot_id=nova").await;
    assert_eq!((status, &absent["success"], &absent["summary_id"]), (200, &json!(false), &Value::Null), "{absent}");
    let (_, gone) = house.delete(&format!("/v1/history/summary/{}?bot_id=nova", &id[..8])).await;
    assert_eq!((&gone["success"], &gone["summary_id"]), (&json!(true), &json!(id)), "{gone}");
    assert!(gone["messages_restored"].as_u64().unwrap() > 0, "{gone}");
    let (status, rebuilt) =
        house.post("/v1/history/summarize/rebuild?bot_id=nova&sessions=1&use_heuristic=true", &Value::Null).await;
    assert_eq!(status, 200, "{rebuilt}");
    assert_eq!(house.post("/v1/history/summarize/rebuild?sessions=2001", &Value::Null).await.0, 422);
    for path in ["summarize?", "summarize/rebuild?sessions=1&"] {
        let path = format!("/v1/history/{path}bot_id=nova&use_heuristic=true&async=true");
        let (status, task) = house.post(&path, &Value::Null).await;
        assert_eq!((status, &task["status"]), (202, &json!("pending")), "{task}");
        let id = task["task_id"].as_str().unwrap();
        let (_, ended) = house.get(&format!("/v1/tasks/{id}?wait=true&timeout=60")).await;
        assert_eq!(
            (&ended["status"], &ended["result"]["success"]),
            (&json!("completed"), &json!(true)),
            "{path}: {ended}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn the_command_shows_and_asks_before_it_deletes() {
    let house = House::open().await;
    import(&house, &[message("nova", 0, "user", "my dog\u{1b}[2J Bella"), message("nova", 1, "assistant", "lovely")])
        .await;
    let url = house.running.url();
    let history =
        async |words: &[&str]| run(&[&["history", "--url", &url, "--bot", "nova"], words].concat(), &[]).await;
    let list = history(&["list"]).await;
    assert!(
        list.code == 0 && list.out.contains("my dog[2J Bella") && list.out.contains("2024-03-01 00:00"),
        "{}",
        list.out
    );
    let found = history(&["search", "--mode", "text", "Bella"]).await;
    assert!(found.out.contains("Bella") && !found.out.contains("lovely"), "{}{}", found.out, found.err);
    let page = history(&["list", "--json"]).await;
    let page: Value = serde_json::from_str(&page.out).unwrap();
    let id = page["messages"][0]["id"].as_str().unwrap();
    let one = history(&["get", &id[..8]]).await;
    assert!(one.out.contains("user_id") && one.out.contains("my dog[2J Bella"), "{}{}", one.out, one.err);
    let absent = history(&["get", "00000000-0000-4000-8000-000000000000"]).await;
    assert!(absent.code == 1 && absent.err.contains("not found"), "{}", absent.err);

    let refused = history(&["forget", "--count", "1"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{}", refused.err);
    let dry = history(&["forget", "--count", "1", "--dry-run"]).await;
    assert!(dry.code == 0 && dry.out.contains("1 messages would be forgotten"), "{}{}", dry.out, dry.err);
    let done = history(&["forget", "--count", "1", "--yes"]).await;
    assert!(done.code == 0 && done.out.contains("1 messages forgotten"), "{}{}", done.out, done.err);
    assert_eq!(house.get("/v1/history?bot_id=nova").await.1["total_count"], 1);
    let back = history(&["restore"]).await;
    assert!(back.code == 0 && back.out.contains("1 messages restored"), "{}{}", back.out, back.err);
    assert_eq!(history(&["clear"]).await.code, 1);
    let cleared = history(&["clear", "--yes"]).await;
    assert_eq!((cleared.code, cleared.out.as_str()), (0, "2 messages and 0 memories deleted\n"), "{}", cleared.err);
    for words in [["preview"].as_slice(), &["summaries"], &["summarize", "--heuristic"]] {
        let told = history(words).await;
        assert_eq!(told.code, 0, "{words:?}: {}{}", told.out, told.err);
    }
    house.close().await;
}
