//! One run of the rig: start everything, measure in alternating rounds, print the table, stop everything.
//!
//! Invariant: whatever fails to be measured is a missed line of the table; the run itself goes on and ends with every
//! process it started stopped.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::measure::{MEBIBYTE, descendants, mebibytes, median, memory_of, open_file_limit, to_f64};
use super::process::{Part, plain_request, say};
use super::rounds::{Side, Stage};
use super::server::{Scratch, Server, ServerSetup};
use super::table::{Row, machine_line, render};

/// Seconds until ready on an existing data directory.
const READY_BUDGET: f64 = 1.0;
/// Bytes of an idle server without embedder.
const IDLE_BUDGET: f64 = 60.0 * MEBIBYTE;
/// The options in words.
const KNOWN: &str = "there are --requests, --turns, --workers, --chunks, --streams and --rounds (each with a number), \
    --only latency,turns,hold, --server PATH and --check";
/// How long a server rests before it counts as idle.
const IDLE_FOR: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Debug, Clone, Default)]
pub struct StagePlan {
    /// The server's binary; without one a second proxy stands in, to try the rig itself.
    pub server: Option<PathBuf>,
    /// The server's configuration file (TOML); empty for none.
    pub server_config: String,
    /// Further environment of the server.
    pub environment: Vec<(String, String)>,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Sequential requests to each side.
    pub requests: usize,
    /// Turns of one round on each side.
    pub turns: usize,
    /// Workers that share these turns.
    pub workers: usize,
    /// Chunks of each of these turns.
    pub chunks: usize,
    /// Streams held open at once.
    pub streams: usize,
    /// Rounds of which the median counts.
    pub rounds: usize,
    /// Names of the measurements to make; all when empty.
    only: Vec<String>,
    /// Another server binary than the plan's.
    server: Option<PathBuf>,
    /// Wrong or missing answers make the run fail; missed budgets never do.
    check: bool,
}

impl Options {
    /// Reads `--streams N` and its siblings; words that cargo adds are passed over.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            requests: 400,
            turns: 2000,
            workers: 32,
            chunks: 64,
            streams: 9000,
            rounds: 3,
            only: Vec::new(),
            server: None,
            check: false,
        };
        let mut words = words.iter().filter(|word| !matches!(**word, "--bench" | "run"));
        while let Some(word) = words.next() {
            if *word == "--check" {
                options.check = true;
                continue;
            }
            let value = words.next().copied().unwrap_or_default();
            let place = match *word {
                "--only" => {
                    options.only = value.split(',').map(str::to_owned).collect();
                    continue;
                }
                "--server" => {
                    options.server = Some(value.into());
                    continue;
                }
                "--requests" => &mut options.requests,
                "--turns" => &mut options.turns,
                "--workers" => &mut options.workers,
                "--chunks" => &mut options.chunks,
                "--streams" => &mut options.streams,
                "--rounds" => &mut options.rounds,
                _ => return Err(format!("unknown option '{word}'; {KNOWN}")),
            };
            *place = value.parse::<usize>().map_err(|_| format!("'{word}' needs a number"))?.max(1);
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|own| own == name)
    }
}

/// What stands opposite the bare proxy.
enum Ours {
    Server(Box<Server>),
    StandIn(Box<Part>, SocketAddr),
}

/// Measures, prints, and stops what was started; SIGINT and SIGTERM end it early.
pub(super) async fn measure(plan: StagePlan, options: Options) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(plan, options) => done,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        _ = terminate.recv() => Err(io::Error::other("told to end")),
    }
}

