//! Which texts are embedded for a batch of messages: each alone, each among its neighbours, and the neighbours that came
//! before it once more, since their surroundings have changed. Pure.

use std::collections::{HashMap, HashSet};

use greenroom_lexicon::{CONTEXT_AFTER, CONTEXT_BEFORE, Line, context_text, own_text};
use uuid::Uuid;

use crate::index::speaker;
use crate::repository::{Said, Waiting};

/// Neighbours to read before a message: its own, and those of the neighbours whose surroundings it changes.
pub(super) const READ_BEFORE: usize = CONTEXT_BEFORE + CONTEXT_AFTER;
/// Neighbours to read behind a message.
pub(super) const READ_AFTER: usize = CONTEXT_AFTER;

/// Texts to embed, each named once, and what they are for.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The texts.
    pub(super) texts: Vec<String>,
    /// Messages with their place in the queue and the numbers of their texts: alone, in context.
    pub(super) messages: Vec<Wanted>,
    /// Neighbours with the number of their text in context.
    pub(super) renewed: Vec<(Uuid, usize)>,
    /// Places in the queue with nothing to embed.
    pub(super) dismissed: Vec<(i64, i64)>,
}

/// A queued message and the numbers of its texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) id: Uuid,
    pub(super) seq: i64,
    pub(super) stamp: i64,
    pub(super) own: usize,
    pub(super) context: usize,
}

/// The texts of a batch. `neighbours` holds at least [`READ_BEFORE`] messages before and [`READ_AFTER`] behind each queued
/// one, as far as its session has them.
pub(super) fn texts(batch: &[Waiting], neighbours: &[Said]) -> Texts {
    let queued: HashSet<Uuid> = batch.iter().filter_map(|waiting| Some(waiting.text.as_ref()?.id)).collect();
    let mut sessions: HashMap<Uuid, Vec<&Said>> = HashMap::new();
    let all = batch.iter().filter_map(|waiting| waiting.text.as_ref());
    for said in all.chain(neighbours.iter().filter(|said| !queued.contains(&said.id))) {
        if let Some(session) = said.session {
            sessions.entry(session).or_default().push(said);
        }
    }
    for lines in sessions.values_mut() {
        lines.sort_unstable_by_key(|said| said.place);
    }
    let mut out = Texts::default();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut number = |texts: &mut Vec<String>, text: String| {
        *numbers.entry(text).or_insert_with_key(|text| {
            texts.push(text.clone());
            texts.len() - 1
        })
    };
    let mut renewed = HashSet::new();
    for waiting in batch {
        let Some(said) = waiting.text.as_ref().filter(|said| !said.content.trim().is_empty()) else {
            out.dismissed.push((waiting.seq, waiting.stamp));
            continue;
        };
        let lines = said.session.and_then(|session| sessions.get(&session)).map_or(&[][..], Vec::as_slice);
        let at = lines.iter().position(|line| line.id == said.id);
        let own = number(&mut out.texts, own_text(&line(said)));
        let context = number(&mut out.texts, in_context(lines, at, said));
        out.messages.push(Wanted { id: said.id, seq: waiting.seq, stamp: waiting.stamp, own, context });
        let Some(at) = at else { continue };
        for (before, neighbour) in lines.iter().enumerate().take(at).skip(at.saturating_sub(CONTEXT_AFTER)) {
            if neighbour.embedded && !queued.contains(&neighbour.id) && renewed.insert(neighbour.id) {
                let text = number(&mut out.texts, in_context(lines, Some(before), neighbour));
                out.renewed.push((neighbour.id, text));
            }
        }
    }
    out
}

fn in_context(lines: &[&Said], at: Option<usize>, said: &Said) -> String {
    let Some(at) = at else { return context_text(&[], &line(said), &[]) };
    let before: Vec<Line<'_>> = lines[at.saturating_sub(CONTEXT_BEFORE)..at].iter().map(|said| line(said)).collect();
    let after: Vec<Line<'_>> = lines[at + 1..].iter().take(CONTEXT_AFTER).map(|said| line(said)).collect();
    context_text(&before, &line(said), &after)
}

fn line(said: &Said) -> Line<'_> {
    Line { role: speaker(said.role), content: &said.content }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::Role;
    use jiff::Timestamp;

    use super::*;

    fn said(session: Option<Uuid>, seq: i64, content: &str, embedded: bool) -> Said {
        let place = (Timestamp::from_second(1_000 + seq).unwrap(), seq);
        Said {
            id: Uuid::from_u128(seq.unsigned_abs().into()),
            session,
            place,
            role: Role::User,
            content: content.into(),
            embedded,
        }
    }

    fn waiting(said: Said) -> Waiting {
        Waiting { seq: said.place.1, stamp: 7, text: Some(said) }
    }

    #[test]
    fn each_message_is_embedded_alone_and_among_its_neighbours() {
        let session = Some(Uuid::from_u128(99));
        let batch = [waiting(said(session, 3, "three", false)), waiting(said(session, 2, "two", false))];
        let around = [said(session, 1, "one", true), said(session, 4, "four", true)];
        let plan = texts(&batch, &around);
        assert_eq!(plan.messages.len(), 2);
        let context = &plan.texts[plan.messages[1].context];
        assert!(context.contains("one") && context.contains("two") && context.contains("three"), "{context}");
        // The message before the batch is read anew; the one behind it is not.
        assert_eq!(plan.renewed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [Uuid::from_u128(1)]);
        assert!(plan.texts[plan.renewed[0].1].contains("two"));
    }

    #[test]
    fn what_is_gone_or_blank_leaves_the_queue_and_sessionless_messages_stand_alone() {
        let gone = Waiting { seq: 5, stamp: 1, text: None };
        let batch = [gone, waiting(said(None, 6, " \u{a0} ", false)), waiting(said(None, 7, "alone", false))];
        let plan = texts(&batch, &[]);
        assert_eq!(plan.dismissed, [(5, 1), (6, 7)]);
        assert_eq!(plan.messages.len(), 1);
        // Neighbours that are not embedded yet wait for their own turn.
        let session = Some(Uuid::from_u128(98));
        let plan = texts(&[waiting(said(session, 9, "nine", false))], &[said(session, 8, "eight", false)]);
        assert!(plan.renewed.is_empty());
    }
}
