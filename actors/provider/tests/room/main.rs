//! The whole provider room against a real database and scripted upstreams over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's helper that fails must fail the test")]

mod calls;
mod catalogue;
mod common;
mod local;
mod supervision;
mod wires;
