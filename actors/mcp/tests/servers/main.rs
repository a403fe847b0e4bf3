//! The whole room against scripted MCP servers over real sockets: every transport, and everything that breaks.
#![expect(clippy::unwrap_used, reason = "a test's helper that fails must fail the test")]

mod calls;
mod common;
mod discovery;
mod faults;
mod supervision;
