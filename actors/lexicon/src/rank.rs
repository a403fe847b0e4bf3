//! How good a message is as an answer's source: a weighted sum of a few features, each within 0..1 or nearly so and none of
//! them scaled by the collection, so that scores mean the same in a chat of ten messages and of a million. The weights were
//! fitted on one public conversation and tried on another, both ways round (`benches/memory/README.md`). Pure.

use uuid::Uuid;

use crate::question::Question;

/// Weight of the words, said here or nearby.
const WORDS: f32 = 0.44;
/// Weight of the likeness of the message itself.
const MEANING: f32 = 0.25;
/// Weight of the likeness of the message among its neighbours.
const SURROUNDINGS: f32 = 0.30;
/// Weight of being said by whom the question is about.
const SPEAKER: f32 = 0.14;
/// Weight of telling a time when the question asks for one.
const TELLS_TIME: f32 = 0.115;
/// Weight of being said at the time that the question names.
const NAMED_TIME: f32 = 0.20;
/// Questions hold few answers.
const ASKS: f32 = -0.025;
/// People tell facts about themselves in the first person.
const FIRST_PERSON: f32 = 0.02;

/// What the words, the speaker and the time of a message say about it, before vectors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Features {
    /// Share of the question's information in words that are said in the message itself, about 0..1.
    pub own: f32,
    /// The same with its neighbours, which count less the farther off they are. Never less than `own`.
    pub near: f32,
    /// Whether the speaker is meant: 1 for the person named first, less for others and for pronouns, else 0.
    pub speaker: f32,
    /// 1 when the question asks when and the message tells a time, else 0.
    pub tells_time: f32,
    /// How well the message's day fits the time that the question names, 0..1.
    pub named_time: f32,
    /// 1 for a question.
    pub asks: f32,
    /// 1 for somebody speaking of himself.
    pub first_person: f32,
}

/// A message that might be meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The message.
    pub id: Uuid,
    /// What is known of it without vectors.
    pub features: Features,
}

/// Cosines of the question's vector to those of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarities {
    /// To the message alone, -1..1.
    pub own: f32,
    /// To the message among its neighbours, -1..1.
    pub context: f32,
}

/// What each feature gave to a score; they add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// Words of the question, here or nearby.
    pub words: f32,
    /// Likeness of the message.
    pub meaning: f32,
    /// Likeness of the message among its neighbours.
    pub surroundings: f32,
    /// Who said it.
    pub speaker: f32,
    /// Time: told when asked for, and named by the question.
    pub time: f32,
    /// Question or first person.
    pub form: f32,
}

impl Parts {
    /// Their sum.
    #[must_use]
    pub fn total(&self) -> f32 {
        self.words + self.meaning + self.surroundings + self.speaker + self.time + self.form
    }
}

/// A candidate with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The message.
    pub id: Uuid,
    /// About 0..1; comparable between questions only roughly.
    pub score: f32,
    /// Where the score comes from.
    pub parts: Parts,
}

/// Orders candidates, best first, equal ones by id. A candidate without vectors is taken to be as alike as the others are on
/// average, so that words alone decide about it.
#[must_use]
pub fn rank(_question: &Question, items: &[(Candidate, Option<Similarities>)]) -> Vec<Ranked> {
    let known: Vec<Similarities> = items.iter().filter_map(|(_, similarities)| *similarities).collect();
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let average = |of: fn(&Similarities) -> f32| known.iter().map(of).sum::<f32>() / known.len().max(1) as f32;
    let usual = Similarities { own: average(|alike| alike.own), context: average(|alike| alike.context) };
    let mut ranked: Vec<Ranked> = items
        .iter()
        .map(|(candidate, similarities)| {
            let parts = parts(&candidate.features, similarities.unwrap_or(usual));
            Ranked { id: candidate.id, score: parts.total(), parts }
        })
        .collect();
    ranked.sort_unstable_by(|one, other| other.score.total_cmp(&one.score).then_with(|| one.id.cmp(&other.id)));
    ranked
}

fn parts(features: &Features, alike: Similarities) -> Parts {
    Parts {
        words: WORDS * features.near,
        meaning: MEANING * sane(alike.own),
        surroundings: SURROUNDINGS * sane(alike.context),
        speaker: SPEAKER * features.speaker,
        time: TELLS_TIME * features.tells_time + NAMED_TIME * features.named_time,
        form: ASKS * features.asks + FIRST_PERSON * features.first_person,
    }
}

fn sane(cosine: f32) -> f32 {
    if cosine.is_finite() { cosine.clamp(-1.0, 1.0) } else { 0.0 }
}

/// The part of the score that needs no vectors.
pub(crate) fn without_vectors(features: &Features) -> f32 {
    parts(features, Similarities { own: 0.0, context: 0.0 }).total()
}
