//! What a batch call answers: a JSON object with one element per session. Pure. A model's JSON is data from a stranger:
//! whatever is missing, doubled, out of range or of the wrong type is passed over.

use greenroom_memory::summaries::Sections;
use serde_json::Value;

/// Sections per session, in the order in which the sessions were shown; `None` where the answer has nothing usable.
pub(crate) fn batch(answer: &Value, sessions: usize) -> Vec<Option<Sections>> {
    let mut found = vec![None; sessions];
    let summaries = answer.get("summaries").or(Some(answer)).and_then(Value::as_array);
    for item in summaries.into_iter().flatten() {
        let index = item.get("session_index").and_then(number).and_then(|index| index.checked_sub(1));
        let Some(slot) = index.and_then(|index| found.get_mut(index)) else { continue };
        let sections = sections(item);
        if slot.is_none() && !sections.is_blank() {
            *slot = Some(sections);
        }
    }
    found
}

fn sections(item: &Value) -> Sections {
    let text = |key: &str| item.get(key).map(flat).unwrap_or_default();
    let links = text("cross_session_links");
    let mut open_loops = text("open_loops");
    if !links.is_empty() {
        open_loops = [open_loops, links].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    }
    Sections {
        summary: text("summary"),
        key_details: text("key_details"),
        intent: text("intent"),
        tone: text("tone"),
        open_loops,
    }
    .tidy()
}

/// Text of a value that should have been text: lists are joined, objects told member by member.
fn flat(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => String::new(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => join(items.iter().map(flat)),
        Value::Object(members) => join(members.iter().map(|(key, value)| match flat(value) {
            text if text.is_empty() => text,
            text => format!("{key}: {text}"),
        })),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usable_part_of_an_answer_is_used() {
        let answer = json!({"global_themes": [], "summaries": [
            {"session_index": 2, "summary": "two", "open_loops": "call", "cross_session_links": ["1: same flat"]},
            {"session_index": "1", "summary": ["one", null, "uno"], "key_details": {"rent": 400, "tags": []}},
            {"session_index": 1, "summary": "again"},
            {"session_index": 0, "summary": "nobody"},
            {"session_index": 9, "summary": "invented"},
            {"session_index": -1, "summary": "negative"},
            {"session_index": 3, "summary": "  ", "tone": "calm"},
            {"summary": "lost"}, 7, null,
        ]});
        let found = batch(&answer, 3);
        let (one, two) = (found[0].clone().expect("one"), found[1].clone().expect("two"));
        assert_eq!((one.summary.as_str(), one.key_details.as_str()), ("one; uno", "rent: 400"));
        assert_eq!((two.summary.as_str(), two.open_loops.as_str()), ("two", "call; 1: same flat"));
        assert_eq!(found[2], None);
    }

    #[test]
    fn any_json_is_survived() {
        for answer in [json!(null), json!([]), json!({"summaries": {}}), json!("text"), json!([{"session_index": 1}])] {
            assert_eq!(batch(&answer, 2), [None, None], "{answer}");
        }
        assert!(batch(&json!([{"session_index": 1, "summary": "bare list"}]), 1)[0].is_some());
    }
}
