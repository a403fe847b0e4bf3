//! The client's side of the HTTP surface: questions, streams, abort. It speaks to a server only through its public
//! routes, like any other frontend.

use std::collections::VecDeque;
use std::time::Duration;

use greenroom_protocol::sse::{SseDecoder, SseEvent};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::config::Surroundings;

/// Longest silence on a stream: four missed keep-alives.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest wait for an ordinary answer.
const PATIENCE: Duration = Duration::from_secs(10);
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
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A connection to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<SecretString>,
}

impl Client {
    /// A client for the server at `url`; its key comes from `GREENROOM_API_KEY`.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the client cannot be built.
    pub fn new(url: &str, around: &Surroundings) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let key = around.variable("GREENROOM_API_KEY").map(SecretString::from);
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key })
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
        let body: Value = response.json().await.unwrap_or_default();
        let message = body["error"]["message"].as_str().or(body["detail"].as_str()).map(str::to_owned);
        let message = message.unwrap_or_else(|| status.canonical_reason().unwrap_or("refused").to_owned());
        Err(ClientError::Refused { status, message })
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
