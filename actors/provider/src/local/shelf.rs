//! Who gets which model when: a pure decision.
//!
//! Calls are served in the order in which they came. One that wants a model that is ready passes others that wait for
//! their model to be read, but never one that waits for a place: otherwise a busy model would keep all others out.

use tokio::time::Instant;

/// How far a model in memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Being read.
    Loading,
    /// Can be lent.
    Ready {
        /// How often it is lent now.
        loans: usize,
        /// It is to go as soon as nobody has it.
        leave: bool,
        /// When it was given back last.
        used: Instant,
    },
    /// Being taken out of memory.
    Leaving,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Lend its model to this call.
    Lend(usize),
    /// Read the model of this call.
    Load(usize),
    /// Take the model in this place out of memory.
    Unload(usize),
}

/// The next step for these places and waiting calls; `None` when there is nothing to do but wait.
pub(super) fn next<M: PartialEq>(places: &[(M, Stage)], calls: &[M], most: usize) -> Option<Step> {
    let told = |(_, stage): &(M, Stage)| matches!(stage, Stage::Ready { loans: 0, leave: true, .. });
    if let Some(place) = places.iter().position(told) {
        return Some(Step::Unload(place));
    }
    for (call, model) in calls.iter().enumerate() {
        match places.iter().find(|(known, _)| known == model).map(|(_, stage)| stage) {
            Some(Stage::Loading) => {}
            Some(Stage::Ready { leave: false, .. }) => return Some(Step::Lend(call)),
            Some(Stage::Ready { leave: true, .. } | Stage::Leaving) => return None,
            // Memory is free only when what leaves has gone.
            None if places.iter().any(|(_, stage)| *stage == Stage::Leaving) => return None,
            None if places.len() < most.max(1) => return Some(Step::Load(call)),
            None => return idle_longest(places).map(Step::Unload),
        }
    }
    None
}

/// The unused model that was given back before all others.
pub(super) fn idle_longest<M>(places: &[(M, Stage)]) -> Option<usize> {
    let idle = places.iter().enumerate().filter_map(|(place, (_, stage))| match stage {
        Stage::Ready { loans: 0, used, .. } => Some((*used, place)),
        _ => None,
    });
    idle.min().map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn ready(loans: usize) -> Stage {
        Stage::Ready { loans, leave: false, used: Instant::now() }
    }

    #[test]
    fn a_swap_waits_for_loans_and_for_memory() {
        assert_eq!(next(&[], &["a"], 1), Some(Step::Load(0)));
        assert_eq!(next(&[("a", Stage::Loading)], &["a", "a"], 1), None);
        assert_eq!(next(&[("a", ready(1))], &["b"], 1), None);
        assert_eq!(next(&[("a", ready(0))], &["b"], 1), Some(Step::Unload(0)));
        assert_eq!(next(&[("a", Stage::Leaving)], &["b"], 2), None);
        assert_eq!(next(&[("a", ready(1))], &["b"], 2), Some(Step::Load(0)));
    }

    #[test]
    fn nobody_passes_a_call_that_waits_for_a_place() {
        assert_eq!(next(&[("a", ready(1))], &["a", "b"], 1), Some(Step::Lend(0)));
        assert_eq!(next(&[("a", ready(1))], &["b", "a"], 1), None);
        let loading = [("a", ready(1)), ("b", Stage::Loading)];
        assert_eq!(next(&loading, &["b", "a"], 2), Some(Step::Lend(1)));
    }

    #[test]
    fn what_was_told_to_leave_is_not_lent_again() {
        let leave = |loans| [("a", Stage::Ready { loans, leave: true, used: Instant::now() })];
        assert_eq!(next(&leave(1), &["a"], 1), None);
        assert_eq!(next(&leave(0), &["a"], 1), Some(Step::Unload(0)));
    }

    /// What happens from outside.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Ask(u8),
        GiveBack(usize),
        /// The job of this place is done.
        Done(usize),
        Leave(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0..4u8).prop_map(Event::Ask),
            3 => (0..4usize).prop_map(Event::GiveBack),
            3 => (0..4usize).prop_map(Event::Done),
            1 => (0..4usize).prop_map(Event::Leave),
        ]
    }

    fn apply(event: Event, places: &mut Vec<(u8, Stage)>, calls: &mut VecDeque<u8>) {
        match event {
            Event::Ask(model) => calls.push_back(model),
            Event::GiveBack(place) | Event::Leave(place) => {
                if let Some((_, Stage::Ready { loans, leave, used })) = places.get_mut(place) {
                    if matches!(event, Event::Leave(_)) {
                        *leave = true;
                    } else if *loans > 0 {
                        (*loans, *used) = (*loans - 1, Instant::now());
                    }
                }
            }
            Event::Done(place) => match places.get(place).map(|(_, stage)| *stage) {
                Some(Stage::Loading) => places[place].1 = ready(0),
                Some(Stage::Leaving) => drop(places.remove(place)),
                _ => {}
            },
        }
    }

    /// Takes all steps there are; gives how many calls were served.
    fn settle(places: &mut Vec<(u8, Stage)>, calls: &mut VecDeque<u8>, most: usize) -> usize {
        let mut served = 0;
        while let Some(step) = next(places, calls.make_contiguous(), most) {
            match step {
                Step::Load(call) => places.push((calls[call], Stage::Loading)),
                Step::Unload(place) => {
                    assert!(matches!(places[place].1, Stage::Ready { loans: 0, .. }), "nobody loses what they use");
                    places[place].1 = Stage::Leaving;
                }
                Step::Lend(call) => {
                    let model = calls.remove(call).unwrap();
                    served += 1;
                    let place = places.iter_mut().find(|(known, _)| *known == model).unwrap();
                    let Stage::Ready { loans, leave: false, .. } = &mut place.1 else { panic!("{place:?}") };
                    *loans += 1;
                }
            }
            assert!(places.len() <= most);
        }
        served
    }

    proptest! {
        #[test]
        fn few_are_in_memory_and_everybody_is_served(
            events in prop::collection::vec(event(), 0..60),
            most in 1..3usize,
        ) {
            let (mut places, mut calls, mut served, mut asked) = (Vec::new(), VecDeque::new(), 0, 0);
            for event in events {
                asked += usize::from(matches!(event, Event::Ask(_)));
                apply(event, &mut places, &mut calls);
                served += settle(&mut places, &mut calls, most);
            }
            // When all loans are given back and all jobs get done, nobody is left waiting.
            for round in 0..1000 {
                apply(Event::GiveBack(round % most), &mut places, &mut calls);
                apply(Event::Done(round % most), &mut places, &mut calls);
                served += settle(&mut places, &mut calls, most);
            }
            prop_assert_eq!(served, asked);
        }
    }
}
