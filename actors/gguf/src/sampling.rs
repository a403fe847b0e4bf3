//! Choosing the next token from logits.

use std::hash::{BuildHasher, RandomState};

/// How tokens are chosen. The default takes the likeliest each time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0 or nothing: always the likeliest token.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that have this much probability together.
    pub top_p: Option<f32>,
    /// Only tokens with at least this part of the likeliest one's probability.
    pub min_p: Option<f32>,
    /// The same seed gives the same answer; without one, each answer differs.
    pub seed: Option<u64>,
    /// Above 1, recent tokens (of the prompt too) become less likely.
    pub repetition_penalty: Option<f32>,
    /// Taken from the logits of tokens that were chosen already.
    pub presence_penalty: Option<f32>,
    /// Taken from the logits of chosen tokens for each time.
    pub frequency_penalty: Option<f32>,
}

/// How many tokens the repetition penalty looks back.
const RECENT: usize = 64;
/// Logits so far below the highest have no probability to speak of.
const NEGLIGIBLE: f32 = 20.0;

/// Chooses the tokens of one answer.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: u64,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let random = sampling.seed.unwrap_or_else(|| RandomState::new().hash_one(0u8));
        Self { sampling, random, candidates: Vec::new() }
    }

    /// The next token; `tokens` are those of the prompt and the answer so far, of which `chosen` are the answer. `None`
    /// when the logits are no numbers.
    pub(crate) fn choose(&mut self, logits: &mut [f32], tokens: &[u32], chosen: usize) -> Option<u32> {
        self.penalize(logits, tokens, chosen);
        let (best, most) = likeliest(logits)?;
        let temperature = self.sampling.temperature.filter(|t| t.is_finite() && *t > 1e-4);
        let Some(temperature) = temperature else { return Some(best) };
        let least = self.sampling.min_p.map_or(0.0, |least| least.min(1.0));
        let weights = logits.iter().zip(0u32..).filter(|(logit, _)| **logit > most - NEGLIGIBLE * temperature);
        let weights = weights.map(|(logit, token)| (((logit - most) / temperature).exp(), token));
        self.candidates.clear();
        // The likeliest weighs 1.
        self.candidates.extend(weights.filter(|(weight, _)| *weight >= least));
        if let Some(share) = self.sampling.top_p.filter(|share| *share < 1.0) {
            keep_share(&mut self.candidates, share);
        }
        let kept = &self.candidates;
        let mut left = next_random(&mut self.random) * kept.iter().map(|(weight, _)| weight).sum::<f32>();
        let hit = kept.iter().find(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        hit.or(kept.first()).map(|(_, token)| *token)
    }

    fn penalize(&self, logits: &mut [f32], tokens: &[u32], chosen: usize) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        if let Some(penalty) = repetition_penalty.filter(|penalty| *penalty > 0.0 && *penalty != 1.0) {
            let mut recent = tokens[tokens.len().saturating_sub(RECENT)..].to_vec();
            recent.sort_unstable();
            recent.dedup();
            for token in recent {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                }
            }
        }
        let (presence, frequency) = (presence_penalty.unwrap_or(0.0), frequency_penalty.unwrap_or(0.0));
        if presence != 0.0 || frequency != 0.0 {
            let mut chosen = tokens[tokens.len().saturating_sub(chosen)..].to_vec();
            chosen.sort_unstable();
            for same in chosen.chunk_by(|a, b| a == b) {
                if let Some(logit) = same.first().and_then(|token| logits.get_mut(*token as usize)) {
                    *logit -= presence + frequency * same.len() as f32;
                }
            }
        }
    }
}

/// Keeps the heaviest candidates that have a share of all weight together, at least one.
fn keep_share(candidates: &mut Vec<(f32, u32)>, share: f32) {
    let heavier = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let wanted = candidates.iter().map(|(weight, _)| weight).sum::<f32>() * share;
    // A few hundred are nearly always enough; sorting a whole vocabulary would take as long as a small model.
    let mut count = 256;
    while count < candidates.len() {
        candidates.select_nth_unstable_by(count, heavier);
        if candidates[..count].iter().map(|(weight, _)| weight).sum::<f32>() >= wanted {
            candidates.truncate(count);
        }
        count *= 8;
    }
    candidates.sort_unstable_by(heavier);
    let mut sum = 0.0;
    let enough = candidates.iter().position(|(weight, _)| {
        sum += weight;
        sum >= wanted
    });
    candidates.truncate(enough.map_or(candidates.len(), |place| place + 1));
}

