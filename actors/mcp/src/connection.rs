//! A server as its callers hold it.
//!
//! Calls do not pass through the actor. They take the session from the link that both share, and tell the actor what they
//! noticed. Invariant: a call is made again, once, only if it certainly never ran, or if its tool may run twice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connector::{ConnectorMsg, LIST_LIMIT};
use crate::error::McpError;
use crate::fault::Fault;
use crate::link::{Link, Shared, Up};
use crate::remote_tool::{Annotations, RemoteTool};
use crate::result::CallResult;

/// How long a call waits for a connection that is being made.
const LINK_LIMIT: Duration = Duration::from_secs(5);

/// A handle to a server. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.id()).finish()
    }
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The server's name among ours.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.settings.id
    }

    /// How long a call may take, as configured.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.shared.settings.timeout
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(&*self.shared.link.borrow(), Link::Up(_))
    }

    /// The tools that the last discovery found, by name; none while there is no connection.
    #[must_use]
    pub fn tools(&self) -> Arc<[RemoteTool]> {
        match &*self.shared.link.borrow() {
            Link::Up(up) => up.tools.clone(),
            Link::Opening | Link::Down(_) => Arc::default(),
        }
    }

    /// The same, after waiting at most `limit` for a connection that is being made.
    pub async fn discovered(&self, limit: Duration) -> Arc<[RemoteTool]> {
        let _ = timeout(limit, self.up(0)).await;
        self.tools()
    }

    /// Calls a tool. The time covers waiting for a connection and a second try.
    ///
    /// # Errors
    /// [`McpError`]. A tool that reports its own failure is no error here: see [`CallResult::is_error`].
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<CallResult, McpError> {
        let _counted = InFlight::begin(&self.shared);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(McpError::Cancelled),
            answer = timeout(limit, self.attempt(tool, arguments)) => answer.unwrap_or_else(|_| {
                if let Link::Up(up) = &*self.shared.link.borrow() {
                    self.tell(ConnectorMsg::Doubt(up.number));
                }
                Err(McpError::Timeout)
            }),
        }
    }

    /// Makes the connection's actor panic, to test what follows.
    #[doc(hidden)]
    #[must_use]
    pub fn crash(&self) -> bool {
        self.shared.address.crash().is_ok()
    }

    async fn attempt(&self, tool: &str, arguments: Map<String, Value>) -> Result<CallResult, McpError> {
        let (up, annotations) = self.up_with(tool).await?;
        let fault = match up.session.call(tool, arguments.clone()).await {
            Ok(result) => return Ok(result),
            Err(fault) => fault,
        };
        self.noticed(&up, &fault);
        let may_repeat = fault.never_ran() || (fault == Fault::Interrupted && annotations.may_repeat());
        if !may_repeat {
            return Err(fault.into());
        }
        let up = self.up(if fault.ends_session() { up.number } else { 0 }).await?;
        let again = up.session.call(tool, arguments).await;
        again.map_err(|fault| {
            self.noticed(&up, &fault);
            fault.into()
        })
    }

    /// The connection, and what a tool says about itself; a tool that is not known is looked for once more.
    async fn up_with(&self, tool: &str) -> Result<(Up, Annotations), McpError> {
        let find = |up: &Up| up.tools.iter().find(|known| known.name == tool).map(|known| known.annotations);
        let up = self.up(0).await?;
        if let Some(annotations) = find(&up) {
            return Ok((up, annotations));
        }
        let _ = self.shared.address.ask(LIST_LIMIT, ConnectorMsg::Refresh).await;
        let up = self.up(0).await?;
        find(&up).map(|annotations| (up, annotations)).ok_or(McpError::UnknownTool)
    }

    /// A connection later than number `after`, if need be after a while.
    async fn up(&self, after: u64) -> Result<Up, McpError> {
        let mut link = self.shared.link.subscribe();
        let known = link.wait_for(|link| match link {
            Link::Up(up) => up.number > after,
            Link::Down(_) => true,
            Link::Opening => false,
        });
        match timeout(LINK_LIMIT, known).await {
            Ok(Ok(link)) => match &*link {
                Link::Up(up) => Ok(up.clone()),
                Link::Down(why) => Err(why.clone()),
                Link::Opening => Err(still_opening()),
            },
            Ok(Err(_)) | Err(_) => Err(still_opening()),
        }
    }

    fn noticed(&self, up: &Up, fault: &Fault) {
        if fault.ends_session() {
            self.tell(ConnectorMsg::Lost(up.number, fault.clone()));
        } else if fault.raises_doubt() {
            self.tell(ConnectorMsg::Doubt(up.number));
        }
    }

    fn tell(&self, message: ConnectorMsg) {
        // without an actor a new connection is about to be made anyhow
        let _ = self.shared.address.tell(message);
    }
}

fn still_opening() -> McpError {
    McpError::Unavailable("its connection is being made".into())
}

/// Counts a call on the board.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.address.card().add_in_flight(1);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.address.card().add_in_flight(-1);
    }
}
