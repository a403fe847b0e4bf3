//! The threads that compute. Each waits in the queue, takes a share of it, answers, and comes back.
//!
//! A worker that panics drops the items that it holds, which is how their callers learn of it, and tells the actor, which
//! fails and is started again with a new crew; the queue and the loaded model outlive that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use greenroom_kit::Card;

use crate::Lane;
use crate::embedder::{Embedded, Shared};
use crate::engine::{Engine, Scratch};
use crate::error::EmbedError;
use crate::queue::{Item, Work};

/// The workers of one incarnation of the actor; dropping it retires them after the work in hand.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    retired: Arc<AtomicBool>,
}

impl Crew {
    /// Starts `threads` workers. `lost` is called when one panics.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        engine: &Arc<Engine>,
        lost: impl Fn() + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let crew = Self { shared: shared.clone(), retired: Arc::default() };
        for n in 0..shared.settings.threads.clamp(1, 8) {
            let (shared, engine, retired) = (shared.clone(), engine.clone(), crew.retired.clone());
            let end = TellOfPanic(lost.clone());
            std::thread::Builder::new().name(format!("embedder-{n}")).spawn(move || {
                let _end = end;
                work(&shared, &engine, &retired);
            })?;
        }
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.retired.store(true, Ordering::Release);
        self.shared.queue.wake();
    }
}

struct TellOfPanic<F: Fn()>(F);

impl<F: Fn()> Drop for TellOfPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// Counts items in flight on the card for as long as it lives.
struct InFlight<'a>(Option<&'a Card>, i64);

impl<'a> InFlight<'a> {
    fn new(card: Option<&'a Card>, items: usize) -> Self {
        let items = i64::try_from(items).unwrap_or(i64::MAX);
        if let Some(card) = card {
            card.add_in_flight(items);
        }
        Self(card, items)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(card) = self.0 {
            card.add_in_flight(-self.1);
        }
    }
}

fn work(shared: &Shared, engine: &Engine, retired: &AtomicBool) {
    let (mut scratch, mut spare) = (Scratch::default(), Scratch::default());
    while let Some(work) = shared.queue.next(retired) {
        match work {
            Work::Assist(seat) => engine.assist(seat, &mut scratch),
            Work::Texts(items, lane) => {
                let _count = InFlight::new(shared.card.as_deref(), items.len());
                match items.as_slice() {
                    [item] if lane == Lane::Interactive => {
                        let outcome = engine.embed_alone(&item.text, &shared.queue, &mut scratch);
                        answer(item, outcome);
                    }
                    _ => batch(shared, engine, &items, lane, &mut scratch, &mut spare),
                }
            }
        }
    }
}

fn batch(shared: &Shared, engine: &Engine, items: &[Item], lane: Lane, scratch: &mut Scratch, spare: &mut Scratch) {
    let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
    let mut interrupt = || {
        while lane == Lane::Background && shared.queue.is_urgent() {
            let Some(item) = shared.queue.take_urgent() else { break };
            let _count = InFlight::new(shared.card.as_deref(), 1);
            let outcome = engine.embed(&[&item.text], spare, &mut || {}).pop();
            answer(&item, outcome.unwrap_or_else(|| Err(EmbedError::Failed("no vector came out".into()))));
        }
    };
    let outcomes = engine.embed(&texts, scratch, &mut interrupt);
    for (item, outcome) in items.iter().zip(outcomes) {
        answer(item, outcome);
    }
}

fn answer(item: &Item, outcome: Result<Embedded, EmbedError>) {
    // A caller that has gone needs no answer.
    let _ = item.answer.send((item.index, outcome));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedder::Embedder;
    use tokio::sync::mpsc;

    #[test]
    fn an_interactive_text_interrupts_a_background_batch() {
        let embedder = Embedder::test_hash();
        let (answer, mut answers) = mpsc::unbounded_channel();
        let item = |index: usize| Item { index, text: format!("text {index}"), answer: answer.clone() };
        embedder.shared.queue.push(vec![item(99)], Lane::Interactive).expect("room");
        let background: Vec<Item> = (0..10).map(item).collect();
        let (mut scratch, mut spare) = (Scratch::default(), Scratch::default());
        batch(&embedder.shared, &Engine::Hashed, &background, Lane::Background, &mut scratch, &mut spare);
        let order: Vec<usize> = std::iter::from_fn(|| answers.try_recv().ok()).map(|(index, _)| index).collect();
        assert_eq!(order, [99, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
