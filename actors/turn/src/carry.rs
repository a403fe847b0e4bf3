//! A client comes back with the results of its tools: what this service had done itself in that turn comes back too.
//!
//! A turn that ended with calls for the client marked the rows of its own calls with the client's call ids. Here they are
//! found again by those ids and put where they belong, so that the model sees one whole conversation. A client can claim
//! no call of another bot or user: only rows of its own are read.

use std::collections::{BTreeMap, HashSet};

use greenroom_memory::StoredMessage;
use greenroom_protocol::{Role, ToolCall};

use crate::kit::Kit;
use crate::rounds::{Exchange, Round, Transcript};
use crate::turn::TurnShared;

/// Newest messages that are looked through.
const ROWS: i64 = 256;

/// What the client sent behind the prompt, made whole. Nothing is read when the client brought nothing or no tool of ours
/// can have run.
pub(crate) async fn behind(shared: &TurnShared, kit: &Kit) -> Transcript {
    let plan = &shared.plan;
    let mut transcript = Transcript::of_client(&plan.prompt.tail);
    if kit.own.is_empty() || plan.prompt.tail.is_empty() {
        return transcript;
    }
    match plan.namespace.latest(Some(&plan.user), None, ROWS).await {
        Ok(rows) => rejoin(&rows, &mut transcript),
        Err(error) => {
            tracing::warn!(%error, bot = %plan.persona.slug, "earlier calls of this prompt could not be read");
            shared.warn("memory_incomplete: earlier tool calls of this prompt could not be read");
        }
    }
    transcript
}

/// Puts the calls among `rows` (newest first) beside those of the client that they were made with.
fn rejoin(rows: &[StoredMessage], transcript: &mut Transcript) {
    let ids: Vec<String> =
        transcript.rounds().flat_map(|round| &round.exchanges).map(|exchange| exchange.call.id.clone()).collect();
    let mut done = HashSet::new();
    for id in &ids {
        let mut earlier: BTreeMap<u64, Vec<Exchange>> = BTreeMap::new();
        let mut beside = Vec::new();
        for row in rows.iter().rev().filter(|row| row.role == Role::Tool) {
            let Some((exchange, iteration, handed_over)) = made_with(row, id) else { continue };
            if !done.insert(row.id) {
                continue;
            }
            match iteration == handed_over {
                true => beside.push(exchange),
                false => earlier.entry(iteration).or_default().push(exchange),
            }
        }
        let earlier = earlier.into_values().map(|exchanges| Round { text: String::new(), exchanges, ours: true });
        transcript.join(id, earlier.collect(), beside);
    }
}

/// The exchange of a row, its pass, and the pass whose calls went to the client, when `id` was among those.
fn made_with(row: &StoredMessage, id: &str) -> Option<(Exchange, u64, u64)> {
    let note = row.metadata.as_ref()?;
    let with = note.get("with")?;
    with["calls"].as_array()?.iter().find(|call| *call == id)?;
    let call = ToolCall {
        id: note["call_id"].as_str()?.to_owned(),
        name: note["tool"].as_str()?.to_owned(),
        arguments: note["arguments"].to_string(),
    };
    let exchange = Exchange { call, result: row.content.clone(), ok: note["ok"].as_bool().unwrap_or(false) };
    Some((exchange, note["iteration"].as_u64()?, with["iteration"].as_u64()?))
}
