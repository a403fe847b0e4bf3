//! Comparing texts by their words: what a fact shares with what was said, and how alike two statements are. Pure.

use std::collections::HashSet;

use greenroom_lexicon::terms;

/// The stems of a text.
pub(crate) fn stems(text: &str) -> HashSet<String> {
    terms(text).into_iter().collect()
}

/// Shared stems by all stems; 0 when there are none.
#[expect(clippy::cast_precision_loss, reason = "counts of words are small")]
pub(crate) fn jaccard(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 { 0.0 } else { shared as f64 / all as f64 }
}

/// A text in lower case with its white space collapsed.
pub(crate) fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// 2 · matching characters / all characters, by longest matching blocks; 1 for equal texts. Only the first 600 characters
/// count.
#[expect(clippy::cast_precision_loss, reason = "at most 1,200 characters")]
pub(crate) fn similarity_ratio(a: &str, b: &str) -> f64 {
    let a: Vec<char> = a.chars().take(600).collect();
    let b: Vec<char> = b.chars().take(600).collect();
    let all = a.len() + b.len();
    if all == 0 {
        return 1.0;
    }
    let mut matching = 0;
    let mut parts = vec![(0, a.len(), 0, b.len())];
    while let Some((a0, a1, b0, b1)) = parts.pop() {
        let Some((at_a, at_b, length)) = longest_block(&a[a0..a1], &b[b0..b1]) else { continue };
        matching += length;
        parts.push((a0, a0 + at_a, b0, b0 + at_b));
        parts.push((a0 + at_a + length, a1, b0 + at_b + length, b1));
    }
    2.0 * matching as f64 / all as f64
}

/// The first longest stretch that both have: where in each, and how long.
fn longest_block(a: &[char], b: &[char]) -> Option<(usize, usize, usize)> {
    let mut best = (0, 0, 0);
    let mut row = vec![0_usize; b.len() + 1];
    for (i, x) in a.iter().enumerate() {
        let mut before = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { before + 1 } else { 0 };
            if row[j + 1] > best.2 {
                best = (i + 1 - row[j + 1], j + 1 - row[j + 1], row[j + 1]);
            }
            before = above;
        }
    }
    (best.2 > 0).then_some(best)
}

/// Numbers, and words that begin with a capital letter inside a sentence: what a merged text must not lose.
pub(crate) fn landmarks(text: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut begins = true;
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let bare = bare.strip_suffix("'s").or_else(|| bare.strip_suffix("’s")).unwrap_or(bare);
        let capital = bare.chars().next().is_some_and(char::is_uppercase);
        if bare.chars().any(char::is_numeric) || (capital && !begins) {
            found.insert(bare.to_lowercase());
        }
        begins = word.ends_with(['.', '!', '?', ':']);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ratios_are_those_of_longest_blocks() {
        assert!((similarity_ratio("abcd", "bcde") - 0.75).abs() < 1e-9);
        assert!((similarity_ratio("", "") - 1.0).abs() < 1e-9);
        assert!(similarity_ratio("abc", "xyz").abs() < 1e-9);
        assert!(similarity_ratio("the user has a dog named rex", "the user has a dog named max") > 0.85);
    }

    #[test]
    fn landmarks_are_numbers_and_names() {
        let marks = landmarks("The user met Ann's sister in Lyon on 3 May. She has 2 dogs.");
        assert_eq!(marks, ["ann", "lyon", "3", "may", "2"].map(str::to_owned).into());
    }

    proptest! {
        #[test]
        fn a_ratio_is_a_share_and_reflexive(a in ".{0,40}", b in ".{0,40}") {
            let ratio = similarity_ratio(&a, &b);
            prop_assert!((0.0..=1.0).contains(&ratio));
            prop_assert!((similarity_ratio(&a, &a) - 1.0).abs() < 1e-9);
            let _ = landmarks(&a);
        }
    }
}
