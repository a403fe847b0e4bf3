//! A loaded model that answers requests, one after the other, on threads of its own.

mod reply;
mod worker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::chat::ChatMessage;
use crate::error::GgufError;
use crate::facts::Facts;
use crate::sampling::Sampling;

pub use reply::{Event, Finish, Reply, Usage};

use worker::{Loaded, Order};

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Tokens of context that are wished for.
    pub context: Option<u32>,
    /// Bytes of memory that weights, context and buffers may take; without it, nobody asks.
    pub memory: Option<u64>,
    /// The name of a chat format that goes before the file's own template.
    pub chat_format: Option<String>,
    /// Requests that may wait.
    pub queue: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { threads: 2, context: None, memory: None, chat_format: None, queue: 32 }
    }
}

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What it goes by.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The answer ends before any of these; those of the chat format are added.
    pub stops: Vec<String>,
    /// Tokens that the answer may have; without it, what the context holds.
    pub max_tokens: Option<u32>,
}

/// What an answer goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A conversation, written down by the model's template.
    Chat(Vec<ChatMessage>),
    /// A text that is to be continued. What reads like a special token in it is words.
    Text(String),
}

/// A handle of a loaded model. The model goes when the last handle is dropped, or by [`Engine::unload`].
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Gone once the engine is unloaded.
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    facts: Facts,
    context: u32,
    /// Ends whatever runs.
    stop: CancellationToken,
    /// Cancelled when the worker and all that it held are gone.
    gone: CancellationToken,
}

impl Engine {
    /// Loads a model on a thread of its own. A caller that does not wait for the end loads nothing.
    ///
    /// # Errors
    ///
    /// When the file is missing, damaged, not supported, or too big for the memory that it may take.
    pub async fn load(path: PathBuf, options: LoadOptions) -> Result<Self, GgufError> {
        let (sender, orders) = mpsc::channel(options.queue.max(1));
        let (tell, told) = oneshot::channel();
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let (worker_stop, guard) = (stop.clone(), gone.clone().drop_guard());
        let thread = std::thread::Builder::new().name("gguf-0".into());
        let spawned = thread.spawn(move || {
            // Dropped last, when everything else of this thread is gone.
            let _guard = guard;
            match Loaded::new(&path, &options) {
                Ok((facts, context, mut loaded)) => {
                    if tell.send(Ok((facts, context))).is_ok() {
                        loaded.work(orders, &worker_stop);
                    }
                }
                Err(error) => {
                    // Nobody waits: nothing to do.
                    let _ = tell.send(Err(error));
                }
            }
        });
        spawned.map_err(|error| GgufError::Failed(error.to_string()))?;
        let lost = |_| GgufError::Failed("the loading thread panicked".into());
        let (facts, context) = told.await.map_err(lost)??;
        Ok(Self { shared: Arc::new(Shared { orders: Mutex::new(Some(sender)), facts, context, stop, gone }) })
    }

    /// What the file says.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.shared.facts
    }

    /// Tokens of context that there really are.
    #[must_use]
    pub fn context(&self) -> u32 {
        self.shared.context
    }

    /// Asks for an answer. It comes by the reply, as does whatever goes wrong later; cancelling ends it between two
    /// tokens or two batches of the prompt.
    ///
    /// # Errors
    ///
    /// [`GgufError::Busy`] when as many requests are waiting as may, [`GgufError::Unloaded`] when the model has gone.
    pub fn generate(&self, request: Request, cancel: CancellationToken) -> Result<Reply, GgufError> {
        // A whole answer fits, so that a slow reader never holds the engine.
        let most = request.max_tokens.unwrap_or(u32::MAX).min(self.shared.context);
        let (events, reply) = mpsc::channel(most as usize + 4);
        let orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = orders.as_ref().ok_or(GgufError::Unloaded)?;
        orders.try_send(Order { request, cancel, events }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => GgufError::Busy,
            mpsc::error::TrySendError::Closed(_) => GgufError::Unloaded,
        })?;
        Ok(Reply::new(reply))
    }

    /// Ends what runs as cancelled, and what waits with [`GgufError::Unloaded`]. Returns when the threads have ended and
    /// the cache and the mapping are given back.
    pub async fn unload(&self) {
        self.shared.stop.cancel();
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.gone.cancelled().await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
