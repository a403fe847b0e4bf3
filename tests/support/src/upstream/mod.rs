//! The one scripted upstream: a real HTTP server that plays a model's provider, well or badly, by any of the wires: Chat
//! Completions, Responses, Anthropic Messages (`/v1/messages`), Ollama (`/api/chat`).
//!
//! It runs on a thread and a runtime of its own: it outlives the test that started it as long as its handle lives, and a
//! test with a paused clock does not pause the upstream. Which script answers: those given for a marker in the last
//! user message, then the queue, then the default, then what the prompt's own `[[markers]]` say ([`markers`]); scripts
//! and markers are the same on every wire. Deliberately absent: judging requests, except that the Messages API refuses
//! malformed histories (`judge.rs`); tests look at [`Upstream::requests`].

mod chat;
mod judge;
pub mod markers;
mod mcp;
mod messages;
mod ollama;
mod render;
mod responses;
mod script;
pub mod search;
mod server;
#[cfg(test)]
mod tests;
mod tools;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

pub use self::mcp::{McpAnswer, McpCall, McpEra, McpServer, mcp_tool};
pub use self::script::{DEFAULT_ANSWER, Fault, Gate, Piece, Script, Split, UsagePlace, numbered_text};
pub use self::search::WebAnswer;
pub use self::server::RecordedRequest;
use self::server::{House, locked, serve};
pub use self::tools::{ScriptedCall, ToolShape};

/// How long the `wait_…` methods wait before they fail the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that may wait to be accepted; a load run opens thousands at once.
const BACKLOG: u32 = 4096;

/// A running scripted upstream; it stops when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    house: Arc<House>,
    stop: CancellationToken,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Upstream {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    /// When the port cannot be bound: then no test can run.
    #[expect(clippy::panic, reason = "a test without its upstream must fail")]
    pub async fn start() -> Self {
        Self::try_start(0).unwrap_or_else(|error| panic!("the scripted upstream does not start: {error}"))
    }

    /// Starts one on this loopback port, 0 for a free one.
    ///
    /// # Errors
    /// When the port cannot be bound or no thread started.
    pub fn try_start(port: u16) -> io::Result<Self> {
        let (house, stop) = (House::new(true), CancellationToken::new());
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (shared, stopped) = (house.clone(), stop.clone());
        let serving = async move {
            let bound = listen(port).and_then(|listener| Ok((listener.local_addr()?, listener)));
            match bound {
                Ok((address, listener)) => {
                    let _ = ready.send(Ok(address));
                    serve(listener, shared, stopped).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        std::thread::Builder::new().name("scripted-upstream".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(serving))
        })?;
        let address = started.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Self { address, house, stop })
    }

    /// Serves on this port on the caller's runtime until the process ends, recording nothing: for load runs and for
    /// suites in other languages. `announce` is told the base URL.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn run(port: u16, announce: impl FnOnce(&str)) -> io::Result<()> {
        let listener = listen(port)?;
        announce(&base_url(listener.local_addr()?));
        serve(listener, House::new(false), CancellationToken::new()).await;
        Ok(())
    }

    /// `http://127.0.0.1:<port>/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        base_url(self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues an answer; each serves one chat request, first come, first served.
    pub fn script(&self, script: Script) {
        locked(&self.house.queue).push_back(script);
    }

    /// Answers requests whose last user message contains `marker`. Several scripts for one marker take turns in the
    /// order given, and the last one stays.
    pub fn script_for(&self, marker: &str, script: Script) {
        let mut by_marker = locked(&self.house.by_marker);
        match by_marker.iter_mut().find(|(own, _)| own == marker) {
            Some((_, scripts)) => scripts.push_back(script),
            None => by_marker.push((marker.into(), [script].into())),
        }
    }

    /// What answers when nothing else applies, instead of the prompt's own markers.
    pub fn default_script(&self, script: Script) {
        *locked(&self.house.default) = Some(script);
    }

    /// The ids that `GET /v1/models` lists.
    pub fn models<T: Into<String>>(&self, ids: impl IntoIterator<Item = T>) {
        *locked(&self.house.models) = ids.into_iter().map(Into::into).collect();
    }

    /// Every request so far, in order of arrival, each as it stands now.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        locked(&self.house.requests).clone()
    }

    /// The requests whose last user message contains `marker`.
    #[must_use]
    pub fn requests_with(&self, marker: &str) -> Vec<RecordedRequest> {
        self.requests().into_iter().filter(|request| request.last_user_text().contains(marker)).collect()
    }

    /// TCP connections open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.house.open.load(Ordering::Relaxed)
    }

    /// TCP connections accepted since the start.
    #[must_use]
    pub fn accepted_connections(&self) -> usize {
        self.house.accepted.load(Ordering::Relaxed)
    }

    /// Lets all answers go on that are held by [`Fault::Hold`] now.
    pub fn release_holds(&self) {
        self.house.holds.send_modify(|count| *count += 1);
    }

    /// Waits until `count` requests have arrived and returns the last of these.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for_request(&self, count: usize) -> RecordedRequest {
        self.wait_for("a request", |upstream| {
            let requests = locked(&upstream.house.requests);
            requests.get(count.saturating_sub(1)).cloned()
        })
        .await
    }

    /// Waits until a client has left a request early and returns the first such request.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for_abort(&self) -> RecordedRequest {
        self.wait_for("an abort", |upstream| {
            locked(&upstream.house.requests).iter().find(|request| request.aborted).cloned()
        })
        .await
    }

    /// Waits until a client has left a request early whose last user message contains `marker`.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for_abort_of(&self, marker: &str) -> RecordedRequest {
        self.wait_for("an abort", |upstream| upstream.requests_with(marker).into_iter().find(|request| request.aborted))
            .await
    }

    /// Waits until no more than `count` connections are open.
    ///
    /// # Panics
    /// When that takes longer than 20 s.
    pub async fn wait_for_connections_at_most(&self, count: usize) {
        self.wait_for("connections to close", |upstream| (upstream.open_connections() <= count).then_some(())).await;
    }

    #[expect(clippy::panic, reason = "a wait that is never fulfilled is a failed test")]
    async fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.house.changed.subscribe();
        let seen = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                let _ = changes.changed().await;
            }
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(found) => found,
            Err(_) => panic!("the scripted upstream waited in vain for {what}; it saw {:#?}", self.requests()),
        }
    }
}

/// The base URL of a loopback address that nobody listens on: connections to it are refused.
///
/// # Errors
/// When no port can be bound for a moment.
pub fn refusing_base_url() -> io::Result<String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(base_url(listener.local_addr()?))
}

fn base_url(address: SocketAddr) -> String {
    format!("http://{address}/v1")
}

/// A loopback listener with a deep backlog.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}
