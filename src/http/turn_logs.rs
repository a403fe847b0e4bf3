//! Turn logs and tool calls (http-api §7): what happened, for operators and for frontends that come back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::TurnId;
use greenroom_protocol::fields::{Field, Fields};
use greenroom_protocol::status::TurnStatus;
use greenroom_protocol::time::wire_time;
use greenroom_turn::{ToolCallFilter, TurnDetail, TurnFilter};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::{self, Answer, DoorBody};
use super::call::Call;
use super::error::ApiError;

const AWAY: &str = "Turn logs DB unavailable";
/// How often a waiting reader looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The last instant of the year 9999, in Unix seconds.
const LATEST: f64 = 253_402_300_799.0;

/// A moment, as Unix seconds or as RFC 3339.
fn moment(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    let text = fields.text(name).some()?;
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.0..=LATEST).contains(seconds));
    let parsed = match seconds {
        Some(seconds) => Timestamp::from_duration(SignedDuration::from_secs_f64(seconds)).ok(),
        None => text.trim().parse().ok().filter(|moment: &Timestamp| *moment >= Timestamp::UNIX_EPOCH),
    };
    if parsed.is_none() {
        fields.complain("datetime_parsing", name, "Input should be Unix seconds or an RFC 3339 time");
    }
    parsed
}

fn since(hours: i64) -> Option<Timestamp> {
    Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).ok()
}

/// A cursor is the place of a page's last row.
fn cursor_text(at: Timestamp, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}|{id}", at.as_microsecond()))
}

fn read_cursor(fields: &mut Fields<'_>) -> Option<(Timestamp, String)> {
    let text = fields.text("cursor").some()?;
    let parsed = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| {
        let place = String::from_utf8(bytes).ok()?;
        let (at, id) = place.split_once('|')?;
        let at = Timestamp::from_microsecond(at.parse().ok()?).ok()?;
        (at >= Timestamp::UNIX_EPOCH && !id.contains('\0')).then(|| (at, id.to_owned()))
    });
    if parsed.is_none() {
        fields.complain("value_error", "cursor", "Input should be a cursor of an earlier page");
    }
    parsed
}

/// `GET /v1/turn-logs`.
pub async fn list(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let since_hours = fields.integer("since_hours", 1, 168).some().unwrap_or(168);
    let (after, before) = (moment(&mut fields, "after"), moment(&mut fields, "before"));
    let text = |fields: &mut Fields<'_>, name| fields.text(name).some();
    let filter = TurnFilter {
        bot_id: text(&mut fields, "bot_id"),
        user_id: text(&mut fields, "user_id"),
        model: text(&mut fields, "model"),
        request_id: text(&mut fields, "request_id"),
        status: text(&mut fields, "status"),
        stream: fields.boolean("stream").some(),
        has_tools: fields.boolean("has_tools").some(),
        after: after.or_else(|| since(since_hours).filter(|_| before.is_none())),
        before,
        cursor: read_cursor(&mut fields),
        limit: fields.integer("limit", 1, 200).some().unwrap_or(100),
        offset: fields.integer("offset", 0, 1_000_000).some().unwrap_or(0),
        preview_chars: preview_chars(&mut fields),
    };
    fields.finish()?;
    let page = call.house.turns.logs().list(&filter).await.map_err(|error| ApiError::from(error).away(AWAY))?;
    let full = i64::try_from(page.turns.len()).is_ok_and(|count| count == filter.limit);
    let next_cursor = page.turns.last().filter(|_| full).map(|last| cursor_text(last.created_at, &last.id));
    answer::json(&json!({
        "turns": page.turns,
        "total_count": page.total_count,
        "next_cursor": next_cursor,
        "filters": {
            "bot_id": filter.bot_id, "user_id": filter.user_id, "model": filter.model,
            "request_id": filter.request_id, "status": filter.status, "stream": filter.stream,
            "has_tools": filter.has_tools, "since_hours": since_hours, "limit": filter.limit,
            "offset": filter.offset, "after": after.map(wire_time), "before": before.map(wire_time),
            "preview_chars": filter.preview_chars,
        },
    }))
}

fn preview_chars(fields: &mut Fields<'_>) -> i32 {
    match fields.integer("preview_chars", 0, 100_000) {
        Field::Value(number) => i32::try_from(number).unwrap_or(300),
        Field::Absent | Field::Null => 300,
    }
}

