//! EXECUTE: passes of the model, and between them the calls it asks for, until it answers.
//!
//! One loop for every format, streamed or not. Each call gets one result, in call order, whatever becomes of it; a batch
//! runs side by side when nothing in it changes anything. After the last pass with tools comes one without, so that the
//! user gets an answer. Calls of the client's tools end the turn: the client runs them and comes back. Deliberately absent:
//! stopping. The turn drops this future, and what was announced and not ended is ended with the turn.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use greenroom_memory::NewMessage;
use greenroom_protocol::event::{ClientToolCall, ToolCallStarted};
use greenroom_protocol::ids::tool_call_id;
use greenroom_protocol::{FinishReason, ToolCall, TurnEvent};
use greenroom_tools::{CallContext, Effects, ErrorKind, Limits, Prepared, Session, ToolOutcome};
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, TurnFailure};
use crate::assembly::Manner;
use crate::journal::JournalOp;
use crate::kit::Kit;
use crate::pass::{Relay, Said};
use crate::rounds::{Exchange, Round, Transcript};
use crate::speaker::Speaker;
use crate::structured;
use crate::tool_record;
use crate::turn::TurnShared;

/// From the first call on, tools are used no longer than this.
const TOOLS_WITHIN: Duration = Duration::from_secs(300);
/// Passes with tools in device control.
const HOME_ITERATIONS: u32 = 3;
/// Longest wait until a dangerous call is recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// Longest call id that is kept; a longer one gets another.
const LONGEST_ID: usize = 128;
/// Fewest and most characters of a result.
const RESULT_CHARS: (usize, usize) = (1_000, 16_000);

/// Everything the loop begins with.
pub(crate) struct Opening<'a> {
    pub(crate) speaker: Speaker<'a>,
    /// What the client sent behind the prompt, with what this service did itself in between.
    pub(crate) behind: Transcript,
    pub(crate) context: CallContext,
}

/// Talks until there is an answer, or calls that the client must run.
pub(crate) async fn converse(
    shared: &Arc<TurnShared>,
    opening: Opening<'_>,
    answer: &mut Answer,
    cancel: &CancellationToken,
) -> Result<FinishReason, TurnFailure> {
    let Opening { mut speaker, mut behind, context } = opening;
    if speaker.enforces() {
        // A schema that is none is told before anything is asked.
        structured::Shape::of(shared.plan.sampling.response_format.as_ref())?;
    }
    let mut relay = Relay::new(shared);
    let mut desk = Desk::new(shared, speaker.kit(), context, &behind);
    let mut manner = Manner::First;
    let mut corrected = false;
    let said = loop {
        let said = speaker.ask(&mut relay, &mut behind, manner, answer, cancel).await?;
        let fumbled = said.calls.is_empty() && said.malformed.is_some();
        if manner == Manner::Closed || (said.calls.is_empty() && !fumbled) {
            break said;
        }
        let may_go_on = if let Some(malformed) = said.malformed.filter(|_| fumbled) {
            let told = shared.template("tools.correction", &[("problem", &malformed.problem)]).await;
            behind.remark(malformed.raw, told);
            !std::mem::replace(&mut corrected, true)
        } else {
            let (client, own): (Vec<_>, Vec<_>) =
                said.calls.into_iter().partition(|call| speaker.kit().is_clients(&call.name));
            let text = together(said.text, &said.thought);
            if !answer.text.is_empty() {
                shared.record(JournalOp::Flush(answer.text.as_str().into()));
            }
            let round = Box::pin(desk.run(own, text, answer.passes)).await;
            if !client.is_empty() {
                desk.hand_over(client, answer);
                return Ok(FinishReason::ToolCalls);
            }
            behind.push(round);
            !desk.is_over()
        };
        manner = if may_go_on && answer.passes < most_passes(shared) { Manner::Open } else { Manner::Closed };
        if manner == Manner::Closed && speaker.speaks_in_text() {
            behind.remark(String::new(), shared.template("tools.answer_now", &[]).await);
        }
    };
    let finish = match said.finish {
        // Asked not to call anything, it did; nobody runs that.
        FinishReason::ToolCalls => FinishReason::Stop,
        finish => finish,
    };
    if speaker.enforces() {
        return Box::pin(shaped(said, finish, &mut speaker, &mut relay, &mut behind, answer, cancel)).await;
    }
    Ok(finish)
}

