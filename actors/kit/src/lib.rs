//! The supervision kit: what every actor of the house shares.
//!
//! - [`Address`]: a stable, cheap handle to an actor that survives its restarts, counts what waits in its mailbox and
//!   gives every question a deadline.
//! - [`Supervisor`]: one for one restarts with back-off and a budget; what happens when the budget is spent is the
//!   child's [`Policy`].
//! - [`Board`]: who is alive, since when, how often restarted and how busy. It feeds `/status`.
//!
//! Nothing here knows what the actors are for.

mod address;
mod board;
mod budget;
mod supervisor;

pub use address::{Address, AskError, Told, Work};
pub use board::{Board, Card, CardView, State};
pub use budget::{Budget, Exhausted, Policy};
pub use supervisor::{ChildSpec, Starter, Supervisor, SupervisorError, child};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays consistent even if a holder panicked: every critical section of this project only
/// assigns, pushes or pops.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
