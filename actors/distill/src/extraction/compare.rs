//! What new facts do to what is known: the question to the model, and the reading of its answer (memory.md §8.6). Pure.
//!
//! Targets are ordinals of what was shown, so an answer cannot reach anything else. Every fact is dealt with: what the
//! answer leaves out is added, and adding looks for duplicates itself.

use greenroom_memory::upkeep::Neighbour;
use serde_json::{Value, json};

use super::facts::Fact;
use super::secrets::is_secret;
use crate::words::{jaccard, normalised, stems};

/// Word-set similarity above which two statements are one, when no model decides.
const SAME_WORDS: f64 = 0.85;
/// Most actions that are read.
const MOST_ACTIONS: usize = 100;
/// Most characters of a new wording.
const MOST_CHARS: usize = 500;

/// What is done about one fact. Indexes count from 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    /// The fact.
    pub(super) fact: usize,
    pub(super) action: Action,
    /// Memories that are no longer true because of it.
    pub(super) contradicts: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Something new.
    Add,
    /// A newer version of a memory, perhaps in words that keep what still holds of it.
    Update { target: usize, content: Option<String> },
    /// Known already.
    None,
}

/// The memories and the facts as they are shown: two JSON lists.
pub(super) fn shown(facts: &[Fact], known: &[Neighbour]) -> (String, String) {
    let memories: Vec<Value> = known
        .iter()
        .enumerate()
        .map(|(at, memory)| {
            json!({"id": format!("m{}", at + 1), "content": memory.content, "importance": rounded(memory.importance)})
        })
        .collect();
    let facts: Vec<Value> = facts
        .iter()
        .enumerate()
        .map(|(at, fact)| json!({"index": at + 1, "content": fact.content, "importance": rounded(fact.importance)}))
        .collect();
    (lines(&memories), lines(&facts))
}

fn rounded(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}

/// A JSON list with one item a line.
fn lines(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(Value::to_string).collect();
    format!("[\n{}\n]", items.join(",\n"))
}

/// All facts added: what is done when nothing is known that comes near.
pub(super) fn all_new(facts: &[Fact]) -> Vec<Decision> {
    (0..facts.len()).map(|fact| Decision { fact, action: Action::Add, contradicts: Vec::new() }).collect()
}

/// Without a model: what is said in nearly the same words is known.
pub(super) fn by_words(facts: &[Fact], known: &[Neighbour]) -> Vec<Decision> {
    let known: Vec<_> = known.iter().map(|memory| (normalised(&memory.content), stems(&memory.content))).collect();
    let mut decisions = all_new(facts);
    for (decision, fact) in decisions.iter_mut().zip(facts) {
        let (text, words) = (normalised(&fact.content), stems(&fact.content));
        if known.iter().any(|(known, stems)| *known == text || jaccard(stems, &words) > SAME_WORDS) {
            decision.action = Action::None;
        }
    }
    decisions
}

/// The decisions in a model's reply; `None` when it is not what was asked for.
pub(super) fn read(reply: &Value, facts: &[Fact], known: &[Neighbour]) -> Option<Vec<Decision>> {
    let actions = match reply {
        Value::Array(items) => items,
        Value::Object(members) => members.get("actions")?.as_array()?,
        _ => return None,
    };
    let mut decisions = all_new(facts);
    let mut decided = vec![false; facts.len()];
    let mut deletes: Vec<(usize, Option<usize>)> = Vec::new();
    let mut replaced = vec![false; known.len()];
    for action in actions.iter().take(MOST_ACTIONS) {
        let word = action.get("action").and_then(Value::as_str).unwrap_or_default().trim().to_uppercase();
        let fact = action.get("fact").or_else(|| action.get("new_fact")).and_then(|fact| fact_index(fact, facts));
        let target =
            action.get("target_memory_id").or_else(|| action.get("target")).and_then(|id| ordinal(id, known.len()));
        if word == "DELETE" {
            deletes.extend(target.map(|target| (target, fact)));
            continue;
        }
        let Some(fact) = fact else { continue };
        let next = match (word.as_str(), target) {
            ("ADD", _) => Action::Add,
            // One successor for each memory; a second one stands beside it.
            ("UPDATE", Some(target)) if !replaced[target] && !same_words(&facts[fact], &known[target]) => {
                Action::Update { target, content: wording(action, &facts[fact], &known[target]) }
            }
            ("UPDATE", _) => Action::Add,
            // Anything that is not known counts as NONE.
            _ => Action::None,
        };
        // The first decision stands, unless it was to do nothing.
        if decided[fact] && decisions[fact].action != Action::None {
            continue;
        }
        if let Action::Update { target, .. } = next {
            replaced[target] = true;
        }
        decisions[fact].action = next;
        decided[fact] = true;
    }
    for (target, fact) in deletes {
        if replaced[target] {
            continue;
        }
        if let Some(cause) = fact.or_else(|| cause(target, facts, known, &decisions)) {
            decisions[cause].contradicts.push(target);
            replaced[target] = true;
        }
    }
    Some(decisions)
}

