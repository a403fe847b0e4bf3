//! Clients that leave, stall, race, press stop, or come in crowds.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Frame, Stream, together};
use crate::server::{Server, http};

#[tokio::test]
async fn a_plain_turn_is_told_in_the_agreed_order_and_can_be_replayed() {
    let server = Server::start().await;
    let mut stream = server.open(&Server::body("[[chunks=6]][[delay_ms=5]]")).await;
    let turn = stream.turn().await;
    let stream = stream.finish().await;
    let kinds: Vec<&str> = stream.values().map(|f| f["object"].as_str().unwrap_or("?")).collect();
    assert_eq!(kinds.first(), Some(&"service.turn_metadata"));
    assert_eq!(kinds.last(), Some(&"service.turn_complete"));
    assert_eq!((stream.text().as_str(), stream.status()), ("t0 t1 t2 t3 t4 t5 ", "completed"));
    assert!(stream.is_done());
    stream.check_ids(0);
    let (_, log) = server.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((log["status"].as_str(), log["response"].as_str()), (Some("ok"), Some("t0 t1 t2 t3 t4 t5 ")));
    for cut in [0, 1, 3, stream.frames.len() as u64 - 1] {
        let again = server.attach(&turn, cut).await.finish().await;
        let expected: Vec<_> =
            stream.frames.iter().filter(|(id, value)| *id > cut || value.is_none()).cloned().collect();
        assert_eq!(without_roles(again.frames), without_roles(expected), "behind {cut}");
    }
}

/// The role is told once per connection, so it is not part of what a replay must repeat.
fn without_roles(mut frames: Vec<Frame>) -> Vec<Frame> {
    for (_, value) in &mut frames {
        let delta = value.as_mut().and_then(|value| value["choices"][0]["delta"].as_object_mut());
        delta.map(|delta| delta.remove("role"));
    }
    frames
}

#[tokio::test]
async fn leaving_before_the_first_token_and_in_mid_stream_loses_nothing() {
    let server = Server::start().await;
    for prompt in ["[[first_ms=300]][[chunks=4]]", "[[chunks=30]][[delay_ms=10]]"] {
        let mut stream = server.open(&Server::body(prompt)).await;
        let turn = stream.turn().await;
        if prompt.contains("30") {
            stream.until("t3").await;
        }
        let last = stream.frames.last().map_or(0, |(id, _)| *id);
        let before = stream.text();
        drop(stream);
        let rest = server.attach(&turn, last).await.finish().await;
        rest.check_ids(last);
        assert!(rest.is_done() && rest.status() == "completed", "{prompt}");
        let log = server.until_turn(&turn, |turn| turn["status"] == "ok").await;
        assert_eq!(log["response"].as_str(), Some(format!("{before}{}", rest.text()).as_str()), "{prompt}");
    }
}

#[tokio::test]
async fn a_client_may_ask_that_leaving_cancels() {
    let server = Server::start_with("disconnect_grace = \"50ms\"\n").await;
    let client = http();
    let request = client.post(format!("{}/v1/chat/completions", server.url)).header("x-cancel-on-disconnect", "true");
    let response = request.json(&Server::body("[[chunks=9]][[hang=2]] leaving")).send().await.expect("an answer");
    let turn = response.headers()["x-turn-id"].to_str().expect("text").to_owned();
    let mut stream = Stream::of(response);
    stream.until("t1").await;
    drop(stream);
    server.upstream.wait_for_abort_of("leaving").await;
    server.until_turn(&turn, |turn| turn["status"] == "aborted").await;
}

