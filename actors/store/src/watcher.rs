//! The actor that keeps the last known health true: one session of its own, outside the pool, so that a busy pool is not
//! taken for a dead server. A server that goes away is noticed when the session breaks, a silent one at the next probe.
//! It also closes the pool when the house is shut down. Deliberately absent: mending anything; the pool opens new
//! connections by itself, and an embedded server is started again by `cluster`.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use greenroom_kit::{Address, Told};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::one_line;
use crate::health::Health;
use crate::target::Target;

/// Messages of the watcher.
#[derive(Debug)]
pub(crate) enum WatcherMsg {
    /// Internal: the probe ended, which it never should.
    ProbeEnded(String),
}

/// Pause between two probes of a healthy server.
const CALM: Duration = Duration::from_millis(500);
/// How long a probe waits for its answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two attempts to reach a server that is away.
const EAGER: Duration = Duration::from_millis(50);

pub(crate) struct Watcher;

#[derive(Clone)]
pub(crate) struct WatcherArgs {
    pub target: Target,
    pub health: Arc<Health>,
    pub pool: Pool,
    pub address: Address<WatcherMsg>,
}

pub(crate) struct WatcherState {
    pool: Pool,
    _probe: AbortOnDropHandle<()>,
}

impl Actor for Watcher {
    type Msg = Told<WatcherMsg>;
    type State = WatcherState;
    type Arguments = WatcherArgs;

    async fn pre_start(
        &self,
        me: ActorRef<Told<WatcherMsg>>,
        args: WatcherArgs,
    ) -> Result<WatcherState, ActorProcessingErr> {
        let pool = args.pool.clone();
        let address = args.address.clone();
        let probe = AbortOnDropHandle::new(tokio::spawn(probe(args).in_current_span()));
        let watch = tokio::spawn(async move {
            let why = probe.await.err().map_or_else(|| "the probe ended".to_owned(), |error| error.to_string());
            let _ = me.cast(address.told(WatcherMsg::ProbeEnded(why)));
        });
        Ok(WatcherState { pool, _probe: AbortOnDropHandle::new(watch) })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<WatcherMsg>>,
        told: Told<WatcherMsg>,
        _: &mut WatcherState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            WatcherMsg::ProbeEnded(why) => Err(why.into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Told<WatcherMsg>>,
        state: &mut WatcherState,
    ) -> Result<(), ActorProcessingErr> {
        state.pool.close();
        Ok(())
    }
}

/// Runs until it is aborted: connect, watch the session, report its end, again.
async fn probe(args: WatcherArgs) {
    loop {
        let why = match timeout(PATIENCE, args.target.connect()).await {
            Ok(Ok(session)) => {
                report(&args, None);
                watch(session).await
            }
            Ok(Err(error)) => one_line(&error),
            Err(_) => "no answer to a new connection".to_owned(),
        };
        report(&args, Some(why));
        sleep(EAGER).await;
    }
}

/// Returns why the session is of no more use.
async fn watch(session: crate::target::Session) -> String {
    const SQL: &str = "SELECT 1";
    let crate::target::Session { client, mut driver } = session;
    loop {
        tokio::select! {
            end = &mut driver => return match end {
                Ok(Err(error)) => one_line(&error),
                Ok(Ok(())) => "the server closed the connection".into(),
                Err(error) => error.to_string(),
            },
            () = sleep(CALM) => {}
        }
        match timeout(PATIENCE, client.simple_query(SQL)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return one_line(&error),
            Err(_) => return "no answer to a probe".into(),
        }
    }
}

fn report(args: &WatcherArgs, outage: Option<String>) {
    match &outage {
        None if args.health.answers() => tracing::info!("the database answers again"),
        Some(why) if args.health.is_away(why) => tracing::warn!(why, "the database does not answer"),
        _ => {}
    }
    args.address.card().set_note(outage);
}
