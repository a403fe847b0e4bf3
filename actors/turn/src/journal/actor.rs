//! The journal's actor: owns the writing task, reports its lag, and is restarted when the task ends. Nothing is kept in
//! the actor itself, so a crash loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use greenroom_kit::{Address, ChildSpec, Policy, Supervisor, Told, child};
use greenroom_memory::{Memory, MessageRepository, Recorded};
use greenroom_store::{Store, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::batch::{Batch, Share, shares};
use super::queue::JournalQueue;
use super::repository::JournalRepository;
use crate::log::TurnLog;
use crate::turn_logs::TurnLogs;

/// Pause after a failed write; it doubles up to the second value.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Pause between two prunings of old turns.
const PRUNE_EVERY: Duration = Duration::from_secs(300);

pub(crate) enum JournalMsg {
    /// Internal: the writing task is over, which it never should be.
    WriterEnded(String),
    /// Internal: it is time to delete what is older than the retention.
    Prune,
}

pub(crate) struct Journal;

/// What the writing works with.
#[derive(Clone)]
pub(crate) struct Desk {
    /// What is to be written.
    pub(crate) queue: Arc<JournalQueue>,
    /// Where to.
    pub(crate) store: Store,
    /// Who is told of stored messages.
    pub(crate) memory: Memory,
}

pub(crate) struct JournalArgs {
    desk: Desk,
    address: Address<JournalMsg>,
    retention: Duration,
}

pub(crate) struct JournalState {
    _writer: AbortOnDropHandle<()>,
    pruning: Option<AbortOnDropHandle<()>>,
    store: Store,
    retention: Duration,
}

/// The spec under which the journal lives in the group `turns`, and its address.
pub(crate) fn journal_child(group: &Supervisor, desk: Desk, retention: Duration) -> (Address<JournalMsg>, ChildSpec) {
    let address = Address::vacant(group.card("journal", "journal"));
    let own = address.clone();
    let spec = child(&address, Policy::VITAL, move || {
        (Journal, JournalArgs { desk: desk.clone(), address: own.clone(), retention })
    });
    (address, spec)
}

impl Actor for Journal {
    type Msg = Told<JournalMsg>;
    type State = JournalState;
    type Arguments = JournalArgs;

    async fn pre_start(
        &self,
        me: ActorRef<Told<JournalMsg>>,
        args: JournalArgs,
    ) -> Result<JournalState, ActorProcessingErr> {
        args.address.seat(me.clone());
        let timed = args.address.clone();
        me.send_interval(PRUNE_EVERY, move || timed.told(JournalMsg::Prune));
        args.desk.queue.put_back();
        let (store, retention) = (args.desk.store.clone(), args.retention);
        let writing = tokio::spawn(write_for_ever(args.desk).in_current_span());
        let writing = AbortOnDropHandle::new(writing);
        let address = args.address;
        let watch = tokio::spawn(async move {
            let end = writing.await.err().map_or_else(|| "ended".to_owned(), |error| error.to_string());
            let _ = address.tell(JournalMsg::WriterEnded(end));
        });
        Ok(JournalState { _writer: AbortOnDropHandle::new(watch), pruning: None, store, retention })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<JournalMsg>>,
        told: Told<JournalMsg>,
        st: &mut JournalState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            JournalMsg::Prune => {
                let (logs, retention) = (TurnLogs::new(st.store.clone()), st.retention);
                let prune = async move {
                    match logs.prune(retention).await {
                        Ok(rows) => tracing::debug!(rows, "pruned old turns"),
                        Err(error) => tracing::warn!(%error, "old turns could not be pruned"),
                    }
                };
                st.pruning = Some(AbortOnDropHandle::new(tokio::spawn(prune.in_current_span())));
                Ok(())
            }
            JournalMsg::WriterEnded(why) => Err(format!("the writing task ended: {why}").into()),
        }
    }
}

/// Writes what a log has to write, outside the journal: for boot, before there is one.
pub(crate) async fn write_now(store: &Store, log: &Arc<TurnLog>) -> Result<(), StoreError> {
    let shares = shares(vec![log.clone()]);
    write(store, &shares).await.map(drop)?;
    settle(&shares);
    Ok(())
}

async fn write_for_ever(desk: Desk) {
    let Desk { queue, store, memory } = desk;
    let (mut pause, mut last) = (PAUSES.0, Instant::now());
    loop {
        let batch = shares(queue.take(last).await);
        let began = Instant::now();
        match write(&store, &batch).await {
            Ok(recorded) => {
                memory.stored(&recorded);
                settle(&batch);
                queue.done();
                pause = PAUSES.0;
                metrics::histogram!("greenroom_journal_commit_seconds").record(began.elapsed().as_secs_f64());
            }
            Err(error) if error.retry_after().is_some() => {
                tracing::warn!(%error, turns = batch.len(), "journal cannot write, will try again");
                queue.put_back();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Err(error) => {
                // The database is there and refuses: find the turn it refuses, so that the others are not held up.
                tracing::warn!(%error, turns = batch.len(), "journal batch refused, writing turn by turn");
                write_one_by_one(&store, &memory, &batch).await;
                queue.done();
            }
        }
        last = Instant::now();
        let (logs, oldest) = queue.lag();
        metrics::gauge!("greenroom_journal_waiting_turns").set(logs as f64);
        metrics::gauge!("greenroom_journal_lag_seconds").set(oldest.as_secs_f64());
    }
}

fn settle(shares: &[Share]) {
    for share in shares {
        share.log.written(&share.unwritten, share.closed);
    }
}

/// Writes what the turns share, all or nothing. Gives what became of the messages among it.
async fn write(store: &Store, shares: &[Share]) -> Result<Recorded, StoreError> {
    if shares.is_empty() {
        return Ok(Recorded::default());
    }
    let batch = Batch::of(shares);
    let mut connection = store.connection().await?;
    let transaction = connection.transaction().await?;
    let recorded = write_on(&transaction, &batch).await?;
    transaction.commit().await?;
    for (bot, id) in &recorded.conflicts {
        tracing::warn!(%bot, %id, "a message of this id exists with another role or user and was left as it is");
    }
    Ok(recorded)
}

async fn write_on(db: &Transaction<'_>, batch: &Batch) -> Result<Recorded, StoreError> {
    JournalRepository::truncate_events_on(db, &batch.truncations).await?;
    // Sent without waiting for one another: one round trip.
    let (turns, messages, events) = tokio::join!(
        JournalRepository::upsert_turns_on(db, &batch.turns),
        MessageRepository::record_on(db, &batch.messages),
        JournalRepository::insert_events_on(db, &batch.events),
    );
    turns.and(events)?;
    let recorded = messages?;
    JournalRepository::record_tools_on(db, &batch.tools).await?;
    Ok(recorded)
}

/// Each turn in a transaction of its own. A turn that is refused even alone cannot be stored: it is reported and
/// settled without a status, so its requester is told that its end could not be stored.
async fn write_one_by_one(store: &Store, memory: &Memory, shares: &[Share]) {
    for share in shares {
        let mut pause = PAUSES.0;
        loop {
            match write(store, std::slice::from_ref(share)).await {
                Ok(recorded) => {
                    memory.stored(&recorded);
                    share.log.written(&share.unwritten, share.closed);
                    break;
                }
                Err(error) if error.retry_after().is_some() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => {
                    tracing::error!(%error, turn = %share.log.header().turn_id, "turn cannot be stored");
                    metrics::counter!("greenroom_journal_refused_total").increment(1);
                    share.log.refused(&share.unwritten, share.closed.is_some());
                    break;
                }
            }
        }
    }
}