#[tokio::test]
async fn abort_before_during_and_after() {
    let server = Server::start().await;
    for (prompt, text) in [("[[hang_headers]] before", ""), ("[[chunks=9]][[hang=2]] during", "t0 t1 ")] {
        let mut stream = server.open(&Server::body(prompt)).await;
        let turn = stream.turn().await;
        if text.is_empty() {
            server.upstream.wait_for_request(1).await;
        } else {
            stream.until(text).await;
        }
        assert_eq!(server.abort(&turn).await["detail"], "aborted");
        let stream = stream.finish().await;
        assert_eq!((stream.text().as_str(), stream.status()), (text, "aborted"));
        assert!(stream.is_done(), "an abort is a regular end");
        assert_eq!(server.abort(&turn).await["detail"], "already_completed");
        let log = server.until_turn(&turn, |turn| turn["status"] == "aborted").await;
        assert_eq!(log["response"].as_str().unwrap_or(""), text);
    }
    server.upstream.wait_for_abort_of("before").await;
    server.upstream.wait_for_abort_of("during").await;
    let missing = server.post("/v1/chat/abort", &json!({"turn_id": "turn-none"})).await;
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn of_two_turns_of_one_user_the_newer_wins() {
    let server = Server::start().await;
    let mut old = server.open(&Server::body("[[chunks=9]][[hang=1]] old")).await;
    let old_turn = old.turn().await;
    old.until("t0").await;
    let other_user = json!({"model": "scripted", "bot_id": "spark", "stream": true, "user": "bob",
        "messages": [{"role": "user", "content": "[[chunks=3]]"}]});
    let (new, other) =
        tokio::join!(async { server.open(&Server::body("[[chunks=3]] new")).await.finish().await }, async {
            server.open(&other_user).await.finish().await
        },);
    let old = old.finish().await;
    assert_eq!((old.status(), new.status(), other.status()), ("cancelled", "completed", "completed"));
    server.until_turn(&old_turn, |turn| turn["status"] == "cancelled").await;
    server.upstream.wait_for_abort_of("old").await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed_and_harms_nobody() {
    let server = Server::start().await;
    let address = server.url.strip_prefix("http://").expect("http");
    let body = json!({"model": "scripted", "bot_id": "spark", "stream": true, "user": "stalled",
        "messages": [{"role": "user", "content": "[[chunks=60000]]"}]})
    .to_string();
    let mut socket = TcpStream::connect(address).await.expect("connects");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    // One byte, and then nothing more: the others are served, and the socket is closed after the stall timeout.
    socket.read_u8().await.expect("the answer begins");
    let others = together((0..8).map(|n| {
        let mut body = Server::body("[[chunks=20]]");
        body["user"] = format!("quick{n}").into();
        let server = &server;
        async move { server.open(&body).await.finish().await.status().to_owned() }
    }))
    .await;
    assert!(others.iter().all(|status| status == "completed"), "{others:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut drained = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut drained)).await;
    assert!(end.is_ok(), "the stalled socket was closed");
    assert!(!String::from_utf8_lossy(&drained).contains("[DONE]"));
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let server = Server::start().await;
    let address = server.url.strip_prefix("http://").expect("http");
    let body = Server::body("[[chunks=3]]").to_string();
    let mut socket = TcpStream::connect(address).await.expect("connects");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut seen = Vec::new();
    loop {
        let mut byte = [0u8; 16];
        let read = socket.read(&mut byte).await.expect("readable");
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&byte[..read]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("t2 ") && text.contains("[DONE]"));
}

#[tokio::test]
async fn a_silent_model_leaves_headers_and_keep_alives() {
    let server = Server::start().await;
    server.define("patient", &server.upstream.base_url()).await;
    let mut body = Server::body("[[first_ms=800]][[chunks=2]]");
    body["model"] = "patient".into();
    let began = std::time::Instant::now();
    let stream = server.open(&body).await;
    assert!(began.elapsed() < Duration::from_millis(700), "headers do not wait for the model");
    let stream = stream.finish().await;
    let raw = String::from_utf8_lossy(&stream.raw);
    assert!(raw.matches(": keepalive\n").count() >= 1, "{raw}");
    assert!(!raw.contains(": keepalive\n\n"), "no empty line behind a comment");
    assert_eq!(stream.text(), "t0 t1 ");
}

#[tokio::test]
async fn a_full_house_says_so_and_recovers() {
    let server = Server::start_with("max_turns = 2\n").await;
    let open = |user: &'static str| {
        let server = &server;
        async move {
            let mut body = Server::body("[[chunks=9]][[hang=1]]");
            body["user"] = user.into();
            let mut stream = server.open(&body).await;
            stream.until("t0").await;
            stream
        }
    };
    let (mut one, two) = (open("one").await, open("two").await);
    let mut third = Server::body("[[chunks=1]]");
    third["user"] = "three".into();
    let refused = server.post("/v1/chat/completions", &third).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let answer: Value = refused.json().await.expect("JSON");
    assert_eq!(answer["error"]["type"], "rate_limit_error");
    let turn = one.turn().await;
    server.abort(&turn).await;
    one.finish().await;
    assert_eq!(server.open(&third).await.finish().await.status(), "completed");
    drop(two);
}

#[tokio::test]
async fn bad_input_is_refused_clearly_and_harms_nothing() {
    let server = Server::start().await;
    let url = format!("{}/v1/chat/completions", server.url);
    let client = http();
    let send = |body: String| {
        let request = client.post(&url).header("content-type", "application/json").body(body);
        async move { request.send().await.expect("an answer") }
    };
    for (body, status) in [
        ("{not json".to_owned(), 422),
        ("[]".to_owned(), 422),
        ("{}".to_owned(), 422),
        (json!({"messages": [{"role": "user", "content": 5}]}).to_string(), 422),
        (json!({"messages": [], "temperature": "hot"}).to_string(), 422),
        (json!({"messages": [{"role": "user", "content": "x"}], "bot_id": "../etc"}).to_string(), 422),
        (json!({"messages": [{"role": "assistant", "content": "x"}]}).to_string(), 400),
        (json!({"messages": [{"role": "user", "content": "x"}], "n": 3}).to_string(), 400),
        (format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000)), 422),
        (json!({"messages": [{"role": "user", "content": "x".repeat(26 * 1024 * 1024)}]}).to_string(), 413),
    ] {
        let answer = send(body.clone()).await;
        assert_eq!(answer.status(), status, "{:.60}", body);
        let answer: Value = answer.json().await.expect("JSON");
        assert!(answer.get("detail").is_some() && answer["error"]["message"].is_string(), "{answer}");
    }
    // A stream without a user message is told in the stream.
    let stream = server.open(&json!({"messages": [], "stream": true})).await.finish().await;
    assert!(
        stream.of_kind("service.warning")[0]["warnings"][0].as_str().is_some_and(|w| w.starts_with("request_failed: "))
    );
    // What is merely unusual is served.
    let many: Vec<Value> = (0..10_000).map(|n| json!({"role": "user", "content": format!("m{n}")})).collect();
    for body in [
        json!({"model": "scripted", "bot_id": "spark", "messages": many, "stream": true, "made_up": {"x": 1}}),
        json!({"model": "scripted", "bot_id": "spark", "stream": true, "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]}),
        json!({"model": "no-such-model", "bot_id": "no-such-bot", "stream": true,
               "messages": [{"role": "user", "content": "hello"}]}),
    ] {
        let stream = server.open(&body).await.finish().await;
        assert_eq!(stream.status(), "completed", "{:?}", stream.frames);
    }
}
