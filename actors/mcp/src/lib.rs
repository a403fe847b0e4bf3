//! Connections to MCP servers: one supervised actor each, and what their tools are and answer.
//!
//! A server may speak any revision of the protocol from 2024-11-05 on, over streamable HTTP or over the HTTP+SSE transport
//! that came before it. Whoever calls a tool gets exactly one answer or typed error, within the time given; a call is
//! repeated only if it certainly did not run or may run twice. What servers send is bounded and hostile until checked.
//! Deliberately absent: which bot may call what (the tools room), and being a server.

mod client;
mod connection;
mod connector;
mod error;
mod fault;
mod legacy;
mod link;
mod mcp;
mod remote_tool;
mod result;
mod session;
mod settings;

pub use connection::Connection;
pub use error::{McpError, McpStartError};
pub use mcp::Mcp;
pub use remote_tool::{Annotations, RemoteTool};
pub use result::CallResult;
pub use settings::{ServerSettings, Transport};
