//! Answers that are given again for a while.
//!
//! Invariant: for one question at a time only one asker goes out; the others wait for its answer. Whoever gives up is
//! replaced by one of those waiting. Failures are not kept.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::lock;
use lru::LruCache;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::error::WebError;

type Slot<V> = Arc<OnceCell<(Instant, Arc<V>)>>;

/// The least recently used answers, each for `life`.
pub(crate) struct Kept<K, V> {
    slots: Mutex<LruCache<K, Slot<V>>>,
    life: Duration,
}

impl<K: Hash + Eq, V> Kept<K, V> {
    pub(crate) fn new(size: NonZeroUsize, life: Duration) -> Self {
        Self { slots: Mutex::new(LruCache::new(size)), life }
    }

    /// The answer that is kept, or else the one that `ask` brings.
    pub(crate) async fn get(&self, key: K, ask: impl Future<Output = Result<V, WebError>>) -> Result<Arc<V>, WebError> {
        let slot = self.slot(key);
        let answer =
            slot.get_or_try_init(|| async { ask.await.map(|value| (Instant::now(), Arc::new(value))) }).await?;
        Ok(answer.1.clone())
    }

    fn slot(&self, key: K) -> Slot<V> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&key)
            && slot.get().is_none_or(|(since, _)| since.elapsed() < self.life)
        {
            return slot.clone();
        }
        let slot = Slot::default();
        slots.put(key, slot.clone());
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const LIFE: Duration = Duration::from_secs(300);

    fn kept(size: usize) -> Kept<&'static str, usize> {
        Kept::new(NonZeroUsize::new(size).unwrap(), LIFE)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_lives_for_a_while() {
        let (kept, asked) = (kept(2), AtomicUsize::new(0));
        let ask = async || Ok(asked.fetch_add(1, Ordering::Relaxed));
        assert_eq!(*kept.get("a", ask()).await.unwrap(), 0);
        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert_eq!(*kept.get("a", ask()).await.unwrap(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(*kept.get("a", ask()).await.unwrap(), 1);
        kept.get("b", ask()).await.unwrap();
        kept.get("c", ask()).await.unwrap();
        assert_eq!(*kept.get("a", ask()).await.unwrap(), 4, "the oldest made room");
    }

    #[tokio::test]
    async fn one_asks_for_all_and_a_failure_is_not_kept() {
        let (kept, asked, go) = (kept(2), AtomicUsize::new(0), Notify::new());
        let ask = async || {
            let count = asked.fetch_add(1, Ordering::Relaxed);
            go.notified().await;
            if count == 0 { Err(WebError::Timeout("it".into())) } else { Ok(count) }
        };
        go.notify_one();
        assert!(kept.get("a", ask()).await.is_err());
        let release = async {
            tokio::task::yield_now().await;
            go.notify_one();
        };
        let (first, second, ()) = tokio::join!(kept.get("a", ask()), kept.get("a", ask()), release);
        assert_eq!((*first.unwrap(), *second.unwrap()), (1, 1));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