/// The likeliest token and its logit; the first of several equal ones.
fn likeliest(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in (0u32..).zip(logits) {
        if *logit > best.1 {
            best = (token, *logit);
        }
    }
    best.1.is_finite().then_some(best)
}

/// A number from 0 to below 1; SplitMix64 (Steele, Lea and Flood, 2014).
fn next_random(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(Sampling { seed: Some(7), ..sampling })
    }

    fn tally(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = sampler(sampling);
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.choose(&mut logits.to_vec(), &[], 0).expect("a token") as usize] += 1;
        }
        counts
    }

    #[test]
    fn without_temperature_the_likeliest_is_taken() {
        let mut greedy = sampler(Sampling::default());
        assert_eq!(greedy.choose(&mut [0.5, 2.0, 2.0, -1.0], &[], 0), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NAN, f32::NAN], &[], 0), None);
        assert_eq!(greedy.choose(&mut [f32::INFINITY, 0.0], &[], 0), None);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let logits = [3f32.ln(), 0.0, f32::NEG_INFINITY];
        let counts = tally(Sampling { temperature: Some(1.0), ..Sampling::default() }, &logits);
        assert!((2850..3150).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
        let cold = tally(Sampling { temperature: Some(0.5), ..Sampling::default() }, &logits);
        assert!((3500..3700).contains(&cold[0]), "nine in ten: {cold:?}");
    }

    #[test]
    fn unlikely_tokens_can_be_ruled_out() {
        let logits = [0.0, -0.5, -3.0, -4.0];
        let warm = Sampling { temperature: Some(1.0), ..Sampling::default() };
        let top = tally(Sampling { top_p: Some(0.9), ..warm.clone() }, &logits);
        assert!(top[1] > 0 && top[2] == 0 && top[3] == 0, "{top:?}");
        assert_eq!(tally(Sampling { top_p: Some(0.0), ..warm.clone() }, &logits)[0], 4000);
        let least = tally(Sampling { min_p: Some(0.3), ..warm }, &logits);
        assert!(least[1] > 0 && least[2] == 0, "{least:?}");
        // Of 5,000 equal ones and one that is as likely as a thousand of them, half the weight is that one and 2,000.
        let mut many: Vec<(f32, u32)> = (0..5000).map(|token| (1.0, token)).collect();
        many[4321].0 = 1000.0;
        keep_share(&mut many, 0.5);
        assert_eq!((many.len(), many[0], many[2000]), (2001, (1000.0, 4321), (1.0, 1999)));
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let run = |seed| {
            let sampling = Sampling { temperature: Some(1.0), seed, ..Sampling::default() };
            let mut sampler = Sampler::new(sampling);
            (0..32).map(|_| sampler.choose(&mut [0.0; 1000], &[], 0)).collect::<Vec<_>>()
        };
        assert_eq!(run(Some(1)), run(Some(1)));
        assert_ne!(run(Some(1)), run(Some(2)));
        assert_ne!(run(None), run(None));
    }

    #[test]
    fn penalties_hold_back_what_was_said() {
        let with = |sampling: Sampling| sampler(sampling).choose(&mut [1.0, 0.9, -1.0], &[1, 0, 0], 2);
        assert_eq!(with(Sampling { repetition_penalty: Some(2.0), ..Sampling::default() }), Some(0));
        assert_eq!(with(Sampling { presence_penalty: Some(0.3), ..Sampling::default() }), Some(1));
        assert_eq!(with(Sampling { frequency_penalty: Some(0.06), ..Sampling::default() }), Some(1));
        assert_eq!(with(Sampling { frequency_penalty: Some(0.04), ..Sampling::default() }), Some(0));
    }
}
