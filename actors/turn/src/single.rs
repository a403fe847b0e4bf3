//! One call to a model outside any conversation: no bot, no past, no memory, no tools. It leaves a row in the turn logs like
//! a turn, with a blank bot: opened before the call, closed behind it, whatever ends it. Nobody looks at it again later, so
//! a caller who leaves ends the call.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use greenroom_dialect::LeakFilter;
use greenroom_kit::lock;
use greenroom_protocol::event::TurnMetadata;
use greenroom_protocol::{
    BotSlug, FinishReason, Message, RequestId, Role, Sampling, TurnEvent, TurnHeader, TurnId, Usage, UserId,
};
use greenroom_provider::{CompletionRequest, Engine, ProviderError, ProviderEvent};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, EndWish, TurnEnd, verdict};
use crate::ending::closing;
use crate::error::TurnError;
use crate::journal::{JournalOp, Open};
use crate::log::{Stored, TurnLog};
use crate::pass::{LONGEST_ANSWER, failure};
use crate::pipeline::epoch;
use crate::turn::TurnRef;
use crate::turns::{Turns, TurnsShared};

/// What is asked of a model, once.
#[derive(Debug)]
pub struct SingleCall {
    /// The request it came by.
    pub request_id: RequestId,
    /// The route template it came by.
    pub path: String,
    /// Who asks.
    pub user: UserId,
    /// The model.
    pub engine: Engine,
    /// The system message, if there is one.
    pub system: Option<String>,
    /// The user message.
    pub prompt: String,
    /// Generation parameters; the model's own limit bounds the output.
    pub sampling: Sampling,
    /// The admission permit, held until the end is stored.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleAnswer {
    /// Id of the row in the turn logs.
    pub turn: TurnId,
    /// The text.
    pub text: String,
    /// Why it ended there.
    pub finish: FinishReason,
    /// Tokens, reported or estimated.
    pub usage: Usage,
    /// From asking to the end of the answer.
    pub elapsed: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SingleError {
    /// It could not begin, or its end could not be stored.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The model failed.
    #[error(transparent)]
    Provider(ProviderError),
    /// Somebody aborted it, or the service shuts down.
    #[error("the call was stopped")]
    Stopped,
}

/// Ends a call that is not an actor.
#[derive(Default)]
pub(crate) struct Stop {
    wish: OnceLock<EndWish>,
    cancel: CancellationToken,
}

impl Stop {
    pub(crate) fn end(&self, wish: EndWish) {
        let _ = self.wish.set(wish);
        self.cancel.cancel();
    }
}

impl Turns {
    /// Asks a model once and waits for the whole answer and for its row. Dropping the future aborts the call.
    ///
    /// # Errors
    /// [`SingleError`].
    pub async fn ask_once(&self, call: SingleCall) -> Result<SingleAnswer, SingleError> {
        self.admits()?;
        let SingleCall { request_id, path, user, engine, system, prompt, mut sampling, permit } = call;
        let most = sampling.max_tokens.unwrap_or(u32::MAX).min(engine.max_output_tokens());
        sampling.max_tokens = Some(most.max(1));
        sampling.stop.extend(engine.adapter().stops().iter().map(|stop| (*stop).to_owned()));
        let prompt = readable(prompt);
        let system = system.filter(|text| !text.trim().is_empty()).map(readable);
        let messages = system.map(|text| Message::text(Role::System, text)).into_iter();
        let messages: Vec<Message> = messages.chain([Message::text(Role::User, prompt.clone())]).collect();

        let mut running = Running::begin(self.shared(), &engine, user, permit, |log, started_at| {
            let shown = json!({"model": engine.alias(), "messages": messages, "parameters": sampling});
            log.push_op(JournalOp::Open(Arc::new(Open {
                created_at: started_at,
                request_id: request_id.to_string(),
                path: path.clone(),
                stream: false,
                user_prompt: prompt,
            })));
            log.push_op(JournalOp::Snapshot(shown.to_string().into()));
            log.append([TurnEvent::Metadata(Box::new(TurnMetadata {
                request_id: request_id.to_string(),
                path,
                agent_backend: None,
                tts_mode: false,
                augment_memory: false,
                context_window: Some(engine.context_window()),
                upstream_model: None,
                started_at: epoch(started_at),
                ts: epoch(started_at),
            }))]);
        });
        let trace_id = running.log.header().turn_id.to_string();
        let request = CompletionRequest { messages, sampling, trace_id, ..CompletionRequest::default() };
        let heard = running.hear(request).await;
        let end = match &heard {
            Ok(finish) => TurnEnd::Done(*finish),
            Err(ProviderError::Cancelled) => {
                TurnEnd::Stopped(running.stop.wish.get().copied().unwrap_or(EndWish::Shutdown))
            }
            Err(error) => TurnEnd::Failed(failure(error)),
        };
        running.seal(&end);
        match tokio::time::timeout(self.shared().settings.store_deadline, running.log.stored()).await {
            Ok(Stored::As(_)) => {}
            Ok(Stored::Refused) | Err(_) => return Err(TurnError::Storage.into()),
        }
        let finish = heard.map_err(|error| match error {
            ProviderError::Cancelled => SingleError::Stopped,
            error => SingleError::Provider(error),
        })?;
        Ok(SingleAnswer {
            turn: running.log.header().turn_id.clone(),
            finish,
            usage: running.answer.usage(),
            elapsed: running.answer.latency(),
            text: std::mem::take(&mut running.answer.text),
        })
    }
}

/// PostgreSQL's text has no NUL.
fn readable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// A call under way. Dropped before it was sealed, it ends as aborted: its caller left.
struct Running {
    room: Arc<TurnsShared>,
    log: Arc<TurnLog>,
    engine: Engine,
    answer: Answer,
    stop: Arc<Stop>,
}

impl Running {
    fn begin(
        room: &Arc<TurnsShared>,
        engine: &Engine,
        user: UserId,
        permit: Option<OwnedSemaphorePermit>,
        record: impl FnOnce(&TurnLog, Timestamp),
    ) -> Self {
        let started_at = Timestamp::now();
        let header = Arc::new(TurnHeader {
            turn_id: TurnId::random(),
            completion_id: greenroom_protocol::ids::completion_id(),
            created: started_at.as_second(),
            model: engine.alias().to_owned(),
            bot_id: BotSlug::from_stored(""),
            user_id: user,
            trigger_message_id: None,
        });
        let log = TurnLog::new(header, permit);
        record(&log, started_at);
        let stop = Arc::new(Stop::default());
        let turn = TurnRef::single(log.clone(), stop.clone());
        lock(&room.live).insert(turn.id().clone(), (turn, false));
        room.queue.note(&log);
        Self { room: room.clone(), log, engine: engine.clone(), answer: Answer::default(), stop }
    }

