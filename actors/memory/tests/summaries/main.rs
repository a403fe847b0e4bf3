//! Summaries in a real database: coverage, replacement, deletion, roll-ups, eligibility; and that no sequence of these
//! ever leaves a message with neither visibility nor an active summary.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod house;
mod sequences;
mod storage;
