//! The concurrency rule of one bot, as a pure state machine: who may begin, who is ended for it, who waits.
//!
//! One lane per user. Invariants: each claim gets exactly one answer (granted or refused) unless it left before; under
//! the rules `supersede` and `queue` a user's newest request never begins while an older turn of the same user runs that
//! was not told to end; nobody waits for ever under `supersede`. A request that is overtaken while it waits still
//! begins, and is ended at once: accepted means that a turn with a terminal status exists.

use std::collections::{HashMap, VecDeque};

use greenroom_protocol::{TurnId, UserId};

/// Most requests of one user that wait for one bot.
pub const QUEUE_LIMIT: usize = 16;

/// What a user's second request does to the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rule {
    /// Ends it.
    #[default]
    Supersede,
    /// Waits for it.
    Queue,
    /// Runs beside it.
    Parallel,
}

/// One request that asks to begin a turn.
pub type ClaimId = u64;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEvent {
    /// A request asks to begin.
    Arrived(ClaimId, UserId, Rule),
    /// A request is given up, whether granted or not.
    Left(ClaimId),
    /// A granted request has begun its turn. A claim nobody here knows is taken over: it was granted by an earlier
    /// incarnation.
    Began(ClaimId, UserId, TurnId),
    /// A turn is over.
    Ended(TurnId),
    /// A waiting request has waited long enough.
    Overdue(ClaimId),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEffect {
    /// The request may begin.
    Grant(ClaimId),
    /// The request is refused: too many wait.
    Refuse(ClaimId),
    /// The turn is to end as cancelled.
    Supersede(TurnId),
    /// Say [`LaneEvent::Overdue`] after the bounded time.
    Remind(ClaimId),
    /// Say [`LaneEvent::Ended`] when the turn is over: somebody waits for that.
    Watch(TurnId),
}

#[derive(Debug)]
struct Holder {
    claim: ClaimId,
    turn: Option<TurnId>,
    doomed: bool,
    watched: bool,
}

impl Holder {
    fn granted(claim: ClaimId, doomed: bool) -> Self {
        Self { claim, turn: None, doomed, watched: false }
    }
}

#[derive(Debug, Default)]
struct Lane {
    holders: Vec<Holder>,
    waiting: VecDeque<ClaimId>,
}

impl Lane {
    /// Watches every running turn, once somebody waits.
    fn watch(&mut self) -> Vec<LaneEffect> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for holder in self.holders.iter_mut().filter(|holder| !holder.watched) {
            holder.watched = holder.turn.is_some();
            effects.extend(holder.turn.clone().map(LaneEffect::Watch));
        }
        effects
    }
}

/// All lanes of one bot.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<UserId, Lane>,
    by_claim: HashMap<ClaimId, UserId>,
    by_turn: HashMap<TurnId, UserId>,
    waiting: usize,
}

impl Lanes {
    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Users of whom anything is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Forgets turns that are over, of one user or of all. Turns that nobody waits for are not watched, so that their
    /// end is learnt here.
    pub fn forget_ended(&mut self, of: Option<&UserId>, is_live: impl Fn(&TurnId) -> bool) -> Vec<LaneEffect> {
        let over: Vec<TurnId> = match of {
            Some(user) => {
                let holders = self.lanes.get(user).map(|lane| lane.holders.as_slice()).unwrap_or_default();
                holders
                    .iter()
                    .filter_map(|holder| holder.turn.as_ref())
                    .filter(|turn| !is_live(turn))
                    .cloned()
                    .collect()
            }
            None => self.by_turn.keys().filter(|turn| !is_live(turn)).cloned().collect(),
        };
        over.into_iter().flat_map(|turn| self.step(LaneEvent::Ended(turn))).collect()
    }

    /// Decides.
    pub fn step(&mut self, event: LaneEvent) -> Vec<LaneEffect> {
        let user = match &event {
            LaneEvent::Arrived(_, user, _) | LaneEvent::Began(_, user, _) => Some(user.clone()),
            LaneEvent::Left(claim) | LaneEvent::Overdue(claim) => self.by_claim.get(claim).cloned(),
            LaneEvent::Ended(turn) => self.by_turn.get(turn).cloned(),
        };
        let Some(user) = user else { return Vec::new() };
        let waits = |lanes: &Self| lanes.lanes.get(&user).map_or(0, |lane| lane.waiting.len());
        let before = waits(self);
        let effects = match event {
            LaneEvent::Arrived(claim, user, rule) => self.arrived(claim, user, rule),
            LaneEvent::Began(claim, user, turn) => self.began(claim, user, turn),
            LaneEvent::Left(claim) => self.gone(&user, |holder| holder.claim == claim, Some(claim)),
            LaneEvent::Ended(turn) => self.gone(&user, |holder| holder.turn.as_ref() == Some(&turn), None),
            LaneEvent::Overdue(claim) => self.overdue(&user, claim),
        };
        self.waiting = self.waiting + waits(self) - before;
        effects
    }