    async fn hear(&mut self, request: CompletionRequest) -> Result<FinishReason, ProviderError> {
        let chars = request.messages.iter().map(|message| message.content.chars().count()).sum();
        self.answer.begin_pass(&self.engine, || chars);
        let mut stream = self.engine.stream(request, self.stop.cancel.clone()).await?;
        let (mut finish, mut broken) = (FinishReason::Stop, None);
        while let Some(batch) = stream.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            for event in batch {
                match event {
                    ProviderEvent::Text(piece) => {
                        self.answer.first_piece_at.get_or_insert_with(Instant::now);
                        self.answer.text.push_str(&piece);
                    }
                    ProviderEvent::Metadata { upstream_model } => self.answer.upstream_model = Some(upstream_model),
                    ProviderEvent::Finished(reason) => finish = reason,
                    ProviderEvent::Reasoning(_) | ProviderEvent::ToolCalls(_) | ProviderEvent::Usage(_) => {}
                }
            }
            if self.answer.text.len() > LONGEST_ANSWER {
                finish = FinishReason::Length;
                break;
            }
        }
        self.answer.ended_at = Some(Instant::now());
        self.answer.spend(&self.engine, stream.usage_so_far());
        broken.map_or(Ok(finish), Err)
    }

    /// The end: only the first counts.
    fn seal(&mut self, end: &TurnEnd) {
        let said = LeakFilter::whole(&readable(std::mem::take(&mut self.answer.text)));
        self.answer.text = self.engine.adapter().clean(&said).into_owned();
        let verdict = verdict(end, &self.answer);
        let answer = &self.answer;
        let sealed = self.log.seal(|_| {
            let text = answer.text.clone();
            let said = (!text.is_empty()).then(|| TurnEvent::Text(text.as_str().into()));
            let (tail, close) = closing(&verdict, answer, &self.engine, Vec::new(), text, None);
            (said.into_iter().chain(tail).collect(), vec![JournalOp::Close(Arc::new(close))])
        });
        if !sealed {
            return;
        }
        self.room.queue.note_urgent(&self.log);
        metrics::counter!("greenroom_turns_total", "status" => verdict.status.as_str()).increment(1);
        let (room, log) = (self.room.clone(), self.log.clone());
        self.room.tracker.spawn(async move {
            log.stored().await;
            log.announce_end();
            lock(&room.live).remove(&log.header().turn_id);
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.log.is_sealed() {
            self.seal(&TurnEnd::Stopped(EndWish::Disconnect));
        }
    }
}
