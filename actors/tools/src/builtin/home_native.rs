//! Home Assistant's own tools, as its MCP server offers them: names, schemas and effects are the server's.

use std::sync::Arc;
use std::time::Duration;

use greenroom_mcp::{Annotations, CallResult, Connection, McpError};
use serde_json::{Map, Value};

use crate::offer::Offer;
use crate::outcome::{ErrorKind, ToolOutcome};
use crate::tool::{BoxFuture, CallContext, Effects, Origin, Scope, Tool, ToolFamily, ToolSpec};

/// Id of the MCP server whose own tools control the house.
pub const HOME_NATIVE: &str = "home-assistant";
/// Id of the MCP server behind the `home` tool.
pub const HOME_LEGACY: &str = "home";
/// How long a look waits for a connection that is being made.
pub(super) const MOMENT: Duration = Duration::from_millis(1_500);

/// The key of the prompt that says how the house is controlled with what is offered; `None` when it is not.
#[must_use]
pub fn home_instructions_key(offer: &Offer) -> Option<&'static str> {
    let spec = offer.names().iter().filter_map(|name| offer.get(name)).map(|offered| offered.tool.spec());
    spec.into_iter().find(|spec| spec.scope == Scope::Home).map(|spec| match spec.origin {
        Origin::BuiltIn => "tools.home_instructions",
        Origin::Remote => "tools.home_native_instructions",
    })
}

struct HomeTools {
    server: Connection,
    timeout: Duration,
}

struct HomeTool {
    spec: ToolSpec,
    annotations: Annotations,
    server: Connection,
}

pub(super) fn family(server: Connection, timeout: Duration) -> Arc<dyn ToolFamily> {
    Arc::new(HomeTools { server, timeout })
}

impl ToolFamily for HomeTools {
    fn scope(&self) -> Scope {
        Scope::Home
    }

    fn tools(&self) -> BoxFuture<'_, Vec<Arc<dyn Tool>>> {
        Box::pin(async {
            let found = self.server.discovered(MOMENT).await;
            let tool = |tool: &greenroom_mcp::RemoteTool| -> Arc<dyn Tool> {
                let schema = Value::clone(&tool.input_schema);
                Arc::new(HomeTool {
                    spec: ToolSpec::remote(&tool.name, &tool.description, schema, Scope::Home, self.timeout),
                    annotations: tool.annotations,
                    server: self.server.clone(),
                })
            };
            found.iter().map(tool).collect()
        })
    }
}

impl Tool for HomeTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, _: &Value) -> Effects {
        match self.annotations {
            Annotations { read_only: true, .. } => Effects::ReadOnly,
            Annotations { idempotent: true, .. } => Effects::Idempotent,
            _ => Effects::Dangerous,
        }
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async move {
            match asked(&self.server, &self.spec.name, arguments, cx).await {
                Ok(result) => told(result),
                Err(error) => error.into(),
            }
        })
    }
}

/// Calls a tool of a server; what is no object has no arguments.
pub(super) async fn asked(
    server: &Connection,
    tool: &str,
    arguments: Value,
    cx: &CallContext,
) -> Result<CallResult, McpError> {
    let arguments = match arguments {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    server.call(tool, arguments, server.timeout(), &cx.cancel).await
}

/// What the house answers is text from outside; its own failures are told as failures.
pub(super) fn told(result: CallResult) -> ToolOutcome {
    let empty = result.text.trim().is_empty();
    match (result.is_error, empty) {
        (false, true) => ToolOutcome::success("Done."),
        (false, false) => ToolOutcome::success(result.text).untrusted(),
        (true, true) => ToolOutcome::failed(ErrorKind::UpstreamError, "The house says that this failed, and not why."),
        (true, false) => ToolOutcome::failed(ErrorKind::UpstreamError, result.text).untrusted(),
    }
}

impl From<McpError> for ToolOutcome {
    fn from(error: McpError) -> Self {
        let kind = match &error {
            McpError::Unavailable(_) | McpError::UnknownTool => ErrorKind::NotAvailable,
            McpError::Unauthorised => ErrorKind::Unauthorised,
            McpError::RateLimited => ErrorKind::RateLimited,
            McpError::Timeout => ErrorKind::Timeout,
            McpError::Cancelled => ErrorKind::Cancelled,
            // In the server's own words.
            McpError::Refused(words) => return Self::failed(ErrorKind::UpstreamError, words.clone()).untrusted(),
            McpError::Interrupted | McpError::Broken(_) => ErrorKind::UpstreamError,
        };
        let words = error.to_string();
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        Self::failed(kind, format!("{first}{}.", letters.as_str()))
    }
}
