//! The scheduler's actor: it owns the driver and fails when the driver does, so that the supervisor starts both anew. All work
//! is in the driver; the actor only watches.

use std::sync::Arc;
use std::time::Duration;

use greenroom_kit::{Address, Told};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::driver::Driver;
use crate::engine::Engine;

/// How long the driver gets to wind down.
const GRACE: Duration = Duration::from_secs(4);

pub(crate) enum SchedulerMsg {
    /// Internal: the driver is over.
    Ended,
}

pub(crate) struct SchedulerActor;

pub(crate) struct SchedulerArgs {
    pub engine: Arc<Engine>,
    pub address: Address<SchedulerMsg>,
}

pub(crate) struct SchedulerState {
    shutdown: CancellationToken,
    watch: AbortOnDropHandle<()>,
}

impl Actor for SchedulerActor {
    type Msg = Told<SchedulerMsg>;
    type State = SchedulerState;
    type Arguments = SchedulerArgs;

    async fn pre_start(
        &self,
        _: ActorRef<Told<SchedulerMsg>>,
        args: SchedulerArgs,
    ) -> Result<SchedulerState, ActorProcessingErr> {
        let shutdown = CancellationToken::new();
        let driver = Driver::new(args.engine, shutdown.clone());
        let driving = AbortOnDropHandle::new(tokio::spawn(driver.run().in_current_span()));
        let watch = tokio::spawn(
            async move {
                // Also after a panic.
                let _ = driving.await;
                let _ = args.address.tell(SchedulerMsg::Ended);
            }
            .in_current_span(),
        );
        Ok(SchedulerState { shutdown, watch: AbortOnDropHandle::new(watch) })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<SchedulerMsg>>,
        told: Told<SchedulerMsg>,
        st: &mut SchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        let (SchedulerMsg::Ended, _work) = told.open();
        if st.shutdown.is_cancelled() { Ok(()) } else { Err("the driver broke off".into()) }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Told<SchedulerMsg>>,
        st: &mut SchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        st.shutdown.cancel();
        let _ = tokio::time::timeout(GRACE, &mut st.watch).await;
        Ok(())
    }
}
