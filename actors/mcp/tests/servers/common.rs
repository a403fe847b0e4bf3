//! A supervision tree with one server in it.

use std::time::Duration;

use greenroom_kit::{Board, CardView, Supervisor};
use greenroom_mcp::{CallResult, Connection, Mcp, McpError, ServerSettings, Transport};
use greenroom_test_support::upstream::{McpEra, McpServer};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

/// Longer than any test takes when it passes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub home: Connection,
    pub board: Board,
    pub group: Supervisor,
}

/// Every way to speak to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sessions,
    SessionsInStreams,
    Stateless,
    StatelessInStreams,
    Sse,
}

pub const WAYS: [Way; 5] = [Way::Sessions, Way::SessionsInStreams, Way::Stateless, Way::StatelessInStreams, Way::Sse];

pub fn prepare(server: &McpServer, way: Way) -> ServerSettings {
    server.era(if matches!(way, Way::Stateless | Way::StatelessInStreams) {
        McpEra::Stateless
    } else {
        McpEra::Sessions
    });
    server.answer_in_streams(matches!(way, Way::SessionsInStreams | Way::StatelessInStreams));
    let mut settings = ServerSettings::new("home", server.url());
    if way == Way::Sse {
        settings.url = server.sse_url();
        settings.transport = Transport::Sse;
    }
    settings
}

pub async fn open(settings: ServerSettings) -> House {
    let board = Board::default();
    let (root, _) = Supervisor::root(board.clone()).await.unwrap();
    let group = root.group("mcp").await.unwrap();
    let mcp = Mcp::start(&group, vec![settings]).await.unwrap();
    let home = mcp.server("home").unwrap();
    House { home, board, group }
}

impl House {
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<CallResult, McpError> {
        self.home.call(tool, object(arguments), PATIENCE, &CancellationToken::new()).await
    }

    pub async fn text(&self, tool: &str) -> Result<String, McpError> {
        self.call(tool, Value::Object(Map::new())).await.map(|result| result.text)
    }

    pub fn card(&self) -> CardView {
        self.board.views().into_iter().find(|card| card.name == "mcp:home").unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.home.tools().iter().map(|tool| tool.name.clone()).collect()
    }

    /// Waits until something about the house holds.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        self.until_within(PATIENCE, holds).await;
    }

    /// The same, for a clock that is paused and runs fast.
    pub async fn until_within(&self, patience: Duration, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(patience, waited).await.is_ok(), "{:?}", self.card());
    }
}

pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
