//! Faults, played against the real program with its own PostgreSQL and a scripted upstream: clients that leave or stall,
//! providers that break, a database that dies, a server that is killed.
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod client;
mod clients;
mod memory;
mod providers;
mod server;
mod survival;
mod tools;
