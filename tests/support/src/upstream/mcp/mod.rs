//! A scripted MCP server, well or badly behaved: streamable HTTP with sessions (2025-11-25) or without (2026-07-28) at
//! `/mcp`, HTTP+SSE (2024-11-05) at `/sse`.
//!
//! Like the scripted upstream it runs on a thread and a runtime of its own. It keeps nothing across its end: started again
//! on the same port it is the server after a restart, which knows no session. Deliberately absent: resuming streams,
//! sampling, elicitation.

mod wire;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::script::Gate;
use super::server::locked;
use super::{PATIENCE, listen};

/// What a call gets.
#[derive(Debug, Clone)]
pub enum McpAnswer {
    /// One text part.
    Text(String),
    /// A text part in a result that says it is an error.
    ToolError(String),
    /// This result as it is.
    Result(Value),
    /// A JSON-RPC error.
    Refusal(i64, String),
    /// Nothing, ever.
    Hang,
    /// The end of the connection instead of an answer.
    Cut,
    /// Something that is no JSON.
    Garbage,
    /// This HTTP status, on HTTP+SSE for the message that asks.
    Status(u16),
    /// A text part once the gate lets it pass.
    Held(Gate, String),
}

impl McpAnswer {
    /// A text that waits for its gate.
    #[must_use]
    pub fn held(text: &str) -> (Self, Gate) {
        let gate = Gate(Arc::new(Semaphore::new(0)));
        (Self::Held(gate.clone(), text.to_owned()), gate)
    }
}

/// Which protocol is spoken at `/mcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpEra {
    /// `initialize` and sessions.
    Sessions,
    /// `server/discover`, no sessions.
    Stateless,
}

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct McpCall {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
    /// The session it came in, empty without one.
    pub session: String,
}

/// What all connections share.
struct House {
    tools: Mutex<Vec<Value>>,
    answers: Mutex<HashMap<String, Vec<McpAnswer>>>,
    token: Mutex<Option<String>>,
    era: Mutex<McpEra>,
    /// Answers to calls come as a stream of events instead of JSON.
    streams: Mutex<bool>,
    page: Mutex<usize>,
    listing: Mutex<Option<McpAnswer>>,
    greeting: Mutex<Option<McpAnswer>>,
    endpoint: Mutex<Option<String>>,
    sessions: Mutex<HashMap<String, Session>>,
    calls: Mutex<Vec<McpCall>>,
    /// Every JSON-RPC method in order of arrival.
    methods: Mutex<Vec<String>>,
    changed: watch::Sender<u64>,
}

/// A session and where its messages go, if anywhere.
#[derive(Default)]
struct Session {
    stream: Option<mpsc::UnboundedSender<Bytes>>,
    /// The subscription that the stream serves, if it was asked for by one.
    subscription: Option<Value>,
}

impl House {
    fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The next answer for a tool; the last one stays.
    fn answer(&self, tool: &str) -> Option<McpAnswer> {
        let mut answers = locked(&self.answers);
        let own = answers.get_mut(tool)?;
        if own.len() > 1 { Some(own.remove(0)) } else { own.first().cloned() }
    }
}

/// A running scripted MCP server; it stops when this is dropped.
pub struct McpServer {
    address: SocketAddr,
    house: Arc<House>,
    stop: CancellationToken,
    ended: std::sync::mpsc::Receiver<()>,
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("McpServer").field(&self.address).finish()
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // The port is free only then.
        let _ = self.ended.recv_timeout(Duration::from_secs(5));
    }
}

/// A tool object without annotations whose schema is any object.
#[must_use]
pub fn mcp_tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

impl McpServer {
    /// Starts one on a free loopback port, with one tool `echo` that answers with its arguments.
    ///
    /// # Panics
    /// When the port cannot be bound: then no test can run.
    #[expect(clippy::panic, reason = "a test without its server must fail")]
    pub async fn start() -> Self {
        Self::try_start(0).unwrap_or_else(|error| panic!("the scripted MCP server does not start: {error}"))
    }

