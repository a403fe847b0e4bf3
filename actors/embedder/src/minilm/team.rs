//! Several workers in one pass: each has some of the heads and some of the columns of the feed-forward part, and twice
//! in each layer they add up what each of them found.
//!
//! All that they share is the input and two exchange places per member, used in turn, so that one barrier per exchange is
//! enough: nobody can write a place again before everybody has passed the barrier after the one at which it was read. A
//! member that panics or never comes breaks the team; then all its members give up, and the leader works alone.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::pieces::Pieces;

/// Rounds of waiting before the thread lets others run.
const SPINS: usize = 2000;
/// How long helpers wait for the others; a member that is away for so long is not coming.
const PATIENCE: Duration = Duration::from_secs(20);
/// The leader gives up much sooner, because it can do everything alone: after this ...
const LEADER_PATIENCE: Duration = Duration::from_millis(1);
/// ... and so much for each row, as long as a few of its products take.
const PATIENCE_PER_ROW: Duration = Duration::from_micros(25);

/// The team is broken: a member panicked or did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

struct Team {
    input: Pieces,
    members: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
    places: Vec<[RwLock<Vec<f32>>; 2]>,
}

/// One member's place in a team.
pub(crate) struct Seat {
    team: Arc<Team>,
    index: usize,
    exchanges: usize,
    patience: Duration,
    finished: bool,
}

impl Seat {
    /// The seats of the leader and of `helpers` for one pass over `input`.
    pub(crate) fn team(input: Pieces, helpers: usize) -> (Self, Vec<Self>) {
        let members = helpers + 1;
        let rows = u32::try_from(input.ids().len()).unwrap_or(u32::MAX);
        let leader_patience = LEADER_PATIENCE + PATIENCE_PER_ROW.saturating_mul(rows);
        let places = (0..members).map(|_| Default::default()).collect();
        let team =
            Arc::new(Team { input, members, arrived: AtomicUsize::new(0), broken: AtomicBool::new(false), places });
        let seat = |index, patience| Self { team: team.clone(), index, exchanges: 0, patience, finished: false };
        (seat(0, leader_patience), (1..members).map(|index| seat(index, PATIENCE)).collect())
    }

    pub(crate) fn input(&self) -> Pieces {
        self.team.input.clone()
    }

    /// This member's index, and how many there are.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.index, self.team.members)
    }

    /// This member has done its part.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Adds up the members' numbers: `sum` goes in as this member's and comes out as the total, in the same order for all.
    pub(crate) fn exchange(&mut self, sum: &mut [f32]) -> Result<(), Broken> {
        let turn = self.exchanges % 2;
        if let Some(mine) = self.team.places.get(self.index) {
            let mut mine = mine[turn].write().unwrap_or_else(PoisonError::into_inner);
            mine.clear();
            mine.extend_from_slice(sum);
        }
        self.exchanges += 1;
        self.meet()?;
        for (n, member) in self.team.places.iter().enumerate() {
            let theirs = member[turn].read().unwrap_or_else(PoisonError::into_inner);
            if n == 0 {
                sum.copy_from_slice(&theirs);
            } else {
                sum.iter_mut().zip(theirs.iter()).for_each(|(sum, number)| *sum += number);
            }
        }
        Ok(())
    }

    fn meet(&self) -> Result<(), Broken> {
        let team = &*self.team;
        let all = team.members * self.exchanges;
        team.arrived.fetch_add(1, Ordering::AcqRel);
        let (mut rounds, mut since) = (0usize, None);
        while team.arrived.load(Ordering::Acquire) < all {
            if team.broken.load(Ordering::Acquire) {
                return Err(Broken);
            }
            rounds += 1;
            if rounds < SPINS {
                spin_loop();
                continue;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > self.patience {
                team.broken.store(true, Ordering::Release);
                return Err(Broken);
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.finished {
            self.team.broken.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_add_up_and_a_lost_one_breaks_the_team() {
        let (mut leader, seats) = Seat::team(Pieces::default(), 2);
        leader.patience = PATIENCE;
        std::thread::scope(|scope| {
            for mut seat in std::iter::once(leader).chain(seats) {
                scope.spawn(move || {
                    let mine = seat.place().0 as f32;
                    for round in 0..500u16 {
                        let mut sum = vec![mine + f32::from(round); 8];
                        seat.exchange(&mut sum).expect("whole");
                        assert_eq!(sum, vec![3.0 + 3.0 * f32::from(round); 8]);
                    }
                    seat.finish();
                });
            }
        });
        let (mut leader, helpers) = Seat::team(Pieces::default(), 1);
        drop(helpers);
        assert_eq!(leader.exchange(&mut [1.0]), Err(Broken));
        // A helper that never comes.
        let (mut leader, mut helpers) = Seat::team(Pieces::default(), 1);
        assert_eq!(leader.exchange(&mut [1.0]), Err(Broken));
        assert_eq!(helpers[0].exchange(&mut [1.0]).and(helpers[0].exchange(&mut [1.0])), Err(Broken));
    }
}
