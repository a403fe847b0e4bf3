//! How a memory is scored (memory.md §6.1 and §6.6). Pure: the reference that every way of finding candidates must agree
//! with. Deliberately absent: where candidates come from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::memories::StoredMemory;

/// Added to ranks before they are inverted: how slowly later ranks lose weight.
const RANK_OFFSET: f64 = 60.0;
/// The largest possible sum of inverted ranks: first by meaning and first by words.
const BEST_RANKS: f64 = 2.0 / (RANK_OFFSET + 1.0);
/// A memory that only words found counts as this similar at most.
const WORDS_ALONE: f64 = 0.5;
/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Weights of retrieval, per bot. Those out of range count as the nearest in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetrievalSettings {
    /// Share of the ranks (meaning and words together) in relevance, 0 to 1. 0 switches words off.
    pub hybrid_weight: f64,
    /// Share of the similarity of meanings, where both sides have one, 0 to 1.
    pub meaning_weight: f64,
    /// Whether questions about reasons and feelings are compared with what memories mean, too.
    pub meaning_query: bool,
    /// Whether memories fade.
    pub decay_enabled: bool,
    /// Days after which a memory about a relationship has lost half of its freshness.
    pub half_life_days: f64,
    /// How much each doubling of its uses strengthens a memory.
    pub access_boost: f64,
    /// Share of freshness, against importance, 0 to 1.
    pub recency_weight: f64,
    /// Whether a choice of the best makes room for other topics.
    pub diversity: bool,
    /// A memory chosen for its topic scores at least this share of the best, 0 to 1.
    pub diversity_floor: f64,
}

impl Default for RetrievalSettings {
    fn default() -> Self {
        Self {
            hybrid_weight: 0.3,
            meaning_weight: 0.3,
            meaning_query: false,
            decay_enabled: true,
            half_life_days: 90.0,
            access_boost: 0.15,
            recency_weight: 0.3,
            diversity: true,
            diversity_floor: 0.5,
        }
    }
}

impl RetrievalSettings {
    /// How many candidates by meaning `wanted` results need when words play no part (§6.1 step 1).
    #[must_use]
    pub fn candidates(&self, wanted: usize) -> usize {
        match (self.decay_enabled, self.diversity) {
            (true, true) => wanted * 4,
            (true, false) => wanted * 2,
            (false, _) => wanted,
        }
    }

    /// Whether words play a part.
    #[must_use]
    pub fn is_hybrid(&self) -> bool {
        self.hybrid_weight > 0.0
    }
}

/// How a score came about.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ScoreParts {
    /// Cosine of query and text, −1 to 1; half of `rrf_norm` for a memory without vector.
    pub sim: f64,
    /// Cosine of query and meaning, if both were compared.
    pub meaning_sim: Option<f64>,
    /// Place among the nearest, from 1.
    pub rank_vector: Option<u32>,
    /// Place among those with the best words, from 1.
    pub rank_text: Option<u32>,
    /// Both places in one number, 0 to 1.
    pub rrf_norm: f64,
    /// Relevance: similarity and places.
    pub rel: f64,
    /// Freshness, 0 to 1.
    pub decay: f64,
    /// Strength by use, from 1.
    pub boost: f64,
    /// What the order goes by.
    pub score: f64,
}

/// What is known of a candidate before it is scored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// Cosine of query and text, if both have a vector.
    pub sim: Option<f64>,
    /// Cosine of query and meaning, if both have one.
    pub meaning_sim: Option<f64>,
    /// Place among the nearest, from 1.
    pub rank_vector: Option<u32>,
    /// Place among those with the best words, from 1.
    pub rank_text: Option<u32>,
}

/// Scores one memory. `rrf = 1/(60+rank_v) + 1/(60+rank_t)`, `rel = (1−λ)·sim′ + λ·rrf/(2/61)`,
/// `score = ((1−w)·rel·importance + w·rel·decay)·boost`; λ = 0 leaves §6.1.
#[must_use]
pub fn score(memory: &StoredMemory, evidence: Evidence, settings: &RetrievalSettings, now: Timestamp) -> ScoreParts {
    let inverted = |rank: Option<u32>| rank.map_or(0.0, |rank| 1.0 / (RANK_OFFSET + f64::from(rank)));
    let lambda = settings.hybrid_weight.clamp(0.0, 1.0);
    let rrf_norm = (inverted(evidence.rank_vector) + inverted(evidence.rank_text)) / BEST_RANKS;
    let sim = evidence.sim.unwrap_or(WORDS_ALONE * rrf_norm);
    let blended = match evidence.meaning_sim {
        Some(meaning) => {
            let m = settings.meaning_weight.clamp(0.0, 1.0);
            (1.0 - m) * sim + m * meaning
        }
        None => sim,
    };
    let rel = (1.0 - lambda) * blended + lambda * rrf_norm;
    let age_days = (now.as_microsecond() - memory.created_at.as_microsecond()) as f64 / 1e6 / DAY;
    let decay = decay(memory.tags.first().map(String::as_str), age_days, settings);
    let boost = 1.0 + settings.access_boost.max(0.0) * (f64::from(memory.access_count.max(0)) + 1.0).ln();
    let w = settings.recency_weight.clamp(0.0, 1.0);
    let score = ((1.0 - w) * rel * f64::from(memory.importance) + w * rel * decay) * boost;
    ScoreParts {
        sim,
        meaning_sim: evidence.meaning_sim,
        rank_vector: evidence.rank_vector,
        rank_text: evidence.rank_text,
        rrf_norm,
        rel,
        decay,
        boost,
        score,
    }
}

