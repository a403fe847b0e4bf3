//! Looking at a turn again (design §3.5): live or finished, from any event on, by any number of viewers.

use bytes::Bytes;
use greenroom_protocol::frame::{DONE, FrameEncoder, FrameOptions};
use greenroom_protocol::{TurnEvent, TurnId, TurnStatus};
use greenroom_turn::TurnRef;
use serde_json::Value;

use super::answer::{self, Answer};
use super::call::Call;
use super::chat::{frame_options, name_turn};
use super::error::ApiError;
use super::sse::{Canned, TurnStream};

/// `GET /v1/turns/{turn_id}/stream`, behind `Last-Event-ID` or `last_event_id`.
pub async fn stream(call: Call) -> Answer {
    let cursor = cursor(&call)?;
    let mut fields = call.query().fields();
    let include_usage = fields.boolean("include_usage").some().unwrap_or(false);
    fields.finish()?;
    let id = TurnId::from_stored(call.param("turn_id"));
    let turn = call.house.turns.attach(&id).await?;
    require_speaker(&call, &turn)?;
    let options = FrameOptions { include_usage, ..frame_options(&call) };
    let mut response = match end_behind(&turn, cursor).await {
        Some(last_word) => answer::events(Canned(Some(last_word))),
        None => {
            let encoder = FrameEncoder::new(turn.header().clone(), options, cursor);
            let keep_alive = call.house.config().limits.keep_alive.get();
            answer::events(TurnStream::new(turn.view(cursor), encoder, keep_alive, ()))
        }
    };
    name_turn(&mut response, &turn);
    Ok(response)
}

fn cursor(call: &Call) -> Result<u64, ApiError> {
    let (place, name, text) = match call.header("last-event-id") {
        Some(text) => ("header", "last-event-id", text),
        None => ("query", "last_event_id", call.query().get("last_event_id").unwrap_or("0")),
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        ApiError::complaint("int_parsing", &[place, name], "Input should be the id of an event", Value::from(text))
    })
}

/// For a client that has seen everything of a finished turn but its end marker: just that.
async fn end_behind(turn: &TurnRef, cursor: u64) -> Option<Bytes> {
    if cursor == 0 || !turn.is_over() {
        return None;
    }
    let mut last = (0, TurnStatus::Ok);
    let mut viewer = turn.view(0);
    let note = |seq: u64, event: &TurnEvent| {
        last.0 = seq;
        if let TurnEvent::Complete(complete) = event {
            last.1 = complete.status;
        }
    };
    viewer.next(note).await?;
    (cursor >= last.0).then(|| if last.1 == TurnStatus::Error { Bytes::new() } else { Bytes::from_static(DONE) })
}

fn require_speaker(call: &Call, turn: &TurnRef) -> Result<(), ApiError> {
    if call.caller.speaks_for(turn.user()) { Ok(()) } else { Err(ApiError::not_found("Turn not found")) }
}

/// A key that speaks for one user reaches only that user's turns; of others it does not even learn that they exist.
pub(super) async fn require_owner(call: &Call, id: &TurnId) -> Result<(), ApiError> {
    if call.caller.is_admin() || call.caller.user.is_none() {
        return Ok(());
    }
    let turn = call.house.turns.attach(id).await?;
    require_speaker(call, &turn)
}
