//! `greenroom serve`: start, say where, serve until told otherwise. A running server is found through its data directory's
//! lock, never through a port, and only the process that holds that lock is ever signalled.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use greenroom_store::{DataDirLock, LockHolder};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Serve;
use super::terminal::say;
use crate::app;
use crate::config::{self, Config, Surroundings};
use crate::http::metrics;
use crate::logging;

/// What a server may take to stop beyond its drain before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How often it is looked whether a process is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs the command.
///
/// # Errors
/// What keeps the server from starting, or what made it give up.
pub async fn run(serve: Serve, mut around: Surroundings) -> anyhow::Result<ExitCode> {
    around.flags = serve.flags();
    let loaded = config::load(&around)?;
    let config = loaded.config;
    let data_dir = config.data_dir();
    if serve.stop || serve.restart {
        let stopped = stop(&data_dir, config.limits.drain.get() + GRACE).await?;
        if serve.stop {
            return Ok(if stopped { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        anyhow::ensure!(stopped, "the running server could not be stopped");
    } else if let Some(holder) = DataDirLock::holder(&data_dir) {
        eprintln!(
            "greenroom is already running {}; use --restart to replace it, --stop to end it",
            whereabouts(&holder)
        );
        return Ok(ExitCode::SUCCESS);
    }
    logging::init(&config.log);
    metrics::install();
    for note in &loaded.notes {
        tracing::warn!(note, "configuration");
    }
    warn_of_open_door(&config);
    raise_file_limit();
    serve_until_told(config).await
}

async fn serve_until_told(config: Config) -> anyhow::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let starting = app::serve(config);
    tokio::pin!(starting);
    let started = tokio::select! {
        running = &mut starting => Some(running?),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let Some(mut running) = started else {
        // A start that is broken off would leave a database behind, so it is finished first; a second signal insists.
        tokio::select! {
            running = &mut starting => running?.shutdown_unless_hurried(hurried()).await,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        return Ok(ExitCode::SUCCESS);
    };
    // Nobody may be listening on standard output; that is no reason not to serve.
    let _ = say(&format!("listening on {}\n", running.url()));
    let failure = tokio::select! {
        why = running.failed() => Some(why),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    if let Some(why) = failure {
        tracing::error!(why, "the house has given up");
        running.shutdown_unless_hurried(hurried()).await;
        anyhow::bail!("giving up: {why}");
    }
    tracing::info!("stopping; a second signal hurries");
    let hurry = CancellationToken::new();
    let shutdown = running.shutdown_unless_hurried(hurry.clone());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => hurry.cancel(),
            _ = terminate.recv() => hurry.cancel(),
        }
    }
}

fn hurried() -> CancellationToken {
    let hurry = CancellationToken::new();
    hurry.cancel();
    hurry
}

/// Ends the server that holds the data directory's lock. True when none is running afterwards.
async fn stop(data_dir: &Path, grace: Duration) -> anyhow::Result<bool> {
    let Some(holder) = DataDirLock::holder(data_dir) else {
        eprintln!("no server is running on {}", data_dir.display());
        return Ok(true);
    };
    let Some(pid) = verified(&holder, data_dir) else {
        eprintln!("{} is in use {}, which is no greenroom server of ours", data_dir.display(), whereabouts(&holder));
        return Ok(false);
    };
    eprintln!("stopping the server {}", whereabouts(&holder));
    if let Err(error) = kill(pid, Signal::SIGTERM) {
        anyhow::bail!("process {pid} cannot be signalled: {error}");
    }
    if gone(data_dir, pid, grace).await {
        eprintln!("stopped");
        return Ok(true);
    }
    // Looked at again: the process may be another one by now.
    let still = DataDirLock::holder(data_dir).and_then(|holder| verified(&holder, data_dir));
    if still == Some(pid) {
        eprintln!("process {pid} did not stop in time and is killed");
        let _ = kill(pid, Signal::SIGKILL);
    }
    let gone = gone(data_dir, pid, AFTER_KILL).await;
    if !gone {
        eprintln!("process {pid} could not be stopped");
    }
    Ok(gone)
}

/// Whether the lock has another holder than `pid`, or none, within `limit`.
async fn gone(data_dir: &Path, pid: Pid, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let held = DataDirLock::holder(data_dir).is_some_and(|holder| holder.pid.cast_signed() == pid.as_raw());
        if !held || Instant::now() >= deadline {
            return !held;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The process that wrote the card, if it really has the lock file open.
fn verified(holder: &LockHolder, data_dir: &Path) -> Option<Pid> {
    let own = std::process::id();
    let data_dir = data_dir.canonicalize().ok()?;
    let opened = std::fs::read_dir(format!("/proc/{}/fd", holder.pid)).ok()?;
    let has_it = opened.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|file| {
        file.parent() == Some(data_dir.as_path()) && file.extension().is_some_and(|extension| extension == "lock")
    });
    (has_it && holder.pid != own && holder.pid > 1).then(|| Pid::from_raw(holder.pid.cast_signed()))
}

fn whereabouts(holder: &LockHolder) -> String {
    match &holder.http {
        Some(http) => format!("(process {}, at http://{http})", holder.pid),
        None => format!("(process {})", holder.pid),
    }
}

fn warn_of_open_door(config: &Config) {
    if config.has_keys() {
        return;
    }
    if config.auth.allow_unauthenticated {
        tracing::warn!("no keys are configured: whoever reaches this server may do everything");
    } else {
        tracing::info!("no keys are configured: serving this machine only, without authentication");
    }
}

/// Thousands of streams need thousands of files; many systems start programs with room for a thousand.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files could not be raised");
    }
}
