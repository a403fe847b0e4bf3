//! What is told and kept of each call that this service makes: an event before it and one behind it, a row in the
//! conversation, and an entry in the turn's final list.
//!
//! A call that nobody ended (the turn was aborted, its actor died, the process did) is ended here, in the transaction that
//! stores the turn's end: every call that was announced has a result. Nothing here holds a secret: arguments and results
//! are redacted before they leave the turn.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_memory::{MessageStatus, NewMessage};
use greenroom_protocol::event::{ToolCallEnded, ToolCallStarted};
use greenroom_protocol::{Role, ToolCall, TurnEvent, TurnHeader};
use greenroom_tools::{Effects, Prepared, ToolOutcome, redacted};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::pipeline::{epoch, milliseconds};

/// Characters of a result in events and in the turn's list.
const PREVIEW: usize = 2_000;
/// Characters of a result in the conversation.
const KEPT: usize = 16_000;
/// Stands in the conversation for a result without a word; a message is never blank.
const NOTHING: &str = "(no output)";

/// The event before a call. `index` is its place in the batch, `iteration` the pass, from 1.
pub(crate) fn started(call: &Prepared, index: usize, iteration: u32) -> ToolCallStarted {
    ToolCallStarted {
        call_id: call.call_id.clone(),
        name: call.name.clone(),
        arguments: redacted(&call.arguments),
        index: u32::try_from(index).unwrap_or(u32::MAX),
        iteration,
        provider: None,
        effects: Some(call.effects.as_str().to_owned()),
        ts: epoch(Timestamp::now()),
    }
}

/// The event behind a call.
pub(crate) fn ended(call: &ToolCallStarted, outcome: &ToolOutcome) -> ToolCallEnded {
    let (result, result_truncated) = outcome.preview(PREVIEW);
    ToolCallEnded {
        call_id: call.call_id.clone(),
        name: call.name.clone(),
        result,
        result_truncated,
        ok: outcome.ok(),
        duration_ms: milliseconds(outcome.elapsed),
        iteration: call.iteration,
        provider: None,
        ts: epoch(Timestamp::now()),
    }
}

/// The conversation's row of a call, tied to its turn. Written twice it is written once.
pub(crate) fn row(
    header: &TurnHeader,
    session_gap: Duration,
    call: &ToolCallStarted,
    outcome: &ToolOutcome,
) -> NewMessage {
    bare_row(header, session_gap, call, outcome.preview(KEPT).0, outcome.ok())
}

fn bare_row(
    header: &TurnHeader,
    session_gap: Duration,
    call: &ToolCallStarted,
    result: String,
    ok: bool,
) -> NewMessage {
    let name = format!("{}\u{0}call\u{0}{}", header.turn_id, call.call_id);
    NewMessage {
        bot: header.bot_id.clone(),
        id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()),
        role: Role::Tool,
        content: if result.trim().is_empty() { NOTHING.to_owned() } else { result },
        ts: Timestamp::now(),
        user: header.user_id.clone(),
        turn: header.turn_id.clone(),
        status: MessageStatus::Complete,
        metadata: Some(json!({
            "tool": call.name, "arguments": call.arguments, "call_id": call.call_id, "ok": ok, "iteration": call.iteration,
        })),
        extract: false,
        session: None,
        session_gap,
    }
}

/// Ends the announced calls that have no result. `word` says how it came to that: `cancelled`, `interrupted`.
pub(crate) fn settle(
    header: &TurnHeader,
    session_gap: Duration,
    events: &[TurnEvent],
    word: &str,
) -> (Vec<TurnEvent>, Vec<NewMessage>) {
    let ended: HashSet<&str> = events
        .iter()
        .filter_map(|event| match event {
            TurnEvent::ToolResult(end) => Some(end.call_id.as_str()),
            _ => None,
        })
        .collect();
    let open = events.iter().filter_map(|event| match event {
        TurnEvent::ToolCall(call) if !ended.contains(call.call_id.as_str()) => Some(&**call),
        _ => None,
    });
    let now = epoch(Timestamp::now());
    open.map(|call| {
        let harmless = call.effects.as_deref().and_then(Effects::parse).is_some_and(|it| it < Effects::Dangerous);
        let result = format!("{word}; {}", if harmless { "it may be called again" } else { "outcome unknown" });
        let end = ToolCallEnded {
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            result: result.clone(),
            result_truncated: false,
            ok: false,
            duration_ms: ((now - call.ts) * 1000.0).max(0.0),
            iteration: call.iteration,
            provider: call.provider.clone(),
            ts: now,
        };
        (TurnEvent::ToolResult(Box::new(end)), bare_row(header, session_gap, call, result, false))
    })
    .unzip()
}

