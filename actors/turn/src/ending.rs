//! How a turn ends: the terminal events, the assistant's message and the closing record, made once from what there is.
//!
//! Calls that are still open end here too, so that every announced call has a result whatever ended the turn. What was
//! shown is not changed any more; what is stored has been through the model's adapter.

use std::sync::Arc;

use greenroom_memory::{MessageStatus, NewMessage};
use greenroom_protocol::event::{Finish, Warning};
use greenroom_protocol::{ErrorClass, Role, TurnEvent};
use greenroom_provider::Engine;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::{Answer, TurnEnd, TurnFailure, Verdict, complete, verdict};
use crate::journal::{Close, JournalOp};
use crate::pipeline::{epoch, milliseconds};
use crate::tool_record;
use crate::turn::TurnShared;

impl TurnShared {
    /// Ends the turn: the terminal events and the closing record go into the log, unannounced. Only the first call does
    /// anything.
    pub(crate) fn seal(&self, end: &TurnEnd, answer: &Answer, timings: Option<Value>) -> bool {
        let verdict = verdict(end, answer);
        let engine = answer.engine.as_ref().unwrap_or(&self.plan.engine);
        let sealed = self.log.seal(|events| {
            let word = if matches!(end, TurnEnd::Stopped(_)) { "cancelled" } else { "interrupted" };
            let gap = self.plan.settings.session_gap();
            let (mut tail, rows) = tool_record::settle(self.log.header(), gap, events, word);
            let calls = tool_record::entries(events.iter().chain(&tail), &answer.tool_calls, answer.passes);
            let mut ops: Vec<JournalOp> = rows.into_iter().map(|row| JournalOp::Message(Arc::new(row))).collect();
            let text = engine.adapter().clean(&answer.text).into_owned();
            if !text.trim().is_empty() {
                ops.push(JournalOp::Message(Arc::new(self.assistant_message(text.clone(), verdict.whole))));
            }
            let (last, close) = closing(&verdict, answer, engine, calls, text, timings);
            tail.extend(last);
            ops.push(JournalOp::Close(Arc::new(close)));
            (tail, ops)
        });
        if sealed {
            self.queue.note_urgent(&self.log);
            metrics::counter!("greenroom_turns_total", "status" => verdict.status.as_str()).increment(1);
            metrics::histogram!("greenroom_turn_seconds").record(answer.latency());
        }
        sealed
    }

    fn assistant_message(&self, content: String, whole: bool) -> NewMessage {
        let plan = &self.plan;
        let status = if whole { MessageStatus::Complete } else { MessageStatus::Partial };
        // Made from the turn, so that writing it twice is writing it once.
        let name = format!("{}\u{0}answer", plan.id);
        NewMessage {
            bot: plan.persona.slug.clone(),
            id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()),
            role: Role::Assistant,
            content,
            ts: Timestamp::now(),
            user: plan.user.clone(),
            turn: plan.id.clone(),
            status,
            metadata: (!whole).then(|| json!({"truncated": true})),
            extract: plan.extracts(),
            session: None,
            session_gap: plan.settings.session_gap(),
        }
    }

    /// The end could not be stored: the turn is told as failed, whatever it was.
    pub(crate) fn reseal_as_unstored(&self) {
        let failure = TurnFailure::new(ErrorClass::Storage, "finalize_error: the end of the turn could not be stored");
        let answer = Answer::default();
        let verdict = verdict(&TurnEnd::Failed(failure.clone()), &answer);
        let engine: &Engine = &self.plan.engine;
        let last = complete(&verdict, &answer, engine, 0, epoch(Timestamp::now()));
        let warning = Warning {
            warnings: vec![format!("stream_interrupted: {}", failure.message)],
            code: Some(failure.class.code().into()),
        };
        let tail = vec![
            TurnEvent::Warning(Box::new(warning)),
            TurnEvent::Finish(Box::new(Finish { reason: verdict.finish, model: None, error: verdict.error.clone() })),
            TurnEvent::Complete(Box::new(last)),
        ];
        let close = Close {
            status: verdict.status,
            latency_ms: 0.0,
            first_token_ms: None,
            response_text: self.log.text(),
            tool_calls_json: None,
            error_text: verdict.error_text,
            token_usage_json: None,
            stage_timings_json: None,
            animation: None,
        };
        self.log.reseal(tail, JournalOp::Close(Arc::new(close)));
        self.queue.note_urgent(&self.log);
    }
}

/// The terminal events, and what the turn's row says of the end. `text` is the answer as it is stored.
pub(crate) fn closing(
    verdict: &Verdict,
    answer: &Answer,
    engine: &Engine,
    calls: Vec<Value>,
    text: String,
    timings: Option<Value>,
) -> (Vec<TurnEvent>, Close) {
    let last = complete(verdict, answer, engine, calls.len(), epoch(Timestamp::now()));
    let close = Close {
        status: verdict.status,
        latency_ms: milliseconds(answer.latency()),
        first_token_ms: answer.first_piece().map(milliseconds),
        response_text: text,
        tool_calls_json: (!calls.is_empty()).then(|| Value::Array(calls).to_string()),
        error_text: verdict.error_text.clone(),
        token_usage_json: last.token_usage.as_ref().and_then(|usage| serde_json::to_string(usage).ok()),
        stage_timings_json: timings.map(|timings| timings.to_string()),
        animation: answer.animation.clone(),
    };
    let finish = Finish { reason: verdict.finish, model: answer.upstream_model.clone(), error: verdict.error.clone() };
    let mut tail: Vec<TurnEvent> = warning(verdict, answer).into_iter().collect();
    tail.push(TurnEvent::Finish(Box::new(finish)));
    tail.push(TurnEvent::Usage(last.usage));
    tail.push(TurnEvent::Complete(Box::new(last)));
    (tail, close)
}

/// What the user is told beside the answer.
fn warning(verdict: &Verdict, answer: &Answer) -> Option<TurnEvent> {
    let text = verdict.warning.as_ref()?;
    let prefix = match (verdict.error.is_some(), answer.text.is_empty()) {
        (true, true) => "request_failed: ",
        (true, false) => "stream_interrupted: ",
        (false, _) => "",
    };
    let code = verdict.error.as_ref().and_then(|error| error.code.clone());
    Some(TurnEvent::Warning(Box::new(Warning { warnings: vec![format!("{prefix}{text}")], code })))
}
