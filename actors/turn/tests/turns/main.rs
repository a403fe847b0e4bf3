//! The turn room with a real database and a scripted model.
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod fallbacks;
mod hands;
mod house;
mod lifecycle;
mod prompting;
mod remembering;
mod structured;
mod tools;
mod tools_client;
mod tools_faults;
mod tools_past;
mod tools_text;
