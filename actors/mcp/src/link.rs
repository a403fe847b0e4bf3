//! What a connection's handle and its actor share: whether there is a session, and which tools it has.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use greenroom_kit::Address;
use reqwest::Client;
use tokio::sync::watch;

use crate::connector::ConnectorMsg;
use crate::error::McpError;
use crate::remote_tool::RemoteTool;
use crate::session::Session;
use crate::settings::ServerSettings;

/// What calls stand on.
#[derive(Clone)]
pub(crate) enum Link {
    /// A connection is being made.
    Opening,
    /// There is one.
    Up(Up),
    /// The last attempt failed; calls need not wait for the next.
    Down(McpError),
}

/// A connection. The number grows with each.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) number: u64,
    pub(crate) session: Session,
    pub(crate) tools: Arc<[RemoteTool]>,
}

/// What outlives the actor's incarnations.
pub(crate) struct Shared {
    pub(crate) settings: ServerSettings,
    pub(crate) client: Client,
    pub(crate) address: Address<ConnectorMsg>,
    pub(crate) link: watch::Sender<Link>,
    /// How many connections there were.
    pub(crate) made: AtomicU64,
}

impl Shared {
    pub(crate) fn new(settings: ServerSettings, client: Client, address: Address<ConnectorMsg>) -> Self {
        Self { settings, client, address, link: watch::Sender::new(Link::Opening), made: AtomicU64::new(0) }
    }
}
