//! Evidence recall of the episode index on conversations in the LoCoMo form, candidates chosen as the server chooses them.
//!
//! `cargo run --release -p greenroom-lexicon --example recall -- CONVERSATION.json [COSINES.bin] …`: the second file holds
//! cosines as little-endian f32, to each message alone and then to each in context, question by question. Without it only
//! words, speakers and times decide. Baselines over the same messages are printed beside it.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use greenroom_lexicon::{Cast, Episode, EpisodeIndex, Filter, Role, Similarities, rank, terms};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

#[path = "../../../benches/memory/baselines.rs"]
mod baselines;

#[derive(Deserialize)]
struct Conversation {
    turns: Vec<Turn>,
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Turn {
    id: String,
    session: u64,
    speaker: String,
    text: String,
    at: Timestamp,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    category: u8,
    evidence: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut all, mut by_category) = (Tally::default(), HashMap::<u8, Tally>::new());
    let mut plain = BTreeMap::<&str, Tally>::new();
    let mut files = std::env::args().skip(1).peekable();
    while let Some(file) = files.next() {
        let cosines = files.next_if(|file| file.ends_with(".bin")).map(fs::read).transpose()?;
        let cosines: Option<Vec<f32>> = cosines.map(|bytes| {
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
        });
        let conversation: Conversation = serde_json::from_slice(&fs::read(&file)?)?;
        let mut one = Tally::default();
        evaluate(&conversation, cosines.as_deref(), |category, recalls| {
            one.add(recalls);
            all.add(recalls);
            by_category.entry(category).or_default().add(recalls);
        });
        println!("{file}: {one}");
        compare(&conversation, cosines.as_deref(), |name, recalls| plain.entry(name).or_default().add(recalls));
    }
    let mut categories: Vec<_> = by_category.into_iter().collect();
    categories.sort_by_key(|(category, _)| *category);
    for (category, tally) in categories {
        println!("category {category}: {tally}");
    }
    println!("all: {all}");
    for (name, tally) in plain {
        println!("{name}: {tally}");
    }
    Ok(())
}

fn evaluate(conversation: &Conversation, cosines: Option<&[f32]>, mut tell: impl FnMut(u8, [f64; 3])) {
    let turns = &conversation.turns;
    let id = |turn: usize| Uuid::from_u128(turn as u128 + 1);
    let mut index = EpisodeIndex::new();
    for (number, turn) in turns.iter().enumerate() {
        index.insert(Episode {
            id: id(number),
            at: turn.at.as_microsecond(),
            seq: i64::try_from(number).unwrap_or_default(),
            session: Some(Uuid::from_u128(u128::from(turn.session))),
            user: None,
            role: Role::User,
            content: &format!("{}: {}", turn.speaker, turn.text),
        });
    }
    let (cast, now, filter) = (Cast::default(), Timestamp::UNIX_EPOCH, Filter::default());
    for (asked_as, asked) in conversation.questions.iter().enumerate() {
        let question = index.question(&asked.question, &cast, now);
        let mut candidates = index.candidates(&question, &filter, 200);
        let cosine = |leg: usize, turn: usize| {
            cosines
                .and_then(|all| all.get((leg * conversation.questions.len() + asked_as) * turns.len() + turn))
                .copied()
        };
        if cosines.is_some() {
            let mut others = Vec::new();
            for leg in 0..2 {
                let mut nearest: Vec<usize> = (0..turns.len()).collect();
                nearest.sort_by(|one, other| {
                    cosine(leg, *other).unwrap_or_default().total_cmp(&cosine(leg, *one).unwrap_or_default())
                });
                others.extend(nearest.into_iter().take(100).map(id));
            }
            others.retain(|id| !candidates.iter().any(|candidate| candidate.id == *id));
            candidates.extend(index.describe(&question, &filter, &others));
        }
        let items: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                let turn = usize::try_from(candidate.id.as_u128() - 1).unwrap_or_default();
                let alike = cosine(0, turn).zip(cosine(1, turn)).map(|(own, context)| Similarities { own, context });
                (*candidate, alike)
            })
            .collect();
        let ranked = rank(&question, &items);
        let evidence: Vec<Uuid> = asked
            .evidence
            .iter()
            .filter_map(|wanted| turns.iter().position(|turn| turn.id == *wanted).map(id))
            .collect();
        let recall = |k: usize| {
            let found =
                evidence.iter().filter(|wanted| ranked.iter().take(k).any(|ranked| ranked.id == **wanted)).count();
            found as f64 / evidence.len().max(1) as f64
        };
        tell(asked.category, [5, 10, 20].map(recall));
    }
}

/// The baselines, all over the same messages.
fn compare(conversation: &Conversation, cosines: Option<&[f32]>, mut tell: impl FnMut(&'static str, [f64; 3])) {
    let (turns, questions) = (&conversation.turns, &conversation.questions);
    let sessions: Vec<u64> = turns.iter().map(|turn| turn.session).collect();
    let lines: Vec<String> = turns.iter().map(|turn| format!("{}: {}", turn.speaker, turn.text)).collect();
    let raw: Vec<Vec<String>> = lines.iter().map(|line| baselines::raw_words(line)).collect();
    let stemmed: Vec<Vec<String>> = lines.iter().map(|line| terms(line)).collect();
    let windows = [1, 3].map(|around| baselines::windows(&stemmed, &sessions, around));
    for (number, asked) in questions.iter().enumerate() {
        let query = terms(&asked.question);
        let evidence: Vec<usize> =
            asked.evidence.iter().filter_map(|wanted| turns.iter().position(|turn| turn.id == *wanted)).collect();
        let mut score = |name, scores: &[f32]| {
            let order = baselines::order(scores);
            tell(name, [5, 10, 20].map(|k| baselines::recall(&order, &evidence, k)));
        };
        let own = baselines::bm25(&stemmed, &query);
        score("BM25, raw words", &baselines::bm25(&raw, &baselines::raw_words(&asked.question)));
        score("BM25, stems", &own);
        let [one, three] = &windows.each_ref().map(|window| baselines::bm25(window, &query));
        score("BM25, stems, one neighbour each side", one);
        let legs = (0..2).filter_map(|leg| {
            let from = (leg * questions.len() + number) * turns.len();
            cosines.and_then(|all| all.get(from..from + turns.len()))
        });
        let legs: Vec<&[f32]> = legs.collect();
        let [alone, context] = legs[..] else { continue };
        score("vectors without names", alone);
        score("rank fusion of vectors and BM25", &baselines::fused(&[alone, &own]));
        let mut sum = vec![0.0; turns.len()];
        for leg in [&own, one, three, alone, context] {
            sum.iter_mut().zip(baselines::standardised(leg)).for_each(|(sum, leg)| *sum += leg);
        }
        for (sum, turn) in sum.iter_mut().zip(turns) {
            *sum += if asked.question.contains(&turn.speaker) { 2.0 } else { 0.0 };
        }
        score("sum of standardised scores and a bonus for the speaker", &sum);
    }
}

#[derive(Default)]
struct Tally {
    questions: usize,
    sums: [f64; 3],
}

impl Tally {
    fn add(&mut self, recalls: [f64; 3]) {
        self.questions += 1;
        for (sum, recall) in self.sums.iter_mut().zip(recalls) {
            *sum += recall;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [five, ten, twenty] = self.sums.map(|sum| sum / self.questions.max(1) as f64);
        write!(out, "{} questions, recall@5 {five:.3} @10 {ten:.3} @20 {twenty:.3}", self.questions)
    }
}
