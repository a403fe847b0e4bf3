//! The scheduler over a real database, with a clock that tests turn and work that they script.

#![expect(clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod faults;
mod house;
mod jobs;
mod tasks;