    fn arrived(&mut self, claim: ClaimId, user: UserId, rule: Rule) -> Vec<LaneEffect> {
        let lane = self.lanes.entry(user.clone()).or_default();
        let mut effects = Vec::new();
        let free = lane.holders.is_empty() && lane.waiting.is_empty();
        match rule {
            Rule::Queue if !free && lane.waiting.len() >= QUEUE_LIMIT => return vec![LaneEffect::Refuse(claim)],
            Rule::Queue if !free => lane.waiting.push_back(claim),
            Rule::Supersede if !free => {
                for holder in lane.holders.iter_mut().filter(|holder| !holder.doomed) {
                    holder.doomed = true;
                    effects.extend(holder.turn.clone().map(LaneEffect::Supersede));
                }
                // Whoever waits is overtaken: it begins now, and is ended when it has.
                for overtaken in lane.waiting.drain(..) {
                    lane.holders.push(Holder::granted(overtaken, true));
                    effects.push(LaneEffect::Grant(overtaken));
                }
                lane.waiting.push_back(claim);
                effects.push(LaneEffect::Remind(claim));
            }
            Rule::Queue | Rule::Supersede | Rule::Parallel => {
                lane.holders.push(Holder::granted(claim, false));
                effects.push(LaneEffect::Grant(claim));
            }
        }
        effects.extend(lane.watch());
        self.by_claim.insert(claim, user);
        effects
    }

    fn began(&mut self, claim: ClaimId, user: UserId, turn: TurnId) -> Vec<LaneEffect> {
        if self.by_turn.contains_key(&turn) {
            return Vec::new();
        }
        self.by_claim.insert(claim, user.clone());
        self.by_turn.insert(turn.clone(), user.clone());
        let lane = self.lanes.entry(user).or_default();
        let mut effects = Vec::new();
        match lane.holders.iter_mut().find(|holder| holder.claim == claim) {
            Some(holder) => {
                holder.turn = Some(turn.clone());
                if holder.doomed {
                    effects.push(LaneEffect::Supersede(turn));
                }
            }
            None => lane.holders.push(Holder { turn: Some(turn), ..Holder::granted(claim, false) }),
        }
        effects.extend(lane.watch());
        effects
    }

    /// Removes a holder or a waiting claim, and grants the next in line when the lane is free.
    fn gone(&mut self, user: &UserId, is_it: impl Fn(&Holder) -> bool, waiting: Option<ClaimId>) -> Vec<LaneEffect> {
        let Some(lane) = self.lanes.get_mut(user) else { return Vec::new() };
        lane.waiting.retain(|claim| Some(*claim) != waiting);
        if let Some(at) = lane.holders.iter().position(is_it) {
            let holder = lane.holders.swap_remove(at);
            self.by_claim.remove(&holder.claim);
            if let Some(turn) = holder.turn {
                self.by_turn.remove(&turn);
            }
        }
        if let Some(claim) = waiting {
            self.by_claim.remove(&claim);
        }
        let mut effects = Vec::new();
        if lane.holders.is_empty()
            && let Some(next) = lane.waiting.pop_front()
        {
            lane.holders.push(Holder::granted(next, false));
            effects.push(LaneEffect::Grant(next));
        }
        if lane.holders.is_empty() {
            self.lanes.remove(user);
        }
        effects
    }

