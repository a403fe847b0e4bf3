//! Which past messages fit into the prompt: a pure decision over a token budget.
//!
//! Whole turns are kept or dropped, newest first, so that neither an answer without its question nor a tool result
//! without its call remains. The newest turns are protected: when they are too long they are cut in the middle instead.

use greenroom_memory::budget::estimate_row;
pub(crate) use greenroom_memory::budget::estimate_text;
use greenroom_protocol::{Message, Role};

/// Tokens that an image counts for.
const IMAGE_TOKENS: usize = 1000;
/// A protected message is never cut below this.
const LEAST_TOKENS: usize = 32;
/// Stands where the middle of a message was cut out.
const CUT_MARK: &str = "\n[… shortened …]\n";

/// Estimated tokens of a message: its text, calls and images, and its frame.
pub(crate) fn estimate(message: &Message) -> usize {
    let calls: usize = message.tool_calls.iter().map(|c| estimate_text(&c.name) + estimate_text(&c.arguments)).sum();
    estimate_row(&message.content) + calls + message.parts.len() * IMAGE_TOKENS
}

/// Limits on the past of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryLimits {
    /// Tokens left for history.
    pub(crate) budget: usize,
    /// Newest turns that are cut rather than dropped.
    pub(crate) protected_turns: usize,
    /// Most messages; 0 means no cap.
    pub(crate) max_messages: usize,
}

/// Selects from `history` (oldest first) what goes into the prompt, in the same order. Never more than the budget.
pub(crate) fn select(mut history: Vec<Message>, limits: HistoryLimits) -> Vec<Message> {
    if limits.max_messages > 0 && history.len() > limits.max_messages {
        history.drain(..history.len() - limits.max_messages);
    }
    let mut left = limits.budget;
    let mut kept: Vec<Vec<Message>> = Vec::new();
    for (age, turn) in turns(history).into_iter().rev().enumerate() {
        let cost: usize = turn.iter().map(estimate).sum();
        if cost <= left {
            left -= cost;
            kept.push(turn);
        } else if age < limits.protected_turns {
            let Some(shortened) = shorten(turn, left) else { break };
            left -= shortened.iter().map(estimate).sum::<usize>().min(left);
            kept.push(shortened);
        } else {
            break;
        }
    }
    kept.into_iter().rev().flatten().collect()
}

/// Takes the summaries (oldest first) that fit beside the protected turns, newest first; one that does not fit is left
/// out, the ones before it are still tried. What they cost is taken from the budget.
pub(crate) fn fit_summaries(
    summaries: impl DoubleEndedIterator<Item = Message>,
    history: &[Message],
    limits: &mut HistoryLimits,
) -> Vec<Message> {
    let newest = newest_turns(history, limits.protected_turns);
    let protected: usize = newest.iter().map(estimate).sum();
    let mut kept = Vec::new();
    for summary in summaries.rev() {
        let cost = estimate(&summary);
        if protected + cost <= limits.budget {
            limits.budget -= cost;
            kept.push(summary);
        }
    }
    kept.reverse();
    kept
}

/// The messages of the newest `count` turns.
fn newest_turns(history: &[Message], count: usize) -> &[Message] {
    let starts = history.iter().enumerate().rev().filter(|(_, message)| message.role == Role::User);
    match count {
        0 => &[],
        count => starts.map(|(at, _)| &history[at..]).take(count).last().unwrap_or(history),
    }
}

/// Groups messages into turns: each begins with a user message; what precedes the first one is a turn of its own.
fn turns(history: Vec<Message>) -> Vec<Vec<Message>> {
    let mut turns: Vec<Vec<Message>> = Vec::new();
    for message in history {
        let continues = message.role != Role::User && !turns.is_empty();
        match turns.last_mut() {
            Some(turn) if continues => turn.push(message),
            _ => turns.push(vec![message]),
        }
    }
    turns
}

