//! What keys resolved to lately. Invariant: nothing that was read before a write of this process is kept after it; what
//! other processes write is seen after [`FRESH`] at the latest.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_protocol::BotSlug;
use lru::LruCache;

use crate::template::Template;

/// How long an entry is believed.
const FRESH: Duration = Duration::from_secs(5);
/// Most entries.
const MOST: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1023);

type Place = (String, Option<BotSlug>);

/// What a key resolved to; `None` when it is not known.
pub(crate) type Resolved = Option<Arc<Template>>;

struct Entry {
    resolved: Resolved,
    read_at: Instant,
}

struct Shelf {
    entries: LruCache<Place, Entry>,
    writes: u64,
}

pub(crate) struct Cache {
    shelf: Mutex<Shelf>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { shelf: Mutex::new(Shelf { entries: LruCache::new(MOST), writes: 0 }) }
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is known and fresh; else the number of writes so far, to be given to [`Self::keep`] with what is read now.
    pub(crate) fn get(&self, key: &str, bot: Option<&BotSlug>) -> Result<Resolved, u64> {
        let mut shelf = self.shelf();
        let writes = shelf.writes;
        let entry = shelf.entries.get(&(key.to_owned(), bot.cloned()));
        entry.filter(|entry| entry.read_at.elapsed() < FRESH).map(|entry| entry.resolved.clone()).ok_or(writes)
    }

    /// What was once known, however old: better than nothing while the database is away.
    pub(crate) fn stale(&self, key: &str, bot: Option<&BotSlug>) -> Option<Resolved> {
        self.shelf().entries.get(&(key.to_owned(), bot.cloned())).map(|entry| entry.resolved.clone())
    }

    /// Keeps what was read, unless something was written since `writes`.
    pub(crate) fn keep(&self, key: &str, bot: Option<&BotSlug>, resolved: Resolved, writes: u64) {
        let mut shelf = self.shelf();
        if shelf.writes == writes {
            shelf.entries.put((key.to_owned(), bot.cloned()), Entry { resolved, read_at: Instant::now() });
        }
    }

    /// Something was written: everything is read anew. Edits of prompts are rare.
    pub(crate) fn clear(&self) {
        let mut shelf = self.shelf();
        shelf.writes += 1;
        shelf.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_write_is_not_kept() {
        let cache = Cache::new();
        let Err(writes) = cache.get("k", None) else { panic!("empty") };
        cache.clear();
        cache.keep("k", None, None, writes);
        assert_eq!(cache.get("k", None).err(), Some(1));
        cache.keep("k", None, None, 1);
        assert!(cache.get("k", None).is_ok());
        assert!(cache.get("k", Some(&BotSlug::from_stored("nova"))).is_err());
    }
}
