//! Health, status, metrics and documents.

use greenroom::http::routes::TABLES;
use reqwest::Method;
use serde_json::json;

use crate::common::House;

#[tokio::test]
async fn the_overview_shows_the_house() {
    let house = House::open().await;
    for path in ["/health", "/healthz", "/livez", "/readyz", "/ready", "/version"] {
        assert_eq!(house.get(path).await.0, 200, "{path}");
    }
    let (_, status) = house.get("/status").await;
    assert_eq!((&status["status"], &status["database_connected"]), (&json!("ok"), &json!(true)));
    let actors = status["actors"].as_array().unwrap();
    assert!(actors.iter().all(|actor| actor["state"] == "up"), "{actors:#?}");
    for name in ["root", "store", "providers", "provider:echo", "bot:nova", "journal", "http"] {
        assert!(actors.iter().any(|actor| actor["name"] == name), "{name}");
    }
    let (_, system) = house.get("/v1/status").await;
    assert_eq!(system["config"]["all_bots"].as_array().unwrap().len(), 3);
    let page = house.request(Method::GET, "/status").header("accept", "text/html,*/*").send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers().contains_key("content-security-policy"));
    let html = page.text().await.unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("provider:echo") && html.contains("bot:nova"));
    let part = house.request(Method::GET, "/status?part=tree").header("accept", "text/html").send().await.unwrap();
    let part = part.text().await.unwrap();
    assert!(part.starts_with("<header>") && part.contains("bot:nova"));
    house.close().await;
}

#[tokio::test]
async fn metrics_name_each_family_once() {
    let house = House::open().await;
    let (status, _) = house
        .post("/v1/chat/completions", &json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}))
        .await;
    assert_eq!(status, 200);
    let text = house.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let mut families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for wanted in [
        "greenroom_turns_total counter",
        "greenroom_time_to_first_token_seconds histogram",
        "greenroom_inter_token_seconds histogram",
        "greenroom_http_requests_total counter",
        "greenroom_actor_mailbox_depth gauge",
        "greenroom_actor_restarts gauge",
        "greenroom_pool_connections gauge",
        "greenroom_journal_lag_seconds gauge",
    ] {
        // The echo model answers in one piece, so gaps between pieces may not have been seen yet.
        assert!(families.contains(&wanted) || wanted.contains("inter_token"), "{wanted} in {families:?}");
    }
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);
    house.close().await;
}

#[tokio::test]
async fn the_document_and_its_browser_are_served() {
    let house = House::open().await;
    let (status, document) = house.get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    for route in TABLES.iter().copied().flatten() {
        let path = route.path.replace("{*", "{");
        let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
        assert!(operation["responses"].is_object(), "{} {path}", route.method);
    }
    let docs = house.request(Method::GET, "/docs").send().await.unwrap();
    assert_eq!((docs.status().as_u16(), docs.headers()["location"].to_str().unwrap()), (307, "/docs/index.html"));
    for (file, kind) in
        [("index.html", "text/html"), ("swagger-ui.css", "text/css"), ("swagger-initializer.js", "text/javascript")]
    {
        let answer = house.request(Method::GET, &format!("/docs/{file}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        assert_eq!(answer.headers()["content-type"], kind, "{file}");
    }
    assert_eq!(house.get("/docs/no-such-file").await.0, 404);
    house.close().await;
}
