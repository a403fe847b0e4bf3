//! Finding memories and messages in a real database: scores, legs and their absence, indexes that stay true, the worker that
//! embeds, and what happens when something underneath is gone.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod embedding;
mod episodes;
mod everywhere;
mod faults;
mod house;
mod indexes;
mod searching;
