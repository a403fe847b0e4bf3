//! The catalogue's actor. Whoever asks for a change may leave before it is done: the change is a job of this actor, and
//! jobs run one after the other. The catalogue itself stands beside it, readable at any time.

use std::collections::VecDeque;
use std::sync::Arc;

use greenroom_kit::{Address, Told};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::desk::{Deletion, Desk, ReloadOutcome, SeedOutcome};
use crate::error::ProvidersError;
use crate::view::DefinitionView;

type Reply<T> = RpcReplyPort<Result<T, ProvidersError>>;

pub(crate) enum KeeperMsg {
    /// Read everything anew.
    Reload(Reply<ReloadOutcome>),
    /// Write one definition.
    Upsert { alias: String, body: Value, reply: Reply<DefinitionView> },
    /// Delete one definition.
    Delete { alias: String, reply: Reply<Deletion> },
    /// Write the seeds.
    Seed { overwrite: bool, reply: Reply<SeedOutcome> },
    /// Internal: nobody holds this provider any more.
    Retire { name: String, generation: u64 },
    /// Internal: the running job is over, whatever its end.
    JobOver,
}

/// The actor.
pub(crate) struct Keeper {
    pub(crate) desk: Arc<Desk>,
}

#[derive(Default)]
pub(crate) struct KeeperState {
    waiting: VecDeque<KeeperMsg>,
    running: Option<AbortOnDropHandle<()>>,
}

/// Reports the end of a job, also when it panics.
struct Over(Address<KeeperMsg>);

impl Drop for Over {
    fn drop(&mut self) {
        let _ = self.0.tell(KeeperMsg::JobOver);
    }
}

impl Keeper {
    fn start_next(&self, state: &mut KeeperState) {
        if state.running.is_some() {
            return;
        }
        let Some(job) = state.waiting.pop_front() else { return };
        let desk = self.desk.clone();
        let over = Over(desk.keeper.clone());
        let work = async move {
            let _over = over;
            perform(&desk, job).await;
        };
        state.running = Some(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())));
    }
}

async fn perform(desk: &Desk, job: KeeperMsg) {
    // an asker who left does not need the answer, and the change is made all the same
    match job {
        KeeperMsg::Reload(reply) => drop(reply.send(desk.reload().await)),
        KeeperMsg::Upsert { alias, body, reply } => drop(reply.send(desk.upsert(&alias, &body).await)),
        KeeperMsg::Delete { alias, reply } => drop(reply.send(desk.delete(&alias).await)),
        KeeperMsg::Seed { overwrite, reply } => drop(reply.send(desk.seed(overwrite).await)),
        KeeperMsg::Retire { name, generation } => {
            if desk.retire(&name, generation).await.is_ok() {
                tracing::debug!(provider = name, "provider retired");
            }
        }
        KeeperMsg::JobOver => {}
    }
}

impl Actor for Keeper {
    type Msg = Told<KeeperMsg>;
    type State = KeeperState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<KeeperState, ActorProcessingErr> {
        Ok(KeeperState::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        told: Told<KeeperMsg>,
        state: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _work) = told.open();
        match message {
            KeeperMsg::JobOver => state.running = None,
            job @ (KeeperMsg::Reload(_)
            | KeeperMsg::Upsert { .. }
            | KeeperMsg::Delete { .. }
            | KeeperMsg::Seed { .. }
            | KeeperMsg::Retire { .. }) => state.waiting.push_back(job),
        }
        self.start_next(state);
        Ok(())
    }
}
