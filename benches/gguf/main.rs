//! `make bench BENCH=gguf`: local models against llama.cpp with the same file on the same cores, in one run.
//!
//! The model is a Llama of 134 million parameters in q8_0 with random weights, written into the target folder. Ours is
//! timed through the engine's handle, sampling and text included; theirs is llama.cpp's evaluation and the search for the
//! likeliest token. The two take turns, so that whatever else the machine does falls on both; ratios are of medians.
//! Without `.local/llama-cpp` (see actors/gguf/tests/golden/README.md) only our own figures are printed.

mod llama;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use greenroom_gguf::sample::Sample;
use greenroom_gguf::{Engine, Event, LoadOptions, Prompt, Request, Sampling, Usage};
use tokio_util::sync::CancellationToken;

use llama::Llama;

/// llama.cpp's tokens a second, ours at least so much of it.
const LEAST_PREFILL: f64 = 1.2;
const LEAST_DECODE: f64 = 1.0;
/// Threads on either side, where there are as many cores.
const THREADS: usize = 2;
/// Turns of either side.
const ROUNDS: usize = 8;
/// Words of a prompt: some 500 tokens.
const WORDS: usize = 176;
/// Tokens of an answer.
const ANSWER: u32 = 128;
/// Between turns: idle threads of the other side spin for a while.
const PAUSE: Duration = Duration::from_millis(20);

/// Tokens a second.
#[derive(Default)]
struct Rates {
    prefill: Vec<f64>,
    decode: Vec<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gguf bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = written(root)?;
    let threads = std::thread::available_parallelism()?.get().min(THREADS);
    println!("a Llama of 134 M parameters in q8_0 on {threads} threads");

    let mut llama = Llama::start(root, &model, threads)?;
    let before = resident();
    let began = Instant::now();
    let engine = Engine::load(model, LoadOptions { threads, ..LoadOptions::default() }).await?;
    let loaded = began.elapsed().as_secs_f64() * 1e3;
    let (mut ours, mut theirs) = (Rates::default(), Rates::default());
    let mut tokens = 0;
    // The first turn is for warming up.
    for round in 0..=ROUNDS {
        let prompt: String = (0..WORDS).map(|word| format!("{} ", (word * 31 + round * 17) % 99)).collect();
        tokio::time::sleep(PAUSE).await;
        let rates = turn(&engine, &prompt, &mut tokens).await?;
        let others = match &mut llama {
            Some(llama) => {
                tokio::time::sleep(PAUSE).await;
                Some(llama.turn(&prompt, ANSWER)?)
            }
            None => None,
        };
        if round > 0 {
            ours.prefill.push(rates.0);
            ours.decode.push(rates.1);
            if let Some(others) = others {
                theirs.prefill.push(others.prefill);
                theirs.decode.push(others.decode);
            }
        }
    }
    let memory = resident() - before;
    let Some(llama) = llama else {
        println!("loaded in {loaded:.0} ms, {memory:.0} MB resident; llama.cpp is not installed: skipped");
        println!("prefill of {tokens} tokens {:.0}/s, decode {:.0}/s", median(ours.prefill), median(ours.decode));
        return Ok(true);
    };
    println!("{:<28}{:>12}{:>12}{:>10}{:>10}", "", "ours", "llama.cpp", "ratio", "budget");
    println!("{:<28}{loaded:>9.0} ms{:>9.0} ms", "loading", llama.load_ms);
    println!("{:<28}{memory:>9.0} MB{:>9.0} MB", "resident memory", llama.resident_mb);
    let prefill = format!("prefill, {tokens} tokens");
    let mut good = report(&prefill, median(ours.prefill), median(theirs.prefill), LEAST_PREFILL);
    good &= report(&format!("decode, {ANSWER} tokens"), median(ours.decode), median(theirs.decode), LEAST_DECODE);
    engine.unload().await;
    Ok(good)
}

/// The model file; written once, elsewhere first, so that a cut-off run leaves no half of one.
fn written(root: &Path) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("gguf");
    let model = folder.join("llama-134m-q8_0.gguf");
    if !model.exists() {
        std::fs::create_dir_all(&folder)?;
        let draft = folder.join("draft.gguf");
        Sample::rig().write(&draft)?;
        std::fs::rename(draft, &model)?;
    }
    Ok(model)
}

/// Reads a new prompt, then answers it: tokens a second of either.
async fn turn(engine: &Engine, prompt: &str, tokens: &mut u32) -> anyhow::Result<(f64, f64)> {
    let (took, usage) = ask(engine, prompt, 1).await?;
    *tokens = usage.prompt_tokens;
    let prefill = f64::from(usage.prompt_tokens - usage.reused_tokens) / took;
    // The prompt is still known, but for its last token.
    let (took, usage) = ask(engine, prompt, ANSWER).await?;
    Ok((prefill, f64::from(usage.completion_tokens) / took))
}

async fn ask(engine: &Engine, prompt: &str, most: u32) -> anyhow::Result<(f64, Usage)> {
    let request = Request {
        prompt: Prompt::Text(prompt.to_owned()),
        sampling: Sampling::default(),
        stops: Vec::new(),
        max_tokens: Some(most),
    };
    let began = Instant::now();
    let mut reply = engine.generate(request, CancellationToken::new())?;
    while let Some(event) = reply.next().await {
        if let Event::Finish { usage, .. } = event? {
            return Ok((began.elapsed().as_secs_f64(), usage));
        }
    }
    bail!("an answer without end")
}

fn report(name: &str, ours: f64, theirs: f64, least: f64) -> bool {
    let ratio = ours / theirs;
    let good = ratio >= least;
    let verdict = if good { "ok" } else { "MISSED" };
    println!("{name:<28}{ours:>10.0}/s{theirs:>10.0}/s{ratio:>10.2}  {verdict} ≥ {least}");
    good
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory in megabytes, where the system tells.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}
