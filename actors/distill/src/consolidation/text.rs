//! The text of a merged memory: what a model is shown, whether its text may be taken, and the best member when not
//! (memory.md §11.4). Pure.

use std::collections::{HashMap, HashSet};

use greenroom_memory::upkeep::Candidate;

use super::cluster::cosine;
use crate::extraction::is_secret;
use crate::words::{landmarks, stems};

/// Fewest and most characters of a merged text.
const LENGTH: std::ops::RangeInclusive<usize> = 10..=600;
/// Least cosine similarity of a merged text to the middle of its members.
const NEAR: f32 = 0.6;
/// Most tags of a merged memory.
const MOST_TAGS: usize = 12;

/// The members as a model is shown them.
pub(super) fn shown(members: &[&Candidate]) -> String {
    let mut shown = format!("Tags: {}\n", tags(members).join(", "));
    for (at, member) in members.iter().enumerate() {
        let line = member.content.split_whitespace().collect::<Vec<_>>().join(" ");
        shown.push_str(&format!("{}. {line}\n", at + 1));
    }
    shown
}

/// A model's text, if it is of the right length, keeps every number and name of the members, and adds none.
pub(super) fn accepted(answer: &str, members: &[&Candidate]) -> Option<String> {
    let text = answer.trim().trim_matches(['"', '“', '”']).split_whitespace().collect::<Vec<_>>().join(" ");
    if !LENGTH.contains(&text.chars().count()) || text.starts_with(['{', '[', '#', '`']) || is_secret(&text) {
        return None;
    }
    let words: HashSet<String> = text.split_whitespace().map(bare).collect();
    let kept = members.iter().all(|member| landmarks(&member.content).iter().all(|mark| words.contains(mark)));
    let known: HashSet<String> =
        members.iter().flat_map(|member| member.content.split_whitespace().map(bare)).collect();
    let added = landmarks(&text).into_iter().any(|mark| !known.contains(&mark));
    (kept && !added).then_some(text)
}

/// A word as landmarks are compared.
fn bare(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let word = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word);
    word.to_lowercase()
}

/// Whether a text is about what its members are about.
pub(super) fn is_near_centroid(vector: &[f32], members: &[&Candidate]) -> bool {
    let mut middle = vec![0.0_f32; vector.len()];
    for member in members {
        for (sum, x) in middle.iter_mut().zip(&member.vector) {
            *sum += x;
        }
    }
    let length = cosine(&middle, &middle).sqrt();
    length > 0.0 && cosine(vector, &middle) / length >= NEAR
}

/// The member with most length times importance, if it has all that the others have: their numbers, their names, and
/// most of their words.
pub(super) fn best_member(members: &[&Candidate]) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "at most 4,000 characters")]
    let weight = |member: &Candidate| member.content.chars().count() as f32 * member.importance.max(0.01);
    let best = members.iter().max_by(|a, b| weight(a).total_cmp(&weight(b)).then(b.id.cmp(&a.id)))?;
    let words: HashSet<String> = best.content.split_whitespace().map(bare).collect();
    let own = stems(&best.content);
    let covered = members.iter().all(|member| {
        let theirs = stems(&member.content);
        let missing = theirs.difference(&own).count();
        landmarks(&member.content).iter().all(|mark| words.contains(mark)) && missing * 3 <= theirs.len()
    });
    covered.then(|| best.content.clone())
}

/// All tags of the members; the one that is primary most often comes first.
pub(super) fn tags(members: &[&Candidate]) -> Vec<String> {
    let mut votes: HashMap<&str, usize> = HashMap::new();
    for member in members {
        if let Some(primary) = member.tags.first() {
            *votes.entry(primary).or_default() += 1;
        }
    }
    let primary = votes.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(tag, _)| (*tag).to_owned());
    let mut tags: Vec<String> = primary.into_iter().collect();
    for tag in members.iter().flat_map(|member| &member.tags) {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags.truncate(MOST_TAGS);
    tags
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests::memory;
    use super::*;

    #[test]
    fn a_merged_text_keeps_every_name_and_number() {
        let members = [
            memory(1, "The user has a dog named Rex.", [1.0, 0.0, 0.0]),
            memory(2, "The user's dog Rex is 4 years old.", [1.0, 0.0, 0.0]),
        ];
        let members: Vec<&Candidate> = members.iter().collect();
        assert!(accepted("The user has a 4 years old dog named Rex.", &members).is_some());
        for bad in [
            "The user has a dog named Rex.",
            "The user has a 4 years old dog.",
            "The user has a 4 years old dog named Rex and a cat named Tom.",
            "Rex, 4.",
            "{\"merged\": \"The user has a 4 years old dog named Rex.\"}",
        ] {
            assert!(accepted(bad, &members).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_best_member_must_say_it_all() {
        let long = memory(1, "The user likes strong green tea in the morning.", [1.0, 0.0, 0.0]);
        let short = memory(2, "The user likes green tea.", [1.0, 0.0, 0.0]);
        assert_eq!(best_member(&[&short, &long]).as_deref(), Some(long.content.as_str()));
        let rex = memory(3, "The user has a dog named Rex.", [1.0, 0.0, 0.0]);
        let max = memory(4, "The user has a dog named Max.", [1.0, 0.0, 0.0]);
        assert_eq!(best_member(&[&rex, &max]), None);
    }

    #[test]
    fn the_most_frequent_primary_tag_leads() {
        let tagged = |number, tags: &[&str]| {
            let mut memory = memory(number, "x", [1.0, 0.0, 0.0]);
            memory.tags = tags.iter().map(ToString::to_string).collect();
            memory
        };
        let members = [tagged(1, &["fact", "a"]), tagged(2, &["preference"]), tagged(3, &["preference", "b"])];
        assert_eq!(tags(&members.iter().collect::<Vec<_>>()), ["preference", "fact", "a", "b"]);
    }
}
