//! A model in memory, and the loan of it that every stream holds.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use greenroom_gguf::Engine;
use greenroom_kit::{Address, Card, lock};
use tokio::time::Instant;

use super::model::LocalModel;
use super::runtime::RuntimeMsg;
use super::shelf::Stage;

/// A loaded model. It outlives the runtime's incarnations.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) model: Arc<LocalModel>,
    pub(super) engine: Engine,
    pub(super) card: Arc<Card>,
    loans: AtomicUsize,
    leave: AtomicBool,
    used: Mutex<Instant>,
}

impl Resident {
    pub(super) fn new(model: Arc<LocalModel>, engine: Engine, card: Arc<Card>) -> Self {
        let (loans, leave) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { model, engine, card, loans, leave, used: Mutex::new(Instant::now()) }
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::Ready {
            loans: self.loans.load(Ordering::Acquire),
            leave: self.leave.load(Ordering::Acquire),
            used: *lock(&self.used),
        }
    }

    /// It goes as soon as nobody uses it; true when somebody does.
    pub(super) fn tell_to_leave(&self) -> bool {
        self.leave.store(true, Ordering::Release);
        self.loans.load(Ordering::Acquire) > 0
    }

    /// Since when nobody has used it.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.loans.load(Ordering::Acquire) == 0).then(|| *lock(&self.used))
    }
}

/// Leave to use a model; while it is held, the model stays in memory.
#[derive(Debug)]
pub(crate) struct Loan {
    resident: Arc<Resident>,
    runtime: Address<RuntimeMsg>,
}

impl Loan {
    pub(super) fn of(resident: &Arc<Resident>, runtime: &Address<RuntimeMsg>) -> Self {
        resident.loans.fetch_add(1, Ordering::AcqRel);
        resident.card.add_in_flight(1);
        Self { resident: resident.clone(), runtime: runtime.clone() }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.resident.engine
    }

    /// The engine has failed: the next call gets a new one.
    pub(super) fn broke(&self, why: &str) {
        self.resident.card.failed(why, greenroom_kit::State::Down);
        self.resident.tell_to_leave();
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        *lock(&self.resident.used) = Instant::now();
        self.resident.loans.fetch_sub(1, Ordering::AcqRel);
        self.resident.card.add_in_flight(-1);
        // A runtime that is just being started again counts for itself.
        let _ = self.runtime.tell(RuntimeMsg::Changed);
    }
}
