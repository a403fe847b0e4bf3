//! Facts, merging, tidying and portraits against real PostgreSQL and a scripted model.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod faults;
mod house;
mod merging;
mod portraits;
mod reading;
mod tasks;
mod tidying;
