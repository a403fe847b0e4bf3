//! What llama.cpp says on the same files: `tests/golden` tells how it was recorded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use fearless_simd::Level;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::file::GgufFile;
use crate::kernels::levels;
use crate::model::{Architecture, BATCH, Model, Team};
use crate::quant::Quant;
use crate::sample::Sample;
use crate::sampling::{Sampler, Sampling};
use crate::tokenizer::Tokenizer;

const CONTEXT: usize = 512;

/// Activations are rounded to bytes; whatever comes in another order is rounded otherwise here and there, which is noise
/// of some hundredths of the logits' spread. The recorded answers are ones that such noise does not change.
const MOST_OFF: f32 = 0.1;

#[derive(Deserialize)]
struct Golden {
    models: BTreeMap<String, Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    sha256: String,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    prompt: String,
    tokens: Vec<u32>,
    answer: Vec<u32>,
    first_logits: Vec<f32>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answers.json"));
    serde_json::from_str(&text.expect("golden answers")).expect("golden answers")
}

/// Writes the sample that was recorded under this name and opens it.
fn model(name: &str, recorded: &Recorded, folder: &Path) -> Model {
    let path = folder.join(name);
    let (family, quant) = name.strip_suffix("-f32").map_or((name, Quant::Q8_0), |family| (family, Quant::F32));
    let family = Architecture::ALL.into_iter().find(|architecture| architecture.name() == family).expect("a family");
    Sample { quant, ..Sample::tiny(family) }.write(&path).expect("written");
    let hash = Sha256::digest(std::fs::read(&path).expect("a file")).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    });
    assert_eq!(hash, recorded.sha256, "{name} is not the file that was recorded: see tests/golden/README.md");
    Model::new(GgufFile::open(&path).expect("a model"), CONTEXT).expect("a model")
}

/// The standard deviation.
fn spread(numbers: &[f32]) -> f32 {
    let count = numbers.len() as f32;
    let mean = numbers.iter().sum::<f32>() / count;
    (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f32>() / count).sqrt()
}

/// The likeliest tokens after a prompt.
fn greedy(team: &mut Team, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(Sampling::default());
    let mut tokens = prompt.to_vec();
    let mut done = 0;
    while tokens.len() < prompt.len() + count {
        let next = (done + BATCH).min(tokens.len());
        team.pass(&tokens[done..next], done, next == tokens.len()).expect("a pass");
        done = next;
        if done == tokens.len() {
            tokens.push(sampler.choose(team.logits(), &[], 0).expect("a token"));
        }
    }
    tokens.split_off(prompt.len())
}

#[test]
fn greedy_answers_are_those_of_llama_cpp() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for (name, recorded) in golden().models {
        let model = Arc::new(model(&name, &recorded, folder.path()));
        let tokenizer = Tokenizer::read(&model.file, model.shape.vocabulary).expect("a tokenizer");
        // More threads than heads are as many as heads.
        let crews = levels().into_iter().map(|level| (level, 1)).chain([(Level::new(), 2), (Level::new(), 9)]);
        for (level, threads) in crews {
            let mut team = Team::start(model.clone(), level, threads, CONTEXT).expect("a team");
            for (n, answer) in recorded.answers.iter().enumerate() {
                assert_eq!(tokenizer.encode(&answer.prompt).expect("tokens"), answer.tokens, "{name} {n}");
                team.pass(&answer.tokens, 0, true).expect("a pass");
                let off = team.logits().iter().zip(&answer.first_logits).map(|(l, r)| (l - r).abs());
                let off = off.fold(0.0, f32::max) / spread(team.logits());
                let found = greedy(&mut team, &answer.tokens, answer.answer.len());
                let same = found.iter().zip(&answer.answer).take_while(|(found, expected)| found == expected).count();
                if off > MOST_OFF || same < found.len() {
                    wrong
                        .push(format!("{name} {n} with {threads}: logits {off} off, {same} of {} tokens", found.len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