/// Sees to it that the answer has the wanted shape, with one more pass if need be.
async fn shaped(
    said: Said,
    finish: FinishReason,
    speaker: &mut Speaker<'_>,
    relay: &mut Relay<'_>,
    behind: &mut Transcript,
    answer: &mut Answer,
    cancel: &CancellationToken,
) -> Result<FinishReason, TurnFailure> {
    let wish = relay.shared.plan.sampling.response_format.as_ref();
    let rule = structured::Shape::of(wish)?;
    let mut text = said.text;
    if let Err(why) = rule.fitted(&text) {
        behind.remark(text, structured::complaint(&why, wish));
        text = speaker.ask(relay, behind, Manner::Closed, answer, cancel).await?.text;
    }
    let fitted = rule.fitted(&text).map_err(|why| structured::failure(&why))?;
    relay.release(fitted, answer);
    Ok(finish)
}

fn together(text: String, thought: &str) -> String {
    match (text.trim().is_empty(), thought.trim().is_empty()) {
        (_, true) => text,
        (true, false) => thought.to_owned(),
        (false, false) => format!("{text}\n{thought}"),
    }
}

fn most_passes(shared: &TurnShared) -> u32 {
    let most = shared.plan.settings.max_tool_iterations.max(1);
    if shared.plan.home_mode { most.min(HOME_ITERATIONS) } else { most }
}

/// Where the calls of one turn are made.
struct Desk<'a> {
    shared: &'a Arc<TurnShared>,
    session: Session,
    /// Ids that stand in the prompt already.
    ids: HashSet<String>,
    deadline: Option<Instant>,
    rows: Vec<NewMessage>,
}

impl<'a> Desk<'a> {
    fn new(shared: &'a Arc<TurnShared>, kit: &Kit, context: CallContext, behind: &Transcript) -> Self {
        let plan = &shared.plan;
        // A result takes at most a quarter of the prompt.
        let room = plan.settings.context_budget(plan.engine.context_window());
        let limits = Limits {
            max_calls: plan.settings.max_tool_calls_per_turn,
            result_chars: room.clamp(RESULT_CHARS.0, RESULT_CHARS.1),
        };
        let ids = behind.rounds().flat_map(|round| &round.exchanges).map(|exchange| exchange.call.id.clone()).collect();
        let session = Session::new(kit.own.clone(), context, limits);
        Self { shared, session, ids, deadline: None, rows: Vec::new() }
    }

    /// Whether the model is to answer now.
    fn is_over(&self) -> bool {
        self.session.exhausted() || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Runs a batch: side by side when nothing in it changes anything, otherwise one after the other.
    async fn run(&mut self, calls: Vec<ToolCall>, text: String, iteration: u32) -> Round {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + TOOLS_WITHIN);
        let prepared: Vec<Prepared> = calls
            .into_iter()
            .map(|mut call| {
                call.id = unused(&mut self.ids, &call.id);
                self.session.prepare(&call)
            })
            .collect();
        let told: Vec<ToolCallStarted> =
            prepared.iter().enumerate().map(|(at, call)| tool_record::started(call, at, iteration)).collect();
        let harmless = |call: &Prepared| call.settled().is_some() || call.effects == Effects::ReadOnly;
        let mut exchanges = Vec::with_capacity(prepared.len());
        if prepared.iter().all(harmless) {
            self.shared.append(told.iter().map(announced).collect());
            let (session, mut running) = (&self.session, FuturesOrdered::new());
            for call in &prepared {
                running.push_back(within(deadline, session.run(call)));
            }
            let mut rows = Vec::with_capacity(prepared.len());
            for (call, told) in prepared.iter().zip(&told) {
                let Some(outcome) = running.next().await else { break };
                rows.push(conclude(self.shared, told, &outcome));
                exchanges.push(exchange(call, outcome));
            }
            drop(running);
            self.rows.extend(rows);
        } else {
            for (call, told) in prepared.iter().zip(&told) {
                self.shared.append(vec![announced(told)]);
                let outcome = match self.recorded(call).await {
                    Ok(()) => within(deadline, self.session.run(call)).await,
                    Err(unrecorded) => unrecorded,
                };
                self.rows.push(conclude(self.shared, told, &outcome));
                exchanges.push(exchange(call, outcome));
            }
        }
        Round { text, exchanges, ours: true }
    }