/// Cuts a turn's messages down to `budget` tokens together: tool results first, then the longest. `None` when even the
/// shortest form does not fit.
fn shorten(mut turn: Vec<Message>, budget: usize) -> Option<Vec<Message>> {
    for message in &mut turn {
        message.parts.clear();
    }
    for tools_only in [true, false] {
        loop {
            let total: usize = turn.iter().map(estimate).sum();
            if total <= budget {
                return Some(turn);
            }
            let candidates = turn.iter_mut().filter(|m| !tools_only || m.role == Role::Tool);
            let Some(longest) = candidates.max_by_key(|m| m.content.len()) else { break };
            let now = estimate_text(&longest.content);
            if now <= LEAST_TOKENS {
                break;
            }
            let wanted = now.saturating_sub(total - budget).max(LEAST_TOKENS).min(now - 1);
            let shorter = cut_middle(&longest.content, wanted * 4);
            if shorter.len() >= longest.content.len() {
                break;
            }
            longest.content = shorter;
        }
    }
    None
}

/// Keeps six tenths of `bytes` from the head and three from the tail of a text.
pub(crate) fn cut_middle(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let room = bytes.saturating_sub(CUT_MARK.len());
    let (mut head, mut tail) = (room * 6 / 10, text.len() - room * 3 / 10);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}{CUT_MARK}{}", &text[..head], &text[tail..])
}

/// Merges user messages that follow one another (the earlier was never answered) into one.
pub(crate) fn merge_unanswered(history: Vec<Message>) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(history.len());
    for message in history {
        match merged.last_mut() {
            Some(last) if last.role == Role::User && message.role == Role::User => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
                last.parts.extend(message.parts);
            }
            _ => merged.push(message),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn talk(turns: usize, words: usize) -> Vec<Message> {
        (0..turns)
            .flat_map(|i| {
                [
                    Message::text(Role::User, format!("question {i} {}", "x".repeat(words))),
                    Message::text(Role::Assistant, format!("answer {i} {}", "y".repeat(words))),
                ]
            })
            .collect()
    }

    fn limits(budget: usize) -> HistoryLimits {
        HistoryLimits { budget, protected_turns: 1, max_messages: 0 }
    }

    #[test]
    fn a_cap_keeps_exactly_the_newest() {
        let kept = select(talk(5, 10), HistoryLimits { max_messages: 4, ..limits(10_000) });
        assert_eq!(kept.len(), 4);
        assert!(kept[0].content.starts_with("question 3"));
        assert_eq!(select(talk(5, 10), limits(10_000)).len(), 10);
    }

    #[test]
    fn whole_turns_are_dropped() {
        let one_turn: usize = talk(1, 100).iter().map(estimate).sum();
        let kept = select(talk(10, 100), limits(one_turn * 3 + one_turn / 2));
        assert_eq!(kept.len(), 6);
        assert_eq!(kept[0].role, Role::User);
    }

    #[test]
    fn a_long_protected_turn_is_cut_in_the_middle() {
        let mut history = talk(1, 0);
        history[1].content = format!("head {} tail", "z".repeat(100_000));
        let kept = select(history, limits(500));
        assert_eq!(kept.len(), 2);
        assert!(kept[1].content.starts_with("head") && kept[1].content.ends_with("tail"));
        assert!(kept.iter().map(estimate).sum::<usize>() <= 500);
    }

    #[test]
    fn unanswered_prompts_become_one() {
        let history =
            vec![Message::text(Role::User, "a"), Message::text(Role::User, "b"), Message::text(Role::Assistant, "c")];
        let merged = merge_unanswered(history);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].content, "a\n\nb");
    }

    proptest! {
        #[test]
        fn never_over_budget_and_never_out_of_order(
            lengths in prop::collection::vec((0usize..4, 0usize..3000), 0..40),
            budget in 0usize..4000,
            protected_turns in 0usize..6,
            max_messages in 0usize..20,
        ) {
            let roles = [Role::User, Role::Assistant, Role::Tool, Role::User];
            let history: Vec<Message> = lengths.iter().enumerate().map(|(i, (role, len))| Message {
                db_id: Some(format!("{i:04}")),
                ..Message::text(roles[*role], "ä".repeat(*len))
            }).collect();
            let kept = select(history, HistoryLimits { budget, protected_turns, max_messages });
            prop_assert!(kept.iter().map(estimate).sum::<usize>() <= budget);
            prop_assert!(kept.windows(2).all(|pair| pair[0].db_id < pair[1].db_id));
            prop_assert!(max_messages == 0 || kept.len() <= max_messages);
        }
    }
}
