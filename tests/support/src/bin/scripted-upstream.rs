//! The scripted upstream on its own, for suites in other languages and for trying things by hand.
//!
//! The first line on stdout is its base URL; it runs until it is killed. Prompts direct it by markers (`--markers`).

use std::io::Write;
use std::process::ExitCode;

use greenroom_test_support::upstream::{Upstream, markers};

const USAGE: &str = "usage: scripted-upstream [--port N] [--markers]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let port = match words.as_slice() {
        [] => Some(0),
        ["--port", port] => port.parse().ok(),
        ["--markers"] => return print_markers(),
        _ => None,
    };
    let Some(port) = port else { return fail(USAGE) };
    let announce = |url: &str| say(url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(Upstream::run(port, announce))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn print_markers() -> ExitCode {
    for (form, meaning) in markers::MARKERS {
        say(&format!("{:<18} {meaning}", format!("[[{form}]]")));
    }
    ExitCode::SUCCESS
}

/// One line on stdout, at once; a closed stdout is nobody's problem.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
