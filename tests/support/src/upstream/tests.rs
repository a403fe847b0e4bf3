//! The scripted upstream over real sockets, read by a client that knows nothing of it but bytes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn send(upstream: &Upstream, method: &str, path: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(upstream.address()).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: upstream\r\ncontent-type: application/json\r\n");
    let head = format!("{head}content-length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}

async fn ask(upstream: &Upstream, prompt: &str, stream: bool) -> TcpStream {
    let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    send(upstream, "POST", "/v1/chat/completions", &body.to_string()).await
}

/// Reads until `end` was seen, or to the end of the connection.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(end) {
            if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap_or_else(|_| unreachable!("no '{end}' came"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The JSON body of an answer that carries its length.
async fn read_json(socket: &mut TcpStream) -> Value {
    let mut answer = read_until(socket, "\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut rest = vec![0; length.parse::<usize>().unwrap() - body.len()];
    socket.read_exact(&mut rest).await.unwrap();
    answer.push_str(&String::from_utf8(rest).unwrap());
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The end of a chunked body.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

#[tokio::test]
async fn each_chunk_is_an_event_of_its_own() {
    let upstream = Upstream::start().await;
    upstream.script(Script::chunks(["one ", "two"]));
    let mut socket = ask(&upstream, "hi", true).await;
    let answer = read_until(&mut socket, LAST_CHUNK).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/event-stream"));
    assert_eq!(answer.matches("data: ").count(), 5);
    assert_eq!(answer.matches("\r\ndata: ").count(), 5, "each event has its own chunk of the body");
    let request = upstream.wait_for_request(1).await;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.last_user_text(), "hi");
    drop(socket);
    upstream.wait_for_connections_at_most(0).await;
    let ended = upstream.requests().remove(0);
    assert_eq!((ended.finished, ended.aborted), (true, false));
}

#[tokio::test]
async fn a_gate_lets_pieces_pass_one_by_one() {
    let upstream = Upstream::start().await;
    let (script, gate) = Script::chunks(["a", "b", "c"]).gated();
    upstream.script(script);
    let mut socket = ask(&upstream, "hi", true).await;
    let head = read_until(&mut socket, "\"role\"").await;
    assert!(!head.contains(r#""content":"a""#));
    gate.release(1);
    read_until(&mut socket, r#"{"content":"a"}"#).await;
    gate.release(1);
    let second = read_until(&mut socket, r#"{"content":"b"}"#).await;
    assert!(!second.contains(r#""content":"c""#));
    let more = tokio::time::timeout(Duration::from_millis(50), read_until(&mut socket, r#""content":"c""#)).await;
    assert!(more.is_err(), "the third piece passed a closed gate");
    gate.open();
    read_until(&mut socket, "[DONE]").await;
}

#[tokio::test]
async fn a_cut_stream_delivers_what_came_before() {
    let upstream = Upstream::start().await;
    let mut socket = ask(&upstream, "[[chunks=9]][[cut=3]]", true).await;
    let answer = read_until(&mut socket, LAST_CHUNK).await;
    assert!(answer.contains("t2 ") && !answer.contains("t3 "), "{answer}");
    assert!(!answer.ends_with(LAST_CHUNK), "the body must not end properly");
    let request = upstream.wait_for_request(1).await;
    assert!(!request.aborted, "the upstream cut, not the client");
}

#[tokio::test]
async fn leaving_early_is_an_abort_wherever_it_happens() {
    let upstream = Upstream::start().await;
    upstream.script_for("slow", Script::numbered(3).between(Duration::from_secs(30)));
    for (prompt, seen) in
        [("[[hang_headers]]", ""), ("[[hang]]", "HTTP/1.1 200"), ("[[chunks=4]][[hang=2]]", "t1 "), ("slow", "t0 ")]
    {
        let mut socket = ask(&upstream, prompt, true).await;
        if seen.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            read_until(&mut socket, seen).await;
        }
        assert_eq!(upstream.open_connections(), 1, "{prompt}");
        drop(socket);
        let request = upstream.wait_for_abort_of(prompt).await;
        assert!(!request.finished);
        upstream.wait_for_connections_at_most(0).await;
    }
    assert_eq!(upstream.wait_for_abort().await.last_user_text(), "[[hang_headers]]");
    assert_eq!(upstream.accepted_connections(), 4);
}

#[tokio::test]
async fn scripts_are_chosen_by_marker_queue_default_and_prompt() {
    let upstream = Upstream::start().await;
    upstream.script(Script::text("queued"));
    upstream
        .script_for("#weather", Script::tool_calls(&[ScriptedCall::new("c", "f", &json!({}))], &ToolShape::whole()));
    upstream.script_for("#weather", Script::text("sunny"));
    for (prompt, expected) in [
        ("about #weather", r#""finish_reason":"tool_calls""#),
        ("about #weather", "sunny"),
        ("about #weather", "sunny"),
        ("anything", "queued"),
        ("anything", DEFAULT_ANSWER),
        ("[[echo]] me", r#""content":"me""#),
        ("[[chunks=2]]", "t0 t1 "),
        ("[[chunks=2]]", "t0 t1 "),
    ] {
        let answer = read_json(&mut ask(&upstream, prompt, false).await).await.to_string();
        assert!(answer.contains(expected), "{prompt}: {answer}");
    }
    upstream.default_script(Script::text("fallback"));
    let answer = read_json(&mut ask(&upstream, "[[echo]] me", false).await).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "fallback");
    assert_eq!(upstream.requests_with("#weather").len(), 3);
}

#[tokio::test]
async fn refusals_carry_status_headers_and_an_error_object() {
    let upstream = Upstream::start().await;
    upstream.script(Script::rate_limited(7));
    upstream.script(Script::unsupported_parameter("max_tokens"));
    upstream.script(Script::garbage());
    let limited = read_until(&mut ask(&upstream, "hi", true).await, "}}").await;
    assert!(limited.starts_with("HTTP/1.1 429") && limited.contains("retry-after: 7\r\n"), "{limited}");
    let refused = read_until(&mut ask(&upstream, "hi", true).await, "}}").await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains(r#""param":"max_tokens""#), "{refused}");
    let garbage = read_until(&mut ask(&upstream, "hi", true).await, "<html>").await;
    assert!(garbage.contains("text/event-stream"));
    let broken = read_until(&mut send(&upstream, "POST", "/v1/chat/completions", "{").await, "}}").await;
    assert!(broken.starts_with("HTTP/1.1 400"));
    let lost = read_until(&mut send(&upstream, "GET", "/v1/nowhere", "").await, "}}").await;
    assert!(lost.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn models_are_listed() {
    let upstream = Upstream::start().await;
    upstream.models(["alpha", "beta"]);
    let list = read_until(&mut send(&upstream, "GET", "/v1/models", "").await, "\"list\"").await;
    assert!(list.contains(r#""id":"alpha""#) && list.contains(r#""id":"beta""#), "{list}");
    let one = read_until(&mut send(&upstream, "GET", "/v1/models/beta", "").await, "}").await;
    assert!(one.starts_with("HTTP/1.1 200"));
    let none = read_until(&mut send(&upstream, "GET", "/v1/models/gamma", "").await, "}}").await;
    assert!(none.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn held_answers_go_on_together() {
    let upstream = Upstream::start().await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = ask(&upstream, "[[chunks=3]][[hold=1]]", true).await;
        let first = read_until(&mut socket, "t0 ").await;
        assert!(!first.contains("t1 "));
        sockets.push(socket);
    }
    let released = read_until(&mut send(&upstream, "POST", "/control/release", "").await, "true").await;
    assert!(released.starts_with("HTTP/1.1 200"));
    for mut socket in sockets {
        let rest = read_until(&mut socket, LAST_CHUNK).await;
        assert!(rest.contains("t2 ") && rest.contains("[DONE]"));
    }
}

#[tokio::test]
async fn pauses_are_kept() {
    let upstream = Upstream::start().await;
    let started = Instant::now();
    let mut socket = ask(&upstream, "[[chunks=3]][[headers_ms=40]][[first_ms=30]][[delay_ms=20]]", true).await;
    read_until(&mut socket, "HTTP/1.1").await;
    assert!(started.elapsed() >= Duration::from_millis(40));
    read_until(&mut socket, "[DONE]").await;
    assert!(started.elapsed() >= Duration::from_millis(110));
}

#[tokio::test]
async fn nobody_listens_at_the_refusing_address() {
    let url = refusing_base_url().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_dropped_upstream_is_gone() {
    let upstream = Upstream::start().await;
    let address = upstream.address();
    let mut socket = ask(&upstream, "[[hang]]", true).await;
    read_until(&mut socket, "\r\n\r\n").await;
    drop(upstream);
    assert_eq!(read_until(&mut socket, "never").await, "");
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("it still listens");
}

#[tokio::test]
async fn whole_answers_carry_assembled_tool_calls() {
    let upstream = Upstream::start().await;
    let body = read_json(&mut ask(&upstream, "[[parallel]]", false).await).await;
    let calls = body["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1]["function"]["arguments"], r#"{"city":"Lima"}"#);
}
