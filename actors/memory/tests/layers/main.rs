//! The layers of memory in a real database: sessions, messages, memories, forgetting, import, faults.

#![expect(clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod faults;
mod forget;
mod house;
mod import;
mod memories;
mod messages;
mod migration;
mod pages;
mod sessions;
