//! The thread that answers: one request after the other, each as prompt, then token by token.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reply::{Event, Finish, Usage};
use super::{LoadOptions, Prompt, Request};
use crate::chat::Chat;
use crate::context::plan_context;
use crate::error::GgufError;
use crate::facts::Facts;
use crate::file::GgufFile;
use crate::model::{BATCH, Backend, Broken, Model, Shape};
use crate::sampling::Sampler;
use crate::stops::Stops;
use crate::tokenizer::{TextStream, Tokenizer};

/// A request and where its answer goes.
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) cancel: CancellationToken,
    pub(super) events: mpsc::Sender<Result<Event, GgufError>>,
}

/// A loaded model.
pub(super) struct Loaded {
    tokenizer: Tokenizer,
    chat: Chat,
    runner: Runner,
}

impl Loaded {
    pub(super) fn new(path: &Path, options: &LoadOptions) -> Result<(Facts, u32, Self), GgufError> {
        let file = GgufFile::open(path)?;
        let shape = Shape::read(file.header())?;
        let facts = Facts::new(&file, &shape)?;
        let context = plan_context(&facts, options.context, options.memory)?;
        file.read_ahead();
        let model = Model::new(file, context as usize)?;
        let tokenizer = Tokenizer::read(&model.file, model.shape.vocabulary)?;
        let chat = Chat::new(options.chat_format.as_deref(), facts.chat_template.as_deref(), &tokenizer)?;
        let backend = Backend::start(&Arc::new(model), options.threads, context as usize)?;
        let runner = Runner { backend, known: Vec::new(), context: context as usize };
        Ok((facts, context, Self { tokenizer, chat, runner }))
    }

    /// Answers until nobody can ask any more, the engine is stopped or breaks.
    pub(super) fn work(&mut self, mut orders: mpsc::Receiver<Order>, stop: &CancellationToken) {
        while let Some(order) = orders.blocking_recv() {
            if stop.is_cancelled() {
                // Nobody may listen any more.
                let _ = order.events.try_send(Err(GgufError::Unloaded));
                continue;
            }
            let outcome = self.answer(&order, stop);
            let broken = matches!(outcome, Err(GgufError::Failed(_)));
            let _ = order.events.try_send(outcome);
            if broken {
                return;
            }
        }
    }

    /// Says everything but the last word.
    fn answer(&mut self, order: &Order, stop: &CancellationToken) -> Result<Event, GgufError> {
        let Order { request, cancel, events } = order;
        let prompt = match &request.prompt {
            Prompt::Chat(messages) => self.chat.prompt(messages, &self.tokenizer)?,
            Prompt::Text(text) => self.tokenizer.guard(text),
        };
        let prompt = self.tokenizer.encode(&prompt)?;
        let limit = self.runner.context;
        if prompt.is_empty() {
            return Err(GgufError::Template("the prompt is empty".into()));
        }
        if prompt.len() >= limit {
            let narrow = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
            return Err(GgufError::ContextTooLong { tokens: narrow(prompt.len()), limit: narrow(limit) });
        }
        let mut stops = request.stops.clone();
        if let Prompt::Chat(_) = request.prompt {
            stops.extend_from_slice(self.chat.stops());
        }
        let mut speech = Speech { text: self.tokenizer.stream(), stops: Stops::new(stops), is_over: false, events };
        let mut usage = Usage { prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX), ..Usage::default() };
        let ended = || stop.is_cancelled() || cancel.is_cancelled() || events.is_closed();
        let mut sampler = Sampler::new(request.sampling.clone());
        let reason =
            self.runner.run(&prompt, request, &self.tokenizer, &mut sampler, &mut speech, &mut usage, ended)?;
        if reason != Finish::Cancelled {
            speech.finish();
        }
        Ok(Event::Finish { reason, usage })
    }
}

/// The way of tokens to whoever reads the answer.
struct Speech<'a> {
    text: TextStream<'a>,
    stops: Stops,
    /// A stop sequence came.
    is_over: bool,
    events: &'a mpsc::Sender<Result<Event, GgufError>>,
}

impl Speech<'_> {
    /// Says a token. Whether a stop sequence came.
    fn token(&mut self, token: u32) -> bool {
        let piece = self.text.push(token);
        self.push(&piece);
        self.is_over
    }

    /// Says what was held back, unless a stop sequence came.
    fn finish(&mut self) {
        if !self.is_over {
            let rest = self.text.finish();
            self.push(&rest);
        }
        if !self.is_over {
            let rest = self.stops.finish();
            self.say(rest);
        }
    }

    fn push(&mut self, piece: &str) {
        let passed = self.stops.push(piece);
        self.is_over = passed.stopped;
        self.say(passed.text);
    }

    fn say(&self, text: String) {
        if !text.is_empty() {
            // There is room for a whole answer; a reader that has gone is noticed elsewhere.
            let _ = self.events.try_send(Ok(Event::Text(text)));
        }
    }
}

/// The model and what it has read.
struct Runner {
    backend: Backend,
    /// Tokens whose keys and values are in the cache.
    known: Vec<u32>,
    context: usize,
}

impl Runner {
    #[expect(clippy::too_many_arguments, reason = "an answer is all of it")]
    fn run(
        &mut self,
        prompt: &[u32],
        request: &Request,
        tokenizer: &Tokenizer,
        sampler: &mut Sampler,
        speech: &mut Speech<'_>,
        usage: &mut Usage,
        ended: impl Fn() -> bool,
    ) -> Result<Finish, GgufError> {
        // The last token is always run: what comes after it is not kept.
        let same = self.known.iter().zip(prompt).take_while(|(known, token)| known == token).count();
        self.known.truncate(self.backend.resumes_at(same.min(prompt.len() - 1)));
        usage.reused_tokens = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let most = request.max_tokens.unwrap_or(u32::MAX);
        if most == 0 {
            return Ok(Finish::Length);
        }
        while prompt.len() - self.known.len() > BATCH {
            if ended() {
                return Ok(Finish::Cancelled);
            }
            let begin = self.known.len();
            self.pass(&prompt[begin..begin + BATCH], false)?;
        }
        if ended() {
            return Ok(Finish::Cancelled);
        }
        let begin = self.known.len();
        self.pass(&prompt[begin..], true)?;
        loop {
            let logits = self.backend.logits();
            let Some(token) = sampler.choose(logits, &self.known, usage.completion_tokens as usize) else {
                return Err(GgufError::Failed("the model computes no numbers".into()));
            };
            if tokenizer.is_end(token) {
                return Ok(Finish::Stop);
            }
            usage.completion_tokens += 1;
            if speech.token(token) {
                return Ok(Finish::Stop);
            }
            if usage.completion_tokens >= most || self.known.len() + 1 >= self.context {
                return Ok(Finish::Length);
            }
            if ended() {
                return Ok(Finish::Cancelled);
            }
            self.pass(&[token], true)?;
        }
    }

    fn pass(&mut self, tokens: &[u32], wants_logits: bool) -> Result<(), GgufError> {
        let broken = |Broken| GgufError::Failed("a thread of the model panicked".into());
        self.backend.pass(tokens, self.known.len(), wants_logits).map_err(broken)?;
        self.known.extend_from_slice(tokens);
        Ok(())
    }
}
