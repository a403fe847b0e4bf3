//! The scripted upstream's HTTP side: accepting, recording and playing plans.
//!
//! Invariant: a recorded request is `aborted` exactly if its client left before the last byte was handed to hyper, at
//! whatever point that was: the guard that notes it travels from the handler into the body. Deliberately absent: TLS and
//! HTTP/2.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::markers::{is_repeatable, last_user_text, script_for_request};
use super::render::{Asked, Plan, Step, Wire, render};
use super::script::{Script, error_object};
use super::search::{self, WebPaths};
use super::{judge, messages, ollama, responses};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its JSON body; a form as a string; null when it had neither.
    pub body: Value,
    /// The whole answer was handed out.
    pub finished: bool,
    /// The client left before that.
    pub aborted: bool,
}

impl RecordedRequest {
    /// The text of the last user message.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        last_user_text(&chat_view(&self.path, &self.body))
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct House {
    pub queue: Mutex<VecDeque<Script>>,
    pub by_marker: Mutex<Vec<(String, VecDeque<Script>)>>,
    pub default: Mutex<Option<Script>>,
    pub models: Mutex<Vec<String>>,
    pub web: WebPaths,
    pub requests: Mutex<Vec<RecordedRequest>>,
    /// Counts changes of `requests` and of the connections.
    pub changed: watch::Sender<u64>,
    /// Counts releases of held answers.
    pub holds: watch::Sender<u64>,
    pub open: AtomicUsize,
    pub accepted: AtomicUsize,
    pub recording: bool,
    kept: Mutex<HashMap<(String, Asked), Plan>>,
}

/// Plans kept at most; a load run uses a handful of prompts.
const KEPT_PLANS: usize = 64;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl House {
    pub(super) fn new(recording: bool) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            by_marker: Mutex::default(),
            default: Mutex::default(),
            models: Mutex::new(vec!["scripted".into(), "scripted-small".into()]),
            web: WebPaths::default(),
            requests: Mutex::default(),
            changed: watch::Sender::new(0),
            holds: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            recording,
            kept: Mutex::default(),
        })
    }

    fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Marker scripts first, then the queue, then the test's default, then the prompt's own markers.
    fn plan(&self, request: &Value, asked: Asked) -> Plan {
        let prompt = last_user_text(request);
        if let Some((_, scripts)) =
            locked(&self.by_marker).iter_mut().find(|(marker, _)| prompt.contains(marker.as_str()))
        {
            let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
            if let Some(script) = script {
                return render(&script, &asked);
            }
        }
        if let Some(script) = locked(&self.queue).pop_front() {
            return render(&script, &asked);
        }
        if let Some(script) = locked(&self.default).as_ref() {
            return render(script, &asked);
        }
        if !is_repeatable(&prompt) {
            return render(&script_for_request(request), &asked);
        }
        let key = (prompt, asked);
        if let Some(plan) = locked(&self.kept).get(&key) {
            return plan.clone();
        }
        let plan = render(&script_for_request(request), &key.1);
        let mut kept = locked(&self.kept);
        if kept.len() < KEPT_PLANS {
            kept.insert(key, plan.clone());
        }
        plan
    }

    fn record(self: &Arc<Self>, request: &http::request::Parts, body: &Value) -> Outcome {
        if !self.recording {
            return Outcome { house: self.clone(), entry: None };
        }
        let mut requests = locked(&self.requests);
        requests.push(RecordedRequest {
            method: request.method.clone(),
            path: request.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: request.headers.clone(),
            body: body.clone(),
            finished: false,
            aborted: false,
        });
        let entry = Some(requests.len() - 1);
        drop(requests);
        self.announce();
        Outcome { house: self.clone(), entry }
    }
}

/// Notes how a request ended: finished, or else aborted when this is dropped.
struct Outcome {
    house: Arc<House>,
    entry: Option<usize>,
}

impl Outcome {
    fn finish(&mut self) {
        self.note(|request| request.finished = true);
    }

    fn note(&mut self, change: impl FnOnce(&mut RecordedRequest)) {
        let Some(entry) = self.entry.take() else { return };
        if let Some(request) = locked(&self.house.requests).get_mut(entry) {
            change(request);
        }
        self.house.announce();
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.note(|request| request.aborted = true);
    }
}