    /// The older turn has not ended in time. It was told to; the new one begins beside what is left of it.
    fn overdue(&mut self, user: &UserId, claim: ClaimId) -> Vec<LaneEffect> {
        let Some(lane) = self.lanes.get_mut(user) else { return Vec::new() };
        let Some(at) = lane.waiting.iter().position(|waiting| *waiting == claim) else { return Vec::new() };
        lane.waiting.remove(at);
        lane.holders.push(Holder::granted(claim, false));
        vec![LaneEffect::Grant(claim)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::from_stored(name)
    }

    fn turn(claim: ClaimId) -> TurnId {
        TurnId::from_stored(format!("turn-{claim}"))
    }

    fn arrive(lanes: &mut Lanes, claim: ClaimId, rule: Rule) -> Vec<LaneEffect> {
        lanes.step(LaneEvent::Arrived(claim, user("ann"), rule))
    }

    fn begin(lanes: &mut Lanes, claim: ClaimId) -> Vec<LaneEffect> {
        lanes.step(LaneEvent::Began(claim, user("ann"), turn(claim)))
    }

    #[test]
    fn the_newer_request_ends_the_older_turn_and_waits_for_its_end() {
        let mut lanes = Lanes::default();
        assert_eq!(arrive(&mut lanes, 1, Rule::Supersede), [LaneEffect::Grant(1)]);
        assert_eq!(begin(&mut lanes, 1), []);
        assert_eq!(
            arrive(&mut lanes, 2, Rule::Supersede),
            [LaneEffect::Supersede(turn(1)), LaneEffect::Remind(2), LaneEffect::Watch(turn(1))]
        );
        assert_eq!(lanes.step(LaneEvent::Ended(turn(1))), [LaneEffect::Grant(2)]);
        assert_eq!(lanes.step(LaneEvent::Overdue(2)), []);
    }

    #[test]
    fn a_turn_that_will_not_end_is_not_waited_for_longer_than_the_limit() {
        let mut lanes = Lanes::default();
        arrive(&mut lanes, 1, Rule::Supersede);
        begin(&mut lanes, 1);
        arrive(&mut lanes, 2, Rule::Supersede);
        assert_eq!(lanes.step(LaneEvent::Overdue(2)), [LaneEffect::Grant(2)]);
        begin(&mut lanes, 2);
        assert_eq!(lanes.step(LaneEvent::Ended(turn(1))), []);
        assert_eq!(
            arrive(&mut lanes, 3, Rule::Supersede),
            [LaneEffect::Supersede(turn(2)), LaneEffect::Remind(3), LaneEffect::Watch(turn(2))]
        );
    }

    #[test]
    fn an_overtaken_request_begins_and_is_ended_at_once() {
        let mut lanes = Lanes::default();
        arrive(&mut lanes, 1, Rule::Supersede);
        begin(&mut lanes, 1);
        arrive(&mut lanes, 2, Rule::Supersede);
        assert_eq!(arrive(&mut lanes, 3, Rule::Supersede), [LaneEffect::Grant(2), LaneEffect::Remind(3)]);
        assert_eq!(begin(&mut lanes, 2), [LaneEffect::Supersede(turn(2)), LaneEffect::Watch(turn(2))]);
        assert_eq!(lanes.step(LaneEvent::Ended(turn(2))), []);
        assert_eq!(lanes.step(LaneEvent::Ended(turn(1))), [LaneEffect::Grant(3)]);
    }

    #[test]
    fn a_granted_request_that_has_not_begun_is_ended_when_it_does() {
        let mut lanes = Lanes::default();
        arrive(&mut lanes, 1, Rule::Supersede);
        assert_eq!(arrive(&mut lanes, 2, Rule::Supersede), [LaneEffect::Remind(2)]);
        assert_eq!(begin(&mut lanes, 1), [LaneEffect::Supersede(turn(1)), LaneEffect::Watch(turn(1))]);
        assert_eq!(lanes.step(LaneEvent::Ended(turn(1))), [LaneEffect::Grant(2)]);
    }

    #[test]
    fn a_queue_is_first_come_first_served_and_bounded() {
        let mut lanes = Lanes::default();
        assert_eq!(arrive(&mut lanes, 0, Rule::Queue), [LaneEffect::Grant(0)]);
        begin(&mut lanes, 0);
        assert_eq!(arrive(&mut lanes, 1, Rule::Queue), [LaneEffect::Watch(turn(0))]);
        for claim in 2..=QUEUE_LIMIT as u64 {
            assert_eq!(arrive(&mut lanes, claim, Rule::Queue), []);
        }
        assert_eq!(lanes.waiting(), QUEUE_LIMIT);
        assert_eq!(arrive(&mut lanes, 99, Rule::Queue), [LaneEffect::Refuse(99)]);
        assert_eq!(lanes.step(LaneEvent::Left(1)), []);
        assert_eq!(arrive(&mut lanes, 100, Rule::Queue), []);
        assert_eq!(lanes.step(LaneEvent::Ended(turn(0))), [LaneEffect::Grant(2)]);
        assert_eq!(lanes.step(LaneEvent::Left(2)), [LaneEffect::Grant(3)]);
    }

    #[test]
    fn users_do_not_disturb_each_other() {
        let mut lanes = Lanes::default();
        arrive(&mut lanes, 1, Rule::Supersede);
        begin(&mut lanes, 1);
        let other = lanes.step(LaneEvent::Arrived(2, user("bob"), Rule::Supersede));
        assert_eq!(other, [LaneEffect::Grant(2)]);
        assert_eq!(arrive(&mut lanes, 3, Rule::Parallel), [LaneEffect::Grant(3)]);
    }

    #[test]
    fn a_turn_from_before_a_crash_is_still_known() {
        let mut lanes = Lanes::default();
        assert_eq!(begin(&mut lanes, 7), []);
        assert_eq!(begin(&mut lanes, 7), []);
        assert_eq!(
            arrive(&mut lanes, 8, Rule::Supersede),
            [LaneEffect::Supersede(turn(7)), LaneEffect::Remind(8), LaneEffect::Watch(turn(7))]
        );
    }

    #[test]
    fn turns_that_are_over_are_forgotten_when_looked_at() {
        let mut lanes = Lanes::default();
        arrive(&mut lanes, 1, Rule::Supersede);
        begin(&mut lanes, 1);
        assert_eq!(lanes.forget_ended(Some(&user("ann")), |_| true), []);
        assert_eq!(lanes.forget_ended(Some(&user("ann")), |_| false), []);
        assert_eq!(arrive(&mut lanes, 2, Rule::Supersede), [LaneEffect::Grant(2)]);
        begin(&mut lanes, 2);
        lanes.forget_ended(None, |_| false);
        assert_eq!(lanes.len(), 0);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Arrive(u8, Rule),
        Leave(usize),
        Begin(usize),
        End(usize),
        Remind(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let rule = prop_oneof![Just(Rule::Supersede), Just(Rule::Queue), Just(Rule::Parallel)];
        prop_oneof![
            (0..2u8, rule).prop_map(|(user, rule)| Act::Arrive(user, rule)),
            any::<usize>().prop_map(Act::Leave),
            any::<usize>().prop_map(Act::Begin),
            any::<usize>().prop_map(Act::End),
            any::<usize>().prop_map(Act::Remind),
        ]
    }

    proptest! {
        #[test]
        fn every_claim_is_answered_once_and_nothing_is_left_behind(acts in prop::collection::vec(act(), 0..80)) {
            let mut lanes = Lanes::default();
            let users: Vec<UserId> = vec![user("a"), user("b")];
            let mut owner: HashMap<ClaimId, UserId> = HashMap::new();
            let (mut waiting, mut granted, mut running): (Vec<ClaimId>, Vec<ClaimId>, Vec<ClaimId>) = Default::default();
            let mut answered: HashSet<ClaimId> = HashSet::new();
            let mut watched: HashSet<TurnId> = HashSet::new();
            let mut next = 0;
            let mut acts: Vec<Act> = acts;
            // Whatever happened, everybody leaves in the end.
            acts.extend((0..200).flat_map(|_| [Act::Leave(0), Act::Begin(0), Act::End(0)]));
            for act in acts {
                let effects = match act {
                    Act::Arrive(who, rule) => {
                        next += 1;
                        owner.insert(next, users[usize::from(who)].clone());
                        waiting.push(next);
                        lanes.step(LaneEvent::Arrived(next, users[usize::from(who)].clone(), rule))
                    }
                    Act::Leave(at) if !waiting.is_empty() => {
                        let claim = waiting.remove(at % waiting.len());
                        lanes.step(LaneEvent::Left(claim))
                    }
                    Act::Begin(at) if !granted.is_empty() => {
                        let claim = granted.remove(at % granted.len());
                        running.push(claim);
                        lanes.step(LaneEvent::Began(claim, owner[&claim].clone(), turn(claim)))
                    }
                    Act::End(at) if !running.is_empty() => {
                        let claim = running.remove(at % running.len());
                        lanes.step(LaneEvent::Ended(turn(claim)))
                    }
                    Act::Remind(at) if !waiting.is_empty() => {
                        lanes.step(LaneEvent::Overdue(waiting[at % waiting.len()]))
                    }
                    _ => Vec::new(),
                };
                for effect in effects {
                    match effect {
                        LaneEffect::Grant(claim) => {
                            prop_assert!(answered.insert(claim));
                            waiting.retain(|other| *other != claim);
                            granted.push(claim);
                        }
                        LaneEffect::Refuse(claim) => {
                            prop_assert!(answered.insert(claim));
                            waiting.retain(|other| *other != claim);
                        }
                        LaneEffect::Supersede(turn_id) => {
                            prop_assert!(running.iter().any(|claim| turn(*claim) == turn_id));
                        }
                        LaneEffect::Remind(claim) => prop_assert!(waiting.contains(&claim)),
                        LaneEffect::Watch(turn_id) => prop_assert!(watched.insert(turn_id)),
                    }
                }
                for claim in running.iter().filter(|claim| waiting.iter().any(|w| owner[w] == owner[claim])) {
                    prop_assert!(watched.contains(&turn(*claim)), "nobody watches turn {claim}");
                }
            }
            prop_assert_eq!(lanes.waiting(), 0);
            prop_assert!(waiting.is_empty() && granted.is_empty() && running.is_empty());
            prop_assert!(lanes.lanes.is_empty() && lanes.by_claim.is_empty() && lanes.by_turn.is_empty());
        }
    }
}
