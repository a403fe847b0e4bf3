//! The actor that owns the embedded PostgreSQL server. Its life is the server's: it fails when the server ends or falls
//! silent, and its supervisor starts both again within the budget. Deliberately absent: connections; the pool has them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use greenroom_kit::{Address, Told, lock};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::ClusterPlan;
use super::postmaster::Postmaster;
use crate::error::StoreError;

/// Messages of the cluster.
#[derive(Debug)]
pub(crate) enum ClusterMsg {
    /// Internal: the server ended, or does not answer any more.
    Failed(String),
}

/// Pause between two probes: a new connection each, because that is what the postmaster itself must be able to serve.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long a probe waits; a refusal is an answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// So many silent probes in a row are a failure.
const SILENT_PROBES: u32 = 3;
/// Less than the supervisor's own grace, so that the wait ends here.
const STOP_GRACE: Duration = Duration::from_millis(4500);

pub(crate) struct Cluster;

#[derive(Clone)]
pub(crate) struct ClusterArgs {
    pub plan: Arc<ClusterPlan>,
    pub address: Address<ClusterMsg>,
    /// The server's process id, 0 while there is none.
    pub pid: Arc<AtomicI32>,
    /// Why it last failed to start; the supervisor keeps only the words.
    pub failure: Arc<Mutex<Option<StoreError>>>,
}

pub(crate) struct ClusterState {
    server: Option<Postmaster>,
    pid: Arc<AtomicI32>,
    _watch: AbortOnDropHandle<()>,
}

impl Actor for Cluster {
    type Msg = Told<ClusterMsg>;
    type State = ClusterState;
    type Arguments = ClusterArgs;

    async fn pre_start(
        &self,
        _: ActorRef<Told<ClusterMsg>>,
        args: ClusterArgs,
    ) -> Result<ClusterState, ActorProcessingErr> {
        args.pid.store(0, Ordering::Relaxed);
        let server = match Postmaster::start(&args.plan).await {
            Ok(server) => server,
            Err(error) => {
                let why = error.to_string();
                *lock(&args.failure) = Some(error);
                return Err(why.into());
            }
        };
        args.pid.store(server.pid(), Ordering::Relaxed);
        tracing::info!(pid = server.pid(), version = args.plan.binaries.version, "postgres is up");
        let watch = tokio::spawn(report_failure(server.end(), args.plan, args.address).in_current_span());
        Ok(ClusterState { server: Some(server), pid: args.pid, _watch: AbortOnDropHandle::new(watch) })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<ClusterMsg>>,
        told: Told<ClusterMsg>,
        _: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            ClusterMsg::Failed(why) => Err(why.into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Told<ClusterMsg>>,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(server) = state.server.take() {
            server.stop(STOP_GRACE).await;
        }
        state.pid.store(0, Ordering::Relaxed);
        Ok(())
    }
}

async fn report_failure(
    mut end: watch::Receiver<Option<String>>,
    plan: Arc<ClusterPlan>,
    address: Address<ClusterMsg>,
) {
    let why = tokio::select! {
        ended = end.wait_for(Option::is_some) => match ended {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "postgres is no longer watched".into(),
        },
        () = silence(&plan) => "postgres does not answer new connections".into(),
    };
    // The supervisor seats a new incarnation only after its start; an end in that moment must not be lost.
    while address.tell(ClusterMsg::Failed(why.clone())).is_err() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends when the server has been silent for several probes in a row.
async fn silence(plan: &ClusterPlan) {
    let mut silent = 0;
    while silent < SILENT_PROBES {
        sleep(PROBE_EVERY).await;
        let answered = timeout(PROBE_PATIENCE, plan.server.connect()).await.is_ok();
        silent = if answered { 0 } else { silent + 1 };
    }
}