/// Accepts until told to stop, then drops every connection.
pub(super) async fn serve(listener: TcpListener, house: Arc<House>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(_) => {
                    // Out of descriptors, most likely: a short rest instead of a busy loop.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let (house, stop) = (house.clone(), stop.clone());
        connections.spawn(async move {
            house.open.fetch_add(1, Ordering::Relaxed);
            house.accepted.fetch_add(1, Ordering::Relaxed);
            house.announce();
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(socket, house.clone()) => {}
            }
            house.open.fetch_sub(1, Ordering::Relaxed);
            house.announce();
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(socket: TcpStream, house: Arc<House>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| answer(house.clone(), request));
    // An error here is a client that left, or a scripted cut.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn answer(house: Arc<House>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| search::form(&parts.headers, &body));
    let mut outcome = house.record(&parts, &body);
    let path = parts.uri.path();
    let plan = match (&parts.method, path.strip_prefix("/v1").unwrap_or(path)) {
        _ if house.web.has(path) => house.web.plan(path),
        (&Method::POST, "/chat/completions") if body.is_object() => house.plan(&body, Asked::of(Wire::Chat, &body)),
        (&Method::POST, "/responses") if body.is_object() => match responses::complaint(&body) {
            None => house.plan(&responses::as_chat(&body), Asked::of(Wire::Responses, &body)),
            Some(complaint) => render(&complaint, &Asked::of(Wire::Responses, &body)),
        },
        (&Method::POST, "/messages") => match judge::complaint(&parts.headers, &body) {
            None => house.plan(&messages::as_chat(&body), Asked::of(Wire::Messages, &body)),
            Some(complaint) => render(&complaint, &Asked::of(Wire::Messages, &body)),
        },
        (&Method::POST, "/api/chat") if body.is_object() => {
            house.plan(&ollama::as_chat(&body), Asked::of(Wire::Ollama, &body))
        }
        (&Method::GET, "/api/tags") => plain(&ollama::tags(&locked(&house.models))),
        (&Method::POST, "/api/show") => plain(&ollama::show(&locked(&house.models), &body)),
        (&Method::GET, models) if models == "/models" || models.starts_with("/models/") => {
            plain(&model_list(&house, models.strip_prefix("/models/")))
        }
        (&Method::POST, "/control/release") => {
            house.holds.send_modify(|count| *count += 1);
            plain(&Script::refusal(200, &json!({"ok": true})))
        }
        (&Method::POST, "/chat/completions") => plain(&Script::refusal(
            400,
            &error_object("the body is not a JSON object", "invalid_request_error", None, "bad_json"),
        )),
        _ => plain(&Script::refusal(404, &error_object("no such path", "invalid_request_error", None, "unknown_url"))),
    };
    if !plan.before_headers.is_zero() {
        tokio::time::sleep(plan.before_headers).await;
    }
    if plan.hang_before_headers {
        std::future::pending::<()>().await;
    }
    if plan.steps.is_empty() {
        outcome.finish();
    }
    let mut response = Response::new(BoxBody::new(PlannedBody {
        holds: house.holds.clone(),
        steps: plan.steps,
        next: 0,
        waiting: None,
        cut: false,
        outcome,
    }));
    *response.status_mut() = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [("content-type".to_owned(), plan.content_type.to_string())];
    for (name, value) in headers.iter().chain(plan.headers.iter()) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn plain(script: &Script) -> Plan {
    render(script, &Asked { wire: Wire::Chat, model: String::new(), stream: false, include_usage: false })
}

/// A request of any wire as Chat Completions would have put it, which is what scripts and markers look at.
fn chat_view<'a>(path: &str, body: &'a Value) -> Cow<'a, Value> {
    match path.split('?').next().unwrap_or_default() {
        path if path.ends_with("/responses") => Cow::Owned(responses::as_chat(body)),
        path if path.ends_with("/messages") => Cow::Owned(messages::as_chat(body)),
        path if path.ends_with("/api/chat") => Cow::Owned(ollama::as_chat(body)),
        _ => Cow::Borrowed(body),
    }
}

fn model_list(house: &House, wanted: Option<&str>) -> Script {
    let models = locked(&house.models);
    let entry = |id: &String| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"});
    match wanted {
        None => Script::refusal(200, &json!({"object": "list", "data": models.iter().map(entry).collect::<Vec<_>>()})),
        Some(id) => match models.iter().find(|model| *model == id) {
            Some(model) => Script::refusal(200, &entry(model)),
            None => Script::status(404),
        },
    }
}

/// Plays the steps of a plan as a body.
struct PlannedBody {
    holds: watch::Sender<u64>,
    steps: Arc<[Step]>,
    next: usize,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    cut: bool,
    outcome: Outcome,
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if let Some(waiting) = &mut this.waiting {
                ready!(waiting.as_mut().poll(context));
                this.waiting = None;
            }
            if this.cut {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            let Some(step) = this.steps.get(this.next) else {
                this.outcome.finish();
                return Poll::Ready(None);
            };
            this.next += 1;
            let wait: Pin<Box<dyn Future<Output = ()> + Send + Sync>> = match step {
                Step::Send(bytes) => {
                    let bytes = bytes.clone();
                    if this.next == this.steps.len() {
                        this.outcome.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::Pause(pause) => Box::pin(tokio::time::sleep(*pause)),
                Step::Gate(gate) => {
                    let gate = gate.0.clone();
                    Box::pin(async move {
                        if let Ok(permit) = gate.acquire().await {
                            permit.forget();
                        }
                    })
                }
                Step::Hold => {
                    let mut releases = this.holds.subscribe();
                    Box::pin(async move {
                        let _ = releases.changed().await;
                    })
                }
                Step::Hang => Box::pin(std::future::pending()),
                Step::Cut => {
                    this.cut = true;
                    this.outcome.finish();
                    // Hyper writes what it has while the body pauses; without that the last pieces would be lost too.
                    Box::pin(tokio::time::sleep(Duration::from_millis(5)))
                }
            };
            this.waiting = Some(wait);
        }
    }

    /// An answer that is known whole carries its length.
    fn size_hint(&self) -> SizeHint {
        match &*self.steps {
            [Step::Send(bytes)] => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
