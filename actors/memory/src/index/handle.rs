//! What others may ask about the derived parts of a namespace.

use std::time::Duration;

use super::IndexStatus;
use crate::Namespace;

impl Namespace {
    /// How far the indexes and the embedding worker are. Asks for nothing.
    #[must_use]
    pub fn index_status(&self) -> IndexStatus {
        self.recall().status()
    }

    /// Asks for both indexes and waits for them, at most `within`; whether they answer searches now.
    pub async fn warm_up(&self, within: Duration) -> bool {
        self.recall().ready(within).await
    }

    /// Waits until every row that was there at the time of the call has its vectors, or the worker cannot go on.
    pub async fn embedding_idle(&self) {
        self.recall().embedded().await;
    }
}