/// `GET /v1/turn-logs/{turn_id}`. With `wait_s` and `If-None-Match` the answer waits for a change.
pub async fn get(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let wait = fields.number("wait_s", 0.0, 30.0).some().unwrap_or(0.0);
    fields.finish()?;
    let id = TurnId::from_stored(call.param("turn_id"));
    let known = call.headers.get(IF_NONE_MATCH).cloned();
    let deadline = Instant::now() + Duration::from_secs_f64(wait);
    let mut first_seen = None;
    loop {
        let found = call.house.turns.logs().get(&id).await;
        let turn = found.map_err(|error| ApiError::from(error).said_not_found("Turn log not found").away(AWAY))?;
        let (response, tag) = detail(&turn)?;
        let seen = known.clone().or_else(|| first_seen.clone());
        let changed = seen.as_ref().is_some_and(|seen| *seen != tag) || (seen.is_none() && wait == 0.0);
        let over = TurnStatus::parse(&turn.status).is_none_or(TurnStatus::is_terminal);
        if changed || over || Instant::now() >= deadline {
            return Ok(if known.as_ref() == Some(&tag) { not_modified(tag) } else { response });
        }
        first_seen.get_or_insert(tag);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn detail(turn: &TurnDetail) -> Result<(Response<DoorBody>, HeaderValue), ApiError> {
    let body = json!(turn);
    let digest = Sha256::digest(body.to_string());
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]));
    let tag = HeaderValue::from_str(&tag).map_err(|error| ApiError::Internal(error.to_string()))?;
    let mut response = answer::json(&body)?;
    response.headers_mut().insert(ETAG, tag.clone());
    Ok((response, tag))
}

fn not_modified(tag: HeaderValue) -> Response<DoorBody> {
    let mut response = answer::empty(StatusCode::NOT_MODIFIED);
    response.headers_mut().insert(ETAG, tag);
    response
}

/// `GET /v1/tool-calls`.
pub async fn tool_calls(call: Call) -> Answer {
    let query = call.query();
    let mut fields = query.fields();
    let since_hours = fields.integer("since_hours", 1, 168).some().unwrap_or(168);
    let (after, before) = (moment(&mut fields, "after"), moment(&mut fields, "before"));
    let mut message_ids: Vec<String> = query
        .all("message_ids")
        .flat_map(|list| list.split(','))
        .chain(query.all("message_id"))
        .map(|id| id.trim().to_owned())
        .filter(|id| !id.is_empty())
        .collect();
    message_ids.dedup();
    if message_ids.len() > 1000 {
        fields.complain("too_long", "message_ids", "At most 1000 ids are allowed");
    }
    let filter = ToolCallFilter {
        bot_id: fields.text("bot_id").some(),
        user_id: fields.text("user_id").some(),
        message_ids,
        after: if after.is_some() || before.is_some() { after } else { since(since_hours) },
        before,
        limit: fields.integer("limit", 1, 1000).some().unwrap_or(200),
    };
    fields.finish()?;
    let found = call.house.turns.logs().tool_calls(&filter).await;
    let found = found.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({
        "total_count": found.len(),
        "events": found,
        "filters": {
            "bot_id": filter.bot_id, "user_id": filter.user_id, "after": after.map(wire_time),
            "before": before.map(wire_time), "limit": filter.limit,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::call::Query;

    fn read<T>(query: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<Option<T>, usize> {
        let query = Query::parse(query);
        let mut fields = query.fields();
        let value = read(&mut fields);
        fields.finish().map_err(|complaints| complaints.len())?;
        Ok(value)
    }

    #[test]
    fn moments_are_seconds_or_times_and_stay_within_the_calendar() {
        let at = |text: &str| read(&format!("after={text}"), |fields| moment(fields, "after"));
        assert_eq!(at("1.5").map(|at| at.map(Timestamp::as_microsecond)), Ok(Some(1_500_000)));
        assert_eq!(at("1970-01-01T00:00:02Z").map(|at| at.map(Timestamp::as_second)), Ok(Some(2)));
        for bad in ["", "-1", "1e300", "nan", "inf", "yesterday", "-000001-01-01T00:00:00Z"] {
            assert_eq!(at(bad), Err(1), "{bad}");
        }
    }

    #[test]
    fn cursors_round_trip_and_forged_ones_are_refused() {
        let at = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        let cursor = |text: &str| read(&format!("cursor={text}"), read_cursor);
        assert_eq!(cursor(&cursor_text(at, "turn-1")), Ok(Some((at, "turn-1".into()))));
        for bad in ["x", "", &URL_SAFE_NO_PAD.encode("no place"), &URL_SAFE_NO_PAD.encode("-1|a")] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