/// The turn's final list: the service's own calls from its events, then those handed to the client in pass `iteration`.
pub(crate) fn entries<'a>(
    events: impl Iterator<Item = &'a TurnEvent>,
    client: &[ToolCall],
    iteration: u32,
) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    for event in events {
        match event {
            TurnEvent::ToolCall(call) => entries.push(json!({
                "iteration": call.iteration, "name": call.name, "call_id": call.call_id, "arguments": call.arguments,
                "effects": call.effects, "started_at": call.ts, "result": null,
            })),
            TurnEvent::ToolResult(end) => {
                let of_it = |entry: &&mut Value| entry["call_id"] == end.call_id.as_str();
                if let Some(entry) = entries.iter_mut().find(of_it) {
                    entry["result"] = end.result.as_str().into();
                    entry["ok"] = end.ok.into();
                    entry["ended_at"] = end.ts.into();
                    entry["duration_ms"] = end.duration_ms.into();
                }
            }
            _ => {}
        }
    }
    entries.extend(client.iter().map(|call| {
        let arguments = serde_json::from_str::<Value>(&call.arguments).ok().filter(Value::is_object);
        let arguments = arguments.map_or_else(|| json!({"raw": call.arguments}), |given| redacted(&given));
        json!({"iteration": iteration.max(1), "name": call.name, "call_id": call.id, "arguments": arguments, "result": null})
    }));
    for (at, entry) in entries.iter_mut().enumerate() {
        entry["index"] = (at + 1).into();
    }
    entries
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{BotSlug, TurnId, UserId};

    use super::*;

    fn header() -> TurnHeader {
        TurnHeader {
            turn_id: TurnId::from_stored("t"),
            completion_id: "c".into(),
            created: 0,
            model: "m".into(),
            bot_id: BotSlug::from_stored("b"),
            user_id: UserId::from_stored("u"),
            trigger_message_id: None,
        }
    }

    fn call(id: &str, effects: Option<Effects>) -> ToolCallStarted {
        ToolCallStarted {
            call_id: id.into(),
            name: "home".into(),
            arguments: json!({"action": "set"}),
            index: 0,
            iteration: 1,
            provider: None,
            effects: effects.map(|effects| effects.as_str().into()),
            ts: epoch(Timestamp::now()),
        }
    }

    #[test]
    fn what_nobody_ended_is_ended_once_and_says_what_is_not_known() {
        let (done, safe, risky, odd) = (
            call("1", None),
            call("2", Some(Effects::Idempotent)),
            call("3", Some(Effects::Dangerous)),
            call("4", None),
        );
        let end = ended(&done, &ToolOutcome::success("noon"));
        let mut events: Vec<TurnEvent> =
            [done, safe, risky, odd].into_iter().map(|call| TurnEvent::ToolCall(Box::new(call))).collect();
        events.push(TurnEvent::ToolResult(Box::new(end)));
        let (ends, rows) = settle(&header(), Duration::ZERO, &events, "interrupted");
        let told: Vec<&str> = rows.iter().map(|row| row.content.as_str()).collect();
        assert_eq!(
            told,
            ["interrupted; it may be called again", "interrupted; outcome unknown", "interrupted; outcome unknown"]
        );
        events.extend(ends);
        assert!(settle(&header(), Duration::ZERO, &events, "interrupted").0.is_empty());
        let entries = entries(events.iter(), &[], 1);
        assert_eq!(entries.len(), 4);
        assert_eq!(
            (&entries[0]["ok"], &entries[2]["ok"], &entries[3]["index"]),
            (&json!(true), &json!(false), &json!(4))
        );
    }

    #[test]
    fn secrets_stay_behind() {
        let mut call = call("1", None);
        call.arguments = redacted(&json!({"action": "set", "password": "hunter2"}));
        let outcome = ToolOutcome::success(r#"{"token": "hunter3", "state": "on"}"#);
        let row = row(&header(), Duration::ZERO, &call, &outcome);
        let shown = format!("{} {:?} {:?}", row.content, row.metadata, ended(&call, &outcome));
        assert!(!shown.contains("hunter") && shown.contains("state"), "{shown}");
        let client = ToolCall { id: "x".into(), name: "f".into(), arguments: r#"{"api_key":"hunter4"}"#.into() };
        let entries = entries([].into_iter(), &[client], 2);
        assert!(!entries[0].to_string().contains("hunter4"));
        assert_eq!(entries[0]["iteration"], 2);
        let blank = super::row(&header(), Duration::ZERO, &call, &ToolOutcome::success(" "));
        assert_eq!(blank.content, NOTHING);
    }
}
