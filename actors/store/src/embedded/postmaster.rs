//! One running PostgreSQL server. Invariant: it lives no longer than this value, plus the time of a fast shutdown; if this
//! process is killed, the guard sees to that. Deliberately absent: starting it again; that is the actor's supervisor's work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_kit::lock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::guard::Guard;
use super::programs::program;
use super::{ClusterPlan, initdb, leftover, tuning};
use crate::error::{StoreError, one_line};
use crate::target::SOCKET_PORT;

/// Recovery after a power cut may read a gigabyte of log; the supervisor waits a little longer than this.
const START_LIMIT: Duration = Duration::from_secs(100);
/// Backends of a killed postmaster notice within moments, and PostgreSQL refuses to start before they are gone.
const STRAGGLERS: Duration = Duration::from_secs(15);
/// Lines of its log that an error may quote.
const TAIL: usize = 12;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: i32,
    /// The socket's folder, when it lies outside the data directory and should not stay behind.
    borrowed: Option<PathBuf>,
    ended: watch::Receiver<Option<String>>,
    guard: Option<Guard>,
    _waiter: AbortOnDropHandle<()>,
}

impl Postmaster {
    /// Makes the cluster if need be, clears away what an earlier run left, starts the server and waits until it answers.
    pub async fn start(plan: &ClusterPlan) -> Result<Self, StoreError> {
        plan.layout.prepare(plan.account.as_ref())?;
        leftover::clear(&plan.layout).await?;
        initdb::ensure(plan).await?;
        let begun = Instant::now();
        loop {
            let (server, log) = Self::launch(plan)?;
            let Some(why) = server.answers(plan, begun).await else { return Ok(server) };
            let said = log.text();
            drop(server);
            if !is_straggling(&said) || begun.elapsed() > STRAGGLERS {
                return Err(StoreError::setup(
                    format!("PostgreSQL did not start: {why}. It said: {said}"),
                    "`greenroom doctor` looks at the usual reasons: disk space, rights, another server",
                ));
            }
            leftover::clear(&plan.layout).await?;
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn launch(plan: &ClusterPlan) -> Result<(Self, Arc<LogTail>), StoreError> {
        let layout = &plan.layout;
        let mut command = program(&plan.binaries, "postgres", plan.account.as_ref());
        let major = plan.binaries.major;
        let connections = plan.max_connections;
        let (cluster, socket) = (&layout.cluster, &layout.socket_dir);
        command.args(tuning::arguments(plan.purpose, major, cluster, socket, SOCKET_PORT, connections));
        let cannot = |error: &std::io::Error| StoreError::file("run", &plan.binaries.bin.join("postgres"), error);
        let mut child = command.spawn().map_err(|error| cannot(&error))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let guard = match Guard::post(pid, &layout.cluster, plan.scrap.as_deref()) {
            Ok(guard) => Some(guard),
            Err(error) => {
                tracing::warn!(%error, "no guard: a killed greenroom will leave postgres running until the next start");
                None
            }
        };
        let log = Arc::new(LogTail::default());
        let reader = child
            .stderr
            .take()
            .map(|stderr| AbortOnDropHandle::new(tokio::spawn(read_log(stderr, log.clone()).in_current_span())));
        let (told, ended) = watch::channel(None);
        let waiter = tokio::spawn(async move {
            let end = match child.wait().await {
                Ok(status) => format!("postgres ended: {status}"),
                Err(error) => format!("postgres is lost: {error}"),
            };
            if let Some(reader) = reader {
                // Its last words are still in the pipe; a straggling child may hold it open for longer.
                let _ = timeout(Duration::from_millis(200), reader).await;
            }
            let _ = told.send(Some(end));
        });
        let borrowed = (!socket.starts_with(&layout.data_dir)).then(|| socket.clone());
        Ok((Self { pid, borrowed, ended, guard, _waiter: AbortOnDropHandle::new(waiter) }, log))
    }

    /// Waits until the server takes connections; returns why it never will.
    async fn answers(&self, plan: &ClusterPlan, begun: Instant) -> Option<String> {
        let mut pause = Duration::from_millis(2);
        let mut last = "no answer".to_owned();
        loop {
            tokio::select! {
                why = self.ended() => return Some(why),
                () = sleep(pause) => {}
            }
            match timeout(Duration::from_secs(5), plan.server.connect()).await {
                Ok(Ok(_)) => return None,
                Ok(Err(error)) => last = one_line(&error),
                Err(_) => {}
            }
            if begun.elapsed() > START_LIMIT {
                return Some(format!("no connection within {} s: {last}", START_LIMIT.as_secs()));
            }
            pause = (pause * 3 / 2).min(Duration::from_millis(25));
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end and says how it came about.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_default(),
            Err(_) => "postgres is no longer watched".into(),
        }
    }

    /// A second view of its end, for a task of its own.
    pub fn end(&self) -> watch::Receiver<Option<String>> {
        self.ended.clone()
    }

    /// Fast shutdown: sessions are cut, everything is written, within `grace` if the disk allows. A server that takes
    /// longer is left to the guard.
    pub async fn stop(self, grace: Duration) {
        self.signal(Signal::SIGINT);
        if timeout(grace, self.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "postgres takes long to stop; it goes on in the background");
        } else if let Some(folder) = &self.borrowed {
            let _ = std::fs::remove_dir(folder);
        }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        let over = self.ended.borrow().is_some();
        if let Some(guard) = self.guard.take().filter(|_| over) {
            return guard.stand_down();
        }
        self.signal(Signal::SIGINT);
    }
}

/// Whether PostgreSQL refused to start only because the processes of its predecessor are not gone yet.
fn is_straggling(said: &str) -> bool {
    said.contains("shared memory block") || said.contains("lock file \"postmaster.pid\" already exists")
}

#[derive(Debug, Default)]
struct LogTail(Mutex<VecDeque<String>>);

impl LogTail {
    fn keep(&self, line: &str) {
        let mut lines = lock(&self.0);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn text(&self) -> String {
        let lines = lock(&self.0);
        if lines.is_empty() { "nothing".into() } else { lines.iter().cloned().collect::<Vec<_>>().join(" | ") }
    }
}

async fn read_log(stderr: ChildStderr, tail: Arc<LogTail>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.starts_with("PANIC") || text.contains("was terminated by signal") {
            tracing::error!(line = text, "postgres reports");
        } else if !text.is_empty() {
            tracing::debug!(line = text, "postgres reports");
        }
        tail.keep(text);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let tail = LogTail::default();
        assert_eq!(tail.text(), "nothing");
        (0..20).for_each(|number| tail.keep(&number.to_string()));
        assert!(tail.text().starts_with("8 | 9") && tail.text().ends_with("| 19"));
    }

    #[test]
    fn only_stragglers_are_worth_waiting_for() {
        assert!(is_straggling("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use"));
        assert!(is_straggling("FATAL:  lock file \"postmaster.pid\" already exists"));
        assert!(!is_straggling("FATAL:  could not open file: No space left on device"));
    }
}
