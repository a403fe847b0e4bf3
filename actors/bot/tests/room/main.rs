//! The bot room over real neighbours: PostgreSQL, the provider room against a scripted upstream, memory, turns.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod begin;
mod profiles;
mod settings;
mod support;