/// A fact by its number, or by its words: equal, or beginning alike.
fn fact_index(value: &Value, facts: &[Fact]) -> Option<usize> {
    let by_number = |number: usize| number.checked_sub(1).filter(|at| *at < facts.len());
    match value {
        Value::Number(number) => by_number(usize::try_from(number.as_u64()?).ok()?),
        Value::String(text) => match text.trim().trim_start_matches(['#', 'f', 'F']).parse::<usize>() {
            Ok(number) => by_number(number),
            Err(_) => by_words_of(text, facts),
        },
        Value::Object(members) => members
            .get("index")
            .and_then(|index| fact_index(index, facts))
            .or_else(|| by_words_of(members.get("content")?.as_str()?, facts)),
        _ => None,
    }
}

fn by_words_of(text: &str, facts: &[Fact]) -> Option<usize> {
    let text = normalised(text);
    let equal = facts.iter().position(|fact| normalised(&fact.content) == text);
    equal.or_else(|| {
        let beginning: String = text.chars().take(20).collect();
        (text.chars().count() > 20)
            .then(|| facts.iter().position(|fact| normalised(&fact.content).contains(&beginning)))?
    })
}

/// `m3`, `3` or `"3"`: what was shown as the third.
fn ordinal(value: &Value, count: usize) -> Option<usize> {
    let number = match value {
        Value::Number(number) => usize::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.trim().trim_start_matches(['m', 'M', '#']).parse().ok()?,
        _ => return None,
    };
    number.checked_sub(1).filter(|at| *at < count)
}

fn same_words(fact: &Fact, memory: &Neighbour) -> bool {
    normalised(&fact.content) == normalised(&memory.content)
}

/// The new wording of an update, if it is made of nothing but the fact and the memory it replaces.
fn wording(action: &Value, fact: &Fact, memory: &Neighbour) -> Option<String> {
    let text = action.get("content").and_then(Value::as_str)?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut allowed = stems(&fact.content);
    allowed.extend(stems(&memory.content));
    let words = stems(&text);
    let invented = words.difference(&allowed).count();
    let fits =
        !text.is_empty() && text.chars().count() <= MOST_CHARS && invented * 4 <= words.len() && !is_secret(&text);
    (fits && normalised(&text) != normalised(&memory.content)).then_some(text)
}

