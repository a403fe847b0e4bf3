//! How much of what a question needs is found among raw messages: public conversations are imported, every question is
//! asked through `POST /v1/history/search`, and the messages that hold the answer are looked for among the first hits.
//!
//! Recall@k is the share of a question's evidence among the first k hits, averaged over all questions that have any.
//! The baselines are computed here, over the same messages with the same model.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use greenroom_embedder::{Embedder, Vector};
use greenroom_kit::{Board, Supervisor};
use greenroom_lexicon::terms;
use greenroom_test_support::load::{Row, Scratch, median, quantile, say};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::baselines::{bm25, fused, order, raw_words, recall, standardised, windows};
use crate::house::{House, Plot};
use crate::model;
use crate::options::Options;
use crate::turns::milliseconds;

/// Recall@10 that is promised, and the one that is aimed at.
const BUDGET: (f64, f64) = (0.80, 0.87);
/// The depths that are looked at.
const DEPTHS: [usize; 3] = [5, 10, 20];
/// What the bonus of the weighted sum is worth, in standard deviations.
const BONUS: f32 = 2.0;

#[derive(Deserialize)]
struct Conversation {
    turns: Vec<Turn>,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Turn {
    id: String,
    session: u64,
    speaker: String,
    text: String,
    at: String,
}

#[derive(Deserialize)]
struct Question {
    question: String,
    category: u8,
    evidence: Vec<String>,
}

impl Turn {
    fn line(&self) -> String {
        format!("{}: {}", self.speaker, self.text)
    }
}

impl Conversation {
    /// The questions with evidence, each with the places of its evidence.
    fn asked(&self) -> impl Iterator<Item = (&Question, Vec<usize>)> {
        let place = |id: &String| self.turns.iter().position(|turn| turn.id == *id);
        self.questions
            .iter()
            .map(move |question| (question, question.evidence.iter().filter_map(place).collect::<Vec<_>>()))
            .filter(|(_, evidence)| !evidence.is_empty())
    }
}

/// Averages of recalls.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    questions: f64,
    sums: [f64; 3],
}

impl Tally {
    fn add(&mut self, order: &[usize], evidence: &[usize]) {
        self.questions += 1.0;
        for (sum, depth) in self.sums.iter_mut().zip(DEPTHS) {
            *sum += recall(order, evidence, depth);
        }
    }

    fn means(&self) -> [f64; 3] {
        self.sums.map(|sum| sum / self.questions.max(1.0))
    }

    fn at_ten(&self) -> f64 {
        self.means()[1]
    }
}

/// What was found, by name; names are shown in their order.
type Found = BTreeMap<String, Tally>;

/// Measures and gives the lines of the table.
///
/// # Errors
/// When there is no data, no model or no server.
pub async fn measure(options: &Options, scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let conversations = conversations(&options.data)?;
    let (tree, _) = Supervisor::root(Board::default()).await?;
    let mut plain = Found::new();
    {
        let embedder = model::start(options, &tree.group("embedder").await?).await?;
        for (_, conversation) in &conversations {
            baselines(conversation, &embedder, &mut plain).await?;
        }
    }
    tree.shutdown().await;
    let house = House::open(options, scratch, Plot { name: "recall", embedder: true }).await?;
    let (mut ours, mut parts, mut times) = (Found::new(), Found::new(), Vec::new());
    let (mut messages, mut embedding) = (0.0, 0.0);
    for (name, conversation) in &conversations {
        // As a user's own notes, and as a talk between a user and a bot.
        for (bot, told_apart) in [(name.clone(), false), (format!("{name}-roles"), true)] {
            house.create_bot(&bot).await?;
            let begun = Instant::now();
            house.import(&records(conversation, &bot, told_apart)).await?;
            house.embedded(&bot).await?;
            house.indexed(&bot).await?;
            messages += conversation.turns.len() as f64;
            embedding += begun.elapsed().as_secs_f64();
            let modes: &[&str] = if told_apart { &["hybrid"] } else { &["hybrid", "text", "vector"] };
            for mode in modes {
                for (question, evidence) in conversation.asked() {
                    let begun = Instant::now();
                    let order = search(&house, conversation, &bot, &question.question, mode).await?;
                    times.push(milliseconds(begun.elapsed()));
                    let what = if told_apart { "this, roles told apart" } else { mode };
                    ours.entry(what.to_owned()).or_default().add(&order, &evidence);
                    if !told_apart && *mode == "hybrid" {
                        for part in [format!("category {}", question.category), name.clone()] {
                            parts.entry(part).or_default().add(&order, &evidence);
                        }
                    }
                }
            }
        }
    }
    house.close().await?;
    tell(&plain, &ours, &parts);
    let hybrid = ours.get("hybrid").copied().unwrap_or_default();
    let best = plain.values().map(Tally::at_ten).fold(0.0, f64::max);
    let main = Row {
        ratio: format!("{:.2}", hybrid.at_ten() / best.max(f64::EPSILON)),
        budget: format!("≥ {:.2}, aim {:.2}", BUDGET.0, BUDGET.1),
        kept: Some(hybrid.at_ten() >= BUDGET.0),
        figure: Some(("recall_at_10", hybrid.at_ten())),
        ..Row::note(
            &format!("evidence recall@10, {:.0} questions", hybrid.questions),
            format!("{best:.3} best baseline"),
            format!("{:.3}", hybrid.at_ten()),
        )
    };
    let [five, _, twenty] = hybrid.means();
    let took = format!("{:.1} ms, p99 {:.1} ms", median(&times), quantile(&times, 0.99));
    Ok(vec![
        main,
        Row::note("evidence recall@5, @20", String::new(), format!("{five:.3}, {twenty:.3}")),
        Row::note("history search over HTTP, p50", String::new(), took),
        Row::note(
            "import until found by meaning",
            String::new(),
            format!("{:.0} messages/s", messages / f64::max(embedding, f64::EPSILON)),
        ),
    ])
}