async fn run(plan: StagePlan, mut options: Options) -> io::Result<()> {
    let started = Instant::now();
    // Proxy and server need two descriptors for each stream.
    let most = open_file_limit().saturating_sub(600) / 2;
    if options.streams > most {
        say(&format!("stage: the open-file limit allows {most} streams instead of {}", options.streams));
        options.streams = most;
    }
    let (upstream_part, upstream) = Part::upstream().await?;
    let (proxy, proxy_address) = Part::proxy(upstream).await?;
    let scratch = Scratch::new()?;
    let mut rows = Vec::new();
    let ours = if let Some(binary) = options.server.as_ref().or(plan.server.as_ref()) {
        let setup = server_setup(&plan, binary.clone(), &scratch, upstream)?;
        let server = start_server(&setup, upstream, &options, &mut rows).await;
        Ours::Server(Box::new(server.map_err(|error| io::Error::other(format!("{error}\n{}", setup.last_words())))?))
    } else {
        say("stage: no server; a second proxy stands in for it");
        let (part, address) = Part::proxy(upstream).await?;
        Ours::StandIn(Box::new(part), address)
    };
    let (address, pid) = match &ours {
        Ours::Server(server) => (server.address, server.pid()),
        Ours::StandIn(part, address) => (*address, part.pid()),
    };
    let sides = [Side { address: proxy_address, pid: proxy.pid() }, Side { address, pid }];
    let stage = Stage { options, upstream, sides };
    if stage.options.wants("latency") {
        rows.extend(measured("first content token", stage.latency().await));
    }
    if stage.options.wants("turns") {
        rows.extend(measured("turns at once", stage.turns().await));
    }
    if stage.options.wants("hold") {
        rows.extend(measured("open streams", stage.hold().await));
    }
    say(&render(&rows, "bare proxy"));
    say(&machine_line(&rows, "stage"));
    match ours {
        Ours::Server(server) => match server.stop().await {
            Ok(took) => say(&format!("stage: the server stopped in {:.2} s", took.as_secs_f64())),
            Err(error) => say(&format!("stage: {error}")),
        },
        Ours::StandIn(part, _) => part.stop().await?,
    }
    proxy.stop().await?;
    upstream_part.stop().await?;
    say(&format!("stage: measured in {:.0} s", started.elapsed().as_secs_f64()));
    if stage.options.check && rows.iter().any(|row| row.vital && row.kept == Some(false)) {
        return Err(io::Error::other("answers were wrong or missing"));
    }
    Ok(())
}

/// A measurement that could not be made is a missed line.
fn measured(name: &str, rows: io::Result<Vec<Row>>) -> Vec<Row> {
    rows.unwrap_or_else(|error| {
        say(&format!("stage: {name}: {error}"));
        let row = Row::note(name, String::new(), "not measured".into());
        vec![Row { kept: Some(false), vital: true, ..row }]
    })
}

fn server_setup(plan: &StagePlan, binary: PathBuf, scratch: &Scratch, upstream: SocketAddr) -> io::Result<ServerSetup> {
    let config = if plan.server_config.is_empty() {
        None
    } else {
        let path = scratch.path("stage.toml");
        std::fs::write(&path, &plan.server_config)?;
        Some(path)
    };
    let mut environment = vec![
        ("OPENAI_BASE_URL".to_owned(), format!("http://{upstream}/v1")),
        ("OPENAI_API_KEY".to_owned(), "bench".to_owned()),
    ];
    environment.extend(plan.environment.iter().cloned());
    Ok(ServerSetup { binary, data_dir: scratch.path("data"), config, environment })
}

/// Starts the server on a new data directory, then again on the existing one for as many rounds, and leaves the last one
/// running with a model that points at the upstream.
async fn start_server(
    setup: &ServerSetup,
    upstream: SocketAddr,
    options: &Options,
    rows: &mut Vec<Row>,
) -> io::Result<Server> {
    let mut server = Server::start(setup).await?;
    let first = server.ready_after;
    let mut ready = Vec::new();
    for _ in 0..options.rounds {
        server.stop().await?;
        server = Server::start(setup).await?;
        ready.push(server.ready_after.as_secs_f64());
    }
    tokio::time::sleep(IDLE_FOR).await;
    let idle = to_f64(memory_of(server.pid()).resident);
    let children: u64 = descendants(server.pid()).into_iter().map(|child| memory_of(child).proportional).sum();
    let seconds = median(&ready);
    rows.push(Row::note("ready, new data directory", String::new(), format!("{:.2} s", first.as_secs_f64())));
    rows.push(Row {
        budget: "≤ 1 s".into(),
        kept: Some(seconds <= READY_BUDGET),
        figure: Some(("ready_s", seconds)),
        ..Row::note("ready, existing data directory", String::new(), format!("{seconds:.2} s"))
    });
    rows.push(Row {
        budget: "≤ 60 MiB".into(),
        kept: Some(idle <= IDLE_BUDGET),
        figure: Some(("idle_mib", idle / MEBIBYTE)),
        ..Row::note("idle memory", String::new(), mebibytes(idle))
    });
    rows.push(Row::note("idle memory of its database", String::new(), mebibytes(to_f64(children))));
    let model = json!({"type": "openai", "model_id": "scripted", "description": "the bench upstream",
        "extra": {"base_url": format!("http://{upstream}/v1"), "api_key": "bench"}});
    let (status, body) =
        plain_request(server.address, "PUT", "/v1/models/definitions/scripted", &model.to_string()).await?;
    if status != 200 {
        say(&format!("stage: the model was not defined (status {status}): {body}"));
    }
    Ok(server)
}
