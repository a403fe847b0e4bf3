//! `make bench`: what a turn costs, as ratios against a bare proxy in the same run. The rig itself is
//! `tests/support/src/load`; this says what is measured: the server as it is shipped, everything durable on.

use std::process::ExitCode;

use greenroom_test_support::load::{self, StagePlan};

/// Limits far above what is measured, so that none of them is.
const SERVER_CONFIG: &str = r"
[limits]
connections = 20000
max_turns = 20000
";

fn main() -> ExitCode {
    load::main(StagePlan {
        server: Some(env!("CARGO_BIN_EXE_greenroom").into()),
        server_config: SERVER_CONFIG.into(),
        environment: Vec::new(),
    })
}
