//! Who gets in, and how the others are told.

use greenroom::config::{KeyRole, Names};
use greenroom::http::route::Scope;
use greenroom::http::routes::TABLES;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::common::{House, key, soon, text_of};

const ADMIN: &str = "the-admin-key-of-this-test";

fn with_keys(config: &mut greenroom::config::Config) {
    config.auth.admin_key = Some(ADMIN.into());
    config.auth.keys = vec![
        key("chat", &[KeyRole::Chat], None),
        key("read", &[KeyRole::Read], None),
        key("ann", &[KeyRole::Chat], Some("ann")),
    ];
}

/// A path that fits a template.
fn concrete(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "something" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_keeps_its_scope() {
    let house = House::open_with(with_keys).await;
    for route in TABLES.iter().copied().flatten() {
        let url = format!("{}{}", house.running.url(), concrete(route.path));
        let request = || house.client.request(route.method.clone(), &url);
        let status = |answer: reqwest::Response| answer.status().as_u16();
        let nobody = request().send().await.unwrap();
        if route.scope == Scope::Public {
            assert!(!matches!(status(nobody), 401 | 403), "{} {}", route.method, route.path);
            continue;
        }
        assert!(nobody.headers().contains_key("www-authenticate"), "{}", route.path);
        assert_eq!(status(nobody), 401, "{} {}", route.method, route.path);
        let stranger = request().bearer_auth("not-a-key").send().await.unwrap();
        assert_eq!(status(stranger), 401, "{} {}", route.method, route.path);
        for (role, scope) in [("chat", Scope::Chat), ("read", Scope::Read)] {
            if scope != route.scope {
                let insufficient = request().bearer_auth(format!("the-{role}-key")).send().await.unwrap();
                assert_eq!(status(insufficient), 403, "{role}: {} {}", route.method, route.path);
            }
        }
    }
    for (path, key) in [("/v1/models", "the-chat-key"), ("/status", "the-read-key"), ("/v1/settings", ADMIN)] {
        let url = format!("{}{path}", house.running.url());
        assert_eq!(house.client.get(&url).header("x-api-key", key).send().await.unwrap().status(), 200, "{path}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_bound_key_speaks_for_its_user_alone() {
    let house = House::open_with(with_keys).await;
    let ask = async |key: &str, user: Value| {
        let body = json!({"model": "echo", "bot_id": "spark", "user": user,
            "messages": [{"role": "user", "content": "hi"}]});
        let request = house.client.post(format!("{}/v1/chat/completions", house.running.url())).json(&body);
        house.send(request.bearer_auth(key)).await
    };
    let (status, answer) = ask("the-ann-key", Value::Null).await;
    assert_eq!((status, &answer["service"]["user_id"]), (200, &json!("ann")));
    assert_eq!(ask("the-ann-key", json!("Ann")).await.0, 200);
    assert_eq!(ask("the-ann-key", json!("bob")).await.0, 403);
    let (_, of_bob) = ask("the-chat-key", json!("bob")).await;
    let turn = of_bob["service"]["turn_id"].as_str().unwrap();
    for (key, expected) in [("the-ann-key", 404), ("the-chat-key", 200)] {
        let url = format!("{}/v1/turns/{turn}/stream", house.running.url());
        assert_eq!(house.client.get(url).bearer_auth(key).send().await.unwrap().status(), expected, "{key}");
        let request = house.client.post(format!("{}/v1/chat/abort", house.running.url()));
        assert_eq!(house.send(request.bearer_auth(key).json(&json!({"turn_id": turn}))).await.0, expected, "{key}");
    }
    house.close().await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_stay_outside() {
    let house = House::open_with(|config| {
        config.auth.allowed_origins = Names(vec!["https://chat.example.org".into()]);
    })
    .await;
    let send = async |headers: &[(&str, &str)], method: Method| {
        let mut request = house.request(method, "/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    assert_eq!(send(&[("host", "evil.example")], Method::GET).await.status(), StatusCode::MISDIRECTED_REQUEST);
    let foreign = send(&[("origin", "https://evil.example")], Method::GET).await;
    assert_eq!(foreign.status(), 403);
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    let allowed = send(&[("origin", "https://chat.example.org")], Method::GET).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://chat.example.org");
    let asked = [
        ("origin", "https://chat.example.org"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, content-type"),
    ];
    let preflight = send(&asked, Method::OPTIONS).await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization, content-type");
    assert_eq!(send(&[], Method::OPTIONS).await.status(), 405);
    house.close().await;
}

#[tokio::test]
async fn bodies_have_limits_and_shapes() {
    let house = House::open().await;
    let post = async |path: &str, content_type: &str, body: String| {
        let request = house.request(Method::POST, path).header("content-type", content_type).body(body);
        house.send(request).await
    };
    let chat = "/v1/chat/completions";
    let padding = |bytes: usize| format!(r#"{{"messages": [{{"role": "user", "content": "{}"}}]}}"#, "x".repeat(bytes));
    assert_eq!(post("/v1/settings/batch", "application/json", padding(1 << 20)).await.0, 413);
    assert_eq!(post(chat, "application/json", padding(26 << 20)).await.0, 413);
    for (content_type, body) in [
        ("application/json", "{\"messages\": ["),
        ("application/json", ""),
        ("application/json", "[]"),
        ("text/plain", "{\"messages\": []}"),
        ("application/json", &"[".repeat(200_000)),
        (
            "application/json",
            r#"{"messages": [{"role": "robot", "content": 5}], "temperature": "hot", "bot_id": "a b"}"#,
        ),
    ] {
        let (status, answer) = post(chat, content_type, body.to_owned()).await;
        assert_eq!(status, 422, "{body:.40}: {answer}");
        assert!(answer["detail"].is_array() && answer["detail"][0]["loc"][0] == "body", "{answer}");
        assert!(
            answer["error"]["message"].is_string() && answer["error"]["type"] == "invalid_request_error",
            "{answer}"
        );
    }
    let (status, answer) = post("/v1/settings/batch", "application/json", "{".into()).await;
    assert_eq!((status, answer["detail"][0]["type"].as_str()), (422, Some("json_invalid")));
    assert!(answer.get("error").is_none());
    let (status, answer) = post(chat, "application/json", r#"{"messages": [], "n": 3}"#.into()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (400, Some("invalid_request")));
    house.close().await;
}

#[tokio::test]
async fn paths_and_methods_are_told_apart() {
    let house = House::open().await;
    let send = async |method: Method, path: &str| house.request(method, path).send().await.unwrap();
    let lost = send(Method::GET, "/v1/nowhere").await;
    assert_eq!(lost.status(), 404);
    assert_eq!(lost.headers()["x-request-id"].len(), 8);
    let body: Value = lost.json().await.unwrap();
    assert_eq!((&body["detail"], &body["error"]["code"]), (&json!("Not Found"), &json!("not_found")));
    let wrong = send(Method::DELETE, "/v1/models/definitions").await;
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "GET"));
    let slash = send(Method::GET, "/v1/models/?limit=5").await;
    assert_eq!((slash.status().as_u16(), slash.headers()["location"].to_str().unwrap()), (307, "/v1/models?limit=5"));
    let head = send(Method::HEAD, "/health").await;
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
    assert_eq!(send(Method::HEAD, "/v1/models").await.status(), 405);
    let own_id = house.request(Method::GET, "/health").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(own_id.headers()["x-request-id"], "mine-1");
    house.close().await;
}

#[tokio::test]
async fn http2_clients_are_served() {
    let house = House::open().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let body = json!({"model": "scripted", "bot_id": "spark", "stream": true,
        "messages": [{"role": "user", "content": "[[chunks=4]]"}]});
    let request = client.post(format!("{}/v1/chat/completions", house.running.url())).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(text_of(&soon(response.text()).await.unwrap()), "t0 t1 t2 t3 ");
    house.close().await;
}
