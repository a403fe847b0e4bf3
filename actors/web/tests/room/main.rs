//! The outside world against the scripted upstream, over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test's helper that fails must fail the test")]

mod common;
mod fetch;
mod guard;
mod news;
mod search;
