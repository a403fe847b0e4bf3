//! The room's errors. Their texts may be shown to a model and to users: no host, no token, no page source.

use greenroom_kit::SupervisorError;

/// Why a tool of a server has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// There is no connection; the call was not sent.
    #[error("the server is not available: {0}")]
    Unavailable(String),
    /// The server refuses our token.
    #[error("the server refuses the configured token")]
    Unauthorised,
    /// The server has no such tool, or it does not count.
    #[error("the server has no such tool")]
    UnknownTool,
    /// The server refuses the call, in its own words.
    #[error("the server refuses the call: {0}")]
    Refused(String),
    /// The server asks to slow down.
    #[error("the server asks to slow down")]
    RateLimited,
    /// The connection broke while the call ran; whether it had an effect is unknown.
    #[error("the connection broke during the call; its outcome is unknown")]
    Interrupted,
    /// No answer in time; whether the call had an effect is unknown.
    #[error("the server did not answer in time; the outcome of the call is unknown")]
    Timeout,
    /// The caller cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// The server's answer cannot be used.
    #[error("the server gave {0}")]
    Broken(String),
}

/// Why the connections could not be set up. An absent server is no reason.
#[derive(Debug, thiserror::Error)]
pub enum McpStartError {
    /// A server's settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client for MCP servers could not be made: {0}")]
    Client(String),
    /// An actor could not be started.
    #[error("an MCP connection could not be started: {0}")]
    Supervisor(#[from] SupervisorError),
}
