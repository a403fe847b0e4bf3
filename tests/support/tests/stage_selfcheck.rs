//! The load rig without the server: a second bare proxy stands in, so every answer must be right and every ratio near 1.
//!
//! As a test it runs with small numbers and checks answers, not times. By hand, with real numbers:
//! `cargo test --release -p greenroom-test-support --test stage_selfcheck -- run --streams 9000`

use std::process::ExitCode;

use greenroom_test_support::load::{self, StagePlan};

/// Small, but every measurement is made.
const SMALL: &str = "run --check --requests 16 --turns 64 --streams 64 --rounds 1";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The rig's own parts are this executable, too; so is a run by hand.
    if arguments.first().is_some_and(|first| first == "run" || first.starts_with("--stage")) {
        return load::main(StagePlan::default());
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    load::main_with(StagePlan::default(), &SMALL.split(' ').map(str::to_owned).collect::<Vec<_>>())
}
