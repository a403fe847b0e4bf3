//! The client's side of the HTTP surface: questions, streams, abort, and moving records. It speaks to a server only through its public
//! routes, like any other frontend.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use greenroom_protocol::sse::{SseDecoder, SseEvent};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::config::Surroundings;

/// Longest silence on a stream: four missed keep-alives.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for an ordinary answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an answer from memory.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for work that a model or the whole of a memory takes part in.
const LONGEST_PATIENCE: Duration = Duration::from_secs(120);
/// Largest single event.
const EVENT_CAP: usize = 8 << 20;

/// Why a server gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no server answers at {url}; start one with `greenroom serve`, or name it with --url or GREENROOM_URL")]
    NoServer {
        /// Where it was looked for.
        url: String,
    },
    /// The server refused, in its own words.
    #[error("{message} (status {status})")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A connection to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For answers that are silent until they are whole.
    patient: reqwest::Client,
    url: String,
    key: Option<SecretString>,
}

impl Client {
    /// A client for the server at `url`; its key comes from `GREENROOM_API_KEY`.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the client cannot be built.
    pub fn new(url: &str, around: &Surroundings) -> Result<Self, ClientError> {
        let builder = || reqwest::Client::builder().connect_timeout(Duration::from_secs(5));
        let broken = |error: reqwest::Error| ClientError::Broken(error.to_string());
        let http = builder().read_timeout(SILENCE).build().map_err(broken)?;
        let patient = builder().build().map_err(broken)?;
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let key = around.variable("GREENROOM_API_KEY").map(SecretString::from);
        Ok(Self { http, patient, url: url.trim_end_matches('/').to_owned(), key })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.explain(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body: Value = response.json().await.unwrap_or_default();
        let message = complaint(&body).unwrap_or_else(|| status.canonical_reason().unwrap_or("refused").to_owned());
        Err(ClientError::Refused { status, message, retry_after: seconds.map(Duration::from_secs) })
    }

    fn explain(&self, error: &reqwest::Error) -> ClientError {
        if error.is_connect() {
            return ClientError::NoServer { url: self.url.clone() };
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        ClientError::Broken(cause.to_string())
    }

    /// An ordinary JSON answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let request = self.http.get(format!("{}{path}", self.url)).header("accept", "application/json");
        let response = self.send(request.timeout(PATIENCE)).await?;
        response.json().await.map_err(|error| self.explain(&error))
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks memory something, or tells it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.ask_within(method, path, body, LONG_PATIENCE).await
    }

    /// The same, for what may take long.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_patiently(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.ask_within(method, path, body, LONGEST_PATIENCE).await
    }

    async fn ask_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, ClientError> {
        let mut request = self.patient.request(method, format!("{}{path}", self.url)).timeout(patience);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        response.json().await.map_err(|error| self.explain(&error))
    }

    /// Sends records, one per line. With `extract`, facts are extracted from them later.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import(&self, lines: Vec<u8>, extract: bool) -> Result<Value, ClientError> {
        let query = if extract { "?extract=true" } else { "" };
        let request =
            self.patient.post(format!("{}/v1/import{query}", self.url)).header("content-type", "application/x-ndjson");
        let response = self.send(request.body(lines).timeout(LONGEST_PATIENCE)).await?;
        response.json().await.map_err(|error| self.explain(&error))
    }

    /// An answer of many lines, each at most `most` bytes long.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lines(&self, path: &str, most: usize) -> Result<LineSource, ClientError> {
        let response = self.send(self.http.get(format!("{}{path}", self.url))).await?;
        Ok(LineSource { response, buffer: BytesMut::new(), most, over: false })
    }

    /// Begins a streamed turn.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chat(&self, body: &Value) -> Result<EventSource, ClientError> {
        let request = self.http.post(format!("{}/v1/chat/completions", self.url)).json(body);
        Ok(EventSource::new(self.send(request).await?))
    }

    /// Goes on watching a turn behind the given event.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attach(&self, turn: &str, behind: Option<&str>) -> Result<EventSource, ClientError> {
        let mut request = self.http.get(format!("{}/v1/turns/{turn}/stream", self.url));
        if let Some(id) = behind {
            request = request.header("last-event-id", id);
        }
        Ok(EventSource::new(self.send(request).await?))
    }

    /// Stops a turn.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn abort(&self, turn: &str) -> Result<(), ClientError> {
        let request = self.http.post(format!("{}/v1/chat/abort", self.url)).json(&json!({"turn_id": turn}));
        self.send(request.timeout(PATIENCE)).await.map(|_| ())
    }
}

/// A server's own words of a refusal.
fn complaint(body: &Value) -> Option<String> {
    let detail = &body["detail"];
    let said = body["error"]["message"].as_str().or(detail.as_str()).or(detail["message"].as_str()).map(str::to_owned);
    let judged = || {
        let errors: Vec<&str> = detail["errors"].as_array()?.iter().filter_map(Value::as_str).collect();
        Some(errors.join("; "))
    };
    said.or_else(judged).or_else(|| {
        let first = &body["detail"][0];
        let place: Vec<&str> = first["loc"].as_array()?.iter().skip(1).filter_map(Value::as_str).collect();
        Some(format!("{}: {}", place.join("."), first["msg"].as_str()?))
    })
}

/// A query of the parameters that are there, with its question mark.
#[must_use]
pub fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let there = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let parts: Vec<String> = there.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// Text as a part of a path or query.
#[must_use]
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Lines of one answer.
pub struct LineSource {
    response: Response,
    buffer: BytesMut,
    most: usize,
    over: bool,
}

impl LineSource {
    /// The next line without its break; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn next(&mut self) -> Result<Option<BytesMut>, ClientError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1);
                line.truncate(searched + at);
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if self.over {
                let rest = self.buffer.split();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            if self.buffer.len() > self.most {
                return Err(ClientError::Broken(format!("a line is longer than {} bytes", self.most)));
            }
            match self.response.chunk().await.map_err(|error| ClientError::Broken(error.to_string()))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => self.over = true,
            }
        }
    }
}

/// Events of one stream.
pub struct EventSource {
    response: Response,
    decoder: SseDecoder,
    ready: VecDeque<SseEvent>,
}

impl EventSource {
    fn new(response: Response) -> Self {
        Self { response, decoder: SseDecoder::new(EVENT_CAP), ready: VecDeque::new() }
    }

    /// The next event; `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let broken = |error: &dyn std::error::Error| ClientError::Broken(error.to_string());
            let ready = &mut self.ready;
            match self.response.chunk().await.map_err(|error| broken(&error))? {
                Some(bytes) => {
                    self.decoder.feed(&bytes, |event| ready.push_back(event)).map_err(|error| broken(&error))?
                }
                None if self.decoder.has_pending() => {
                    self.decoder.finish(|event| ready.push_back(event)).map_err(|error| broken(&error))?;
                }
                None => return Ok(None),
            }
        }
    }
}
