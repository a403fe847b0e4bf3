//! The chat surface (http-api §3, §4): one turn, streamed or collected. The answer's head leaves within a tenth of a
//! second even while a bot's queue is waited for; from then on a failure is told in the stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use greenroom_bot::{BotsError, Ingress, SystemMessages};
use greenroom_protocol::chat::{BadRequest, ChatRequest};
use greenroom_protocol::completion::Completion;
use greenroom_protocol::fields::Fields;
use greenroom_protocol::frame::{FrameEncoder, FrameOptions, KEEP_ALIVE};
use greenroom_protocol::{BotSlug, ErrorBody, ErrorClass, TurnId, UserId};
use greenroom_turn::{Abort, TurnRef};
use http::header::HeaderName;
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};

use super::admission::Watching;
use super::answer::{self, Answer, DoorBody};
use super::call::Call;
use super::error::ApiError;
use super::sse::{Canned, EventStream, TurnStream};
use super::turns::require_owner;
use super::whose::narrowed;

pub(super) const X_TURN_ID: HeaderName = HeaderName::from_static("x-turn-id");
/// How long the head of a stream waits for the turn to begin.
const HEAD_PATIENCE: Duration = Duration::from_millis(80);

/// `POST /v1/chat/completions`.
pub async fn completions(mut call: Call) -> Answer {
    let body = call.json().await?;
    let request = read(&body)?;
    answer(call, request, SystemMessages::Ignore).await
}

/// `POST /v1/botchat/{bot_id}/{user_id}/chat/completions`: bot and user come from the path.
pub async fn botchat(mut call: Call) -> Answer {
    let mut body = call.json().await?;
    forget(&mut body, &["bot_id", "user"]);
    let mut request = read(&body)?;
    request.bot = Some(bot_of_path(&call)?);
    let user =
        UserId::parse(call.param("user_id")).map_err(|bad| path_complaint("user_id", &bad.to_string(), &call))?;
    request.user = Some(user);
    answer(call, request, SystemMessages::AsClientContext).await
}

/// `POST /v1/bots/{bot_id}/chat`: the bot comes from the path.
pub async fn bot_alias(mut call: Call) -> Answer {
    let mut body = call.json().await?;
    forget(&mut body, &["bot_id"]);
    let mut request = read(&body)?;
    request.bot = Some(bot_of_path(&call)?);
    answer(call, request, SystemMessages::AsClientContext).await
}

/// `POST /v1/chat/abort`.
pub async fn abort(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let id = TurnId::from_stored(fields.required_text("turn_id", 256).trim());
    fields.finish()?;
    let turns = &call.house.turns;
    require_owner(&call, &id).await?;
    let detail = match turns.abort(&id).await? {
        Abort::Aborted => "aborted",
        Abort::AlreadyCompleted => "already_completed",
    };
    answer::json(&json!({
        "ok": true, "detail": detail, "turn_id": id, "backend_aborted": false, "backend_detail": null,
    }))
}

/// `POST /v1/chat/session/reset`: the conversation is over, the next message begins another. An agent would have to forget
/// its own thread too, and no agent backend is connected in this version.
pub async fn session_reset(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let slug = fields.required_text("bot_id", 128);
    let user = narrowed(&call, &mut fields, "user")?;
    fields.finish()?;
    let directory = call.house.bots.directory();
    let bot = BotSlug::parse(&slug).ok().and_then(|slug| directory.get(&slug).cloned());
    let bot = bot.ok_or_else(|| ApiError::not_found(format!("Bot '{slug}' not found")))?;
    let user = call.house.bots.user_or_default(user.as_ref());
    let session = call.house.memory.sessions().reset(bot.slug(), &user).await?;
    if bot.character().agent_backend.is_some() {
        return Err(ApiError::said(ErrorClass::Unavailable, "Redis subscriber not available"));
    }
    answer::json(
        &json!({"ok": true, "bot_id": bot.slug(), "session_key": null, "session_id": session, "detail": "reset"}),
    )
}

fn read(body: &Value) -> Result<ChatRequest, ApiError> {
    ChatRequest::parse(body).map_err(|bad| match bad {
        BadRequest::Invalid(complaints) => ApiError::Invalid(complaints),
        BadRequest::Refused(message) => ApiError::said(ErrorClass::InvalidRequest, message),
    })
}

/// Members that the path overrides are not even checked.
fn forget(body: &mut Value, names: &[&str]) {
    if let Some(map) = body.as_object_mut() {
        for name in names {
            map.remove(*name);
        }
    }
}

fn bot_of_path(call: &Call) -> Result<BotSlug, ApiError> {
    BotSlug::parse(call.param("bot_id")).map_err(|bad| path_complaint("bot_id", &bad.to_string(), call))
}

pub(super) fn path_complaint(name: &str, message: &str, call: &Call) -> ApiError {
    ApiError::complaint("value_error", &["path", name], message, call.param(name).into())
}

