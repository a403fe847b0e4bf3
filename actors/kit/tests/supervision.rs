//! The rows of the supervision table, each with a real actor that crashes.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_kit::{Address, AskError, Board, Policy, State, Supervisor, Told, child};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

enum CounterMsg {
    Next(RpcReplyPort<usize>),
    Fail,
    Retire,
    /// Never answers within a test's patience.
    Hang,
}

/// Counts, and counts its incarnations.
struct Counter(Arc<AtomicUsize>);

impl Actor for Counter {
    type Msg = Told<CounterMsg>;
    type State = usize;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<usize, ActorProcessingErr> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(0)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        told: Self::Msg,
        count: &mut usize,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            CounterMsg::Next(reply) => {
                *count += 1;
                reply.send(*count)?;
            }
            CounterMsg::Fail => return Err("told to fail".into()),
            CounterMsg::Retire => me.stop(Some("ended".into())),
            CounterMsg::Hang => tokio::time::sleep(Duration::from_secs(3600)).await,
        }
        Ok(())
    }
}

struct Stage {
    root: Supervisor,
    join: tokio::task::JoinHandle<()>,
    group: Supervisor,
    counter: Address<CounterMsg>,
    starts: Arc<AtomicUsize>,
}

async fn stage(policy: Policy) -> Stage {
    let (root, join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("group").await.expect("group");
    let counter = Address::vacant(group.card("counter", "counter"));
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    group.add(child(&counter, policy, move || (Counter(counted.clone()), ()))).await.expect("counter");
    Stage { root, join, group, counter, starts }
}

impl Stage {
    async fn next(&self) -> Result<usize, AskError> {
        self.counter.ask(Duration::from_secs(5), CounterMsg::Next).await
    }

    async fn until_started(&self, times: usize) {
        while self.starts.load(Ordering::SeqCst) < times || self.counter.card().state() != State::Up {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_worker_is_started_again_behind_the_same_address() {
    let stage = stage(Policy::WORKER).await;
    assert_eq!(stage.next().await, Ok(1));
    assert_eq!(stage.next().await, Ok(2));
    stage.counter.crash().expect("seated");
    stage.until_started(2).await;
    assert_eq!(stage.next().await, Ok(1));
    let view = stage.counter.card().view();
    assert_eq!((view.restarts, view.state), (1, State::Up));
    assert!(view.last_failure.is_some_and(|why| why.contains("crashed on purpose")));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_keeps_failing_goes_down_and_is_retried_while_the_rest_serves() {
    let stage = stage(Policy::WORKER).await;
    let neighbour = Address::vacant(stage.group.card("neighbour", "counter"));
    stage.group.add(child(&neighbour, Policy::WORKER, || (Counter(Arc::default()), ()))).await.expect("neighbour");
    for failure in 1..=5 {
        stage.counter.tell(CounterMsg::Fail).expect("seated");
        stage.until_started(failure + 1).await;
    }
    stage.counter.tell(CounterMsg::Fail).expect("seated");
    while stage.counter.card().state() != State::Down {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.next().await, Err(AskError::Gone));
    assert_eq!(neighbour.ask(Duration::from_secs(1), CounterMsg::Next).await, Ok(1));
    stage.until_started(7).await;
    assert_eq!(stage.next().await, Ok(1));
    assert!(!stage.join.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_vital_actor_that_keeps_failing_ends_the_tree() {
    let stage = stage(Policy::VITAL).await;
    for failure in 1..=5 {
        stage.counter.tell(CounterMsg::Fail).expect("seated");
        stage.until_started(failure + 1).await;
    }
    stage.counter.tell(CounterMsg::Fail).expect("seated");
    stage.join.await.expect("the root's task itself does not panic");
    assert!(stage.root.failure().is_some_and(|why| why.contains("group keeps failing")), "{:?}", stage.root.failure());
    assert!(stage.group.failure().is_some_and(|why| why.contains("counter keeps failing")));
}

#[tokio::test(start_paused = true)]
async fn a_door_has_three_tries() {
    let stage = stage(Policy::DOOR).await;
    for failure in 1..=3 {
        stage.counter.tell(CounterMsg::Fail).expect("seated");
        stage.until_started(failure + 1).await;
    }
    stage.counter.tell(CounterMsg::Fail).expect("seated");
    stage.join.await.expect("the root's task itself does not panic");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_dies_takes_the_tree_with_it() {
    let stage = stage(Policy::WORKER).await;
    stage.group.crash().expect("seated");
    stage.join.await.expect("the root's task itself does not panic");
    assert!(stage.root.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_retires_stays_away() {
    let stage = stage(Policy::VITAL).await;
    stage.counter.tell(CounterMsg::Retire).expect("seated");
    while stage.counter.card().state() != State::Stopped {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(stage.starts.load(Ordering::SeqCst), 1);
    assert!(!stage.join.is_finished());
}

#[tokio::test(start_paused = true)]
async fn waiting_messages_are_counted_and_questions_end() {
    let stage = stage(Policy::WORKER).await;
    stage.counter.tell(CounterMsg::Hang).expect("seated");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stage.counter.ask(Duration::from_secs(1), CounterMsg::Next).await, Err(AskError::TimedOut));
    let view = stage.counter.card().view();
    assert_eq!(view.mailbox_depth, 1);
    assert!(view.oldest_waiting_ms.is_some());
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_leaf_before_root() {
    let stage = stage(Policy::WORKER).await;
    stage.root.shutdown().await;
    stage.join.await.expect("the root's task itself does not panic");
    assert_eq!(stage.counter.card().state(), State::Stopped);
    assert!(stage.root.failure().is_none());
    assert!(stage.counter.tell(CounterMsg::Retire).is_err());
}
