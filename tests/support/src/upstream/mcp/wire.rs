//! The scripted MCP server's HTTP side: three transports over one set of answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{House, McpAnswer, McpCall, McpEra, Session};
use crate::upstream::server::locked;

const SESSION: &str = "mcp-session-id";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An error closes the connection without an answer.
type Answer = io::Result<Response<Body>>;

/// What a message gets.
enum Reply {
    Message(Value),
    Nothing,
    Status(u16),
    Cut,
    Garbage,
}

/// Accepts until told to stop, then drops every connection.
pub(super) async fn serve(listener: TcpListener, house: Arc<House>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(_) => continue,
            },
        };
        let (house, stop) = (house.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(socket, house) => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(socket: TcpStream, house: Arc<House>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| answer(house.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(house: Arc<House>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Some(token) = locked(&house.token).as_deref() {
        let given = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        if given != Some(&format!("Bearer {token}")) {
            let mut refusal = plain(401, "no");
            refusal.headers_mut().insert("www-authenticate", http::HeaderValue::from_static("Bearer"));
            return Ok(refusal);
        }
    }
    let message = serde_json::from_slice::<Value>(&body);
    let era = *locked(&house.era);
    match (&parts.method, parts.uri.path(), message) {
        (&Method::POST, "/mcp", Ok(message)) => streamable(&house, era, &parts.headers, &message).await,
        (&Method::GET, "/mcp", _) if era == McpEra::Sessions => {
            let id = header(&parts.headers, SESSION);
            if locked(&house.sessions).contains_key(&id) {
                Ok(open_stream(&house, id, None, None))
            } else {
                Ok(plain(404, "unknown session"))
            }
        }
        (&Method::GET, "/mcp", _) => Ok(plain(405, "no stream here")),
        (&Method::DELETE, "/mcp", _) => {
            locked(&house.sessions).remove(&header(&parts.headers, SESSION));
            Ok(plain(200, ""))
        }
        (&Method::GET, "/sse", _) => {
            let id = new_session(&house);
            let own = format!("/messages?session_id={id}");
            let endpoint = locked(&house.endpoint).clone().unwrap_or(own);
            Ok(open_stream(&house, id, None, Some(event("endpoint", &endpoint))))
        }
        (&Method::POST, "/messages", Ok(message)) => posted(&house, parts.uri.query().unwrap_or_default(), message),
        _ => Ok(plain(404, "no such path")),
    }
}

async fn streamable(house: &Arc<House>, era: McpEra, headers: &HeaderMap, message: &Value) -> Answer {
    let method = message["method"].as_str().unwrap_or_default();
    let session = header(headers, SESSION);
    let begins = matches!(method, "initialize" | "server/discover");
    if era == McpEra::Sessions && !begins && !locked(&house.sessions).contains_key(&session) {
        note(house, method);
        let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "Session not found"}});
        return Ok(json_answer(404, &body));
    }
    if era == McpEra::Stateless && method == "subscriptions/listen" {
        note(house, method);
        let id = new_session(house);
        let params =
            json!({"_meta": {SUBSCRIPTION: message["id"]}, "notifications": message["params"]["notifications"]});
        let first = notification("notifications/subscriptions/acknowledged", Some(params));
        return Ok(open_stream(house, id, Some(message["id"].clone()), Some(event("message", &first.to_string()))));
    }
    let reply = reply(house, era, &session, message).await;
    let streamed = *locked(&house.streams) && method == "tools/call";
    let mut answer = match reply {
        Reply::Nothing => plain(202, ""),
        Reply::Status(status) => plain(status, "scripted"),
        Reply::Cut if streamed => {
            let pieces =
                [Ok(Frame::data(Bytes::from_static(b": working\n\n"))), Err(io::ErrorKind::ConnectionAborted.into())];
            // Hyper writes what it has while the body pauses.
            let body = stream::iter(pieces).then(|piece| async {
                tokio::task::yield_now().await;
                piece
            });
            event_stream(StreamBody::new(body).boxed_unsync())
        }
        Reply::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        Reply::Garbage if streamed => event_stream(full(event("message", "{\"jsonrpc\": garbage"))),
        Reply::Garbage => json_body(200, Bytes::from_static(b"{\"jsonrpc\": garbage")),
        Reply::Message(message) if streamed => event_stream(full(event("message", &message.to_string()))),
        Reply::Message(message) if message["error"]["code"] == -32000 => json_answer(400, &message),
        Reply::Message(message) => json_answer(200, &message),
    };
    if method == "initialize"
        && era == McpEra::Sessions
        && let Ok(id) = new_session(house).parse()
    {
        answer.headers_mut().insert(SESSION, id);
    }
    Ok(answer)
}

/// A message of HTTP+SSE: accepted at once, answered on the stream.
fn posted(house: &Arc<House>, query: &str, message: Value) -> Answer {
    let id = query.strip_prefix("session_id=").unwrap_or_default().to_owned();
    let stream = locked(&house.sessions).get(&id).and_then(|session| session.stream.clone());
    let Some(stream) = stream else {
        note(house, message["method"].as_str().unwrap_or_default());
        return Ok(plain(404, "Could not find session"));
    };
    let tool = message["params"]["name"].as_str().unwrap_or_default();
    let refuses = locked(&house.answers).get(tool).is_some_and(|own| matches!(own.first(), Some(McpAnswer::Status(_))));
    if message["method"] == "tools/call"
        && refuses
        && let Some(McpAnswer::Status(status)) = house.answer(tool)
    {
        return Ok(plain(status, "scripted"));
    }
    let house = house.clone();
    tokio::spawn(async move {
        let sent = match reply(&house, McpEra::Sessions, &id, &message).await {
            Reply::Message(message) => event("message", &message.to_string()),
            Reply::Garbage => event("message", "{\"jsonrpc\": garbage"),
            Reply::Cut => {
                locked(&house.sessions).remove(&id);
                return;
            }
            Reply::Nothing | Reply::Status(_) => return,
        };
        let _ = stream.send(sent);
    });
    Ok(plain(202, "Accepted"))
}

