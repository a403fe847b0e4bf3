//! The real model against stored reference values (sentence-transformers on CPU). On a machine without the weights, which
//! may be, there is nothing to compare, and that it says so is what is tested.

#![expect(clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::path::{Path, PathBuf};

use greenroom_embedder::{Availability, Choice, Embedder, EmbedderSettings, Lane, Vector};
use greenroom_kit::{Board, Supervisor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    items: Vec<Item>,
    cosines: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Item {
    text: String,
    first: Vec<f32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/minilm")
}

/// The embedder with two threads, or `None` without weights.
async fn embedder() -> Option<(Embedder, Supervisor)> {
    let (group, _) = Supervisor::root(Board::default()).await.expect("a tree");
    let settings = EmbedderSettings { model: Choice::MiniLm { dir: folder() }, threads: 2, ..Default::default() };
    let embedder = Embedder::start(&group, settings).await.expect("an actor");
    match embedder.ready().await {
        Availability::Ready => Some((embedder, group)),
        Availability::Unavailable(reason) if !folder().join("model.safetensors").is_file() => {
            assert!(reason.contains("no weights"), "{reason}");
            eprintln!("no weights here, nothing compared: {reason}");
            None
        }
        other => panic!("the weights are there, and yet: {other:?}"),
    }
}

#[tokio::test]
async fn vectors_equal_the_reference() {
    let Some((embedder, _group)) = embedder().await else { return };
    let reference: Reference = serde_json::from_str(include_str!("reference.json")).expect("reference values");
    let texts: Vec<String> = reference.items.iter().map(|item| item.text.clone()).collect();
    let batch = embedder.embed(texts.clone(), Lane::Background).await.expect("vectors");
    let mut vectors: Vec<Vector> = Vec::new();
    for (item, vector) in reference.items.iter().zip(batch) {
        let alone = embedder.query(&item.text).await.expect("a vector");
        let vector = vector.expect("not blank");
        assert!(alone.cosine(&vector) > 0.999_999, "alone and in company: {}", item.text);
        for (found, expected) in vector.iter().zip(&item.first) {
            assert!((found - expected).abs() < 1e-4, "{}: {found} is not {expected}", item.text);
        }
        vectors.push(vector);
    }
    for (a, row) in vectors.iter().zip(&reference.cosines) {
        for (b, expected) in vectors.iter().zip(row) {
            assert!((a.cosine(b) - expected).abs() < 1e-4);
        }
    }
}

#[tokio::test]
async fn any_text_has_a_vector_and_long_ones_are_read_to_the_end() {
    let Some((embedder, _group)) = embedder().await else { return };
    let filler = "Nothing much happened on that day. ".repeat(60);
    let hostile = [
        "\u{0}\u{1}\u{fffd}".to_owned(),
        "[SEP] [CLS] [MASK] [PAD]".to_owned(),
        "🙂".repeat(300),
        "x".repeat(1_000_000),
        "a ".repeat(1_500),
        "漢".repeat(1_500),
        "e\u{301}\u{200b}\u{202e}".repeat(100),
        filler.clone(),
        format!("{filler} The penguin escaped from the zoo."),
    ];
    let answers = embedder.embed_counted(hostile.to_vec(), Lane::Background).await.expect("vectors");
    for answer in &answers {
        let vector = answer.vector.as_ref().expect("not blank");
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length.sqrt() - 1.0).abs() < 1e-3 && answer.tokens >= 2);
    }
    let question = embedder.query("Which animal got away?").await.expect("a vector");
    let cosine = |n: usize| answers[n].vector.as_ref().expect("not blank").cosine(&question);
    assert!(cosine(8) > cosine(7) + 0.02, "the end of the text must count");
}
