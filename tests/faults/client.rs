//! A client of the chat surface that looks at every frame.

use std::time::Duration;

use futures_util::StreamExt;
use greenroom_protocol::sse::SseDecoder;
use serde_json::{Value, json};

use crate::server::{Server, http};

/// One frame: its id and its JSON, or `None` for the end marker.
pub type Frame = (u64, Option<Value>);

/// A stream being read.
pub struct Stream {
    response: reqwest::Response,
    decoder: SseDecoder,
    pub frames: Vec<Frame>,
    pub raw: Vec<u8>,
    pub over: bool,
}

impl Server {
    pub fn body(prompt: &str) -> Value {
        json!({"model": "scripted", "bot_id": "spark", "stream": true, "user": "ann",
               "messages": [{"role": "user", "content": prompt}]})
    }

    /// Opens a stream; panics unless it is one.
    pub async fn open(&self, body: &Value) -> Stream {
        let response = self.post("/v1/chat/completions", body).await;
        assert_eq!(response.status(), 200);
        Stream::of(response)
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        http().post(format!("{}{path}", self.url)).json(body).send().await.expect("an answer")
    }

    /// Re-attaches behind frame `last`.
    pub async fn attach(&self, turn: &str, last: u64) -> Stream {
        let request = http().get(format!("{}/v1/turns/{turn}/stream", self.url));
        let response = request.header("last-event-id", last.to_string()).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Stream::of(response)
    }

    pub async fn abort(&self, turn: &str) -> Value {
        self.post("/v1/chat/abort", &json!({"turn_id": turn})).await.json().await.expect("JSON")
    }
}

impl Stream {
    pub fn of(response: reqwest::Response) -> Self {
        Self { response, decoder: SseDecoder::new(1 << 24), frames: Vec::new(), raw: Vec::new(), over: false }
    }

    /// Reads one piece from the socket; false at the end.
    pub async fn read(&mut self) -> bool {
        let chunk = tokio::time::timeout(Duration::from_secs(40), self.response.chunk()).await.expect("not silent");
        let Ok(Some(bytes)) = chunk else {
            self.over = true;
            return false;
        };
        self.raw.extend_from_slice(&bytes);
        let frames = &mut self.frames;
        let fed = self.decoder.feed(&bytes, |event| {
            let id = event.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or(0);
            let value = (event.data != "[DONE]").then(|| serde_json::from_str(&event.data).expect("JSON"));
            frames.push((id, value));
        });
        fed.expect("a decodable stream");
        true
    }

    /// Reads until the text holds `wanted`.
    pub async fn until(&mut self, wanted: &str) {
        while !self.text().contains(wanted) {
            assert!(self.read().await, "the stream ended before {wanted:?}: {:?}", self.frames);
        }
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> Self {
        while self.read().await {}
        self
    }

    pub fn text(&self) -> String {
        self.values().filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str()).collect()
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.frames.iter().filter_map(|(_, value)| value.as_ref())
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.values().filter(|frame| frame["object"] == kind).collect()
    }

    pub fn is_done(&self) -> bool {
        matches!(self.frames.last(), Some((_, None)))
    }

    /// The id of the turn, from its first frame.
    pub async fn turn(&mut self) -> String {
        while self.of_kind("service.turn_metadata").is_empty() {
            assert!(self.read().await, "the stream ended before its metadata");
        }
        self.of_kind("service.turn_metadata")[0]["turn_id"].as_str().expect("an id").to_owned()
    }

    /// The status in the one and only `turn_complete`.
    pub fn status(&self) -> &str {
        let completes = self.of_kind("service.turn_complete");
        assert_eq!(completes.len(), 1, "exactly one end: {:?}", self.frames);
        completes[0]["status"].as_str().expect("a status")
    }

    /// Frame ids without the end marker, checked to be 1, 2, 3, … behind `from`.
    pub fn check_ids(&self, from: u64) {
        let ids: Vec<u64> = self.frames.iter().filter(|(_, value)| value.is_some()).map(|(id, _)| *id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(ids.first().is_none_or(|first| *first > from), "{ids:?}");
    }
}

/// Runs requests side by side.
pub async fn together<T>(jobs: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::stream::iter(jobs).buffer_unordered(64).collect().await
}
