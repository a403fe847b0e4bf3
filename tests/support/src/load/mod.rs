//! The load rig behind `make bench`: what Greenroom costs, as a ratio against a bare proxy in the same run. Its pieces
//! (a server as users start it, the upstream as a process, a connection, the table) serve other benches, too.
//!
//! Parts (upstream, proxy, client) are processes of one executable, started by its hidden arguments, so that memory and
//! CPU can be told apart. Every figure is measured in alternating rounds, and the median of the rounds is shown.
//! Deliberately absent: absolute targets; a missed budget is said, never hidden and never an exit code.

mod answer;
mod client;
mod job;
mod measure;
mod process;
mod proxy;
mod rounds;
mod server;
mod stage;
mod table;

use std::process::ExitCode;

pub use self::client::Line;
pub use self::measure::{MEBIBYTE, Memory, descendants, mebibytes, median, memory_of, quantile};
pub use self::process::{Part, say};
pub use self::server::{Scratch, Server, ServerSetup};
pub use self::stage::StagePlan;
pub use self::table::{Row, machine_line, render};

/// The entry point of a bench executable. With hidden arguments it plays one part of the rig; with `--bench` or `run`
/// it measures; with neither (as under `cargo test --benches`) it does nothing.
pub fn main(plan: StagePlan) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    main_with(plan, &arguments)
}

/// [`main`] with other arguments than the process was given.
pub fn main_with(plan: StagePlan, arguments: &[String]) -> ExitCode {
    process::dispatch(plan, arguments)
}