async fn answer(call: Call, mut request: ChatRequest, system_messages: SystemMessages) -> Answer {
    let house = call.house.clone();
    if house.is_draining() {
        return Err(ApiError::Draining { retry_after: house.admission.retry_after() });
    }
    if let Some(own) = &call.caller.user {
        if request.user.as_ref().is_some_and(|user| user != own) {
            return Err(ApiError::NotAllowed(format!("This key speaks for user '{own}' only")));
        }
        request.user = Some(own.clone());
    }
    let user = house.bots.user_or_default(request.user.as_ref());
    let (permit, seat) = house.admission.enter(&user)?;
    let (stream, model) = (request.stream, request.model.clone());
    let options = FrameOptions { include_usage: request.include_usage, ..frame_options(&call) };
    let ingress = Ingress {
        request,
        path: call.route.path.to_owned(),
        request_id: call.request_id.clone(),
        system_messages,
        cancel_on_disconnect: call.header_is_on("x-cancel-on-disconnect"),
        permit: Some(permit),
    };
    let keep_alive = house.config().limits.keep_alive.get();
    let begin = {
        let house = house.clone();
        async move {
            let turn = house.bots.begin(ingress).await?;
            let watching = house.admission.watch(seat, turn.clone());
            Ok::<_, BotsError>((turn, watching))
        }
    };
    if !stream {
        let (turn, _watching) = begin.await?;
        return collect(&turn).await;
    }
    let mut begin: Beginning = Box::pin(begin);
    match tokio::time::timeout(HEAD_PATIENCE, &mut begin).await {
        Ok(Ok((turn, watching))) => Ok(stream_of(&turn, options, keep_alive, watching)),
        // The one refusal that existing frontends expect inside the stream.
        Ok(Err(BotsError::NoPrompt)) => {
            let frames = failure_frames(&BotsError::NoPrompt.into(), model.as_deref().unwrap_or_default());
            Ok(answer::events(Canned(Some(frames))))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(answer::events(SlowStart {
            stage: Stage::Beginning(begin),
            options,
            keep_alive,
            ticks: ticks(keep_alive),
            model: model.unwrap_or_default(),
        })),
    }
}

type Beginning = Pin<Box<dyn Future<Output = Result<(TurnRef, Watching), BotsError>> + Send>>;

/// What the request's headers say about frames.
pub(super) fn frame_options(call: &Call) -> FrameOptions {
    let off = call.header("x-service-events").is_some_and(|value| value.trim().eq_ignore_ascii_case("off"));
    FrameOptions { service_events: !off, tool_deltas: call.header_is_on("x-tool-deltas"), ..FrameOptions::default() }
}

fn turn_stream(
    turn: &TurnRef,
    options: FrameOptions,
    keep_alive: Duration,
    watching: Watching,
) -> TurnStream<greenroom_turn::Viewer, Watching> {
    let encoder = FrameEncoder::new(turn.header().clone(), options, 0);
    TurnStream::new(turn.view(0), encoder, keep_alive, watching)
}

fn stream_of(turn: &TurnRef, options: FrameOptions, keep_alive: Duration, watching: Watching) -> Response<DoorBody> {
    let mut response = answer::events(turn_stream(turn, options, keep_alive, watching));
    name_turn(&mut response, turn);
    response
}

pub(super) fn name_turn(response: &mut Response<DoorBody>, turn: &TurnRef) {
    if let Ok(id) = HeaderValue::from_str(turn.id().as_str()) {
        response.headers_mut().insert(X_TURN_ID, id);
    }
}

/// The same turn, collected. A broken one answers with the status of its class.
async fn collect(turn: &TurnRef) -> Answer {
    let (mut completion, mut viewer) = (Completion::default(), turn.view(0));
    while viewer.next(|_, event| completion.add(event)).await.is_some() {}
    let mut response = match completion.into_json(turn.header()) {
        Ok(body) => answer::json(&body)?,
        Err(error) => return Err(broken(error)),
    };
    name_turn(&mut response, turn);
    Ok(response)
}

fn broken(error: ErrorBody) -> ApiError {
    let class = error.code.as_deref().and_then(ErrorClass::from_code).unwrap_or(ErrorClass::Internal);
    ApiError::said(class, error.message)
}

/// A stream whose head is out while its turn has not begun.
struct SlowStart {
    stage: Stage,
    options: FrameOptions,
    keep_alive: Duration,
    ticks: Interval,
    model: String,
}

enum Stage {
    Beginning(Beginning),
    Running(Box<TurnStream<greenroom_turn::Viewer, Watching>>),
    Over,
}

/// The first tick comes at once: a proxy in front sees a byte.
fn ticks(keep_alive: Duration) -> Interval {
    let mut ticks = tokio::time::interval(keep_alive);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl EventStream for SlowStart {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.stage {
                Stage::Running(stream) => return stream.poll_chunk(cx),
                Stage::Over => return Poll::Ready(None),
                Stage::Beginning(begin) => match begin.as_mut().poll(cx) {
                    Poll::Pending => {
                        return self.ticks.poll_tick(cx).map(|_| Some(Bytes::from_static(KEEP_ALIVE)));
                    }
                    Poll::Ready(Ok((turn, watching))) => {
                        let stream = turn_stream(&turn, self.options, self.keep_alive, watching);
                        self.stage = Stage::Running(Box::new(stream));
                    }
                    Poll::Ready(Err(error)) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(Some(failure_frames(&error.into(), &self.model)));
                    }
                },
            }
        }
    }
}

/// The end of a stream whose turn never began: a warning, then a chunk that makes every client raise, and no `[DONE]`.
fn failure_frames(error: &ApiError, model: &str) -> Bytes {
    let message = error.message();
    let warning = json!({
        "object": "service.warning", "type": "warning", "model": model,
        "warnings": [format!("request_failed: {message}")], "code": error.code(),
        "choices": [{"index": 0, "delta": {}, "finish_reason": null}],
    });
    let chunk = json!({
        "id": greenroom_protocol::ids::completion_id(), "object": "chat.completion.chunk",
        "created": jiff::Timestamp::now().as_second(), "model": model,
        "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}],
        "error": error.openai_body(),
    });
    format!("data: {warning}\n\ndata: {chunk}\n\n").into()
}