async fn reply(house: &Arc<House>, era: McpEra, session: &str, message: &Value) -> Reply {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let good = |result: Value| Reply::Message(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    let bad = |code: i64, words: &str| {
        let error = json!({"code": code, "message": words});
        Reply::Message(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))
    };
    if method == "tools/call" {
        let tool = params["name"].as_str().unwrap_or_default().to_owned();
        let arguments = params["arguments"].clone();
        locked(&house.calls).push(McpCall { tool, arguments, session: session.to_owned() });
    }
    note(house, method);
    let capabilities = json!({"tools": {"listChanged": true}});
    let server = json!({"name": "scripted", "version": "1"});
    let greeting = locked(&house.greeting).clone();
    if let Some(answer) = greeting.filter(|_| method == "server/discover") {
        return scripted_reply(answer, good, bad).await;
    }
    match (method, era) {
        ("initialize", McpEra::Sessions) => good(json!({
            "protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": server,
        })),
        ("server/discover", McpEra::Stateless) => good(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities,
            "ttlMs": 0, "cacheScope": "private", "_meta": {"io.modelcontextprotocol/serverInfo": server},
        })),
        ("server/discover", McpEra::Sessions) => bad(-32000, "Bad Request: Missing session ID"),
        ("ping", _) => good(json!({})),
        ("tools/list", _) => {
            let scripted = locked(&house.listing).clone();
            if let Some(answer) = scripted {
                return scripted_reply(answer, good, bad).await;
            }
            let (tools, page) = (locked(&house.tools).clone(), *locked(&house.page));
            let from: usize = params["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let to = from.saturating_add(page).min(tools.len());
            let mut result = json!({"tools": tools.get(from..to).unwrap_or_default(), "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
            if to < tools.len() {
                result["nextCursor"] = to.to_string().into();
            }
            good(result)
        }
        ("tools/call", _) => {
            let name = params["name"].as_str().unwrap_or_default();
            let known = locked(&house.tools).iter().any(|tool| tool["name"] == name);
            if !known {
                return bad(-32602, &format!("Unknown tool: {name}"));
            }
            let answer = house.answer(name).unwrap_or_else(|| McpAnswer::Text(params["arguments"].to_string()));
            scripted_reply(answer, good, bad).await
        }
        _ if message.get("id").is_none() => Reply::Nothing,
        _ => bad(-32601, "Method not found"),
    }
}

async fn scripted_reply(answer: McpAnswer, good: impl Fn(Value) -> Reply, bad: impl Fn(i64, &str) -> Reply) -> Reply {
    let text = |text: &str| json!({"resultType": "complete", "content": [{"type": "text", "text": text}]});
    match answer {
        McpAnswer::Text(words) => good(text(&words)),
        McpAnswer::ToolError(words) => {
            let mut result = text(&words);
            result["isError"] = true.into();
            good(result)
        }
        McpAnswer::Result(result) => good(result),
        McpAnswer::Refusal(code, words) => bad(code, &words),
        McpAnswer::Hang => std::future::pending().await,
        McpAnswer::Cut => Reply::Cut,
        McpAnswer::Garbage => Reply::Garbage,
        McpAnswer::Status(status) => Reply::Status(status),
        McpAnswer::Held(gate, words) => {
            if let Ok(permit) = gate.0.acquire().await {
                permit.forget();
            }
            good(text(&words))
        }
    }
}

fn note(house: &House, method: &str) {
    locked(&house.methods).push(method.to_owned());
    house.announce();
}

fn new_session(house: &House) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
    locked(&house.sessions).insert(id.clone(), Session::default());
    id
}

/// Opens the stream of a session; it ends when the session is forgotten.
fn open_stream(house: &House, id: String, subscription: Option<Value>, first: Option<Bytes>) -> Response<Body> {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Some(first) = first {
        let _ = sender.send(first);
    }
    locked(&house.sessions).insert(id, Session { stream: Some(sender), subscription });
    house.announce();
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    event_stream(StreamBody::new(pieces).boxed_unsync())
}

pub(super) fn subscribed(id: &Value) -> Value {
    json!({"_meta": {SUBSCRIPTION: id}})
}

pub(super) fn notification(method: &str, params: Option<Value>) -> Value {
    let mut message = json!({"jsonrpc": "2.0", "method": method});
    if let Some(params) = params {
        message["params"] = params;
    }
    message
}

pub(super) fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn response(status: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    response
}

fn plain(status: u16, text: &'static str) -> Response<Body> {
    response(status, "text/plain", full(Bytes::from_static(text.as_bytes())))
}

fn event_stream(body: Body) -> Response<Body> {
    response(200, "text/event-stream", body)
}

fn json_answer(status: u16, message: &Value) -> Response<Body> {
    json_body(status, message.to_string().into())
}

fn json_body(status: u16, body: Bytes) -> Response<Body> {
    response(status, "application/json", full(body))
}
