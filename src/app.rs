//! The composition: a checked configuration becomes a running house, and a running house comes to an orderly end.
//!
//! Start, each under its own group of the supervision tree: store, providers, memory, bots, turns, doors. End: readiness
//! off, no new connections, turns drained up to a limit, the rest ended with a stored status, then leaf to root.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use greenroom_bot::{Bots, BotsError};
use greenroom_distill::summaries::Summaries;
use greenroom_distill::{Distill, IsBotName, Models};
use greenroom_embedder::Embedder;
use greenroom_kit::{Address, Board, Supervisor, SupervisorError};
use greenroom_mcp::{Mcp, McpStartError};
use greenroom_memory::Memory;
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_provider::{Providers, ProvidersError};
use greenroom_scheduler::{Scheduler, SchedulerError};
use greenroom_store::{Store, StoreError};
use greenroom_tools::{ToolRooms, ToolSettings, Tools};
use greenroom_turn::{TurnError, TurnRooms, Turns};
use greenroom_web::{Web, WebError};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, ConfigError};
use crate::desk::Desk;
use crate::house::House;
use crate::http::accept::Connections;
use crate::http::admission::Admission;
use crate::http::door::{DoorMsg, door};
use crate::http::front::Front;
use crate::http::route::Router;
use crate::http::{metrics, routes};
use crate::rooms;
use crate::work::Work;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long connections may take to finish what they are writing when all turns have ended.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// How often histograms are folded; without it they grow until somebody reads them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why the house does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that the configuration names.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// The system's reason.
        why: String,
    },
    /// The address.
    #[error("cannot listen on {address}: {why}")]
    Bind {
        /// The address.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// The route tables collide: a fault of this program.
    #[error("the route tables are broken: {0}")]
    Routes(String),
    /// The supervision tree.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The providers.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
    /// Reaching the web.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Connections to MCP servers.
    #[error(transparent)]
    Mcp(#[from] McpStartError),
    /// The turn engine.
    #[error(transparent)]
    Turns(#[from] TurnError),
    /// The scheduler.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The bots.
    #[error(transparent)]
    Bots(#[from] BotsError),
}

/// A house that serves.
pub struct Running {
    addr: SocketAddr,
    root: Supervisor,
    root_task: JoinHandle<()>,
    doors: Supervisor,
    door: Address<DoorMsg>,
    house: Arc<House>,
    _upkeep: AbortOnDropHandle<()>,
    _catching_up: AbortOnDropHandle<()>,
}

/// Starts everything. When this returns, requests are answered.
///
/// # Errors
/// [`StartError`]; whatever had started is stopped again.
pub async fn serve(config: Config) -> Result<Running, StartError> {
    config.check()?;
    metrics::install();
    let listener = bind(&config.server.host, config.server.port)?;
    let addr = listener.local_addr().map_err(|error| bind_error(&config, &error))?;
    let (root, root_task) = Supervisor::root(Board::default()).await?;
    match open(config, &root, listener, addr).await {
        Ok((house, doors, door)) => {
            let _upkeep = AbortOnDropHandle::new(tokio::spawn(keep_metrics_small()));
            let _catching_up = AbortOnDropHandle::new(tokio::spawn(embed_what_waits(house.clone())));
            Ok(Running { addr, root, root_task, doors, door, house, _upkeep, _catching_up })
        }
        Err(error) => {
            root.shutdown().await;
            Err(error)
        }
    }
}

async fn open(
    config: Config,
    root: &Supervisor,
    listener: std::net::TcpListener,
    addr: SocketAddr,
) -> Result<(Arc<House>, Supervisor, Address<DoorMsg>), StartError> {
    let began = Instant::now();
    let router = Router::new(routes::TABLES).map_err(StartError::Routes)?;
    let texts = rooms::Texts::read(&config)?;

    let group = root.group("store").await?;
    let store = Store::start(&group, rooms::store(&config)).await?;
    let group = root.group("providers").await?;
    let providers = Providers::start(&group, store.clone(), rooms::providers(&config)).await?;
    let group = root.group("embedder").await?;
    let embedder = Embedder::start(&group, rooms::embedder(&config)).await?;
    let group = root.group("memory").await?;
    let memory = Memory::new(group, store.clone(), embedder.clone(), rooms::memory(&config));
    let (profiles, prompts) = (Profiles::new(store.clone()), Prompts::new(store.clone()));
    let bots_group = root.group("bots").await?;
    let group = root.group("mcp").await?;
    let mcp = Mcp::start(&group, rooms::mcp(&config)).await?;
    let web = Web::new(rooms::web(&config)?)?;
    let desk = Desk::new(providers.clone());
    let tools = Tools::new(
        ToolRooms {
            neighbours: Some(desk.clone()),
            desk: Some(desk.clone()),
            web: Some(web.clone()),
            mcp: Some(mcp.clone()),
            ..ToolRooms::new(memory.clone(), profiles.clone())
        },
        ToolSettings::default(),
    );
    let group = root.group("turns").await?;
    let below = TurnRooms { memory: memory.clone(), profiles: profiles.clone(), prompts: prompts.clone(), tools };
    let turns = Turns::start(group, store.clone(), below, rooms::turns(&config)).await?;
    let settings = rooms::bots(&config, texts);
    let bots = Bots::start(&bots_group, store.clone(), providers.clone(), turns.clone(), settings).await?;
    desk.open(bots.clone());

    let models = Models::new(providers.clone(), rooms::models(&config));
    let names = bots.clone();
    let is_bot_name: IsBotName = Arc::new(move |name| names.directory().named(name).is_some());
    let rules = rooms::distill(&config);
    let distill = Distill::new(models.clone(), prompts.clone(), profiles.clone(), rules, is_bot_name);
    let summaries = Summaries::new(models, prompts.clone(), rooms::summaries(&config));
    let group = root.group("scheduler").await?;
    let work =
        Work { bots: bots.clone(), memory: memory.clone(), distill: distill.clone(), summaries: summaries.clone() };
    let settings = rooms::scheduler(&config, &bots);
    let scheduler = Scheduler::start(&group, store.clone(), Arc::new(work), settings).await?;
    let nudged = scheduler.clone();
    turns.when_ended(Arc::new(move |ended| {
        if ended.extract {
            nudged.nudge(&ended.bot);
        }
    }));
    if let Err(error) = memory.sessions().recover(rooms::memory(&config).session_gap).await {
        tracing::warn!(%error, "sessions of before could not be closed");
    }

    let limits = &config.limits;
    let connections =
        Connections::new(limits.connections, limits.header_timeout.get(), limits.viewer_stall_timeout.get());
    let house = Arc::new(House {
        admission: Admission::new(limits),
        front: Front::new(&config, router),
        board: root.board().clone(),
        status: Default::default(),
        draining: AtomicBool::new(false),
        store,
        providers,
        embedder,
        memory,
        profiles,
        prompts,
        distill,
        summaries,
        scheduler,
        web,
        mcp,
        bots,
        turns,
        connections,
        config,
        began,
    });
    let doors = root.group("doors").await?;
    let (address, spec) = door(&doors, Arc::new(listener), house.clone());
    doors.add(spec).await?;
    house.store.announce(addr)?;
    tracing::info!(%addr, ms = began.elapsed().as_millis(), "ready");
    Ok((house, doors, address))
}

/// Binds the first of the host's addresses that can be had.
fn bind(host: &str, port: u16) -> Result<std::net::TcpListener, StartError> {
    let failed = |why: String| StartError::Bind { address: format!("{host}:{port}"), why };
    let addresses = (host, port).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => why = error.to_string(),
        }
    }
    Err(failed(why))
}

fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn bind_error(config: &Config, error: &std::io::Error) -> StartError {
    StartError::Bind { address: format!("{}:{}", config.server.host, config.server.port), why: error.to_string() }
}

/// Opens the memories of bots whose messages an earlier process had no time to embed, so that the work goes on before
/// anybody talks to them.
async fn embed_what_waits(house: Arc<House>) {
    let waiting = match house.memory.unembedded_bots().await {
        Ok(waiting) => waiting,
        Err(error) => return tracing::warn!(%error, "what waits for vectors could not be read"),
    };
    let directory = house.bots.directory();
    for bot in waiting.iter().filter_map(|slug| directory.get(slug)) {
        if let Err(error) = house.bots.namespace(bot).open().await {
            tracing::warn!(%error, bot = %bot.slug(), "memory could not be opened");
        }
    }
}

async fn keep_metrics_small() {
    let Some(recorder) = metrics::install() else { return };
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        recorder.run_upkeep();
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for clients on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Who is alive.
    #[must_use]
    pub fn board(&self) -> &Board {
        self.root.board()
    }

    /// The rooms.
    #[must_use]
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// The root of the tree, to test what its failure does.
    #[doc(hidden)]
    #[must_use]
    pub fn root(&self) -> &Supervisor {
        &self.root
    }

    /// Makes the door's actor panic, to test what follows.
    #[doc(hidden)]
    pub fn crash_door(&self) {
        let _ = self.door.crash();
    }

    /// Waits until the root gives up; then the process has to end. Gives the reason.
    pub async fn failed(&mut self) -> String {
        let _ = (&mut self.root_task).await;
        self.root.failure().unwrap_or_else(|| "the supervision tree ended".into())
    }

    /// Ends in order, with the configured time for running turns.
    pub async fn shutdown(self) {
        self.shutdown_unless_hurried(CancellationToken::new()).await;
    }

    /// Ends in order; when `hurry` is cancelled, running turns get no more time.
    pub async fn shutdown_unless_hurried(self, hurry: CancellationToken) {
        let limit = self.house.config.limits.drain.get();
        self.house.start_draining();
        let _ = self.doors.remove("http").await;
        self.house.connections.finish();
        tokio::select! {
            () = self.house.turns.drain(limit) => {}
            () = hurry.cancelled() => self.house.turns.drain(Duration::ZERO).await,
        }
        self.house.connections.end(if hurry.is_cancelled() { Duration::ZERO } else { LAST_BYTES }).await;
        self.house.bots.close().await;
        // The store first: its actors' connections end before they are told to stop, so nobody takes it for an outage.
        self.house.store.close().await;
        self.root.shutdown().await;
        tracing::info!("stopped");
    }
}