/// Freshness after some days: halves every half-life, which the primary tag lengthens or shortens. 1 when memories do not
/// fade or the memory is from the future.
#[must_use]
pub fn decay(primary_tag: Option<&str>, age_days: f64, settings: &RetrievalSettings) -> f64 {
    if !settings.decay_enabled || age_days <= 0.0 {
        return 1.0;
    }
    let half_life = settings.half_life_days.max(0.001) * half_life_factor(primary_tag.unwrap_or_default());
    (-age_days * std::f64::consts::LN_2 / half_life).exp()
}

/// How much longer than a relationship a memory of this kind stays fresh.
#[must_use]
pub fn half_life_factor(primary_tag: &str) -> f64 {
    match primary_tag {
        "fact" => 2.0,
        "professional" => 1.5,
        "health" => 1.2,
        "preference" => 0.8,
        "event" => 0.5,
        "plan" => 0.3,
        _ => 1.0,
    }
}

/// Words by which a question asks for reasons or feelings.
const INWARD: [&str; 24] = [
    "how",
    "why",
    "should",
    "feel",
    "feels",
    "feeling",
    "feelings",
    "felt",
    "worry",
    "worried",
    "worries",
    "afraid",
    "hope",
    "hoping",
    "want",
    "wants",
    "need",
    "needs",
    "advice",
    "concern",
    "concerned",
    "struggle",
    "struggling",
    "upset",
];

/// Whether a question asks for reasons, intentions or feelings, so that what memories mean is worth comparing.
#[must_use]
pub fn is_inward(question: &str) -> bool {
    question
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| INWARD.iter().any(|inward| word.eq_ignore_ascii_case(inward)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memories::Meaning;

    fn memory(tag: &str, importance: f32, age_days: i64, access_count: i32, now: Timestamp) -> StoredMemory {
        let created_at = Timestamp::from_second(now.as_second() - age_days * 86_400).unwrap_or(now);
        StoredMemory {
            id: uuid::Uuid::nil(),
            seq: 1,
            content: "x".into(),
            tags: vec![tag.into()],
            importance,
            confidence: 1.0,
            sources: vec![],
            summary_sources: vec![],
            user: None,
            meaning: Meaning::default(),
            meaning_updated_at: None,
            access_count,
            last_accessed_at: None,
            superseded_by: None,
            superseded_at: None,
            supersede_reason: None,
            embedding_model: None,
            metadata: None,
            created_at,
            updated_at: created_at,
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn the_worked_value() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 20_000);
        let evidence = Evidence { sim: Some(0.80), rank_vector: Some(7), ..Evidence::default() };
        let settings = RetrievalSettings { hybrid_weight: 0.0, ..RetrievalSettings::default() };
        let parts = score(&memory("plan", 0.9, 27, 3, now), evidence, &settings, now);
        assert!(close(parts.decay, 0.5) && close(parts.boost, 1.207_944), "{parts:?}");
        // The importance of 0.9 is kept as a 32-bit number.
        assert!(close(parts.score, 0.753_757), "{parts:?}");
    }

    #[test]
    fn first_in_both_legs_is_as_good_as_ranks_get() {
        let now = Timestamp::UNIX_EPOCH;
        let best = Evidence { sim: Some(0.5), rank_vector: Some(1), rank_text: Some(1), ..Evidence::default() };
        let settings = RetrievalSettings::default();
        let parts = score(&memory("fact", 1.0, 0, 0, now), best, &settings, now);
        assert!(close(parts.rrf_norm, 1.0) && close(parts.rel, 0.7 * 0.5 + 0.3), "{parts:?}");
        // Without a vector, words alone count half.
        let words = Evidence { rank_text: Some(1), ..Evidence::default() };
        let parts = score(&memory("fact", 1.0, 0, 0, now), words, &settings, now);
        assert!(close(parts.rrf_norm, 0.5) && close(parts.sim, 0.25), "{parts:?}");
    }

    #[test]
    fn meaning_is_blended_in_and_settings_out_of_range_are_cut() {
        let now = Timestamp::UNIX_EPOCH;
        let meant = Evidence { sim: Some(0.4), meaning_sim: Some(0.9), ..Evidence::default() };
        let settings = RetrievalSettings { hybrid_weight: -3.0, recency_weight: 9.0, ..RetrievalSettings::default() };
        let parts = score(&memory("other", 0.1, 0, 0, now), meant, &settings, now);
        assert!(close(parts.rel, 0.7 * 0.4 + 0.3 * 0.9) && close(parts.score, parts.rel), "{parts:?}");
        assert!(close(decay(Some("fact"), -3.0, &settings), 1.0));
    }

    #[test]
    fn inward_questions() {
        assert!(is_inward("Why did she leave?") && is_inward("am I WORRIED about it"));
        assert!(!is_inward("When is the exam?") && !is_inward("show me"));
    }
}
