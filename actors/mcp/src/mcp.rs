//! The room's handle: all configured servers.

use std::sync::Arc;

use greenroom_kit::{Address, Policy, Supervisor, child};

use crate::client::client;
use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::McpStartError;
use crate::link::Shared;
use crate::settings::ServerSettings;

/// The MCP servers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Mcp {
    connections: Arc<[Connection]>,
}

impl Mcp {
    /// Starts one actor per server under `group`. Connecting goes on in the background: no server is waited for.
    ///
    /// # Errors
    /// [`McpStartError`] when settings cannot be used or an actor does not start.
    pub async fn start(group: &Supervisor, servers: Vec<ServerSettings>) -> Result<Self, McpStartError> {
        let mut connections: Vec<Connection> = Vec::new();
        for settings in servers {
            if connections.iter().any(|other| other.id() == settings.id) {
                return Err(McpStartError::Settings(format!("there are two MCP servers named '{}'", settings.id)));
            }
            settings.check().map_err(McpStartError::Settings)?;
            let url = settings.parsed_url().map_err(McpStartError::Settings)?;
            let client = client(&url).map_err(|error| McpStartError::Client(error.without_url().to_string()))?;
            let address = Address::vacant(group.card(format!("mcp:{}", settings.id), "mcp"));
            let shared = Arc::new(Shared::new(settings, client, address.clone()));
            connections.push(Connection::new(shared.clone()));
            let make = move || (Connector { shared: shared.clone() }, ());
            group.add(child(&address, Policy::WORKER, make)).await?;
        }
        Ok(Self { connections: connections.into() })
    }

    /// The server with this id.
    #[must_use]
    pub fn server(&self, id: &str) -> Option<Connection> {
        self.servers().find(|connection| connection.id() == id).cloned()
    }

    /// All servers, in the order given.
    pub fn servers(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter()
    }
}
