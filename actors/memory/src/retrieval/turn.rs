//! What a turn recalls: memories and earlier messages at once, within a time that is never exceeded. It never fails: what
//! cannot be had in time is missing from the answer, which says so. It waits for no index to be loaded, only asks for it.

use std::time::Duration;

use greenroom_kit::lock;

use super::search::Patience;
use super::{MemoryHit, MemorySearch};
use crate::episodes::{Haste, MessageHit, MessageSearch};
use crate::{MemoryError, Namespace};

/// What a turn wants to recall.
#[derive(Debug, Clone, Default)]
pub struct TurnRecall {
    /// Memories. `count_access` is ignored: the turn counts those that it uses.
    pub memories: Option<MemorySearch>,
    /// Earlier messages.
    pub episodes: Option<MessageSearch>,
    /// The time there is for all of it.
    pub within: Duration,
}

/// What was recalled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recalled {
    /// Memories, best first.
    pub memories: Vec<MemoryHit>,
    /// Earlier messages, best first.
    pub episodes: Vec<MessageHit>,
    /// What is missing and why, in a few words without content; for the turn's log.
    pub incomplete: Option<String>,
}

impl Namespace {
    /// Recalls what a turn asks for.
    pub async fn recall_for_turn(&self, recall: TurnRecall) -> Recalled {
        let deadline = tokio::time::Instant::now() + recall.within;
        let missing = std::sync::Mutex::new(Vec::<String>::new());
        let note = |what: &str, why: &str| lock(&missing).push(format!("{what}: {why}"));
        let memories = async {
            let Some(search) = recall.memories else { return Vec::new() };
            let here = self.clone();
            let finding = async move { here.find_memories(&search, Patience::Hurried).await.map(|found| found.hits) };
            self.in_time(deadline, finding).await.unwrap_or_else(|why| {
                note("memories", &why);
                Vec::new()
            })
        };
        let episodes = async {
            let Some(search) = recall.episodes else { return Vec::new() };
            let here = self.clone();
            let finding = async move { here.find_messages(&search, Haste::Turn).await.map(|found| found.hits) };
            self.in_time(deadline, finding).await.unwrap_or_else(|why| {
                note("episodes", &why);
                Vec::new()
            })
        };
        let (memories, episodes) = tokio::join!(memories, episodes);
        let missing = lock(&missing);
        let incomplete = (!missing.is_empty()).then(|| missing.join("; "));
        Recalled { memories, episodes, incomplete }
    }

    /// Runs a search in a task of its own and waits for it until the deadline. A search that is late runs to its end,
    /// which its statement's time limit bounds: giving its connection back in the middle of a statement would make the
    /// next one wait in its stead.
    async fn in_time<T: Send + 'static>(
        &self,
        deadline: tokio::time::Instant,
        search: impl Future<Output = Result<T, MemoryError>> + Send + 'static,
    ) -> Result<T, String> {
        let task = self.recall().late().spawn(search);
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(_)) => Err("the search broke off".into()),
            Err(_) => Err("not in time".into()),
        }
    }
}
