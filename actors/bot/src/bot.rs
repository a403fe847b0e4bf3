//! One actor per bot. It applies the bot's concurrency rule: it grants a request the right to begin, ends the user's
//! older turn for it, or lets it wait.
//!
//! The actor knows turns by id only and owns none: its crash ends nothing, and the next incarnation takes over the turns
//! that still run. All decisions are in [`crate::lanes`]. Deliberately absent: building and beginning the turn, which
//! the requester does itself as soon as it is granted, so that requests of different users never wait for each other
//! here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_kit::{Address, AskError, ChildSpec, Policy, Supervisor, Told, child};
use greenroom_protocol::{BotSlug, TurnId, UserId};
use greenroom_turn::{EndWish, Turns};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::error::BotsError;
use crate::lanes::{ClaimId, LaneEffect, LaneEvent, Lanes, Rule};

/// How long a request waits for the turn it supersedes.
pub const SUPERSEDE_WAIT: Duration = Duration::from_secs(5);
/// How long a request waits in a queue.
pub const QUEUE_WAIT: Duration = Duration::from_secs(15 * 60);
/// How long the actor may take to answer beyond the waiting that the rule asks for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Users known before those whose turns are over are looked for.
const PRUNE_FROM: usize = 64;

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    QueueFull,
}

/// Messages to a bot.
pub(crate) enum BotMsg {
    /// Public: a request asks to begin.
    Claim(ClaimId, UserId, Rule, RpcReplyPort<Answer>),
    /// Public: a request has begun its turn.
    Began(ClaimId, UserId, TurnId),
    /// Public: a request is given up.
    Left(ClaimId),
    /// Internal: a turn that somebody waits for is over.
    Ended(TurnId),
    /// Internal: a request has waited long enough.
    Overdue(ClaimId),
}

/// A bot's actor, as the rest of the room holds it.
#[derive(Clone)]
pub(crate) struct BotAddress {
    address: Address<BotMsg>,
    bot: BotSlug,
    turns: Turns,
    claims: Arc<AtomicU64>,
    /// Held for reading while a turn begins, for writing while the bot's data is purged.
    gate: Arc<tokio::sync::RwLock<()>>,
}

impl BotAddress {
    /// A bot whose actor is still to be started with [`Self::spec`].
    pub(crate) fn new(group: &Supervisor, bot: BotSlug, turns: Turns) -> Self {
        let address = Address::vacant(group.card(format!("bot:{bot}"), "bot"));
        Self { address, bot, turns, claims: Arc::default(), gate: Arc::default() }
    }

    /// How to start and restart the actor.
    pub(crate) fn spec(&self) -> ChildSpec {
        let me = self.clone();
        child(&self.address, Policy::WORKER, move || (BotActor, me.clone()))
    }

    /// The name on the board.
    pub(crate) fn name(&self) -> &str {
        self.address.card().name()
    }

    /// Waits for the right to begin a turn of this id.
    pub(crate) async fn claim(&self, user: &UserId, turn: TurnId, rule: Rule) -> Result<Claim, BotsError> {
        let id = self.next_claim();
        // The guard comes first: whoever stops waiting is taken out of the queue.
        let claim = Claim { bot: self.clone(), id, user: user.clone(), turn, open: true };
        let limit = ANSWER_LIMIT
            + match rule {
                Rule::Supersede => SUPERSEDE_WAIT,
                Rule::Queue => QUEUE_WAIT,
                Rule::Parallel => Duration::ZERO,
            };
        let answer = self.address.ask(limit, |reply| BotMsg::Claim(id, user.clone(), rule, reply)).await;
        match answer {
            Ok(Answer::Granted) => Ok(claim),
            Ok(Answer::QueueFull) => Err(BotsError::QueueFull(self.bot.clone())),
            Err(AskError::TimedOut | AskError::Dropped | AskError::Gone) => {
                Err(BotsError::Unavailable(self.bot.clone()))
            }
        }
    }

    /// Lets no turn begin until the guard is dropped; fails while one begins or runs.
    pub(crate) fn close(&self) -> Result<tokio::sync::OwnedRwLockWriteGuard<()>, BotsError> {
        let running = || BotsError::Running(self.bot.clone());
        let guard = self.gate.clone().try_write_owned().map_err(|_| running())?;
        if self.turns.is_busy(&self.bot) { Err(running()) } else { Ok(guard) }
    }

    fn next_claim(&self) -> ClaimId {
        self.claims.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the actor panic at its next message, to test supervision.
    pub(crate) fn crash(&self) {
        let _ = self.address.crash();
    }
}

/// The right to begin one turn. Dropped without [`Self::begun`], it is given back, unless the turn runs after all.
pub(crate) struct Claim {
    bot: BotAddress,
    id: ClaimId,
    user: UserId,
    turn: TurnId,
    open: bool,
}

impl Claim {
    /// Must be held while the turn begins.
    pub(crate) fn passage(&self) -> Result<tokio::sync::RwLockReadGuard<'_, ()>, BotsError> {
        self.bot.gate.try_read().map_err(|_| BotsError::BeingPurged(self.bot.bot.clone()))
    }

