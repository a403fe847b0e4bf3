//! The last known health of the database, shared by everyone who asks. Reading it never waits. Deliberately absent: how
//! it is found out; that is the watcher's work.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_kit::lock;

#[derive(Debug)]
pub(crate) struct Health {
    up: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug, Clone)]
struct Outage {
    since: Instant,
    why: String,
}

impl Health {
    pub fn new() -> Self {
        Self { up: AtomicBool::new(true), outage: Mutex::new(None) }
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Records that the database answers; says whether that is news.
    pub fn answers(&self) -> bool {
        *lock(&self.outage) = None;
        let news = !self.up.swap(true, Ordering::Relaxed);
        metrics::gauge!("greenroom_store_up").set(1.0);
        news
    }

    /// Records that the database does not answer; says whether that is news.
    pub fn is_away(&self, why: &str) -> bool {
        let mut outage = lock(&self.outage);
        match outage.as_mut() {
            Some(outage) => outage.why = why.to_owned(),
            None => *outage = Some(Outage { since: Instant::now(), why: why.to_owned() }),
        }
        metrics::gauge!("greenroom_store_up").set(0.0);
        self.up.swap(false, Ordering::Relaxed)
    }

    /// How long the database has been away, and why.
    pub fn outage(&self) -> Option<(Duration, String)> {
        lock(&self.outage).as_ref().map(|outage| (outage.since.elapsed(), outage.why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_news() {
        let health = Health::new();
        assert!(health.is_up() && !health.answers());
        assert!(health.is_away("refused"));
        assert!(!health.is_away("still refused"));
        assert_eq!(health.outage().unwrap().1, "still refused");
        assert!(!health.is_up() && health.answers() && health.outage().is_none());
    }
}
