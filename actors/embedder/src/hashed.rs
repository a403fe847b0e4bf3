//! The embedder of tests: a bag of hashed words.
//!
//! Each lower-cased word adds 1 to or takes 1 from eight of the 384 numbers, which its hash chooses. Nothing here depends
//! on the platform or on the version of a library, so that expected values may stand in tests.

use crate::DIMENSION;
use crate::vector::Vector;

/// Marks that one word leaves.
const MARKS: u64 = 8;

/// The vector of a text and the number of its words; `None` for blank text.
pub(crate) fn embed(text: &str) -> (Option<Vector>, usize) {
    let mut numbers = vec![0.0f32; DIMENSION];
    let mut words = 0;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        mark(&mut numbers, &word.to_lowercase());
        words += 1;
    }
    if words == 0 && !text.trim().is_empty() {
        mark(&mut numbers, text.trim());
        words = 1;
    }
    let vector = Vector::new(numbers);
    if vector.is_none() && words > 0 {
        // The words cancelled each other out.
        let mut numbers = vec![0.0f32; DIMENSION];
        mark(&mut numbers, text.trim());
        return (Vector::new(numbers), words);
    }
    (vector, words)
}

fn mark(numbers: &mut [f32], word: &str) {
    let seed = word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3) // FNV-1a
    });
    for n in 1..=MARKS {
        let bits = mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let place = usize::try_from(bits % 384).unwrap_or(0);
        if let Some(number) = numbers.get_mut(place) {
            *number += if bits >> 63 == 0 { 1.0 } else { -1.0 };
        }
    }
}

/// The finaliser of SplitMix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_make_texts_alike() {
        let vector = |text| embed(text).0.expect("not blank");
        let (a, b, c) = (vector("The red bicycle"), vector("a RED bicycle!"), vector("quarterly revenue"));
        assert!(a.cosine(&b) > 0.5 && a.cosine(&c) < 0.3);
        assert_eq!(vector("one two"), vector("two, one"));
        assert_eq!(embed("one two three").1, 3);
        assert!(embed(" \n").0.is_none());
        assert!(embed("🙂").0.is_some());
    }
}
