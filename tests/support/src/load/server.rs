//! The server under measurement: started, awaited and stopped like a user would.
//!
//! Invariant: it never outlives its handle. It is asked to stop (SIGTERM), given time to close its database, and killed
//! only after that.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};

use super::process::{plain_request, with_many_files};

/// A first start creates a database cluster.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A stop drains turns and closes the database.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How to start it.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// The program.
    pub binary: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its configuration file, if it needs one.
    pub config: Option<PathBuf>,
    /// Further environment.
    pub environment: Vec<(String, String)>,
}

impl ServerSetup {
    fn log(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// The end of its log, for a failure report.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process until it said it was ready.
    pub ready_after: Duration,
}

impl Server {
    /// Starts it and waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it ends before that or takes too long.
    pub async fn start(setup: &ServerSetup) -> io::Result<Self> {
        let mut command = with_many_files(&setup.binary);
        command.args(["serve", "--port", "0", "--data-dir"]).arg(&setup.data_dir);
        if let Some(config) = &setup.config {
            command.arg("--config").arg(config);
        }
        // Nothing that happens to be set where the bench is started may steer the server.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("GREENROOM_") || matches!(&*name, "DATABASE_URL" | "REDIS_URL" | "HOST" | "PORT") {
                command.env_remove(&*name);
            }
        }
        command.envs(setup.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let log = std::fs::File::create(setup.log())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut server = Self { child, address: ([127, 0, 0, 1], 0).into(), ready_after: Duration::ZERO };
        let waiting = server.wait_until_ready(stdout, started);
        tokio::time::timeout(START_LIMIT, waiting)
            .await
            .map_err(|_| io::Error::other("the server never got ready"))??;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, stdout: ChildStdout, started: Instant) -> io::Result<()> {
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let Some(line) = lines.next_line().await? else {
                return Err(io::Error::other("the server ended before it listened; see its log"));
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                self.address = address.trim().trim_end_matches('/').parse().map_err(io::Error::other)?;
                break;
            }
        }
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        while !matches!(plain_request(self.address, "GET", "/readyz", "").await, Ok((200, _))) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.ready_after = started.elapsed();
        Ok(())
    }

    /// Its process id; 0 once it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Stops it; the time it took.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(mut self) -> io::Result<Duration> {
        let started = Instant::now();
        self.ask_to_stop();
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        ended.map_err(|_| io::Error::other(format!("the server did not stop within {STOP_LIMIT:?}")))??;
        Ok(started.elapsed())
    }

    fn ask_to_stop(&self) {
        if let Some(pid) = self.child.id() {
            let _ = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.ask_to_stop();
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A folder of its own for one run; removed with its handle. Others may enter it: the database may run as another user.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder.
    ///
    /// # Errors
    /// When the temporary directory cannot be written to.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("greenroom-stage-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where something of this name is to be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
