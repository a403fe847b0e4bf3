//! The turn room with a real database and a scripted model.
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod house;
mod lifecycle;
mod prompting;
mod remembering;
