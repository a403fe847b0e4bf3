//! `make bench`: the embedder against ONNX Runtime with the same model on the same cores, in one run.
//!
//! Ours is timed through the room's handle, tokenizing and waking the workers included; theirs is the session alone. The
//! two take turns, a burst each, so that whatever else the machine does falls on both; ratios are of medians.

mod onnx;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use greenroom_embedder::{Availability, Choice, Embedder, EmbedderSettings, Lane, Vector};
use greenroom_kit::{Board, Supervisor};
use serde::Deserialize;

use onnx::Onnx;

/// ONNX Runtime's time for one sentence, ours at most so much of it.
const MOST_TIME: f64 = 1.25;
/// ONNX Runtime's throughput in batches, ours at least so much of it.
const LEAST_THROUGHPUT: f64 = 0.6;
/// Cosine to the same text's vector elsewhere.
const LEAST_COSINE: f32 = 0.9999;
/// Threads on either side, where there are as many cores.
const THREADS: usize = 2;
/// Between bursts: idle threads of the other side spin for a while.
const PAUSE: Duration = Duration::from_millis(10);

const SHORT: &str = "What did I say about my sister's wedding?";
const SENTENCE: &str = "On the way home from the market she told me that her brother had sold the old boat, \
    bought a small house near the lake, and wanted to keep bees there next spring.";

#[derive(Deserialize)]
struct Reference {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    text: String,
    vector: Vec<f32>,
}

/// Milliseconds of a case on both sides.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("embedder bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join(".local/minilm");
    let threads = std::thread::available_parallelism()?.get().min(THREADS);
    let (embedder, _tree) = start(model.clone(), threads).await?;
    let mut onnx = Onnx::start(root, &model, threads)?;
    println!("all-MiniLM-L6-v2 on {threads} threads, against ONNX Runtime {} (session alone)", onnx.version);

    let mut good = true;
    let texts = [SHORT, SENTENCE, "hi", "naïve café — 漢字 🙂 100 %", "fn main() { println!(\"{}\", 40 + 2); }"];
    let texts: Vec<String> = texts.iter().map(ToString::to_string).chain([SENTENCE.repeat(6)]).collect();
    let theirs = onnx.run(&texts, 1, true)?.vectors;
    good &= compare(&embedder, "ONNX Runtime's vectors", texts.into_iter().zip(theirs).collect()).await?;
    let file = root.join("../shared/data/minilm-reference.json");
    if let Ok(json) = std::fs::read_to_string(&file) {
        let reference: Reference = serde_json::from_str(&json)?;
        let items = reference.items.into_iter().map(|item| (item.text, item.vector)).collect();
        good &= compare(&embedder, "minilm-reference.json", items).await?;
    }

    println!("{:<38}{:>10}{:>10}{:>10}{:>10}", "", "ours", "ONNX", "ratio", "budget");
    for (name, texts, rounds, runs) in [
        ("one short sentence", vec![SHORT.to_owned()], 40, 6),
        ("one sentence", vec![SENTENCE.to_owned()], 20, 6),
        ("batch of 32 sentences", vec![SENTENCE.to_owned(); 32], 12, 2),
    ] {
        let (mut times, mut tokens) = (Times::default(), 0);
        for _ in 0..rounds {
            tokens = turn(&embedder, &mut onnx, &texts, runs, &mut times).await?;
        }
        good &= report(name, texts.len(), tokens, times);
    }
    Ok(good)
}

/// A burst on either side; the first run of each is for warming up. Gives the word pieces of a text.
async fn turn(
    embedder: &Embedder,
    onnx: &mut Onnx,
    texts: &[String],
    runs: usize,
    times: &mut Times,
) -> anyhow::Result<usize> {
    tokio::time::sleep(PAUSE).await;
    for run in 0..=runs {
        let begin = Instant::now();
        embedder.embed(texts.to_vec(), Lane::Interactive).await?;
        if run > 0 {
            times.ours.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    tokio::time::sleep(PAUSE).await;
    let answer = onnx.run(texts, runs + 1, false)?;
    times.theirs.extend(answer.ms.iter().skip(1));
    Ok(answer.tokens / texts.len())
}

async fn start(model: PathBuf, threads: usize) -> anyhow::Result<(Embedder, Supervisor)> {
    let (tree, _) = Supervisor::root(Board::default()).await?;
    let model = Choice::MiniLm { dir: model };
    // Nothing is remembered, so that every run computes.
    let settings = EmbedderSettings { model, threads, query_cache: 0, ..EmbedderSettings::default() };
    let before = resident();
    let began = Instant::now();
    let embedder = Embedder::start(&tree, settings).await?;
    match embedder.ready().await {
        Availability::Ready => {}
        Availability::Unavailable(reason) => bail!("{reason}"),
        Availability::Loading => bail!("still loading"),
    }
    let took = began.elapsed().as_millis();
    println!("loaded in {took} ms; resident memory {:.0} MB more than before", resident() - before);
    Ok((embedder, tree))
}

/// Prints the least cosine between our vectors and others.
async fn compare(embedder: &Embedder, with: &str, items: Vec<(String, Vec<f32>)>) -> anyhow::Result<bool> {
    let mut least = 1.0f32;
    for (text, vector) in items {
        let theirs = Vector::new(vector).context("a vector")?;
        least = least.min(embedder.query(&text).await?.cosine(&theirs));
    }
    println!(
        "{:<38}{least:>40.6}  {} {LEAST_COSINE}",
        format!("least cosine to {with}"),
        verdict(least >= LEAST_COSINE)
    );
    Ok(least >= LEAST_COSINE)
}

fn report(name: &str, texts: usize, tokens: usize, times: Times) -> bool {
    let (ours, theirs) = (median(times.ours), median(times.theirs));
    let name = format!("{name}, {tokens} word pieces");
    if texts == 1 {
        let ratio = ours / theirs;
        println!(
            "{name:<38}{ours:>7.2} ms{theirs:>7.2} ms{ratio:>10.2}  {} {MOST_TIME}",
            mark(ratio <= MOST_TIME, "≤")
        );
        return ratio <= MOST_TIME;
    }
    let rate = |ms: f64| f64::from(u32::try_from(texts).unwrap_or(u32::MAX)) * 1e3 / ms;
    let (ours, theirs) = (rate(ours), rate(theirs));
    let ratio = ours / theirs;
    let good = ratio >= LEAST_THROUGHPUT;
    println!("{name:<38}{ours:>8.0}/s{theirs:>8.0}/s{ratio:>10.2}  {} {LEAST_THROUGHPUT}", verdict(good));
    good
}

fn verdict(good: bool) -> String {
    mark(good, "≥")
}

fn mark(good: bool, sign: &str) -> String {
    format!("{} {sign}", if good { "ok" } else { "MISSED" })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory in megabytes, where the system tells.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}
