//! Runs a command with one throwaway PostgreSQL cluster for all its test processes:
//! `test-cluster cargo test --workspace`. Without this each test process starts a cluster of its own. If
//! `GREENROOM_TEST_DATABASE_URL` is set already, the command is run with that. Deliberately absent: anything durable.

use std::process::ExitCode;

use greenroom_store::testing::{SHARED_CLUSTER, TestCluster};
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: test-cluster COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(words);
    if std::env::var_os(SHARED_CLUSTER).is_some_and(|url| !url.is_empty()) {
        return run(&mut command).await;
    }
    let cluster = match TestCluster::start().await {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("test-cluster: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = run(command.env(SHARED_CLUSTER, cluster.url())).await;
    cluster.stop().await;
    code
}

/// Waits for the command's own end even if Ctrl-C is pressed: it gets the signal, too, and decides.
async fn run(command: &mut Command) -> ExitCode {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("test-cluster: cannot run the command: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        tokio::select! {
            end = child.wait() => {
                let code = end.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
                return code.map_or(ExitCode::FAILURE, ExitCode::from);
            }
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}