    /// The turn has begun.
    pub(crate) fn begun(mut self) {
        self.tell_begun();
    }

    fn tell_begun(&mut self) {
        self.open = false;
        let _ = self.bot.address.tell(BotMsg::Began(self.id, self.user.clone(), self.turn.clone()));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if self.bot.turns.live(&self.turn).is_some() {
            self.tell_begun();
        } else {
            let _ = self.bot.address.tell(BotMsg::Left(self.id));
        }
    }
}

pub(crate) struct BotActor;

pub(crate) struct BotState {
    bot: BotAddress,
    lanes: Lanes,
    replies: HashMap<ClaimId, RpcReplyPort<Answer>>,
    /// Waits for ends and deadlines; they end with this incarnation.
    watches: JoinSet<()>,
    prune_at: usize,
    /// Whether the turns of an earlier incarnation were taken over.
    adopted: bool,
}

impl BotState {
    fn is_live(turns: &Turns, turn: &TurnId) -> bool {
        turns.live(turn).is_some_and(|turn| !turn.is_over())
    }

    /// Takes over what runs already. Done at the first claim and not at the start: a turn whose beginning was told to
    /// nobody, between two incarnations, is live by then.
    fn adopt(&mut self) {
        if !std::mem::replace(&mut self.adopted, true) {
            for turn in self.bot.turns.live_of(&self.bot.bot) {
                let claim = self.bot.next_claim();
                self.step(LaneEvent::Began(claim, turn.user().clone(), turn.id().clone()));
            }
        }
    }

    fn step(&mut self, event: LaneEvent) {
        let effects = self.lanes.step(event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<LaneEffect>) {
        for effect in effects {
            match effect {
                LaneEffect::Grant(claim) => self.answer(claim, Answer::Granted),
                LaneEffect::Refuse(claim) => self.answer(claim, Answer::QueueFull),
                LaneEffect::Supersede(turn) => {
                    if let Some(turn) = self.bot.turns.live(&turn) {
                        metrics::counter!("greenroom_turns_superseded_total").increment(1);
                        turn.end(EndWish::Supersede);
                    }
                }
                LaneEffect::Watch(turn) => self.watch(turn),
                LaneEffect::Remind(claim) => self.remind(claim),
            }
        }
    }

    fn answer(&mut self, claim: ClaimId, answer: Answer) {
        // Nobody behind the port any more: the claim's guard has said so, or is about to.
        if let Some(reply) = self.replies.remove(&claim) {
            let _ = reply.send(answer);
        }
    }

    fn watch(&mut self, turn: TurnId) {
        let (turns, address) = (self.bot.turns.clone(), self.bot.address.clone());
        let watch = async move {
            if let Some(live) = turns.live(&turn) {
                live.ended().await;
            }
            let _ = address.tell(BotMsg::Ended(turn));
        };
        self.watches.spawn(watch.in_current_span());
    }

    fn remind(&mut self, claim: ClaimId) {
        let address = self.bot.address.clone();
        self.watches.spawn(async move {
            tokio::time::sleep(SUPERSEDE_WAIT).await;
            let _ = address.tell(BotMsg::Overdue(claim));
        });
    }

    /// Learns the end of turns that nobody waited for.
    fn prune(&mut self, user: &UserId) {
        let turns = self.bot.turns.clone();
        let effects = self.lanes.forget_ended(Some(user), |turn| Self::is_live(&turns, turn));
        self.perform(effects);
        if self.lanes.len() >= self.prune_at {
            let effects = self.lanes.forget_ended(None, |turn| Self::is_live(&turns, turn));
            self.perform(effects);
            self.prune_at = (self.lanes.len() * 2).max(PRUNE_FROM);
        }
    }
}

impl Actor for BotActor {
    type Msg = Told<BotMsg>;
    type State = BotState;
    type Arguments = BotAddress;

    async fn pre_start(&self, _: ActorRef<Told<BotMsg>>, bot: BotAddress) -> Result<BotState, ActorProcessingErr> {
        Ok(BotState {
            bot,
            lanes: Lanes::default(),
            replies: HashMap::new(),
            watches: JoinSet::new(),
            prune_at: PRUNE_FROM,
            adopted: false,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<BotMsg>>,
        told: Told<BotMsg>,
        st: &mut BotState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        while st.watches.try_join_next().is_some() {}
        match msg {
            BotMsg::Claim(claim, user, rule, reply) => {
                if reply.is_closed() {
                    return Ok(());
                }
                st.adopt();
                st.prune(&user);
                st.replies.insert(claim, reply);
                st.step(LaneEvent::Arrived(claim, user, rule));
            }
            BotMsg::Began(claim, user, turn) => st.step(LaneEvent::Began(claim, user, turn)),
            BotMsg::Left(claim) => {
                st.replies.remove(&claim);
                st.step(LaneEvent::Left(claim));
            }
            BotMsg::Ended(turn) => st.step(LaneEvent::Ended(turn)),
            BotMsg::Overdue(claim) => st.step(LaneEvent::Overdue(claim)),
        }
        st.bot.address.card().set_note(match st.lanes.waiting() {
            0 => None,
            waiting => Some(format!("{waiting} waiting")),
        });
        Ok(())
    }
}
