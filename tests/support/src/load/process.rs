//! The rig's processes: this executable again, playing one part each.
//!
//! A part that serves prints `http://…` first and ends when its stdin closes, so it never outlives the rig, however
//! that ended. Deliberately absent: signals of our own; a part is asked by its stdin and else killed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::job::{Job, Report};
use super::stage::{Options, StagePlan};
use super::{client, proxy, stage};
use crate::upstream::{Upstream, listen};

/// The hidden argument that turns the executable into a part.
const PART: &str = "--stage-part";
/// How long a part may take to say that it is there.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Does what the arguments say.
pub(super) fn dispatch(plan: StagePlan, arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [part, "upstream"] if *part == PART => single_threaded().and_then(|runtime| runtime.block_on(play_upstream())),
        [part, "proxy", upstream] if *part == PART => {
            // As many threads as any server would use.
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.and_then(|runtime| runtime.block_on(play_proxy(upstream)))
        }
        [part, "client", job] if *part == PART => {
            single_threaded().and_then(|runtime| runtime.block_on(play_client(job)))
        }
        _ if !words.iter().any(|word| matches!(*word, "--bench" | "run")) => {
            say("the load rig measures only under `cargo bench` (or with the argument `run`)");
            Ok(())
        }
        _ => match Options::parse(&words) {
            Ok(options) => tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .and_then(|runtime| runtime.block_on(stage::measure(plan, options))),
            Err(complaint) => Err(io::Error::other(complaint)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "stage: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line on stdout, at once.
pub fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn single_threaded() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn stdin_closed() {
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

async fn play_upstream() -> io::Result<()> {
    tokio::select! {
        done = Upstream::run(0, |url| say(url.trim_end_matches("/v1"))) => done,
        () = stdin_closed() => Ok(()),
    }
}

async fn play_proxy(upstream: &str) -> io::Result<()> {
    let upstream = upstream.parse().map_err(io::Error::other)?;
    let listener = listen(0)?;
    say(&format!("http://{}", listener.local_addr()?));
    tokio::select! {
        () = proxy::serve(listener, upstream) => Ok(()),
        () = stdin_closed() => Ok(()),
    }
}

async fn play_client(job: &str) -> io::Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let print = |report: &Report| say(&serde_json::to_string(report).unwrap_or_default());
    client::run(job, print).await;
    Ok(())
}

/// How long a part may take to end once its stdin is closed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A command that runs with as many open files as the system allows.
pub(super) fn with_many_files(program: &std::path::Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@""#, "sh"]).arg(program);
    command
}

/// A running part.
#[derive(Debug)]
pub struct Part {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Part {
    fn spawn(arguments: &[&str]) -> io::Result<Self> {
        let mut command = with_many_files(&std::env::current_exe()?);
        command.arg(PART).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    async fn serving(arguments: &[&str]) -> io::Result<(Self, SocketAddr)> {
        let mut part = Self::spawn(arguments)?;
        let line = part.line(START_LIMIT).await?;
        let address = line.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        Ok((part, address))
    }

    /// The scripted upstream, and where it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn upstream() -> io::Result<(Self, SocketAddr)> {
        Self::serving(&["upstream"]).await
    }

    /// A bare proxy in front of an upstream, and where it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn proxy(upstream: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        Self::serving(&["proxy", &upstream.to_string()]).await
    }

    /// A client with a job.
    pub(super) fn client(job: &Job) -> io::Result<Self> {
        Self::spawn(&["client", &serde_json::to_string(job)?])
    }

    /// Its process id; 0 once it has ended.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    async fn line(&mut self, limit: Duration) -> io::Result<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(limit, self.stdout.read_line(&mut line)).await;
        match read.map_err(|_| io::Error::other(format!("no word from a part of the rig within {limit:?}")))?? {
            0 => Err(io::Error::other("a part of the rig ended without a word")),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// The client's next report.
    pub(super) async fn report(&mut self, limit: Duration) -> io::Result<Report> {
        match serde_json::from_str(&self.line(limit).await?)? {
            Report::Failed { reason } => Err(io::Error::other(reason)),
            report => Ok(report),
        }
    }

    /// Closes its stdin, which ends it, and waits for that; kills it when it does not listen.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn stop(self) -> io::Result<()> {
        let Self { mut child, stdin, stdout } = self;
        drop((stdin, stdout));
        if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Lets a client that holds streams open read them to their end.
    pub(super) async fn go_on(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"go\n").await
    }
}

/// A request to a server under test, outside of any measurement: status and body.
pub(super) async fn plain_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        socket.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    };
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