    /// A dangerous call is made only when it is known to be recorded, so that a crash cannot hide it.
    async fn recorded(&self, call: &Prepared) -> Result<(), ToolOutcome> {
        if call.settled().is_some() || call.effects < Effects::Dangerous {
            return Ok(());
        }
        self.shared.queue.note_urgent(&self.shared.log);
        if timeout(RECORDED_WITHIN, self.shared.log.journaled()).await.is_ok_and(|written| written) {
            return Ok(());
        }
        let text = "The call was not made: it could not be recorded first. It may be tried again later.";
        Err(ToolOutcome::failed(ErrorKind::NotAvailable, text))
    }

    /// Hands calls to the client. What was done here before them is marked, so that the turn in which the client comes
    /// back finds it.
    fn hand_over(&mut self, calls: Vec<ToolCall>, answer: &mut Answer) {
        let mut events = Vec::with_capacity(calls.len());
        for mut call in calls {
            call.id = unused(&mut self.ids, &call.id);
            events.push(TurnEvent::ClientToolCall(Box::new(ClientToolCall {
                index: u32::try_from(answer.tool_calls.len()).unwrap_or(u32::MAX),
                id: call.id.clone(),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            })));
            answer.tool_calls.push(call);
        }
        let ids: Vec<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
        for mut row in std::mem::take(&mut self.rows) {
            if let Some(metadata) = &mut row.metadata {
                metadata["with"] = json!({"iteration": answer.passes, "calls": ids});
            }
            self.shared.record(JournalOp::Message(Arc::new(row)));
        }
        self.shared.append(events);
    }
}

/// The id, unless it is none, too long or taken: then another.
fn unused(ids: &mut HashSet<String>, wanted: &str) -> String {
    let wanted = wanted.trim();
    let sound = !wanted.is_empty() && wanted.len() <= LONGEST_ID && !wanted.chars().any(char::is_control);
    let fits = sound && !ids.contains(wanted);
    let id = if fits { wanted.to_owned() } else { tool_call_id() };
    ids.insert(id.clone());
    id
}

async fn within(deadline: Instant, call: impl Future<Output = ToolOutcome>) -> ToolOutcome {
    timeout_at(deadline, call).await.unwrap_or_else(|_| {
        ToolOutcome::failed(
            ErrorKind::Timeout,
            "The time that a turn has for tools is over; the tool had not answered.",
        )
    })
}

fn announced(call: &ToolCallStarted) -> TurnEvent {
    TurnEvent::ToolCall(Box::new(call.clone()))
}

/// Tells and stores what became of a call, in one piece.
fn conclude(shared: &Arc<TurnShared>, call: &ToolCallStarted, outcome: &ToolOutcome) -> NewMessage {
    let row = tool_record::row(shared.log.header(), shared.plan.settings.session_gap(), call, outcome);
    let end = TurnEvent::ToolResult(Box::new(tool_record::ended(call, outcome)));
    shared.log.append_with(vec![end], JournalOp::Message(Arc::new(row.clone())));
    shared.queue.note(&shared.log);
    row
}

fn exchange(call: &Prepared, outcome: ToolOutcome) -> Exchange {
    let call = ToolCall { id: call.call_id.clone(), name: call.name.clone(), arguments: call.arguments.to_string() };
    Exchange { call, ok: outcome.ok(), result: outcome.text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_providers_where_they_can_be() {
        let mut ids = HashSet::from(["a".to_owned()]);
        assert_eq!(unused(&mut ids, "b"), "b");
        for bad in ["a", "b", "", "  ", "x\0y", &"x".repeat(LONGEST_ID + 1)] {
            let id = unused(&mut ids, bad);
            assert!(id.starts_with("call_") && id.len() == 13, "{id}");
        }
        assert_eq!(ids.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn tools_end_when_their_time_is_over() {
        let never = within(Instant::now() + TOOLS_WITHIN, std::future::pending()).await;
        assert_eq!(never.error, Some(ErrorKind::Timeout));
        let at_once = within(Instant::now(), std::future::ready(ToolOutcome::success("noon"))).await;
        assert!(at_once.ok());
    }

    #[test]
    fn what_was_shown_and_what_was_thought_stand_together() {
        assert_eq!(together("a".into(), ""), "a");
        assert_eq!(together(" ".into(), "b"), "b");
        assert_eq!(together("a".into(), "b"), "a\nb");
    }
}
