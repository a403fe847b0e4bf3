//! Files that cannot be loaded, and what is told of those that can.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::path::{Path, PathBuf};

use greenroom_gguf::sample::Sample;
use greenroom_gguf::{Architecture, Engine, GgufError, LoadOptions, inspect, plan_context};
use tempfile::TempDir;

fn write(family: Architecture) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    Sample::tiny(family).write(&path).expect("written");
    (folder, path)
}

async fn failure(path: &Path) -> GgufError {
    Engine::load(path.to_owned(), LoadOptions::default()).await.expect_err("no model")
}

#[test]
fn facts_are_told_without_loading() {
    let (_folder, path) = write(Architecture::Qwen3);
    let facts = inspect(&path).expect("facts");
    assert_eq!((facts.architecture, facts.quantization.as_str()), (Architecture::Qwen3, "q8_0"));
    assert_eq!((facts.layers, facts.heads, facts.kv_heads, facts.head_dim), (3, 4, 2, 32));
    assert_eq!((facts.context_length, facts.vocabulary, facts.hidden, facts.feed_forward), (512, 640, 128, 256));
    assert_eq!(facts.kv_bytes_per_token, 2 * 3 * 2 * 32 * 2);
    assert_eq!(facts.file_bytes, std::fs::metadata(&path).expect("a file").len());
    assert!(facts.parameters > 500_000 && facts.chat_template.is_some());
    assert_eq!(plan_context(&facts, Some(300), Some(1 << 30)), Ok(300));
}

#[tokio::test]
async fn files_that_are_no_models_are_told_apart() {
    let (folder, path) = write(Architecture::Llama);
    let missing = folder.path().join("nothing.gguf");
    assert_eq!(failure(&missing).await, GgufError::Missing(missing.clone()));
    assert!(matches!(failure(folder.path()).await, GgufError::Unreadable(_)));
    for content in [&b""[..], b"GG", b"#!/bin/sh\nexit 0\n"] {
        std::fs::write(&missing, content).expect("written");
        assert_eq!(failure(&missing).await, GgufError::NotGguf);
    }
    let bytes = std::fs::read(&path).expect("a file");
    for length in [5, 30, 1000, 20_000, bytes.len() / 2, bytes.len() - 100] {
        std::fs::write(&missing, &bytes[..length]).expect("written");
        let error = failure(&missing).await;
        assert!(matches!(error, GgufError::Truncated { .. } | GgufError::Malformed(_)), "{length}: {error:?}");
        assert_eq!(inspect(&missing).err(), Some(error));
    }
}

/// Replaces a text of a model file by another of the same length.
fn bend(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(path).expect("a file");
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    std::fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn what_the_engine_cannot_run_is_refused_with_a_reason() {
    let (_folder, path) = write(Architecture::Llama);
    bend(&path, b"llama", b"mamba");
    assert_eq!(failure(&path).await, GgufError::UnsupportedArchitecture("mamba".into()));

    let (_folder, path) = write(Architecture::Llama);
    bend(&path, b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight");
    assert!(matches!(failure(&path).await, GgufError::Malformed(text) if text.contains("blk.1.ffn_up.weight")));

    // A format of weights that nobody knows: the number behind two dimensions.
    let (_folder, path) = write(Architecture::Llama);
    let up = |format: u32| {
        [&b"blk.1.ffn_up.weight\x02\0\0\0\x80\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0"[..], &format.to_le_bytes()].concat()
    };
    bend(&path, &up(8), &up(39));
    assert!(matches!(failure(&path).await, GgufError::UnsupportedQuantization(_)));

    // Heads that do not share keys evenly.
    let (_folder, path) = write(Architecture::Llama);
    let heads = |count: u8| [&b"llama.attention.head_count_kv\x04\0\0\0"[..], &[count, 0, 0, 0]].concat();
    bend(&path, &heads(2), &heads(3));
    assert!(matches!(failure(&path).await, GgufError::Unsupported(_)));
    bend(&path, &heads(3), &heads(0));
    assert!(failure(&path).await.to_string().contains("head_count_kv"));
}

#[tokio::test]
async fn a_model_that_is_too_big_for_memory_is_not_loaded() {
    let (_folder, path) = write(Architecture::Llama);
    let options = LoadOptions { memory: Some(1 << 20), ..LoadOptions::default() };
    let error = Engine::load(path.clone(), options).await.expect_err("too big");
    assert!(matches!(error, GgufError::TooBig { needed, available: 1_048_576 } if needed > 1 << 20));
    let options = LoadOptions { memory: Some(1 << 30), ..LoadOptions::default() };
    assert_eq!(Engine::load(path, options).await.expect("loaded").context(), 512);
}

/// Whatever single bytes say, loading ends with a model or an error.
#[tokio::test]
async fn bent_headers_never_crash_the_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let sample = Sample { layers: 1, ..Sample::tiny(Architecture::Qwen2) };
    sample.write(&path).expect("written");
    let bytes = std::fs::read(&path).expect("a file");
    // The beginning of the metadata, and the table of tensors behind the template.
    let table = bytes.windows(17).position(|window| window == b"token_embd.weight").expect("a table");
    for at in (24..900).step_by(13).chain((table - 8..table + 500).step_by(11)) {
        for value in [0, 0xFF] {
            let mut bent = bytes.clone();
            bent[at] = value;
            std::fs::write(&path, bent).expect("written");
            let outcome = Engine::load(path.clone(), LoadOptions { threads: 1, ..LoadOptions::default() }).await;
            if let Err(GgufError::Failed(text)) = outcome {
                panic!("byte {at} as {value}: {text}");
            }
        }
    }
}
