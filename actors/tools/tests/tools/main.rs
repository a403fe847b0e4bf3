//! The tools room with a real database: offers, the executor's promises, and the data tools over memory and profiles.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod aliases;
mod executor;
mod faults;
mod history;
mod home;
mod house;
mod memory;
mod offers;
mod profile;
mod web;