    /// Starts one on this loopback port, 0 for a free one.
    ///
    /// # Errors
    /// When the port cannot be bound or no thread started.
    pub fn try_start(port: u16) -> io::Result<Self> {
        let house = Arc::new(House {
            tools: Mutex::new(vec![mcp_tool("echo", "Answers with its arguments.")]),
            answers: Mutex::default(),
            token: Mutex::default(),
            era: Mutex::new(McpEra::Sessions),
            streams: Mutex::default(),
            page: Mutex::new(usize::MAX),
            listing: Mutex::default(),
            greeting: Mutex::default(),
            endpoint: Mutex::default(),
            sessions: Mutex::default(),
            calls: Mutex::default(),
            methods: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = std::sync::mpsc::sync_channel(1);
        let (shared, stopped) = (house.clone(), stop.clone());
        let serving = async move {
            match listen(port).and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((address, listener)) => {
                    let _ = ready.send(Ok(address));
                    wire::serve(listener, shared, stopped).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
            let _ = end.send(());
        };
        std::thread::Builder::new().name("scripted-mcp".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(serving))
        })?;
        let address = started.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Self { address, house, stop, ended })
    }

    /// The URL for streamable HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The URL for HTTP+SSE.
    #[must_use]
    pub fn sse_url(&self) -> String {
        format!("http://{}/sse", self.address)
    }

    /// Its port, to start another one there.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The tools it lists, as they stand on the wire.
    pub fn tools(&self, tools: impl IntoIterator<Item = Value>) {
        *locked(&self.house.tools) = tools.into_iter().collect();
    }

    /// Queues an answer for calls of a tool; the last one stays. Without any, its arguments come back.
    pub fn answer(&self, tool: &str, answer: McpAnswer) {
        locked(&self.house.answers).entry(tool.to_owned()).or_default().push(answer);
    }

    /// What the question for the tools gets instead of them; `None` for the tools.
    pub fn listing(&self, answer: Option<McpAnswer>) {
        *locked(&self.house.listing) = answer;
    }

    /// What `server/discover` gets instead of an answer.
    pub fn greeting(&self, answer: McpAnswer) {
        *locked(&self.house.greeting) = Some(answer);
    }

    /// Refuses whoever does not bring this bearer token.
    pub fn token(&self, token: &str) {
        *locked(&self.house.token) = Some(token.to_owned());
    }

    /// Which protocol is spoken at `/mcp`.
    pub fn era(&self, era: McpEra) {
        *locked(&self.house.era) = era;
    }

    /// Whether calls at `/mcp` are answered with streams of events.
    pub fn answer_in_streams(&self, streams: bool) {
        *locked(&self.house.streams) = streams;
    }

    /// How many tools it lists at a time.
    pub fn page(&self, tools: usize) {
        *locked(&self.house.page) = tools.max(1);
    }

    /// The address that HTTP+SSE names for messages, in place of the right one.
    pub fn endpoint(&self, endpoint: &str) {
        *locked(&self.house.endpoint) = Some(endpoint.to_owned());
    }

    /// Forgets all sessions, as a restart does, and ends their streams.
    pub fn forget_sessions(&self) {
        locked(&self.house.sessions).clear();
        self.house.announce();
    }

    /// Tells every open stream that the tools have changed.
    pub fn announce_change(&self) {
        for session in locked(&self.house.sessions).values() {
            let params = session.subscription.as_ref().map(wire::subscribed);
            let message = wire::notification("notifications/tools/list_changed", params);
            if let Some(stream) = &session.stream {
                let _ = stream.send(wire::event("message", &message.to_string()));
            }
        }
    }

    /// Sends these bytes on every open stream.
    pub fn send_raw(&self, bytes: &str) {
        for stream in locked(&self.house.sessions).values().filter_map(|session| session.stream.as_ref()) {
            let _ = stream.send(Bytes::copy_from_slice(bytes.as_bytes()));
        }
    }

    /// The calls of tools so far.
    #[must_use]
    pub fn calls(&self) -> Vec<McpCall> {
        locked(&self.house.calls).clone()
    }

    /// The JSON-RPC methods so far.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        locked(&self.house.methods).clone()
    }

    /// How often a method was asked for.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        locked(&self.house.methods).iter().filter(|name| *name == method).count()
    }

    /// Waits until a method was asked for so often.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for(&self, method: &str, count: usize) {
        self.wait(method, |server| server.count(method) >= count).await;
    }

    /// Waits until so many streams are open.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for_streams(&self, count: usize) {
        let open = |server: &Self| {
            locked(&server.house.sessions).values().filter(|session| session.stream.is_some()).count() >= count
        };
        self.wait("streams", open).await;
    }

    #[expect(clippy::panic, reason = "a wait that is never fulfilled is a failed test")]
    async fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.house.changed.subscribe();
        let seen = async {
            while !holds(self) {
                let _ = changes.changed().await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("the scripted MCP server waited in vain for {what}; it saw {:?}", self.methods());
        }
    }
}