/// The added fact that makes a memory untrue: the one that shares most words with it. None, if none shares any.
fn cause(target: usize, facts: &[Fact], known: &[Neighbour], decisions: &[Decision]) -> Option<usize> {
    let memory = stems(&known[target].content);
    let about =
        |fact: &Fact| stems(&fact.content).difference(&stems("user")).filter(|stem| memory.contains(*stem)).count();
    decisions
        .iter()
        .filter(|decision| decision.action == Action::Add)
        .map(|decision| (about(&facts[decision.fact]), decision.fact))
        .filter(|(shared, _)| *shared > 0)
        .max_by_key(|(shared, fact)| (*shared, usize::MAX - fact))
        .map(|(_, fact)| fact)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn fact(content: &str) -> Fact {
        Fact {
            content: content.into(),
            tags: vec!["fact".into()],
            importance: 0.7,
            confidence: 0.8,
            intent: None,
            attribute: None,
            sources: Vec::new(),
        }
    }

    fn memory(content: &str) -> Neighbour {
        Neighbour { id: Uuid::new_v4(), content: content.into(), importance: 0.5, similarity: Some(0.6) }
    }

    fn scene() -> (Vec<Fact>, Vec<Neighbour>) {
        (
            vec![fact("The user lives in Lyon."), fact("The user has a cat named Mia."), fact("The user likes tea.")],
            vec![memory("The user lives in Paris."), memory("The user likes tea."), memory("The user has a cat.")],
        )
    }

    #[test]
    fn actions_are_read_by_number_and_by_words() {
        let (facts, known) = scene();
        let reply = json!({"actions": [
            {"action": "add", "fact": 1}, {"action": "DELETE", "fact": "1", "target_memory_id": "m1"},
            {"action": "UPDATE", "fact": {"content": "The user has a cat named Mia."}, "target_memory_id": 3,
             "content": "The user has a cat named Mia."},
            {"action": "NONE", "fact": "the user likes tea."},
        ]});
        let decisions = read(&reply, &facts, &known).expect("readable");
        assert_eq!(decisions[0], Decision { fact: 0, action: Action::Add, contradicts: vec![0] });
        assert!(matches!(&decisions[1].action, Action::Update { target: 2, content: Some(_) }));
        assert_eq!(decisions[2].action, Action::None);
    }

    #[test]
    fn what_was_not_shown_cannot_be_reached() {
        let (facts, known) = scene();
        let reply = json!({"actions": [
            {"action": "UPDATE", "fact": 1, "target_memory_id": "m9"},
            {"action": "UPDATE", "fact": 2, "target_memory_id": known[0].id.to_string()},
            {"action": "DELETE", "target_memory_id": "m0"}, {"action": "DELETE", "target_memory_id": "everything"},
            {"action": "ADD", "fact": 99}, {"action": "EXPLODE", "fact": 3},
        ]});
        let decisions = read(&reply, &facts, &known).expect("readable");
        assert_eq!(decisions[0].action, Action::Add);
        assert_eq!(decisions[1].action, Action::Add);
        assert_eq!(decisions[2].action, Action::None);
        assert!(decisions.iter().all(|decision| decision.contradicts.is_empty()));
    }

    #[test]
    fn a_delete_needs_a_cause() {
        let (facts, known) = scene();
        let paired = json!({"actions": [{"action": "DELETE", "target_memory_id": "m1"}]});
        assert_eq!(
            read(&paired, &facts, &known).expect("readable")[0].contradicts,
            [0],
            "the fact about living somewhere"
        );
        let strange = [fact("The user plays chess.")];
        assert!(read(&paired, &strange, &known).expect("readable")[0].contradicts.is_empty());
    }

    #[test]
    fn each_memory_has_one_successor_and_each_fact_is_dealt_with() {
        let (facts, known) = scene();
        let reply = json!([
            {"action": "UPDATE", "fact": 1, "target_memory_id": "m1", "content": "The user owns seventeen purple submarines somewhere."},
            {"action": "UPDATE", "fact": 2, "target_memory_id": "m1"},
            {"action": "DELETE", "fact": 2, "target_memory_id": "m1"},
        ]);
        let decisions = read(&reply, &facts, &known).expect("readable");
        assert_eq!(decisions[0].action, Action::Update { target: 0, content: None }, "invented words are not taken");
        assert_eq!(decisions[1], Decision { fact: 1, action: Action::Add, contradicts: Vec::new() });
        assert_eq!(decisions[2].action, Action::Add, "left out, so added");
        assert_eq!(read(&json!({"verdict": []}), &facts, &known), None);
    }

    #[test]
    fn words_decide_without_a_model() {
        let (facts, known) = scene();
        let actions: Vec<Action> = by_words(&facts, &known).into_iter().map(|decision| decision.action).collect();
        assert_eq!(actions, [Action::Add, Action::Add, Action::None]);
    }

    proptest! {
        #[test]
        fn no_reply_panics_or_reaches_out(action in "(ADD|UPDATE|DELETE|NONE|x)", fact in any::<i64>(), target in ".{0,6}", n in any::<u64>()) {
            let (facts, known) = scene();
            let reply = json!([
                {"action": action, "fact": fact, "target_memory_id": target, "content": target},
                {"action": action, "fact": target, "target_memory_id": n},
            ]);
            for decision in read(&reply, &facts, &known).expect("readable") {
                prop_assert!(decision.fact < facts.len());
                prop_assert!(decision.contradicts.iter().all(|target| *target < known.len()));
            }
        }
    }
}
