//! The stream of a model's answer, as callers hold it.
//!
//! One item is everything that one read from the provider yielded, so that relaying costs one wake-up per read and not
//! one per token. Dropping the stream closes the provider's connection at once.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use greenroom_protocol::Usage;
use tokio_util::sync::CancellationToken;

use crate::error::ProviderError;
use crate::event::ProviderEvent;
use crate::provider::Lease;

/// What comes of one poll.
pub(crate) type Batch = Option<Result<Vec<ProviderEvent>, ProviderError>>;

/// Where batches come from. After an error or the finish only `None` follows.
pub(crate) trait BatchSource: Send {
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Batch>;

    /// Token counts so far.
    fn usage(&self) -> Usage;
}

/// An answer on its way. It ends after [`ProviderEvent::Finished`] or after one error.
pub struct ProviderStream {
    source: Box<dyn BatchSource>,
}

impl fmt::Debug for ProviderStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderStream").finish_non_exhaustive()
    }
}

impl ProviderStream {
    pub(crate) fn new(source: impl BatchSource + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// The next batch, never an empty one; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Vec<ProviderEvent>, ProviderError>> {
        std::future::poll_fn(|context| self.source.poll_batch(context)).await
    }

    /// Token counts so far, at any time: what the provider reported last, else an estimate from what was passed on. For
    /// answers that end without [`ProviderEvent::Usage`], because they broke off or were cancelled.
    #[must_use]
    pub fn usage_so_far(&self) -> Usage {
        self.source.usage()
    }

    /// [`Self::next`] for hand-written futures.
    pub fn poll_next_batch(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<ProviderEvent>, ProviderError>>> {
        self.source.poll_batch(context)
    }
}

impl Stream for ProviderStream {
    type Item = Result<Vec<ProviderEvent>, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.source.poll_batch(context)
    }
}

/// Batches that are known from the start.
pub(crate) struct Prepared {
    batches: VecDeque<Vec<ProviderEvent>>,
    cancel: CancellationToken,
    prompt_characters: usize,
    characters: usize,
    _lease: Lease,
}

impl Prepared {
    pub(crate) fn new(
        batches: VecDeque<Vec<ProviderEvent>>,
        prompt_characters: usize,
        cancel: CancellationToken,
        lease: Lease,
    ) -> Self {
        Self { batches, cancel, prompt_characters, characters: 0, _lease: lease }
    }
}

impl BatchSource for Prepared {
    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Batch> {
        if self.cancel.is_cancelled() && !self.batches.is_empty() {
            self.batches.clear();
            return Poll::Ready(Some(Err(ProviderError::Cancelled)));
        }
        let batch = self.batches.pop_front();
        for event in batch.iter().flatten() {
            if let ProviderEvent::Text(text) = event {
                self.characters += text.chars().count();
            }
        }
        Poll::Ready(batch.map(Ok))
    }

    fn usage(&self) -> Usage {
        Usage::estimate(self.prompt_characters, self.characters)
    }
}