fn conversations(folder: &Path) -> anyhow::Result<Vec<(String, Conversation)>> {
    let folder_there = || format!("the conversations in {}", folder.display());
    let mut files: Vec<_> = std::fs::read_dir(folder).with_context(folder_there)?.flatten().collect();
    files.retain(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("locomo-") && name.ends_with(".json")
    });
    ensure!(!files.is_empty(), "there are no conversations (locomo-*.json) in {}", folder.display());
    files.sort_by_key(std::fs::DirEntry::file_name);
    files
        .iter()
        .map(|file| {
            let name = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            Ok((name, serde_json::from_slice(&std::fs::read(file.path())?)?))
        })
        .collect()
}

fn records(conversation: &Conversation, bot: &str, told_apart: bool) -> Vec<Value> {
    let first = conversation.turns.first().map(|turn| turn.speaker.as_str());
    let role = |turn: &Turn| match told_apart && Some(turn.speaker.as_str()) != first {
        true => "assistant",
        false => "user",
    };
    let record = |turn: &Turn| {
        json!({"kind": "message", "bot_id": bot, "role": role(turn), "content": turn.line(), "at": turn.at,
            "session": turn.session.to_string(), "id": turn.id})
    };
    conversation.turns.iter().map(record).collect()
}

/// The places of the hits, best first.
async fn search(
    house: &House,
    conversation: &Conversation,
    bot: &str,
    question: &str,
    mode: &str,
) -> anyhow::Result<Vec<usize>> {
    let ask = json!({"query": question, "bot_id": bot, "limit": DEPTHS[2], "mode": mode});
    let answer = house.post("/v1/history/search", &ask).await?;
    ensure!(answer["mode"] == mode, "another mode than asked for: {}", answer["mode"]);
    let hits = answer["messages"].as_array().context("no list of messages")?;
    let place = |hit: &Value| conversation.turns.iter().position(|turn| hit["client_id"] == turn.id.as_str());
    hits.iter().map(|hit| place(hit).context("a hit that was never imported")).collect()
}

/// Every baseline, for every question.
async fn baselines(conversation: &Conversation, embedder: &Embedder, found: &mut Found) -> anyhow::Result<()> {
    let turns = &conversation.turns;
    let sessions: Vec<u64> = turns.iter().map(|turn| turn.session).collect();
    let lines: Vec<String> = turns.iter().map(Turn::line).collect();
    let raw: Vec<Vec<String>> = lines.iter().map(|line| raw_words(line)).collect();
    let stems: Vec<Vec<String>> = lines.iter().map(|line| terms(line)).collect();
    let around = [1, 3].map(|neighbours| windows(&stems, &sessions, neighbours));
    let one_line: Vec<Vec<String>> = lines.iter().map(|line| vec![line.clone()]).collect();
    let joined: Vec<String> = windows(&one_line, &sessions, 1).iter().map(|near| near.join("\n")).collect();
    let questions: Vec<String> = conversation.asked().map(|(question, _)| question.question.clone()).collect();
    let alone = model::vectors(embedder, &lines).await?;
    let among = model::vectors(embedder, &joined).await?;
    let asked = model::vectors(embedder, &questions).await?;
    for ((question, evidence), vector) in conversation.asked().zip(&asked) {
        let cosines = |of: &[Vector]| of.iter().map(|other| other.cosine(vector)).collect::<Vec<f32>>();
        let (alone, among) = (cosines(&alone), cosines(&among));
        let (words, query) = (raw_words(&question.question), terms(&question.question));
        let (plain, stemmed) = (bm25(&raw, &words), bm25(&stems, &query));
        let [near, far] = around.each_ref().map(|windows| bm25(windows, &query));
        let legs = [&stemmed, &near, &far, &alone, &among].map(|leg| standardised(leg));
        let named = |turn: &Turn| if question.question.contains(&turn.speaker) { BONUS } else { 0.0 };
        let sum: Vec<f32> = (0..turns.len())
            .map(|at| legs.iter().filter_map(|leg| leg.get(at)).sum::<f32>() + turns.get(at).map_or(0.0, named))
            .collect();
        for (name, scores) in [
            ("1 vectors", &alone),
            ("2 BM25, raw words", &plain),
            ("3 BM25, stems without stop words", &stemmed),
            ("4 BM25, one neighbour each side", &near),
            ("5 rank fusion of 1 and 2", &fused(&[&alone, &plain])),
            ("6 sum of five standard scores, speaker", &sum),
        ] {
            found.entry(name.to_owned()).or_default().add(&order(scores), &evidence);
        }
    }
    Ok(())
}

fn tell(plain: &Found, ours: &Found, parts: &Found) {
    let line = |name: &str, tally: &Tally| {
        let [five, ten, twenty] = tally.means();
        say(&format!("{name:<42}{five:>8.3}{ten:>8.3}{twenty:>8.3}{:>8.0}", tally.questions));
    };
    say(&format!("{:<42}{:>8}{:>8}{:>8}{:>8}", "evidence recall", "@5", "@10", "@20", "of"));
    for (name, tally) in plain.iter().chain(ours).chain(parts) {
        line(name, tally);
    }
}
