//! The front door end to end: whole houses in the test's process, each with a database of its own, and the program's
//! commands run as a person runs them. Faults have tests of their own.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod access;
mod administration;
mod asking;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod complete;
mod embeddings;
mod fallbacks;
mod history;
mod home;
mod jobs;
mod local;
mod memory;
mod models_cli;
mod overview;
mod profiles;
mod prompts;
mod providers;
mod remembering;
mod tools;
mod transfer;
mod turns;
