//! The HTTP+SSE transport of MCP 2024-11-05, which rmcp no longer has: a stream of events whose first one says where to
//! post messages, and whose others carry the server's.
//!
//! Invariant: messages, and so the token, are posted only to the origin of the configured URL. Deliberately absent: taking a
//! broken stream up again; its session is gone with it.

use std::collections::VecDeque;

use greenroom_protocol::sse::{SseDecoder, SseEvent};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode, Url};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::session::MOST_EVENT_BYTES;

/// Messages of the server that wait to be taken.
const WAITING: usize = 16;

/// Why the transport cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LegacyError {
    #[error("request failed")]
    Request(#[source] reqwest::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("message cannot be written")]
    Message(#[source] serde_json::Error),
    #[error("{0}")]
    Stream(&'static str),
}

/// An open stream and the address for messages.
pub(crate) struct LegacyTransport {
    client: Client,
    endpoint: Url,
    token: Option<SecretString>,
    incoming: mpsc::Receiver<RxJsonRpcMessage<RoleClient>>,
    reader: Option<AbortOnDropHandle<()>>,
}

impl LegacyTransport {
    /// Opens the stream and waits for the address.
    pub(crate) async fn open(client: Client, url: Url, token: Option<SecretString>) -> Result<Self, LegacyError> {
        let mut request = client.get(url.clone()).header(ACCEPT, "text/event-stream");
        if let Some(token) = &token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = request.send().await.map_err(LegacyError::Request)?;
        if !response.status().is_success() {
            return Err(LegacyError::Status(response.status()));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes());
        if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            return Err(LegacyError::Stream("an answer that is no stream of events"));
        }
        let mut events = Events { response, decoder: SseDecoder::new(MOST_EVENT_BYTES), ready: VecDeque::new() };
        let first = events.next().await.ok_or(LegacyError::Stream("a stream that ended at once"))?;
        if first.event != "endpoint" {
            return Err(LegacyError::Stream("a stream that does not begin with its address"));
        }
        let endpoint =
            url.join(first.data.trim()).map_err(|_| LegacyError::Stream("an address that cannot be read"))?;
        if endpoint.origin() != url.origin() {
            return Err(LegacyError::Stream("an address on another host"));
        }
        let (messages, incoming) = mpsc::channel(WAITING);
        let reader = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if !matches!(event.event.as_str(), "message" | "") {
                    continue;
                }
                // What cannot be read may have been the answer to anything: the session cannot be trusted any more.
                let Ok(message) = serde_json::from_str(&event.data) else { return };
                if messages.send(message).await.is_err() {
                    return;
                }
            }
        }));
        Ok(Self { client, endpoint, token, incoming, reader: Some(reader) })
    }
}

impl Transport<RoleClient> for LegacyTransport {
    type Error = LegacyError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), LegacyError>> + Send + 'static {
        let mut request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        async move {
            let body = serde_json::to_vec(&message).map_err(LegacyError::Message)?;
            let response = request.body(body).send().await.map_err(LegacyError::Request)?;
            if response.status().is_success() { Ok(()) } else { Err(LegacyError::Status(response.status())) }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), LegacyError> {
        self.reader = None;
        Ok(())
    }
}

/// The events of a response. The stream is over at its end, when it breaks and when it is no stream of events.
struct Events {
    response: reqwest::Response,
    decoder: SseDecoder,
    ready: VecDeque<SseEvent>,
}

impl Events {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let bytes = self.response.chunk().await.ok()??;
            let ready = &mut self.ready;
            self.decoder.feed(&bytes, |event| ready.push_back(event)).ok()?;
        }
    }
}
