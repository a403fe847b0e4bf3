//! The store room from outside: whole clusters, processes that are killed, databases of others.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;
mod embedded;
mod external;
mod processes;
