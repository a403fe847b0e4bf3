//! Room for turns: a permit for every turn in flight, handed on to the turn, and a seat for each turn of a user, kept
//! here until the turn is over even if its viewer leaves. Nothing waits: no room is an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::lock;
use greenroom_protocol::UserId;
use greenroom_turn::TurnRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::error::ApiError;
use crate::config::Limits;

/// The room there is.
pub struct Admission {
    turns: Arc<Semaphore>,
    most: usize,
    per_user: usize,
    users: Arc<Users>,
    retry_after: Duration,
    /// Keeps seats of turns whose viewer left.
    keepers: TaskTracker,
}

type Users = Mutex<HashMap<UserId, usize>>;

/// One user's claim to a turn; given back when dropped.
pub struct Seat {
    user: UserId,
    users: Arc<Users>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = lock(&self.users);
        if let Some(taken) = users.get_mut(&self.user) {
            *taken -= 1;
            if *taken == 0 {
                users.remove(&self.user);
            }
        }
    }
}

impl Admission {
    /// The room that the limits leave.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let most = limits.max_turns.min(Semaphore::MAX_PERMITS);
        Self {
            turns: Arc::new(Semaphore::new(most)),
            most,
            per_user: limits.per_user_turns,
            users: Arc::default(),
            retry_after: limits.retry_after.get(),
            keepers: TaskTracker::new(),
        }
    }

    /// What a refused client is told to wait.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// Permits given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.most - self.turns.available_permits()
    }

    /// A permit for one turn of `user`.
    ///
    /// # Errors
    /// [`ApiError::Full`].
    pub fn enter(&self, user: &UserId) -> Result<(OwnedSemaphorePermit, Option<Seat>), ApiError> {
        let full = |what| {
            metrics::counter!("greenroom_turns_refused_total").increment(1);
            ApiError::Full { what, retry_after: self.retry_after }
        };
        let permit = self.turns.clone().try_acquire_owned();
        let permit = permit.map_err(|_| full("The service has no room for another turn"))?;
        Ok((permit, self.seat(user).map_err(|()| full("This user has too many turns in flight"))?))
    }

    fn seat(&self, user: &UserId) -> Result<Option<Seat>, ()> {
        if self.per_user == 0 {
            return Ok(None);
        }
        let mut users = lock(&self.users);
        let taken = users.entry(user.clone()).or_default();
        if *taken >= self.per_user {
            return Err(());
        }
        *taken += 1;
        Ok(Some(Seat { user: user.clone(), users: self.users.clone() }))
    }

    /// Ties a seat to a turn: whoever watches the turn holds the result.
    #[must_use]
    pub fn watch(&self, seat: Option<Seat>, turn: TurnRef) -> Watching {
        Watching { held: seat.map(|seat| (seat, turn)), keepers: self.keepers.clone() }
    }
}

/// A seat and the turn it is for. When the watcher leaves early, the seat stays taken until the turn is over.
pub struct Watching {
    held: Option<(Seat, TurnRef)>,
    keepers: TaskTracker,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some((seat, turn)) = self.held.take()
            && !turn.is_over()
        {
            self.keepers.spawn(async move {
                turn.ended().await;
                drop(seat);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_turns: usize, per_user_turns: usize) -> Admission {
        Admission::new(&Limits { max_turns, per_user_turns, ..Limits::default() })
    }

    #[test]
    fn permits_and_seats_come_back() {
        let admission = admission(3, 2);
        let (ann, bob) = (UserId::from_stored("ann"), UserId::from_stored("bob"));
        let first = admission.enter(&ann).ok().unwrap();
        let second = admission.enter(&ann).ok().unwrap();
        let refused = admission.enter(&ann).err().unwrap();
        assert_eq!((refused.status().as_u16(), admission.taken()), (429, 2));
        let third = admission.enter(&bob).ok().unwrap();
        assert!(matches!(admission.enter(&bob), Err(ApiError::Full { .. })));
        drop((first, second, third));
        assert_eq!(admission.taken(), 0);
        assert!(lock(&admission.users).is_empty());
    }

    #[test]
    fn without_a_limit_of_its_own_a_user_takes_any_room() {
        let admission = admission(5, 0);
        let ann = UserId::from_stored("ann");
        let all: Vec<_> = (0..5).map(|_| admission.enter(&ann).ok().unwrap()).collect();
        assert!(all.iter().all(|(_, seat)| seat.is_none()));
        assert!(admission.enter(&ann).is_err());
    }
}
