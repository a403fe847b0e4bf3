//! The front door end to end: whole houses in the test's process, each with a database of its own, and the program's
//! commands run as a person runs them. Faults have tests of their own.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod access;
mod administration;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod embeddings;
mod history;
mod jobs;
mod memory;
mod overview;
mod profiles;
mod prompts;
mod remembering;
mod transfer;
mod turns;
